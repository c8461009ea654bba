//! From a float update to ring elements.

use rand_chacha::ChaCha20Rng;
use rand_core::{CryptoRng, Rng, SeedableRng};
use zeroize::{Zeroize, Zeroizing};

use super::{Encoding, EncodingError, RingVector, lane_mask};
use crate::privacy::NoiseTerms;

/// An encoded update and what the encoding changed.
#[derive(Debug)]
pub struct Quantised {
    /// The update in ring elements, the weight last.
    pub ring: RingVector,
    /// Coordinates whose change was cut to the clip bound.
    pub clipped: u64,
    /// Coordinates whose rounded value was cut to the quantised range.
    pub saturated: u64,
    /// Whether the whole update was scaled down to the norm that noise is measured against.
    pub shrunk: bool,
}

impl From<Quantised> for RingVector {
    fn from(quantised: Quantised) -> Self {
        quantised.ring
    }
}

/// Encodes an update: `x_j = round(clip(delta_j) * (weight / weight_cap) / scale)` modulo 2^b, and the weight last.
///
/// The scale of a tensor is `clip / (2^(q-1) - 1)`. Rounding is stochastic, so the expectation of `x_j` is exact;
/// its randomness is a ChaCha20 stream keyed by 32 bytes of `rng`.
///
/// # Errors
/// [`EncodingError`] if the encoding is unsound by itself, the lengths differ, the weight is out of range, or a
/// coordinate is not finite. Nothing is encoded then.
pub fn quantise<R: CryptoRng + ?Sized>(
    delta: &[f32],
    weight: u32,
    encoding: &Encoding,
    rng: &mut R,
) -> Result<Quantised, EncodingError> {
    quantise_within(delta, weight, encoding, None, rng)
}

/// Encodes an update as [`quantise`] does, for a context with these terms of noise.
///
/// The whole update is scaled down first, if need be, to the L2 norm that the terms name, and the rounded update keeps to
/// their sensitivity: where rounding at random exceeds it, which happens with a chance of `exp(-32)`, every coordinate is
/// rounded towards zero. The noise itself is added when the update is masked.
///
/// # Errors
/// As for [`quantise`].
pub fn quantise_within<R: CryptoRng + ?Sized>(
    delta: &[f32],
    weight: u32,
    encoding: &Encoding,
    noise: Option<&NoiseTerms>,
    rng: &mut R,
) -> Result<Quantised, EncodingError> {
    encoding.validate(1)?;
    let (found, expected) = (delta.len() as u64, encoding.coordinates());
    if found != expected {
        return Err(EncodingError::Length { found, expected });
    }
    if weight == 0 || weight > encoding.weight_cap {
        return Err(EncodingError::Weight { found: weight, cap: encoding.weight_cap });
    }
    if let Some(index) = delta.iter().position(|value| !value.is_finite()) {
        return Err(EncodingError::NotFinite { index: index as u64 });
    }

    let share = f64::from(weight) / f64::from(encoding.weight_cap);
    let shrink = noise.map_or(1.0, |noise| shrinkage(delta, encoding, share, noise.clip_norm));
    let scaled = || scaled(delta, encoding, share * shrink);
    let mut dither = dither(rng);
    let mut rounded = round(encoding, scaled(), |value| round_stochastically(value, &mut dither))?;
    if let Some(noise) = noise
        && squared_norm(&rounded) > u128::from(noise.sensitivity_squared(expected))
    {
        rounded.lanes.zeroize();
        rounded = round(encoding, scaled(), f64::trunc)?;
    }
    let Rounded { mut lanes, clipped, saturated, .. } = rounded;
    lanes.push(weight);
    let ring = RingVector::from_lanes(lanes, encoding.ring_bits)?;
    Ok(Quantised { ring, clipped, saturated, shrunk: shrink < 1.0 })
}

/// The coordinates in steps of the encoding, each with whether it was cut to the clip bound.
fn scaled<'a>(
    delta: &'a [f32],
    encoding: &'a Encoding,
    share: f64,
) -> impl Iterator<Item = (f64, bool)> + 'a {
    let largest = f64::from(encoding.quantised_max());
    let lengths = encoding.tensors.iter().scan(delta, |rest, tensor| {
        let (here, after) = rest.split_at(usize::try_from(tensor.len).unwrap_or(usize::MAX).min(rest.len()));
        *rest = after;
        Some((here, f64::from(tensor.clip_micro) * 1e-6))
    });
    lengths.flat_map(move |(values, clip)| {
        let factor = share * largest / clip;
        values.iter().map(move |value| {
            let value = f64::from(*value);
            (value.clamp(-clip, clip) * factor, value.abs() > clip)
        })
    })
}

