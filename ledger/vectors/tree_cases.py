"""Cases about trees, proofs, tiles and bundles."""
import functools
import hashlib

import merkle
from notes import Refused
from tiles import ENTRIES, Tile, split_bundle, tiles_of

LARGE = (127, 128, 129, 255, 256, 257, 511, 512, 513, 1000, 4097, 65_537)
PROOF_SIZES = (*range(1, 10), 17, 64, 70, 257, 1000, 65_537)


def content(index):
    """The bytes of leaf `index` in every tree here."""
    return f"leaf {index}".encode()


LEAVES = [merkle.leaf_hash(content(index)) for index in range(max(LARGE))]


@functools.cache
def range_root(start, end):
    if end - start <= 64:
        return merkle.root(LEAVES[start:end])
    middle = start + merkle.split(end - start)
    return merkle.node_hash(range_root(start, middle), range_root(middle, end))


def flipped(data, bit=0):
    return bytes([data[0] ^ 1 << bit]) + data[1:]


def hexes(items):
    return [item.hex() for item in items]


def refused(error, check, *arguments):
    try:
        check(*arguments)
    except error:
        return True
    return False


def tree():
    positive = [
        {"kind": "leaf", "content": data.hex(), "hash": merkle.leaf_hash(data).hex()}
        for data in (b"", b"\x00", content(0), bytes(range(256)), b"x" * 16_384)
    ]
    positive += [
        {"kind": "node", "left": left.hex(), "right": right.hex(), "hash": merkle.node_hash(left, right).hex()}
        for left, right in ((LEAVES[0], LEAVES[1]), (LEAVES[1], LEAVES[0]), (bytes(32), bytes(32)))
    ]
    positive += [{"kind": "root", "size": size, "hash": range_root(0, size).hex()} for size in (*range(71), *LARGE)]
    assert positive[8]["hash"] == "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"
    edge = merkle.Edge()
    for leaf in LEAVES[:300]:
        edge.push(leaf)
        assert edge.root() == merkle.root(LEAVES[:edge.size]) == range_root(0, edge.size)

    def sha256(data):
        return hashlib.sha256(data).hexdigest()

    negative = [
        {"why": "no 0x00 before a leaf", "kind": "leaf", "content": content(0).hex(), "hash": sha256(content(0))},
        {"why": "0x01 before a leaf", "kind": "leaf", "content": content(0).hex(), "hash": sha256(b"\x01" + content(0))},
        {"why": "no 0x01 before a node", "kind": "node", "left": LEAVES[0].hex(), "right": LEAVES[1].hex(),
         "hash": sha256(LEAVES[0] + LEAVES[1])},
        {"why": "left and right exchanged", "kind": "node", "left": LEAVES[0].hex(), "right": LEAVES[1].hex(),
         "hash": merkle.node_hash(LEAVES[1], LEAVES[0]).hex()},
        {"why": "the empty tree is not zeros", "kind": "root", "size": 0, "hash": bytes(32).hex()},
        {"why": "the empty tree is not an empty leaf", "kind": "root", "size": 0, "hash": merkle.leaf_hash(b"").hex()},
    ]
    for size in (2, 3, 5, 6, 7, 9, 33, 70, 257):
        last = LEAVES[:size]
        width = 1 << (size - 1).bit_length()
        negative += [
            {"why": "a leaf more", "kind": "root", "size": size, "hash": range_root(0, size + 1).hex()},
            {"why": "a leaf less", "kind": "root", "size": size, "hash": range_root(0, size - 1).hex()},
            {"why": "two leaves exchanged", "kind": "root", "size": size,
             "hash": merkle.root([*last[:-2], last[-1], last[-2]]).hex()},
            {"why": "a leaf hash as a leaf", "kind": "root", "size": size,
             "hash": merkle.root([*last[:-1], merkle.leaf_hash(last[-1])]).hex()},
        ]
        if width != size:
            negative.append({"why": "the last leaf repeated up to a power of two", "kind": "root", "size": size,
                             "hash": merkle.root(last + [last[-1]] * (width - size)).hex()})
    return positive, negative


