#!/usr/bin/env python3
"""Puts a CPU libtorch into third_party/libtorch, from the wheels of the Python package index.

The torch wheel is a CUDA build whose CPU half runs on any x86-64 machine. Kept are the headers, the CPU
libraries and the two small CUDA run-time libraries that libtorch_cpu.so links to: about 500 MB on disk
for 543 MB of download. The wheels are pinned by version and SHA-256; a second run does nothing.

Set LIBTORCH_WHEELS to a folder with the same wheels to work without a network.
"""
import os
import pathlib
import shutil
import sys
import tempfile
import zipfile

from wheels import Wheel, fetch

TORCH_VERSION = "2.11.0"
TORCH = Wheel("torch", TORCH_VERSION, "7aa2f9bbc6d4595ba72138026b2074be1233186150e9292865e04b7a63b8c67a")
CUDA_RUNTIME = Wheel("nvidia-cuda-runtime", "13.0.96", "7f82250d7782aa23b6cfe765ecc7db554bd3c2870c43f3d1821f1d18aebf0548")
CUPTI = Wheel("nvidia-cuda-cupti", "13.0.85", "4eb01c08e859bf924d222250d2e8f8b8ff6d3db4721288cf35d14252a4d933c8")

LIBRARIES = {
    TORCH: ["torch/lib/libc10.so", "torch/lib/libtorch_cpu.so", "torch/lib/libgomp.so.1"],
    CUDA_RUNTIME: ["nvidia/cu13/lib/libcudart.so.13"],
    CUPTI: ["nvidia/cu13/lib/libcupti.so.13"],
}


def copy_member(archive: zipfile.ZipFile, member: str, to: pathlib.Path) -> None:
    to.parent.mkdir(parents=True, exist_ok=True)
    with archive.open(member) as source, open(to, "wb") as sink:
        shutil.copyfileobj(source, sink, 1 << 20)


def install(into: pathlib.Path, wheels: pathlib.Path) -> None:
    lib = into / "lib"
    for wheel, members in LIBRARIES.items():
        with zipfile.ZipFile(fetch(wheel, wheels)) as archive:
            for member in members:
                copy_member(archive, member, lib / pathlib.PurePosixPath(member).name)
            if wheel is TORCH:
                for name in archive.namelist():
                    if name.startswith("torch/include/") and not name.endswith("/"):
                        copy_member(archive, name, into / name.removeprefix("torch/"))
    # The linker asks for -ltorch and -lgomp; the wheel's own libtorch.so would pull in 4 GB of CUDA.
    (lib / "libtorch.so").write_text("INPUT(-ltorch_cpu)\n")
    (lib / "libgomp.so").symlink_to("libgomp.so.1")
    (into / "build-version").write_text(TORCH_VERSION + "\n")


def main() -> int:
    into = pathlib.Path(__file__).resolve().parent.parent / "third_party" / "libtorch"
    stamp = into / "build-version"
    if stamp.exists() and stamp.read_text().strip() == TORCH_VERSION:
        return 0
    print(f"libtorch {TORCH_VERSION}: fetching about 543 MB into {into}", flush=True)
    into.parent.mkdir(parents=True, exist_ok=True)
    given = os.environ.get("LIBTORCH_WHEELS")
    # Built beside its final place and renamed, so that an interrupted run leaves nothing half done.
    with tempfile.TemporaryDirectory(dir=into.parent) as temporary:
        staged = pathlib.Path(temporary) / "libtorch"
        wheels = pathlib.Path(given) if given else pathlib.Path(temporary) / "wheels"
        install(staged, wheels)
        if into.exists():
            shutil.rmtree(into)
        staged.rename(into)
    print("libtorch: ready", flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
