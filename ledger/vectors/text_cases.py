"""Cases about keys, notes, checkpoints, cosignatures and receipts."""
import base64

import ed25519
import merkle
from json_cases import FILES as JSON_FILES
from notes import COSIGNATURE, LOG, Checkpoint, Refused, SignatureLine, VerifierKey, check_cosignature, parse_note
from receipts import Receipt
from signing import (LOG_KEY, LOG_SEED, ORIGIN, WITNESSES, base64_text, checkpoint_text, cosignature_line, log_line,
                     note, public, seed, sign, witness_key)
from tree_cases import content, flipped, hexes, range_root, refused
from witness_request import WitnessRequest

# RFC 8032, section 7.1: secret seed, public key, message, signature.
RFC_8032 = (
    ("9d61b19deffd5a60ba844af492ec2cc44449c5697b326919703bac031cae7f60",
     "d75a980182b10ab7d54bfed3c964073a0ee172f3daa62325af021a68f707511a", "",
     "e5564300c360ac729086e2cc806e828a84877f1eb8e5d974d873e065224901555fb8821590a33bacc61e39701cf9b46bd25bf5f0595bbe24655141438e7a100b"),
    ("4ccd089b28ff96da9db6c346ec114e0f5b8a319f35aba624da8cf6ed4fb8a6fb",
     "3d4017c3e843895a92b70aa74d1b7ebc9c982ccf2ec4968cc0cd55f12af4660c", "72",
     "92a009a9f0d4cab8720e820b5f642540a2b27b5416503f8fb3762223ebdb69da085ac1e43e15996e458f3613d0f11d8c387b2eaeb4302aeeb00d291612bb0c00"),
    ("c5aa8df43f9f837bedb7442f31dcb7b166d38535076f094b85ce3a2e0b4458f7",
     "fc51cd8e6218a1a38da47ed00230f0580816ed13ba3303ac5deb911548908025", "af82",
     "6291d657deec24024827e69c3abe01a30ce548a284743a445e3680d7db5ac3ac18ff9b538d16f290ae67f760984dc6594a7c15e9716ed28dc027beceea1ec40a"),
)


def signatures():
    positive = [{"public": key, "message": message, "signature": signature} for _, key, message, signature in RFC_8032]
    for secret, key, message, signature in RFC_8032:
        secret, message = bytes.fromhex(secret), bytes.fromhex(message)
        assert (public(secret).hex(), sign(secret, message).hex()) == (key, signature)
    for length in (1, 64, 1000):
        message = b"m" * length
        positive.append({"public": LOG_KEY.public.hex(), "message": message.hex(),
                         "signature": sign(LOG_SEED, message).hex()})
    _, key, message, signature = map(bytes.fromhex, RFC_8032[1])
    s = int.from_bytes(signature[32:], "little")
    negative = [
        {"why": why, "public": at.hex(), "message": of.hex(), "signature": by.hex()}
        for why, at, of, by in (
            ("another message", key, b"\x73", signature),
            ("another key", LOG_KEY.public, message, signature),
            ("one bit of R", key, message, flipped(signature)),
            ("one bit of S", key, message, signature[:32] + flipped(signature[32:])),
            ("S with the order added", key, message, signature[:32] + (s + ed25519.ORDER).to_bytes(32, "little")),
            ("S of all ones", key, message, signature[:32] + b"\xff" * 32),
            ("zeros", key, message, bytes(64)),
            ("a byte less", key, message, signature[:-1]),
            ("a byte more", key, message, signature + b"\x00"),
            ("a key that is no point", (2).to_bytes(32, "little"), message, signature),
        )
    ]
    verify = ed25519.verify
    assert all(verify(*(bytes.fromhex(case[name]) for name in ("public", "message", "signature"))) for case in positive)
    assert not any(verify(*(bytes.fromhex(case[name]) for name in ("public", "message", "signature"))) for case in negative)
    return positive, negative


