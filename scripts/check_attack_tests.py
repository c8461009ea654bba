#!/usr/bin/env python3
"""Checks that every test which SECURITY.md names exists as a test function, and that every attack has one.

A test is named by its crate and function: `crypto: late_upload_is_opened_by_nothing`.
"""
import pathlib
import re
import sys

HEADINGS = (
    "## Attacks on a round, and their tests",
    "## Attacks on the ledger, and their tests",
    "## Attacks on the API, and their tests",
    "## Attacks on uploads, and their tests",
)
FOLDERS = {
    "crypto": ["crypto/src", "crypto/tests"],
    "gateway": ["gateway/src", "gateway/tests"],
    "site": ["site-enclave/src", "site-enclave/tests"],
    "tests": ["tests/src", "tests/tests"],
    "auditor": ["auditor/src", "auditor/tests"],
}
TEST = re.compile(r"#\[(?:tokio::)?test\b[^\]]*\](?:\s*#\[[^\]]*\])*\s*(?:async )?fn (\w+)")


def tests_of(root: pathlib.Path, crate: str) -> set[str]:
    """The names of a crate's test functions."""
    found: set[str] = set()
    for folder in FOLDERS[crate]:
        for path in (root / folder).rglob("*.rs"):
            found.update(TEST.findall(path.read_text(encoding="utf-8")))
    return found


def attacks(root: pathlib.Path) -> dict[str, list[tuple[str, str]]]:
    """The attacks of SECURITY.md, each with its tests as crate and function."""
    text = (root / "SECURITY.md").read_text(encoding="utf-8")
    found: dict[str, list[tuple[str, str]]] = {}
    for heading in HEADINGS:
        if heading not in text:
            sys.exit(f"SECURITY.md has no section {heading!r}")
        section = text.split(heading, 1)[1].split("\n## ", 1)[0]
        rows = [line for line in section.splitlines() if line.startswith("|")][2:]
        found |= {row.strip("|").split("|")[0].strip(): re.findall(r"`(\w+): (\w+)`", row) for row in rows}
    return found


def main() -> int:
    root = pathlib.Path(__file__).resolve().parent.parent
    known = {crate: tests_of(root, crate) for crate in FOLDERS}
    listed = attacks(root)
    faults = []
    for attack, tests in listed.items():
        if not tests:
            faults.append(f"{attack}: no test is named")
        for crate, test in tests:
            if test not in known.get(crate, set()):
                faults.append(f"{attack}: there is no test {test} in {crate}")
    for fault in faults:
        print(fault, file=sys.stderr)
    if not faults:
        print(f"SECURITY.md: {len(listed)} attacks, each with tests that exist")
    return 1 if faults else 0


if __name__ == "__main__":
    sys.exit(main())
