"""A site's part of a round: mask, agree, unmask."""

from . import primitives, ring
from .context import agreed_set, neighbours
from .encoding import (Refused, base64_bytes, digest, label, list_of, map_of, number, record, seed, sha256, signature,
                       to_base64, transcript, transcript_hash)

parse_header = record(
    context=digest, site=label, self_mask_hash=digest, pair_seed_hashes=map_of(digest), share_root=digest,
    body_root=digest, body_bytes=number,
)
parse_signed_header = record(header=parse_header, signature=signature)
parse_sealed = record(to=label, sealed=base64_bytes(), **{"from": label})
parse_proposal = record(context=digest, manifests=list_of(parse_signed_header), agreed=list_of(label))
parse_agreement = record(context=digest, site=label, agreed_digest=digest, signature=signature)
parse_request = record(
    context=digest, agreed=list_of(label), signatures=list_of(parse_agreement), self_masks_of=list_of(label),
    pair_seeds_of=list_of(label), sealed=list_of(parse_sealed),
)


class Round:
    """A verified context with the roster that it names."""

    def __init__(self, context, digest, roster):
        self.context, self.digest, self.roster = context, digest, roster

    def neighbours(self, site):
        return neighbours(self.context, site)

    def open_pairs(self, site, agreed):
        return [peer for peer in self.neighbours(site) if peer not in agreed]


def header_transcript(header):
    hashes = header["pair_seed_hashes"]
    fields = [header["context"], header["site"], header["self_mask_hash"], len(hashes)]
    for peer in sorted(hashes):
        fields += [peer, hashes[peer]]
    return transcript("manifest", *fields, header["share_root"], header["body_root"], header["body_bytes"])


# Step 1: mask

def check_update(lanes, encoding):
    if len(lanes) != ring.coordinates(encoding) + 1:
        raise Refused("Update/Length")
    if not 1 <= lanes[-1] <= encoding["weight_cap"]:
        raise Refused("Update/Weight")
    largest = ring.quantised_max(encoding)
    if any(abs(ring.centred(lane, encoding["ring_bits"])) > largest for lane in lanes[:-1]):
        raise Refused("Update/Range")


def share_hash(context, dealer, receiver, slot, value):
    return transcript_hash("share", context, dealer, receiver, slot, value)


def bundle_hashes(context, dealer, receiver, shares):
    return [share_hash(context, dealer, receiver, slot, value) for slot, value in enumerate(shares)]


def deal(round_, dealer, seeds, draw):
    """The share root, and each receiver's shares with the path of its bundle."""
    sites, threshold = round_.roster.sites, round_.context["threshold"]
    by_receiver = [[] for _ in sites]
    for secret in seeds:
        coefficients = [primitives.from_wide(draw(64)) for _ in range(threshold - 1)]
        for shares, value in zip(by_receiver, primitives.share_out(secret, coefficients, len(sites)), strict=True):
            shares.append(value)
    roots = [
        primitives.merkle_root(bundle_hashes(round_.digest, dealer, receiver, shares))
        for receiver, shares in zip(sites, by_receiver, strict=True)
    ]
    bundles = {
        receiver: (shares, primitives.merkle_path(roots, at))
        for at, (receiver, shares) in enumerate(zip(sites, by_receiver, strict=True))
    }
    return primitives.merkle_root(roots), bundles


def mask(round_, site, key, keys, chains_round, lanes, draw):
    """The state, the manifest as JSON, and the body. `keys` are those of the context's round."""
    context, encoding = round_.context, round_.context["encoding"]
    if context["round"] != chains_round:
        raise Refused("Round", f"the chains stand at round {chains_round}")
    check_update(lanes, encoding)
    self_seed = primitives.from_wide(draw(64))
    pair_seeds = {
        peer: primitives.pair_seed(keys[peer]["chain"], round_.digest) for peer in round_.neighbours(site)
    }
    masked = list(lanes)
    streams = [(self_seed, 1)] + [(value, 1 if peer > site else -1) for peer, value in pair_seeds.items()]
    for value, sign in streams:
        stream = primitives.mask_lanes(primitives.stream_key(value, round_.digest), len(lanes))
        masked = [lane + sign * word for lane, word in zip(masked, stream, strict=True)]
    modulus = 1 << encoding["ring_bits"]
    body = ring.pack([lane % modulus for lane in masked], encoding["ring_bits"])

    share_root, bundles = deal(round_, site, [self_seed, *pair_seeds.values()], draw)
    header = {
        "context": round_.digest,
        "site": site,
        "self_mask_hash": primitives.self_commitment(round_.digest, site, self_seed),
        "pair_seed_hashes": {
            peer: primitives.pair_commitment(round_.digest, site, peer, value) for peer, value in pair_seeds.items()
        },
        "share_root": share_root,
        "body_root": primitives.body_root(body),
        "body_bytes": len(body),
    }
    signed = {"header": header, "signature": key.sign(header_transcript(header))}
    sealed = []
    for receiver, (shares, upper) in bundles.items():
        if receiver != site:
            round_key = primitives.round_seal_key(keys[receiver]["outgoing"], round_.digest, site, receiver)
            plaintext = b"".join([*shares, *upper])
            sealed.append({"from": site, "to": receiver, "sealed": to_base64(
                primitives.seal(round_key, round_.digest, site, receiver, share_root, plaintext))})
    opening_keys = {
        peer: primitives.round_seal_key(pair["incoming"], round_.digest, peer, site) for peer, pair in keys.items()
    }
    state = {"signed": signed, "pair_seeds": pair_seeds, "opening_keys": opening_keys, "own_bundle": bundles[site]}
    return state, {"signed": signed_header_json(signed), "sealed": sealed}, body


