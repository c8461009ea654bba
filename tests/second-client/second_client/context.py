"""The round context: its transcript, its rules, a site's floors, and who shares masks with whom."""

import math
from fractions import Fraction

from . import primitives, ring
from .encoding import (Refused, digest, label, list_of, number, record, round_number, sha256, signature, text,
                       transcript, transcript_hash)
from .roster import check_certificate, parse_certificate

parse_tensor = record(name=text, len=number, clip_micro=lambda value: number(value, 2**32 - 1))
parse_encoding = record(
    tensors=list_of(parse_tensor), quantisation_bits=lambda value: number(value, 255),
    ring_bits=lambda value: number(value, 255), weight_cap=lambda value: number(value, 2**32 - 1),
)


def parse_graph(value):
    if isinstance(value, dict) and value.get("kind") == "complete":
        return record(kind=text)(value)
    graph = record(kind=text, degree=lambda degree: number(degree, 65535))(value)
    if graph["kind"] != "regular":
        raise Refused("Parse", "no such mask graph")
    return graph


def parse_mode(value):
    if value not in ("full", "group"):
        raise Refused("Parse", "no such mode")
    return value


def small(value):
    return number(value, 65535)


parse_terms = record(clip_norm=number, site_variance=number, colluders=small)


def parse_noise(value):
    return None if value is None else parse_terms(value)


FIELDS = {
    "job": label, "round": round_number, "model": digest, "roster": digest, "batches": list_of(list_of(label)),
    "mode": parse_mode, "encoding": parse_encoding, "threshold": small, "min_agreed": small, "min_batch": small,
    "mask_graph": parse_graph, "policy": digest, "training": digest, "ledger_size": number, "ledger_root": digest,
    "noise": parse_noise,
}
parse_fields = record(**FIELDS)


def parse_context(value):
    """A context without `noise` is one with none."""
    return parse_fields({"noise": None, **value} if isinstance(value, dict) else value)


parse_signed_context = record(context=parse_context, gateway=parse_certificate, signature=signature)


def context_transcript(context):
    fields = [context["job"], context["round"], context["model"], context["roster"], len(context["batches"])]
    for batch in context["batches"]:
        fields += [len(batch), *batch]
    encoding, graph = context["encoding"], context["mask_graph"]
    fields += [context["mode"], len(encoding["tensors"])]
    for tensor in encoding["tensors"]:
        fields += [tensor["name"], tensor["len"], tensor["clip_micro"]]
    fields += [encoding["quantisation_bits"], encoding["ring_bits"], encoding["weight_cap"]]
    fields += [context["threshold"], context["min_agreed"], context["min_batch"]]
    fields += [graph["kind"], graph.get("degree", 0), context["policy"], context["training"]]
    fields += [context["ledger_size"], context["ledger_root"]]
    noise = context["noise"]
    fields += [0] if noise is None else [1, noise["clip_norm"], noise["site_variance"], noise["colluders"]]
    return transcript("context", *fields)


def context_digest(context):
    return sha256(context_transcript(context))


# The mask graph

def circle(job, roster, sites):
    return [site for _, site in sorted((transcript_hash("mask-graph", job, roster, site), site) for site in sites)]


def around(order, site, degree):
    at, reach = order.index(site), degree // 2
    near = {order[(at + place) % len(order)] for place in range(-reach, reach + 1)}
    return sorted(near - {site})


def least_degree(sites, threshold, dropouts):
    """The least even degree whose chance of being cut is at most 2^-40; None if only the complete graph will do."""
    colluders = max(2 * threshold - sites - 1, 0)
    for degree in range(2, sites - 1, 2):
        least = max(degree - dropouts, 0)
        ways = sum(math.comb(colluders, among) * math.comb(sites - colluders, degree - among)
                   for among in range(least, min(degree, colluders) + 1))
        if Fraction(sites * (sites - 1), 2) * Fraction(ways, math.comb(sites, degree)) <= Fraction(1, 2**40):
            return degree
    return None


def neighbours(context, site):
    everybody = [other for batch in context["batches"] for other in batch]
    if context["mode"] == "group":
        batch = next((batch for batch in context["batches"] if site in batch), [])
        return sorted(set(batch) - {site})
    if context["mask_graph"]["kind"] == "complete":
        return sorted(set(everybody) - {site})
    order = circle(context["job"], context["roster"], everybody)
    return around(order, site, context["mask_graph"]["degree"]) if site in order else []


