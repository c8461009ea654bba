#!/bin/bash
# Runs cargo-deny, built once into third_party/tools. Licences, bans and sources are checked always; the advisory
# database is fetched from the network, so advisories are checked when it can be reached, and it is said if not.
set -euo pipefail
cd "$(dirname "$0")/.."

cargo="${1:-cargo}"
version=0.20.2
tools="$PWD/third_party/tools"
deny="$tools/bin/cargo-deny"
if ! [ -x "$deny" ] || [ "$("$deny" --version)" != "cargo-deny $version" ]; then
    "$cargo" install --locked --root "$tools" --target-dir "$tools/build" "cargo-deny@$version"
    rm -rf "$tools/build"
fi
"$deny" --locked check licenses bans sources
if "$deny" fetch db 2>/dev/null; then
    "$deny" --locked check advisories
else
    echo 'advisories: NOT checked, their database could not be fetched' >&2
fi
