"""Signatures, the hybrid KEM, the key schedule, mask streams, Shamir shares and Merkle trees."""

import hashlib
import hmac

from cryptography.exceptions import InvalidSignature, InvalidTag
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey, X25519PublicKey
from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from . import ml_kem
from .encoding import Refused, sha256, transcript, transcript_hash

# The order of the Ristretto255 group.
ORDER = 2**252 + 27742317777372353535851937790883648493


# Signatures

def verifies(key, message, signature):
    try:
        Ed25519PublicKey.from_public_bytes(key).verify(signature, message)
    except (InvalidSignature, ValueError):
        return False
    return True


def signer(seed):
    return Ed25519PrivateKey.from_private_bytes(seed)


def public_of(key):
    return key.public_key().public_bytes_raw()


# The hybrid KEM

PUBLIC_KEY_BYTES = 32 + ml_kem.KEY_BYTES
CIPHERTEXT_BYTES = 32 + ml_kem.CIPHERTEXT_BYTES


def x25519(scalar, point):
    """Refuses a result of zero: the point is of low order (RFC 7748, section 6.1)."""
    try:
        return X25519PrivateKey.from_private_bytes(scalar).exchange(X25519PublicKey.from_public_bytes(point))
    except ValueError as error:
        raise Refused("Malformed", "a point of low order") from error


def x25519_public(scalar):
    return X25519PrivateKey.from_private_bytes(scalar).public_key().public_bytes_raw()


def kem_public_key(secret):
    """`secret` is X25519 scalar, then ML-KEM d and z."""
    public, _ = ml_kem.key_pair(secret[32:64], secret[64:])
    return x25519_public(secret[:32]) + public


def check_kem_public_key(public):
    if len(public) != PUBLIC_KEY_BYTES or not ml_kem.is_public_key(public[32:]):
        raise Refused("Malformed", "not a hybrid KEM key")
    x25519(bytes(32), public[:32])


def check_kem_ciphertext(ciphertext):
    if len(ciphertext) != CIPHERTEXT_BYTES:
        raise Refused("Malformed", "not a hybrid KEM ciphertext")
    x25519(bytes(32), ciphertext[:32])


def encapsulate(public, draw):
    """The ciphertext and `ss_mlkem || ss_x25519`."""
    ephemeral, m = draw(32), draw(32)
    from_ml_kem, ciphertext = ml_kem.encapsulate(public[32:], m)
    return x25519_public(ephemeral) + ciphertext, from_ml_kem + x25519(ephemeral, public[:32])


def decapsulate(secret, ciphertext):
    check_kem_ciphertext(ciphertext)
    _, key = ml_kem.key_pair(secret[32:64], secret[64:])
    return ml_kem.decapsulate(key, ciphertext[32:]) + x25519(secret[:32], ciphertext[:32])


# The key schedule

def extract(salt, secret):
    return hmac.new(salt, secret, hashlib.sha256).digest()


def expand(key, info, length):
    out, block, counter = b"", b"", 1
    while len(out) < length:
        block = hmac.new(key, block + info + bytes([counter]), hashlib.sha256).digest()
        out, counter = out + block, counter + 1
    return out[:length]


def pair_secrets(shared, roster, job, lower, upper, upper_key, ciphertext):
    """Chain, and the keys that seal upwards and downwards. Keys and ciphertexts enter by their SHA-256."""
    prk = extract(roster, shared)
    return [
        expand(prk, transcript("pair", job, lower, upper, upper_key, ciphertext, name), 32)
        for name in ("chain", "seal-up", "seal-down")
    ]


def next_key(key):
    return expand(key, transcript("next"), 32)


def pair_seed(chain, context):
    return from_wide(expand(chain, transcript("pair-seed", context), 64))


def round_seal_key(key, context, sender, receiver):
    return expand(key, transcript("seal-round", context, sender, receiver), 32)


def message_key(round_key, share_root):
    """AES-256 key and GCM nonce."""
    material = expand(round_key, transcript("seal-message", share_root), 44)
    return material[:32], material[32:]


def stream_key(seed, context):
    return expand(extract(context, seed), transcript("mask-stream"), 32)


