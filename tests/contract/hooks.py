"""What schemathesis is told of the gateway: who calls it, ids of what is there, and which answers to count.

The file that KONCLAVE_SCHEMATHESIS names says in which role, and where to write what was answered
(scripts/schemathesis_run.py).
"""
import atexit
import collections
import hashlib
import json
import os
import pathlib

import schemathesis
from schemathesis.core.failures import Failure
from schemathesis.core.parameters import ParameterLocation
from schemathesis.transport.serialization import Binary

from partner import Partner

SESSION = json.loads(pathlib.Path(os.environ["KONCLAVE_SCHEMATHESIS"]).read_text(encoding="utf-8"))
ROLE: str = SESSION["role"]
IDS: dict[str, list] = SESSION["ids"]
# The way to be let in, as the document names it, and the operations where that is enough; nobody has none.
SCHEME: str | None = SESSION["scheme"]
LET_IN = set(SESSION["let_in"])
# A member's wait for work blocks as long as asked; here a second shows as much as thirty.
LONG_WAITS = set(map(str, range(2, 31)))

# How often each operation answered with each status.
answers: dict[str, collections.Counter] = collections.defaultdict(collections.Counter)


@schemathesis.hook
def before_load_schema(_context, document: dict) -> None:
    """Says who is let in so that schemathesis understands it.

    It knows nothing of OAuth and client certificates; of bearer tokens it knows how to leave them out and to send wrong
    ones (`ignored_auth`, and generated headers).
    """
    document["components"]["securitySchemes"]["oauth2"] = {"type": "http", "scheme": "bearer"}
    for item in document["paths"].values():
        for operation in item.values():
            if isinstance(operation, dict) and operation.get("security"):
                # A member is let in by its certificate: a wrong token beside it would hide all that follows.
                operation["security"] = [] if SCHEME == "mtls" else [{"oauth2": []}]


if SCHEME == "oauth2":
    PARTNER = Partner(SESSION["url"], SESSION["ca"], ROLE, pathlib.Path(SESSION["key"]))

    @schemathesis.auth(refresh_interval=None)
    class Token:
        """The role's access token."""

        def get(self, _case, _context) -> str:
            return PARTNER.token()

        def set(self, case, token: str, _context) -> None:
            case.headers["Authorization"] = f"Bearer {token}"


def drawn(case) -> int:
    """A number that follows from the case, so that a seed gives the same requests again."""
    shown = repr((case.operation.label, case.path_parameters, case.query, case.headers, case.body))
    return int.from_bytes(hashlib.sha256(shown.encode(errors="backslashreplace")).digest()[:8], "big")


def with_ids(path: str, container: dict, number: int) -> dict:
    """The same with ids of what is there, where there are any."""
    changed = dict(container)
    for name in container:
        choices = IDS.get(f"{path} {name}") or IDS.get(name)
        if choices:
            changed[name] = choices[number % len(choices)]
    return changed


def is_valid(case, location: ParameterLocation) -> bool:
    return case.meta is None or not case.meta.is_negative_at(location)


@schemathesis.hook
def before_call(_context, case, **_settings) -> None:
    """Puts ids of what is there into half of the cases, so that there is something to answer with."""
    path, number = case.operation.path, drawn(case)
    if path == "/v1/work" and str((case.query or {}).get("wait_seconds")) in LONG_WAITS:
        case.query = {**case.query, "wait_seconds": 1}
    if number % 2:
        return
    number //= 2
    if case.path_parameters and is_valid(case, ParameterLocation.PATH):
        case.path_parameters = with_ids(path, case.path_parameters, number)
    if case.query and is_valid(case, ParameterLocation.QUERY):
        case.query = with_ids(path, case.query, number)
    if case.headers and is_valid(case, ParameterLocation.HEADER):
        case.headers.update(with_ids(path, case.headers, number))
    if is_valid(case, ParameterLocation.BODY):
        complete_body(case, number)


def complete_body(case, number: int) -> None:
    """What a client works out for a request: ids, the digest of a blob, the proof of who it is."""
    operation = case.operation.definition.raw["operationId"]
    if isinstance(case.body, dict):
        case.body = with_ids(case.operation.path, case.body, number)
        if operation == "issue_token" and SCHEME == "oauth2":
            case.body = PARTNER.token_request()
    elif operation == "put_blob":
        case.path_parameters = {"digest": hashlib.sha256(blob(case.body)).hexdigest()}


def blob(body) -> bytes:
    """The bytes that are sent for a body of bytes."""
    if isinstance(body, Binary):
        return body.data
    return body if isinstance(body, bytes) else str(body).encode()


@schemathesis.serializer("application/partial-upload")
def part(_context, value) -> dict:
    """A piece of a large blob: bytes as they are."""
    return {"data": blob(value)}


@schemathesis.hook
def after_call(_context, case, response) -> None:
    if response.request.method == case.operation.method.upper():
        answers[case.operation.definition.raw["operationId"]][response.status_code] += 1


@schemathesis.check
def documented_access(_context, response, case) -> None:
    """Who is not let in by the document gets nothing."""
    operation = case.operation
    same = response.request.method == operation.method.upper()
    if same and response.status_code < 400 and operation.definition.raw["operationId"] not in LET_IN:
        raise Failure(operation=operation.label, title="Lets in whom the document does not",
                      message=f"{ROLE} is answered with {response.status_code}")


@atexit.register
def report() -> None:
    pathlib.Path(SESSION["report"]).write_text(json.dumps(answers, sort_keys=True), encoding="utf-8")
