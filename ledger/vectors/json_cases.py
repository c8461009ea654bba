"""Cases about canonical JSON, entries and DSSE envelopes."""
import base64
import hashlib
import json

from leaves import MAX_LEAF_BYTES, canonical, parse_leaf, read_canonical
from notes import Refused
from signing import ORIGIN, base64_text, public, seed, sign
from statements import check_envelope, parse_envelope, pre_authentication_encoding
from tree_cases import flipped, refused


def canonical_json():
    deep = "[" * 127 + "]" * 127
    positive = [
        {"input": text, "canonical": expected}
        for text, expected in (
            ('{"b":1,"a":2}', '{"a":2,"b":1}'), (" [ 1 , -1 , 0 ] ", "[1,-1,0]"), ('{"":{"":[]}}', '{"":{"":[]}}'),
            ("[true,false,null]", "[true,false,null]"), ('"\\u0061\\/"', '"a/"'),
            # RFC 8785, sections 3.2.2.2 and 3.2.3: escapes, and order by UTF-16 code units.
            ('"\\u20ac$\\u000F\\u000aA\'\\u0042\\u0022\\u005c\\\\\\"\\/"', '"\u20ac$\\u000f\\nA\'B\\"\\\\\\\\\\"/"'),
            ('{"\\u20ac":"Euro Sign","\\r":"Carriage Return","\\ufb33":"Hebrew Letter Dalet With Dagesh","1":"One",'
             '"\\ud83d\\ude00":"Emoji: Grinning Face","\\u0080":"Control","\\u00f6":"Latin Small Letter O With Diaeresis"}',
             '{"\\r":"Carriage Return","1":"One","\u0080":"Control","\u00f6":"Latin Small Letter O With Diaeresis",'
             '"\u20ac":"Euro Sign","\U0001f600":"Emoji: Grinning Face","\ufb33":"Hebrew Letter Dalet With Dagesh"}'),
            ('"\\b\\t\\n\\f\\r\\u0001\\u001f\\u007f"', '"\\b\\t\\n\\f\\r\\u0001\\u001f\x7f"'),
            ('"\\u2028\\u00e9"', '"\u2028\u00e9"'), ("[9007199254740991,-9007199254740991]",) * 2, (deep, deep),
        )
    ]
    for case in positive:
        value = json.loads(case["input"])
        assert canonical(value) == case["canonical"] and read_canonical(case["canonical"].encode()) == value
    negative = [
        {"why": why, "input": text}
        for why, text in (
            ("white space", '{"a": 1}'), ("a newline at the end", "[]\n"), ("names out of order", '{"b":1,"a":2}'),
            ("order by code points, not UTF-16", '{"\ufb33":1,"\U0001f600":2}'), ("a name twice", '{"a":1,"a":1}'),
            ("a name twice, deeper", '[{"a":[{"b":1,"b":2}]}]'), ("a float", "[1.5]"), ("a float that is whole", "[1.0]"),
            ("an exponent", "[1e2]"), ("minus zero", "[-0]"), ("2^53", "[9007199254740992]"),
            ("minus 2^53", "[-9007199254740992]"), ("2^64", "[18446744073709551616]"), ("a leading zero", "[01]"),
            ("a plus sign", "[+1]"), ("not a number", "[NaN]"), ("infinity", "[Infinity]"),
            ("an escaped letter", '"\\u0061"'), ("an escaped solidus", '"\\/"'), ("an escape in capitals", '"\\u001F"'),
            ("a long escape where a short one exists", '"\\u000a"'), ("a line break in a text", '"\n"'),
            ("half a surrogate pair", '"\\ud800"'), ("an escaped letter beyond ASCII", '"\\u00e9"'),
            ("a comma at the end", "[1,]"), ("a comment", "[1]//"), ("two values", "1 2"), ("nothing", ""),
            ("a byte order mark", "\ufeff[]"), ("nested 128 deep", "[" * 128 + "]" * 128), ("single quotes", "['a']"),
        )
    ]
    for case in negative:
        assert refused(Refused, read_canonical, case["input"].encode()), case["why"]
    return positive, negative


