//! Fixed-point encoding of model updates in the ring Z_{2^b}.
//!
//! A float update is clipped per tensor, scaled by its sample weight, rounded stochastically to `q` bits and written
//! into `b`-bit ring elements with room for the sum over all sites. Whatever is lost on the way is counted.

mod apply;
mod packing;
mod quantise;
mod ring_vector;
mod stored;

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};

pub use apply::{ApplyError, OpenedSum, ServerStep, apply_sums};
pub(crate) use packing::check_packed;
pub use packing::{PackingError, pack, packed_bytes, unpack};
pub use quantise::{Quantised, quantise, quantise_within};
pub use ring_vector::{RingVector, centred};
pub(crate) use ring_vector::{lane_mask, squared_norm};
pub(crate) use stored::{COORDINATE_BYTES, READ_AT_ONCE, fill, words};
pub use stored::{MoveError, Moved};

use crate::transcript::Transcript;

/// Fewest spare bits above the largest honest sum, so that garbage stands out.
pub const MIN_GUARD_BITS: u8 = 1;
/// Most coordinates of a model (2^32, a 16 GiB update).
pub const MAX_COORDINATES: u64 = 1 << 32;
/// Longest tensor name in bytes.
pub const MAX_TENSOR_NAME_BYTES: usize = 512;

/// How one tensor of the model is encoded.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
#[serde(deny_unknown_fields)]
pub struct TensorEncoding {
    /// The parameter's name in the model.
    pub name: String,
    /// Number of coordinates.
    pub len: u64,
    /// Clip bound of one coordinate's change, in millionths.
    pub clip_micro: u32,
}

/// Fixed-point encoding of one update, the same at every site.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
#[serde(deny_unknown_fields)]
pub struct Encoding {
    /// The model's tensors, in the order of the update vector.
    pub tensors: Vec<TensorEncoding>,
    /// Bits of one quantised coordinate with its sign (q).
    pub quantisation_bits: u8,
    /// Bits of a ring element (b), 16 to 32.
    pub ring_bits: u8,
    /// Largest sample weight of one site.
    pub weight_cap: u32,
}

/// Why an encoding or a vector was refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum EncodingError {
    /// The ring is narrower than the sum needs, or out of range.
    #[error(
        "ring_bits {ring_bits} must be from {needed} (for {sites} sites at {quantisation_bits} bits) to 32"
    )]
    RingBits {
        /// Width in the encoding.
        ring_bits: u8,
        /// Least width for these parameters.
        needed: u32,
        /// Sites that may be summed.
        sites: usize,
        /// Quantisation width.
        quantisation_bits: u8,
    },
    /// The quantisation width is out of range.
    #[error("quantisation_bits {found} must be from 2 to 24")]
    QuantisationBits {
        /// Width in the encoding.
        found: u8,
    },
    /// The sum of weights could overflow the ring, or the cap is zero.
    #[error("weight_cap {found} must be from 1 to {largest}")]
    WeightCap {
        /// Cap in the encoding.
        found: u32,
        /// Largest cap that fits.
        largest: u64,
    },
    /// A tensor is empty, unnamed, repeated or without a clip bound.
    #[error("tensor `{name}` must have a unique name, at least one coordinate and a clip bound above 0")]
    Tensor {
        /// The tensor's name.
        name: String,
    },
    /// The model has no coordinates or too many.
    #[error("a model must have from 1 to {MAX_COORDINATES} coordinates")]
    Size,
    /// A vector does not fit the encoding.
    #[error("the vector has {found} coordinates, the encoding {expected}")]
    Length {
        /// Length of the vector.
        found: u64,
        /// Length the encoding asks for.
        expected: u64,
    },
    /// An update holds NaN or an infinity: the training diverged.
    #[error("coordinate {index} is not finite: the local training diverged, nothing was encoded")]
    NotFinite {
        /// Position in the update.
        index: u64,
    },
    /// The sample weight is zero or above the cap.
    #[error("weight {found} must be from 1 to {cap}")]
    Weight {
        /// The weight given.
        found: u32,
        /// The encoding's cap.
        cap: u32,
    },
    /// An update is longer than its noise is made for.
    #[error("the update's L2 norm is above the sensitivity that the context's noise is measured against")]
    Norm,
    /// A ring element or coordinate is outside its range.
    #[error("coordinate {index} is outside the range of the encoding")]
    Range {
        /// Position in the vector.
        index: u64,
    },
}

impl Encoding {
    /// Number of model coordinates (d). The vector on the wire has one more, the weight.
    #[must_use]
    pub fn coordinates(&self) -> u64 {
        self.tensors.iter().fold(0, |sum, tensor| sum.saturating_add(tensor.len))
    }

    /// Elements of the vector on the wire: `d + 1`.
    #[must_use]
    pub fn lanes(&self) -> u64 {
        self.coordinates().saturating_add(1)
    }

    /// Bytes of a packed upload body.
    #[must_use]
    pub fn body_bytes(&self) -> u64 {
        packed_bytes(self.lanes(), self.ring_bits)
    }

    /// Largest magnitude of one quantised coordinate: `2^(q-1) - 1`.
    #[must_use]
    pub fn quantised_max(&self) -> i32 {
        (1_i32 << (self.quantisation_bits.clamp(2, 24) - 1)) - 1
    }

    /// Checks every rule for a sum over up to `sites` sites.
    ///
    /// # Errors
    /// [`EncodingError`] names the broken rule.
    pub fn validate(&self, sites: usize) -> Result<(), EncodingError> {
        let Self { quantisation_bits, ring_bits, weight_cap, .. } = *self;
        if !(2..=24).contains(&quantisation_bits) {
            return Err(EncodingError::QuantisationBits { found: quantisation_bits });
        }
        let sum_bits = sites.max(1).next_power_of_two().trailing_zeros();
        let needed = (u32::from(quantisation_bits) + sum_bits + u32::from(MIN_GUARD_BITS)).max(16);
        if !(needed..=32).contains(&u32::from(ring_bits)) {
            return Err(EncodingError::RingBits { ring_bits, needed, sites, quantisation_bits });
        }
        let largest = ((1_u64 << (ring_bits - 1)) - 1) / (sites.max(1) as u64);
        if weight_cap == 0 || u64::from(weight_cap) > largest {
            return Err(EncodingError::WeightCap { found: weight_cap, largest });
        }
        let mut names = BTreeSet::new();
        for TensorEncoding { name, len, clip_micro } in &self.tensors {
            let named = !name.is_empty() && name.len() <= MAX_TENSOR_NAME_BYTES;
            if !named || *len == 0 || *clip_micro == 0 || !names.insert(name) {
                return Err(EncodingError::Tensor { name: name.chars().take(80).collect() });
            }
        }
        if !(1..=MAX_COORDINATES).contains(&self.coordinates()) {
            return Err(EncodingError::Size);
        }
        Ok(())
    }

    pub(crate) fn append_to(&self, transcript: Transcript) -> Transcript {
        transcript
            .list(self.tensors.iter(), |t, tensor| {
                t.text(&tensor.name).number(tensor.len).number(tensor.clip_micro.into())
            })
            .number(self.quantisation_bits.into())
            .number(self.ring_bits.into())
            .number(self.weight_cap.into())
    }
}
