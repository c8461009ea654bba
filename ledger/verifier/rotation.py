"""The log's keys: the one that the first entry publishes, and those that the consortium root put in its place."""
from leaves import canonical
from notes import LOG, Refused, VerifierKey
from statements import check_envelope, json_object, parse_envelope

KEY_ROTATED = "ledger.key-rotated"
PAYLOAD_TYPE = "application/vnd.konclave.key-change.v1+json"
REASONS = ("scheduled", "lost", "compromised")
CHANGE = {"origin", "old_vkey", "new_vkey", "reason", "trusted_size", "trusted_root", "made_at"}


class LogKeys:
    """The log's keys in their order, each with the entry that brought it in."""

    def __init__(self):
        self.history = []
        self.old_must_sign = False

    @property
    def current(self):
        return self.history[-1][0] if self.history else None

    def take(self, leaf, root, root_at):
        """Takes in an entry; refuses a change that the consortium root (32 bytes) did not authorise for this history."""
        record = leaf["record"] if isinstance(leaf["record"], dict) else {}
        if leaf["seq"] == 0 and leaf["action"] == "ledger.created":
            key = log_key(record.get("vkey"), leaf["origin"])
            if key:
                self.history.append((key, 0))
        elif leaf["action"] == KEY_ROTATED:
            new = log_key(record.get("new_vkey"), leaf["origin"])
            if None in (new, self.current) or new == self.current or record.get("old_vkey") != str(self.current):
                raise Refused("the change does not lead from the log's key to another one")
            if any(new == key for key, _ in self.history):
                raise Refused("the key was this log's before: a key that ended does not come back")
            if root is None:
                raise Refused("no consortium root is known that could have authorised the change")
            authorisation = parse_envelope(canonical(record.get("authorisation")).encode())
            said = json_object(check_envelope(authorisation, root))
            if authorisation["payloadType"] != PAYLOAD_TYPE:
                raise Refused(f"the authorisation holds {authorisation['payloadType']}")
            if set(said) != CHANGE or any(said[name] != value for name, value in (
                    ("origin", leaf["origin"]), ("old_vkey", record["old_vkey"]), ("new_vkey", record["new_vkey"]))):
                raise Refused("the consortium root authorised another change")
            if said["reason"] not in REASONS:
                raise Refused(f"the authorisation gives the reason {said['reason']!r}")
            # The root vouches for a head. A log that does not extend it was rewritten by whoever had the old key.
            trusted = root_at(said["trusted_size"]) if type(said["trusted_size"]) is int else None
            if trusted is None or trusted.hex() != said["trusted_root"]:
                raise Refused("the log does not extend the head up to which the consortium root trusts the old key")
            self.history.append((new, leaf["seq"]))
            # Of a key that is lost or stolen nothing more is asked: the root's word stands alone.
            self.old_must_sign = said["reason"] == "scheduled"

    def signer(self, given):
        """The key that must have signed the head: the log's newest if `given` is one of the log's, or none was given."""
        known = [key for key, _ in self.history]
        return given if given and given not in known else self.current

    def earlier(self):
        return [key for key, _ in self.history[:-1]]

    def rotated_last(self, size):
        """The key whose signature a head of `size` entries must have too, because its last entry put it aside."""
        last = len(self.history) > 1 and self.history[-1][1] == size - 1
        return self.history[-2][0] if last and self.old_must_sign else None


def log_key(text, origin):
    try:
        key = VerifierKey.parse(text) if isinstance(text, str) else None
    except Refused:
        return None
    return key if key and key.kind == LOG and key.name == origin else None