def signed_header_json(signed):
    header = signed["header"]
    return {
        "header": {
            "context": header["context"].hex(),
            "site": header["site"],
            "self_mask_hash": header["self_mask_hash"].hex(),
            "pair_seed_hashes": {peer: value.hex() for peer, value in header["pair_seed_hashes"].items()},
            "share_root": header["share_root"].hex(),
            "body_root": header["body_root"].hex(),
            "body_bytes": header["body_bytes"],
        },
        "signature": to_base64(signed["signature"]),
    }


# Step 2: agree

def check_header(round_, signed):
    header = signed["header"]
    site = header["site"]
    if site not in round_.roster.sites:
        raise Refused("Header/UnknownSite", site)
    if header["context"] != round_.digest:
        raise Refused("Header/Context", site)
    if not round_.roster.signed_by(site, header_transcript(header), signed["signature"]):
        raise Refused("Header/Signature", site)
    if sorted(header["pair_seed_hashes"]) != round_.neighbours(site):
        raise Refused("Header/Neighbours", site)
    if header["body_bytes"] != ring.body_bytes(round_.context["encoding"]):
        raise Refused("Header/BodyLength", site)


def check_proposal(round_, proposal):
    """The headers of the uploaders by site, if every rule holds that all sites sign by."""
    if proposal["context"] != round_.digest:
        raise Refused("Context")
    headers, last = {}, ""
    for signed in proposal["manifests"]:
        site = signed["header"]["site"]
        if site <= last:
            raise Refused("Order", site)
        check_header(round_, signed)
        headers[site], last = signed, site
    for site, signed in headers.items():
        for peer, value in signed["header"]["pair_seed_hashes"].items():
            if peer in headers and headers[peer]["header"]["pair_seed_hashes"].get(site) != value:
                raise Refused("PairSeeds", f"{site} and {peer}")
    if len(headers) < round_.context["threshold"]:
        raise Refused("TooFewUploads")
    agreed = agreed_set(round_.context, headers)
    if proposal["agreed"] != agreed:
        raise Refused("AgreedSet")
    if len(agreed) < round_.context["min_agreed"]:
        raise Refused("TooFewAgreed")
    return headers


def agreed_digest(proposal):
    headers = [sha256(header_transcript(signed["header"])) for signed in proposal["manifests"]]
    return transcript_hash(
        "agreed-set", proposal["context"], len(proposal["agreed"]), *proposal["agreed"], len(headers), *headers
    )


def agreement_transcript(context, site, of):
    return transcript("agreement", context, site, of)


def agree(round_, site, key, state, proposal):
    """The next state and the signature as JSON. A site does this once in a round, and durably."""
    headers = check_proposal(round_, proposal)
    if site in headers and headers[site] != state["signed"]:
        raise Refused("OwnManifest")
    agreed, of = proposal["agreed"], agreed_digest(proposal)
    inside = site in agreed
    next_state = {
        "agreed": agreed,
        "agreed_digest": of,
        "uploaded": sorted(headers),
        "share_roots": {dealer: headers[dealer]["header"]["share_root"] for dealer in agreed},
        # What this set can never need is erased.
        "pair_seeds": {
            peer: value for peer, value in state["pair_seeds"].items() if inside and peer not in agreed
        },
        "opening_keys": {peer: value for peer, value in state["opening_keys"].items() if peer in agreed},
        "own_bundle": state["own_bundle"] if inside else None,
    }
    signed = key.sign(agreement_transcript(round_.digest, site, of))
    return next_state, {
        "context": round_.digest.hex(), "site": site, "agreed_digest": of.hex(), "signature": to_base64(signed),
    }


# Step 3: unmask

def check_signatures(round_, signatures, of, uploaded):
    signers = set()
    for one in signatures:
        site = one["site"]
        message = agreement_transcript(one["context"], site, one["agreed_digest"])
        counts = (
            one["context"] == round_.digest and one["agreed_digest"] == of and site in uploaded
            and site not in signers and round_.roster.signed_by(site, message, one["signature"])
        )
        if not counts:
            raise Refused("Signature", site)
        signers.add(site)
    if len(signers) < round_.context["threshold"]:
        raise Refused("TooFewSignatures")


