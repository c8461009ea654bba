//! From a float update to ring elements.

use rand_chacha::ChaCha20Rng;
use rand_core::{CryptoRng, Rng, SeedableRng};
use zeroize::{Zeroize, Zeroizing};

use super::{Encoding, EncodingError, RingVector, lane_mask};

/// An encoded update and what the encoding changed.
#[derive(Debug)]
pub struct Quantised {
    /// The update in ring elements, the weight last.
    pub ring: RingVector,
    /// Coordinates whose change was cut to the clip bound.
    pub clipped: u64,
    /// Coordinates whose rounded value was cut to the quantised range.
    pub saturated: u64,
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

    let mut dither = dither(rng);
    let mask = lane_mask(encoding.ring_bits);
    let largest = encoding.quantised_max();
    let share = f64::from(weight) / f64::from(encoding.weight_cap);
    let (mut clipped, mut saturated) = (0, 0);
    let mut lanes = Vec::with_capacity(delta.len() + 1);
    let mut rest = delta.iter();
    for tensor in &encoding.tensors {
        let clip = f64::from(tensor.clip_micro) * 1e-6;
        let factor = share * f64::from(largest) / clip;
        for value in rest.by_ref().take(usize::try_from(tensor.len).unwrap_or(usize::MAX)) {
            let value = f64::from(*value);
            clipped += u64::from(value.abs() > clip);
            let scaled = value.clamp(-clip, clip) * factor;
            let (rounded, cut) = round_stochastically(scaled, largest, &mut dither);
            saturated += u64::from(cut);
            lanes.push(rounded.cast_unsigned() & mask);
        }
    }
    lanes.push(weight);
    let ring = RingVector::from_lanes(lanes, encoding.ring_bits)?;
    Ok(Quantised { ring, clipped, saturated })
}

/// A keyed stream for rounding, so that a slow system generator is asked only once.
fn dither<R: CryptoRng + ?Sized>(rng: &mut R) -> ChaCha20Rng {
    let mut key = Zeroizing::new([0_u8; 32]);
    rng.fill_bytes(key.as_mut());
    let stream = ChaCha20Rng::from_seed(*key);
    key.zeroize();
    stream
}

/// Rounds up with the probability of the fractional part; cuts to `-largest..=largest` and says whether it did.
fn round_stochastically(scaled: f64, largest: i32, dither: &mut ChaCha20Rng) -> (i32, bool) {
    // 53 random bits: a uniform multiple of 2^-53 in [0, 1).
    let uniform = (dither.next_u64() >> 11) as f64 * (1.0 / (1_u64 << 53) as f64);
    let floor = scaled.floor();
    let rounded = if scaled - floor > uniform { floor + 1.0 } else { floor };
    let bound = f64::from(largest);
    #[expect(clippy::cast_possible_truncation, reason = "an integer cut to the range of `largest`")]
    let value = rounded.clamp(-bound, bound) as i32;
    (value, rounded.abs() > bound)
}

#[cfg(test)]
mod tests {
    use super::super::TensorEncoding;
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
        let Quantised { ring, clipped, saturated } =
            quantise(&[1.0, -1.0, 0.25, -0.25, 0.0], 100, &encoding(), &mut rng()).unwrap();
        assert_eq!(ring.lanes(), [127, 65536 - 127, 127, 65536 - 127, 0, 100]);
        assert_eq!((clipped, saturated), (0, 0));
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
