//! The challenge `alpha` and sums of lanes chosen by it.

use konclave_mask_kernel::ChallengeStream;
use rayon::prelude::*;

use crate::digest::Digest;
use crate::encoding::lane_mask;
use crate::messages::{TAG_COLUMNS, TagValue};
use crate::prg::CHUNK_LANES;
use crate::transcript::Transcript;

/// Lanes below which threads cost more than they bring.
const PARALLEL_LANES: usize = 1 << 16;

/// `alpha` in {0,1}^(128 x lanes): bit `c` of lane `j` is bit `c % 8` of byte `16 j + c / 8` of an AES-256-CTR stream.
pub(crate) struct Challenge(ChallengeStream);

/// For each column c, the sum of the lanes that `alpha` chooses, modulo 2^32.
#[derive(Clone)]
pub(crate) struct TagSums([u32; TAG_COLUMNS]);

impl TagSums {
    pub(crate) fn zero() -> Self {
        Self([0; TAG_COLUMNS])
    }

    pub(crate) fn add(&mut self, other: &Self) {
        self.0.iter_mut().zip(&other.0).for_each(|(sum, more)| *sum = sum.wrapping_add(*more));
    }

    /// The sums modulo 2^b, as they travel.
    pub(crate) fn reduced(&self, bits: u8) -> TagValue {
        let mask = lane_mask(bits);
        let mut value = [0; TAG_COLUMNS * 4];
        for (slot, sum) in value.as_chunks_mut::<4>().0.iter_mut().zip(&self.0) {
            *slot = (sum & mask).to_le_bytes();
        }
        TagValue(value)
    }

    /// A tag as sums; `None` if an element is 2^b or more.
    pub(crate) fn of_value(value: &TagValue, bits: u8) -> Option<Self> {
        let mut sums = Self::zero();
        for (sum, bytes) in sums.0.iter_mut().zip(value.as_bytes().as_chunks::<4>().0) {
            *sum = u32::from_le_bytes(*bytes);
            if *sum > lane_mask(bits) {
                return None;
            }
        }
        Some(sums)
    }
}

impl Challenge {
    /// The challenge of an announcement. Its stream serves nothing else.
    pub(crate) fn of(announcement: &Digest) -> Self {
        let key = Transcript::new("tag-challenge").digest(announcement).hash();
        Self(ChallengeStream::new(key.as_bytes()))
    }

    /// Adds the chosen ones of a run of lanes that starts at lane `first`.
    pub(crate) fn accumulate(&self, first: u64, lanes: &[u32], sums: &mut TagSums) {
        if lanes.len() < PARALLEL_LANES {
            self.0.accumulate(first, lanes, &mut sums.0);
            return;
        }
        let parts: Vec<TagSums> = lanes
            .par_chunks(CHUNK_LANES)
            .enumerate()
            .map(|(index, chunk)| {
                let mut part = TagSums::zero();
                self.0.accumulate(first + (index * CHUNK_LANES) as u64, chunk, &mut part.0);
                part
            })
            .collect();
        parts.iter().for_each(|part| sums.add(part));
    }
}
