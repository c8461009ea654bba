#!/usr/bin/env python3
"""Installs what the second client (tests/second-client/) needs into third_party/second-client/, and checks the client.

Nothing is installed into the system: the packages go into a folder of their own. A second run with the same pins
installs nothing. Then the client checks itself against crypto/vectors/; with `--install-only` it does not.
"""
import hashlib
import os
import pathlib
import shutil
import subprocess
import sys

ROOT = pathlib.Path(__file__).resolve().parent.parent
REQUIREMENTS = ROOT / "scripts" / "second_client_requirements.txt"
FOLDER = ROOT / "third_party" / "second-client"
PACKAGES = FOLDER / "packages"
CLIENT = ROOT / "tests" / "second-client"


def install() -> None:
    stamp = FOLDER / "packages.stamp"
    wanted = hashlib.sha256(sys.version.encode() + REQUIREMENTS.read_bytes()).hexdigest()
    if stamp.exists() and stamp.read_text() == wanted:
        return
    FOLDER.mkdir(parents=True, exist_ok=True)
    shutil.rmtree(PACKAGES, ignore_errors=True)
    command = [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--only-binary=:all:"]
    command += ["--target", str(PACKAGES), "--requirement", str(REQUIREMENTS)]
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode != 0:
        sys.exit(f"the second client's packages could not be installed: is the Python package index reachable?\n"
                 f"{done.stdout}{done.stderr}")
    stamp.write_text(wanted)


def main() -> int:
    if sys.version_info < (3, 11):
        sys.exit(f"the second client needs Python 3.11 or newer; this is {sys.version.split()[0]}")
    install()
    if "--install-only" in sys.argv[1:]:
        return 0
    environment = {**os.environ, "PYTHONPATH": f"{CLIENT}:{PACKAGES}", "PYTHONDONTWRITEBYTECODE": "1"}
    command = [sys.executable, "-m", "second_client", "check", str(ROOT / "crypto" / "vectors")]
    return subprocess.run(command, env=environment).returncode


if __name__ == "__main__":
    sys.exit(main())
