"""The ids of what is in a gateway, by the names of the parameters that take them."""
import hashlib
import json
import pathlib

from cryptography import x509
from cryptography.x509.oid import NameOID

from partner import Partner

# Uploads that wait for bytes; deleting one is among what is tried.
UPLOADS = 6
# Any length will do: a piece is taken that is shorter.
UPLOAD_BYTES = 1 << 20


def ids(auditor: Partner, developer: Partner) -> dict[str, list]:
    """Ids of objects that the auditor can read, of blobs and uploads that the model developer owns.

    A name with a path before it is meant for that path alone.
    """
    jobs = [job["job"] for job in auditor.ask("GET", "/v1/jobs?limit=3")["items"]]
    rounds = auditor.ask("GET", f"/v1/jobs/{jobs[0]}/rounds?limit=1")["items"]
    models = developer.ask("GET", "/v1/models?limit=3")["items"]
    export = auditor.ask("POST", "/v1/ledger/exports")
    entries = auditor.ask("GET", "/v1/ledger/entries?limit=500&action=client.registered")["items"]
    commitments = [commitment for entry in entries for commitment in json.loads(entry["leaf"])["commitments"]]
    manifest = models[0]["manifest"]
    return {
        "job": jobs,
        "round": [round_["round"] for round_ in rounds],
        "site": [site["site"] for site in auditor.ask("GET", "/v1/sites?limit=3")["items"]],
        "model": [model["model"] for model in models],
        "manifest": [manifest],
        "digest": [manifest["torchscript"], manifest["initial_parameters"]],
        "upload": uploads(developer),
        "commitment": commitments,
        "entry": [0, 1, export["size"] - 1],
        "index": [0, 1, export["size"] - 1],
        "action": [schema["action"] for schema in auditor.ask("GET", "/v1/ledger/schemas")["items"]][:3],
        "/v1/models name": [models[0]["name"]],
        "field": ["/reason"],
        "Upload-Offset": ["0"],
        "Upload-Complete": ["?0"],
        "/tile/{level}/{index} level": ["entries", "0"],
        "/tile/{level}/{index} index": [file.split("/", 2)[2] for file in export["files"] if file.startswith("tile/0/")],
        "/statements/{file} file": [file.split("/", 1)[1] for file in export["files"] if file.startswith("statements/")],
    }


def uploads(developer: Partner) -> list[str]:
    """Uploads that are open, announced as far as there are too few."""
    known = [upload["upload"] for upload in developer.ask("GET", f"/v1/uploads?limit={UPLOADS}")["items"]]
    for number in range(UPLOADS - len(known)):
        digest = hashlib.sha256(f"upload {number}".encode()).hexdigest()
        known.append(developer.ask("POST", "/v1/uploads", {"digest": digest, "bytes": UPLOAD_BYTES})["upload"])
    return known


def member_of(pem: pathlib.Path) -> str:
    """The id of the member whose TLS certificate this is."""
    certificate = x509.load_pem_x509_certificate(pem.read_bytes())
    return str(certificate.subject.get_attributes_for_oid(NameOID.COMMON_NAME)[0].value)
