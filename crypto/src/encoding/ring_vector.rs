//! Vectors over Z_{2^b}, one element per u32 lane.

use std::fmt;

use zeroize::{Zeroize, ZeroizeOnDrop};

use super::EncodingError;

/// The bits of a lane that belong to a ring of `bits` bits (1 to 32).
pub(crate) const fn lane_mask(bits: u8) -> u32 {
    u32::MAX >> (32 - bits as u32)
}

/// The signed value of a ring element of `bits` bits (1 to 32): the representative in `-2^(b-1) .. 2^(b-1)`.
///
/// Bits of the lane above `bits` do not count, so that a sum of lanes that wrapped in 32 bits is reduced by it too.
#[must_use]
pub const fn centred(lane: u32, bits: u8) -> i32 {
    let unused = 32 - bits as u32;
    (lane << unused).cast_signed() >> unused
}

/// The squared L2 norm of the signed values of ring elements.
pub(crate) fn squared_norm(lanes: &[u32], bits: u8) -> u128 {
    let square = |lane: &u32| u64::from(centred(*lane, bits).unsigned_abs()).pow(2);
    lanes.iter().map(|lane| u128::from(square(lane))).sum()
}

/// A secret vector over Z_{2^b}: one site's update before masking. Not `Clone`, not printed, erased on drop.
#[derive(Zeroize, ZeroizeOnDrop)]
pub struct RingVector {
    lanes: Vec<u32>,
    bits: u8,
}

impl RingVector {
    /// Takes a vector of ring elements.
    ///
    /// # Errors
    /// [`EncodingError::RingBits`] for a width outside 1..=32, [`EncodingError::Range`] for an element of 2^b or more.
    pub fn from_lanes(mut lanes: Vec<u32>, bits: u8) -> Result<Self, EncodingError> {
        let refused = if !(1..=32).contains(&bits) {
            EncodingError::RingBits { ring_bits: bits, needed: 1, sites: 1, quantisation_bits: 0 }
        } else if let Some(index) = lanes.iter().position(|lane| *lane > lane_mask(bits)) {
            EncodingError::Range { index: index as u64 }
        } else {
            return Ok(Self { lanes, bits });
        };
        lanes.zeroize();
        Err(refused)
    }

    /// The elements, each below 2^b.
    #[must_use]
    pub fn lanes(&self) -> &[u32] {
        &self.lanes
    }

    /// Width of an element (b).
    #[must_use]
    pub fn bits(&self) -> u8 {
        self.bits
    }

    /// Number of elements.
    #[must_use]
    pub fn len(&self) -> usize {
        self.lanes.len()
    }

    /// Takes the elements out; what stays behind is empty.
    pub(crate) fn into_lanes(mut self) -> Vec<u32> {
        std::mem::take(&mut self.lanes)
    }

    /// Whether there are no elements.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.lanes.is_empty()
    }
}

impl fmt::Debug for RingVector {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RingVector").field("len", &self.lanes.len()).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn centring_covers_the_ring() {
        assert_eq!(centred(0, 16), 0);
        assert_eq!(centred(0x7fff, 16), 32767);
        assert_eq!(centred(0x8000, 16), -32768);
        assert_eq!(centred(0xffff, 16), -1);
        assert_eq!(centred(0xdead_0001, 16), 1);
        assert_eq!(centred(0x8000_0000, 32), i32::MIN);
    }

    #[test]
    fn elements_outside_the_ring_are_refused() {
        assert!(RingVector::from_lanes(vec![0xffff], 16).is_ok());
        assert_eq!(
            RingVector::from_lanes(vec![0, 0x1_0000], 16).unwrap_err(),
            EncodingError::Range { index: 1 }
        );
        assert!(RingVector::from_lanes(vec![0], 0).is_err());
        assert!(RingVector::from_lanes(vec![0], 33).is_err());
    }
}
