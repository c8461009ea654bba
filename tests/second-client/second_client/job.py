"""A site's work on jobs, item by item, over the HTTP interface."""

import json
import math
import os
import random
import sys
import time
import tomllib

from . import context as contexts
from . import primitives, ring, roster, site, verification
from .encoding import Refused, digest, list_of, sha256, to_base64, transcript_hash
from .known import known_update

ABORTS_IN_A_ROW = 5
CONSENT_TYPE = "application/vnd.konclave.consent.v1+json"


def canonical_json(value):
    """RFC 8785, for texts and whole numbers."""
    return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False).encode()


def envelope(key, payload_type, statement):
    """DSSE, signed with the identity key."""
    payload = canonical_json(statement)
    signed = key.sign(f"DSSEv1 {len(payload_type)} {payload_type} {len(payload)} ".encode() + payload)
    signature = {"keyid": sha256(primitives.public_of(key)).hex(), "sig": to_base64(signed)}
    return {"payload": to_base64(payload), "payloadType": payload_type, "signatures": [signature]}


def training_digest(request):
    fields = [bytes.fromhex(request["model"]), len(request["tasks"])]
    for task in request["tasks"]:
        unit = [task["unit"]] if task.get("unit") is not None else []
        fields += [task["task"], task["kind"], len(unit), *unit, task["output"]]
        fields += [task["center_micro"] % 2**64, task["scale_micro"] % 2**64]
    training = request["training"]
    fields += [training[name] for name in (
        "local_epochs", "batch_size", "learning_rate_micro", "weight_decay_micro", "proximal_mu_micro", "seed",
        "optimizer")]
    return transcript_hash("training", *fields)


def log(line):
    print(line, file=sys.stderr, flush=True)


