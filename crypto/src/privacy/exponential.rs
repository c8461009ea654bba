//! `exp(-n / 2 sigma^2)` in 128-bit fixed point, in a time that does not depend on `n`.
//!
//! Written without branches or table look-ups on `n`: `exp(-x) = 2^-i * 2^-f`, where `i` and `f` are the integer and
//! fractional part of `x log2(e)` and `2^-f` is its Taylor series up to the thirtieth term. The first term left out is
//! below 2^-128; products are cut off below 2^-128. The result is within 2^-113 of the exact value, relative to it.

/// `log2(e) * 2^127`, rounded down.
const LOG2_E: u128 = 0xb8aa_3b29_5c17_f0bb_be87_fed0_691d_3e88;

/// `ln(2)^i / i! * 2^128` for i = 1 to 18.
const WIDE: [u128; 18] = [
    0xb172_17f7_d1cf_79ab_c9e3_b398_03f2_f6af,
    0x3d7f_7bff_058b_1d50_de2d_60dd_92e6_bf95,
    0x0e35_846b_8250_5fc5_99d3_b15d_995e_96f7,
    0x0276_556d_f749_cee5_3997_7c16_a7dd_58a1,
    0x0057_61ff_9e29_9cc4_41c5_fda6_9452_fb0d,
    0x000a_1848_97c3_63c3_b7a5_8544_c359_1a10,
    0x0000_ffe5_fe2c_4586_3435_8a8e_643e_c735,
    0x0000_162c_0223_a5c8_23fd_8ffe_606d_a77c,
    0x0000_01b5_253d_395e_7c3d_a4a7_0e5a_4ff9,
    0x0000_001e_4cf5_158b_8ec9_f6fd_a1d9_52e7,
    0x0000_0001_e8ca_c735_1bb2_4c0f_5799_5e47,
    0x0000_0000_1c3b_d650_fc29_85e2_b568_7e18,
    0x0000_0000_0181_6193_166d_0f96_281a_c301,
    0x0000_0000_0013_1496_4d58_78a9_73f1_4362,
    0x0000_0000_0000_e1b7_421d_8201_0f33_d8ac,
    0x0000_0000_0000_09c7_44d7_3cfc_59c9_1c7f,
    0x0000_0000_0000_0066_1112_d070_969f_5587,
    0x0000_0000_0000_0003_ee2e_d7b6_86d2_bae6,
];

/// The same for i = 19 to 30: with these the high half of `f` is enough.
const NARROW: [u64; 12] = [
    0x24b4_fd97_06b8_c9b6,
    0x0145_acc4_b505_1358,
    0x000a_bfe2_bc1f_04e4,
    0x0000_56b3_eb4d_c077,
    0x0000_029c_ea2b_b932,
    0x0000_0013_51aa_f6cc,
    0x0000_0000_891f_7ecb,
    0x0000_0000_03a7_d785,
    0x0000_0000_0018_0669,
    0x0000_0000_0000_9841,
    0x0000_0000_0000_03a4,
    0x0000_0000_0000_0016,
];

/// Bits before the point of `x log2(e)`.
const INTEGER_BITS: u32 = 7;

/// `n -> exp(-n / 2v)` for one variance `v`.
#[derive(Debug, Clone)]
pub(super) struct NegativeExponential {
    /// `log2(e) / 2v`, scaled so that the top bit is set.
    factor: u128,
    /// How far `n` is moved up before the product, and the product after it.
    shifts: (u32, u32),
}

impl NegativeExponential {
    /// For a variance of 1 to 2^50 and arguments up to [`Self::limit`].
    pub(super) fn new(variance: u64) -> Self {
        let divisor = u128::from(variance) * 2;
        // The quotient of `LOG2_E * 2^k` and the divisor, with k such that its top bit is set.
        let (mut factor, mut rest) = (LOG2_E / divisor, LOG2_E % divisor);
        let mut scale = 127;
        while factor.leading_zeros() > 0 {
            rest *= 2;
            let carry = u128::from(rest >= divisor);
            rest -= carry * divisor;
            factor = factor << 1 | carry;
            scale += 1;
        }
        // product / 2^64 = n * 2^up * factor / 2^64 = x log2(e) * 2^(up + scale - 64); wanted is 2^121.
        let up = Self::limit(variance).leading_zeros();
        let after = (128 - INTEGER_BITS + 64).saturating_sub(up + scale);
        Self { factor, shifts: (up, after) }
    }

