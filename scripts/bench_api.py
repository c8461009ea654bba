#!/usr/bin/env python3
"""Requests a second and latencies of the API over mTLS, beside the same server answering a constant; one table.

A consortium is founded with the release programs, on the disk that target/ is on. The gateway and
gateway/examples/constant.rs run on the first core, the load generator (oha) on the others. Each operation and the
constant take turns under the same load: the same certificate, HTTP version, number of requests at a time, method,
headers and bodies. So whatever else a machine is doing meets both.

BENCH=full takes longer turns and more of them; BENCH=profile shows where the gateway's time goes (needs perf).
target/bench/api.json has the figures of every turn.
"""
import argparse
import dataclasses
import json
import os
import pathlib
import shutil
import statistics
import subprocess
import sys

import bench_api_profile
import oha
from bench_api_deployment import FORM, JSON, Deployment, Identity, Programs, Server

ROOT = pathlib.Path(__file__).resolve().parent.parent
OUT = ROOT / "target" / "bench"
# An assertion is drawn from a file at random, so that some are drawn twice and refused.
ASSERTIONS, TOKEN_REQUESTS = 5000, 100
MAX_REFUSED = 0.06


@dataclasses.dataclass(frozen=True)
class Load:
    """HTTP version, connections, and requests at a time on each of them."""

    version: str
    connections: int
    streams: int = 1

    @property
    def at_a_time(self) -> int:
        return self.connections * self.streams

    def options(self) -> list[str]:
        return ["--http-version", self.version, "-c", str(self.connections), "-p", str(self.streams)]


ONE, SOME, MANY = Load("1.1", 1), Load("1.1", 16), Load("1.1", 64)
# What HTTP/2 adds is many requests on one connection.
SOME_STREAMS, MANY_STREAMS = Load("2", 1, 16), Load("2", 4, 16)


@dataclasses.dataclass(frozen=True)
class Operation:
    """What is asked for, by whom, and under which loads."""

    name: str
    identity: Identity
    path: str
    loads: tuple[Load, ...]
    with_token: bool = False
    media: str = ""
    bodies: tuple[str, ...] = ()
    # Waiting for the disk makes turns uneven: longer ones.
    stretch: float = 1.0
    # So many and no more, for what cannot be asked for without end.
    requests: int | None = None


@dataclasses.dataclass(frozen=True)
class Turn:
    """What one turn of one server gave."""

    per_second: float
    p50_ms: float
    p99_ms: float
    # Processor time of the server's process for each request.
    cpu_us: float
    refused: float

    @classmethod
    def of(cls, report: dict, cpu_seconds: float) -> "Turn":
        statuses = {int(status): count for status, count in report["statusCodeDistribution"].items()}
        good = sum(count for status, count in statuses.items() if status < 300)
        answers = sum(statuses.values())
        # Requests that were cut off at the end of the turn are no errors; anything else is.
        errors = {kind: count for kind, count in report["errorDistribution"].items() if "deadline" not in kind}
        if errors or not good:
            sys.exit(f"the load did not go through: {errors or statuses}")
        latencies = report["latencyPercentiles"]
        return cls(
            per_second=good / report["summary"]["total"],
            p50_ms=latencies["p50"] * 1e3,
            p99_ms=latencies["p99"] * 1e3,
            cpu_us=cpu_seconds / answers * 1e6,
            refused=1 - good / answers,
        )


class Bench:
    """The servers, and the load on them."""

    def __init__(self, deployment: Deployment, cores: list[int]) -> None:
        self.deployment, self.load_cores = deployment, set(cores[1:])
        self.gateway = deployment.serve({cores[0]})
        self.constant = deployment.serve_constant({cores[0]})

    def stop(self) -> None:
        self.gateway.stop()
        self.constant.stop()

    def command(self, server: Server, operation: Operation, load: Load) -> list[str]:
        command = [str(oha.PROGRAM), "--no-tui", "--output-format", "json", "--disable-compression"]
        command += ["--worker-threads", str(len(self.load_cores)), "--cacert", str(self.deployment.ca)]
        command += ["--cert", str(operation.identity.certificate), "--key", str(operation.identity.key)]
        command += load.options()
        if operation.with_token:
            command += ["-H", f"Authorization: Bearer {self.deployment.partner_token(self.gateway)}"]
        if operation.bodies:
            bodies = self.deployment.folder / "bodies"
            bodies.write_text("\n".join(operation.bodies))
            command += ["-m", "POST", "-T", operation.media, "-Z", str(bodies)]
        return [*command, server.url + operation.path]

    def turn(self, server: Server, operation: Operation, load: Load, amount: list[str]) -> Turn:
        command = self.command(server, operation, load)
        before = server.cpu_seconds()
        done = subprocess.run(
            [*command[:-1], *amount, command[-1]], capture_output=True, text=True,
            preexec_fn=lambda: os.sched_setaffinity(0, self.load_cores),
        )
        cpu_seconds = server.cpu_seconds() - before
        if done.returncode != 0:
            sys.exit(f"oha failed: {done.stderr}")
        return Turn.of(json.loads(done.stdout), cpu_seconds)

    def pairs(self, operation: Operation, load: Load, seconds: float, repetitions: int) -> list[tuple[Turn, Turn]]:
        """Constant and gateway take turns."""
        duration = ["-w", "-z", f"{seconds * operation.stretch:.2f}s"]
        pairs = []
        for _ in range(repetitions):
            constant = self.turn(self.constant, operation, load, duration)
            amount = ["-n", str(operation.requests)] if operation.requests else duration
            if operation.media == FORM:
                operation = dataclasses.replace(operation, bodies=self.assertions())
            gateway = self.turn(self.gateway, operation, load, amount)
            if gateway.refused > MAX_REFUSED:
                sys.exit(f"{operation.name}: {gateway.refused:.0%} of the requests were refused")
            pairs.append((constant, gateway))
        return pairs

    def assertions(self) -> tuple[str, ...]:
        return tuple(self.deployment.token_request() for _ in range(ASSERTIONS))


