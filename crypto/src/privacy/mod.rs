//! Differential privacy for what the sums show: discrete Gaussian noise at each site before masking, and what it is worth.
//!
//! Secure aggregation hides a site's update behind the sum; the sum itself still depends on it. Here each site adds noise
//! so that the sum tells little about any one of them, and [`PrivacyCost`] says how little (zCDP).
//!
//! This module does not decide how much may be spent: budgets are policy.

mod accounting;
mod exponential;
mod gaussian;
mod terms;

pub use accounting::{Delta, DeltaError, PrivacyCost, sum_of_discrete_gaussians};
pub use gaussian::{DiscreteGaussian, MAX_VARIANCE};
pub use terms::{MAX_CLIP_NORM, NoiseTerms};

/// Why noise cannot be made as asked. Whoever set the parameters is at fault.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PrivacyError {
    /// The variance is zero or above [`MAX_VARIANCE`].
    #[error("a noise variance of {found} ring units squared is outside 1 to {MAX_VARIANCE}")]
    Variance {
        /// The variance.
        found: u64,
    },
    /// The clip norm is zero or above [`MAX_CLIP_NORM`].
    #[error("a clip norm of {found} ring units is outside 1 to {MAX_CLIP_NORM}")]
    ClipNorm {
        /// The norm.
        found: u64,
    },
    /// Sites would count differently, and the sum of weights would tell of them.
    #[error("with noise every site counts the same: weight_cap must be 1, not {weight_cap}")]
    Weights {
        /// The encoding's cap.
        weight_cap: u32,
    },
    /// Nobody's noise is surely there.
    #[error("{colluders} colluding sites leave no noise in a sum of {summed}")]
    NoNoise {
        /// Colluding sites that the terms assume.
        colluders: u16,
        /// Sites in the smallest sum that may be opened.
        summed: usize,
    },
    /// As many colluders as break the aggregation itself.
    #[error(
        "{colluders} colluding sites are not fewer than the {broken} that secure aggregation stands against"
    )]
    Colluders {
        /// Colluding sites that the terms assume.
        colluders: u16,
        /// So many, with the gateway, can open single updates: `2t - n`.
        broken: usize,
    },
    /// The ring is too narrow for the sum and its noise.
    #[error("ring_bits {ring_bits} must be at least {needed} for {sites} sites with this noise")]
    RingBits {
        /// Width in the encoding.
        ring_bits: u8,
        /// Least width.
        needed: u32,
        /// Sites that may be summed.
        sites: usize,
    },
}
