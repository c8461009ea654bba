#!/usr/bin/env python3
"""Verifies a copy of a Konclave audit ledger, offline, with Python 3.11 or newer and nothing else.

Written from the specifications that docs/ledger.md names, not from the Rust code, so that a mistake in one shows in
the other. Exit codes are those of konclave-audit: 0 sound, 1 usage or unreadable files, 2 tampered.

What it does not check: what jobs' rounds say of each other, sums, models, contributions and rewards. See
`konclave-audit verify` for those.
"""
import sys

if sys.version_info < (3, 11):
    sys.exit(f"verify_ledger.py needs Python 3.11 or newer; this is {sys.version.split()[0]}")

import argparse
import json
import os

import ed25519
import merkle
from leaves import is_digest, parse_leaf
from notes import Checkpoint, Refused, VerifierKey, check_cosignature
from receipts import Receipt
from rotation import log_key
from tiles import ENTRIES, WIDTH, Folder, in_log, range_root, split_bundle
from walk import Audit, NoKey

SOUND, UNUSABLE, TAMPERED = 0, 1, 2
SCHEMAS = os.path.join(os.path.dirname(os.path.dirname(os.path.abspath(__file__))), "schemas")


def read(path):
    with open(path, "rb") as file:
        return file.read()


def stored_entry(folder, index, size):
    """The bytes of an entry."""
    tile = in_log(ENTRIES, index // WIDTH, size)
    data = folder.read(str(tile)) if tile else None
    entries = split_bundle(data) if data is not None else []
    if index % WIDTH >= len(entries) or entries[index % WIDTH] is None:
        raise Refused(f"entry {index} is not in the folder")
    return entries[index % WIDTH]


def key_of(folder, given, size):
    """The key given, or the one that the log's first entry publishes."""
    leaf = None if given else parse_leaf(stored_entry(folder, 0, size))
    record = leaf["record"] if leaf and isinstance(leaf["record"], dict) else {}
    key = given or log_key(record.get("vkey"), leaf["origin"])
    if key is None:
        raise NoKey("no key was given with --key, and the log's first entry does not publish one")
    return key


def verify(arguments):
    """One report a folder: copies that several people hold."""
    reports = []
    for folder in arguments.folder:
        audit = Audit(Folder(folder), arguments.key, arguments.root, arguments.origin, arguments.quorum, arguments.schemas)
        report = audit.run()
        first = report.first_bad_index
        reports.append({"folder": folder, "ok": first is None, "first_bad_index": first, **vars(report)})
        if not arguments.json:
            show(report, first)
    if arguments.json:
        print(json.dumps(reports if len(reports) > 1 else reports[0], indent=2))
    return SOUND if all(report["ok"] for report in reports) else TAMPERED


def show(report, first):
    name = report.origin or "unnamed log"
    if first is None:
        print(f"OK  {name}: {report.size} entries, nothing changed, removed, reordered or added")
    else:
        print(f"TAMPERED  {name}: first bad index {first}")
    for finding in report.findings[:100]:
        print(f"  entry {finding['first_index']}, {finding['file']}: {finding['detail']}")
    print(f"  root         {report.root}")
    print(f"  checked      {report.entries_checked} entries, {report.statements_checked} statements; not the rounds")
    print(f"  cosigned by  {len(report.cosignatures)} of {report.witnesses_enrolled} enrolled witnesses: "
          + ", ".join(sorted(report.cosignatures)))
    for what, value, given in (("key", report.key, report.key_given),
                               ("consortium", report.consortium_root, report.root_given)):
        print(f"  {what:<12} {value} " + ("(as given)" if given else
              "TAKEN FROM THE LOG ITSELF: compare it with the one you know from elsewhere"))
    for note in report.notes[:100]:
        print(f"  note         {note}")


def receipt(arguments):
    """Checks a tlog-proof file against the entry's bytes, from a file or from a folder."""
    proof = Receipt.parse(read(arguments.receipt))
    if arguments.entry:
        stored = read(arguments.entry)
    else:
        folder = Folder(arguments.folder)
        stored = stored_entry(folder, proof.index, Checkpoint.parse(read_checkpoint(folder)).size)
    proof.check(stored, arguments.key)
    leaf = parse_leaf(stored)
    if leaf["seq"] != proof.index or leaf["origin"] != proof.checkpoint.origin:
        raise Refused("the entry is another one than the receipt says")
    witnesses = set()
    for line in proof.checkpoint.lines:
        for key in filter(lambda key: key.claims(line), arguments.witness):
            check_cosignature(line, proof.checkpoint.text, key)
            witnesses.add(key.name)
    if len(witnesses) < arguments.quorum:
        raise Refused(f"{len(witnesses)} valid cosignatures by the witnesses given, {arguments.quorum} asked for")
    print(f"OK  entry {proof.index} of {proof.checkpoint.size} of {proof.checkpoint.origin}: {leaf['action']} "
          f"{leaf['object']}\n  cosigned by {', '.join(sorted(witnesses)) or 'no witness that was given'}")
    return SOUND


def read_checkpoint(folder):
    data = folder.read("checkpoint")
    if data is None:
        raise Refused("the checkpoint is missing")
    return data


def consistency(arguments):
    """Checks that the ledger in a folder extends an older checkpoint, with a proof from its tiles."""
    folder = Folder(arguments.folder)
    old, new = Checkpoint.parse(read(arguments.old)), Checkpoint.parse(read_checkpoint(folder))
    key = key_of(folder, arguments.key, new.size)
    old.check_log(arguments.old_key or key)
    new.check_log(key)
    if old.size > new.size:
        raise Refused(f"rollback: the older checkpoint counts {old.size} entries, the folder {new.size}")
    try:
        path = merkle.consistency_proof(range_root(folder, new.size), old.size, new.size)
        merkle.check_consistency(old.size, new.size, path, old.root, new.root)
    except merkle.BadProof as error:
        detail = f"the {new.size} entries do not extend the {old.size} of the older checkpoint: {error}"
        raise Refused(detail) from error
    print(f"OK  {new.origin}: the {new.size} entries extend the {old.size} of the older checkpoint")
    for one in path:
        print(f"  {one.hex()}")
    return SOUND


def root_key(text):
    if not is_digest(text):
        raise argparse.ArgumentTypeError("a root is 64 hexadecimal characters")
    return bytes.fromhex(text)


def verifier_key(text):
    try:
        return VerifierKey.parse(text)
    except Refused as refused:
        raise argparse.ArgumentTypeError(str(refused)) from refused


class Arguments(argparse.ArgumentParser):
    def error(self, message):
        self.print_usage(sys.stderr)
        self.exit(UNUSABLE, f"verify_ledger.py: {message}\n")


def parser():
    top = Arguments(prog="verify_ledger.py", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    top.add_argument("--pure", action="store_true", help="Ed25519 in Python even where `cryptography` is installed")
    commands = top.add_subparsers(required=True, metavar="COMMAND")

    one = commands.add_parser("verify", help="recompute everything and name the first bad entry")
    one.add_argument("folder", nargs="+", help="an exported ledger; several, to compare copies of several people")
    one.add_argument("--key", type=verifier_key, help="the log's verifier key, known from elsewhere")
    one.add_argument("--root", type=root_key, help="the consortium root's public key, known from elsewhere")
    one.add_argument("--origin", help="the log must have this name")
    one.add_argument("--quorum", type=int, default=0, help="this many witnesses must have cosigned")
    one.add_argument("--schemas", default=SCHEMAS, help="folder with the records' JSON Schemas (default: %(default)s)")
    one.add_argument("--json", action="store_true", help="print the report as JSON")
    one.set_defaults(run=verify)

    one = commands.add_parser("receipt", help="check a receipt (C2SP tlog-proof) of one entry")
    one.add_argument("receipt")
    source = one.add_mutually_exclusive_group(required=True)
    source.add_argument("--entry", help="a file with the entry's stored bytes")
    source.add_argument("--folder", help="a ledger that has the entry")
    one.add_argument("--key", type=verifier_key, required=True, help="the log's verifier key")
    one.add_argument("--witness", type=verifier_key, action="append", default=[], help="a witness's verifier key")
    one.add_argument("--quorum", type=int, default=0, help="this many of these witnesses must have cosigned")
    one.set_defaults(run=receipt)

    one = commands.add_parser("consistency", help="check that a ledger extends an older checkpoint")
    one.add_argument("old", help="file with the older checkpoint")
    one.add_argument("folder")
    one.add_argument("--key", type=verifier_key, help="the log's verifier key, known from elsewhere")
    one.add_argument("--old-key", type=verifier_key, help="the key that signed the older checkpoint, if another")
    one.set_defaults(run=consistency)
    return top


def main():
    arguments = parser().parse_args()
    ed25519.PURE = arguments.pure
    try:
        return arguments.run(arguments)
    except Refused as refused:
        print(f"REFUSED  {refused}")
        return TAMPERED
    except (OSError, ValueError, NoKey) as error:
        print(f"verify_ledger.py: {error}", file=sys.stderr)
        return UNUSABLE


if __name__ == "__main__":
    sys.exit(main())