class Job:
    """One job that this site consented to."""

    def __init__(self, member, name):
        self.member, self.name = member, name
        self.gateway, self.ledger, self.store = member.gateway, member.ledger, member.store(name)

    def path(self, *parts):
        return "/".join(["/v1/jobs", self.name, *map(str, parts)])

    # Consent and key set-up

    def consent(self):
        answer = self.store.load("consent")
        if answer is None:
            asked = self.gateway.get(self.path())
            refusal = self.refusal(asked)
            decision, rule, detail = ("refuse", *refusal) if refusal else ("accept", "consent", "by the site's floors")
            statement = {
                "job": self.name, "site": self.member.site, "decision": decision, "rule": rule, "detail": detail,
                "policy": asked["policy"], "made_at": int(time.time()),
            }
            answer = {
                "accepted": refusal is None, "request": asked["request"], "policy": asked["policy"],
                "statement": envelope(self.member.key, CONSENT_TYPE, statement),
            }
            self.store.save("consent", answer)
            log(f"{self.name}: {decision} by rule {rule}: {detail}")
        self.gateway.post(self.path("consents"), answer["statement"])

    def refusal(self, asked):
        """The rule that a job breaks, with a detail; None if this site takes part."""
        request = asked["request"]
        if request["invited"] and self.member.site not in request["invited"]:
            return "invited", "this site is not among the invited"
        if not 1 <= request["rounds"] <= 10_000:
            return "rounds", f"{request['rounds']} rounds"
        try:
            policy = self.rounds_policy(digest(asked["policy"]))
        except Refused as refused:
            return "policy", str(refused)
        if request["purpose"] not in policy["approved_purposes"]:
            return "approved_purposes", request["purpose"]
        try:
            self.model_manifest(request)
        except Refused as refused:
            return "model", str(refused)
        return None

    def rounds_policy(self, of):
        """The policy's text, proven by the ledger, and not below this site's floors."""
        found = self.ledger.entry("policy.set", lambda record: sha256(record["text"].encode()) == of)
        if found is None:
            raise Refused("Policy", "the ledger records no policy with this digest")
        policy, floors = tomllib.loads(found[1]["text"]), self.member.floors
        for name in ("min_cohort", "min_agreed", "min_batch", "scoring_batch_size", "guard_bits"):
            if policy[name] < floors[name]:
                raise Refused("Policy", f"{name} = {policy[name]}, at least {floors[name]} needed")
        for name in ("clip_micro", "quantisation_bits", "weight_cap"):
            if policy[name] > floors[name]:
                raise Refused("Policy", f"{name} = {policy[name]}, at most {floors[name]} allowed")
        return policy

    def model_manifest(self, request):
        manifest = self.gateway.get(f"/v1/models/{request['model']}")["manifest"]
        if sha256(canonical_json(manifest)).hex() != request["model"]:
            raise Refused("Model", "the manifest is not the one that the job names")
        return manifest

    def open(self):
        """The terms that this site consented to; the gateway's must be the same."""
        answer = self.store.load("consent")
        if answer is None or not answer["accepted"]:
            raise Refused("NoConsent", self.name)
        now = self.gateway.get(self.path())
        if now["request"] != answer["request"] or now["policy"] != answer["policy"]:
            raise Refused("Changed", self.name)
        self.request = answer["request"]
        self.policy_digest = digest(answer["policy"])
        self.policy = self.rounds_policy(self.policy_digest)
        self.manifest = self.model_manifest(self.request)
        self.initial = digest(self.manifest["initial_parameters"])

    def floor(self):
        return {
            "min_sites": self.policy["min_cohort"],
            "min_agreed": self.policy["min_agreed"],
            "min_batch": self.policy["min_batch"],
            "scoring_batch_size": self.policy["scoring_batch_size"] if self.request["scoring_rounds"] else None,
            "batch_size": self.policy["batch_size"],
        }

    def advertise_keys(self):
        self.open()
        keys = self.store.load("keys")
        if keys is None:
            secret = os.urandom(96)
            message = roster.advertise(self.name, self.member.certificate, self.member.key, secret)
            keys = {"secret": secret, "advertisement": message}
            self.store.save("keys", keys)
        self.gateway.put(self.path("keys", self.member.site), keys["advertisement"])

    def roster(self):
        view = self.gateway.get(self.path("roster"))
        own = self.store.load("keys")["advertisement"]
        listed = [entry for entry in view["advertisements"]
                  if entry["certificate"]["membership"]["site"] == self.member.site]
        if listed != [own]:
            raise Refused("OwnKeys", "the gateway replaced or dropped this site's keys")
        entries = list_of(roster.parse_advertisement)(view["advertisements"])
        found = roster.Roster(self.name, entries, self.member.root, int(time.time()))
        if found.digest != digest(view["roster"]):
            raise Refused("Roster", "the digest is another")
        return found

    def encapsulate(self):
        self.open()
        sent = self.store.load("encapsulated")
        if sent is None:
            found, secret = self.roster(), self.store.load("keys")["secret"]
            if len(found.sites) < self.floor()["min_sites"]:
                raise Refused("MinSites", str(len(found.sites)))
            keys, messages = roster.encapsulate(found, self.member.site, self.member.key, secret, os.urandom)
            sent = {"later": keys, "message": {"ciphertexts": messages}}
            self.store.save("encapsulated", sent)
        self.gateway.put(self.path("ciphertexts", self.member.site), sent["message"])

    def chains(self, found, round_):
        """The keys of a round; those of earlier ones are erased."""
        chains = self.store.load("chains")
        if chains is None:
            received = self.gateway.get(self.path("ciphertexts", self.member.site))
            messages = roster.parse_ciphertexts(received)["ciphertexts"]
            secret = self.store.load("keys")["secret"]
            earlier = roster.finish(found, self.member.site, secret, messages)
            chains = {"round": 1, "keys": {**self.store.load("encapsulated")["later"], **earlier}}
            self.store.save("chains", chains)
            sent = self.store.load("encapsulated")
            self.store.save("encapsulated", {"later": {}, "message": sent["message"]})
            self.store.save("keys", {**self.store.load("keys"), "secret": b""})
        if chains["round"] > round_:
            raise Refused("Erased", f"the keys of round {round_}")
        while chains["round"] < round_:
            chains = {"round": chains["round"] + 1, "keys": roster.advanced(chains["keys"])}
        self.store.save("chains", chains)
        return chains["keys"]

    # A round

    def verified(self, found, signed):
        parsed = contexts.parse_signed_context(signed)
        of = contexts.verify(parsed, self.member.root, found, int(time.time()), self.floor())
        return site.Round(parsed["context"], of, found)

    def check_terms(self, context):
        policy, encoding, sites = self.policy, context["encoding"], sum(map(len, context["batches"]))
        if context["training"] != training_digest(self.request):
            raise Refused("Terms", "training")
        if context["policy"] != self.policy_digest:
            raise Refused("Terms", "policy")
        tensors = [(tensor["name"], tensor["len"]) for tensor in encoding["tensors"]]
        if tensors != [(tensor["name"], math.prod(tensor["shape"])) for tensor in self.manifest["parameters"]]:
            raise Refused("Terms", "tensors")
        bits = encoding["quantisation_bits"] + (sites - 1).bit_length() + policy["guard_bits"]
        for rule, holds in (
            ("threshold", context["threshold"] >= 2 * sites // 3 + 1),
            ("clip_micro", max(tensor["clip_micro"] for tensor in encoding["tensors"]) <= policy["clip_micro"]),
            ("quantisation_bits", encoding["quantisation_bits"] <= policy["quantisation_bits"]),
            ("weight_cap", encoding["weight_cap"] <= policy["weight_cap"]),
            ("guard_bits", encoding["ring_bits"] >= bits),
        ):
            if not holds:
                raise Refused("Terms", rule)

    def standing(self, number):
        """The model before a round by the ledger, the round that it came of, and the entry that ended the round before."""
        ended = None
        for back in range(1, ABORTS_IN_A_ROW + 2):
            earlier = number - back
            if earlier < 1:
                return self.initial, None, ended
            opened = self.ledger.of_round("round.opened", self.name, earlier)
            found = opened or self.ledger.of_round("round.aborted", self.name, earlier)
            if found is None:
                raise Refused("Unrecorded", f"the end of round {earlier}")
            ended = max(found[0], -1 if ended is None else ended)
            if opened:
                return digest(opened[1]["parameters_after"]), earlier, ended
        raise Refused("Aborts")

    def check_history(self, round_):
        """The ledger shows how every round since the last opened one ended, this context, and the model before it."""
        context = round_.context
        standing, came_of, ended = self.standing(context["round"])
        if came_of is not None:
            self.ensure_verified(round_.roster, came_of)
        if context["model"] != standing:
            raise Refused("OtherModel")
        if ended is not None and context["ledger_size"] <= ended:
            raise Refused("OldHead")
        own = self.ledger.of_round("round.context", self.name, context["round"],
                                   lambda record: record["context"] == round_.digest.hex())
        if own is None or own[0] < context["ledger_size"]:
            raise Refused("Unrecorded", "this context")

    def upload(self, number):
        self.open()
        masked = self.store.load(f"masked-{number}")
        if masked is None:
            masked = self.make_update(number)
            if masked is None:
                return
        self.gateway.put(self.path("rounds", number, "manifests", self.member.site), masked["manifest"])
        path = self.path("rounds", number, "uploads", self.member.site)
        parts = self.gateway.upload(path, masked["body"], self.member.part)
        log(f"{self.name}: round {number}: uploaded {len(masked['body'])} bytes in {parts} parts")

    def make_update(self, number):
        view = self.gateway.get(self.path("rounds", number))
        if view["phase"]["kind"] != "uploading":
            return None
        self.forgotten(number, "uploaded")
        if number > self.request["rounds"] * (ABORTS_IN_A_ROW + 1):
            raise Refused("Beyond", str(number))
        found = self.roster()
        round_ = self.verified(found, view["context"])
        if round_.context["round"] != number:
            raise Refused("Terms", "round")
        self.check_terms(round_.context)
        self.ledger.check_head(round_.context["ledger_size"], round_.context["ledger_root"])
        self.check_history(round_)
        model = round_.context["model"]
        answered = self.store.load("answered", {})
        if model.hex() in answered or len(answered) >= self.request["rounds"]:
            raise Refused("SpentModel", model.hex())
        for over in range(1, number):
            self.close_round(over)
        keys = self.chains(found, number)
        delta, weight = known_update(self.member.site, model, round_.context["encoding"])
        lanes = ring.quantise(delta, weight, round_.context["encoding"], random.SystemRandom().random)
        state, manifest, body = site.mask(
            round_, self.member.site, self.member.key, keys, number, lanes, os.urandom)
        masked = {"context": view["context"], "state": state, "manifest": manifest, "body": body}
        self.store.save(f"masked-{number}", masked)
        return masked

    def close_round(self, number):
        for step in ("masked", "agreed", "unmasked", "tagged"):
            self.store.erase(f"{step}-{number}")

    def close(self):
        """The job is over: its secrets are erased."""
        for number in range(1, self.store.load("chains", {"round": 0})["round"] + 1):
            self.close_round(number)
        for name in ("chains", "encapsulated", "keys"):
            self.store.erase(name)

    def forgotten(self, number, what):
        """This site's message is at the gateway, but not in its state: the state is lost, and the job with it."""
        if self.member.site in self.gateway.get(self.path("rounds", number))[what]:
            raise Refused("Forgotten", what)

    def part_of(self, number):
        """What this site masked, with the context that it masked under."""
        masked = self.store.load(f"masked-{number}")
        if masked is None:
            self.forgotten(number, "uploaded")
            return None, None
        return masked, self.verified(self.roster(), masked["context"])

    def agree(self, number):
        self.open()
        agreed = self.decided(number)
        if agreed is not None:
            self.gateway.put(self.path("rounds", number, "agreement", self.member.site), agreed["signature"])

    def decided(self, number):
        """The signature on the one set of this round: durable once it is returned. None without an upload."""
        agreed = self.store.load(f"agreed-{number}")
        if agreed is None:
            masked, round_ = self.part_of(number)
            if masked is None:
                return None
            self.forgotten(number, "signed")
            proposal = site.parse_proposal(self.gateway.get(self.path("rounds", number, "agreement")))
            state, signature = site.agree(round_, self.member.site, self.member.key, masked["state"], proposal)
            agreed = {"state": state, "signature": signature}
            self.store.save(f"agreed-{number}", agreed)
            # The seeds that this set can never need are gone with the state before.
            self.store.save(f"masked-{number}", {**masked, "state": {}})
            log(f"{self.name}: round {number}: agreed to the sum of {len(proposal['agreed'])} sites")
        return agreed

    def unmask(self, number):
        self.open()
        response = self.store.load(f"unmasked-{number}")
        if response is None:
            agreed = self.decided(number)
            if agreed is None:
                return
            _, round_ = self.part_of(number)
            asked = self.gateway.get(self.path("rounds", number, "unmasking", self.member.site))
            request = site.parse_request(asked)
            response = site.unmask(round_, self.member.site, self.member.key, agreed["state"], request)
            answered = self.store.load("answered", {})
            self.store.save("answered", {**answered, round_.context["model"].hex(): number})
            self.store.save(f"unmasked-{number}", response)
            log(f"{self.name}: round {number}: gave shares of {len(response['self_mask_shares'])} self masks and "
                f"{len(response['pair_seed_shares'])} pair seeds")
        self.gateway.put(self.path("rounds", number, "unmasking", self.member.site), response)

    # Verification

    def opened_entry(self, number):
        found = self.ledger.of_round("round.opened", self.name, number)
        if found is None:
            raise Refused("NoEvidence", "a ledger entry of the opening")
        return found[1]

    def agreed_set(self, round_, view):
        if "agreement_evidence" not in view:
            raise Refused("NoEvidence", "the signatures on the agreed set")
        evidence = json.loads(self.gateway.blob(digest(view["agreement_evidence"])))
        return verification.AgreedSet(round_, verification.parse_evidence(evidence))

    def tag(self, number):
        self.open()
        tag = self.store.load(f"tagged-{number}")
        if tag is None:
            masked, round_ = self.part_of(number)
            if masked is None:
                return
            entry, view = self.opened_entry(number), self.gateway.get(self.path("rounds", number))
            agreed = self.agreed_set(round_, view)
            asked = self.gateway.get(self.path("rounds", number, "tags", self.member.site))
            request = verification.parse_tagging(asked)
            announced = verification.announcement_digest(request["announcement"])
            if announced.hex() != entry["announcement"] or round_.digest.hex() != entry["context"]:
                raise Refused("NoEvidence", "an announcement that the ledger holds")
            own = self.store.load(f"agreed-{number}")
            signed = own and digest(own["signature"]["agreed_digest"])
            tag = verification.tag(
                round_, agreed, self.member.site, self.member.key, signed, request, masked["body"])
            self.store.save(f"tagged-{number}", tag)
            log(f"{self.name}: round {number}: tagged the opened sum")
        self.gateway.put(self.path("rounds", number, "tags", self.member.site), tag)

    def verify(self, number):
        self.open()
        accepted = self.check_sum(self.roster(), number)
        entry = self.opened_entry(number)
        message = verification.verdict(
            self.member.site, self.member.key, digest(entry["context"]), digest(entry["announcement"]), accepted)
        self.gateway.put(self.path("rounds", number, "verdicts", self.member.site), message)

    def ensure_verified(self, found, number):
        """Every sum from the last checked one to this is right; one of a scoring round may lack tags."""
        while number is not None:
            entry = self.opened_entry(number)
            try:
                if not self.check_sum(found, number):
                    raise Refused("WrongSum", str(number))
            except Refused as refused:
                if refused.name != "Missing" or "coalitions" not in entry:
                    raise
            number = self.standing(number)[1]

    def check_sum(self, found, number):
        """Whether the total is what the sites uploaded and leads to the announced model: checked once."""
        verdicts = self.store.load("verdicts", {})
        if str(number) in verdicts:
            return verdicts[str(number)]
        entry, view = self.opened_entry(number), self.gateway.get(self.path("rounds", number))
        round_ = self.verified(found, view["context"])
        if round_.digest.hex() != entry["context"]:
            raise Refused("Terms", "context")
        agreed = self.agreed_set(round_, view)
        tags = (view.get("verification") or {}).get("tags")
        if tags is None:
            raise Refused("NoEvidence", "the tags")
        evidence = verification.parse_tag_evidence(json.loads(self.gateway.blob(digest(tags))))
        if verification.announcement_digest(evidence["announcement"]).hex() != entry["announcement"]:
            raise Refused("NoEvidence", "tags for the sum in the ledger")
        total = self.gateway.blob(digest(entry["total"]["sum"]))
        standing = self.standing(number)[0]
        try:
            if not digest(entry["parameters_before"]) == round_.context["model"] == standing:
                raise Refused("Wrong", "the sum moves another model than the round's")
            if entry["total"]["weight"] != evidence["announcement"]["total"]["weight"]:
                raise Refused("Wrong", "the sum is divided by another weight than the announced one")
            verification.check_total(round_, agreed, evidence, total, lambda _, of: self.gateway.blob(of))
            before = ring.floats(self.gateway.blob(digest(entry["parameters_before"])))
            after = ring.step(before, ring.signed_words(total), entry["total"]["weight"],
                              round_.context["encoding"], self.request["server_rate_micro"])
            right = sha256(ring.to_floats(after)) == digest(entry["parameters_after"])
        except Refused as refused:
            if refused.name == "Missing":
                raise
            log(f"{self.name}: round {number}: {refused}")
            right = False
        self.store.save("verdicts", {**verdicts, str(number): right})
        found = "right" if right else "WRONG"
        log(f"{self.name}: round {number}: the opened sum of {len(agreed.sites)} sites is {found}")
        return right
