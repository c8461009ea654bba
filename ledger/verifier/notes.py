"""C2SP signed notes, verifier keys, checkpoints and cosignatures (signed-note, tlog-checkpoint, tlog-cosignature).

Stricter than the specifications allow readers to be, because this log always writes one spelling: no extension lines,
canonical base64, hexadecimal key ids in lower case.
"""
import base64
import binascii
import hashlib
import re
import unicodedata
from dataclasses import dataclass

import ed25519

MAX_NOTE_BYTES = 64 * 1024
LOG, COSIGNATURE = 0x01, 0x04
DASH = "\u2014"


class Refused(Exception):
    """Bytes that are not what they should be; the message says why."""


def base64_bytes(text):
    """Standard base64 with padding; only its one canonical spelling."""
    try:
        data = base64.b64decode(text.encode("ascii"), validate=True)
    except (UnicodeEncodeError, binascii.Error) as error:
        raise Refused("not standard base64") from error
    if base64.b64encode(data).decode() != text:
        raise Refused("not the canonical spelling of base64")
    return data


def decimal(text):
    """An unsigned 64-bit number without leading zeros or sign."""
    if not re.fullmatch(r"0|[1-9][0-9]{0,19}", text, re.ASCII) or int(text) >= 2**64:
        raise Refused("not a decimal number without leading zeros")
    return int(text)


def key_name(text):
    """The name of a log or key."""
    separates = any(c.isspace() or c == "+" or unicodedata.category(c) == "Cc" for c in text)
    if not 1 <= len(text.encode()) <= 255 or separates:
        raise Refused("a name has 1 to 255 bytes and no white space, control characters or '+'")
    return text


def key_id(name, kind, public):
    return hashlib.sha256(name.encode() + b"\n" + bytes([kind]) + public).digest()[:4]


@dataclass(frozen=True)
class VerifierKey:
    """`name+hex key id+base64(type || 32-byte Ed25519 public key)`."""

    name: str
    kind: int
    public: bytes

    @classmethod
    def parse(cls, text):
        parts = text.split("+", 2)
        if len(parts) != 3:
            raise Refused("a verifier key is name+key id+base64")
        material = base64_bytes(parts[2])
        if len(material) != 33 or material[0] not in (LOG, COSIGNATURE):
            raise Refused("a verifier key holds type 1 or 4 and 32 bytes of Ed25519 public key")
        key = cls(key_name(parts[0]), material[0], material[1:])
        if key.id.hex() != parts[1]:
            raise Refused("the key id does not belong to name and key")
        return key

    @property
    def id(self):
        return key_id(self.name, self.kind, self.public)

    def claims(self, line):
        return (self.name, self.id) == (line.name, line.key_id)

    def __str__(self):
        return f"{self.name}+{self.id.hex()}+{base64.b64encode(bytes([self.kind]) + self.public).decode()}"


@dataclass(frozen=True)
class SignatureLine:
    """`— name base64(key id || signature)`; not checked yet."""

    name: str
    key_id: bytes
    signature: bytes

    @classmethod
    def parse(cls, text):
        parts = text.split(" ")
        if len(parts) != 3 or parts[0] != DASH:
            raise Refused("a signature line is '— name base64'")
        data = base64_bytes(parts[2])
        if len(data) < 5:
            raise Refused("a signature line holds four bytes of key id and a signature")
        return cls(key_name(parts[1]), data[:4], data[4:])

    def __str__(self):
        return f"{DASH} {self.name} {base64.b64encode(self.key_id + self.signature).decode()}"


def parse_note(data):
    """Text with its final newline, and the signature lines; no signature is checked."""
    if len(data) > MAX_NOTE_BYTES:
        raise Refused(f"the note has more than {MAX_NOTE_BYTES} bytes")
    try:
        note = data.decode("utf-8")
    except UnicodeDecodeError as error:
        raise Refused("the note is not UTF-8") from error
    if any(c < " " and c != "\n" for c in note):
        raise Refused("the note has control characters")
    text, blank, lines = note.rpartition("\n\n")
    if not blank or not lines.endswith("\n"):
        raise Refused("the note has no blank line before its signatures, or no final newline")
    return text + "\n", [SignatureLine.parse(line) for line in lines[:-1].split("\n")]


@dataclass(frozen=True)
class Checkpoint:
    """A signed tree head taken apart."""

    origin: str
    size: int
    root: bytes
    text: str
    lines: tuple

    @classmethod
    def parse(cls, data):
        text, lines = parse_note(data)
        return cls(*parse_checkpoint_text(text), text, tuple(lines))

    def check_log(self, key):
        """Refuses the checkpoint unless the log `key` signed it, and every line in its name is right."""
        if self.origin != key.name:
            raise Refused(f"the checkpoint is for the log {self.origin}, not for {key.name}")
        own = [line for line in self.lines if key.claims(line)]
        if not own or key.kind != LOG:
            raise Refused(f"the checkpoint carries no signature by the log's key {key}")
        if not all(ed25519.verify(key.public, self.text.encode(), line.signature) for line in own):
            raise Refused(f"the log's signature under the checkpoint is wrong (key {key})")


def parse_checkpoint_text(text):
    """Origin, size and root on exactly three lines."""
    lines = text.split("\n")
    if len(lines) != 4 or lines[3]:
        raise Refused("a checkpoint is origin, size and root on exactly three lines")
    root = base64_bytes(lines[2])
    if len(root) != 32:
        raise Refused("a root has 32 bytes")
    return key_name(lines[0]), decimal(lines[1]), root


def check_cosignature(line, text, key):
    """When the witness `key` cosigned the checkpoint text, in seconds since 1970 (tlog-cosignature v1)."""
    if key.kind != COSIGNATURE or not key.claims(line):
        raise Refused(f"the line is not by the witness {key}")
    if len(line.signature) != 72 or line.signature[0] & 0x80:
        raise Refused("a cosignature has 8 bytes of time below 2^63 and 64 bytes of signature")
    time = int.from_bytes(line.signature[:8], "big")
    message = f"cosignature/v1\ntime {time}\n{text}".encode()
    if not ed25519.verify(key.public, message, line.signature[8:]):
        raise Refused(f"the cosignature of {line.name} does not match the checkpoint")
    return time
