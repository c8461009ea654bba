"""C2SP tlog-proof: a receipt in one text, index, inclusion proof and checkpoint with its cosignatures."""
from dataclasses import dataclass

import merkle
from notes import Checkpoint, Refused, base64_bytes, decimal

HEADER = "c2sp.org/tlog-proof@v1"
MAX_HASHES = 64


@dataclass(frozen=True)
class Receipt:
    """A tlog-proof taken apart. Extra data, which the format allows, is refused: nothing authenticates it."""

    index: int
    hashes: tuple
    checkpoint: Checkpoint

    @classmethod
    def parse(cls, data):
        try:
            proof, blank, note = data.decode("utf-8").partition("\n\n")
        except UnicodeDecodeError as error:
            raise Refused("the receipt is not UTF-8") from error
        lines = proof.split("\n")
        if not blank or len(lines) < 2 or lines[0] != HEADER or not lines[1].startswith("index "):
            raise Refused(f"not a {HEADER} without extra data")
        hashes = tuple(map(base64_bytes, lines[2:]))
        if len(hashes) > MAX_HASHES or any(len(one) != 32 for one in hashes):
            raise Refused("the hashes of an inclusion proof have 32 bytes, and there are at most 64")
        return cls(decimal(lines[1].removeprefix("index ")), hashes, Checkpoint.parse(note.encode()))

    def check(self, entry, key):
        """Refuses the receipt unless the log `key` has the entry's bytes at its index."""
        self.checkpoint.check_log(key)
        try:
            merkle.check_inclusion(self.index, self.checkpoint.size, merkle.leaf_hash(entry), self.hashes,
                                   self.checkpoint.root)
        except merkle.BadProof as error:
            raise Refused(str(error)) from error
