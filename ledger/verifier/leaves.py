"""Entries: RFC 8785 canonical JSON with exactly the fields of docs/ledger.md."""
import datetime
import hashlib
import json
import re

from notes import Refused, key_name

MAX_LEAF_BYTES = 16 * 1024
# From here on, JSON numbers of different value share one IEEE double, and RFC 8785 would round them.
FIRST_UNSAFE_INTEGER = 2**53
# Deeper nesting is refused.
MAX_DEPTH = 127
DIGEST = re.compile(r"[0-9a-f]{64}", re.ASCII)
TIME = re.compile(r"([0-9]{4})-([0-9]{2})-([0-9]{2})T([0-9]{2}):([0-9]{2}):([0-9]{2})\.[0-9]{3}Z", re.ASCII)
CLOCKS = ("system", "synchronised", "simulated")
TEXTS = ("software", "actor", "role", "action", "object", "reason", "request_id", "time", "clock", "origin")
OPTIONAL_DIGESTS = ("old", "new", "policy", "statement")
FIELDS = {*TEXTS, *OPTIONAL_DIGESTS, "v", "seq", "prev", "site", "commitments", "record"}
ESCAPES = {'"': '\\"', "\\": "\\\\", "\b": "\\b", "\t": "\\t", "\n": "\\n", "\f": "\\f", "\r": "\\r"}
ESCAPED = re.compile(r'["\\\x00-\x1f]')


def canonical(value):
    """RFC 8785 for values without floats."""
    if isinstance(value, str):
        return '"' + ESCAPED.sub(lambda found: ESCAPES.get(found[0], f"\\u{ord(found[0]):04x}"), value) + '"'
    if isinstance(value, list):
        return "[" + ",".join(map(canonical, value)) + "]"
    if isinstance(value, dict):
        # By UTF-16 code units, which order differently from code points above U+FFFF.
        names = sorted(value, key=lambda name: name.encode("utf-16-be"))
        return "{" + ",".join(f"{canonical(name)}:{canonical(value[name])}" for name in names) + "}"
    if value is None or isinstance(value, bool):
        return {None: "null", True: "true", False: "false"}[value]
    return str(value)


def integer(text):
    number = int(text)
    if abs(number) >= FIRST_UNSAFE_INTEGER:
        raise Refused(f"the integer {text} is 2^53 or more")
    return number


def refuse_float(text):
    raise Refused(f"{text} is a floating-point number")


def once(pairs):
    if len({name for name, _ in pairs}) < len(pairs):
        raise Refused("a name appears twice in an object")
    return dict(pairs)


def depth(value):
    below = value.values() if isinstance(value, dict) else value if isinstance(value, list) else None
    return 0 if below is None else 1 + max(map(depth, below), default=0)


def read_canonical(data):
    """The value of canonical JSON bytes; refuses every other spelling."""
    try:
        value = json.loads(data.decode("utf-8"), parse_int=integer, parse_float=refuse_float,
                           parse_constant=refuse_float, object_pairs_hook=once)
        if depth(value) > MAX_DEPTH:
            raise Refused(f"nested deeper than {MAX_DEPTH}")
        same = canonical(value).encode("utf-8") == data
    except (ValueError, RecursionError) as error:
        raise Refused(f"not JSON: {error}") from error
    if not same:
        raise Refused("not in RFC 8785 canonical form")
    return value


def is_digest(value):
    return isinstance(value, str) and bool(DIGEST.fullmatch(value))


def unix_seconds(text):
    found = TIME.fullmatch(text)
    try:
        moment = datetime.datetime(*map(int, found.groups()), tzinfo=datetime.timezone.utc) if found else None
    except ValueError:
        moment = None
    if moment is None or moment.year < 1970:
        raise Refused("the entry's time is not RFC 3339 UTC with milliseconds")
    return int(moment.timestamp())


def parse_leaf(stored):
    """The fields of an entry."""
    if len(stored) > MAX_LEAF_BYTES:
        raise Refused(f"an entry has at most {MAX_LEAF_BYTES} bytes")
    leaf = read_canonical(stored)
    if not isinstance(leaf, dict) or set(leaf) != FIELDS:
        raise Refused("not exactly the fields of an entry")
    wrong = [
        *(name for name in TEXTS if not isinstance(leaf[name], str)),
        *(name for name in OPTIONAL_DIGESTS if leaf[name] is not None and not is_digest(leaf[name])),
        *(name for name in ("v", "seq") if type(leaf[name]) is not int or leaf[name] < 0),
        *(["prev"] if not is_digest(leaf["prev"]) else []),
        *(["site"] if not isinstance(leaf["site"], str | None) else []),
        *(["clock"] if leaf["clock"] not in CLOCKS else []),
    ]
    commitments = leaf["commitments"]
    if wrong or not isinstance(commitments, list) or not all(map(is_digest, commitments)):
        raise Refused(f"the entry's field {(wrong or ['commitments'])[0]} has a wrong form")
    if leaf["v"] != 1:
        raise Refused(f"entry version {leaf['v']} is not known")
    key_name(leaf["origin"])
    unix_seconds(leaf["time"])
    return leaf


def check_link(leaf, origin, index, previous):
    """Refuses an entry that does not belong at `index`, after the entry bytes `previous` (None for the first)."""
    before = "0" * 64 if previous is None else hashlib.sha256(previous).hexdigest()
    if leaf["origin"] != origin:
        raise Refused(f"the entry belongs to the log {leaf['origin']}")
    if leaf["seq"] != index:
        raise Refused(f"the entry carries the number {leaf['seq']}")
    if leaf["prev"] != before:
        raise Refused("the entry does not carry the hash of the entry before it")