def leaf(**changes):
    fields = {
        "v": 1, "origin": ORIGIN, "seq": 7, "prev": hashlib.sha256(b"the entry before").hexdigest(),
        "time": "2026-01-31T09:30:00.123Z", "clock": "synchronised", "software": "konclave-gateway/0.1.0",
        "actor": "site-1", "role": "site", "site": "site-1", "action": "consent.given", "object": "jobs/job-1",
        "old": None, "new": hashlib.sha256(b"new").hexdigest(), "reason": "the site takes part \u20ac", "request_id": "r-1",
        "policy": None, "commitments": [hashlib.sha256(b"opening").hexdigest()],
        "statement": hashlib.sha256(b"statement").hexdigest(), "record": {"job": "job-1", "b": [1, None, True]}}
    return canonical({name: value for name, value in {**fields, **changes}.items() if value is not Ellipsis})


def leaves():
    positive = [
        {"stored": text, "seq": seq, "action": action, "sha256": hashlib.sha256(text.encode()).hexdigest()}
        for text, seq, action in (
            (leaf(), 7, "consent.given"), (leaf(seq=0, prev="0" * 64), 0, "consent.given"),
            (leaf(site=None, statement=None, commitments=[], record=None), 7, "consent.given"),
            (leaf(seq=2**53 - 1, action="", record=[]), 2**53 - 1, ""),
            (leaf(time="1970-01-01T00:00:00.000Z"), 7, "consent.given"),
            (leaf(time="9999-12-31T23:59:59.999Z", clock="simulated"), 7, "consent.given"),
            (leaf(time="2028-02-29T23:59:59.999Z", clock="system"), 7, "consent.given"),
            (leaf(record="x" * (MAX_LEAF_BYTES - len(leaf(record="").encode()))), 7, "consent.given"),
        )
    ]
    for case in positive:
        read = parse_leaf(case["stored"].encode())
        assert (read["seq"], read["action"]) == (case["seq"], case["action"])
    assert len(positive[-1]["stored"].encode()) == MAX_LEAF_BYTES
    good = leaf()
    negative = [
        {"why": why, "stored": text}
        for why, text in (
            ("a byte too many", leaf(record="x" * (MAX_LEAF_BYTES + 1 - len(leaf(record="").encode())))),
            ("white space", good.replace(":", ": ", 1)), ("a field missing", leaf(reason=...)),
            ("an empty field missing", leaf(old=...)), ("a field more", leaf(extra=1)), ("another version", leaf(v=2)),
            ("a version in a text", leaf(v="1")), ("a negative number", leaf(seq=-7)), ("the number in a text", leaf(seq="7")),
            ("true for a number", leaf(v=True)), ("a name twice", good.replace('"v":1', '"v":1,"v":1')),
            ("a float in the record", good.replace("[1,", "[1.5,")), ("2^53 in the record", good.replace("[1,", f"[{2**53},")),
            ("a digest in capitals", leaf(prev="A" * 64)), ("a digest of 63 characters", leaf(prev="0" * 63)),
            ("no digest before", leaf(prev=None)), ("an empty digest", leaf(new="")), ("a commitment that is none", leaf(commitments=["x"])),
            ("no list of commitments", leaf(commitments=None)), ("an unknown clock", leaf(clock="sundial")),
            ("a time without milliseconds", leaf(time="2026-01-31T09:30:00Z")), ("a time of no zone", leaf(time="2026-01-31T09:30:00.123")),
            ("a time of another zone", leaf(time="2026-01-31T09:30:00.123+09:00")), ("a day that is not", leaf(time="2026-02-30T09:30:00.123Z")),
            ("a time before 1970", leaf(time="1969-12-31T23:59:59.999Z")), ("a leap second", leaf(time="2016-12-31T23:59:60.000Z")),
            ("an origin with a space", leaf(origin="a b")), ("no origin", leaf(origin="")), ("a site that is a number", leaf(site=1)),
            ("a list", "[]"), ("nothing", ""),
        )
    ]
    for case in negative:
        assert refused(Refused, parse_leaf, case["stored"].encode()), case["why"]
    return positive, negative


