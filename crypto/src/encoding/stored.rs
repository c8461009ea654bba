//! Stored vectors, read block by block: no model and no sum is ever whole in memory.

use std::io::{self, Read};

use sha2::{Digest as _, Sha256};

use super::{ApplyError, ServerStep};
use crate::digest::Digest;

/// Coordinates read at once: half a megabyte of each vector.
pub(crate) const READ_AT_ONCE: usize = 1 << 17;

/// Bytes of a stored coordinate: a little-endian f32 of a model, a little-endian i32 of a sum.
pub(crate) const COORDINATE_BYTES: usize = 4;

/// What moving a stored model by stored sums read and made.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Moved {
    /// SHA-256 of the model that was read.
    pub before: Digest,
    /// SHA-256 of each sum that was read.
    pub sums: Vec<Digest>,
    /// SHA-256 of the model that the sums lead to.
    pub after: Digest,
}

/// Why a stored model was not moved.
#[derive(Debug, thiserror::Error)]
pub enum MoveError {
    /// A vector could not be read: this machine is at fault.
    #[error("a model or a sum could not be read: {0}")]
    Read(#[from] io::Error),
    /// Lengths differ, or the step leads out of the finite numbers.
    #[error(transparent)]
    Apply(#[from] ApplyError),
}

impl ServerStep<'_> {
    /// Moves a stored model (little-endian f32) by the sum of stored sums (little-endian i32), and gives the digests of
    /// everything read and of what comes out.
    ///
    /// # Errors
    /// [`MoveError`]; [`ApplyError::Length`] if a vector does not have the encoding's coordinates.
    pub fn moved<M: Read, S: Read>(&self, mut model: M, sums: &mut [S]) -> Result<Moved, MoveError> {
        let expected = self.coordinates();
        let mut hashes = vec![Sha256::new(); sums.len()];
        let (mut before, mut after) = (Sha256::new(), Sha256::new());
        let mut bytes = vec![0; READ_AT_ONCE * COORDINATE_BYTES];
        let mut first = 0;
        loop {
            let read = fill(&mut model, &mut bytes)?;
            let block = words(&bytes, read);
            let mut parameters: Vec<f32> = block.iter().map(|word| f32::from_le_bytes(*word)).collect();
            before.update(bytes.get(..read).unwrap_or_default());
            let mut totals = vec![0_i64; parameters.len()];
            for (sum, hash) in sums.iter_mut().zip(&mut hashes) {
                if fill(sum, &mut bytes)? != read {
                    return Err(ApplyError::Length { found: first, expected }.into());
                }
                hash.update(bytes.get(..read).unwrap_or_default());
                for (total, word) in totals.iter_mut().zip(words(&bytes, read)) {
                    *total += i64::from(i32::from_le_bytes(*word));
                }
            }
            let end = first + parameters.len() as u64;
            if end > expected || !read.is_multiple_of(COORDINATE_BYTES) {
                return Err(ApplyError::Length { found: end, expected }.into());
            }
            self.apply(first, &mut parameters, &totals)?;
            parameters.iter().for_each(|value| after.update(value.to_le_bytes()));
            first = end;
            if read < bytes.len() {
                break;
            }
        }
        if first != expected {
            return Err(ApplyError::Length { found: first, expected }.into());
        }
        let digest = |hash: Sha256| Digest(hash.finalize().into());
        Ok(Moved {
            before: digest(before),
            sums: hashes.into_iter().map(digest).collect(),
            after: digest(after),
        })
    }
}

/// The coordinates in the first `read` bytes.
pub(crate) fn words(bytes: &[u8], read: usize) -> &[[u8; COORDINATE_BYTES]] {
    bytes.get(..read).unwrap_or_default().as_chunks().0
}

/// Reads until the buffer is full or the input ends.
pub(crate) fn fill(input: &mut impl Read, buffer: &mut [u8]) -> io::Result<usize> {
    let mut filled = 0;
    while let Some(rest) = buffer.get_mut(filled..).filter(|rest| !rest.is_empty()) {
        match input.read(rest) {
            Ok(0) => break,
            Ok(count) => filled += count,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(filled)
}

#[cfg(test)]
mod tests {
    use super::super::{Encoding, OpenedSum, TensorEncoding, apply_sums};
    use super::*;

    fn encoding(len: u64) -> Encoding {
        let tensors = vec![TensorEncoding { name: "w".into(), len, clip_micro: 200_000 }];
        Encoding { tensors, quantisation_bits: 16, ring_bits: 20, weight_cap: 10 }
    }

    fn stored<const N: usize, T>(values: &[T], bytes: impl Fn(&T) -> [u8; N]) -> Vec<u8> {
        values.iter().flat_map(bytes).collect()
    }

    #[test]
    fn stored_vectors_move_as_those_in_memory() {
        // One block and a little, so that blocks follow each other.
        let length = READ_AT_ONCE + 3;
        let encoding = encoding(length as u64);
        let model: Vec<f32> = (0..length).map(|index| (index % 97) as f32 / 7.0).collect();
        let sums: Vec<Vec<i32>> =
            (0..2).map(|sum| (0..length as i32).map(|index| index % 1000 - 500 * sum).collect()).collect();
        let opened = |coordinates: &Vec<i32>| OpenedSum {
            sites: Vec::new(),
            coordinates: coordinates.clone(),
            weight: 4,
        };
        let whole: Vec<OpenedSum> = sums.iter().map(opened).collect();
        let after = apply_sums(&model, &whole, &encoding, 900_000).unwrap();
        let step = ServerStep::new(&encoding, 8, 900_000).unwrap();
        let model = stored(&model, |value| value.to_le_bytes());
        let sums: Vec<Vec<u8>> = sums.iter().map(|sum| stored(sum, |value| value.to_le_bytes())).collect();
        let mut readers: Vec<&[u8]> = sums.iter().map(Vec::as_slice).collect();
        let moved = step.moved(model.as_slice(), &mut readers).unwrap();
        assert_eq!(moved.before, Digest::of(&model));
        assert_eq!(moved.sums, sums.iter().map(|sum| Digest::of(sum)).collect::<Vec<_>>());
        assert_eq!(moved.after, Digest::of(&stored(&after, |value| value.to_le_bytes())));
    }

    #[test]
    fn vectors_of_other_lengths_are_refused() {
        let encoding = encoding(3);
        let step = ServerStep::new(&encoding, 8, 900_000).unwrap();
        for (model, sum) in [(12, 8), (8, 12), (8, 8), (16, 16), (13, 13), (0, 0)] {
            let (model, sum) = (vec![0; model], vec![0; sum]);
            let moved = step.moved(model.as_slice(), &mut [sum.as_slice()]);
            assert!(matches!(moved, Err(MoveError::Apply(ApplyError::Length { .. }))), "{moved:?}");
        }
        assert!(step.moved([0; 12].as_slice(), &mut [[0; 12].as_slice()]).is_ok());
    }
}
