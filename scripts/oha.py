"""The load generator oha from crates.io, pinned, built into third_party/oha/."""
import os
import pathlib
import subprocess
import sys

ROOT = pathlib.Path(__file__).resolve().parent.parent
FOLDER = ROOT / "third_party" / "oha"
PROGRAM = FOLDER / "bin" / "oha"
VERSION = "1.16.0"


def install() -> None:
    """Builds oha with the dependencies that it was published with, if it is not there."""
    if PROGRAM.exists() and said(PROGRAM, "--version") == f"oha {VERSION}":
        return
    print(f"building oha {VERSION}, which takes some minutes", flush=True)
    cargo = os.environ.get("CARGO", "cargo")
    command = [cargo, "install", "--quiet", "--locked", "--root", str(FOLDER), "--version", VERSION, "oha"]
    # Without a folder for builds Cargo takes a temporary one: it is of no use afterwards.
    environment = {name: value for name, value in os.environ.items() if name != "CARGO_TARGET_DIR"}
    if subprocess.run(command, env=environment).returncode != 0:
        sys.exit(f"oha {VERSION} could not be built: is crates.io reachable, and is there a C compiler?")


def said(*command: object) -> str:
    return subprocess.run([str(part) for part in command], capture_output=True, text=True).stdout.strip()


if __name__ == "__main__":
    install()
