"""The walk over a ledger: every entry once, in order. What it finds has an index; the lowest is the first bad one."""
from dataclasses import dataclass, field

import merkle
from leaves import check_link, parse_leaf, unix_seconds
from members import Members
from notes import Checkpoint, Refused, check_cosignature
from rotation import LogKeys
from schema import Schemas
from statements import Statements
from tiles import ENTRIES, WIDTH, Tile, in_log, range_root, split_bundle, tiles_of

# What only a gateway's own folder holds, besides its index and what is staged or superseded.
OF_THE_WRITER = ("head.note", "ledger.lock", "witnessed", "reserve", "head.note.tmp", "checkpoint.tmp", "statement.tmp",
                 "witnessed.tmp")


@dataclass
class Report:
    """What an audit found."""

    origin: str | None = None
    size: int = 0
    root: str | None = None
    key: str | None = None
    key_given: bool = False
    consortium_root: str | None = None
    root_given: bool = False
    entries_checked: int = 0
    statements_checked: int = 0
    witnesses_enrolled: int = 0
    cosignatures: dict = field(default_factory=dict)
    findings: list = field(default_factory=list)
    notes: list = field(default_factory=list)

    def add(self, index, file, detail):
        self.findings.append({"first_index": index, "file": file, "detail": str(detail)})

    @property
    def first_bad_index(self):
        return min((finding["first_index"] for finding in self.findings), default=None)


def signed_by(head, key):
    try:
        head.check_log(key)
    except Refused:
        return False
    return True


class NoKey(Exception):
    """Nothing to check the checkpoint's signature with."""


class Broken(Exception):
    """The walk cannot go on: what follows a broken entry hangs on it."""


