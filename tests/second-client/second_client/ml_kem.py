"""ML-KEM-768 (FIPS 203), from the standard's algorithms. Slow, and not constant-time: for tests only."""

import hashlib

Q, K = 3329, 3
ETA, DU, DV = 2, 10, 4
KEY_BYTES, CIPHERTEXT_BYTES = 384 * K + 32, 32 * (DU * K + DV)


def reversed_bits(number):
    return int(f"{number:07b}"[::-1], 2)


ZETAS = [pow(17, reversed_bits(i), Q) for i in range(128)]
GAMMAS = [pow(17, 2 * reversed_bits(i) + 1, Q) for i in range(128)]


def ntt(poly):
    """Algorithm 9."""
    out, at, length = list(poly), 1, 128
    while length >= 2:
        for start in range(0, 256, 2 * length):
            zeta, at = ZETAS[at], at + 1
            for j in range(start, start + length):
                t = zeta * out[j + length] % Q
                out[j], out[j + length] = (out[j] + t) % Q, (out[j] - t) % Q
        length //= 2
    return out


def inverse_ntt(poly):
    """Algorithm 10."""
    out, at, length = list(poly), 127, 2
    while length <= 128:
        for start in range(0, 256, 2 * length):
            zeta, at = ZETAS[at], at - 1
            for j in range(start, start + length):
                t = out[j]
                out[j], out[j + length] = (t + out[j + length]) % Q, zeta * (out[j + length] - t) % Q
        length *= 2
    return [value * 3303 % Q for value in out]


def multiply(f, g):
    """Algorithms 11 and 12."""
    out = []
    for i, gamma in enumerate(GAMMAS):
        a0, a1, b0, b1 = f[2 * i], f[2 * i + 1], g[2 * i], g[2 * i + 1]
        out += [(a0 * b0 + a1 * b1 * gamma) % Q, (a0 * b1 + a1 * b0) % Q]
    return out


def add(f, g):
    return [(a + b) % Q for a, b in zip(f, g, strict=True)]


def inner(left, right):
    total = [0] * 256
    for f, g in zip(left, right, strict=True):
        total = add(total, multiply(f, g))
    return total


def encode(poly, bits):
    whole = sum(value << (bits * at) for at, value in enumerate(poly))
    return whole.to_bytes(32 * bits, "little")


def decode(content, bits):
    whole = int.from_bytes(content, "little")
    return [whole >> (bits * at) & (1 << bits) - 1 for at in range(256)]


def compress(poly, bits):
    return [((value << bits) + Q // 2) // Q % (1 << bits) for value in poly]


def decompress(poly, bits):
    return [(value * Q + (1 << (bits - 1))) >> bits for value in poly]


def sample_ntt(seed):
    """Algorithm 7."""
    stream = hashlib.shake_128(seed).digest(3 * 448)
    out = []
    for at in range(0, len(stream), 3):
        c0, c1, c2 = stream[at:at + 3]
        for value in (c0 + 256 * (c1 % 16), c1 // 16 + 16 * c2):
            if value < Q and len(out) < 256:
                out.append(value)
    assert len(out) == 256
    return out


def sample_cbd(seed, counter):
    """Algorithm 8 over PRF with eta = 2."""
    bits = int.from_bytes(hashlib.shake_256(seed + bytes([counter])).digest(64 * ETA), "little")
    out = []
    for at in range(0, 1024, 4):
        four = bits >> at & 15
        out.append(((four & 1) + (four >> 1 & 1) - (four >> 2 & 1) - (four >> 3 & 1)) % Q)
    return out


def matrix(rho):
    return [[sample_ntt(rho + bytes([j, i])) for j in range(K)] for i in range(K)]


def key_pair(d, z):
    """Algorithm 16: the encapsulation key and what decapsulation needs."""
    expanded = hashlib.sha3_512(d + bytes([K])).digest()
    rho, sigma = expanded[:32], expanded[32:]
    s = [ntt(sample_cbd(sigma, i)) for i in range(K)]
    e = [ntt(sample_cbd(sigma, K + i)) for i in range(K)]
    t = [add(inner(row, s), noise) for row, noise in zip(matrix(rho), e, strict=True)]
    public = b"".join(encode(poly, 12) for poly in t) + rho
    return public, (s, public, z)


def is_public_key(public):
    """Section 7.2: length, and every coefficient below q."""
    if len(public) != KEY_BYTES:
        return False
    return all(value < Q for at in range(K) for value in decode(public[384 * at:384 * (at + 1)], 12))


def encrypt(public, message, randomness):
    """Algorithm 14."""
    t = [decode(public[384 * at:384 * (at + 1)], 12) for at in range(K)]
    a = matrix(public[384 * K:])
    y = [ntt(sample_cbd(randomness, i)) for i in range(K)]
    e1 = [sample_cbd(randomness, K + i) for i in range(K)]
    e2 = sample_cbd(randomness, 2 * K)
    columns = [[a[i][j] for i in range(K)] for j in range(K)]
    u = [add(inverse_ntt(inner(column, y)), noise) for column, noise in zip(columns, e1, strict=True)]
    v = add(add(inverse_ntt(inner(t, y)), e2), decompress(decode(message, 1), 1))
    return b"".join(encode(compress(poly, DU), DU) for poly in u) + encode(compress(v, DV), DV)


def encapsulate(public, m):
    """Algorithm 17: shared secret and ciphertext."""
    both = hashlib.sha3_512(m + hashlib.sha3_256(public).digest()).digest()
    return both[:32], encrypt(public, m, both[32:])


def decapsulate(secret, ciphertext):
    """Algorithm 18, with implicit rejection."""
    s, public, z = secret
    u = [decompress(decode(ciphertext[32 * DU * i:32 * DU * (i + 1)], DU), DU) for i in range(K)]
    v = decompress(decode(ciphertext[32 * DU * K:], DV), DV)
    w = add(v, [-value for value in inverse_ntt(inner(s, [ntt(poly) for poly in u]))])
    message = encode(compress(w, 1), 1)
    both = hashlib.sha3_512(message + hashlib.sha3_256(public).digest()).digest()
    if encrypt(public, message, both[32:]) == ciphertext:
        return both[:32]
    return hashlib.shake_256(z + ciphertext).digest(32)
