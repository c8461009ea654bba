#!/usr/bin/env python3
"""Makes the known-answer files of the primitives beside it, independently of the Rust code.

The files of whole messages come from `crypto/tests/vectors/`; `make vectors` writes both kinds.

Needs only Python 3 and the package `cryptography` (for AES). The files are committed; run this again only when the
protocol's derivations change, and then say so in the change log: stored states and peers of an older version break.
"""

import copy
import hashlib
import hmac
import json
import math
import pathlib
from fractions import Fraction

from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes

HERE = pathlib.Path(__file__).parent
ORDER = 2**252 + 27742317777372353535851937790883648493


def material(label, length):
    """Fixed pseudo-random bytes."""
    return hashlib.shake_256(f"konclave vectors {label}".encode()).digest(length)


def transcript(what, *fields):
    out = b""
    for field in (f"konclave/v1/{what}", *fields):
        if isinstance(field, str):
            field = field.encode()
        elif isinstance(field, int):
            field = field.to_bytes(8, "big")
        out += len(field).to_bytes(8, "big") + field
    return out


def sha256(data):
    return hashlib.sha256(data).digest()


def extract(salt, ikm):
    return hmac.new(salt, ikm, hashlib.sha256).digest()


def expand(prk, info, length):
    out, block, counter = b"", b"", 1
    while len(out) < length:
        block = hmac.new(prk, block + info + bytes([counter]), hashlib.sha256).digest()
        out, counter = out + block, counter + 1
    return out[:length]


def scalar(number):
    return (number % ORDER).to_bytes(32, "little")


def write(name, positive, negative):
    assert len(negative) * 3 >= len(positive) + len(negative), name
    text = json.dumps({"positive": positive, "negative": negative}, indent=1)
    (HERE / f"{name}.json").write_text(text + "\n")


def transcripts():
    def case(label, fields, **more):
        return {"label": label, "fields": [field.hex() for field in fields], **more}

    def digest(label, fields):
        return sha256(transcript(label, *fields)).hex()

    positive = [
        case(label, fields, digest=digest(label, fields))
        for label, fields in [
            ("test", []),
            ("test", [b""]),
            ("test", [b"ab", b"c"]),
            ("manifest", [material("field", 32), (7).to_bytes(8, "big"), b"site-1"]),
        ]
    ]
    negative = [
        case("test", [b"a", b"bc"], digest=digest("test", [b"ab", b"c"]), why="a boundary moved"),
        case("test", [b"", b""], digest=digest("test", [b""]), why="an empty field counts"),
        case("tset", [b"ab", b"c"], digest=digest("test", [b"ab", b"c"]), why="the label counts"),
    ]
    write("transcript", positive, negative)


def context_digest(context):
    fields = [context["job"], context["round"], bytes.fromhex(context["model"]), bytes.fromhex(context["roster"])]
    fields.append(len(context["batches"]))
    for batch in context["batches"]:
        fields += [len(batch), *batch]
    fields.append(context["mode"])
    encoding = context["encoding"]
    fields.append(len(encoding["tensors"]))
    for tensor in encoding["tensors"]:
        fields += [tensor["name"], tensor["len"], tensor["clip_micro"]]
    fields += [encoding["quantisation_bits"], encoding["ring_bits"], encoding["weight_cap"]]
    fields += [context["threshold"], context["min_agreed"], context["min_batch"]]
    graph = context["mask_graph"]
    fields += [graph["kind"], graph.get("degree", 0)]
    fields += [bytes.fromhex(context["policy"]), bytes.fromhex(context["training"])]
    fields += [context["ledger_size"], bytes.fromhex(context["ledger_root"])]
    noise = context["noise"]
    fields += [0] if noise is None else [1, noise["clip_norm"], noise["site_variance"], noise["colluders"]]
    return sha256(transcript("context", *fields)).hex()


