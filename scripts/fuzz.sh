#!/bin/bash
# Runs the fuzz targets of every crate that has some for some seconds each: scripts/fuzz.sh CARGO SECONDS [CRATE[/TARGET]]...
#
# libFuzzer's coverage needs no nightly compiler, only the flags that cargo-fuzz would pass. What is missing is the address
# sanitizer: the one crate with unsafe code, crypto/kernel, checks all lengths before it and has tests of its own. Corpora and findings stay in target/fuzz/. A finding ends the run: its
# input is in target/fuzz/CRATE/findings/, and the target's program run on it alone shows it again.
set -euo pipefail
cd "$(dirname "$0")/.."
cargo=$1
seconds=$2
shift 2
host=$(rustc -vV | sed -n 's/^host: //p')
build=$PWD/target/fuzz/build
coverage='--cfg fuzzing -Cpasses=sancov-module -Cllvm-args=-sanitizer-coverage-level=4
 -Cllvm-args=-sanitizer-coverage-inline-8bit-counters -Cllvm-args=-sanitizer-coverage-pc-table
 -Cllvm-args=-sanitizer-coverage-trace-compares'

# Whether a crate or one of its targets was asked for; without a list, everything was.
wanted() {
    local crate=$1 target=$2 asked
    shift 2
    if [ $# -eq 0 ]; then return 0; fi
    for asked in "$@"; do
        case $asked in
            "$crate" | "$crate/$target") return 0 ;;
            "$crate"/*) if [ -z "$target" ]; then return 0; fi ;;
        esac
    done
    return 1
}

found=
for manifest in */fuzz/Cargo.toml; do
    crate=${manifest%%/*}
    wanted "$crate" '' "$@" || continue
    package=$(sed -n 's/^name = "\(.*\)"/\1/p' "$crate/Cargo.toml" | head -1)
    if [ -f "$crate/tests/fuzz_targets.rs" ]; then
        FUZZ_CORPUS=$PWD/target/fuzz/$crate/corpus "$cargo" test --quiet --locked -p "$package" --test fuzz_targets -- --ignored write_seeds
    fi
    # With --target the flags leave build scripts alone.
    CARGO_TARGET_DIR=$build RUSTFLAGS=$coverage "$cargo" build --quiet --release --target "$host" --manifest-path "$manifest" --bins
    for source in "$crate"/fuzz/fuzz_targets/*.rs; do
        target=$(basename "$source" .rs)
        wanted "$crate" "$target" "$@" || continue
        found=1
        corpus=target/fuzz/$crate/corpus/$target
        mkdir -p "$corpus" "target/fuzz/$crate/findings"
        log=target/fuzz/$crate/$target.log
        if ! "$build/$host/release/$target" -max_total_time="$seconds" -timeout=20 -rss_limit_mb=2048 \
            -max_len=65536 -print_final_stats=1 -artifact_prefix="target/fuzz/$crate/findings/$target-" "$corpus" 2>"$log"; then
            tail -40 "$log"
            echo "$crate/$target: a finding, see target/fuzz/$crate/findings/" >&2
            exit 1
        fi
        runs=$(sed -n 's/^stat::number_of_executed_units: *//p' "$log")
        covered=$(grep -o 'cov: [0-9]*' "$log" | tail -1)
        echo "$crate/$target: $runs runs in $seconds s, ${covered:-cov: 0}, no finding"
    done
done
if [ -z "$found" ]; then
    echo "no such fuzz target: $*" >&2
    exit 1
fi
