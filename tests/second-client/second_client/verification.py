"""The agreed set as evidence, tags, the check of an opened total, and verdicts."""

from . import primitives, ring
from .context import opened_groups
from .encoding import (Refused, base64_bytes, digest, label, list_of, number, record, sha256, signature, to_base64,
                       transcript, transcript_hash, truth)
from .site import agreed_digest, check_proposal, check_signatures, parse_agreement, parse_opened, parse_proposal

COLUMNS = 128

parse_sum = record(sites=list_of(label), coordinates=digest, weight=number)
parse_total = record(coordinates=digest, weight=number)
parse_announcement = record(context=digest, agreed_digest=digest, sums=list_of(parse_sum), total=parse_total)
parse_tagging = record(announcement=parse_announcement, opened=parse_opened)
parse_tag = record(
    context=digest, site=label, announcement=digest, value=base64_bytes(4 * COLUMNS), signature=signature
)
parse_evidence = record(proposal=parse_proposal, signatures=list_of(parse_agreement))
parse_tag_evidence = record(
    announcement=parse_announcement, tags=list_of(parse_tag),
    uploads=list_of(record(site=label, opened=parse_opened, body=digest)),
)
parse_verdict = record(context=digest, site=label, announcement=digest, accepted=truth, signature=signature)


class AgreedSet:
    """The agreed set of a round with its sites' headers, shown by a quorum's signatures."""

    def __init__(self, round_, evidence):
        proposal = evidence["proposal"]
        headers = check_proposal(round_, proposal)
        self.digest = agreed_digest(proposal)
        check_signatures(round_, evidence["signatures"], self.digest, headers)
        self.context, self.sites = round_.digest, proposal["agreed"]
        self.headers = {site: headers[site]["header"] for site in self.sites}
        self.groups = opened_groups(round_.context, self.sites)


def announcement_digest(announcement):
    fields = [announcement["context"], announcement["agreed_digest"], len(announcement["sums"])]
    for one in announcement["sums"]:
        fields += [len(one["sites"]), *one["sites"], one["coordinates"], one["weight"]]
    total = announcement["total"]
    return transcript_hash("sum-announcement", *fields, total["coordinates"], total["weight"])


def check_announcement(announcement, agreed):
    if announcement["context"] != agreed.context or announcement["agreed_digest"] != agreed.digest:
        raise Refused("Announcement/Round")
    if [one["sites"] for one in announcement["sums"]] != agreed.groups:
        raise Refused("Announcement/Sums")
    weight = sum(one["weight"] for one in announcement["sums"])
    sums, total = announcement["sums"], announcement["total"]
    if weight != total["weight"] or (len(sums) == 1 and sums[0]["coordinates"] != total["coordinates"]):
        raise Refused("Announcement/Total")


def challenge_sums(announced, lanes, bits):
    """`alpha lanes mod 2^b`: bit c of lane j is bit c % 8 of byte 16 j + c / 8 of the challenge's stream."""
    stream = primitives.key_stream(transcript_hash("tag-challenge", announced), 16 * len(lanes))
    sums = [0] * COLUMNS
    for at, lane in enumerate(lanes):
        chosen = int.from_bytes(stream[16 * at:16 * at + 16], "little")
        for column in range(COLUMNS):
            if chosen >> column & 1:
                sums[column] += lane
    return [value % (1 << bits) for value in sums]