def operations(bench: Bench) -> list[Operation]:
    """Reads of the edge, of the state and of the ledger; writes that the disk is waited for."""
    member, partner = bench.deployment.member, bench.deployment.partner
    site = "/v1/sites/site-a"
    entries = bench.deployment.correctable(bench.gateway)
    corrections = tuple(
        json.dumps({"entry": entries[number % len(entries)], "field": "/reason", "is": f"as told in letter {number}",
                    "reason": "the letter came later"})
        for number in range(20_000)
    )
    every = (ONE, SOME, MANY, SOME_STREAMS, MANY_STREAMS)
    return [
        Operation("GET /livez", member, "/livez", every),
        Operation("GET /v1/sites/{site}, certificate", member, site, every),
        Operation("GET /v1/sites/{site}, token", partner, site, (ONE, SOME, MANY), with_token=True),
        Operation("GET /v1/ledger/checkpoint", member, "/v1/ledger/checkpoint", (ONE, SOME, MANY)),
        Operation("POST /v1/ledger/corrections", partner, "/v1/ledger/corrections", (ONE, SOME, MANY),
                  with_token=True, media=JSON, bodies=corrections, stretch=2.0),
        Operation("POST /oauth/token", partner, "/oauth/token", (ONE, SOME), media=FORM,
                  bodies=(bench.deployment.token_request(),), requests=TOKEN_REQUESTS),
    ]


HEADER = (
    "                                             | constant, the same server       | gateway\n"
    "operation                          HTTP    c |      /s  p50 ms  p99 ms  cpu us |      /s  p50 ms  p99 ms  cpu us | ratio"
)


def columns(turns: list[Turn]) -> str:
    def middle(name: str) -> float:
        return statistics.median(getattr(turn, name) for turn in turns)

    return f"{middle('per_second'):7.0f} {middle('p50_ms'):7.2f} {middle('p99_ms'):7.2f} {middle('cpu_us'):7.1f}"


def row(operation: Operation, load: Load, pairs: list[tuple[Turn, Turn]]) -> str:
    ratio = statistics.median(gateway.per_second / constant.per_second for constant, gateway in pairs)
    constant, gateway = zip(*pairs)
    place = f"{operation.name:34} {load.version:>4} {load.at_a_time:4}"
    return f"{place} | {columns(constant)} | {columns(gateway)} | {ratio:5.3f}"


def measure(bench: Bench, wanted: list[Operation], seconds: float, repetitions: int) -> None:
    figures = []
    print(HEADER, flush=True)
    for operation in wanted:
        before = bench.deployment.ledger_size(bench.gateway)
        for load in operation.loads:
            pairs = bench.pairs(operation, load, seconds, repetitions)
            print(row(operation, load, pairs), flush=True)
            turns = [{"constant": dataclasses.asdict(one), "gateway": dataclasses.asdict(two)} for one, two in pairs]
            figures.append({"operation": operation.name, "load": dataclasses.asdict(load), "turns": turns})
        grown = bench.deployment.ledger_size(bench.gateway) - before
        if grown:
            print(f"{'':34} the ledger grew by {grown} entries", flush=True)
    (OUT / "api.json").write_text(json.dumps({"seconds": seconds, "rows": figures}, indent=1) + "\n")


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--bin", type=pathlib.Path, required=True, help="the folder of the release programs")
    parser.add_argument("--only", default="", help="only operations whose names contain this text")
    options = parser.parse_args()
    mode = os.environ.get("BENCH") or "default"
    turns = {"default": (1.0, 3), "full": (6.0, 5), "profile": (5.0, 1)}
    if mode not in turns:
        sys.exit(f"BENCH={mode} is none of {', '.join(turns)}")
    cores = sorted(os.sched_getaffinity(0))
    if len(cores) < 2:
        sys.exit("two cores are needed: one for the server, one for the load")
    oha.install()
    folder = OUT / "api"
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    bench = Bench(Deployment(Programs(options.bin), folder), cores)
    try:
        wanted = [operation for operation in operations(bench) if options.only in operation.name]
        if mode == "profile":
            chosen = [operation for operation in wanted if operation.media != FORM]
            bench_api_profile.run(bench, chosen, SOME, turns[mode][0], folder)
        else:
            measure(bench, wanted, *turns[mode])
    finally:
        bench.stop()
    return 0


if __name__ == "__main__":
    sys.exit(main())
