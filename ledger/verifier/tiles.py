"""C2SP tlog-tiles: the files of a log, and reading them from a folder."""
import os
import re
from dataclasses import dataclass

import merkle
from notes import Refused

WIDTH = 256
ENTRIES = "entries"
# 256^8 entries exceed 64 bits.
MAX_LEVEL = 7
MAX_FILE_BYTES = WIDTH * (2 + 65_535)


@dataclass(frozen=True)
class Tile:
    """`tile/<level or entries>/<index>[.p/<width>]`."""

    level: object
    index: int
    width: int

    @property
    def span(self):
        """Entries behind each item."""
        return 1 if self.level == ENTRIES else WIDTH**self.level

    @property
    def start(self):
        return self.index * WIDTH * self.span

    @property
    def end(self):
        return (self.index * WIDTH + self.width) * self.span

    def __str__(self):
        digits = f"{self.index:03d}"
        digits = digits.rjust(-len(digits) // 3 * -3, "0")
        groups = [digits[at:at + 3] for at in range(0, len(digits), 3)]
        path = "/".join([f"x{group}" for group in groups[:-1]] + groups[-1:])
        return f"tile/{self.level}/{path}" + ("" if self.width == WIDTH else f".p/{self.width}")

    @classmethod
    def parse(cls, path):
        form = r"tile/(entries|[0-7])/((?:x[0-9]{3}/)*)([0-9]{3})(?:\.p/([1-9][0-9]{0,2}))?"
        found = re.fullmatch(form, path, re.ASCII)
        if not found:
            raise Refused("not the path of a tile")
        index = int(found[2].replace("x", "").replace("/", "") + found[3])
        tile = cls(found[1] if found[1] == ENTRIES else int(found[1]), index, int(found[4] or WIDTH))
        # One spelling a tile: no leading groups of zeros, no `.p/256`, an index of 64 bits.
        if str(tile) != path or tile.width > WIDTH or index >= 2**64:
            raise Refused("not the one spelling of a tile's path")
        return tile


def in_log(level, index, size):
    """The tile as a log of `size` entries has it; None if the log does not reach it."""
    complete = size if level == ENTRIES else size // WIDTH**level
    width = min(complete - index * WIDTH, WIDTH)
    return Tile(level, index, width) if width > 0 else None


def tiles_of(size):
    """Every tile of a log of `size` entries."""
    for level in (ENTRIES, *range(MAX_LEVEL + 1)):
        index = 0
        while tile := in_log(level, index, size):
            yield tile
            index += 1


def split_bundle(data):
    """The entries of a bundle, each after its length as big-endian uint16; None at the end if one is cut short."""
    entries, at = [], 0
    while at < len(data):
        end = at + 2 + int.from_bytes(data[at:at + 2], "big")
        if at + 2 > len(data) or end > len(data):
            return [*entries, None]
        entries.append(data[at + 2:end])
        at = end
    return entries


class Folder:
    """An exported ledger, or a gateway's own folder."""

    def __init__(self, path):
        self.path = path
        if not (os.path.exists(os.path.join(path, "checkpoint")) or os.path.isdir(os.path.join(path, "tile"))):
            raise OSError(f"{path} is not a ledger: it has neither a file `checkpoint` nor a folder `tile`")

    def live(self):
        return os.path.exists(os.path.join(self.path, "head.note"))

    def read(self, name):
        """A file's bytes; None if it is missing, or larger than any file of a ledger."""
        try:
            with open(os.path.join(self.path, name), "rb") as file:
                data = file.read(MAX_FILE_BYTES + 1)
        except (FileNotFoundError, NotADirectoryError, IsADirectoryError):
            return None
        return data if len(data) <= MAX_FILE_BYTES else None

    def files(self):
        """Every file's path from the folder, and whether it is a plain one."""
        for at, folders, names in os.walk(self.path):
            links = [name for name in folders if os.path.islink(os.path.join(at, name))]
            for name in names + links:
                path = os.path.join(at, name)
                plain = os.path.isfile(path) and not os.path.islink(path)
                yield os.path.relpath(path, self.path).replace(os.sep, "/"), plain

    def entries_on_disk(self):
        """How many entries the bundles reach to, for when the checkpoint cannot say."""
        reach = 0
        for path, _ in self.files():
            try:
                tile = Tile.parse(path)
            except Refused:
                continue
            if tile.level == ENTRIES:
                reach = max(reach, tile.end)
        return reach


def range_root(folder, size):
    """A function (start, end) -> MTH over those leaves, from the hash tiles of a log of `size` entries."""

    def subtree(level, index):
        tile_level, below = divmod(level, 8)
        first = index << below
        tile = in_log(tile_level, first // WIDTH, size)
        data = folder.read(str(tile)) if tile else None
        if data is None or len(data) != 32 * tile.width:
            raise Refused(f"{tile} is missing or has a wrong length")
        at = first % WIDTH
        return merkle.root([data[32 * n:32 * n + 32] for n in range(at, at + (1 << below))])

    def over(start, end):
        complete, at = [], start
        while at < end:
            level = (end - at).bit_length() - 1
            complete.append(subtree(level, at >> level))
            at += 1 << level
        result = complete.pop() if complete else merkle.EMPTY_ROOT
        while complete:
            result = merkle.node_hash(complete.pop(), result)
        return result

    return over
