//! The discrete Gaussian over the integers, sampled in bulk and in constant time.
//!
//! A variance `v` is split as `sigma = 2^m sigma_0` with `2 <= sigma_0 < 4` (m = 0 for smaller sigma). A candidate is
//! `x = 2^m y + u`: `y >= 0` has probability proportional to `exp(-y^2 / 2 sigma_0^2)` and comes from a table of
//! cumulative probabilities, `u` is uniform in `0..2^m`. It is kept with probability
//! `exp(-u (u + 2^(m+1) y) / 2v)`, which leaves `x` with a probability proportional to `exp(-x^2 / 2v)`, and gets a
//! random sign; minus zero is thrown away (Ducas, Durmus, Lepoint and Lyubashevsky 2013, section 6, with the exponential
//! computed rather than tossed bit by bit). At least 83 in 100 candidates are kept from `sigma = 2`
//! on, and 71 at `sigma = 1`.
//!
//! **Distance from the exact distribution.** Table and exponential have 128 bits; the errors of 54 table entries, of the
//! exponential (2^-113) and of the tail that is cut off (2^-125) add up to a statistical distance below 2^-110 for one
//! coordinate, and below 2^-78 for the largest vector of 2^32. That much may be added to a delta.
//!
//! **Constant time.** The whole table is compared with each random number; nothing branches on, or is addressed by, what
//! was drawn, but for one bit: whether a candidate is kept. Candidates are independent of one another, so which of them
//! are kept says nothing about the values of those that are.
//!
//! **Randomness.** The AES-256-CTR stream of [`crate::prg`] under a key of its own, nine lanes a candidate, little-endian
//! words: four choose `y`, four decide on keeping, and one has `u` in its low `m` bits and the sign in its highest. The
//! samples from `4096 i` on are taken in turn from the candidates from lane `i 2^20` on.

use konclave_mask_kernel::apply as apply_streams;
use rand_core::CryptoRng;
use rayon::prelude::*;
use zeroize::Zeroizing;

use super::PrivacyError;
use super::exponential::NegativeExponential;
use crate::prg::{MaskStream, Sign};
use crate::secret::Secret;

/// Largest variance of one site's noise.
pub const MAX_VARIANCE: u64 = 1 << 50;

/// Samples that share a part of the stream.
const CHUNK_SAMPLES: usize = 4096;
/// Lanes of the stream between the parts of two chunks: 25 times what a chunk needs.
const CHUNK_STRIDE: u64 = 1 << 20;
/// Random words of one candidate.
const CANDIDATE_WORDS: usize = 9;
/// Candidates drawn at once: 18 KiB of stream.
const BLOCK_CANDIDATES: usize = 512;

/// A discrete Gaussian of mean zero over the integers: `P(x)` is proportional to `exp(-x^2 / 2v)` (Canonne, Kamath and
/// Steinke 2020).
#[derive(Debug, Clone)]
pub struct DiscreteGaussian {
    variance: u64,
    /// m: how many low bits of a magnitude are drawn uniformly.
    uniform_bits: u32,
    /// `P(Y <= y) * 2^128` for y = 0, 1, ... without the last, which is 1.
    cumulative: Vec<u128>,
    exponential: NegativeExponential,
}

impl DiscreteGaussian {
    /// The distribution with parameter `variance` (v above; the variance itself is smaller by less than 2^-50 from v = 4 on).
    ///
    /// # Errors
    /// [`PrivacyError::Variance`] for 0 or more than [`MAX_VARIANCE`].
    pub fn new(variance: u64) -> Result<Self, PrivacyError> {
        if !(1..=MAX_VARIANCE).contains(&variance) {
            return Err(PrivacyError::Variance { found: variance });
        }
        // The largest m with 4^m * 4 <= v.
        let uniform_bits = variance.ilog2().saturating_sub(2) / 2;
        Ok(Self {
            variance,
            uniform_bits,
            cumulative: cumulative(variance, uniform_bits),
            exponential: NegativeExponential::new(variance),
        })
    }

    /// The parameter.
    #[must_use]
    pub fn variance(&self) -> u64 {
        self.variance
    }