def contexts():
    full = {
        "job": "job-1",
        "round": 3,
        "model": material("model", 32).hex(),
        "roster": material("roster", 32).hex(),
        "batches": [["a"], ["b"], ["c"]],
        "mode": "full",
        "encoding": {
            "tensors": [
                {"name": "layer.weight", "len": 128, "clip_micro": 50000},
                {"name": "layer.bias", "len": 2, "clip_micro": 100000},
            ],
            "quantisation_bits": 12,
            "ring_bits": 20,
            "weight_cap": 4096,
        },
        "threshold": 3,
        "min_agreed": 2,
        "min_batch": 2,
        "mask_graph": {"kind": "complete"},
        "policy": material("policy", 32).hex(),
        "training": material("training", 32).hex(),
        "ledger_size": 41,
        "ledger_root": material("ledger", 32).hex(),
        "noise": None,
    }
    group = {**full, "mode": "group", "batches": [["a", "b"], ["c"]]}
    sparse = {**full, "mask_graph": {"kind": "regular", "degree": 2}}
    noise = {"clip_norm": 5000, "site_variance": 25000000, "colluders": 1}
    noisy = {**full, "encoding": {**full["encoding"], "weight_cap": 1}, "noise": noise}
    digest = context_digest(full)
    negative = []

    def change(why, edit, parses=True):
        changed = copy.deepcopy(full)
        edit(changed)
        negative.append({"why": why, "context": changed, "parses": parses, "digest": digest})

    change("another model", lambda c: c.update(model=material("other", 32).hex()))
    change("batches merged", lambda c: c.update(batches=[["a", "b"], ["c"]]))
    change("a lower threshold", lambda c: c.update(threshold=2))
    change("another clip bound", lambda c: c["encoding"]["tensors"][0].update(clip_micro=50001))
    change("a sparse mask graph", lambda c: c.update(mask_graph={"kind": "regular", "degree": 2}))
    change("an unknown mask graph", lambda c: c.update(mask_graph={"kind": "regular", "degree": 2, "seed": 1}), parses=False)
    change("noise", lambda c: c.update(noise=noise))
    change("an unknown term of noise", lambda c: c.update(noise={**noise, "seed": 1}), parses=False)
    change("an unknown field", lambda c: c.update(extra=1), parses=False)
    change("round 0", lambda c: c.update(round=0), parses=False)
    change("an upper-case digest", lambda c: c.update(model=c["model"].upper()), parses=False)
    write("context", [{"context": c, "digest": context_digest(c)} for c in (full, group, sparse, noisy)], negative)


def schedule(given):
    raw = {name: bytes.fromhex(given[name]) for name in
           ("roster", "upper_key", "ciphertext", "context", "shared", "share_root")}
    prk = extract(raw["roster"], raw["shared"])

    def pair(label):
        info = transcript("pair", given["job"], given["lower"], given["upper"], raw["upper_key"], raw["ciphertext"], label)
        return expand(prk, info, 32)

    chain, up, down = pair("chain"), pair("seal-up"), pair("seal-down")
    wide = expand(chain, transcript("pair-seed", raw["context"]), 64)
    seed = scalar(int.from_bytes(wide, "little"))
    ends = sorted([given["lower"], given["upper"]])
    round_key = expand(up, transcript("seal-round", raw["context"], given["lower"], given["upper"]), 32)
    return {
        "chain": chain.hex(),
        "seal_up": up.hex(),
        "seal_down": down.hex(),
        "next_chain": expand(chain, transcript("next"), 32).hex(),
        "pair_seed": seed.hex(),
        "pair_commitment": sha256(transcript("pair-mask-seed", raw["context"], *ends, seed)).hex(),
        "self_commitment": sha256(transcript("self-mask-seed", raw["context"], given["lower"], seed)).hex(),
        "mask_key": expand(extract(raw["context"], seed), transcript("mask-stream"), 32).hex(),
        "round_seal_key": round_key.hex(),
        "message_key": expand(round_key, transcript("seal-message", raw["share_root"]), 44).hex(),
    }


