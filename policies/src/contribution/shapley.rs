//! The exact Shapley value of each batch (Shapley 1953).
//!
//! phi_g = sum over S without g of |S|! (m - |S| - 1)! / m! x (v(S + g) - v(S)).
//!
//! Over the common denominator m! every term is an integer, and i128 is wide enough for any i64
//! scores: the weights |S|! (m - |S| - 1)! of one batch sum to m!, a difference of two i64 is below
//! 2^64, so a numerator stays below 10! x 2^64 < 2^22 x 2^64 = 2^86. The arithmetic is checked all
//! the same.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::ratio::Ratio;

/// The most batches an exact computation takes: 2^10 coalition models to score.
pub use konclave_crypto::batches::MAX_BATCHES;

/// A set of batches: bit g stands for batch g.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
pub struct Coalition(u16);

impl Coalition {
    /// No batch: the model before the round.
    pub const EMPTY: Self = Self(0);

    /// The coalition with these bits.
    pub fn from_bits(bits: u16) -> Self {
        Self(bits)
    }

    /// Its bits.
    pub fn bits(self) -> u16 {
        self.0
    }

    /// All coalitions of `batches` batches, the empty one first; none above [`MAX_BATCHES`].
    pub fn all(batches: usize) -> impl Iterator<Item = Self> {
        let count = if batches <= MAX_BATCHES { 1_u16 << batches } else { 0 };
        (0..count).map(Self)
    }

    /// Whether it holds the batch.
    pub fn contains(self, batch: usize) -> bool {
        self.0.checked_shr(u32::try_from(batch).unwrap_or(u32::MAX)).is_some_and(|bits| bits & 1 == 1)
    }

    /// Its batches, ascending.
    pub fn batches(self) -> impl Iterator<Item = usize> {
        (0..16).filter(move |batch| self.contains(*batch))
    }

    fn with(self, batch: usize) -> Self {
        Self(self.0 | 1_u16.checked_shl(u32::try_from(batch).unwrap_or(u32::MAX)).unwrap_or(0))
    }
}

/// Why no Shapley value can be computed. Whoever made the table of scores must complete it.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ShapleyError {
    /// Too many batches for an exact computation.
    #[error("{found} batches; an exact Shapley value takes at most {MAX_BATCHES}")]
    TooManyBatches {
        /// The number of batches.
        found: usize,
    },
    /// A coalition has no score.
    #[error("coalition {bits:#012b} of {batches} batches has no score")]
    MissingScore {
        /// The coalition's bits.
        bits: u16,
        /// The number of batches.
        batches: usize,
    },
    /// A score is for a coalition that does not exist.
    #[error("coalition {bits:#012b} has a score, but there are only {batches} batches")]
    UnknownCoalition {
        /// The coalition's bits.
        bits: u16,
        /// The number of batches.
        batches: usize,
    },
    /// A step left i128, which the bound above excludes.
    #[error("an exact Shapley value does not fit 128 bits")]
    Overflow,
}

/// The exact Shapley value of each of `m` batches, in the scores' millionths, over the scores of all
/// 2^m coalitions. They sum to v(all) - v(empty).
///
/// # Errors
/// [`ShapleyError`] if the table is not that of `m` batches, or m is above [`MAX_BATCHES`].
pub fn shapley(m: usize, v: &BTreeMap<Coalition, i64>) -> Result<Vec<Ratio>, ShapleyError> {
    if m > MAX_BATCHES {
        return Err(ShapleyError::TooManyBatches { found: m });
    }
    if let Some(unknown) = v.keys().find(|coalition| coalition.batches().any(|batch| batch >= m)) {
        return Err(ShapleyError::UnknownCoalition { bits: unknown.bits(), batches: m });
    }
    let score = |coalition: Coalition| {
        let found = v.get(&coalition).map(|score| i128::from(*score));
        found.ok_or(ShapleyError::MissingScore { bits: coalition.bits(), batches: m })
    };
    // The empty coalition is part of every difference, and of none if there is no batch.
    score(Coalition::EMPTY)?;
    (0..m)
        .map(|batch| {
            let mut numerator = 0_i128;
            for without in Coalition::all(m).filter(|coalition| !coalition.contains(batch)) {
                let gain = score(without.with(batch))?.checked_sub(score(without)?);
                let size = without.batches().count();
                let weight = factorial(size).checked_mul(factorial(m.saturating_sub(size + 1)));
                numerator = gain
                    .zip(weight)
                    .and_then(|(gain, weight)| numerator.checked_add(gain.checked_mul(weight)?))
                    .ok_or(ShapleyError::Overflow)?;
            }
            Ratio::new(numerator, factorial(m)).ok_or(ShapleyError::Overflow)
        })
        .collect()
}

/// n! for n up to [`MAX_BATCHES`].
pub(super) fn factorial(n: usize) -> i128 {
    (1_i128..).take(n.min(MAX_BATCHES)).product()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn table(scores: &[i64]) -> BTreeMap<Coalition, i64> {
        (0_u16..).map(Coalition::from_bits).zip(scores.iter().copied()).collect()
    }

    #[test]
    fn the_glove_game() {
        // One left glove (batch 0), two right ones: only a pair is worth 1. Shapley: 2/3, 1/6, 1/6.
        let value = shapley(3, &table(&[0, 0, 0, 1, 0, 1, 0, 1])).unwrap();
        let expected = [(2, 3), (1, 6), (1, 6)].map(|(above, below)| Ratio::new(above, below).unwrap());
        assert_eq!(value, expected);
    }

    #[test]
    fn extreme_scores_fit() {
        let scores: Vec<_> =
            (0..1_u16 << MAX_BATCHES).map(|bits| if bits & 1 == 1 { i64::MAX } else { i64::MIN }).collect();
        let value = shapley(MAX_BATCHES, &table(&scores)).unwrap();
        assert_eq!(value[0], Ratio::new(i128::from(u64::MAX), 1).unwrap());
        assert!(value[1..].iter().all(|other| *other == Ratio::ZERO));
    }

    #[test]
    fn a_table_with_a_gap_or_a_stranger_is_refused() {
        let mut scores = table(&[0, 5, 7, 9]);
        assert_eq!(shapley(2, &scores).unwrap(), [Ratio::new(7, 2).unwrap(), Ratio::new(11, 2).unwrap()]);
        let stranger = Coalition::from_bits(4);
        scores.insert(stranger, 1);
        assert_eq!(shapley(2, &scores), Err(ShapleyError::UnknownCoalition { bits: 4, batches: 2 }));
        scores.remove(&stranger);
        scores.remove(&Coalition::from_bits(2));
        assert_eq!(shapley(2, &scores), Err(ShapleyError::MissingScore { bits: 2, batches: 2 }));
        assert_eq!(shapley(0, &BTreeMap::new()), Err(ShapleyError::MissingScore { bits: 0, batches: 0 }));
        assert_eq!(shapley(11, &BTreeMap::new()), Err(ShapleyError::TooManyBatches { found: 11 }));
        assert_eq!(shapley(0, &table(&[3])).unwrap(), []);
    }
}