def verifier_keys():
    keys = [LOG_KEY, *map(witness_key, WITNESSES), VerifierKey("\u20ac/\u00e9", LOG, LOG_KEY.public)]
    # The key of the documentation of the Go package `note`.
    go = "PeterNeumann+c74f20a3+ARpc2QcUPDhMQegwxbzhKqiBfsVkmqq/LDE4izWy10TW"
    keys.append(VerifierKey.parse(go))
    positive = [{"vkey": str(key), "name": key.name, "type": key.kind, "public": key.public.hex(), "id": key.id.hex()}
                for key in keys]
    assert positive[-1]["vkey"] == go and all(VerifierKey.parse(str(key)) == key for key in keys)
    good = str(LOG_KEY)
    name, number, material = good.split("+", 2)

    def with_key(data):
        return f"{name}+{number}+{base64_text(data)}"

    raw = base64.b64decode(material)
    negative = [
        {"why": why, "vkey": vkey}
        for why, vkey in (
            ("empty", ""), ("no key id", f"{name}+{material}"), ("no key", f"{name}+{number}"),
            ("no name", f"+{number}+{material}"), ("another name", f"other+{number}+{material}"),
            ("a name with a space", f"kon clave+{number}+{material}"), ("another key id", good.replace(number, "00000000")),
            ("the key id in capitals", good.replace(number, "ABCDEF01")), ("seven digits", good.replace(number, number[:7])),
            ("another key", with_key(raw[:1] + flipped(raw[1:]))), ("another type, the id of the first", with_key(b"\x04" + raw[1:])),
            ("an unknown type", with_key(b"\x02" + raw[1:])), ("31 bytes of key", with_key(raw[:-1])),
            ("33 bytes of key", with_key(raw + b"\x00")), ("base64 without padding", good + "A"),
            ("base64 of the URL alphabet", good[:-3] + "-_A"), ("a newline at the end", good + "\n"),
        )
    ]
    assert all(refused(Refused, VerifierKey.parse, case["vkey"]) for case in negative)
    return positive, negative


def check_checkpoint(case):
    data = case["note"].encode() if "note" in case else bytes.fromhex(case["note_hex"])
    head = Checkpoint.parse(data)
    head.check_log(VerifierKey.parse(case["key"]))
    return head


def checkpoints():
    def positive_case(size, *more):
        text = checkpoint_text(size, range_root(0, size))
        return {"key": str(LOG_KEY), "note": note(text, log_line(text), *(line(text) for line in more)),
                "origin": ORIGIN, "size": size, "root": range_root(0, size).hex()}

    def cosigned(text):
        return cosignature_line(text, WITNESSES[0], 1_767_225_600)

    def unknown(_text):
        return str(SignatureLine("unknown.example/log", b"\x01\x02\x03\x04", b"of a type that nobody knows"))

    def same_name(_text):
        return str(SignatureLine(ORIGIN, b"\x01\x02\x03\x04", bytes(64)))

    positive = [positive_case(0), positive_case(1), positive_case(70), positive_case(65_537),
                positive_case(7, cosigned), positive_case(7, unknown), positive_case(7, same_name, cosigned)]
    assert all(check_checkpoint(case).root.hex() == case["root"] for case in positive)

    good = positive[2]["note"]
    text = checkpoint_text(70, range_root(0, 70))
    root = base64_text(range_root(0, 70))
    line = log_line(text)
    stranger = seed("stranger")
    strange_key = VerifierKey(ORIGIN, LOG, public(stranger))
    tail = LOG_KEY.id + sign(LOG_SEED, text.encode())

    def resigned(changed):
        """A note whose text breaks a rule, under a good signature by the log."""
        return note(changed, log_line(changed))

    cases = [
        ("another size", good.replace("\n70\n", "\n71\n")),
        ("another root", good.replace(root, base64_text(flipped(range_root(0, 70))))),
        ("signed by another key", note(text, log_line(text, strange_key, stranger))),
        ("signed by another key under the log's key id", note(text, log_line(text, LOG_KEY, stranger))),
        ("one bit of the signature", note(text, str(SignatureLine(ORIGIN, tail[:4], flipped(tail[4:]))))),
        ("a second line by the log that is wrong", note(text, line, str(SignatureLine(ORIGIN, tail[:4], bytes(64))))),
        ("only a cosignature", note(text, cosignature_line(text, WITNESSES[0], 1))),
        ("another log's", resigned(text.replace("ledger", "other"))),
        ("no signature", text + "\n"),
        ("no blank line", text + line + "\n"),
        ("no newline at the end", good[:-1]),
        ("a blank line at the end", good + "\n"),
        ("a hyphen for the dash", good.replace("\u2014", "-")),
        ("two spaces", good.replace("\u2014 ", "\u2014  ")),
        ("no name", note(text, f"\u2014  {base64_text(tail)}")),
        ("three bytes of signature", note(text, line, f"\u2014 a {base64_text(b'abc')}")),
        ("a signature line without base64", note(text, line, "\u2014 a")),
        ("base64 with other last bits", note(text, line[:-2] + chr(ord(line[-2]) + 1) + "=")),
        ("base64 without padding", note(text, line.rstrip("="))),
        ("a carriage return", good.replace("\n70\n", "\r\n70\r\n")),
        ("a tab", good.replace(ORIGIN, ORIGIN + "\t")),
        ("more than 64 KiB", note(text, *[line] * 600)),
        ("a leading zero", resigned(text.replace("\n70\n", "\n070\n"))),
        ("a plus sign", resigned(text.replace("\n70\n", "\n+70\n"))),
        ("a negative size", resigned(text.replace("\n70\n", "\n-70\n"))),
        ("a size beyond 64 bits", resigned(text.replace("\n70\n", f"\n{2**64}\n"))),
        ("digits of another script", resigned(text.replace("\n70\n", "\n\u0667\u0660\n"))),
        ("no size", resigned(text.replace("\n70\n", "\n\n"))),
        ("a root of 31 bytes", resigned(text.replace(root, base64_text(bytes(31))))),
        ("a root in hexadecimal", resigned(text.replace(root, range_root(0, 70).hex()))),
        ("an extension line", resigned(text + "extension\n")),
        ("two lines", resigned(text.rsplit("\n", 2)[0] + "\n")),
        ("an origin with a space", resigned(text.replace("ledger", "led ger"))),
        ("no origin", resigned(text.replace(ORIGIN, ""))),
        ("empty", ""),
    ]
    negative = [{"why": why, "key": str(LOG_KEY), "note": data} for why, data in cases]
    negative.append({"why": "a key of a witness", "key": str(VerifierKey(ORIGIN, COSIGNATURE, LOG_KEY.public)), "note": good})
    negative.append({"why": "not UTF-8", "key": str(LOG_KEY), "note_hex": (good.encode() + b"\xff").hex()})
    assert good not in dict(cases).values(), "a change that changes nothing"
    for case in negative:
        assert refused(Refused, check_checkpoint, case), case["why"]
    return positive, negative


