#!/usr/bin/env python3
"""Makes the known-answer files beside it with the verifier in `ledger/verifier/`, independently of the Rust code.

Needs only Python 3.11. The files are committed; run this again only when a format changes, and then say so in the
change log: logs and receipts of an older version break. `--check` writes nothing and says whether the files are the
ones that this program makes. Every case goes through the Python verifier first: it accepts the positive ones and
refuses the negative ones.
"""
import json
import pathlib
import sys

HERE = pathlib.Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent / "verifier"))
sys.dont_write_bytecode = True

import ed25519
import rotation_cases
import text_cases
import tree_cases

CASES = {**tree_cases.FILES, **text_cases.FILES, **rotation_cases.FILES}


def main():
    # The package `cryptography` would be another implementation than the one to be shown right.
    ed25519.PURE = True
    stale = []
    for name, make in CASES.items():
        positive, negative = make()
        assert len(negative) * 3 >= len(positive) + len(negative), f"{name}: too few negative cases"
        text = json.dumps({"positive": positive, "negative": negative}, indent=1) + "\n"
        file = HERE / f"{name}.json"
        if "--check" not in sys.argv[1:]:
            file.write_text(text)
        elif not file.exists() or file.read_text() != text:
            stale.append(file.name)
    if stale:
        sys.exit(f"not what generate.py makes: {', '.join(stale)}")


if __name__ == "__main__":
    main()
