"""The ledger as a site checks it: signed heads, proofs that they extend each other, and entries proven under them."""

import base64
import json

from . import primitives
from .encoding import Alarm, Refused, base64_bytes, sha256

EMPTY_ROOT = sha256(b"")


class LogKey:
    """A C2SP verifier key of type 1: name+id+base64(type || Ed25519 key)."""

    def __init__(self, vkey):
        self.name, key_id, material = vkey.split("+", 2)
        kind, self.key = base64_bytes(33)(material)[:1], base64_bytes(33)(material)[1:]
        self.key_id = sha256(self.name.encode() + b"\n" + kind + self.key)[:4]
        if kind != b"\1" or self.key_id.hex() != key_id:
            raise Refused("LedgerKey", vkey)


def read_checkpoint(note, log):
    """Size and root of a signed head."""
    body, _, lines = note.rpartition("\n\n")
    body += "\n"
    parts = body.split("\n")
    if len(parts) != 4 or parts[0] != log.name or parts[1] != str(int(parts[1])):
        raise Refused("Checkpoint", "not a head of this log")
    signed = False
    for line in lines.strip("\n").split("\n"):
        dash, name, signature = line.split(" ", 2)
        signature = base64.b64decode(signature)
        if (dash, name, signature[:4]) != ("\u2014", log.name, log.key_id):
            continue
        if not primitives.verifies(log.key, body.encode(), signature[4:]):
            raise Refused("Checkpoint", "the log's signature is wrong")
        signed = True
    if not signed:
        raise Refused("Checkpoint", "not signed by the log")
    return int(parts[1]), base64_bytes(32)(parts[2])


def check_consistency(old_size, old_root, new_size, new_root, hashes):
    """RFC 9162, section 2.1.4.2."""
    if old_size == 0 or old_size == new_size:
        expected = EMPTY_ROOT if old_size == 0 else new_root
        if hashes or old_root != expected:
            raise Refused("Consistency")
        return
    if not old_size < new_size:
        raise Refused("Consistency", "the ledger shrank")
    rest = list(hashes)
    start = old_root if old_size & (old_size - 1) == 0 else rest.pop(0) if rest else b""
    node, last = old_size - 1, new_size - 1
    while node & 1:
        node, last = node >> 1, last >> 1
    old = new = start
    for step in rest:
        if last == 0:
            raise Refused("Consistency")
        if node & 1 or node == last:
            old, new = primitives.node_hash(step, old), primitives.node_hash(step, new)
            while not node & 1 and node:
                node, last = node >> 1, last >> 1
        else:
            new = primitives.node_hash(new, step)
        node, last = node >> 1, last >> 1
    if last != 0 or old != old_root or new != new_root:
        raise Refused("Consistency")


class Ledger:
    """The last head that this site has seen. Each new one must extend it."""

    def __init__(self, gateway, vkey, store):
        self.gateway, self.log, self.store = gateway, LogKey(vkey), store
        self.size, self.root = store.load("head", [0, EMPTY_ROOT])

    def look(self):
        try:
            size, root = read_checkpoint(self.gateway.get("/v1/ledger/checkpoint")["note"], self.log)
            hashes = self._consistency(self.size, size) if 0 < self.size < size else []
            check_consistency(self.size, self.root, size, root, hashes)
        except Refused as refused:
            raise Alarm(f"the head does not extend the one of {self.size} entries: {refused}") from refused
        self.store.save("head", [size, root])
        self.size, self.root = size, root

    def _consistency(self, old, new):
        return [bytes.fromhex(step) for step in self.gateway.get(f"/v1/ledger/consistency?old={old}&new={new}")["path"]]

    def check_head(self, size, root):
        """A head that a context names must be one that this ledger had."""
        if size > self.size:
            self.look()
        hashes = self._consistency(size, self.size) if 0 < size < self.size else []
        try:
            check_consistency(size, root, self.size, self.root, hashes)
        except Refused as refused:
            raise Alarm(f"a context names another head of {size} entries: {refused}") from refused

    def prove(self, index, leaf):
        if index >= self.size:
            self.look()
        path = self.gateway.get(f"/v1/ledger/entries/{index}/proof?size={self.size}")["path"]
        siblings = iter([bytes.fromhex(step) for step in path])
        led = primitives.lead(primitives.leaf_hash(leaf.encode()), index, self.size, siblings)
        if led != self.root or next(siblings, None) is not None:
            raise Refused("Unproven", f"entry {index}")

    def entry(self, action, wanted, object_=None):
        """Index and record of the first entry of this action that is wanted, proven; None if there is none."""
        path = f"/v1/ledger/entries?action={action}&limit=100"
        if object_:
            path += f"&object={object_}"
        cursor = ""
        while cursor is not None:
            page = self.gateway.get(path + cursor)
            for item in page["items"]:
                leaf = json.loads(item["leaf"])
                if leaf["action"] == action and wanted(leaf["record"]):
                    self.prove(item["index"], item["leaf"])
                    return item["index"], leaf["record"]
            cursor = f"&cursor={page['next_cursor']}" if page.get("next_cursor") else None
        return None

    def of_round(self, action, job, round_, wanted=lambda record: True):
        def is_of(record):
            return record.get("job") == job and record.get("round") == round_ and wanted(record)

        return self.entry(action, is_of, f"jobs/{job}/rounds/{round_}")