def self_commitment(context, site, seed):
    return transcript_hash("self-mask-seed", context, site, seed)


def pair_commitment(context, one, other, seed):
    return transcript_hash("pair-mask-seed", context, *sorted([one, other]), seed)


# Streams

def key_stream(key, length, first_byte=0):
    """AES-256-CTR from a zero counter block; `first_byte` is a multiple of 16."""
    counter = (first_byte // 16).to_bytes(16, "big")
    return Cipher(algorithms.AES(key), modes.CTR(counter)).encryptor().update(bytes(length))


def mask_lanes(key, count, first=0):
    start = first * 4 % 16
    stream = key_stream(key, start + 4 * count, first * 4 - start)[start:]
    return [int.from_bytes(stream[at:at + 4], "little") for at in range(0, 4 * count, 4)]


# Sealing

def associated(context, sender, receiver):
    return transcript("sealed-shares", context, sender, receiver)


def seal(round_key, context, sender, receiver, share_root, plaintext):
    key, nonce = message_key(round_key, share_root)
    return AESGCM(key).encrypt(nonce, plaintext, associated(context, sender, receiver))


def unseal(round_key, context, sender, receiver, share_root, sealed):
    key, nonce = message_key(round_key, share_root)
    try:
        return AESGCM(key).decrypt(nonce, sealed, associated(context, sender, receiver))
    except InvalidTag:
        return None


# Scalars and shares

def from_wide(content):
    """64 uniform bytes, reduced."""
    return (int.from_bytes(content, "little") % ORDER).to_bytes(32, "little")


def is_scalar(content):
    return len(content) == 32 and int.from_bytes(content, "little") < ORDER


def share_out(secret, coefficients, sites):
    """The values of the polynomial at 1, 2, .. for the sites in roster order."""
    numbers = [int.from_bytes(part, "little") for part in (secret, *coefficients)]
    out = []
    for x in range(1, sites + 1):
        value = 0
        for coefficient in reversed(numbers):
            value = (value * x + coefficient) % ORDER
        out.append(value.to_bytes(32, "little"))
    return out


def recover(shares):
    """Interpolation at zero; `shares` by position in the roster, from 0."""
    total = 0
    for site, share in shares.items():
        weight = int.from_bytes(share, "little")
        for other in shares:
            if other != site:
                weight = weight * (other + 1) * pow(other - site, -1, ORDER) % ORDER
        total = (total + weight) % ORDER
    return total.to_bytes(32, "little")


# Merkle trees (RFC 6962, section 2.1)

def left_size(leaves):
    size = 1
    while size * 2 < leaves:
        size *= 2
    return size


def leaf_hash(content):
    return sha256(b"\0" + content)


def node_hash(left, right):
    return sha256(b"\1" + left + right)


def merkle_root(contents):
    if len(contents) < 2:
        return leaf_hash(contents[0]) if contents else sha256(b"")
    split = left_size(len(contents))
    return node_hash(merkle_root(contents[:split]), merkle_root(contents[split:]))


def merkle_path(contents, index):
    if len(contents) == 1:
        return []
    split = left_size(len(contents))
    if index < split:
        return [*merkle_path(contents[:split], index), merkle_root(contents[split:])]
    return [*merkle_path(contents[split:], index - split), merkle_root(contents[:split])]


def path_length(index, size):
    if size < 2:
        return 0
    split = left_size(size)
    return 1 + (path_length(index, split) if index < split else path_length(index - split, size - split))


def lead(start, index, size, siblings):
    """The root that a leaf hash and its siblings (an iterator) lead to; None if they are too few."""
    if index >= size:
        return None
    if size == 1:
        return start
    split = left_size(size)
    if index < split:
        below, sibling = lead(start, index, split, siblings), next(siblings, None)
        return None if below is None or sibling is None else node_hash(below, sibling)
    below, sibling = lead(start, index - split, size - split, siblings), next(siblings, None)
    return None if below is None or sibling is None else node_hash(sibling, below)


def body_root(body):
    return merkle_root([body[at:at + 65536] for at in range(0, len(body), 65536)])