def tag_value(round_, agreed, announcement, site, opened, body):
    """The tag that `site` has to send, as numbers."""
    if site not in agreed.headers:
        raise Refused("NotAgreed", site)
    check_announcement(announcement, agreed)
    header = agreed.headers[site]
    seeds = [opened["self_seed"], *opened["pair_seeds"].values()]
    outside = round_.open_pairs(site, agreed.sites)
    if not all(map(primitives.is_scalar, seeds)) or sorted(opened["pair_seeds"]) != outside:
        raise Refused("Seeds", site)
    if primitives.self_commitment(round_.digest, site, opened["self_seed"]) != header["self_mask_hash"]:
        raise Refused("Seeds", site)
    for peer, value in opened["pair_seeds"].items():
        if primitives.pair_commitment(round_.digest, site, peer, value) != header["pair_seed_hashes"][peer]:
            raise Refused("Seeds", site)
    encoding = round_.context["encoding"]
    bits, count = encoding["ring_bits"], ring.coordinates(encoding) + 1
    lanes = ring.unpack(body, count, bits)
    if lanes is None or primitives.body_root(body) != header["body_root"]:
        raise Refused("Body", site)
    streams = [(opened["self_seed"], -1)]
    streams += [(value, -1 if peer > site else 1) for peer, value in opened["pair_seeds"].items()]
    for value, sign in streams:
        stream = primitives.mask_lanes(primitives.stream_key(value, round_.digest), count)
        lanes = [lane + sign * word for lane, word in zip(lanes, stream, strict=True)]
    return challenge_sums(announcement_digest(announcement), [lane % (1 << bits) for lane in lanes], bits)


def tag_transcript(context, site, announced, value):
    return transcript("sum-tag", context, site, announced, value)


def tag(round_, agreed, site, key, signed, request, body):
    """This site's tag as JSON. `signed` is the digest of the set that it signed, if it signed one."""
    if signed is not None and signed != agreed.digest:
        raise Refused("OtherSet")
    announcement = request["announcement"]
    sums = tag_value(round_, agreed, announcement, site, request["opened"], body)
    value = b"".join(number.to_bytes(4, "little") for number in sums)
    announced = announcement_digest(announcement)
    return {
        "context": round_.digest.hex(), "site": site, "announcement": announced.hex(), "value": to_base64(value),
        "signature": to_base64(key.sign(tag_transcript(round_.digest, site, announced, value))),
    }


def check_total(round_, agreed, evidence, total, body_of):
    """Whether a total (bytes) is the sum of what the sites uploaded; `body_of` gives a body by digest and site."""
    announcement = evidence["announcement"]
    check_announcement(announcement, agreed)
    announced, encoding = announcement_digest(announcement), round_.context["encoding"]
    modulus, values = 1 << encoding["ring_bits"], {}
    for one in evidence["tags"]:
        numbers = [int.from_bytes(one["value"][at:at + 4], "little") for at in range(0, 4 * COLUMNS, 4)]
        site = one["site"]
        message = tag_transcript(one["context"], site, one["announcement"], one["value"])
        counts = (
            one["context"] == round_.digest and one["announcement"] == announced and site not in values
            and max(numbers) < modulus and round_.roster.signed_by(site, message, one["signature"])
        )
        if not counts:
            raise Refused("Tag", site)
        values[site] = numbers
    for upload in evidence["uploads"]:
        site = upload["site"]
        try:
            body = body_of(site, upload["body"])
            values[site] = tag_value(round_, agreed, announcement, site, upload["opened"], body)
        except Refused as refused:
            raise Refused("Tag", f"{site}: {refused}") from refused
    missing = [site for site in agreed.sites if site not in values]
    if missing:
        raise Refused("Missing", ", ".join(missing))
    coordinates = ring.signed_words(total)
    if len(coordinates) != ring.coordinates(encoding) or sha256(total) != announcement["total"]["coordinates"]:
        raise Refused("Coordinates")
    weight = announcement["total"]["weight"]
    if weight >= 2**32:
        raise Refused("Wrong")
    expected = [sum(values[site][column] for site in agreed.sites) % modulus for column in range(COLUMNS)]
    if challenge_sums(announced, [*coordinates, weight], encoding["ring_bits"]) != expected:
        raise Refused("Wrong")


def verdict_transcript(context, site, announced, accepted):
    return transcript("sum-verdict", context, site, announced, int(accepted))


def verdict(site, key, context, announced, accepted):
    return {
        "context": context.hex(), "site": site, "announcement": announced.hex(), "accepted": accepted,
        "signature": to_base64(key.sign(verdict_transcript(context, site, announced, accepted))),
    }
