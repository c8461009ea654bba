"""Whole small logs whose key was replaced: which key is right in the end, and what is refused."""
import hashlib
import pathlib
import tempfile

import merkle
from json_cases import envelope, leaf
from leaves import canonical
from members import transcript
from notes import LOG, VerifierKey
from signing import LOG_KEY, LOG_SEED, ORIGIN, base64_text, checkpoint_text, log_line, note, public, seed, sign
from tiles import Folder, in_log
from walk import Audit

ROOT_SEED = seed("consortium root")
NEW_SEED, THIRD_SEED = seed("second log key"), seed("third log key")
NEW_KEY = VerifierKey(ORIGIN, LOG, public(NEW_SEED))
THIRD_KEY = VerifierKey(ORIGIN, LOG, public(THIRD_SEED))
SEEDS = {LOG_KEY: LOG_SEED, NEW_KEY: NEW_SEED, THIRD_KEY: THIRD_SEED}
CHANGE = "application/vnd.konclave.key-change.v1+json"


def certificate():
    fields = ("gateway", "Gateway operator", "gateway", public(seed("gateway")), "", 1, 0, 2**40)
    membership = {"site": fields[0], "legal_entity": fields[1], "role": fields[2], "identity_key": fields[3].hex(),
                  "serial": fields[5], "not_before": fields[6], "not_after": fields[7]}
    return {"membership": membership, "signature": base64_text(sign(ROOT_SEED, transcript("membership", *fields)))}


def created():
    record = {"vkey": str(LOG_KEY), "root": public(ROOT_SEED).hex(), "gateway": certificate()}
    return {"action": "ledger.created", "record": record}


FIRST = hashlib.sha256(b"\x00" + leaf(seq=0, prev="0" * 64, site=None, statement=None, commitments=[],
                                       **created()).encode()).hexdigest()


def change(old, new, signer=ROOT_SEED, kind=CHANGE, **fields):
    said = {"origin": ORIGIN, "old_vkey": str(old), "new_vkey": str(new), "reason": "scheduled", "trusted_size": 1,
            "trusted_root": FIRST, "made_at": 1_767_225_600, **fields}
    return envelope(kind, canonical(said).encode(), signer)


def rotated(old, new, authorisation=None):
    record = {"old_vkey": str(old), "new_vkey": str(new), "authorisation": authorisation or change(old, new)}
    return {"action": "ledger.key-rotated", "record": record}


def filler():
    return {"action": "something.else", "record": {}}


def log(*entries, signers):
    """The entries' bytes as a chain, and the checkpoint over them, signed by these keys."""
    stored, before = [], "0" * 64
    for seq, entry in enumerate(entries):
        stored.append(leaf(seq=seq, prev=before, site=None, statement=None, commitments=[], **entry))
        before = hashlib.sha256(stored[-1].encode()).hexdigest()
    root = merkle.root([merkle.leaf_hash(one.encode()) for one in stored])
    text = checkpoint_text(len(stored), root)
    return {"root": public(ROOT_SEED).hex(), "entries": stored,
            "checkpoint": note(text, *(log_line(text, key, SEEDS[key]) for key in signers))}


def audited(case, key=None):
    """What the verifier finds in the log, as a folder; `key` is known from elsewhere."""
    with tempfile.TemporaryDirectory() as name:
        entries = [entry.encode() for entry in case["entries"]]
        files = {"checkpoint": case["checkpoint"].encode(),
                 str(in_log("entries", 0, len(entries))): b"".join(len(one).to_bytes(2, "big") + one for one in entries),
                 str(in_log(0, 0, len(entries))): b"".join(map(merkle.leaf_hash, entries))}
        for path, data in files.items():
            file = pathlib.Path(name, path)
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_bytes(data)
        return Audit(Folder(name), key, bytes.fromhex(case["root"])).run()


def rotations():
    first, second = rotated(LOG_KEY, NEW_KEY), rotated(NEW_KEY, THIRD_KEY)
    positive = [
        {**case, "key": str(key)}
        for key, case in (
            (LOG_KEY, log(created(), filler(), signers=[LOG_KEY])),
            # The head over the change carries both keys.
            (NEW_KEY, log(created(), first, signers=[LOG_KEY, NEW_KEY])),
            (NEW_KEY, log(created(), first, filler(), signers=[NEW_KEY])),
            # Without the old key, which is lost, the root's word is enough.
            (NEW_KEY, log(created(), rotated(LOG_KEY, NEW_KEY, change(LOG_KEY, NEW_KEY, reason="lost")), signers=[NEW_KEY])),
            (THIRD_KEY, log(created(), first, filler(), second, filler(), signers=[THIRD_KEY])),
        )
    ]
    for case in positive:
        # Whoever knows any of the log's keys gets to the newest.
        for known in (None, LOG_KEY, VerifierKey.parse(case["key"])):
            report = audited(case, known)
            assert not report.findings and report.key == case["key"], report.findings

    def refuses(authorisation, new=NEW_KEY):
        return log(created(), rotated(LOG_KEY, new, authorisation), filler(), signers=[new])

    other_origin = VerifierKey("elsewhere", LOG, NEW_KEY.public)
    SEEDS[other_origin] = NEW_SEED
    negative = [
        {"why": why, "first_bad_index": index, **case}
        for why, index, case in (
            ("signed by the operator's old key, not by the root", 1, refuses(change(LOG_KEY, NEW_KEY, LOG_SEED))),
            ("signed by the new key itself", 1, refuses(change(LOG_KEY, NEW_KEY, NEW_SEED))),
            ("another type", 1, refuses(change(LOG_KEY, NEW_KEY, kind="application/json"))),
            ("the change to another key", 1, refuses(change(LOG_KEY, THIRD_KEY))),
            ("the change of another log", 1, refuses(change(LOG_KEY, NEW_KEY, origin="elsewhere"))),
            ("a field more", 1, refuses(change(LOG_KEY, NEW_KEY, extra=1))),
            ("a head that the log does not extend", 1, refuses(change(LOG_KEY, NEW_KEY, trusted_root="0" * 64))),
            ("a head that the log has not reached", 1, refuses(change(LOG_KEY, NEW_KEY, trusted_size=2))),
            ("from a key that is not the log's", 1,
             log(created(), rotated(THIRD_KEY, NEW_KEY), filler(), signers=[NEW_KEY])),
            ("to a key of another name", 1, refuses(None, other_origin)),
            ("the same change twice", 2, log(created(), first, first, signers=[NEW_KEY])),
            ("back to a key that ended", 2,
             log(created(), first, rotated(NEW_KEY, LOG_KEY), filler(), signers=[LOG_KEY])),
            ("the head over the change without the old key", 0, log(created(), first, signers=[NEW_KEY])),
            ("the head over the change without the new key", 0, log(created(), first, signers=[LOG_KEY])),
            ("a later head by the old key", 0, log(created(), first, filler(), signers=[LOG_KEY])),
            ("a head by the next key, without a change", 0, log(created(), filler(), signers=[NEW_KEY])),
        )
    ]
    for case in negative:
        report = audited(case)
        assert min(finding["first_index"] for finding in report.findings) <= case["first_bad_index"], case["why"]
        assert any(finding["first_index"] == case["first_bad_index"] for finding in report.findings), case["why"]
    return positive, negative


FILES = {"rotations": rotations}