    /// Adds one independent sample to each lane, modulo 2^32. The samples are a function of 32 bytes of `rng`, on any
    /// number of threads.
    pub fn add_noise<R: CryptoRng + ?Sized>(&self, lanes: &mut [u32], rng: &mut R) {
        self.add_keyed_noise(lanes, Secret::random(rng));
    }

    fn add_keyed_noise(&self, lanes: &mut [u32], key: Secret<32>) {
        let stream = [MaskStream::new(key, Sign::Add)];
        lanes.par_chunks_mut(CHUNK_SAMPLES).enumerate().for_each(|(index, lanes)| {
            self.add_chunk(lanes, &stream, index as u64 * CHUNK_STRIDE);
        });
    }

    fn add_chunk(&self, lanes: &mut [u32], stream: &[MaskStream], mut position: u64) {
        let mut words = Zeroizing::new([0_u32; BLOCK_CANDIDATES * CANDIDATE_WORDS]);
        let mut filled = 0;
        while filled < lanes.len() {
            words.fill(0);
            apply_streams(stream, position, words.as_mut());
            position += (BLOCK_CANDIDATES * CANDIDATE_WORDS) as u64;
            let (candidates, _) = words.as_chunks::<CANDIDATE_WORDS>();
            for candidate in candidates {
                let Some(lane) = lanes.get_mut(filled) else { break };
                let (value, kept) = self.candidate(candidate);
                *lane = lane.wrapping_add(value & 0_u32.wrapping_sub(kept));
                filled += kept as usize;
            }
        }
    }

    /// A candidate in two's complement, and 1 if it is kept, otherwise 0.
    #[inline]
    fn candidate(&self, words: &[u32; CANDIDATE_WORDS]) -> (u32, u32) {
        let [a, b, c, d, e, f, g, h, last] = *words;
        let chosen = wide([a, b, c, d]);
        let coarse = self.cumulative.iter().fold(0, |sum, bound| sum + (1 - below(chosen, *bound)));
        let low = last & !(u32::MAX << self.uniform_bits);
        let high = coarse << self.uniform_bits;
        let argument = u64::from(low) * (u64::from(low) + 2 * u64::from(high));
        let fits = below(wide([e, f, g, h]), self.exponential.of(argument));
        let (magnitude, negative) = (high + low, last >> 31);
        let kept = fits & !(negative & is_zero(magnitude));
        ((magnitude ^ 0_u32.wrapping_sub(negative)).wrapping_add(negative), kept)
    }
}

/// The cumulative probabilities of `y >= 0` with `P(y)` proportional to `exp(-(2^m y)^2 / 2v)`, times 2^128.
fn cumulative(variance: u64, uniform_bits: u32) -> Vec<u128> {
    let exponential = NegativeExponential::new(variance);
    let limit = NegativeExponential::limit(variance);
    let squares = (0_u64..).map(|y| (y * y) << (2 * uniform_bits)).take_while(|square| *square <= limit);
    let mut sum = 0;
    let mut sums: Vec<u128> = squares
        .map(|square| {
            // Below 6 * 2^124 in total.
            sum += exponential.of(square) >> 4;
            sum
        })
        .collect();
    sums.pop();
    sums.into_iter().map(|part| fraction(part, sum)).collect()
}

/// `part / whole * 2^128`, rounded down, for `part < whole < 2^127`.
fn fraction(part: u128, whole: u128) -> u128 {
    let (mut quotient, mut rest) = (0_u128, part);
    for _ in 0..128 {
        rest <<= 1;
        let bit = u128::from(rest >= whole);
        rest -= bit * whole;
        quotient = quotient << 1 | bit;
    }
    quotient
}

fn wide(words: [u32; 4]) -> u128 {
    words.into_iter().rev().fold(0, |sum, word| sum << 32 | u128::from(word))
}

/// 1 if `a < b`, otherwise 0: the borrow of their difference.
#[inline]
fn below(a: u128, b: u128) -> u32 {
    u32::from(a.overflowing_sub(b).1)
}

