"""Checks that an entry is in the ledger's tree (RFC 9162, section 2.1.3.2), from the standard library alone."""
from __future__ import annotations

import hashlib
import typing


class BadProof(Exception):
    """The proof does not lead to the root. Keep it: it shows that the gateway said two different things."""


def sha256(octets: bytes) -> bytes:
    return hashlib.sha256(octets).digest()


def root_of(leaf: str, index: int, size: int, path: typing.Sequence[str]) -> str:
    """The root, in hexadecimal, of the tree of `size` leaves that a proof for the leaf at `index` leads to."""
    if not 0 <= index < size:
        raise BadProof(f"there is no leaf {index} in a tree of {size}")
    at, last, root = index, size - 1, sha256(b"\x00" + leaf.encode())
    for beside in map(bytes.fromhex, path):
        if last == 0:
            raise BadProof(f"the proof for leaf {index} is too long for a tree of {size}")
        if at & 1 or at == last:
            root = sha256(b"\x01" + beside + root)
            while not at & 1 and at:
                at, last = at >> 1, last >> 1
        else:
            root = sha256(b"\x01" + root + beside)
        at, last = at >> 1, last >> 1
    if last:
        raise BadProof(f"the proof for leaf {index} is too short for a tree of {size}")
    return root.hex()


def check(leaf: str, index: int, size: int, path: typing.Sequence[str], root: str) -> None:
    """Fails unless the leaf is in the tree with that root."""
    found = root_of(leaf, index, size, path)
    if found != root:
        raise BadProof(f"the proof for leaf {index} leads to {found}, not to the root {root}")
