#!/bin/bash
# Checks that a konclave-audit is one static program that works: scripts/check_static.sh PROGRAM.
set -euo pipefail
program=$1

if readelf --program-headers "$program" | grep -q INTERP; then
    echo "$program asks for a dynamic loader" >&2
    exit 1
fi
if readelf --dynamic "$program" | grep -q NEEDED; then
    echo "$program needs shared libraries" >&2
    exit 1
fi

# With nothing of the environment, and in a folder with nothing in it.
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cp "$program" "$folder/konclave-audit"
cd "$folder"
env -i ./konclave-audit --help >/dev/null
# The origin, size and root of an empty log, under a signature of nobody: to be read, and refused.
mkdir copy
printf 'konclave.example/ledger\n0\n47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU=\n\n\xe2\x80\x94 konclave.example/ledger AAAAAAA=\n' >copy/checkpoint
key='PeterNeumann+c74f20a3+ARpc2QcUPDhMQegwxbzhKqiBfsVkmqq/LDE4izWy10TW'
code=0
env -i ./konclave-audit verify copy --quiet --key "$key" >verdict || code=$?
if [ "$code" -ne 2 ] || ! grep -q '^TAMPERED' verdict; then
    echo "$program verify did not refuse a checkpoint that is not signed (exit code $code)" >&2
    exit 1
fi
echo "$program: static, $(stat -c %s "$folder/konclave-audit") bytes, --help and verify work"
