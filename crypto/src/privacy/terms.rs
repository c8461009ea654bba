//! What a round's context says of noise, and what follows from it.
//!
//! All of it is in ring units: steps of the fixed-point encoding.
//!
//! - **Who is protected.** One site's whole update in a round. Two inputs are neighbours if they differ in that one site
//!   sends an update of nothing but zeros; nothing is said of a single record.
//! - **Sensitivity.** A site scales its update down to the L2 norm `clip_norm` (C) before it is rounded. Rounding at random
//!   to a neighbouring integer makes the norm of d coordinates larger, by no more than to
//!   `min((C + sqrt d)^2, C^2 + d/4 + 8 (C + sqrt(d)/2))`, squared. The first holds always; the second but with a chance of
//!   `exp(-32)`, and then the site rounds towards zero (Kairouz, Liu and Steinke 2021, proposition 4). A site masks
//!   nothing above the bound.
//! - **Weights.** Every site counts the same (`weight_cap` 1), so that the sum of weights is the number of sites in the sum,
//!   which is public, and needs no noise. With noise on the weights, the mean of a few sites would be divided by something
//!   that may be far off; and a site could be told by its share of a sum of weights that others know theirs in.
//! - **Noise that is surely there.** Each site adds noise of parameter `site_variance`. An agreed set has at least `min_agreed`
//!   sites; `colluders` of them may know their own noise. So the noise of `min_agreed - colluders` sites hides an update,
//!   however many sites drop out of a round that is opened. Where batches are opened by themselves the smallest of them
//!   stands for `min_agreed`.

use serde::{Deserialize, Serialize};

use super::{MAX_VARIANCE, PrivacyCost, PrivacyError, sum_of_discrete_gaussians};
use crate::encoding::{Encoding, MIN_GUARD_BITS};
use crate::transcript::Transcript;

/// Largest clip norm: its square, and the sensitivity's, stay inside 64 bits.
pub const MAX_CLIP_NORM: u64 = 1 << 31;

/// Standard deviations of a sum's noise beyond which an opened coordinate is taken for garbage. Discrete Gaussians are
/// subgaussian, so that noise alone goes beyond with a chance below 2^-54 in a vector of 2^32.
const NOISE_DEVIATIONS: u64 = 11;

/// Noise that every site adds to its update, and the norm that updates are cut to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
#[serde(deny_unknown_fields)]
pub struct NoiseTerms {
    /// Largest L2 norm of an update before rounding, in ring units.
    pub clip_norm: u64,
    /// Parameter of the discrete Gaussian that each site adds to each coordinate, in ring units squared.
    pub site_variance: u64,
    /// How many sites of a sum are taken to know their noise and to tell the gateway.
    pub colluders: u16,
}

impl NoiseTerms {
    /// Most that one site can change a sum of `coordinates` by: the square of the L2 norm, in ring units squared.
    #[must_use]
    pub fn sensitivity_squared(&self, coordinates: u64) -> u64 {
        let clip = self.clip_norm.min(MAX_CLIP_NORM);
        // From sqrt(2 * 32), the deviation that random rounding exceeds with a chance of exp(-32).
        const DEVIATION: u64 = 8;
        let root = root_rounded_up(coordinates);
        let always = (clip + root).saturating_mul(clip + root);
        let almost_always = clip.saturating_mul(clip)
            + coordinates.div_ceil(4)
            + DEVIATION.saturating_mul(clip + root.div_ceil(2));
        always.min(almost_always)
    }

    /// Largest magnitude of the noise in a coordinate of a sum over `sites` sites, but with a chance below 2^-54.
    #[must_use]
    pub fn largest_noise(&self, sites: usize) -> u64 {
        let variance = self.site_variance.saturating_mul(sites as u64);
        root_rounded_up(variance).saturating_mul(NOISE_DEVIATIONS)
    }

    /// What a round costs in which the smallest sum that may be opened has `summed` sites.
    #[must_use]
    pub fn cost(&self, summed: usize, coordinates: u64) -> PrivacyCost {
        let noisy = (summed as u64).saturating_sub(self.colluders.into());
        let sensitivity = self.sensitivity_squared(coordinates);
        sum_of_discrete_gaussians(noisy, self.site_variance, sensitivity, coordinates)
    }

    /// Checks the terms for sums of `summed` to `sites` sites under an encoding.
    ///
    /// # Errors
    /// [`PrivacyError`] names the broken rule.
    pub fn validate(&self, encoding: &Encoding, summed: usize, sites: usize) -> Result<(), PrivacyError> {
        let Self { clip_norm, site_variance, colluders } = *self;
        if !(1..=MAX_VARIANCE).contains(&site_variance) {
            return Err(PrivacyError::Variance { found: site_variance });
        }
        if !(1..=MAX_CLIP_NORM).contains(&clip_norm) {
            return Err(PrivacyError::ClipNorm { found: clip_norm });
        }
        if encoding.weight_cap != 1 {
            return Err(PrivacyError::Weights { weight_cap: encoding.weight_cap });
        }
        if usize::from(colluders) >= summed {
            return Err(PrivacyError::NoNoise { colluders, summed });
        }
        let needed = self.ring_bits(encoding.quantisation_bits, sites, MIN_GUARD_BITS);
        if u32::from(encoding.ring_bits) < needed {
            return Err(PrivacyError::RingBits { ring_bits: encoding.ring_bits, needed, sites });
        }
        Ok(())
    }

