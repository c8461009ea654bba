#!/usr/bin/env bash
# Flower's SecAgg+ beside the table that `make bench` just printed: [python]
set -euo pipefail
cd "$(dirname "$0")/.."
python=${1:-python3.12}
venv=target/bench/flower
if [ ! -e "$venv/installed" ]; then
    echo "installing Flower 1.42.0 into $venv"
    "$python" -m venv "$venv"
    # 1.41.0 brings the dependencies; what 1.42.0 adds to them is not used here.
    "$venv/bin/pip" install --quiet flwr==1.41.0
    "$venv/bin/pip" install --quiet --no-deps flwr==1.42.0
    touch "$venv/installed"
fi
echo 'sites and coordinates: Flower | Konclave, from the same run, one thread'
for shape in '8 1000000 1' '32 1000000 3' '32 10000000 3'; do
    # shellcheck disable=SC2086
    "$venv/bin/python" scripts/bench_flower.py $shape | tee -a target/bench/flower.jsonl | "$python" -c '
import json, sys
peer = json.loads(sys.stdin.read())
rows = json.load(open("target/bench/speed.json"))["rows"]
same = [row for row in rows if all(row[key] == peer[key] for key in ("sites", "coordinates", "dropped"))][0]
print("n={sites} d={coordinates} dropped={dropped}".format(**peer), end=": ")
print("mask {:.3f} s | {:.4f} s ({:.0f}x)".format(peer["mask_s"], same["mask_s"], peer["mask_s"] / same["mask_s"]), end=", ")
print("unmask {:.3f} s | {:.4f} s ({:.0f}x)".format(peer["unmask_s"], same["unmask_s"], peer["unmask_s"] / same["unmask_s"]), end=", ")
print("bytes a parameter {} | {}".format(peer["bytes_per_parameter"], same["bytes_per_parameter"]))
'
done