def envelope(payload_type, payload, *seeds):
    signed = pre_authentication_encoding(payload_type, payload)
    signatures = [{"keyid": hashlib.sha256(public(one)).hexdigest(), "sig": base64_text(sign(one, signed))} for one in seeds]
    return {"payload": base64_text(payload), "payloadType": payload_type, "signatures": signatures}


def envelopes():
    site, other = seed("site-1 identity"), seed("site-2 identity")
    kind = "application/vnd.konclave.consent.v1+json"
    payload = b'{"job":"job-1","site":"site-1"}'
    positive = [
        {"kind": "pae", "type": text, "payload": body.hex(), "encoding": pre_authentication_encoding(text, body).hex()}
        for text, body in (("http://example.com/HelloWorld", b"hello world"), ("", b""), ("\u20ac", b"\x00\xff"), ("a b", b" 1 "))
    ]
    # The example of the specification.
    assert bytes.fromhex(positive[0]["encoding"]) == b"DSSEv1 29 http://example.com/HelloWorld 11 hello world"

    def case(value, key=public(site)):
        text = value if isinstance(value, str) else canonical(value)
        return {"kind": "envelope", "envelope": text, "key": key.hex()}

    good = envelope(kind, payload, site)
    for value in (good, envelope(kind, payload, other, site), envelope("t", b"", site),
                  {**good, "signatures": [{"keyid": "", "sig": good["signatures"][0]["sig"]}]}):
        one = case(value)
        data = one["envelope"].encode()
        body = check_envelope(parse_envelope(data), bytes.fromhex(one["key"]))
        positive.append({**one, "payload": body.hex(), "digest": hashlib.sha256(data).hexdigest()})
    signature = good["signatures"][0]

    def signed(text):
        return {**good, "signatures": [{**signature, "sig": text}]}

    text = canonical(good)
    negative = [
        {"why": why, **one}
        for why, one in (
            ("another key", case(good, public(other))),
            ("another payload", case({**good, "payload": base64_text(payload.replace(b"1", b"2"))})),
            ("another type", case({**good, "payloadType": kind.replace("v1", "v2")})),
            ("a boundary moved between type and payload", case({**good, "payloadType": kind + " "})),
            ("one bit of the signature", case(signed(base64_text(flipped(base64.b64decode(signature["sig"])))))),
            ("the payload signed without its encoding", case(signed(base64_text(sign(site, payload))))),
            ("no signatures", case({**good, "signatures": []})),
            ("a signature that is no base64", case(signed("*"))),
            ("a payload that is no base64", case({**good, "payload": "*"})),
            ("a payload without padding", case({**good, "payload": good["payload"].rstrip("=")})),
            ("a payload in the URL alphabet", case(envelope(kind, b"\xfb\xff\xfe", site) | {"payload": "-__-"})),
            ("white space", case(text.replace(":", ": ", 1))), ("a newline at the end", case(text + "\n")),
            ("a field more", case({**good, "extra": 1})), ("a field missing", case({"payload": good["payload"], "signatures": [signature]})),
            ("a signature without key id", case({**good, "signatures": [{"sig": signature["sig"]}]})),
            ("a list", case("[]")), ("nothing", case("")),
        )
    ]
    for one in negative:
        assert refused(Refused, lambda: check_envelope(parse_envelope(one["envelope"].encode()), bytes.fromhex(one["key"]))), one["why"]
    return positive, negative


FILES = {"canonical": canonical_json, "leaves": leaves, "envelopes": envelopes}
