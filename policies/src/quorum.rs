//! How many sites it takes, and how wide the ring must be, as functions of the roster's size.

/// The number of shares that opens a secret of a roster of `n` sites: t = floor(2n/3) + 1.
///
/// With it, a gateway that shows two different agreed sets needs 2t - n > n/3 colluding sites
/// (Bonawitz et al. 2017, section 6.2, active adversary).
pub fn threshold(n: u16) -> u16 {
    // n/3 twice, and what the two remainders make: the same number without leaving u16.
    let (third, rest) = (n / 3, n % 3);
    third.saturating_mul(2).saturating_add(2 * rest / 3).saturating_add(1)
}

/// The least ring width, in bits, in which the sum of `n` values of `quantisation_bits` bits cannot
/// wrap, with `guard_bits` to spare: b = q + ceil(log2 n) + guard.
///
/// The protocol allows 16 to 32; [`crate::rounds::RoundPolicy`] bounds q and guard so that every
/// roster it admits stays inside. Saturates at 255.
pub fn ring_bits(quantisation_bits: u8, n: u16, guard_bits: u8) -> u8 {
    quantisation_bits.saturating_add(ceil_log2(n)).saturating_add(guard_bits)
}

fn ceil_log2(n: u16) -> u8 {
    (0..16).find(|bits| (1_u32 << bits) >= u32::from(n)).unwrap_or(16)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn threshold_is_two_thirds_and_one() {
        for n in 1..=u16::MAX {
            assert_eq!(u32::from(threshold(n)), 2 * u32::from(n) / 3 + 1, "n = {n}");
        }
        assert_eq!([5, 6, 7, 8, 9, 20].map(threshold), [4, 5, 5, 6, 7, 14]);
    }

    #[test]
    fn ring_holds_every_sum() {
        assert_eq!(ring_bits(16, 6, 2), 21);
        assert_eq!(ring_bits(16, 8, 2), 21);
        assert_eq!(ring_bits(16, 9, 2), 22);
        assert_eq!(ring_bits(16, 1, 0), 16);
        assert_eq!(ring_bits(255, 65_535, 9), 255);
        for n in 1..2_000_u16 {
            let largest_sum = u64::from(n) * ((1 << 16) - 1);
            assert!(largest_sum < 1 << ring_bits(16, n, 0), "n = {n}");
        }
    }
}
