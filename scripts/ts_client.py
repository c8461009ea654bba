#!/usr/bin/env python3
"""Generates a TypeScript client from openapi/openapi.json into third_party/ts-client/, and checks the programs over it.

The types are made by openapi-typescript, the requests by openapi-fetch, both pinned with all they need in
tests/contract/ts/package-lock.json; Node.js is brought along. The programs of tests/contract/ts/ are compiled against
the types with every strictness, and hold neither `any` nor a cast (tests/contract/ts/loopholes.ts): what the document
says is enough to write them.
A second run with the same files does nothing.
"""
import pathlib
import shutil
import subprocess
import sys

import node
from wheels import sha256

ROOT = pathlib.Path(__file__).resolve().parent.parent
DOCUMENT = ROOT / "openapi" / "openapi.json"
PROGRAMS = ROOT / "tests" / "contract" / "ts"
FOLDER = ROOT / "third_party" / "ts-client"
TYPES = FOLDER / "konclave.ts"


def run(command: list[str], failure: str) -> str:
    done = subprocess.run(command, cwd=FOLDER, env=node.environment(), capture_output=True, text=True)
    if done.returncode != 0:
        sys.exit(f"{failure}\n{done.stdout}{done.stderr}")
    return done.stdout


def main() -> int:
    node.install_packages(PROGRAMS, FOLDER)
    sources = sorted(PROGRAMS.glob("*.ts")) + [PROGRAMS / "tsconfig.json"]
    inputs = [DOCUMENT, PROGRAMS / "package-lock.json", pathlib.Path(__file__), *sources]
    stamp, wanted = FOLDER / "client.stamp", " ".join(sha256(path) for path in inputs)
    if not stamp.exists() or stamp.read_text() != wanted:
        for old in FOLDER.glob("*.ts"):
            old.unlink()
        for source in sources:
            shutil.copy(source, FOLDER)
        TYPES.write_text(run([str(node.NODE), "generate.ts", str(DOCUMENT)], "openapi.json gives no TypeScript types"))
        programs = [path.name for path in sources if path.suffix == ".ts"]
        run([str(node.NODE), "loopholes.ts", *programs], "a program gets around the types of the generated client")
        compiler = FOLDER / "node_modules" / "typescript" / "bin" / "tsc"
        run([str(node.NODE), str(compiler), "--project", "."], "the programs do not fit the generated client")
        stamp.write_text(wanted)
    print(f"TypeScript client: {TYPES.relative_to(ROOT)}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
