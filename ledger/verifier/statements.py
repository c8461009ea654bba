"""Signed statements: DSSE envelopes (version 1) in `statements/<digest>.json`, and what entries claim of them."""
import hashlib
import json

import ed25519
from leaves import is_digest, read_canonical
from notes import Refused, base64_bytes

MAX_ENVELOPE_BYTES = 4 * 1024 * 1024

# Payload types, and the fields of a payload.
TYPES = {
    "deposit": "application/vnd.konclave.deposit.v1+json",
    "consent": "application/vnd.konclave.consent.v1+json",
    "evaluation": "application/vnd.konclave.evaluation.v1+json",
}
# Actions that stand for a member's word: which statement they rest on, and the field that names who signed.
CLAIMS = {
    "deposit.registered": ("deposit", "site"),
    "consent.given": ("consent", "site"),
    "consent.refused": ("consent", "site"),
    "evaluation.recorded": ("evaluation", "evaluator"),
}
LINE = ("task", "records", "unique_structures", "scaffolds")


def pre_authentication_encoding(payload_type, payload):
    """PAE of the DSSE protocol: the bytes that are signed."""
    kind = payload_type.encode()
    return b"DSSEv1 %d %s %d %s" % (len(kind), kind, len(payload), payload)


def parse_envelope(data):
    """The envelope of canonical JSON bytes."""
    if len(data) > MAX_ENVELOPE_BYTES:
        raise Refused("the envelope is too long")
    envelope = read_canonical(data)
    good = isinstance(envelope, dict) and set(envelope) == {"payload", "payloadType", "signatures"}
    good = good and isinstance(envelope["payload"], str) and isinstance(envelope["payloadType"], str)
    good = good and isinstance(envelope["signatures"], list) and all(
        isinstance(one, dict) and set(one) == {"keyid", "sig"} and all(isinstance(text, str) for text in one.values())
        for one in envelope["signatures"])
    if not good:
        raise Refused("not a DSSE envelope")
    return envelope


def check_envelope(envelope, public):
    """The payload, if one of the signatures is by the key. `keyid` is a hint and not looked at."""
    payload = base64_bytes(envelope["payload"])
    signed = pre_authentication_encoding(envelope["payloadType"], payload)
    for one in envelope["signatures"]:
        try:
            if ed25519.verify(public, signed, base64_bytes(one["sig"])):
                return payload
        except Refused:
            continue
    raise Refused("no signature in the envelope is by the key")


def json_object(payload):
    try:
        value = json.loads(payload.decode())
    except (ValueError, RecursionError):
        return {}
    return value if isinstance(value, dict) else {}


def differs(action, record, said):
    """The first field in which the entry says something else than the member signed."""
    if action == "deposit.registered":
        lines = [{name: line.get(name) for name in LINE} for line in said.get("catalogue_tasks", [])]
        fields = {"site": said.get("site"), "data_class": said.get("data_class"), "lines": lines}
    elif action == "evaluation.recorded":
        fields = {name: said.get(name) for name in ("job", "round", "benchmark")}
        fields |= {"parameters": said.get("model"), "score_micro": said.get("utility_micro"),
                   "coalition": sorted(said.get("coalition", []))}
    else:
        decision = "accept" if action == "consent.given" else "refuse"
        if said.get("decision") != decision:
            return "decision"
        fields = {name: said.get(name) for name in ("job", "site")}
        if action == "consent.refused" and not str(said.get("rule")).startswith(str(record.get("rule"))):
            return "rule"
    return next((name for name, value in fields.items() if record.get(name) != value), None)


def check_statement(data, leaf, members, claim):
    """Refuses a statement file that is not what the entry `leaf` says it is."""
    if hashlib.sha256(data).hexdigest() != leaf["statement"]:
        raise Refused("the statement was altered: it does not have the digest that the entry names")
    envelope = parse_envelope(data)
    site = leaf["site"]
    if site is None:
        raise Refused("the entry names a statement but no site that signed it")
    if site not in members.identity_keys:
        raise Refused(f"the entry's site {site} was not enrolled before")
    said = json_object(check_envelope(envelope, members.identity_keys[site]))
    if claim is None:
        if isinstance(said.get("site"), str) and said["site"] != site:
            raise Refused(f"signed by {site}, but it speaks of {said['site']}")
        return
    if claim[0] == "evaluation" and not members.is_evaluator(site):
        raise Refused(f"{site} is no certified evaluator")
    if envelope["payloadType"] != TYPES[claim[0]]:
        raise Refused(f"the envelope holds {envelope['payloadType']}")
    try:
        field = differs(leaf["action"], leaf["record"], said)
    except (AttributeError, TypeError) as error:
        raise Refused("the signed payload is not the statement its type promises") from error
    if field:
        raise Refused(f"the entry's {field} is not what {site} signed")


class Statements:
    """Checks the statements that entries name, and remembers their names."""

    def __init__(self, folder):
        self.folder = folder
        self.named = set()
        self.checked = 0

    def problems(self, leaf, members):
        """What is wrong with the statement of one entry: pairs of file and reason."""
        record = leaf["record"] if isinstance(leaf["record"], dict) else {}
        claim = CLAIMS.get(leaf["action"])
        if claim and not (is_digest(record.get("statement")) and isinstance(record.get(claim[1]), str)):
            yield "the entry", f"the record of {leaf['action']} is malformed"
            claim = None
        if claim and (leaf["statement"], leaf["site"]) != (record["statement"], record[claim[1]]):
            yield "the entry", f"{record[claim[1]]} is said to have stated this, but the entry names no such statement"
        digest = leaf["statement"]
        if digest is None:
            return
        file = f"statements/{digest}.json"
        again = digest in self.named
        self.named.add(digest)
        data = self.folder.read(file)
        try:
            if claim and again:
                raise Refused("an earlier entry rests on the same statement")
            if data is None:
                raise Refused("the statement is missing")
            check_statement(data, leaf, members, claim)
            self.checked += 1
        except Refused as refused:
            yield file, str(refused)
