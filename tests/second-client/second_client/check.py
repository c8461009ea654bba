"""Checks this implementation against every file of crypto/vectors/: positive cases are met, negative ones refused."""

import json
import pathlib

from . import context as contexts
from . import primitives, ring, roster, site, verification
from .encoding import Refused, base64_bytes, digest, label, round_text, seed, sha256, transcript_hash


class Draws:
    """Recorded randomness, to be used up exactly."""

    def __init__(self, content):
        self.rest = bytes.fromhex(content)

    def __call__(self, length):
        drawn, self.rest = self.rest[:length], self.rest[length:]
        assert len(drawn) == length, "more randomness is used than was drawn"
        return drawn


def refusal(action):
    """The name of the rule that refuses; None if nothing does."""
    try:
        action()
    except Refused as refused:
        return refused.name
    return None


class Checker:
    def __init__(self, folder):
        self.folder = pathlib.Path(folder)
        self.counts = {}

    def load(self, name):
        return json.loads((self.folder / f"{name}.json").read_text())

    def cases(self, name, meets):
        """Primitives: a positive case meets its answer, a negative one does not."""
        file = self.load(name)
        for kind, expected in (("positive", True), ("negative", False)):
            for case in file[kind]:
                assert meets(case) is expected, f"{name}: {case.get('why', case)}"
        self.count(name, file)

    def messages(self, name, accepts, refuses):
        """Messages: a positive case is made or accepted alike, a negative one is refused by the same rule."""
        file = self.load(name)
        for case in file["positive"]:
            accepts(case)
        for case in file["negative"]:
            found = refusal(lambda case=case: refuses(case))
            assert found == case["error"], f"{name}: {case['why']}: {found}, not {case['error']}"
        self.count(name, file)

    def count(self, name, file):
        self.counts[name] = (len(file["positive"]), len(file["negative"]))

    # Primitives

    def transcripts(self):
        def meets(case):
            fields = [bytes.fromhex(field) for field in case["fields"]]
            return transcript_hash(case["label"], *fields).hex() == case["digest"]

        self.cases("transcript", meets)

    def text_forms(self):
        forms = {"site": label, "round": round_text, "digest": digest, "seed": seed}
        self.cases("text_forms", lambda case: refusal(lambda: forms[case["kind"]](case["text"])) is None)

    def contexts(self):
        def meets(case):
            try:
                parsed = contexts.parse_context(case["context"])
            except Refused:
                return False
            return contexts.context_digest(parsed).hex() == case["digest"]

        self.cases("context", meets)

    def key_schedules(self):
        def schedule(given):
            raw = {name: bytes.fromhex(given[name]) for name in
                   ("roster", "upper_key", "ciphertext", "context", "shared", "share_root")}
            job, lower, upper, context = given["job"], given["lower"], given["upper"], raw["context"]
            chain, upward, downward = primitives.pair_secrets(
                raw["shared"], raw["roster"], job, lower, upper, raw["upper_key"], raw["ciphertext"])
            pair_seed = primitives.pair_seed(chain, context)
            round_key = primitives.round_seal_key(upward, context, lower, upper)
            return {
                "chain": chain, "seal_up": upward, "seal_down": downward, "next_chain": primitives.next_key(chain),
                "pair_seed": pair_seed,
                "pair_commitment": primitives.pair_commitment(context, upper, lower, pair_seed),
                "self_commitment": primitives.self_commitment(context, lower, pair_seed),
                "mask_key": primitives.stream_key(pair_seed, context),
                "round_seal_key": round_key,
                "message_key": b"".join(primitives.message_key(round_key, raw["share_root"])),
            }

        def meets(case):
            found = {name: value.hex() for name, value in schedule(case["input"]).items()}
            moved = sorted(name for name in found if found[name] != case["output"][name])
            assert moved == sorted(case.get("moves", [])), case.get("why")
            return not moved

        self.cases("key_schedule", meets)

    def streams(self):
        def meets(case):
            lanes = primitives.mask_lanes(bytes.fromhex(case["key"]), len(case["lanes"]), case["first"])
            return [lane % (1 << case["bits"]) for lane in lanes] == case["lanes"]

        self.cases("prg", meets)

    def packings(self):
        def meets(case):
            packed = bytes.fromhex(case["packed"])
            lanes = ring.unpack(packed, case.get("count", len(case.get("lanes", []))), case["bits"])
            return lanes is not None and lanes == case["lanes"] and ring.pack(lanes, case["bits"]) == packed

        self.cases("packing", meets)

    def sharings(self):
        def meets(case):
            parts = [bytes.fromhex(part) for part in case["shares"]]
            secret = bytes.fromhex(case["secret"][0])
            if "coefficients" in case:
                coefficients = [bytes.fromhex(part) for part in case["coefficients"]]
                assert primitives.share_out(secret, coefficients, len(parts)) == parts
                enough = range(len(parts) - len(coefficients) - 1, len(parts))
            else:
                enough = case["sites"]
                parts = dict(zip(enough, parts, strict=True))
            shares = {at: parts[at] for at in enough}
            return all(map(primitives.is_scalar, shares.values())) and primitives.recover(shares) == secret

        self.cases("shamir", meets)

    def trees(self):
        def meets(case):
            root = bytes.fromhex(case["root"])
            if "length" in case:
                pattern = bytes.fromhex(case["pattern"])
                body = (pattern * (case["length"] // len(pattern) + 1))[:case["length"]]
                return primitives.body_root(body) == root
            siblings = iter([bytes.fromhex(step) for step in case["path"]])
            start = primitives.leaf_hash(bytes.fromhex(case["content"]))
            return primitives.lead(start, case["index"], case["size"], siblings) == root and next(siblings, None) is None

        self.cases("merkle", meets)

    def graphs(self):
        def meets(case):
            if "degree" not in case:
                found = contexts.least_degree(case["sites"], case["threshold"], case["dropouts"])
                return found == case["least_degree"]
            order = contexts.circle(case["job"], bytes.fromhex(case["roster"]), case["sites"])
            found = {name: contexts.around(order, name, case["degree"]) for name in case["sites"]}
            return found == case["neighbours"]

        self.cases("mask_graph", meets)

    # Messages

    def memberships(self):
        file = self.load("membership")
        root, now = bytes.fromhex(file["shared"]["root"]), file["shared"]["now"]

        def check(case):
            certificate = roster.parse_certificate(case["certificate"])
            roster.check_certificate(root, certificate, case["role"], case.get("now", now))
            return certificate

        def accepts(case):
            made = roster.membership_transcript(check(case)["membership"])
            assert sha256(made).hex() == case["digest"]

        self.messages("membership", accepts, check)

    def rosters(self):
        file = self.load("roster")
        shared = file["shared"]
        self.root, self.now = bytes.fromhex(shared["root"]), shared["now"]
        parse = roster.parse_advertisement

        def build(entries):
            return roster.Roster(shared["job"], [parse(entry) for entry in entries], self.root, self.now)

        self.roster = build(reversed(shared["advertisements"]))

        def accepts(case):
            found = self.roster
            assert found.sites == case["sites"] and found.digest.hex() == case["digest"]
            assert found.legal_entities == case["legal_entities"] and found.singletons() == case["singletons"]
            for size, batches in case["scoring_batches"].items():
                assert found.scoring_batches(int(size)) == batches

        def refuses(case):
            entries = list(shared["advertisements"])
            entries[case["at"]:case["at"] + 1] = [case["advertisement"]]
            build(entries)

        self.messages("roster", accepts, refuses)

    def key_setups(self):
        cases = self.load("key_setup")["positive"]
        sent = [message for case in cases for message in case["sent"]]
        certificates = {entry["certificate"]["membership"]["site"]: entry["certificate"]
                        for entry in self.load("roster")["shared"]["advertisements"]}
        self.signers, self.keys = {}, {1: {}, 2: {}}
        secrets = {case["site"]: bytes.fromhex(case["kem_secret"]) for case in cases}

        def received(name):
            return [roster.parse_ciphertext(message) for message in sent if message["to"] == name]

        def as_text(keys):
            return {peer: {part: key.hex() for part, key in pair.items()} for peer, pair in keys.items()}

        def accepts(case):
            name, key = case["site"], primitives.signer(bytes.fromhex(case["identity_seed"]))
            made = roster.advertise(self.roster.job, certificates[name], key, secrets[name])
            assert made == case["advertisement"]
            draws = Draws(case["draws"])
            later, messages = roster.encapsulate(self.roster, name, key, secrets[name], draws)
            assert messages == case["sent"] and not draws.rest
            keys = {**later, **roster.finish(self.roster, name, secrets[name], received(name))}
            assert as_text(keys) == case["keys"] and as_text(roster.advanced(keys)) == case["keys_round_2"]
            self.signers[name] = key
            self.keys[1][name], self.keys[2][name] = keys, roster.advanced(keys)

        def refuses(case):
            messages = received(case["to"])
            changed = [roster.parse_ciphertext(case["message"])] if case["message"] else []
            messages[case["at"]:case["at"] + 1] = changed
            roster.finish(self.roster, case["to"], secrets[case["to"]], messages)

        self.messages("key_setup", accepts, refuses)

    def signed_contexts(self):
        self.rounds = {}

        def check(case):
            signed = contexts.parse_signed_context(case["signed"])
            of = contexts.verify(signed, self.root, self.roster, self.now, case["floor"])
            return site.Round(signed["context"], of, self.roster)

        def accepts(case):
            found = check(case)
            assert found.digest.hex() == case["digest"]
            assert {name: found.neighbours(name) for name in self.roster.sites} == case["neighbours"]
            assert ring.body_bytes(found.context["encoding"]) == case["body_bytes"]
            self.rounds[case["name"]] = found

        self.messages("signed_context", accepts, check)

    def maskings(self):
        self.masked, self.bodies = {}, {}

        def accepts(case):
            found, name = self.rounds[case["context"]], case["site"]
            round_, draws = found.context["round"], Draws(case["draws"])
            keys = self.keys[round_][name]
            state, manifest, body = site.mask(found, name, self.signers[name], keys, round_, case["lanes"], draws)
            assert manifest == case["manifest"] and body == base64_bytes()(case["body"]) and not draws.rest
            self.masked[case["context"], name], self.bodies[case["context"], name] = state, body

        def refuses(case):
            name, stands = case["site"], case["chains_round"]
            site.mask(self.rounds[case["context"]], name, self.signers[name], self.keys[stands][name], stands,
                      case["lanes"], lambda length: bytes(length))

        self.messages("masking", accepts, refuses)

    def agreements(self):
        self.agreed = {}

        def agree(case, name):
            proposal = site.parse_proposal(case["proposal"])
            state = self.masked[case["context"], name]
            return site.agree(self.rounds[case["context"]], name, self.signers[name], state, proposal)

        def accepts(case):
            proposal = site.parse_proposal(case["proposal"])
            assert site.agreed_digest(proposal).hex() == case["agreed_digest"]
            for name, signature in case["signatures"].items():
                state, made = agree(case, name)
                assert made == signature
                self.agreed[case["context"], name] = state

        self.messages("agreement", accepts, lambda case: agree(case, case["site"]))

    def unmaskings(self):
        def unmask(case):
            name, request = case["site"], site.parse_request(case["request"])
            state = self.agreed[case["context"], name]
            return site.unmask(self.rounds[case["context"]], name, self.signers[name], state, request)

        def accepts(case):
            assert unmask(case) == case["response"]

        self.messages("unmasking", accepts, unmask)

    def taggings(self):
        evidence = self.load("tagging")["shared"]["evidence"]
        self.sets = {
            name: verification.AgreedSet(self.rounds[name], verification.parse_evidence(one))
            for name, one in evidence.items()
        }

        def tag(case):
            name, context = case["site"], case["context"]
            request, agreed = verification.parse_tagging(case["request"]), self.sets[context]
            return verification.tag(self.rounds[context], agreed, name, self.signers[name], agreed.digest, request,
                                    self.bodies[context, name])

        def accepts(case):
            announcement = verification.parse_tagging(case["request"])["announcement"]
            assert verification.announcement_digest(announcement).hex() == case["announcement_digest"]
            assert tag(case) == case["tag"]

        self.messages("tagging", accepts, tag)

    def sum_checks(self):
        def check(case):
            context = case["context"]
            evidence = verification.parse_tag_evidence(case["evidence"])

            def body_of(name, of):
                body = self.bodies[context, name]
                assert sha256(body) == of
                return body

            total = base64_bytes()(case["total"])
            verification.check_total(self.rounds[context], self.sets[context], evidence, total, body_of)

        self.messages("sum_check", check, check)

    def verdicts(self):
        def check(case):
            one = verification.parse_verdict(case["verdict"])
            message = verification.verdict_transcript(
                one["context"], one["site"], one["announcement"], one["accepted"])
            if not self.roster.signed_by(one["site"], message, one["signature"]):
                raise Refused("Signature")
            return one

        def accepts(case):
            one = check(case)
            made = verification.verdict(one["site"], self.signers[one["site"]], one["context"], one["announcement"],
                                        one["accepted"])
            assert made == case["verdict"]

        self.messages("verdict", accepts, check)


def check_all(folder):
    """Cases met and refused, by file; every file of the folder has to be among them."""
    checker = Checker(folder)
    for step in (
        checker.transcripts, checker.text_forms, checker.contexts, checker.key_schedules, checker.streams,
        checker.packings, checker.sharings, checker.trees, checker.graphs, checker.memberships, checker.rosters,
        checker.key_setups, checker.signed_contexts, checker.maskings, checker.agreements, checker.unmaskings,
        checker.taggings, checker.sum_checks, checker.verdicts,
    ):
        step()
    files = {path.stem for path in pathlib.Path(folder).glob("*.json")}
    assert files == set(checker.counts), files ^ set(checker.counts)
    return checker.counts
