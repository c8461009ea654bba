#!/usr/bin/env python3
"""An auditor's look at the ledger with a token that can only read, by the client that scripts/api_client.py generates.

Lists the entries, exports them with their proofs to a file, checks every proof against the checkpoint of the export and
asks for the proof of one entry by itself. What a file of this form is worth, and how to check signatures and
cosignatures too, is in the auditor's guide of docs/ledger.md.
"""
from __future__ import annotations

import base64
import collections
import json
import pathlib
import typing

from konclave_client.api.ledger import export_entries, list_entries, prove_inclusion
from konclave_client.api.models import register_model
from konclave_client.models import EntryPage, EntryView, InclusionProofView, Model, ModelManifest, NewModel
from konclave_client.types import UNSET, Unset

import access
import inclusion
from access import Access, Refused, expect


def entries(partner: Access) -> typing.Iterator[EntryView]:
    """Every entry, page by page."""
    cursor: str | Unset = UNSET
    while True:
        page = expect(EntryPage, list_entries.sync_detailed(client=partner.client(), limit=50, cursor=cursor))
        yield from page.items
        if not page.next_cursor:
            return
        cursor = page.next_cursor


def export(partner: Access, path: pathlib.Path) -> int:
    """Writes the export to a file and checks it; how many entries it has."""
    path.write_text(expect(str, export_entries.sync_detailed(client=partner.client())), encoding="utf-8", newline="")
    with path.open(encoding="utf-8") as lines:
        head = json.loads(next(lines))
        _origin, size, root = head["checkpoint"].split("\n")[:3]
        count = 0
        for line in map(json.loads, lines):
            if "end" in line:
                if line["end"] != count:
                    raise SystemExit(f"{path} ends after {count} entries and says {line['end']}")
                return count
            root_hex = base64.b64decode(root).hex()
            inclusion.check(line["leaf"], line["index"], int(size), line["proof"], root_hex)
            count += 1
    raise SystemExit(f"{path} was cut short: it has no last line")


def ask_for_what_an_auditor_may_not(partner: Access) -> None:
    """A role that reads changes nothing: the answer is a problem that names the policy."""
    manifest = ModelManifest(parameters=[], coordinates=0, heads=1, torchscript="0" * 64, initial_parameters="0" * 64)
    try:
        body = NewModel(name="an auditor's", manifest=manifest)
        expect(Model, register_model.sync_detailed(client=partner.client(), body=body))
    except Refused as refused:
        print(f"refused: {refused.problem.status} {refused.problem.type_}: {refused.problem.detail}")
        return
    raise SystemExit("an auditor registered a model")


def main() -> None:
    parser = access.parser("List and export the ledger as an auditor, and check every proof.")
    parser.add_argument("--out", type=pathlib.Path, default="export.ndjson", help="the file (export.ndjson)")
    given = parser.parse_args()
    partner = access.access(given)
    seen = list(entries(partner))
    actions = collections.Counter(json.loads(entry.leaf)["action"] for entry in seen)
    for action, count in sorted(actions.items()):
        print(f"{count} x {action}")
    count = export(partner, given.out)
    print(f"export: {count} entries in {given.out.name}, every proof leads to its checkpoint")
    last = seen[-1]
    proof = expect(InclusionProofView, prove_inclusion.sync_detailed(last.index, client=partner.client()))
    inclusion.check(last.leaf, last.index, proof.size, proof.path, proof.root)
    print(f"entry {last.index}: in the tree of {proof.size} entries with root {proof.root}")
    ask_for_what_an_auditor_may_not(partner)


if __name__ == "__main__":
    access.run(main)