/// 1 for 0, otherwise 0.
#[inline]
fn is_zero(value: u32) -> u32 {
    1 ^ ((value | value.wrapping_neg()) >> 31)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::vectors;

    /// Standard errors from the expected value at which a check fails. An error of a normal variable is larger with a chance
    /// of 2 in 10^9; seeds are fixed, so that a check which passes once passes always.
    const SIGMAS: f64 = 6.0;

    fn draw(variance: u64, count: usize, seed: u8) -> Vec<i32> {
        let mut lanes = vec![0; count];
        let key = Secret::copy_from(&[seed; 32]);
        DiscreteGaussian::new(variance).unwrap().add_keyed_noise(&mut lanes, key);
        lanes.into_iter().map(u32::cast_signed).collect()
    }

    /// Probabilities of all integers from `-reach` to `reach`.
    fn probabilities(variance: u64, reach: i32) -> Vec<f64> {
        let weight = |x: i32| (-f64::from(x).powi(2) / (2.0 * variance as f64)).exp();
        let whole: f64 = (-reach..=reach).map(weight).sum();
        (-reach..=reach).map(|x| weight(x) / whole).collect()
    }

    /// Pearson's statistic of samples against a distribution in cells of `width` integers, the outer cells open, as a
    /// number of standard errors (Wilson and Hilferty's approximation).
    fn misfit(samples: &[i32], variance: u64, width: i32, cells: i32) -> f64 {
        let reach = i32::try_from(variance.isqrt()).unwrap() * 12 + width;
        let cell = |x: i32| (x.div_euclid(width) + cells / 2).clamp(0, cells - 1) as usize;
        let (mut expected, mut found) = (vec![0.0; cells as usize], vec![0.0; cells as usize]);
        for (x, probability) in (-reach..=reach).zip(probabilities(variance, reach)) {
            expected[cell(x)] += probability * samples.len() as f64;
        }
        for sample in samples {
            found[cell(*sample)] += 1.0;
        }
        assert!(expected.iter().all(|count| *count > 20.0), "cells too small: {expected:?}");
        let statistic: f64 =
            expected.iter().zip(&found).map(|(e, f): (&f64, &f64)| (f - e).powi(2) / e).sum();
        let spread = 2.0 / (9.0 * f64::from(cells - 1));
        ((statistic / f64::from(cells - 1)).cbrt() - (1.0 - spread)) / spread.sqrt()
    }

    #[test]
    fn known_answers() {
        let file = vectors::load(include_str!("../../vectors/privacy/noise.json"));
        let samples = |case: &serde_json::Value| {
            let variance = case["variance"].as_str().unwrap().parse().unwrap();
            let mut lanes = vec![0; 24];
            let key = Secret::copy_from(&vectors::bytes(&case["key"]));
            DiscreteGaussian::new(variance).unwrap().add_keyed_noise(&mut lanes, key);
            let values: Vec<i32> = lanes.into_iter().map(u32::cast_signed).collect();
            serde_json::json!(values)
        };
        let of = |kind| {
            vectors::cases(&file, kind)
                .into_iter()
                .filter(|case| case["what"] == "samples")
                .collect::<Vec<_>>()
        };
        assert!(of("positive").len() > 5 && of("negative").len() > 2);
        for case in of("positive") {
            assert_eq!(samples(&case), case["values"], "{}", case["variance"]);
        }
        for case in of("negative") {
            assert_ne!(samples(&case), case["values"], "{}", case["why"]);
        }
    }

    #[test]
    fn samples_fit_the_distribution_and_no_other() {
        for (variance, width, cells, other) in
            [(1, 1, 7, 2), (9, 1, 23, 10), (15, 1, 28, 16), (16, 1, 29, 15), (1_000_000, 250, 30, 1_100_000)]
        {
            let samples = draw(variance, 200_000, 1);
            let fit = misfit(&samples, variance, width, cells);
            assert!(fit < SIGMAS, "variance {variance}: {fit} standard errors");
            let fit = misfit(&samples, other, width, cells);
            assert!(fit > 2.0 * SIGMAS, "variance {variance} looks like {other}: {fit} standard errors");
        }
    }

    #[test]
    fn low_bits_are_uniform() {
        let samples = draw(1_000_000, 100_000, 2);
        let mut found = [0.0; 64];
        samples.iter().for_each(|sample| found[sample.rem_euclid(64) as usize] += 1.0);
        let each = samples.len() as f64 / 64.0;
        let statistic: f64 = found.iter().map(|count: &f64| (count - each).powi(2) / each).sum();
        assert!(statistic < 63.0 + SIGMAS * 126.0_f64.sqrt(), "{statistic}");
    }

    #[test]
    fn moments_are_those_of_the_parameter_whatever_its_size() {
        let count = 200_000;
        let n = f64::from(count);
        for variance in [4, 10, 63, 64, 65_537, 3_000_000_000, 1 << 50] {
            let samples = draw(variance, count as usize, 3);
            let sigma = (variance as f64).sqrt();
            let power = |k| samples.iter().map(|x| (f64::from(*x) / sigma).powi(k)).sum::<f64>() / n;
            let off = |found: f64, wanted: f64, error: f64| ((found - wanted) / (error / n).sqrt()).abs();
            // The variances of x, x^2, x^3 and x^4 of a standard normal variable.
            for (k, wanted, error) in [(1, 0.0, 1.0), (2, 1.0, 2.0), (3, 0.0, 15.0), (4, 3.0, 96.0)] {
                let found = power(k);
                assert!(off(found, wanted, error) < SIGMAS, "variance {variance}, power {k}: {found}");
            }
            // The test can tell a variance that is 5 % too large.
            assert!(off(power(2) * 1.05, 1.0, 2.0) > SIGMAS);
        }
    }

    #[test]
    fn tails_are_neither_cut_nor_fat() {
        let samples = draw(10_000, 400_000, 4);
        for multiple in [3, 4] {
            let beyond = |x: i32| x.abs() > multiple * 100;
            let expected: f64 = (-1_300..=1_300)
                .zip(probabilities(10_000, 1_300))
                .filter(|(x, _)| beyond(*x))
                .map(|(_, probability)| probability * samples.len() as f64)
                .sum();
            let found = samples.iter().filter(|x| beyond(**x)).count() as f64;
            assert!(
                (found - expected).abs() < SIGMAS * expected.sqrt(),
                "{found} beyond {multiple}: {expected}"
            );
        }
        assert!(samples.iter().all(|x| x.abs() < 1_320));
    }

    #[test]
    fn samples_are_independent_of_their_neighbours_and_of_other_chunks() {
        let samples = draw(400, 100 * CHUNK_SAMPLES, 5);
        for lag in [1, 2, 7, CHUNK_SAMPLES, 3 * CHUNK_SAMPLES] {
            let pairs = samples.iter().zip(&samples[lag..]);
            let n = (samples.len() - lag) as f64;
            let correlation = pairs.map(|(a, b)| f64::from(*a) * f64::from(*b) / 400.0).sum::<f64>() / n;
            assert!(correlation.abs() < SIGMAS / n.sqrt(), "lag {lag}: {correlation}");
        }
    }

    #[test]
    fn a_part_is_the_start_of_the_whole_and_keys_differ() {
        let whole = draw(50, 3 * CHUNK_SAMPLES + 7, 6);
        assert_eq!(draw(50, CHUNK_SAMPLES + 5, 6), whole[..CHUNK_SAMPLES + 5]);
        assert_ne!(draw(50, 100, 7), whole[..100]);
    }

    #[test]
    fn noise_is_added_to_what_is_there() {
        let mut lanes = [u32::MAX, 5, 0];
        let gaussian = DiscreteGaussian::new(100).unwrap();
        gaussian.add_keyed_noise(&mut lanes, Secret::copy_from(&[8; 32]));
        let noise = draw(100, 3, 8);
        assert_eq!(lanes.map(u32::cast_signed), [noise[0] - 1, noise[1] + 5, noise[2]]);
        assert_eq!(gaussian.variance(), 100);
    }

    #[test]
    fn variances_without_a_sampler_are_refused() {
        for found in [0, MAX_VARIANCE + 1, u64::MAX] {
            assert_eq!(DiscreteGaussian::new(found).unwrap_err(), PrivacyError::Variance { found });
        }
    }
}
