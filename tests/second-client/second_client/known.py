"""The known updates of Konclave's tests (tests/tests/end_to_end/support/known.rs), so that a test can add up a sum by itself.

Each coordinate is an integer multiple of the scale whose nearest 32-bit float is so close to it that stochastic rounding
goes the other way with a probability below 1e-7.
"""

from .encoding import sha256
from .ring import quantised_max, to_f32

CLOSE = 1e-7


def known_update(site, parameters, encoding):
    """Float changes and weight of a site that starts from these parameters (a digest)."""
    largest, clip = quantised_max(encoding), encoding["tensors"][0]["clip_micro"]
    scale = float(clip) * 1e-6 / float(largest)
    multiples = [
        multiple for multiple in range(-(largest // 4), largest // 4 + 1)
        if abs(to_f32(multiple * scale) / scale - multiple) < CLOSE
    ]
    state = int.from_bytes(sha256(f"{site} from {parameters.hex()}".encode())[:8], "little")
    weight = encoding["weight_cap"] >> (state % 3)
    factor = float(encoding["weight_cap"] // weight)
    delta = []
    for _ in range(sum(tensor["len"] for tensor in encoding["tensors"])):
        state = (state * 6364136223846793005 + 1442695040888963407) % 2**64
        delta.append(to_f32(to_f32(multiples[(state >> 33) % len(multiples)] * scale) * factor))
    return delta, weight
