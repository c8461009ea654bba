#!/bin/bash
# Checks the tools that must be there before anything else: says what is missing and how to get it.
set -euo pipefail

cargo="${1:-cargo}"
python="${2:-python3}"
wanted_rust=1.95
failed=0

missing() {
    echo "missing: $1" >&2
    failed=1
}

if ! command -v "$cargo" >/dev/null; then
    missing "cargo, with Rust $wanted_rust or newer: https://rustup.rs"
else
    rust="$(rustc --version | cut -d' ' -f2)"
    if [ "$(printf '%s\n' "$wanted_rust" "${rust%%-*}" | sort -V | head -n1)" != "$wanted_rust" ]; then
        missing "Rust $wanted_rust or newer (here: $rust): rustup update stable"
    fi
fi
if ! command -v "$python" >/dev/null; then
    missing "Python 3.11 or newer: apt-get install python3 python3-pip"
elif ! "$python" -c 'import sys; sys.exit(sys.version_info < (3, 11))'; then
    missing "Python 3.11 or newer (here: $("$python" --version))"
elif ! "$python" -m pip --version >/dev/null 2>&1; then
    missing "pip for $python, to download libtorch's wheels: apt-get install python3-pip"
fi
command -v g++ >/dev/null || missing "a C++17 compiler, for the bindings to libtorch: apt-get install g++"
command -v setpriv >/dev/null || missing "setpriv, which ends the demonstration's processes with it: apt-get install util-linux"
if [ "$(uname -s)-$(uname -m)" != Linux-x86_64 ]; then
    missing "Linux on x86-64: the pinned libtorch is built for it (here: $(uname -s) on $(uname -m))"
fi
exit "$failed"
