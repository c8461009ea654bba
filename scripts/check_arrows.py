#!/usr/bin/env python3
"""Checks that the dependency arrows between the crates point inward, and what must not be linked at all.

Reads Cargo's own view (`cargo metadata`, `cargo tree`); needs no network once the dependencies are there.
"""
import json
import os
import subprocess
import sys

CARGO = os.environ.get("CARGO", "cargo")

# Which crate of the workspace may use which (normal, build and development dependencies alike).
PURE = ["konclave-crypto", "konclave-ledger", "konclave-policies"]
WIRE = [*PURE, "konclave-openapi"]
ARROWS = {
    "konclave-mask-kernel": [],
    "konclave-crypto": ["konclave-mask-kernel"],
    "konclave-ledger": [],
    "konclave-policies": ["konclave-crypto"],
    "konclave-openapi": PURE,
    "konclave-gateway": WIRE,
    "konclave-site": WIRE,
    "konclave-audit": ["konclave-crypto", "konclave-ledger"],
    "konclave-tests": [*WIRE, "konclave-gateway", "konclave-site", "konclave-audit"],
}

# Runtimes, servers and clients that the pure crates must not pull in, by whatever path.
IMPURE = {"tokio", "async-std", "smol", "hyper", "axum", "reqwest", "tower", "mio"}

# Second TLS stacks: one default feature too many brings them in.
BANNED = {"aws-lc-rs", "aws-lc-sys", "aws-lc-fips-sys", "openssl", "openssl-sys", "native-tls"}


def cargo(*arguments: str) -> str:
    done = subprocess.run([CARGO, *arguments, "--locked"], capture_output=True, text=True)
    if done.returncode != 0:
        sys.exit(f"cargo {' '.join(arguments)} failed:\n{done.stderr}")
    return done.stdout


def wrong_arrows(packages: list[dict]) -> list[str]:
    found = []
    names = {package["name"] for package in packages}
    for missing in sorted(set(ARROWS) ^ names):
        found.append(f"{missing}: the list of crates in scripts/check_arrows.py and the workspace differ")
    for package in packages:
        used = {dependency["name"] for dependency in package["dependencies"]} & names
        for name in sorted(used - set(ARROWS.get(package["name"], [])) - {package["name"]}):
            found.append(f"{package['name']} must not use {name}")
    return found


def impure_dependencies(crate: str) -> list[str]:
    tree = cargo("tree", "--package", crate, "--edges", "normal", "--prefix", "none", "--format", "{p}")
    used = {line.split()[0] for line in tree.splitlines() if line.strip()}
    return [f"{crate} pulls in {name}: it must stay free of HTTP and async runtimes" for name in sorted(used & IMPURE)]


def main() -> int:
    metadata = json.loads(cargo("metadata", "--format-version", "1", "--no-deps"))
    found = wrong_arrows(metadata["packages"])
    for crate in PURE:
        found += impure_dependencies(crate)
    root = metadata["workspace_root"]
    with open(os.path.join(root, "Cargo.lock"), encoding="utf-8") as lock:
        locked = {line.split('"')[1] for line in lock if line.startswith("name = ")}
    found += [f"Cargo.lock has {name}: the only TLS stack is rustls with ring" for name in sorted(locked & BANNED)]
    for line in found:
        print(f"arrow: {line}", file=sys.stderr)
    if not found:
        print(f"arrows: {len(ARROWS)} crates, all point inward; {len(locked)} locked packages, none banned")
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
