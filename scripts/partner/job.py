#!/usr/bin/env python3
"""Runs a whole job as a partner system does, by the client that scripts/api_client.py generates.

Takes a folder with the model (model.pt), its manifest and its parameters as `konclave-site model inspect` writes them
(manifest.json, parameters.f32), and the request (job.json, without `model`). Uploads and registers the model, asks for
the job, follows it, and leaves in the folder what came of it: the parameters (final.f32) and, of the ledger's entry
that the job began with, the stored bytes (entry.json) and the receipt (entry.tlog-proof).

PYTHONPATH=third_party/api-client:third_party/api-client/packages python3 scripts/partner/job.py --help
"""
from __future__ import annotations

import argparse
import hashlib
import io
import json
import pathlib
import time
import uuid

import httpx
from konclave_client.api.blobs import read_blob
from konclave_client.api.contributions import list_contributions, list_statements
from konclave_client.api.jobs import read_job, request_job
from konclave_client.api.ledger import prove_inclusion, read_checkpoint, read_entry, read_receipt
from konclave_client.api.models import register_model
from konclave_client.api.rounds import list_rounds
from konclave_client.api.uploads import announce_upload, append_to_upload, read_blob_upload
from konclave_client.models import (
    CheckpointView,
    EntryView,
    InclusionProofView,
    Job,
    JobPhaseAborted,
    JobPhaseFinished,
    JobPhaseRunning,
    Model,
    ModelManifest,
    NewJob,
    NewModel,
    NewUpload,
    PageContribution,
    PageRound,
    PageStatement,
    Problem,
    Receipt,
    RewardStatement,
    Round,
    RoundPhaseAborted,
    Upload,
)
from konclave_client.types import UNSET, File, Response, Unset

import access
import inclusion
from access import Access, Refused, expect

# Bytes in one request of an upload.
PART = 1 << 20
# How often a broken connection is tried again before it is told.
TRIES = 5
POLL_SECONDS = 0.5


def upload(partner: Access, path: pathlib.Path) -> str:
    """Uploads a file in parts, and goes on where it stopped when a connection breaks; its digest."""
    octets = path.read_bytes()
    digest = hashlib.sha256(octets).hexdigest()
    # The same key finds the same upload again, also in a later run. It is for the same bytes of the request, which
    # another program may write otherwise: hence `py`.
    key = f"py-upload-{digest}-{len(octets)}"
    body = NewUpload(digest=digest, bytes_=len(octets))
    stand = expect(Upload, announce_upload.sync_detailed(client=partner.client(), body=body, idempotency_key=key))
    broken = 0
    while not stand.complete:
        try:
            if broken:
                answer = read_blob_upload.sync_detailed(stand.upload, client=partner.client())
            else:
                answer = append(partner, stand, octets)
            stand = expect(Upload, answer)
            broken = 0
        except httpx.TransportError:
            broken += 1
            if broken > TRIES:
                raise
            time.sleep(broken)
            continue
        print(f"upload {path.name}: {stand.offset} of {stand.bytes_} bytes", flush=True)
    return digest


def append(partner: Access, stand: Upload, octets: bytes) -> Response[Problem | Upload]:
    """Sends the next part."""
    part = octets[stand.offset : stand.offset + PART]
    return append_to_upload.sync_detailed(
        stand.upload,
        client=partner.client(),
        body=File(payload=io.BytesIO(part)),
        upload_offset=stand.offset,
        upload_complete="?1" if stand.offset + len(part) == len(octets) else "?0",
    )


def register(partner: Access, folder: pathlib.Path) -> Model:
    """Uploads the model's two files and registers it; a model that is registered already stays as it is."""
    manifest = ModelManifest.from_dict(json.loads((folder / "manifest.json").read_text()))
    for name, digest in (("model.pt", manifest.torchscript), ("parameters.f32", manifest.initial_parameters)):
        if upload(partner, folder / name) != digest:
            raise SystemExit(f"{folder / name} is not the file that manifest.json was written for")
    body = NewModel(name="ECFP4 multi-task baseline", manifest=manifest)
    model = expect(Model, register_model.sync_detailed(client=partner.client(), body=body))
    print(f"model {model.model}: {model.manifest.coordinates} parameters, entry {model.entry}", flush=True)
    return model


def ask(partner: Access, folder: pathlib.Path, model: Model) -> Job:
    """Asks for the job."""
    body = NewJob.from_dict(json.loads((folder / "job.json").read_text()) | {"model": model.model})
    # With the same key the request can be repeated after a broken connection, and makes one job.
    key = str(uuid.uuid4())
    job = expect(Job, request_job.sync_detailed(client=partner.client(), body=body, idempotency_key=key))
    print(f"job {job.job}: {job.request.rounds} rounds asked for, entry {job.entry}", flush=True)
    return job


def wait_for_the_end(partner: Access, job_id: str, seconds: float) -> Job:
    """Follows the job; a line for each step."""
    began, told = time.monotonic(), ""
    while True:
        job = expect(Job, read_job.sync_detailed(job_id, client=partner.client()))
        line = f"job {job_id}: {job.phase.kind}"
        if isinstance(job.phase, JobPhaseRunning):
            line += f", {job.rounds_opened} of {job.request.rounds} rounds opened"
        if line != told:
            print(line, flush=True)
            told = line
        if isinstance(job.phase, JobPhaseFinished):
            return job
        if isinstance(job.phase, JobPhaseAborted):
            raise SystemExit(f"job {job_id} was aborted: {job.phase.reason} {', '.join(job.phase.culprits)}")
        if time.monotonic() - began > seconds:
            raise SystemExit(f"job {job_id} is not finished after {seconds:.0f} s; it goes on without this program")
        time.sleep(POLL_SECONDS)