class Audit:
    """Verifies one folder with what the caller knows from elsewhere."""

    def __init__(self, folder, key=None, root=None, origin=None, quorum=0, schemas=None):
        self.folder, self.given_key, self.given_origin, self.quorum = folder, key, origin, quorum
        self.report = Report(root_given=root is not None)
        self.schemas = Schemas(schemas)
        self.members = Members(root)
        self.log_keys = LogKeys()
        self.statements = Statements(folder)
        self.edge = merkle.Edge()
        self.previous = None
        # By level: the tile file at hand, and the hashes of it so far.
        self.tiles = {}
        self.open = {}
        self.latest = 0

    def run(self):
        report = self.report
        reach = self.folder.entries_on_disk()
        data = self.folder.read("checkpoint")
        head = None
        try:
            if data is None:
                raise Refused("the checkpoint is missing")
            head = Checkpoint.parse(data)
        except Refused as refused:
            report.add(0, "checkpoint", refused)
        report.size = head.size if head else reach
        report.origin = head.origin if head else None
        report.root = head.root.hex() if head else None
        try:
            self.entries()
            complete = True
        except Broken:
            complete = False
        if not self.schemas.known:
            report.notes.append("records were not compared with schemas: there is no folder of them")
        elif self.schemas.unknown:
            report.notes.append(f"{self.schemas.unknown} entries have actions without a schema: their place alone was checked")
        report.statements_checked = self.statements.checked
        report.witnesses_enrolled = len(self.members.witnesses)
        report.consortium_root = self.members.root.hex() if self.members.root else None
        if head:
            if complete and not report.findings and self.edge.root() != head.root:
                report.add(0, "checkpoint", "the entries and tiles fit each other but do not lead to the root")
            self.signatures(head, complete)
        if complete:
            self.surplus()
        return report

    def entries(self):
        for tile in tiles_of(self.report.size):
            if tile.level != ENTRIES:
                return
            data = self.folder.read(str(tile))
            if data is None:
                self.broken(tile.start, tile, "the entries are missing")
            for stored in split_bundle(data):
                index = self.edge.size
                if index >= tile.end:
                    self.broken(tile.start, tile, "the file holds more entries than it may")
                if stored is None:
                    self.broken(index, tile, "the entry is cut short")
                self.entry(tile, index, stored)
            if self.edge.size < tile.end:
                self.broken(self.edge.size, tile, f"the file ends before entry {self.edge.size}")

    def broken(self, index, file, detail):
        self.report.add(index, str(file), detail)
        raise Broken

    def entry(self, tile, index, stored):
        leaf_hash = merkle.leaf_hash(stored)
        self.tile_item(0, index, leaf_hash)
        try:
            leaf = parse_leaf(stored)
            # Without a readable checkpoint the first entry says which log this is.
            self.report.origin = self.report.origin or leaf["origin"]
            check_link(leaf, self.report.origin, index, self.previous)
        except Refused as refused:
            self.broken(index, tile, refused)
        time = unix_seconds(leaf["time"])
        if time < self.latest:
            self.report.notes.append(f"entry {index} is dated {self.latest - time} s before an earlier one")
        self.latest = max(self.latest, time)
        for check in (lambda: self.schemas.check(leaf), lambda: self.members.take(leaf, time),
                      lambda: self.log_keys.take(leaf, self.members.root, self.root_at)):
            try:
                check()
            except Refused as refused:
                self.report.add(index, str(tile), refused)
        for file, detail in self.statements.problems(leaf, self.members):
            self.report.add(index, file, detail)
        self.previous = stored
        self.edge.push(leaf_hash)
        self.push(0, leaf_hash)
        self.report.entries_checked += 1

    def root_at(self, size):
        """The root over the first `size` entries, as far as the walk has come."""
        return range_root(self.folder, self.report.size)(0, size) if size <= self.edge.size else None

    def push(self, level, expected):
        """Adds a hash to its level; a full tile is one item of the level above."""
        items = self.open.setdefault(level, [])
        items.append(expected)
        if len(items) == WIDTH:
            self.open[level] = []
            above = merkle.root(items)
            self.tile_item(level + 1, self.edge.size // WIDTH ** (level + 1) - 1, above)
            self.push(level + 1, above)

    def tile_item(self, level, index, expected):
        """Compares a hash with its place in the tile file."""
        tile = in_log(level, index // WIDTH, self.report.size)
        if tile is None:
            return
        if self.tiles.get(level, (None,))[0] != tile:
            self.tiles[level] = (tile, self.tile_file(tile))
        data = self.tiles[level][1]
        at = index % WIDTH * 32
        if data is not None and data[at:at + 32] != expected:
            self.report.add(index * tile.span, str(tile), "the hash in the tile does not belong to the entries")

    def tile_file(self, tile):
        data = self.folder.read(str(tile))
        if data is None:
            self.report.add(tile.start, str(tile), "the tile is missing")
        elif len(data) != 32 * tile.width:
            self.report.add(tile.start, str(tile), f"the tile has {len(data)} bytes, not {32 * tile.width}")
            return None
        return data

    def signatures(self, head, complete):
        report = self.report
        if self.given_origin and self.given_origin != head.origin:
            report.add(0, "checkpoint", f"the checkpoint is for the log {head.origin}, not for {self.given_origin}")
        key = self.log_keys.signer(self.given_key)
        if key is None:
            if not report.findings:
                raise NoKey("no key was given with --key, and the log's first entry does not publish one")
            return
        if self.given_key and self.given_key != key:
            if not self.report.root_given and not signed_by(head, self.given_key):
                raise NoKey("the log says that the key given was replaced; only the consortium root, given with --root, "
                            "can show that: whoever forges a log could name a root of his own in it")
            report.notes.append(f"the consortium root has put {key} in the place of the key given")
        elif self.given_key and self.log_keys.current not in (None, key):
            report.notes.append(f"the log publishes another key: {self.log_keys.current}")
        report.key, report.key_given = str(key), self.given_key is not None
        for signer in filter(None, (key, self.log_keys.rotated_last(report.size))):
            try:
                head.check_log(signer)
            except Refused as refused:
                report.add(0, "checkpoint", refused)
        if complete:
            self.cosignatures(head, key)

    def cosignatures(self, head, key):
        """The ledger takes cosignatures only from enrolled witnesses: any other line was put there later."""
        report = self.report
        for line in head.lines:
            if key.claims(line):
                continue
            try:
                earlier = next((one for one in self.log_keys.earlier() if one.claims(line)), None)
                if earlier:
                    head.check_log(earlier)
                    report.notes.append(f"the log's earlier key {earlier} signed too")
                    continue
                witness = next((one for one in self.members.witnesses if one.claims(line)), None)
                if witness is None:
                    raise Refused(f"the signature line of {line.name} is by no enrolled key")
                time = check_cosignature(line, head.text, witness)
                if line.name in report.cosignatures:
                    raise Refused(f"{line.name} has cosigned twice")
                report.cosignatures[line.name] = time
            except Refused as refused:
                report.add(0, "checkpoint", refused)
        if len(report.cosignatures) < self.quorum:
            report.add(0, "checkpoint", f"{len(report.cosignatures)} valid cosignatures, {self.quorum} asked for")

    def surplus(self):
        """In an export every file that does not belong is a finding; a gateway's own folder has some more."""
        live = self.folder.live()
        for path, plain in sorted(self.folder.files()):
            try:
                tile = Tile.parse(path)
            except Refused:
                tile = None
            named = path.startswith("statements/") and path.endswith(".json") and path[11:-5] in self.statements.named
            in_log_now = tile is not None and in_log(tile.level, tile.index, self.report.size) == tile
            belongs = path == "checkpoint" or named or in_log_now
            if belongs and plain:
                continue
            if live and (tile or path in OF_THE_WRITER or path.startswith(("index.sled/", "statements/"))):
                continue
            detail = "not a plain file" if belongs else "this file does not belong to the ledger"
            self.report.add(tile.start if tile else 0, path, detail)
