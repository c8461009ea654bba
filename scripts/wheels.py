"""Downloads wheels from the Python package index, pinned by version and SHA-256."""
import dataclasses
import hashlib
import pathlib
import subprocess
import sys

# What pip may pick from, whatever Python runs this script: x86-64 Linux, CPython 3.11 builds.
PLATFORMS = [f"manylinux_2_{minor}_x86_64" for minor in (28, 27, 26, 25, 24, 17)] + ["manylinux2014_x86_64"]


@dataclasses.dataclass(frozen=True)
class Wheel:
    """One file of the package index."""

    package: str
    version: str
    sha256: str

    @property
    def prefix(self) -> str:
        return f"{self.package.replace('-', '_')}-{self.version}-"


def sha256(path: pathlib.Path) -> str:
    with open(path, "rb") as source:
        return hashlib.file_digest(source, "sha256").hexdigest()


def fetch(wheel: Wheel, folder: pathlib.Path) -> pathlib.Path:
    """The wheel's path below `folder`, downloaded if it is not there; stops the program if its digest is wrong."""
    folder.mkdir(parents=True, exist_ok=True)
    if not list(folder.glob(wheel.prefix + "*.whl")):
        command = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--only-binary=:all:"]
        command += ["--python-version", "311", "--dest", str(folder), f"{wheel.package}=={wheel.version}"]
        for platform in PLATFORMS:
            command += ["--platform", platform]
        if subprocess.run(command).returncode != 0:
            sys.exit(
                f"could not download {wheel.package} {wheel.version}: check the network and that "
                f"'{sys.executable} -m pip --version' works (Debian: apt-get install python3-pip), then run again"
            )
    path = next(folder.glob(wheel.prefix + "*.whl"))
    found = sha256(path)
    if found != wheel.sha256:
        path.unlink()
        sys.exit(f"{path.name}: SHA-256 is {found}, expected {wheel.sha256}; the file was removed, run again")
    return path
