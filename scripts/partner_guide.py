#!/usr/bin/env python3
"""Runs the blocks of docs/partner-guide.md in their order, against a live gateway; the first that fails ends it.

A block takes part if its language is followed by `guide`, or by `operator` for what the operator does. Blocks of one
language that follow each other are one program, as pasted into one terminal or file. A line of it has the number that
it has in the guide, so that what a shell, Python or the compiler says of a line is true of the guide.

The blocks find KONCLAVE_URL, KONCLAVE_CA, KONCLAVE_CLIENT and KONCLAVE_AUDITOR in the environment. With
KONCLAVE_DEPLOYMENT, the gateway's folder, and its programs on the PATH the operator's blocks are run; without it they
are left out, and the keys of clients that are registered already are expected in the folder: client.key, auditor.key.
What the guide tells to install is taken from third_party/ (`make test-api` puts it there).
"""
from __future__ import annotations

import argparse
import dataclasses
import itertools
import os
import pathlib
import re
import shutil
import subprocess
import sys
import typing

import api_client
import node
import ts_client

ROOT = pathlib.Path(__file__).resolve().parent.parent
GUIDE = ROOT / "docs" / "partner-guide.md"
MODEL = ROOT / "site-enclave" / "models" / "baseline-ecfp4-mlp.pt"
NEEDED = ("KONCLAVE_URL", "KONCLAVE_CA", "KONCLAVE_CLIENT", "KONCLAVE_AUDITOR")
TOOLS = {"bash": "bash", "curl": "curl", "openssl": "openssl", "jq": "jq", "sha256sum": "coreutils"}
# For one program. A job waits for its sites, which may never come.
LIMIT_SECONDS = 600
FENCE = re.compile(r"```(?P<language>\w+) (?P<who>\w+)$")
# Fails where the failing line is, also within functions.
STRICT = "set -Eeuo pipefail; trap 'echo \"line $LINENO of the guide failed\" >&2' ERR"


@dataclasses.dataclass(frozen=True)
class Block:
    """One fenced block; `line` is that of its fence."""

    language: str
    who: str
    line: int
    text: tuple[str, ...]


def blocks(text: str) -> list[Block]:
    """The blocks that take part."""
    found: list[Block] = []
    lines = enumerate(text.splitlines(), start=1)
    for number, line in lines:
        if not line.startswith("```"):
            continue
        inside = tuple(line for _, line in itertools.takewhile(lambda numbered: numbered[1] != "```", lines))
        fence = FENCE.match(line)
        if fence and fence["language"] in RUNNERS and fence["who"] in ("guide", "operator"):
            found.append(Block(fence["language"], fence["who"], number, inside))
        elif " " in line:
            sys.exit(f"line {number}: `{line}` is no block that can be run: sh, python or ts, and guide or operator")
    return found


def program(parts: typing.Sequence[Block], tell: str) -> str:
    """One program of several blocks; the line of each fence says where it is."""
    lines: list[str] = []
    for block in parts:
        lines += [""] * (block.line - 1 - len(lines))
        lines += [tell.format(f"{GUIDE.name}:{block.line}"), *block.text]
    return "\n".join(lines) + "\n"


def call(command: list[str], work: pathlib.Path) -> bool:
    """Whether a program succeeds, in time."""
    try:
        return subprocess.run(command, cwd=work, env=environment(work), timeout=LIMIT_SECONDS).returncode == 0
    except subprocess.TimeoutExpired:
        print(f"not done after {LIMIT_SECONDS} s: {' '.join(command)}", file=sys.stderr)
        return False


def environment(work: pathlib.Path) -> dict[str, str]:
    """Where the guide's programs are found: as if they were installed."""
    paths = [work / "bin", node.NODE.parent, api_client.PACKAGES / "bin", os.environ["PATH"]]
    return {
        **os.environ,
        "KONCLAVE": str(ROOT),
        "PATH": ":".join(map(str, paths)),
        "PYTHONPATH": str(api_client.PACKAGES),
        "PYTHONDONTWRITEBYTECODE": "1",
    }


def run_sh(parts: typing.Sequence[Block], work: pathlib.Path) -> bool:
    script = work / "guide.sh"
    # The first line of the guide is its title: there is room.
    script.write_text(STRICT + program(parts, "echo '== {}'"))
    return call(["bash", script.name], work)


def run_python(parts: typing.Sequence[Block], work: pathlib.Path) -> bool:
    script = work / "guide.py"
    script.write_text(program(parts, "print('== {}')"))
    return call([sys.executable, script.name], work)


def run_ts(parts: typing.Sequence[Block], work: pathlib.Path) -> bool:
    script = work / "guide.ts"
    script.write_text(program(parts, "console.log('== {}');"))
    compiler = work / "node_modules" / "typescript" / "bin" / "tsc"
    checks = [str(node.NODE), "loopholes.ts", script.name], [str(node.NODE), str(compiler), "--project", "."]
    shutil.copy(ts_client.PROGRAMS / "loopholes.ts", work)
    return all(call(check, work) for check in checks) and call([str(node.NODE), script.name], work)


RUNNERS = {"sh": run_sh, "python": run_python, "ts": run_ts}


def prepare(work: pathlib.Path) -> None:
    """What the guide takes for given: the model, this Python, the packages of npm."""
    missing = [package for tool, package in TOOLS.items() if shutil.which(tool) is None]
    if missing:
        sys.exit(f"the guide's blocks need more tools: apt-get install {' '.join(missing)}")
    if not (ts_client.FOLDER / "node_modules").is_dir() or not api_client.PACKAGES.is_dir():
        sys.exit("the clients' generators are not installed: run `make test-api`")
    (work / "bin").mkdir(parents=True, exist_ok=True)
    if not (work / "model.pt").exists():
        shutil.copy(MODEL, work / "model.pt")
    python = work / "bin" / "python3"
    python.write_text(f"#!/bin/sh\nexec '{sys.executable}' \"$@\"\n")
    python.chmod(0o755)
    modules = work / "node_modules"
    if not modules.exists():
        modules.symlink_to(ts_client.FOLDER / "node_modules")


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("work", type=pathlib.Path, help="the folder to work in; made if it is not there")
    parser.add_argument("--guide", type=pathlib.Path, default=GUIDE, help="another guide")
    given = parser.parse_args()
    unset = [name for name in NEEDED if not os.environ.get(name)]
    if unset:
        sys.exit(f"not in the environment: {', '.join(unset)}")
    work = given.work.resolve()
    prepare(work)
    wanted = blocks(given.guide.read_text(encoding="utf-8"))
    # A block whose mark was lost would not be missed otherwise.
    if silent := RUNNERS.keys() - {block.language for block in wanted}:
        sys.exit(f"{given.guide.name} has no blocks in {', '.join(sorted(silent))}")
    if not os.environ.get("KONCLAVE_DEPLOYMENT"):
        wanted = [block for block in wanted if block.who != "operator"]
    for language, parts in itertools.groupby(wanted, key=lambda block: block.language):
        together = list(parts)
        if not RUNNERS[language](together, work):
            sys.exit(f"{given.guide.name}: a block after line {together[0].line} failed")
    print(f"{given.guide.name}: {len(wanted)} blocks ran")
    return 0


if __name__ == "__main__":
    sys.exit(main())
