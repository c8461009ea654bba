"""The body of C2SP tlog-witness `add-checkpoint`: what a log asks a witness."""
from dataclasses import dataclass

import merkle
from notes import Checkpoint, Refused, base64_bytes, decimal

MAX_HASHES = 63


@dataclass(frozen=True)
class WitnessRequest:
    """The size that the witness has seen, a consistency proof from there, and the checkpoint to cosign."""

    old_size: int
    hashes: tuple
    checkpoint: Checkpoint

    @classmethod
    def parse(cls, data):
        try:
            head, blank, note = data.decode("utf-8").partition("\n\n")
        except UnicodeDecodeError as error:
            raise Refused("the request is not UTF-8") from error
        first, *lines = head.split("\n")
        if not blank or not first.startswith("old ") or len(lines) > MAX_HASHES:
            raise Refused("not an add-checkpoint body")
        hashes = tuple(map(base64_bytes, lines))
        if any(len(one) != 32 for one in hashes):
            raise Refused("a hash has 32 bytes")
        return cls(decimal(first.removeprefix("old ")), hashes, Checkpoint.parse(note.encode()))

    def check(self, seen_size, seen_root, key):
        """Refuses the request unless a witness that has seen this head of the log `key` may cosign."""
        self.checkpoint.check_log(key)
        if self.old_size > self.checkpoint.size:
            raise Refused("the checkpoint is smaller than the old size")
        if self.old_size != seen_size:
            raise Refused(f"the witness has seen {seen_size} entries")
        try:
            merkle.check_consistency(seen_size, self.checkpoint.size, self.hashes, seen_root, self.checkpoint.root)
        except merkle.BadProof as error:
            raise Refused(str(error)) from error
