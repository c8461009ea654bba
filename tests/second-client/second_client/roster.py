"""Certificates, advertisements, rosters, and the key set-up of a job."""

from . import primitives
from .encoding import (Refused, base64_bytes, digest, label, list_of, number, record, sha256, signature, text,
                       to_base64, transcript, transcript_hash)

parse_membership = record(
    site=label, legal_entity=text, role=text, identity_key=digest, witness_vkey=text, serial=number,
    not_before=number, not_after=number,
)


def parse_certificate(value):
    """`witness_vkey` is absent where it is empty."""
    if not isinstance(value, dict) or not isinstance(value.get("membership"), dict):
        raise Refused("Parse", "not a certificate")
    value = {**value, "membership": {"witness_vkey": "", **value["membership"]}}
    return record(membership=parse_membership, signature=signature)(value)


def membership_transcript(member):
    return transcript(
        "membership", member["site"], member["legal_entity"], member["role"], member["identity_key"],
        member["witness_vkey"], member["serial"], member["not_before"], member["not_after"],
    )


def check_certificate(root, certificate, role, now):
    member = certificate["membership"]
    if not primitives.verifies(root, membership_transcript(member), certificate["signature"]):
        raise Refused("NotFromRoot", member["site"])
    if now < member["not_before"]:
        raise Refused("NotYetValid", member["site"])
    if now > member["not_after"]:
        raise Refused("Expired", member["site"])
    if member["role"] != role:
        raise Refused("WrongRole", member["site"])


parse_advertisement = record(job=label, certificate=parse_certificate, kem_key=base64_bytes(1216), signature=signature)


def advertisement_transcript(job, certificate, kem_key):
    return transcript("key-advertisement", job, sha256(membership_transcript(certificate["membership"])), kem_key)


class Roster:
    """The sites of a job with their checked keys, ascending by site id."""

    def __init__(self, job, advertisements, root, now):
        if not 2 <= len(advertisements) <= 256:
            raise Refused("Size", str(len(advertisements)))
        for entry in advertisements:
            self._check(job, entry, root, now)
        entries = sorted(advertisements, key=lambda entry: entry["certificate"]["membership"]["site"])
        members = [entry["certificate"]["membership"] for entry in entries]
        for values in (
            [member["site"] for member in members],
            [member["identity_key"] for member in members],
            [entry["kem_key"] for entry in entries],
        ):
            if len(set(values)) < len(values):
                raise Refused("Duplicate")
        self.job = job
        self.sites = [member["site"] for member in members]
        self.identity_keys = {member["site"]: member["identity_key"] for member in members}
        self.kem_keys = {site: entry["kem_key"] for site, entry in zip(self.sites, entries, strict=True)}
        self.legal_entities = len({member["legal_entity"] for member in members})
        fields = [job, len(entries)]
        for member, entry in zip(members, entries, strict=True):
            fields += [member["site"], member["identity_key"], sha256(membership_transcript(member)), entry["kem_key"]]
        self.digest = transcript_hash("roster", *fields)

    @staticmethod
    def _check(job, entry, root, now):
        certificate = entry["certificate"]
        member = certificate["membership"]
        try:
            check_certificate(root, certificate, "site", now)
        except Refused as refused:
            raise Refused(f"Certificate/{refused.name}", member["site"]) from refused
        if entry["job"] != job:
            raise Refused("Job", member["site"])
        message = advertisement_transcript(job, certificate, entry["kem_key"])
        if not primitives.verifies(member["identity_key"], message, entry["signature"]):
            raise Refused("Signature", member["site"])
        try:
            primitives.check_kem_public_key(entry["kem_key"])
        except Refused as refused:
            raise Refused("KemKey", member["site"]) from refused

    def signed_by(self, site, message, signature):
        key = self.identity_keys.get(site)
        return key is not None and primitives.verifies(key, message, signature)

    def singletons(self):
        return [[site] for site in self.sites]

    def scoring_batches(self, size):
        count = min(max(len(self.sites) // max(size, 1), 1), 10)
        order = sorted((transcript_hash("scoring-batches", self.job, self.digest, site), site) for site in self.sites)
        batches = [[] for _ in range(count)]
        for at, (_, site) in enumerate(order):
            batches[at % count].append(site)
        return [sorted(batch) for batch in batches]


# Key set-up

parse_ciphertext = record(
    job=label, to=label, roster=digest, ciphertext=base64_bytes(), signature=signature, **{"from": label}
)
parse_ciphertexts = record(ciphertexts=list_of(parse_ciphertext))


def ciphertext_transcript(message):
    return transcript(
        "kem-ciphertext", message["job"], message["from"], message["to"], message["roster"], message["ciphertext"]
    )


def advertise(job, certificate, key, kem_secret):
    """The message as JSON. The secret is durable before it is sent."""
    parsed = parse_certificate(certificate)
    kem_key = primitives.kem_public_key(kem_secret)
    signed = key.sign(advertisement_transcript(job, parsed, kem_key))
    return {"job": job, "certificate": certificate, "kem_key": to_base64(kem_key), "signature": to_base64(signed)}


def secrets_of(roster, lower, upper, shared, ciphertext):
    return primitives.pair_secrets(
        shared, roster.digest, roster.job, lower, upper, sha256(roster.kem_keys[upper]), sha256(ciphertext)
    )


def encapsulate(roster, site, key, kem_secret, draw):
    """The keys with every later site, and the messages to them as JSON."""
    if (roster.kem_keys.get(site) != primitives.kem_public_key(kem_secret)
            or roster.identity_keys.get(site) != primitives.public_of(key)):
        raise Refused("OwnKeys", "the gateway replaced or dropped this site's keys")
    keys, messages = {}, []
    for peer in roster.sites[roster.sites.index(site) + 1:]:
        ciphertext, shared = primitives.encapsulate(roster.kem_keys[peer], draw)
        chain, upward, downward = secrets_of(roster, site, peer, shared, ciphertext)
        keys[peer] = {"chain": chain, "outgoing": upward, "incoming": downward}
        message = {"job": roster.job, "from": site, "to": peer, "roster": roster.digest, "ciphertext": ciphertext}
        signed = key.sign(ciphertext_transcript(message))
        messages.append({
            **message, "roster": roster.digest.hex(), "ciphertext": to_base64(ciphertext), "signature": to_base64(signed),
        })
    return keys, messages


def finish(roster, site, kem_secret, messages):
    """The keys with every earlier site; the KEM secret is erased after this."""
    keys = {}
    for message in messages:
        sender, ends = message["from"], [message["from"], message["to"]]
        in_order = all(end in roster.sites for end in ends) and sender < message["to"]
        if message["job"] != roster.job or message["roster"] != roster.digest or not in_order:
            raise Refused("Misaddressed", sender)
        if not roster.signed_by(sender, ciphertext_transcript(message), message["signature"]):
            raise Refused("Signature", sender)
        primitives.check_kem_ciphertext(message["ciphertext"])
        if message["to"] != site:
            raise Refused("Misaddressed", sender)
        if sender in keys:
            raise Refused("Repeated", sender)
        shared = primitives.decapsulate(kem_secret, message["ciphertext"])
        chain, upward, downward = secrets_of(roster, sender, site, shared, message["ciphertext"])
        keys[sender] = {"chain": chain, "outgoing": downward, "incoming": upward}
    missing = [peer for peer in roster.sites if peer < site and peer not in keys]
    if missing:
        raise Refused("Missing", missing[0])
    return keys


def advanced(keys):
    """The keys of the next round; the old ones are erased."""
    return {peer: {name: primitives.next_key(key) for name, key in pair.items()} for peer, pair in keys.items()}