def key_schedules():
    def given(number):
        return {
            "job": "job-1",
            "lower": "alpha",
            "upper": "beta",
            **{name: material(f"{name} {number}", 32).hex()
               for name in ("roster", "upper_key", "ciphertext", "context", "share_root")},
            "shared": material(f"shared {number}", 64).hex(),
        }

    base = given(0)
    output = schedule(base)
    everything = sorted(output)
    per_round = ["mask_key", "message_key", "pair_commitment", "pair_seed", "round_seal_key", "self_commitment"]
    negative = []
    for why, name, value, moves in [
        ("another ML-KEM secret", "shared", "00" * 32 + base["shared"][64:], everything),
        ("another X25519 secret", "shared", base["shared"][:64] + "00" * 32, everything),
        ("another roster", "roster", "00" * 32, everything),
        ("another ciphertext", "ciphertext", "00" * 32, everything),
        ("another job", "job", "job-2", everything),
        ("another context", "context", "00" * 32, per_round),
        ("another dealing", "share_root", "00" * 32, ["message_key"]),
    ]:
        negative.append({"why": why, "input": {**base, name: value}, "output": output, "moves": moves})
    write("key_schedule", [{"input": given(n), "output": schedule(given(n))} for n in range(3)], negative)


def key_stream(key, first_byte, length):
    encryptor = Cipher(algorithms.AES(key), modes.CTR(bytes(16))).encryptor()
    return encryptor.update(bytes(first_byte + length))[first_byte:]


def lanes_of(key, first, count, bits=32, order="little", shift=0):
    stream = key_stream(key, first * 4 + shift, count * 4)
    return [int.from_bytes(stream[i:i + 4], order) & (2**bits - 1) for i in range(0, count * 4, 4)]


def streams():
    def case(key, first, lanes, bits=32, **more):
        return {"key": key.hex(), "first": first, "bits": bits, "lanes": lanes, **more}

    zero, key = bytes(32), material("prg", 32)
    # NIST AESAVS: AES-256 of the zero block under the zero key.
    assert key_stream(zero, 0, 16).hex() == "dc95c078a2408989ad48a21492842087"
    positive = [
        case(zero, 0, lanes_of(zero, 0, 4), what="zero key: NIST AESAVS"),
        case(key, 0, lanes_of(key, 0, 19), what="from the start"),
        case(key, 0, lanes_of(key, 0, 9, bits=17), bits=17, what="reduced to 17 bits"),
        case(key, 4096, lanes_of(key, 4096, 6), what="second chunk"),
        case(key, 1 << 20, lanes_of(key, 1 << 20, 5), what="far into the stream"),
    ]
    negative = [
        case(key, 0, lanes_of(key, 0, 4, order="big"), why="big-endian lanes"),
        case(key, 0, lanes_of(key, 0, 4, shift=16), why="counter starting at one"),
        case(key, 4, lanes_of(key, 0, 4), why="another position"),
        case(key[::-1], 0, lanes_of(key, 0, 4), why="another key"),
    ]
    write("prg", positive, negative)


