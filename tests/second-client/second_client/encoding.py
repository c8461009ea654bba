"""Transcripts, text forms and strict JSON records (docs/protocol.md, "Encodings")."""

import base64
import binascii
import hashlib
import json
import re


class Refused(Exception):
    """A message, or an input, that breaks a rule. `name` is the rule's name in the document and in the vectors."""

    def __init__(self, name, detail=""):
        super().__init__(f"{name}: {detail}" if detail else name)
        self.name = name


class Alarm(Exception):
    """The ledger is not one and the same: all work stops until a person has looked."""


def sha256(content):
    return hashlib.sha256(content).digest()


def transcript(what, *fields):
    """The label and the fields, each behind its length. A list is its length followed by its items."""
    out = b""
    for field in (f"konclave/v1/{what}", *fields):
        if isinstance(field, str):
            field = field.encode()
        elif isinstance(field, int):
            field = field.to_bytes(8, "big")
        out += len(field).to_bytes(8, "big") + field
    return out


def transcript_hash(what, *fields):
    return sha256(transcript(what, *fields))


def number(value, largest=2**64 - 1, least=0):
    if type(value) is not int or not least <= value <= largest:
        raise Refused("Parse", f"{value!r} is not a number from {least} to {largest}")
    return value


def text(value):
    if not isinstance(value, str):
        raise Refused("Parse", "not a text")
    return value


def truth(value):
    if not isinstance(value, bool):
        raise Refused("Parse", "not true or false")
    return value


def label(value):
    """The id of a site or a job."""
    if not isinstance(value, str) or not re.fullmatch(r"[a-z0-9][a-z0-9-]{0,62}", value):
        raise Refused("Parse", f"{value!r} is not an id")
    return value


def round_number(value):
    return number(value, 2**32 - 1, 1)


def round_text(value):
    if not re.fullmatch(r"[1-9][0-9]*", value):
        raise Refused("Parse", f"{value!r} is not a round")
    return round_number(int(value))


def hexadecimal(length):
    def parse(value):
        if not isinstance(value, str) or not re.fullmatch(f"[0-9a-f]{{{2 * length}}}", value):
            raise Refused("Parse", f"not {length} bytes in lower-case hexadecimal")
        return bytes.fromhex(value)

    return parse


digest = hexadecimal(32)


def base64_bytes(length=None):
    def parse(value):
        try:
            content = base64.b64decode(value, validate=True)
        except (binascii.Error, TypeError, ValueError) as error:
            raise Refused("Parse", f"not base64: {error}") from error
        # One spelling only: no stray bits at the end.
        if to_base64(content) != value or (length is not None and len(content) != length):
            raise Refused("Parse", "not canonical base64, or of another length")
        return content

    return parse


def to_base64(content):
    return base64.b64encode(content).decode()


signature = base64_bytes(64)
seed = base64_bytes(32)


def list_of(parse):
    def items(value):
        if not isinstance(value, list):
            raise Refused("Parse", "not a list")
        return [parse(item) for item in value]

    return items


def map_of(parse):
    """An object keyed by site."""

    def entries(value):
        if not isinstance(value, dict):
            raise Refused("Parse", "not an object")
        return {label(site): parse(item) for site, item in value.items()}

    return entries


def record(**fields):
    """An object with exactly these fields, each with its parser."""

    def parse(value):
        if not isinstance(value, dict) or set(value) != set(fields):
            raise Refused("Parse", f"not an object of {', '.join(fields)}")
        return {name: read(value[name]) for name, read in fields.items()}

    return parse


def to_json(value):
    """A message as it is sent: bytes of 32 as hexadecimal must have been turned to text before."""
    return json.dumps(value, separators=(",", ":")).encode()
