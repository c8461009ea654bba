"""The fixed-point encoding: quantising, packing, centring, and the server's step."""

import struct


def pack(lanes, bits):
    """In runs of eight lanes, each of which ends on a byte."""
    out = b""
    for at in range(0, len(lanes), 8):
        run = lanes[at:at + 8]
        whole = sum((lane & (1 << bits) - 1) << (bits * place) for place, lane in enumerate(run))
        out += whole.to_bytes((len(run) * bits + 7) // 8, "little")
    return out


def packed_bytes(lanes, bits):
    return (lanes * bits + 7) // 8


def unpack(packed, count, bits):
    """None if the length is wrong or a padding bit is set."""
    if not 1 <= bits <= 32 or len(packed) != packed_bytes(count, bits):
        return None
    lanes = []
    for at in range(0, count, 8):
        run = min(8, count - at)
        start = at // 8 * bits
        whole = int.from_bytes(packed[start:start + (run * bits + 7) // 8], "little")
        if whole >> (run * bits):
            return None
        lanes += [whole >> (bits * place) & (1 << bits) - 1 for place in range(run)]
    return lanes


def centred(lane, bits):
    return lane - (1 << bits) if lane >> (bits - 1) else lane


def coordinates(encoding):
    return sum(tensor["len"] for tensor in encoding["tensors"])


def body_bytes(encoding):
    return packed_bytes(coordinates(encoding) + 1, encoding["ring_bits"])


def quantised_max(encoding):
    return (1 << (encoding["quantisation_bits"] - 1)) - 1


def quantise(delta, weight, encoding, uniform):
    """Ring elements of an update, the weight last. `uniform` draws from [0, 1)."""
    largest, lanes, values = quantised_max(encoding), [], iter(delta)
    for tensor in encoding["tensors"]:
        clip = tensor["clip_micro"] * 1e-6
        factor = weight / encoding["weight_cap"] * largest / clip
        for _ in range(tensor["len"]):
            scaled = max(-clip, min(clip, next(values))) * factor
            floor = scaled // 1
            rounded = int(floor) + (scaled - floor > uniform())
            lanes.append(max(-largest, min(largest, rounded)) % (1 << encoding["ring_bits"]))
    return [*lanes, weight]


def to_f32(value):
    return struct.unpack("<f", struct.pack("<f", value))[0]


def step(model, total, weight, encoding, server_rate_micro):
    """The model after a sum: f64 arithmetic in this order, rounded to f32 at the end."""
    rate = (server_rate_micro * 1e-6) * float(encoding["weight_cap"]) / float(weight)
    out, at = [], 0
    for tensor in encoding["tensors"]:
        scale = tensor["clip_micro"] * 1e-6 / float(quantised_max(encoding))
        for _ in range(tensor["len"]):
            out.append(to_f32(model[at] + float(total[at]) * scale * rate))
            at += 1
    return out


def floats(content):
    return list(struct.unpack(f"<{len(content) // 4}f", content))


def signed_words(content):
    return list(struct.unpack(f"<{len(content) // 4}i", content))


def to_floats(values):
    return struct.pack(f"<{len(values)}f", *values)