def pack(lanes, bits):
    whole = sum((lane % 2**bits) << (at * bits) for at, lane in enumerate(lanes))
    return whole.to_bytes((len(lanes) * bits + 7) // 8, "little")


def packings():
    positive = []
    for bits in (1, 8, 16, 17, 23, 31, 32):
        raw = material(f"lanes {bits}", 44)
        lanes = [int.from_bytes(raw[i:i + 4], "little") % 2**bits for i in range(0, 44, 4)]
        positive.append({"bits": bits, "lanes": lanes, "packed": pack(lanes, bits).hex()})
    positive.append({"bits": 20, "lanes": [], "packed": ""})
    body = pack([1, 2, 3], 17)
    negative = [
        {"why": "one byte short", "bits": 17, "count": 3, "packed": body[:-1].hex(), "error": "length"},
        {"why": "one byte more", "bits": 17, "count": 3, "packed": (body + b"\0").hex(), "error": "length"},
        {"why": "a padding bit", "bits": 17, "count": 3, "packed": (body[:-1] + bytes([body[-1] | 0x80])).hex(),
         "error": "padding"},
        {"why": "the lowest padding bit", "bits": 17, "count": 1, "packed": "000002", "error": "padding"},
        {"why": "no bits", "bits": 0, "count": 3, "packed": "", "error": "bits"},
        {"why": "too many bits", "bits": 33, "count": 1, "packed": "0000000000", "error": "bits"},
    ]
    write("packing", positive, negative)


def shares(secret, coefficients, sites):
    polynomial = [secret, *coefficients]
    return [sum(c * pow(x, k, ORDER) for k, c in enumerate(polynomial)) % ORDER for x in range(1, sites + 1)]


def sharings():
    def number(label):
        return int.from_bytes(material(label, 64), "little") % ORDER

    positive = []
    for threshold, sites in ((2, 2), (3, 4), (5, 6), (9, 12)):
        secret = number(f"secret {sites}")
        coefficients = [number(f"coefficient {sites} {k}") for k in range(1, threshold)]
        positive.append({
            "secret": [scalar(secret).hex()],
            "coefficients": [scalar(c).hex() for c in coefficients],
            "shares": [scalar(s).hex() for s in shares(secret, coefficients, sites)],
        })
    secret = positive[1]["secret"]
    good = positive[1]["shares"]
    altered = bytearray.fromhex(good[0])
    altered[0] ^= 1
    # The same number with the group order added: a second spelling that must not parse.
    double = (int.from_bytes(bytes.fromhex(good[0]), "little") + ORDER).to_bytes(32, "little").hex()
    negative = [
        {"why": "two shares of three", "secret": secret, "sites": [0, 1], "shares": good[:2]},
        {"why": "one share altered", "secret": secret, "sites": [0, 1, 2], "shares": [altered.hex(), *good[1:3]]},
        {"why": "two shares swapped", "secret": secret, "sites": [0, 1, 2], "shares": [good[1], good[0], good[2]]},
        {"why": "a non-canonical share", "secret": secret, "sites": [0, 1, 2], "shares": [double, *good[1:3]]},
    ]
    write("shamir", positive, negative)


def left_size(leaves):
    size = 1
    while size * 2 < leaves:
        size *= 2
    return size


def merkle_root(contents):
    """RFC 6962, section 2.1."""
    if not contents:
        return sha256(b"")
    if len(contents) == 1:
        return sha256(b"\0" + contents[0])
    split = left_size(len(contents))
    return sha256(b"\1" + merkle_root(contents[:split]) + merkle_root(contents[split:]))


def merkle_path(contents, index):
    if len(contents) == 1:
        return []
    split = left_size(len(contents))
    if index < split:
        return [*merkle_path(contents[:split], index), merkle_root(contents[split:])]
    return [*merkle_path(contents[split:], index - split), merkle_root(contents[:split])]


def merkle_trees():
    def case(size, index, **more):
        contents = [material(f"leaf {k}", 32) for k in range(size)]
        return {"size": size, "index": index, "content": contents[index].hex(),
                "path": [step.hex() for step in merkle_path(contents, index)], "root": merkle_root(contents).hex(), **more}

    def body(length, **more):
        pattern = material("body", 1000)
        whole = (pattern * (length // 1000 + 1))[:length]
        chunks = [whole[at:at + 65536] for at in range(0, length, 65536)]
        return {"pattern": pattern.hex(), "length": length, "root": merkle_root(chunks).hex(), **more}

    positive = [case(*at) for at in ((1, 0), (2, 1), (3, 2), (5, 3), (7, 6), (8, 0))]
    positive += [body(length) for length in (0, 1, 65536, 65537, 5 * 65536 + 100)]
    five = case(5, 3)
    negative = [
        {**five, "index": 2, "why": "another place"},
        {**five, "size": 4, "why": "another size"},
        {**five, "path": five["path"][:-1], "why": "a sibling missing"},
        {**five, "path": [*five["path"], five["path"][0]], "why": "a sibling too many"},
        {**five, "path": five["path"][::-1], "why": "siblings from the root down"},
        {**five, "content": five["path"][0], "why": "another leaf"},
        {**body(65537), "length": 65536, "why": "a body one byte short"},
    ]
    write("merkle", positive, negative)


def circle(job, roster, sites):
    return sorted(sites, key=lambda site: sha256(transcript("mask-graph", job, roster, site)))


def around(order, site, degree):
    at, reach = order.index(site), degree // 2
    return sorted({order[(at + step) % len(order)] for step in range(-reach, reach + 1)} - {site})


def chance(sites, colluders, dropouts, degree):
    """The bound of `crypto/src/mask_graph.rs`, exactly."""
    tail = sum(math.comb(colluders, among) * math.comb(sites - colluders, degree - among)
               for among in range(max(degree - dropouts, 0), min(degree, colluders) + 1))
    return Fraction(sites * (sites - 1), 2) * Fraction(tail, math.comb(sites, degree))


def mask_graphs():
    job, roster = "job-1", material("roster", 32)
    names = [f"site-{index:02}" for index in range(12)]
    positive = []
    for degree in (2, 4, 10):
        order = circle(job, roster, names)
        positive.append({"job": job, "roster": roster.hex(), "sites": names, "degree": degree, "circle": order,
                         "neighbours": {site: around(order, site, degree) for site in names}})
    shared = positive[1]
    degrees = []
    for sites, agreed in ((50, 45), (100, 67), (100, 80), (100, 95), (200, 180), (256, 243), (5, 4)):
        threshold = sites * 2 // 3 + 1
        colluders, dropouts = 2 * threshold - sites - 1, sites - agreed
        least = next((degree for degree in range(2, sites - 1, 2)
                      if chance(sites, colluders, dropouts, degree) <= Fraction(1, 2**40)), None)
        degrees.append({"sites": sites, "threshold": threshold, "dropouts": dropouts, "least_degree": least})
    positive += degrees
    negative = [
        {**shared, "roster": material("other", 32).hex(), "why": "another roster"},
        {**shared, "job": "job-2", "why": "another job"},
        {**shared, "degree": 6, "why": "another degree"},
        {**degrees[1], "least_degree": degrees[1]["least_degree"] - 2, "why": "a smaller degree than is safe"},
        {**degrees[4], "dropouts": degrees[4]["dropouts"] + 5, "why": "more sites may be left out"},
    ]
    write("mask_graph", positive, negative)


def text_forms():
    digest = material("digest", 32)
    positive = [
        {"kind": "site", "text": text} for text in ("a", "0", "site-01", "a-", "x" * 63)
    ] + [
        {"kind": "round", "text": text} for text in ("1", "4294967295")
    ] + [
        {"kind": "digest", "text": digest.hex()},
        {"kind": "seed", "text": "AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8="},
    ]
    negative = [
        {"kind": "site", "text": "", "why": "empty"},
        {"kind": "site", "text": "-a", "why": "begins with a hyphen"},
        {"kind": "site", "text": "Site", "why": "upper case"},
        {"kind": "site", "text": "a_b", "why": "another character"},
        {"kind": "site", "text": "x" * 64, "why": "64 characters"},
        {"kind": "round", "text": "0", "why": "rounds begin at 1"},
        {"kind": "round", "text": "01", "why": "a leading zero"},
        {"kind": "round", "text": "4294967296", "why": "33 bits"},
        {"kind": "digest", "text": digest.hex().upper(), "why": "upper case"},
        {"kind": "digest", "text": digest.hex()[2:], "why": "31 bytes"},
        {"kind": "seed", "text": "AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8", "why": "no padding"},
        {"kind": "seed", "text": "AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh9=", "why": "stray bits at the end"},
    ]
    write("text_forms", positive, negative)


if __name__ == "__main__":
    transcripts()
    contexts()
    key_schedules()
    streams()
    packings()
    sharings()
    merkle_trees()
    mask_graphs()
    text_forms()
