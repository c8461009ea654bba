#!/usr/bin/env python3
"""Generates a Python client from openapi/openapi.json into third_party/api-client/.

The generator is openapi-python-client from the Python package index, pinned with everything it needs. Nothing is
installed into the system: the packages go into a folder of their own. A second run with the same document and the
same pins does nothing.
"""
import hashlib
import os
import pathlib
import shutil
import subprocess
import sys

ROOT = pathlib.Path(__file__).resolve().parent.parent
DOCUMENT = ROOT / "openapi" / "openapi.json"
REQUIREMENTS = ROOT / "scripts" / "api_client_requirements.txt"
FOLDER = ROOT / "third_party" / "api-client"
PACKAGES = FOLDER / "packages"
CLIENT = FOLDER / "konclave_client"
# Media types that the generator does not know, and what it is to take them for.
SETTINGS = ROOT / "scripts" / "partner" / "python_client.json"


def digest(*paths: pathlib.Path) -> str:
    sha = hashlib.sha256(sys.version.encode())
    for path in paths:
        sha.update(path.read_bytes())
    return sha.hexdigest()


def is_done(stamp: pathlib.Path, wanted: str) -> bool:
    return stamp.exists() and stamp.read_text() == wanted


def run(command: list[str], failure: str, **settings) -> None:
    done = subprocess.run(command, capture_output=True, text=True, **settings)
    if done.returncode != 0:
        sys.exit(f"{failure}\n{done.stdout}{done.stderr}")


def install() -> None:
    stamp, wanted = FOLDER / "packages.stamp", digest(REQUIREMENTS)
    if is_done(stamp, wanted):
        return
    shutil.rmtree(PACKAGES, ignore_errors=True)
    command = [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--only-binary=:all:"]
    command += ["--target", str(PACKAGES), "--requirement", str(REQUIREMENTS)]
    run(command, "the client's generator could not be installed: is the Python package index reachable?")
    stamp.write_text(wanted)


def generate() -> None:
    stamp, wanted = FOLDER / "client.stamp", digest(REQUIREMENTS, DOCUMENT, SETTINGS, pathlib.Path(__file__))
    if is_done(stamp, wanted):
        return
    command = [sys.executable, "-m", "openapi_python_client", "generate", "--path", str(DOCUMENT)]
    command += ["--meta", "none", "--output-path", str(CLIENT), "--overwrite", "--fail-on-warning"]
    command += ["--config", str(SETTINGS)]
    environment = {**os.environ, "PYTHONPATH": str(PACKAGES), "PATH": f"{PACKAGES / 'bin'}:{os.environ['PATH']}"}
    run(command, "no client could be generated from openapi/openapi.json", env=environment)
    stamp.write_text(wanted)


def main() -> int:
    FOLDER.mkdir(parents=True, exist_ok=True)
    install()
    generate()
    print(f"Python client: {CLIENT.relative_to(ROOT)}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