def places(size):
    return sorted({0, 1, size // 2, size - 2, size - 1} & set(range(size))) if size > 9 else range(size)


def inclusion():
    positive, negative = [], []
    for size in PROOF_SIZES:
        for index in places(size):
            path = merkle.inclusion_proof(range_root, index, size)
            root = range_root(0, size)
            merkle.check_inclusion(index, size, LEAVES[index], path, root)
            positive.append({"index": index, "size": size, "leaf": LEAVES[index].hex(), "hashes": hexes(path),
                             "root": root.hex()})
            if (index, size) not in ((0, 1), (1, 2), (2, 3), (5, 7), (6, 7), (33, 64), (35, 70), (69, 70), (999, 1000)):
                continue
            for why, changed in changed_inclusion(index, size, LEAVES[index], path, root):
                assert refused(merkle.BadProof, merkle.check_inclusion, *changed), (why, index, size)
                at, of, leaf, hashes, to = changed
                negative.append({"why": why, "index": at, "size": of, "leaf": leaf.hex(), "hashes": hexes(hashes),
                                 "root": to.hex()})
    return positive, negative


def changed_inclusion(index, size, leaf, path, root):
    yield "another root", (index, size, leaf, path, flipped(root))
    yield "another leaf", (index, size, flipped(leaf, 7), path, root)
    yield "the leaf's content as its hash", (index, size, hashlib.sha256(leaf).digest(), path, root)
    yield "an index beyond the tree", (size, size, leaf, path, root)
    yield "an empty tree", (index, 0, leaf, path, root)
    yield "a hash more at the end", (index, size, leaf, [*path, root], root)
    yield "a hash more at the start", (index, size, leaf, [leaf, *path], root)
    yield "an index of twice the size more", (index + 2 * size, size, leaf, path, root)
    if path:
        yield "the first hash missing", (index, size, leaf, path[1:], root)
        yield "the last hash missing", (index, size, leaf, path[:-1], root)
        yield "one bit of the first hash", (index, size, leaf, [flipped(path[0]), *path[1:]], root)
        yield "one bit of the last hash", (index, size, leaf, [*path[:-1], flipped(path[-1], 7)], root)
        yield "the neighbour's index", (index ^ 1 if index ^ 1 < size else index - 1, size, leaf, path, root)
        yield "a tree of four times the size", (index, 4 * size, leaf, path, root)
    if len(path) > 1:
        yield "the hashes from the root down", (index, size, leaf, path[::-1], root)


def consistency():
    positive, negative = [], []
    for new in PROOF_SIZES:
        for old in sorted({0, new, *places(new), *(1 << bit for bit in (2, 6, 8, 16) if 1 << bit < new)}):
            path = merkle.consistency_proof(range_root, old, new)
            old_root, new_root = range_root(0, old), range_root(0, new)
            merkle.check_consistency(old, new, path, old_root, new_root)
            case = (old, new, path, old_root, new_root)
            positive.append(consistency_case(*case))
            if (old, new) not in ((0, 7), (1, 3), (2, 3), (3, 7), (4, 7), (7, 7), (6, 8), (35, 70), (64, 70), (999, 1000)):
                continue
            for why, changed in changed_consistency(*case):
                assert refused(merkle.BadProof, merkle.check_consistency, *changed), (why, old, new)
                negative.append({"why": why, **consistency_case(*changed)})
    return positive, negative


def consistency_case(old, new, path, old_root, new_root):
    return {"old_size": old, "new_size": new, "hashes": hexes(path), "old_root": old_root.hex(),
            "new_root": new_root.hex()}


def changed_consistency(old, new, path, old_root, new_root):
    yield "the old tree larger than the new one", (new + 1, new, path, old_root, new_root)
    if old:
        yield "another new root", (old, new, path, old_root, flipped(new_root))
    yield "another old root", (old, new, path, flipped(old_root, 7), new_root)
    yield "a hash more at the end", (old, new, [*path, new_root], old_root, new_root)
    yield "a hash more at the start", (old, new, [old_root, *path], old_root, new_root)
    if path:
        yield "no hashes", (old, new, [], old_root, new_root)
        yield "the first hash missing", (old, new, path[1:], old_root, new_root)
        yield "the last hash missing", (old, new, path[:-1], old_root, new_root)
        yield "one bit of the first hash", (old, new, [flipped(path[0]), *path[1:]], old_root, new_root)
        yield "one bit of the last hash", (old, new, [*path[:-1], flipped(path[-1])], old_root, new_root)
        yield "the roots exchanged", (old, new, path, new_root, old_root)
        yield "a rewritten old tree of the same size", (old, new, path, range_root(1, old + 1), new_root)
        if len(path) > 1 and path[0] != path[-1]:
            yield "the hashes in the other direction", (old, new, path[::-1], old_root, new_root)


def tiles():
    positive = [
        {"kind": "path", "level": str(tile.level), "index": tile.index, "width": tile.width, "path": str(tile)}
        for tile in (Tile(0, 1_234_067, 256), Tile(ENTRIES, 0, 256), Tile(ENTRIES, 999, 1), Tile(ENTRIES, 1000, 255),
                     Tile(7, 5, 9), Tile(1, 999_999, 256), Tile(1, 1_000_000, 17), Tile(0, 2**53 - 1, 256))
    ]
    for size in (0, 1, 255, 256, 257, 65_535, 65_536, 65_537, 70_000):
        every = list(tiles_of(size))
        full = [str(tile.level) for tile in every if tile.width == 256]
        positive.append({"kind": "log", "size": size, "partial": [str(tile) for tile in every if tile.width < 256],
                         "full": {level: full.count(level) for level in dict.fromkeys(full)}})
    # The example of the specification.
    assert positive[-1] == {"kind": "log", "size": 70_000, "full": {"entries": 273, "0": 273, "1": 1}, "partial": [
        "tile/entries/273.p/112", "tile/0/273.p/112", "tile/1/001.p/17", "tile/2/000.p/1"]}
    assert all(str(Tile.parse(case["path"])) == case["path"] for case in positive if case["kind"] == "path")
    negative = [
        {"why": why, "path": path}
        for why, path in (
            ("no kind", "tile/000"), ("not a tile", "checkpoint"), ("an absolute path", "/tile/0/000"),
            ("a level with a leading zero", "tile/00/000"), ("a level that no log reaches", "tile/8/000"),
            ("a negative level", "tile/-1/000"), ("a word for a level", "tile/leaves/000"),
            ("two digits", "tile/0/00"), ("four digits", "tile/0/0000"), ("a sign", "tile/0/+01"),
            ("a group of zeros in front", "tile/0/x000/001"), ("no x", "tile/0/001/000"),
            ("an x before the last group", "tile/0/x001"), ("a capital X", "tile/0/X001/000"),
            ("the width of a full tile", "tile/0/000.p/256"), ("no width", "tile/0/000.p/"),
            ("width 0", "tile/0/000.p/0"), ("a width with a leading zero", "tile/0/000.p/01"),
            ("a width beyond 256", "tile/0/000.p/300"), ("two widths", "tile/0/000.p/1.p/1"),
            ("a slash at the end", "tile/0/000/"), ("a parent folder", "tile/0/../000"),
            ("digits of another script", "tile/0/\u0660\u0660\u0661"), ("white space", "tile/0/000 "),
            ("an index of more than 64 bits", "tile/0/x018/x446/x744/x073/x709/x551/616"),
        )
    ]
    assert all(refused(Refused, Tile.parse, case["path"]) for case in negative)
    return positive, negative


def bundles():
    positive = [
        {"entries": hexes(entries),
         "bundle": b"".join(len(entry).to_bytes(2, "big") + entry for entry in entries).hex()}
        for entries in ([], [b""], [b"a"], [b"ab", b"", b"c"], [bytes(256)], [b"x" * 16_384])
    ]
    assert all(hexes(split_bundle(bytes.fromhex(case["bundle"]))) == case["entries"] for case in positive)
    negative = [
        {"why": why, "bundle": bundle, "position": position}
        for why, bundle, position in (
            ("one byte of a length", "00", 0), ("an entry cut short", "000361", 0), ("a length and no entry", "0001", 0),
            ("the second length cut", "00016100", 1), ("the second entry cut", "000161000262", 1),
            ("lengths in little-endian order", "010061", 0),
        )
    ]
    assert all(split_bundle(bytes.fromhex(case["bundle"])).index(None) == case["position"] for case in negative)
    return positive, negative


FILES = {"tree": tree, "inclusion": inclusion, "consistency": consistency, "tiles": tiles, "bundles": bundles}