/// By how much an update must be scaled down to an L2 norm in ring units; 1 if it is short enough.
fn shrinkage(delta: &[f32], encoding: &Encoding, share: f64, clip_norm: u64) -> f64 {
    // Summed in blocks, so that the error of a long sum stays below the margin.
    const BLOCK: u32 = 4096;
    let (mut whole, mut block, mut held) = (0.0, 0.0, 0);
    for (value, _) in scaled(delta, encoding, share) {
        block += value * value;
        held += 1;
        if held == BLOCK {
            whole += block;
            (block, held) = (0.0, 0);
        }
    }
    let norm = f64::sqrt(whole + block);
    let allowed = clip_norm as f64 * (1.0 - 1e-9);
    if norm > allowed { allowed / norm } else { 1.0 }
}

struct Rounded {
    lanes: Vec<u32>,
    bits: u8,
    clipped: u64,
    saturated: u64,
}

fn round(
    encoding: &Encoding,
    scaled: impl Iterator<Item = (f64, bool)>,
    mut rounding: impl FnMut(f64) -> f64,
) -> Result<Rounded, EncodingError> {
    let coordinates = usize::try_from(encoding.coordinates()).map_err(|_| EncodingError::Size)?;
    let mask = lane_mask(encoding.ring_bits);
    let bound = f64::from(encoding.quantised_max());
    let mut rounded = Rounded {
        lanes: Vec::with_capacity(coordinates + 1),
        bits: encoding.ring_bits,
        clipped: 0,
        saturated: 0,
    };
    for (value, clipped) in scaled {
        let whole = rounding(value);
        rounded.clipped += u64::from(clipped);
        rounded.saturated += u64::from(whole.abs() > bound);
        #[expect(clippy::cast_possible_truncation, reason = "an integer cut to 24 bits")]
        let cut = whole.clamp(-bound, bound) as i32;
        rounded.lanes.push(cut.cast_unsigned() & mask);
    }
    Ok(rounded)
}

fn squared_norm(rounded: &Rounded) -> u128 {
    super::squared_norm(&rounded.lanes, rounded.bits)
}

/// A keyed stream for rounding, so that a slow system generator is asked only once.
fn dither<R: CryptoRng + ?Sized>(rng: &mut R) -> ChaCha20Rng {
    let mut key = Zeroizing::new([0_u8; 32]);
    rng.fill_bytes(key.as_mut());
    let stream = ChaCha20Rng::from_seed(*key);
    key.zeroize();
    stream
}

/// Rounds up with the probability of the fractional part.
fn round_stochastically(scaled: f64, dither: &mut ChaCha20Rng) -> f64 {
    // 53 random bits: a uniform multiple of 2^-53 in [0, 1).
    let uniform = (dither.next_u64() >> 11) as f64 * (1.0 / (1_u64 << 53) as f64);
    let floor = scaled.floor();
    if scaled - floor > uniform { floor + 1.0 } else { floor }
}

#[cfg(test)]
mod tests {
    use super::super::{TensorEncoding, centred};
    use super::*;

    fn encoding() -> Encoding {
        let tensor = |name: &str, len, clip_micro| TensorEncoding { name: name.into(), len, clip_micro };
        Encoding {
            tensors: vec![tensor("a", 2, 1_000_000), tensor("b", 3, 250_000)],
            quantisation_bits: 8,
            ring_bits: 16,
            weight_cap: 100,
        }
    }

    fn rng() -> ChaCha20Rng {
        ChaCha20Rng::from_seed([5; 32])
    }

    #[test]
    fn full_weight_maps_the_clip_bound_to_the_quantised_maximum() {
        let Quantised { ring, clipped, saturated, shrunk } =
            quantise(&[1.0, -1.0, 0.25, -0.25, 0.0], 100, &encoding(), &mut rng()).unwrap();
        assert_eq!(ring.lanes(), [127, 65536 - 127, 127, 65536 - 127, 0, 100]);
        assert_eq!((clipped, saturated, shrunk), (0, 0, false));
    }

    #[test]
    fn what_is_cut_is_counted() {
        let out = quantise(&[8.0, -1.5, 0.25, 3.0e38, -0.1], 100, &encoding(), &mut rng()).unwrap();
        assert_eq!(out.clipped, 3);
        assert_eq!(&out.ring.lanes()[..2], [127, 65536 - 127]);
    }

