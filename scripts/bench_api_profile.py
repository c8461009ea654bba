"""Where the gateway's processor time goes under an operation: its stacks, sampled by perf and sorted into stages."""
import collections
import os
import pathlib
import re
import shutil
import subprocess
import sys
import threading

# A sample belongs to the stage of its innermost function that is named here; first match from above.
STAGES = [
    ("waiting for the disk, its processor time", r"_sys_(fsync|fdatasync|renameat|rename|openat|unlink|mkdir)"),
    ("reading and writing files", r"_sys_(statx|newfstat|pread64|read|write|close|pwrite64|ftruncate|getdents64)"),
    ("sockets", r"_sys_(sendto|recvfrom|sendmsg|recvmsg|writev|epoll_\w+|shutdown|accept4)|tcp_|net_rx"),
    ("waking threads", r"_sys_futex|sched_|schedule$|exit_to_user_mode"),
    ("random bytes", r"_sys_getrandom"),
    ("TLS", r"\brustls::|tokio_rustls|\bring::(aead|chacha)|gcm|aes_hw|aesni|chacha20_poly"),
    ("signature of the token", r"jsonwebtoken|curve25519|x25519|ed25519|ge_|fe_|sha512|sc_muladd"),
    ("policies (Cedar)", r"cedar_policy|authorization::engine|smol_str"),
    ("certificate of the connection", r"x509_parser|asn1_rs|der_parser|auth::certificate"),
    ("client's record", r"auth::clients|still_granted|pem::parse"),
    ("who asks, else", r"auth::"),
    ("ledger: appending and reading", r"konclave_ledger|gateway::writer|sled"),
    ("fold of the ledger", r"gateway::projections"),
    ("log lines and spans", r"tracing|sharded_slab"),
    ("JSON", r"serde_json|serde_path_to_error|serde::"),
    ("operation", r"gateway::(routes|core|idempotency|extract|coordinator|intake|uploads)"),
    ("layers around all operations", r"gateway::(request|router|documented|capacity|traffic)|tower|axum|matchit"),
    ("HTTP", r"hyper|\bh2::|\bhttp::|httparse"),
    ("runtime", r"tokio|mio::|parking_lot"),
]
HERTZ = 997
PATTERNS = [(stage, re.compile(pattern)) for stage, pattern in STAGES]


def stage_of(functions: list[str]) -> str:
    """The stage of a stack, innermost function first."""
    for function in functions:
        for stage, pattern in PATTERNS:
            if pattern.search(function):
                return stage
    return "not told apart"


def stacks(data: pathlib.Path) -> list[list[str]]:
    """The functions of each sample, innermost first."""
    script = ["perf", "script", "-i", str(data), "-F", "ip,sym", "--no-inline"]
    text = subprocess.run(script, capture_output=True, text=True, check=True).stdout
    samples = (block.splitlines() for block in text.split("\n\n"))
    return [[line.strip().partition(" ")[2] for line in lines if line.strip()] for lines in samples if lines]


def record(pid: int, seconds: float, data: pathlib.Path) -> None:
    command = ["perf", "record", "-q", "-F", str(HERTZ), "--call-graph", "dwarf,16384", "-p", str(pid), "-o", str(data)]
    subprocess.run([*command, "--", "sleep", str(seconds)], capture_output=True, check=True)


def run(bench, operations, load, seconds: float, folder: pathlib.Path) -> None:
    """Prints one table for each operation: processor time of a request, by stage."""
    if shutil.which("perf") is None:
        sys.exit("BENCH=profile needs perf (Debian: apt-get install linux-perf)")
    data = folder / "perf.data"
    for operation in operations:
        # Without perf first: sampling stacks slows the server down, but leaves the shares as they are.
        turn = bench.turn(bench.gateway, operation, load, ["-w", "-z", f"{seconds}s"])
        loading = threading.Thread(
            target=bench.turn, args=(bench.gateway, operation, load, ["-w", "-z", f"{seconds + 2}s"])
        )
        loading.start()
        record(bench.gateway.process.pid, seconds, data)
        loading.join()
        print(table(f"{operation.name}, {load.at_a_time} at a time", turn.cpu_us, stacks(data)), flush=True)
        os.remove(data)


def table(title: str, cpu_us: float, samples: list[list[str]]) -> str:
    counts = collections.Counter(stage_of(functions) for functions in samples)
    lines = [f"{title}: {cpu_us:.0f} us of processor time for a request, {len(samples)} samples"]
    for stage, count in counts.most_common():
        share = count / len(samples)
        lines.append(f"  {stage:44} {share * cpu_us:8.1f} us  {share:6.1%}")
    return "\n".join(lines)