def cosignatures():
    text = checkpoint_text(70, range_root(0, 70))
    other = checkpoint_text(71, range_root(0, 71))
    first, second = WITNESSES

    def case(line, key=witness_key(first), checkpoint=text):
        return {"checkpoint": checkpoint, "line": line, "key": str(key)}

    def check(one):
        return check_cosignature(SignatureLine.parse(one["line"]), one["checkpoint"], VerifierKey.parse(one["key"]))

    positive = [
        {**case(cosignature_line(checkpoint, name, time), witness_key(name), checkpoint), "time": time}
        for name, checkpoint, time in ((first, text, 1_767_225_600), (second, text, 0), (second, other, 2**33),
                                       (first, checkpoint_text(0, merkle.EMPTY_ROOT), 1))
    ]
    assert all(check(one) == one["time"] for one in positive)
    good = positive[0]["line"]
    parsed = SignatureLine.parse(good)

    def changed(signature):
        return str(SignatureLine(first, parsed.key_id, signature))

    key, time = witness_key(first), 1_767_225_600
    plain = sign(seed(first), text.encode())
    unheaded = sign(seed(first), f"time {time}\n{text}".encode())
    late = (2**63).to_bytes(8, "big") + sign(seed(first), f"cosignature/v1\ntime {2**63}\n{text}".encode())
    negative = [
        {"why": why, **one}
        for why, one in (
            ("another checkpoint", case(good, checkpoint=other)),
            ("another witness", case(good, witness_key(second))),
            ("another key of the same name", case(good, VerifierKey(first, COSIGNATURE, public(seed("stranger"))))),
            ("the key as a log's", case(good, VerifierKey(first, LOG, key.public))),
            ("another time", case(changed(flipped(parsed.signature[:8][::-1])[::-1] + parsed.signature[8:]))),
            ("one bit of the signature", case(changed(parsed.signature[:8] + flipped(parsed.signature[8:])))),
            ("a time of 2^63", case(changed(late))),
            ("no time", case(changed(parsed.signature[8:]))),
            ("a byte more", case(changed(parsed.signature + b"\x00"))),
            ("signed as a log signs", case(changed(time.to_bytes(8, "big") + plain))),
            ("signed without the header line", case(changed(time.to_bytes(8, "big") + unheaded))),
            ("seven bytes", case(changed(bytes(7)))),
            ("a newline at the end", case(good + "\n")),
            ("a hyphen for the dash", case(good.replace("\u2014", "-"))),
            ("the key id of another type", case(str(SignatureLine(first, VerifierKey(first, LOG, key.public).id, parsed.signature)))),
        )
    ]
    for one in negative:
        assert refused(Refused, check, one), one["why"]
    return positive, negative