    #[test]
    fn rounding_is_unbiased() {
        let one = Encoding {
            tensors: vec![TensorEncoding { name: "x".into(), len: 1, clip_micro: 1_000_000 }],
            ..encoding()
        };
        let mut rng = rng();
        let draws = 20_000;
        // 0.3 * 50/100 * 127 = 19.05: the mean over many draws is within 5 standard errors.
        let sum: u32 =
            (0..draws).map(|_| quantise(&[0.3], 50, &one, &mut rng).unwrap().ring.lanes()[0]).sum();
        let mean = f64::from(sum) / f64::from(draws);
        let standard_error = (0.05_f64 * 0.95 / f64::from(draws)).sqrt();
        assert!((mean - 19.05).abs() < 5.0 * standard_error, "{mean}");
    }

    #[test]
    fn a_long_update_is_scaled_down_whole_and_a_short_one_left_alone() {
        let encoding = Encoding { weight_cap: 1, ..encoding() };
        let terms = |clip_norm| NoiseTerms { clip_norm, site_variance: 4, colluders: 0 };
        let lanes = |clip_norm| {
            let delta = [1.0, -1.0, 0.25, -0.25, 0.0];
            let out = quantise_within(&delta, 1, &encoding, Some(&terms(clip_norm)), &mut rng()).unwrap();
            let lanes = out.ring.lanes().iter().take(5).map(|lane| centred(*lane, 16)).collect::<Vec<_>>();
            (lanes, out.shrunk)
        };
        // The norm is 254.
        assert_eq!(lanes(255), (vec![127, -127, 127, -127, 0], false));
        let (short, shrunk) = lanes(100);
        assert!(shrunk);
        assert!(short[..4].iter().all(|lane| (49..=50).contains(&lane.abs())), "{short:?}");
        assert_eq!(short[4], 0);
    }

    #[test]
    fn rounding_never_leaves_the_sensitivity_and_is_unbiased_within() {
        // Many small coordinates: rounding at random makes the norm much longer than the clip norm.
        let tensor = |len| TensorEncoding { name: "x".into(), len, clip_micro: 1_000_000 };
        let encoding = |len| Encoding { tensors: vec![tensor(len)], weight_cap: 1, ..encoding() };
        for (len, clip_norm) in [(1_u64, 1), (7, 2), (50, 1), (2_000, 3), (2_000, 40)] {
            let terms = NoiseTerms { clip_norm, site_variance: 4, colluders: 0 };
            let mut rng = rng();
            let delta = vec![0.5; len as usize];
            let (mut sum, draws) = (0.0, 200);
            for _ in 0..draws {
                let lanes = quantise_within(&delta, 1, &encoding(len), Some(&terms), &mut rng)
                    .unwrap()
                    .ring
                    .into_lanes();
                let coordinates = &lanes[..len as usize];
                assert!(super::super::squared_norm(coordinates, 16) <= terms.sensitivity_squared(len).into());
                sum += coordinates.iter().map(|lane| f64::from(centred(*lane, 16))).sum::<f64>();
            }
            let each = clip_norm as f64 / (len as f64).sqrt();
            let mean = sum / f64::from(draws) / len as f64;
            let standard_error = (0.25 / f64::from(draws) / len as f64).sqrt();
            assert!((mean - each).abs() < 6.0 * standard_error, "{len}, {clip_norm}: {mean} for {each}");
        }
    }

    #[test]
    fn unusable_updates_are_refused() {
        let fine = [0.0; 5];
        for bad in [f32::NAN, f32::INFINITY, f32::NEG_INFINITY] {
            let delta = [0.0, 0.0, 0.0, bad, 0.0];
            assert_eq!(
                quantise(&delta, 1, &encoding(), &mut rng()).unwrap_err(),
                EncodingError::NotFinite { index: 3 }
            );
        }
        for weight in [0, 101] {
            assert!(matches!(
                quantise(&fine, weight, &encoding(), &mut rng()),
                Err(EncodingError::Weight { .. })
            ));
        }
        assert!(matches!(
            quantise(&fine[..4], 1, &encoding(), &mut rng()),
            Err(EncodingError::Length { found: 4, expected: 5 })
        ));
        let narrow = Encoding { ring_bits: 15, ..encoding() };
        assert!(matches!(quantise(&fine, 1, &narrow, &mut rng()), Err(EncodingError::RingBits { .. })));
    }
}