def agreed_set(context, uploaded):
    """The union of the batches that uploaded completely."""
    complete = [batch for batch in context["batches"] if set(batch) <= set(uploaded)]
    return sorted(site for batch in complete for site in batch)


def opened_groups(context, agreed):
    if context["mode"] == "full":
        return [sorted(agreed)]
    return [sorted(batch) for batch in context["batches"] if set(batch) <= set(agreed)]


# The rules

def check_encoding(encoding, sites):
    q, b, cap = encoding["quantisation_bits"], encoding["ring_bits"], encoding["weight_cap"]
    if not 2 <= q <= 24:
        raise Refused("Encoding/QuantisationBits")
    needed = max(q + (sites - 1).bit_length() + 1, 16)
    if not needed <= b <= 32:
        raise Refused("Encoding/RingBits", f"{b} of at least {needed}")
    if not 1 <= cap <= ((1 << (b - 1)) - 1) // sites:
        raise Refused("Encoding/WeightCap")
    names = [tensor["name"] for tensor in encoding["tensors"]]
    for tensor in encoding["tensors"]:
        if not 1 <= len(tensor["name"].encode()) <= 512 or tensor["len"] == 0 or tensor["clip_micro"] == 0:
            raise Refused("Encoding/Tensor")
    if len(set(names)) < len(names):
        raise Refused("Encoding/Tensor")
    if not 1 <= ring.coordinates(encoding) <= 2**32:
        raise Refused("Encoding/Size")


def check_rules(context, roster):
    if context["job"] != roster.job:
        raise Refused("Job")
    if context["roster"] != roster.digest:
        raise Refused("Roster")
    sites, batches = len(roster.sites), context["batches"]
    everybody = [site for batch in batches for site in batch]
    if not all(batches) or sorted(everybody) != roster.sites:
        raise Refused("Batches")
    threshold = context["threshold"]
    if 3 * threshold <= 2 * sites or threshold > sites:
        raise Refused("Threshold")
    if not 2 <= context["min_agreed"] <= sites:
        raise Refused("MinAgreed")
    if context["mode"] == "group" and min(map(len, batches)) < max(context["min_batch"], 2):
        raise Refused("MinBatch")
    if context["mask_graph"]["kind"] == "regular":
        single = all(len(batch) == 1 for batch in batches)
        fewest = max(context["min_agreed"], threshold) if single else context["min_agreed"]
        degree = context["mask_graph"]["degree"]
        least = least_degree(sites, threshold, sites - fewest) if context["mode"] == "full" else None
        if degree % 2 or degree + 1 >= sites or least is None or degree < least:
            raise Refused("MaskGraph")
    check_encoding(context["encoding"], sites)
    if context["noise"] is not None:
        # This client draws none, and an update without it would weaken what the others were promised.
        raise Refused("Noise", "this client adds no noise")


def check_floor(context, roster, floor):
    if roster.legal_entities < floor["min_sites"]:
        raise Refused("MinSites")
    if context["min_agreed"] < floor["min_agreed"]:
        raise Refused("MinAgreed")
    size = floor["batch_size"]
    if context["mode"] == "group":
        if min(context["min_batch"], *map(len, context["batches"])) < floor["min_batch"]:
            raise Refused("MinBatch")
        size = floor["scoring_batch_size"]
        if size is None:
            raise Refused("NotScoring")
    expected = roster.singletons() if size == 1 else roster.scoring_batches(size)
    if context["batches"] != expected:
        raise Refused("OtherBatches")


def verify(signed, root, roster, now, floor):
    """All checks of a signed context; returns the context's digest."""
    try:
        check_certificate(root, signed["gateway"], "gateway", now)
    except Refused as refused:
        raise Refused(f"Gateway/{refused.name}") from refused
    message = context_transcript(signed["context"])
    if not primitives.verifies(signed["gateway"]["membership"]["identity_key"], message, signed["signature"]):
        raise Refused("Signature")
    check_rules(signed["context"], roster)
    check_floor(signed["context"], roster, floor)
    return sha256(message)
