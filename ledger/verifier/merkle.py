"""The Merkle tree: RFC 6962 section 2.1; proofs as RFC 9162 sections 2.1.3 and 2.1.4 (the same trees)."""
import hashlib

EMPTY_ROOT = hashlib.sha256(b"").digest()


class BadProof(Exception):
    """A proof that shows nothing."""


def leaf_hash(entry):
    return hashlib.sha256(b"\x00" + entry).digest()


def node_hash(left, right):
    return hashlib.sha256(b"\x01" + left + right).digest()


def split(width):
    """The largest power of two below `width`, for 2 and more."""
    return 1 << ((width - 1).bit_length() - 1)


def root(hashes):
    """MTH over a list of leaf hashes, or over hashes of subtrees of one height."""
    if not hashes:
        return EMPTY_ROOT
    if len(hashes) == 1:
        return hashes[0]
    middle = split(len(hashes))
    return node_hash(root(hashes[:middle]), root(hashes[middle:]))


class Edge:
    """The right edge of a growing tree: the roots of its complete subtrees, the largest first."""

    def __init__(self):
        self.size = 0
        self.subtrees = []

    def push(self, leaf):
        left = self.size
        while left & 1:
            leaf = node_hash(self.subtrees.pop(), leaf)
            left >>= 1
        self.subtrees.append(leaf)
        self.size += 1

    def root(self):
        if not self.subtrees:
            return EMPTY_ROOT
        result = self.subtrees[-1]
        for left in reversed(self.subtrees[:-1]):
            result = node_hash(left, result)
        return result


def inclusion_proof(range_root, index, size):
    """The audit path of `index`: RFC 6962 section 2.1.1. `range_root(start, end)` is MTH over those leaves."""
    path, start, end = [], 0, size
    while end - start > 1:
        middle = start + split(end - start)
        if index < middle:
            path.append(range_root(middle, end))
            end = middle
        else:
            path.append(range_root(start, middle))
            start = middle
    return path[::-1]


def consistency_proof(range_root, old, new):
    """RFC 6962 section 2.1.2; empty where nothing needs to be shown."""
    if old == 0 or old == new:
        return []
    path, start, end = [], 0, new
    while end != old:
        middle = start + split(end - start)
        if old <= middle:
            path.append(range_root(middle, end))
            end = middle
        else:
            path.append(range_root(start, middle))
            start = middle
    if start > 0:
        path.append(range_root(start, end))
    return path[::-1]


def check_inclusion(index, size, leaf, path, expected):
    """RFC 9162 section 2.1.3.2."""
    if index >= size:
        raise BadProof("the index is beyond the tree")
    fn, sn, r = index, size - 1, leaf
    for p in path:
        if sn == 0:
            raise BadProof("the proof has too many hashes")
        if fn & 1 or fn == sn:
            r = node_hash(p, r)
            while fn and not fn & 1:
                fn, sn = fn >> 1, sn >> 1
        else:
            r = node_hash(r, p)
        fn, sn = fn >> 1, sn >> 1
    if sn:
        raise BadProof("the proof has too few hashes")
    if r != expected:
        raise BadProof("the proof leads to another root")


def check_consistency(old, new, path, old_root, new_root):
    """RFC 9162 section 2.1.4.2; for an old size of 0, and for equal sizes, the path is empty."""
    if old > new:
        raise BadProof("the old tree is larger than the new one")
    if (old == 0 and old_root != EMPTY_ROOT) or (new == 0 and new_root != EMPTY_ROOT):
        raise BadProof("the root of an empty tree is SHA-256 of nothing")
    if old == 0 or old == new:
        if path:
            raise BadProof("the proof has too many hashes")
        if old == new and old_root != new_root:
            raise BadProof("two different roots for one size")
        return
    path = list(path)
    if old & (old - 1) == 0:
        path.insert(0, old_root)
    if not path:
        raise BadProof("the proof has too few hashes")
    fn, sn = old - 1, new - 1
    while fn & 1:
        fn, sn = fn >> 1, sn >> 1
    fr = sr = path[0]
    for c in path[1:]:
        if sn == 0:
            raise BadProof("the proof has too many hashes")
        if fn & 1 or fn == sn:
            fr, sr = node_hash(c, fr), node_hash(c, sr)
            while fn and not fn & 1:
                fn, sn = fn >> 1, sn >> 1
        else:
            sr = node_hash(sr, c)
        fn, sn = fn >> 1, sn >> 1
    if sn:
        raise BadProof("the proof has too few hashes")
    if fr != old_root or sr != new_root:
        raise BadProof("the proof leads to another root")