    /// The least ring width that holds the sum of `sites` updates of `quantisation_bits` bits with its noise, and has
    /// `guard_bits` to spare. More than 32 means that there is no such ring.
    #[must_use]
    pub fn ring_bits(&self, quantisation_bits: u8, sites: usize, guard_bits: u8) -> u32 {
        let largest = (1_u64 << (quantisation_bits.clamp(2, 24) - 1)) - 1;
        let sum = largest.saturating_mul(sites as u64).saturating_add(self.largest_noise(sites));
        // With its sign.
        (u64::BITS - sum.leading_zeros()) + 1 + u32::from(guard_bits)
    }

    pub(crate) fn append_to(&self, transcript: Transcript) -> Transcript {
        transcript.number(self.clip_norm).number(self.site_variance).number(self.colluders.into())
    }
}

fn root_rounded_up(square: u64) -> u64 {
    let root = square.isqrt();
    root + u64::from(root * root < square)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::TensorEncoding;

    const TERMS: NoiseTerms = NoiseTerms { clip_norm: 1000, site_variance: 40_000, colluders: 2 };

    fn encoding(ring_bits: u8, weight_cap: u32) -> Encoding {
        let tensor = TensorEncoding { name: "x".into(), len: 10, clip_micro: 1 };
        Encoding { tensors: vec![tensor], quantisation_bits: 12, ring_bits, weight_cap }
    }

    #[test]
    fn the_sensitivity_is_the_smaller_of_two_bounds() {
        // (1000 + 1)^2 is less than 1000^2 + 1 + 8 * 1001.
        assert_eq!(TERMS.sensitivity_squared(1), 1001 * 1001);
        assert_eq!(TERMS.sensitivity_squared(10_000), 1_000_000 + 2_500 + 8 * 1_050);
        let widest = NoiseTerms { clip_norm: u64::MAX, ..TERMS };
        assert!(widest.sensitivity_squared(1 << 32) > 1 << 62);
    }

    #[test]
    fn only_noise_that_is_surely_there_counts() {
        // Five sites of seven hide an update: rho = Delta^2 / (2 * 5 * v).
        let expected = PrivacyCost::at_least(1001.0 * 1001.0 / (2.0 * 5.0 * 40_000.0));
        assert_eq!(TERMS.cost(7, 1), expected);
        assert!(TERMS.cost(6, 1) > expected);
        assert_eq!(TERMS.cost(2, 1).nano_rho(), u64::MAX);
        assert_eq!(TERMS.cost(1, 1).nano_rho(), u64::MAX);
    }

    #[test]
    fn each_rule_refuses() {
        let check = |terms: NoiseTerms, encoding: &Encoding| terms.validate(encoding, 5, 7);
        // 7 * 2047 + 11 * sqrt(7 * 40_000): 15 bits, a sign and a guard bit.
        assert_eq!(check(TERMS, &encoding(17, 1)), Ok(()));
        assert_eq!(
            check(TERMS, &encoding(16, 1)),
            Err(PrivacyError::RingBits { ring_bits: 16, needed: 17, sites: 7 })
        );
        assert_eq!(check(TERMS, &encoding(17, 2)), Err(PrivacyError::Weights { weight_cap: 2 }));
        let crowd = NoiseTerms { colluders: 5, ..TERMS };
        assert_eq!(check(crowd, &encoding(17, 1)), Err(PrivacyError::NoNoise { colluders: 5, summed: 5 }));
        for found in [0, MAX_CLIP_NORM + 1] {
            let terms = NoiseTerms { clip_norm: found, ..TERMS };
            assert_eq!(check(terms, &encoding(17, 1)), Err(PrivacyError::ClipNorm { found }));
        }
        for found in [0, MAX_VARIANCE + 1] {
            let terms = NoiseTerms { site_variance: found, ..TERMS };
            assert_eq!(check(terms, &encoding(32, 1)), Err(PrivacyError::Variance { found }));
        }
    }

    proptest! {
        #[test]
        fn the_ring_holds_what_may_be_opened(
            variance in 1..=MAX_VARIANCE,
            sites in 1_usize..=256,
            bits in 2_u8..=24,
            guard in 1_u8..=4,
        ) {
            let terms = NoiseTerms { site_variance: variance, ..TERMS };
            let needed = terms.ring_bits(bits, sites, guard);
            let largest = ((1_u64 << (bits - 1)) - 1) * sites as u64 + terms.largest_noise(sites);
            prop_assert!(largest << guard < 1 << (needed - 1));
            prop_assert!(largest << guard >= 1 << (needed - 2));
        }
    }
}
