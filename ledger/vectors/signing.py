"""Ed25519 signing (RFC 8032, section 5.1.6) with the fixed test keys of these files, and what they sign."""
import base64
import functools
import hashlib

import ed25519
from notes import COSIGNATURE, LOG, VerifierKey, SignatureLine


def halves(seed):
    digest = hashlib.sha512(seed).digest()
    scalar = int.from_bytes(digest[:32], "little") & (2**254 - 8) | 2**254
    return scalar, digest[32:]


@functools.cache
def doubled(times):
    """The base point, doubled so many times."""
    before = doubled(times - 1) if times else None
    return ed25519.add(before, before) if before else ed25519.BASE


def times_base(scalar):
    product = ed25519.NEUTRAL
    for bit in range(scalar.bit_length()):
        if scalar >> bit & 1:
            product = ed25519.add(product, doubled(bit))
    return ed25519.encode(product)


@functools.cache
def public(seed):
    return times_base(halves(seed)[0])


def sign(seed, message):
    scalar, prefix = halves(seed)
    r = int.from_bytes(hashlib.sha512(prefix + message).digest(), "little") % ed25519.ORDER
    point = times_base(r)
    k = int.from_bytes(hashlib.sha512(point + public(seed) + message).digest(), "little") % ed25519.ORDER
    return point + ((r + k * scalar) % ed25519.ORDER).to_bytes(32, "little")


def seed(label):
    """A fixed test seed. Whoever reads this knows it."""
    return hashlib.sha256(f"konclave ledger vectors {label}".encode()).digest()


ORIGIN = "konclave.example/ledger"
LOG_SEED = seed("log")
LOG_KEY = VerifierKey(ORIGIN, LOG, public(LOG_SEED))
WITNESSES = ["konclave.site/site-1", "konclave.site/site-2"]


def witness_key(name):
    return VerifierKey(name, COSIGNATURE, public(seed(name)))


def base64_text(data):
    return base64.b64encode(data).decode()


def checkpoint_text(size, root, origin=ORIGIN):
    return f"{origin}\n{size}\n{base64_text(root)}\n"


def log_line(text, key=LOG_KEY, secret=LOG_SEED):
    return str(SignatureLine(key.name, key.id, sign(secret, text.encode())))


def cosignature_line(text, name, time):
    key = witness_key(name)
    signature = sign(seed(name), f"cosignature/v1\ntime {time}\n{text}".encode())
    return str(SignatureLine(name, key.id, time.to_bytes(8, "big") + signature))


def note(text, *lines):
    return text + "\n" + "".join(f"{line}\n" for line in lines)
