//! One round's step of the model, from the sites' updates: by plain numbers, or as sites and gateways do it.

use std::collections::BTreeMap;

use konclave_crypto::encoding::{ApplyError, EncodingError, PackingError, centred, pack, unpack};
use konclave_crypto::{Encoding, OpenedSum, SiteId, apply_sums, quantise};
use konclave_site::trainer::LocalDelta;
use rand_chacha::ChaCha20Rng;

use crate::demo::job::SERVER_RATE_MICRO;

/// How updates are averaged.
#[derive(Debug, Clone)]
pub(super) enum Averaging {
    /// The mean of the updates by the numbers of labels, in double precision: nothing is clipped, capped or rounded.
    Float,
    /// Clipped, rounded at random, packed, unpacked, summed in the ring, and applied.
    Encoded(Encoding),
}

/// Why updates could not be averaged.
#[derive(Debug, thiserror::Error)]
pub enum AveragingError {
    /// An update cannot be encoded.
    #[error(transparent)]
    Encode(#[from] EncodingError),
    /// A body is not as it was packed.
    #[error(transparent)]
    Pack(#[from] PackingError),
    /// The sum cannot be applied.
    #[error(transparent)]
    Apply(#[from] ApplyError),
}

/// What the encoding cut from a round's updates.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Cut {
    /// Coordinates cut to the clip bound.
    pub(super) clipped: u64,
    /// Coordinates cut to the quantised range after rounding.
    pub(super) saturated: u64,
    /// Sites whose weight was cut to the cap.
    pub(super) weights: u64,
}

impl Averaging {
    /// The model after the round.
    pub(super) fn step(
        &self,
        model: &[f32],
        updates: &BTreeMap<SiteId, LocalDelta>,
        random: &mut ChaCha20Rng,
    ) -> Result<(Vec<f32>, Cut), AveragingError> {
        match self {
            Self::Float => Ok((mean_step(model, updates), Cut::default())),
            Self::Encoded(encoding) => encoded_step(model, updates, encoding, random),
        }
    }
}

fn mean_step(model: &[f32], updates: &BTreeMap<SiteId, LocalDelta>) -> Vec<f32> {
    let weight: f64 = updates.values().map(|update| f64::from(update.weight)).sum();
    let mut total = vec![0.0_f64; model.len()];
    for update in updates.values() {
        for (sum, change) in total.iter_mut().zip(&update.delta) {
            *sum += f64::from(update.weight) * f64::from(*change);
        }
    }
    let rate = f64::from(SERVER_RATE_MICRO) * 1e-6;
    #[expect(clippy::cast_possible_truncation, reason = "models are stored as f32")]
    let moved = |(theta, sum): (&f32, f64)| (f64::from(*theta) + rate * sum / weight) as f32;
    model.iter().zip(total).map(moved).collect()
}

fn encoded_step(
    model: &[f32],
    updates: &BTreeMap<SiteId, LocalDelta>,
    encoding: &Encoding,
    random: &mut ChaCha20Rng,
) -> Result<(Vec<f32>, Cut), AveragingError> {
    let mut cut = Cut::default();
    let mut sum = vec![0_u32; model.len() + 1];
    for update in updates.values() {
        let weight = update.weight.min(encoding.weight_cap);
        let quantised = quantise(&update.delta, weight, encoding, random)?;
        cut.clipped += quantised.clipped;
        cut.saturated += quantised.saturated;
        cut.weights += u64::from(weight < update.weight);
        // Here a site adds its masks, and the gateway takes the sum of all masks off again.
        let body = pack(quantised.ring.lanes(), encoding.ring_bits)?;
        for (total, lane) in sum.iter_mut().zip(unpack(&body, model.len() + 1, encoding.ring_bits)?) {
            *total = total.wrapping_add(lane);
        }
    }
    let mut coordinates: Vec<i32> = sum.iter().map(|lane| centred(*lane, encoding.ring_bits)).collect();
    // The weight travels last. One below zero would be a gateway's fault, and has no average.
    let weight = coordinates.pop().and_then(|weight| u64::try_from(weight).ok()).unwrap_or_default();
    let opened = OpenedSum { sites: updates.keys().cloned().collect(), coordinates, weight };
    Ok((apply_sums(model, &[opened], encoding, SERVER_RATE_MICRO)?, cut))
}

#[cfg(test)]
mod tests {
    use konclave_crypto::TensorEncoding;
    use konclave_site::trainer::{TrainingReport, UnusedLabels};
    use rand_chacha::rand_core::SeedableRng;

    use super::*;

    const CLIP: f32 = 0.25;

    fn encoded(quantisation_bits: u8) -> Averaging {
        let tensors = vec![TensorEncoding { name: "a".into(), len: 400, clip_micro: 250_000 }];
        Averaging::Encoded(Encoding { tensors, quantisation_bits, ring_bits: 19, weight_cap: 1_000 })
    }

    /// Updates of three sites, of which the second is the largest.
    fn updates(scale: f32) -> BTreeMap<SiteId, LocalDelta> {
        let update = |site: u16| LocalDelta {
            delta: (0..400_u16).map(|at| scale * (f32::from(at * site) / 40.0).sin()).collect(),
            weight: [100, 900, 350][usize::from(site) - 1],
            report: TrainingReport {
                device: "none".into(),
                molecules: 0,
                steps: 0,
                milliseconds: 0,
                tasks: BTreeMap::new(),
                unused: UnusedLabels::default(),
            },
        };
        (1..=3).map(|site| (format!("site-{site}").parse().unwrap(), update(site))).collect()
    }

    fn step(averaging: &Averaging, scale: f32) -> (Vec<f32>, Cut) {
        let model: Vec<f32> = (0..400_u16).map(|at| f32::from(at) / 400.0 - 0.5).collect();
        averaging.step(&model, &updates(scale), &mut ChaCha20Rng::from_seed([3; 32])).unwrap()
    }

    fn furthest(one: &[f32], other: &[f32]) -> f32 {
        one.iter().zip(other).map(|(one, other)| (one - other).abs()).fold(0.0, f32::max)
    }

    #[test]
    fn the_encoded_average_is_the_plain_one_to_a_rounding_step_of_each_site() {
        let (plain, _) = step(&Averaging::Float, 0.2);
        for bits in [8, 12, 16] {
            let (rounded, cut) = step(&encoded(bits), 0.2);
            let steps = f32::from((1_u16 << (bits - 1)) - 1);
            // Three sites are wrong by less than a step each; 1,000 / 1,350 is cap over weight.
            let most = 3.0 * CLIP / steps * 1_000.0 / 1_350.0;
            let found = furthest(&plain, &rounded);
            assert!(found < most + 1e-6, "{bits} bits: {found}, at most {most}");
            assert!(found > most / 100.0, "{bits} bits: nothing was rounded");
            assert_eq!(cut, Cut::default());
        }
    }

    #[test]
    fn what_is_cut_is_counted_and_moves_the_average() {
        let (plain, none) = step(&Averaging::Float, 2.0);
        let (clipped, cut) = step(&encoded(12), 2.0);
        assert_eq!(none, Cut::default());
        assert!(cut.clipped > 900 && cut.weights == 0, "{cut:?}");
        assert!(furthest(&plain, &clipped) > 0.5);
    }
}
