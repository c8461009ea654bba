//! Packing of b-bit ring elements, least significant bit first.
//!
//! Element `j` occupies bits `j*b .. (j+1)*b` of the body, where bit `k` of a body is bit `k % 8` of byte `k / 8`.
//! Eight elements take exactly `b` bytes, so a run that starts at a multiple of eight elements starts on a byte.

use konclave_mask_kernel as kernel;

/// Why a packed body was refused: its sender did not follow the format.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PackingError {
    /// The width is outside 1..=32.
    #[error("an element has 1 to 32 bits, not {found}")]
    Bits {
        /// The width given.
        found: u8,
    },
    /// The body is shorter or longer than its elements.
    #[error("the packed body has {found} bytes, expected {expected}")]
    Length {
        /// Bytes given.
        found: u64,
        /// Bytes expected.
        expected: u64,
    },
    /// The unused bits of the last byte are not zero.
    #[error("the unused bits after the last element are not zero")]
    Padding,
}

/// Bytes of `lanes` packed elements of `bits` bits.
#[must_use]
pub fn packed_bytes(lanes: u64, bits: u8) -> u64 {
    let whole = (lanes / 8).saturating_mul(u64::from(bits));
    whole.saturating_add((lanes % 8 * u64::from(bits)).div_ceil(8))
}

/// Packs elements to `bits` bits each (1 to 32). Bits of a lane above `bits` are dropped: reduction modulo 2^b.
///
/// # Errors
/// [`PackingError::Bits`] for a width outside 1..=32.
pub fn pack(lanes: &[u32], bits: u8) -> Result<Vec<u8>, PackingError> {
    check_bits(bits)?;
    Ok(kernel::pack(lanes, bits))
}

/// Unpacks exactly `lanes` elements.
///
/// # Errors
/// [`PackingError`] if the length is wrong or padding bits are set.
pub fn unpack(packed: &[u8], lanes: usize, bits: u8) -> Result<Vec<u32>, PackingError> {
    check_packed(packed, lanes, bits)?;
    let mut out = vec![0; lanes];
    kernel::add_packed(packed, bits, &mut out);
    Ok(out)
}

/// Whether bytes can be `lanes` packed elements: as many as these take, with padding of zeros. Any bits are elements.
pub(crate) fn check_packed(packed: &[u8], lanes: usize, bits: u8) -> Result<(), PackingError> {
    check_bits(bits)?;
    let (found, expected) = (packed.len() as u64, packed_bytes(lanes as u64, bits));
    if found != expected {
        return Err(PackingError::Length { found, expected });
    }
    let in_last_byte = lanes % 8 * usize::from(bits) % 8;
    match packed.last() {
        Some(last) if in_last_byte > 0 && last >> in_last_byte != 0 => Err(PackingError::Padding),
        Some(_) | None => Ok(()),
    }
}

fn check_bits(bits: u8) -> Result<(), PackingError> {
    if (1..=32).contains(&bits) { Ok(()) } else { Err(PackingError::Bits { found: bits }) }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::encoding::lane_mask;
    use crate::vectors;

    proptest! {
        #[test]
        fn unpacking_inverts_packing(
            bits in 1_u8..=32,
            raw in proptest::collection::vec(any::<u32>(), 0..70),
        ) {
            let lanes: Vec<u32> = raw.iter().map(|lane| lane & lane_mask(bits)).collect();
            let packed = pack(&raw, bits).unwrap();
            prop_assert_eq!(packed.len() as u64, packed_bytes(lanes.len() as u64, bits));
            prop_assert_eq!(unpack(&packed, lanes.len(), bits).unwrap(), lanes);
        }

        #[test]
        fn runs_of_eight_pack_independently(
            bits in 1_u8..=32,
            raw in proptest::collection::vec(any::<u32>(), 24..40),
        ) {
            let mut parts = pack(&raw[..16], bits).unwrap();
            parts.extend(pack(&raw[16..], bits).unwrap());
            prop_assert_eq!(parts, pack(&raw, bits).unwrap());
        }
    }

    #[test]
    fn known_answers() {
        let file = vectors::load(include_str!("../../vectors/packing.json"));
        let bits = |case: &serde_json::Value| case["bits"].as_u64().unwrap() as u8;
        for case in vectors::cases(&file, "positive") {
            let lanes: Vec<u32> = serde_json::from_value(case["lanes"].clone()).unwrap();
            let packed = vectors::list(&case["packed"]);
            assert_eq!(pack(&lanes, bits(&case)).unwrap(), packed);
            assert_eq!(unpack(&packed, lanes.len(), bits(&case)).unwrap(), lanes);
        }
        for case in vectors::cases(&file, "negative") {
            let count = case["count"].as_u64().unwrap() as usize;
            let refused = unpack(&vectors::list(&case["packed"]), count, bits(&case)).unwrap_err();
            let kind = match refused {
                PackingError::Bits { .. } => "bits",
                PackingError::Length { .. } => "length",
                PackingError::Padding => "padding",
            };
            assert_eq!(kind, case["error"], "{}", case["why"]);
        }
    }

    #[test]
    fn malformed_bodies_are_refused() {
        assert_eq!(unpack(&[0; 4], 2, 17), Err(PackingError::Length { found: 4, expected: 5 }));
        assert_eq!(unpack(&[0; 6], 2, 17), Err(PackingError::Length { found: 6, expected: 5 }));
        assert_eq!(unpack(&[0, 0, 0, 0, 0b100], 2, 17), Err(PackingError::Padding));
        assert!(unpack(&[0, 0, 0, 0, 0b11], 2, 17).is_ok());
        assert_eq!(unpack(&[1], 0, 17), Err(PackingError::Length { found: 1, expected: 0 }));
        for bits in [0, 33] {
            assert_eq!(pack(&[1], bits), Err(PackingError::Bits { found: bits }));
            assert_eq!(unpack(&[1], 1, bits), Err(PackingError::Bits { found: bits }));
        }
    }
}
