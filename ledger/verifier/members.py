"""Who the members are: certificates under the consortium root, which the operator does not hold.

Certificates are those of docs/protocol.md, sections 3.1 and 5.1.
"""
import ed25519
from leaves import is_digest
from notes import COSIGNATURE, Refused, VerifierKey, base64_bytes

FIELDS = ("site", "legal_entity", "role", "identity_key", "witness_vkey", "serial", "not_before", "not_after")
NUMBERS = ("serial", "not_before", "not_after")


def transcript(what, *fields):
    """Length-prefixed fields after the text `konclave/v1/<what>`; numbers are 8 bytes, big-endian."""
    out = b""
    for field in (f"konclave/v1/{what}", *fields):
        if isinstance(field, str):
            field = field.encode()
        elif isinstance(field, int):
            field = field.to_bytes(8, "big")
        out += len(field).to_bytes(8, "big") + field
    return out


def check_certificate(certificate, root, role, time):
    """The membership that the root (32 bytes) certified for `role` at `time`."""
    if not isinstance(certificate, dict) or set(certificate) != {"membership", "signature"}:
        raise Refused("the certificate is not a membership with a signature")
    membership = certificate["membership"]
    if not isinstance(membership, dict) or {"witness_vkey", *membership} != set(FIELDS):
        raise Refused("the certificate has not exactly the fields of one")
    values = [membership.get(name, "") for name in FIELDS]
    numbers = all(type(membership[name]) is int and membership[name] >= 0 for name in NUMBERS)
    texts = [value for name, value in zip(FIELDS, values) if name not in NUMBERS]
    texts.append(certificate["signature"])
    if not numbers or not all(isinstance(text, str) for text in texts) or not is_digest(membership["identity_key"]):
        raise Refused("a field of the certificate has a wrong form")
    values[FIELDS.index("identity_key")] = bytes.fromhex(membership["identity_key"])
    if not ed25519.verify(root, transcript("membership", *values), base64_bytes(certificate["signature"])):
        raise Refused("the certificate is not signed by the consortium root")
    if not membership["not_before"] <= time <= membership["not_after"]:
        raise Refused("the certificate was not valid at the entry's time")
    if membership["role"] != role:
        raise Refused(f"the certificate is for the role {membership['role']}, not {role}")
    return membership


def digest_of(record, name):
    if not is_digest(record.get(name)):
        raise Refused(f"the record's {name} is not 64 hexadecimal characters")
    return bytes.fromhex(record[name])


class Members:
    """What the log has said of roots, members and witnesses so far."""

    def __init__(self, pinned_root):
        self.pinned = pinned_root
        self.published = None
        self.identity_keys = {}
        self.certified = {}
        self.witnesses = []

    @property
    def root(self):
        return self.pinned or self.published

    def is_evaluator(self, member):
        return self.certified.get(member) == "evaluator"

    def take(self, leaf, time):
        """Takes in an entry; refuses one about a member whom the root did not certify."""
        record = leaf["record"] if isinstance(leaf["record"], dict) else {}
        if leaf["action"] == "ledger.created":
            self.published = digest_of(record, "root")
            if self.pinned and self.pinned != self.published:
                raise Refused("the entry names another consortium root than the one given")
            check_certificate(record.get("gateway"), self.root, "gateway", time)
        elif leaf["action"] == "gateway.certified":
            check_certificate(record.get("gateway"), self.known_root(), "gateway", time)
        elif leaf["action"] == "site.enrolled":
            self.enrol(record, time)

    def known_root(self):
        if self.root is None:
            raise Refused("no consortium root is known: the log's first entry does not name it")
        return self.root

    def enrol(self, record, time):
        identity = digest_of(record, "identity_key")
        witness = VerifierKey.parse(str(record.get("witness_vkey")))
        if witness.kind != COSIGNATURE:
            raise Refused("the witness key is not of type 4")
        site = str(record.get("site"))
        # Noted even if the certificate is refused, so that one finding does not draw others after it.
        self.identity_keys[site] = identity
        if witness not in self.witnesses:
            self.witnesses.append(witness)
        role = "evaluator" if record.get("role") == "evaluator" else "site"
        membership = check_certificate(record.get("certificate"), self.known_root(), role, time)
        for name in ("role", "site", "legal_entity", "identity_key", "witness_vkey"):
            if membership.get(name, "") != record.get(name):
                raise Refused(f"the entry and the certificate differ in {name}")
        self.certified[site] = role