def rounds_of(partner: Access, job: Job) -> list[Round]:
    """The job's rounds, page by page."""
    rounds: list[Round] = []
    cursor: str | Unset = UNSET
    while True:
        answer = list_rounds.sync_detailed(job.job, client=partner.client(), limit=100, cursor=cursor)
        page = expect(PageRound, answer)
        rounds += page.items
        if not page.next_cursor:
            return rounds
        cursor = page.next_cursor


def tell_rounds(rounds: list[Round]) -> None:
    for round_ in rounds:
        if isinstance(round_.phase, RoundPhaseAborted):
            print(f"round {round_.round_}: aborted, {round_.phase.reason}")
            continue
        sums = ", ".join(f"{len(opened.sites)} sites" for opened in round_.openings)
        checked = round_.verification.result if round_.verification else "not open"
        print(f"round {round_.round_}: {round_.phase.kind}, sums of {sums}, {checked}")


def statement_of(partner: Access, job: Job, seconds: float) -> RewardStatement:
    """The job's reward statement, which follows its last evaluation."""
    began = time.monotonic()
    while True:
        page = expect(PageStatement, list_statements.sync_detailed(job.job, client=partner.client()))
        if page.items:
            return page.items[-1].statement
        if time.monotonic() - began > seconds:
            raise SystemExit(f"job {job.job} has no reward statement after {seconds:.0f} s: is an evaluator there?")
        time.sleep(POLL_SECONDS)


def tell_rewards(partner: Access, job: Job, seconds: float) -> None:
    statement = statement_of(partner, job, seconds)
    page = expect(PageContribution, list_contributions.sync_detailed(job.job, client=partner.client()))
    for table in page.items:
        for row in table.rows:
            print(f"contribution in round {table.round_}: {row.site} {row.batch_share_ppm} ppm of batch {row.batch}")
    for line in statement.lines:
        print(f"reward: {line.legal_entity} {line.amount}")
    print(f"statement: {statement.paid} of {statement.budget} paid, {statement.returned} returned")


def download(partner: Access, digest: str, path: pathlib.Path) -> None:
    """Downloads a blob; it is what it is called, whoever served it."""
    octets = expect(File, read_blob.sync_detailed(digest, client=partner.client())).payload.read()
    if hashlib.sha256(octets).hexdigest() != digest:
        raise SystemExit(f"what came for {digest} are other bytes")
    path.write_bytes(octets)
    print(f"parameters {digest}: {len(octets)} bytes in {path.name}")


def keep_proof(partner: Access, job: Job, folder: pathlib.Path) -> None:
    """Reads the entry that the job began with, checks that it is in the ledger, and keeps what shows it to others."""
    entry = expect(EntryView, read_entry.sync_detailed(job.entry, client=partner.client()))
    proof = expect(InclusionProofView, prove_inclusion.sync_detailed(job.entry, client=partner.client()))
    inclusion.check(entry.leaf, entry.index, proof.size, proof.path, proof.root)
    head = expect(CheckpointView, read_checkpoint.sync_detailed(client=partner.client()))
    if head.size < proof.size:
        raise SystemExit(f"the ledger had {proof.size} entries and has {head.size} now")
    action = json.loads(entry.leaf)["action"]
    print(f"entry {entry.index}: {action}, in the tree of {proof.size} entries with root {proof.root}")
    receipt = expect(Receipt, read_receipt.sync_detailed(job.entry, client=partner.client()))
    (folder / "entry.json").write_text(receipt.leaf, newline="")
    (folder / "entry.tlog-proof").write_text(receipt.receipt, newline="")
    print(f"receipt: {len(receipt.quorum.witnesses)} of {receipt.quorum.enrolled} witnesses cosigned its head")


def ask_for_what_is_not_there(partner: Access) -> None:
    """What is somebody else's is answered like what is not there, by a problem that names the reason."""
    try:
        expect(Job, read_job.sync_detailed("job-of-nobody", client=partner.client()))
    except Refused as refused:
        problem = refused.problem
        print(f"refused: {problem.status} {problem.type_}: {problem.detail}")
        return
    raise SystemExit("a job that nobody asked for was read")


def arguments() -> argparse.Namespace:
    parser = access.parser("Run a whole job: register a model, ask for the job, follow it, keep what it gives.")
    parser.add_argument("--patience", type=float, default=600, help="seconds to wait for the job (600)")
    parser.add_argument(
        "folder", type=pathlib.Path, help="where model.pt, manifest.json, parameters.f32 and job.json are"
    )
    return parser.parse_args()


def main() -> None:
    given = arguments()
    partner, folder = access.access(given), given.folder
    print(f"token for {partner.client_id} from {partner.server.token_endpoint}", flush=True)
    partner.client()
    model = register(partner, folder)
    asked = ask(partner, folder, model)
    job = wait_for_the_end(partner, asked.job, given.patience)
    rounds = rounds_of(partner, job)
    tell_rounds(rounds)
    tell_rewards(partner, job, given.patience)
    download(partner, job.global_parameters, folder / "final.f32")
    keep_proof(partner, job, folder)
    ask_for_what_is_not_there(partner)


if __name__ == "__main__":
    access.run(main)