def receipts():
    def receipt(index, size, path=None, lines=()):
        text = checkpoint_text(size, range_root(0, size))
        path = merkle.inclusion_proof(range_root, index, size) if path is None else path
        hashes = "".join(f"{base64_text(one)}\n" for one in path)
        return f"c2sp.org/tlog-proof@v1\nindex {index}\n{hashes}\n" + note(text, log_line(text), *(line(text) for line in lines))

    def case(proof, entry, key=LOG_KEY):
        return {"receipt": proof, "entry": entry.hex(), "key": str(key)}

    def check(one):
        Receipt.parse(one["receipt"].encode()).check(bytes.fromhex(one["entry"]), VerifierKey.parse(one["key"]))

    def cosigned(text):
        return cosignature_line(text, WITNESSES[0], 1)

    positive = [
        {**case(receipt(index, size, lines=lines), content(index)), "index": index, "size": size,
         "hashes": hexes(merkle.inclusion_proof(range_root, index, size))}
        for index, size, lines in ((0, 1, ()), (0, 2, ()), (69, 70, ()), (33, 70, (cosigned,)), (65_536, 65_537, ()))
    ]
    for one in positive:
        check(one)
    good, path = positive[3]["receipt"], merkle.inclusion_proof(range_root, 33, 70)
    first = base64_text(path[0])
    stranger = VerifierKey(ORIGIN, LOG, public(seed("stranger")))
    negative = [
        {"why": why, **one}
        for why, one in (
            ("another entry", case(good, content(34))),
            ("the entry with a byte more", case(good, content(33) + b"\n")),
            ("another log's key", case(good, content(33), stranger)),
            ("another index", case(good.replace("index 33", "index 32"), content(33))),
            ("another index and its entry", case(good.replace("index 33", "index 32"), content(32))),
            ("an index beyond the tree", case(good.replace("index 33", "index 70"), content(33))),
            ("an index with a leading zero", case(good.replace("index 33", "index 033"), content(33))),
            ("an index with a sign", case(good.replace("index 33", "index +33"), content(33))),
            ("no index", case(good.replace("index 33\n", ""), content(33))),
            ("another version", case(good.replace("@v1", "@v2"), content(33))),
            ("no header", case(good.split("\n", 1)[1], content(33))),
            ("extra data, which we refuse", case(good.replace("index 33", "extra AAAA\nindex 33"), content(33))),
            ("a hash less", case(receipt(33, 70, path[1:]), content(33))),
            ("a hash more", case(receipt(33, 70, [*path, path[0]]), content(33))),
            ("65 hashes", case(receipt(33, 70, [path[0]] * 65), content(33))),
            ("one bit of a hash", case(receipt(33, 70, [flipped(path[0]), *path[1:]]), content(33))),
            ("a hash of 31 bytes", case(receipt(33, 70, [path[0][1:], *path[1:]]), content(33))),
            ("a hash without padding", case(good.replace(first, first.rstrip("=")), content(33))),
            ("no blank line before the checkpoint", case(good.replace("\n\n", "\n", 1), content(33))),
            ("a carriage return", case(good.replace("index 33\n", "index 33\r\n"), content(33))),
            ("another size", case(good.replace("\n70\n", "\n71\n"), content(33))),
            ("no signature", case(good.split("\u2014")[0], content(33))),
        )
    ]
    for one in negative:
        assert refused(Refused, check, one), one["why"]
    return positive, negative


