#!/usr/bin/env python3
"""Makes noise.json and accounting.json beside it, independently of the Rust code.

Needs Python 3 with the packages cryptography (AES), mpmath (exact noise), dp-accounting and opendp (the published
figures); accounting.json names the versions that made it.
"""

import hashlib
import importlib.metadata
import json
import math
import pathlib

import dp_accounting
import numpy
import opendp.prelude as dp
from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes
from mpmath import mp, mpf

HERE = pathlib.Path(__file__).parent
mp.prec = 400
dp.enable_features("contrib")


def write(name, **content):
    assert len(content["negative"]) * 3 >= len(content["positive"]) + len(content["negative"]), name
    (HERE / f"{name}.json").write_text(json.dumps(content, indent=1) + "\n")


# Noise.


def exponential(variance, n):
    return min(int(mp.nint(mp.exp(-mpf(n) / (2 * variance)) * mpf(2) ** 128)), 2**128 - 1)


def uniform_bits(variance):
    return max(0, (variance.bit_length() - 3) // 2)


def random_words(key, chunk):
    cipher = Cipher(algorithms.AES(key), modes.CTR((chunk << 18).to_bytes(16, "big"))).encryptor()
    while True:
        block = cipher.update(bytes(9 * 4 * 64))
        for at in range(0, len(block), 36):
            yield block[at:at + 36]


def samples(key, variance, count, chunk=0):
    """The first samples of a chunk: exact probabilities, compared with the random numbers as real numbers."""
    m = uniform_bits(variance)
    weight = [mp.exp(-mpf(y * y * 4**m) / (2 * variance)) for y in range(int(math.sqrt(174 * variance)) // 2**m + 1)]
    whole = sum(weight)
    cumulative = [sum(weight[:y + 1]) / whole for y in range(len(weight) - 1)]
    found = []
    for words in random_words(key, chunk):
        if len(found) == count:
            return found
        chosen = mpf(int.from_bytes(words[:16], "little")) / mpf(2) ** 128
        decides = mpf(int.from_bytes(words[16:32], "little")) / mpf(2) ** 128
        last = int.from_bytes(words[32:], "little")
        y = sum(1 for bound in cumulative if chosen >= bound)
        u = last % 2**m
        x = 2**m * y + u
        negative = last >> 31 == 1
        if decides < mp.exp(-mpf(u * (u + 2 ** (m + 1) * y)) / (2 * variance)) and not (negative and x == 0):
            found.append(-x if negative else x)


def noise():
    positive, negative = [], []
    for variance in (1, 3, 4, 15, 16, 1000, 12345, 2**20, 2**31 + 7, 10**12 + 3, 2**50):
        for part in (0, 1, 3, 10, 100, 1000, 10000):
            n = 174 * variance * part // 10000
            if part == 1:
                n = 1
            case = {"what": "exponential", "variance": str(variance), "n": str(n)}
            positive.append({**case, "value": str(exponential(variance, n))})
            if n > 0:
                wrong = str(exponential(variance + 1 if variance < 2**20 else variance * 2, n))
                negative.append({**case, "value": wrong, "why": "the exponential of another variance"})
    key = hashlib.shake_256(b"konclave vectors noise").digest(32)
    for variance in (1, 2, 9, 17, 400, 99_999, 2**36 + 1, 2**50):
        positive.append({"what": "samples", "key": key.hex(), "variance": str(variance),
                         "values": samples(key, variance, 24)})
    for why, other, variance in (
        ("another key", samples(bytes(32), 400, 24), 400),
        ("another variance", samples(key, 401 * 4, 24), 400),
        ("the second chunk of the stream", samples(key, 400, 24, chunk=1), 400),
        ("the other sign", [-x for x in samples(key, 400, 24)], 400),
    ):
        negative.append({"what": "samples", "key": key.hex(), "variance": str(variance), "values": other, "why": why})
    write("noise", positive=positive, negative=negative)


# Accounting.


def opendp_epsilon(rho, delta):
    space = dp.atom_domain(T=float, nan=False), dp.absolute_distance(T=float)
    gaussian = dp.m.make_gaussian(*space, scale=math.sqrt(1 / (2 * rho)))
    return dp.c.make_zCDP_to_approxDP(gaussian).map(d_in=1.0).epsilon(delta)


def google_epsilons(rho, rounds, delta):
    event = dp_accounting.GaussianDpEvent(math.sqrt(1 / (2 * rho)))
    orders = 1 + numpy.logspace(-4, 6, 4000)
    rdp = dp_accounting.rdp.RdpAccountant(orders).compose(event, rounds)
    pld = dp_accounting.pld.PLDAccountant().compose(event, rounds)
    return float(rdp.get_epsilon(delta)), float(pld.get_epsilon(delta))


def conversions():
    for nano in (1_000_000, 10_000_000, 50_000_000, 125_000_000, 500_000_000, 2_000_000_000):
        for rounds in (1, 10, 30):
            for exponent in (5, 6, 9):
                rho, delta = nano * 1e-9, 10.0**-exponent
                rdp, pld = google_epsilons(rho, rounds, delta)
                yield {"what": "conversion", "nano_rho": nano, "rounds": rounds, "delta_exponent": exponent,
                       "opendp": opendp_epsilon(rho * rounds, delta), "dp_accounting_rdp": rdp,
                       "dp_accounting_pld": pld}


def discrete_gaussian(variance, reach):
    weight = [mp.exp(-mpf(x * x) / (2 * variance)) for x in range(-reach, reach + 1)]
    whole = sum(weight)
    return [w / whole for w in weight]


def convolve(a, b):
    out = [mpf(0)] * (len(a) + len(b) - 1)
    for i, x in enumerate(a):
        for j, y in enumerate(b):
            out[i + j] += x * y
    return out


def divergences(noisy, variance, shift):
    """Exact Renyi divergences between a sum of discrete Gaussians and itself moved by `shift`."""
    one = discrete_gaussian(variance, 12 * math.isqrt(variance * noisy) + 12 + 6 * shift)
    whole = one
    for _ in range(noisy - 1):
        whole = convolve(whole, one)
    middle = len(whole) // 2
    keep = middle - 6 * shift
    out = []
    for order in (2, 5, 11):
        total = mpf(0)
        for at in range(middle - keep, middle + keep + 1):
            if 0 <= at - shift < len(whole) and whole[at] > 0 and whole[at - shift] > 0:
                total += whole[at] ** order * whole[at - shift] ** (1 - order)
        out.append([order, float(mp.log(total) / (order - 1))])
    return out


def sums():
    for noisy, variance, shift in ((1, 4, 1), (2, 1, 1), (2, 2, 3), (3, 2, 2), (4, 4, 2)):
        yield {"what": "divergence", "noisy": noisy, "variance": variance, "shift": shift,
               "divergences": divergences(noisy, variance, shift)}


def accounting():
    converted, summed = list(conversions()), list(sums())
    negative = []
    for case in converted[::3]:
        negative.append({**case, "rounds": case["rounds"] + 1, "why": "one round more than counted"})
    for case in converted[::5]:
        other = {5: 6, 6: 9, 9: 5}[case["delta_exponent"]]
        negative.append({**case, "delta_exponent": other, "why": "another delta"})
    for case in summed:
        negative.append({**case, "noisy": case["noisy"] * 2, "why": "noise counted that nobody added"})
    versions = {name: importlib.metadata.version(name) for name in ("dp-accounting", "opendp", "mpmath")}
    write("accounting", made_with=versions, positive=converted + summed, negative=negative)


if __name__ == "__main__":
    noise()
    accounting()