    /// The largest argument: `exp(-87)` is below 2^-125.
    pub(super) fn limit(variance: u64) -> u64 {
        variance.saturating_mul(174)
    }

    /// `exp(-n / 2v) * 2^128`, at most `2^128 - 1`.
    #[inline]
    pub(super) fn of(&self, n: u64) -> u128 {
        let power = high_product_64(n << self.shifts.0, self.factor) << self.shifts.1;
        let fraction = power << INTEGER_BITS;
        exp2_of_negative(fraction) >> (power >> (128 - INTEGER_BITS))
    }
}

/// `2^-f` for a fraction `f` in 128 bits, by Horner's rule.
#[inline]
fn exp2_of_negative(f: u128) -> u128 {
    let high = high_half(f);
    let small = NARROW.iter().rev().fold(0_u64, |sum, coefficient| {
        let product = high_half(u128::from(high) * u128::from(sum));
        coefficient.wrapping_sub(product)
    });
    let series = WIDE.iter().rev().fold(u128::from(small), |sum, coefficient| {
        let product = high_product(f, sum);
        coefficient.wrapping_sub(product)
    });
    u128::MAX - high_product(f, series)
}

/// The high half of a product of 128-bit numbers.
#[inline]
fn high_product(a: u128, b: u128) -> u128 {
    let (a1, a0) = (u128::from(high_half(a)), u128::from(low_half(a)));
    let (b1, b0) = (u128::from(high_half(b)), u128::from(low_half(b)));
    let (low, cross, other, top) = (a0 * b0, a0 * b1, a1 * b0, a1 * b1);
    let middle = (low >> 64) + u128::from(low_half(cross)) + u128::from(low_half(other));
    top + (cross >> 64) + (other >> 64) + (middle >> 64)
}

/// `a * b / 2^64`.
#[inline]
fn high_product_64(a: u64, b: u128) -> u128 {
    u128::from(a) * u128::from(high_half(b)) + ((u128::from(a) * u128::from(low_half(b))) >> 64)
}

#[inline]
const fn high_half(value: u128) -> u64 {
    low_half(value >> 64)
}

#[inline]
#[expect(clippy::cast_possible_truncation, reason = "the low half is what is asked for")]
const fn low_half(value: u128) -> u64 {
    value as u64
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::vectors;

    #[test]
    fn known_answers() {
        let file = vectors::load(include_str!("../../vectors/privacy/noise.json"));
        let number = |value: &serde_json::Value| value.as_str().unwrap().parse::<u128>().unwrap();
        let mut seen = 0;
        for case in vectors::cases(&file, "positive").iter().filter(|case| case["what"] == "exponential") {
            let (variance, n) = (number(&case["variance"]) as u64, number(&case["n"]) as u64);
            let exact = number(&case["value"]);
            let found = NegativeExponential::new(variance).of(n);
            let bound = (exact >> 113) + 2;
            assert!(found.abs_diff(exact) <= bound, "v {variance}, n {n}: {found} for {exact}");
            seen += 1;
        }
        assert!(seen > 50);
    }

    #[test]
    fn the_high_half_of_a_product_is_exact() {
        assert_eq!(high_product(u128::MAX, u128::MAX), u128::MAX - 1);
        assert_eq!(high_product(1 << 64, 1 << 64), 1);
        assert_eq!(high_product((1 << 64) - 1, (1 << 64) - 1), 0);
        assert_eq!(high_product(3 << 126, 1 << 127), 3 << 125);
        assert_eq!(
            high_product_64(u64::MAX, u128::MAX),
            u128::MAX - (1 << 64) - u128::from(u64::MAX) + u128::from(u64::MAX - 1) + 1
        );
    }
}
