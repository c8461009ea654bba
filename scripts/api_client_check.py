#!/usr/bin/env python3
"""Uses the generated Python client (api_client.py) on a live gateway: lists jobs, rounds and ledger entries."""
import argparse
import json
import sys

from konclave_client import AuthenticatedClient
from konclave_client.api.jobs import list_jobs
from konclave_client.api.ledger import list_entries
from konclave_client.api.rounds import list_rounds


def items(answer, what: str) -> list:
    """The items of a page; stops if the gateway answered with a problem."""
    page = answer.parsed
    if answer.status_code != 200 or page is None or not hasattr(page, "items"):
        sys.exit(f"{what}: {answer.status_code} {answer.content!r}")
    return page.items


def main() -> int:
    arguments = argparse.ArgumentParser(description=__doc__)
    for name in ("url", "ca", "token", "job"):
        arguments.add_argument(f"--{name}", required=True)
    given = arguments.parse_args()
    client = AuthenticatedClient(base_url=given.url, token=given.token, verify_ssl=given.ca)

    for job in items(list_jobs.sync_detailed(client=client), "jobs"):
        print(f"job {job.job}: {job.request.name}, {job.phase.kind}")
    for round_ in items(list_rounds.sync_detailed(given.job, client=client), "rounds"):
        print(f"round {round_.round_}: {round_.phase.kind}")
    for entry in items(list_entries.sync_detailed(client=client), "ledger entries"):
        print(f"entry {entry.index}: {json.loads(entry.leaf)['action']}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