def witness_requests():
    def body(old, size, path=None, root=None, key=LOG_KEY, secret=LOG_SEED):
        text = checkpoint_text(size, root or range_root(0, size), key.name)
        path = merkle.consistency_proof(range_root, old, size) if path is None else path
        return f"old {old}\n" + "".join(f"{base64_text(one)}\n" for one in path) + "\n" + note(text, log_line(text, key, secret))

    def case(request, seen, root=None):
        return {"request": request, "seen": seen, "seen_root": (root or range_root(0, seen)).hex(), "key": str(LOG_KEY)}

    def check(one):
        request = WitnessRequest.parse(one["request"].encode())
        request.check(one["seen"], bytes.fromhex(one["seen_root"]), VerifierKey.parse(one["key"]))
        return request.checkpoint.size

    positive = [{**case(body(old, size), old), "size": size}
                for old, size in ((0, 0), (0, 7), (7, 7), (3, 7), (4, 7), (64, 70), (33, 257), (1000, 65_537))]
    assert all(check(one) == one["size"] for one in positive)
    good, path = positive[3]["request"], merkle.consistency_proof(range_root, 3, 7)
    first, stranger = base64_text(path[0]), seed("stranger")
    elsewhere = VerifierKey("elsewhere", LOG, LOG_KEY.public)
    negative = [
        {"why": why, **one}
        for why, one in (
            ("a rollback", case(body(7, 3, []), 7)),
            ("the witness has seen more", case(good, 4)), ("the witness has seen less", case(good, 2)),
            ("another history before", case(good, 3, range_root(1, 4))),
            ("a fork of one size", case(body(7, 7, root=range_root(1, 8)), 7)),
            ("a rewritten log", case(body(3, 7, root=range_root(1, 8)), 3)),
            ("no proof", case(body(3, 7, []), 3)), ("a hash less", case(body(3, 7, path[1:]), 3)),
            ("a hash more", case(body(3, 7, [*path, path[0]]), 3)), ("hashes for a first head", case(body(0, 7, path), 0)),
            ("64 hashes", case(body(3, 7, [path[0]] * 64), 3)), ("a hash of 31 bytes", case(body(3, 7, [path[0][1:], *path[1:]]), 3)),
            ("a hash without padding", case(good.replace(first, first.rstrip("=")), 3)),
            ("a leading zero", case(good.replace("old 3", "old 03"), 3)), ("a sign", case(good.replace("old 3", "old +3"), 3)),
            ("another word", case(good.replace("old 3", "new 3"), 3)), ("no old size", case(good.split("\n", 1)[1], 3)),
            ("no blank line", case(good.replace("\n\n", "\n", 1), 3)), ("a carriage return", case(good.replace("old 3\n", "old 3\r\n"), 3)),
            ("signed by another", case(body(3, 7, secret=stranger), 3)), ("another log", case(body(3, 7, key=elsewhere), 3)),
        )
    ]
    for one in negative:
        assert refused(Refused, check, one), one["why"]
    return positive, negative


def notes():
    """Signed notes as such: what is text, what is a line."""
    line = log_line("a\n")
    positive = [
        {"note": data, "text": text, "lines": count}
        for data, text, count in (
            (note("a\n", line), "a\n", 1),
            (note("a\n\nb\n", line, line), "a\n\nb\n", 2),
            # The last blank line separates: what stands before it is text, even if it looks like a signature.
            (note("a\n", line, "", line), f"a\n\n{line}\n", 1),
            # Nothing is a text too.
            (note("\n", line), "\n", 1),
            (note("\u2014 a AAAAAA==\n", line), "\u2014 a AAAAAA==\n", 1),
            (note("\u00e9\u20ac\U0001f600\n", *[line] * 16), "\u00e9\u20ac\U0001f600\n", 16),
        )
    ]
    for case in positive:
        text, lines = parse_note(case["note"].encode())
        assert (text, len(lines)) == (case["text"], case["lines"])
    negative = [
        {"why": why, "note": data}
        for why, data in (
            ("empty", ""), ("no signatures", "a\n"), ("a blank line and no signature", "a\n\n"),
            ("a third newline and no signature", "a\n\n\n"), ("only a line", line + "\n"),
            ("a NUL", note("a\x00\n", line)), ("an empty line after the last", note("a\n", line, "")),
            ("a signature line cut", note("a\n", line)[:-10]), ("a name with a plus", note("a\n", "\u2014 a+b AAAAAA==")),
        )
    ]
    assert all(refused(Refused, parse_note, case["note"].encode()) for case in negative)
    return positive, negative


FILES = {"signatures": signatures, "verifier_keys": verifier_keys, "notes": notes, "checkpoints": checkpoints,
         "cosignatures": cosignatures, "receipts": receipts, "witness_requests": witness_requests, **JSON_FILES}