def check_request(round_, site, state, request):
    if request["context"] != round_.digest:
        raise Refused("Context")
    both = set(request["self_masks_of"]) & set(request["pair_seeds_of"])
    if both:
        raise Refused("BothKinds", min(both))
    agreed = state["agreed"]
    if request["agreed"] != agreed:
        raise Refused("AgreedSet")
    outside = [other for other in round_.roster.sites if other not in agreed]
    if request["self_masks_of"] != agreed or request["pair_seeds_of"] != outside:
        raise Refused("Lists")
    check_signatures(round_, request["signatures"], state["agreed_digest"], state["uploaded"])
    dealers = [dealer for dealer in agreed if dealer != site]
    if [one["from"] for one in request["sealed"]] != dealers or any(one["to"] != site for one in request["sealed"]):
        raise Refused("Sealed")


def open_bundle(round_, site, dealer, state, sealed):
    """The dealer's shares for this site with the path of the bundle; None is a reason to complain."""
    root, sites = state["share_roots"][dealer], round_.roster.sites
    plaintext = primitives.unseal(state["opening_keys"][dealer], round_.digest, dealer, site, root, sealed)
    slots, position = len(round_.neighbours(dealer)) + 1, sites.index(site)
    if plaintext is None or len(plaintext) != 32 * (slots + primitives.path_length(position, len(sites))):
        return None
    parts = [plaintext[at:at + 32] for at in range(0, len(plaintext), 32)]
    shares, upper = parts[:slots], parts[slots:]
    if not all(map(primitives.is_scalar, shares)):
        return None
    bundle = primitives.merkle_root(bundle_hashes(round_.digest, dealer, site, shares))
    led = primitives.lead(primitives.leaf_hash(bundle), position, len(sites), iter(upper))
    return (shares, upper) if led == root else None


def share(round_, dealer, site, bundle, slot):
    shares, upper = bundle
    lower = primitives.merkle_path(bundle_hashes(round_.digest, dealer, site, shares), slot)
    return {"value": shares[slot], "path": [*lower, *upper]}


def unmasking_transcript(response):
    def of_share(one):
        return [one["value"], len(one["path"]), *one["path"]]

    fields = [response["context"], response["site"], len(response["self_mask_shares"])]
    for dealer in sorted(response["self_mask_shares"]):
        fields += [dealer, *of_share(response["self_mask_shares"][dealer])]
    fields.append(len(response["own_pair_seeds"]))
    for peer in sorted(response["own_pair_seeds"]):
        fields += [peer, response["own_pair_seeds"][peer]]
    fields.append(len(response["pair_seed_shares"]))
    for one in response["pair_seed_shares"]:
        fields += [one["owner"], one["peer"], *of_share(one["share"])]
    return transcript("unmasking", *fields, len(response["complaints"]), *response["complaints"])


def unmask(round_, site, key, state, request):
    """The answer as JSON: shares of the self masks inside the set, and of the pair seeds with sites outside."""
    check_request(round_, site, state, request)
    agreed = state["agreed"]
    sealed = {one["from"]: one["sealed"] for one in request["sealed"]}
    self_shares, pair_shares, complaints = {}, [], []
    for dealer in agreed:
        own = dealer == site
        bundle = state["own_bundle"] if own else open_bundle(round_, site, dealer, state, sealed[dealer])
        if bundle is None:
            complaints.append(dealer)
            continue
        self_shares[dealer] = share(round_, dealer, site, bundle, 0)
        for peer in [] if own else round_.open_pairs(dealer, agreed):
            slot = round_.neighbours(dealer).index(peer) + 1
            pair_shares.append({"owner": dealer, "peer": peer, "share": share(round_, dealer, site, bundle, slot)})
    response = {
        "context": round_.digest, "site": site, "self_mask_shares": self_shares,
        "own_pair_seeds": state["pair_seeds"], "pair_seed_shares": pair_shares, "complaints": complaints,
    }
    signed = key.sign(unmasking_transcript(response))

    def share_json(one):
        return {"value": to_base64(one["value"]), "path": [step.hex() for step in one["path"]]}

    return {
        "context": round_.digest.hex(),
        "site": site,
        "self_mask_shares": {dealer: share_json(one) for dealer, one in self_shares.items()},
        "own_pair_seeds": {peer: to_base64(value) for peer, value in state["pair_seeds"].items()},
        "pair_seed_shares": [{**one, "share": share_json(one["share"])} for one in pair_shares],
        "complaints": complaints,
        "signature": to_base64(signed),
    }


parse_opened = record(self_seed=seed, pair_seeds=map_of(seed))
