#!/usr/bin/env python3
"""Times the arithmetic of Flower's SecAgg+ on this machine: prints one JSON line.

usage: bench_flower.py SITES COORDINATES DROPPED

What is timed is what its client and its workflow do to vectors, by Flower's own functions and with its default ranges: quantising,
weighting and masking at one site; adding, unmasking and dequantising at the server. Messages, key agreement, shares and
serialisation are left out, all of which only adds to Flower's times. Time is that of the process's processor use.
"""
import json
import os
import sys
import time

for threads in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS"):
    os.environ[threads] = "1"
os.environ["FLWR_TELEMETRY_ENABLED"] = "0"

import numpy as np
from flwr.common.secure_aggregation import ndarrays_arithmetic as arithmetic
from flwr.common.secure_aggregation.quantization import dequantize, quantize
from flwr.common.secure_aggregation.secaggplus_utils import pseudo_rand_gen

CLIP, LEVELS, MODULUS, WEIGHT = 8.0, 1 << 22, 1 << 32, 10


def seconds(work):
    start = time.process_time()
    result = work()
    return time.process_time() - start, result


def mask(update, sites):
    """One site's upload: a private mask, and one mask for each other site."""
    vector = quantize(update, CLIP, LEVELS)
    vector = arithmetic.parameters_multiply(vector, WEIGHT)
    vector = arithmetic.factor_combine(WEIGHT, vector)
    shapes = [np.shape(array) for array in vector]
    for index in range(sites):
        stream = pseudo_rand_gen(index.to_bytes(32, "big"), MODULUS, shapes)
        combine = arithmetic.parameters_addition if index % 2 == 0 else arithmetic.parameters_subtraction
        vector = combine(vector, stream)
    return arithmetic.parameters_mod(vector, MODULUS)


def unmask(upload, sites, dropped):
    """The server's sum over the sites that are left, and its masks: a private and `dropped` pairwise ones for each."""
    left = sites - dropped
    total = upload
    for _ in range(left - 1):
        total = arithmetic.parameters_addition(total, upload)
    total = arithmetic.parameters_mod(total, MODULUS)
    shapes = [np.shape(array) for array in total]
    for index in range(left * (dropped + 1)):
        stream = pseudo_rand_gen(index.to_bytes(32, "big"), MODULUS, shapes)
        total = arithmetic.parameters_subtraction(total, stream)
    total = arithmetic.parameters_mod(total, MODULUS)
    _, vector = arithmetic.factor_extract(total)
    return dequantize(vector, CLIP, LEVELS)


def main():
    sites, coordinates, dropped = (int(argument) for argument in sys.argv[1:4])
    update = [np.random.default_rng(1).standard_normal(coordinates, dtype=np.float32)]
    masked = min(seconds(lambda: mask(update, sites))[0] for _ in range(2))
    upload = mask(update, sites)
    opened, _ = seconds(lambda: unmask(upload, sites, dropped))
    bytes_up = sum(array.nbytes for array in upload)
    print(json.dumps({
        "peer": "Flower SecAgg+", "sites": sites, "coordinates": coordinates, "dropped": dropped, "mask_s": round(masked, 4),
        "unmask_s": round(opened, 4), "bytes_per_parameter": round(bytes_up / coordinates, 2),
    }))


if __name__ == "__main__":
    main()
