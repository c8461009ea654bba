//! Inclusion and consistency proofs: RFC 9162 sections 2.1.3 and 2.1.4 (same trees as RFC 6962).

use serde::{Deserialize, Serialize};

use crate::hash::Hash;
use crate::tree::{empty_root, node_hash};

/// Shows that one entry is in a tree.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
pub struct InclusionProof {
    /// The entry's index.
    pub index: u64,
    /// Size of the tree the proof is for.
    pub size: u64,
    /// Sibling hashes from the leaf up.
    pub hashes: Vec<Hash>,
}

/// Shows that a tree is a prefix of a larger one.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
pub struct ConsistencyProof {
    /// Size of the older tree.
    pub old_size: u64,
    /// Size of the newer tree.
    pub new_size: u64,
    /// The hashes in the order of RFC 9162.
    pub hashes: Vec<Hash>,
}

/// Why a proof doesn't convince. Whoever made it is at fault.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum ProofError {
    /// Index beyond the tree, or an older tree that is larger than the newer.
    #[error("the proof's index or sizes do not fit each other")]
    Sizes,
    /// Too few or too many hashes for these sizes.
    #[error("the proof has the wrong number of hashes for its sizes")]
    Length,
    /// It leads to another root.
    #[error("the proof leads to another root")]
    Root,
}

/// Source of the hashes of complete subtrees, from which every proof can be put together.
pub trait Subtrees {
    /// Why a hash can't be read.
    type Error;

    /// Hash over the leaves `index * 2^level .. (index + 1) * 2^level`.
    ///
    /// # Errors
    /// When the source can't give it.
    fn subtree(&self, level: u32, index: u64) -> Result<Hash, Self::Error>;
}

/// The root over the first `size` leaves.
///
/// # Errors
/// Those of the source.
pub fn root_at<S: Subtrees>(source: &S, size: u64) -> Result<Hash, S::Error> {
    let mut start = 0;
    let mut peaks = Vec::new();
    for level in (0..u64::BITS).rev().filter(|level| size >> level & 1 == 1) {
        peaks.push(source.subtree(level, start >> level)?);
        start += 1 << level;
    }
    let right_to_left = peaks.into_iter().rev();
    Ok(right_to_left.reduce(|right, left| node_hash(&left, &right)).unwrap_or_else(empty_root))
}

impl InclusionProof {
    /// Puts together the proof for `index` in the tree of the first `size` leaves. With `index` beyond `size` the result
    /// proves nothing.
    ///
    /// # Errors
    /// When the source can't give a hash.
    pub fn build<S: Subtrees>(source: &S, index: u64, size: u64) -> Result<Self, S::Error> {
        let mut hashes = Vec::new();
        let (mut start, mut end) = (0, size);
        while end - start > 1 {
            let middle = start + split_point(end - start);
            if index < middle {
                hashes.push(range_root(source, middle, end)?);
                end = middle;
            } else {
                hashes.push(range_root(source, start, middle)?);
                start = middle;
            }
        }
        hashes.reverse();
        Ok(Self { index, size, hashes })
    }

    /// The root that the proof leads to from `leaf`, a leaf hash (RFC 9162 section 2.1.3.2).
    ///
    /// # Errors
    /// [`ProofError::Sizes`] or [`ProofError::Length`].
    pub fn root_for(&self, leaf: &Hash) -> Result<Hash, ProofError> {
        if self.index >= self.size {
            return Err(ProofError::Sizes);
        }
        let (mut node, mut last, mut hash) = (self.index, self.size - 1, *leaf);
        for sibling in &self.hashes {
            if last == 0 {
                return Err(ProofError::Length);
            }
            if node & 1 == 1 || node == last {
                hash = node_hash(sibling, &hash);
                skip_left_edges(&mut node, &mut last);
            } else {
                hash = node_hash(&hash, sibling);
            }
            node >>= 1;
            last >>= 1;
        }
        if last == 0 { Ok(hash) } else { Err(ProofError::Length) }
    }

    /// Checks the proof for a leaf hash against a trusted root.
    ///
    /// # Errors
    /// [`ProofError`].
    pub fn verify(&self, leaf: &Hash, root: &Hash) -> Result<(), ProofError> {
        if self.root_for(leaf)? == *root { Ok(()) } else { Err(ProofError::Root) }
    }
}

impl ConsistencyProof {
    /// Puts together the proof between two sizes. With `old_size` beyond `new_size` the result proves nothing.
    ///
    /// # Errors
    /// When the source can't give a hash.
    pub fn build<S: Subtrees>(source: &S, old_size: u64, new_size: u64) -> Result<Self, S::Error> {
        let mut hashes = Vec::new();
        if old_size > 0 && old_size < new_size {
            let (mut start, mut end) = (0, new_size);
            // Descend to the subtree that ends where the old tree ended.
            while end != old_size && end - start > 1 {
                let middle = start + split_point(end - start);
                if old_size <= middle {
                    hashes.push(range_root(source, middle, end)?);
                    end = middle;
                } else {
                    hashes.push(range_root(source, start, middle)?);
                    start = middle;
                }
            }
            // If nothing lies left of it, it is the old tree itself, whose root the reader has.
            if start > 0 {
                hashes.push(range_root(source, start, end)?);
            }
            hashes.reverse();
        }
        Ok(Self { old_size, new_size, hashes })
    }

    /// Checks that the tree with `old_root` is a prefix of the one with `new_root` (RFC 9162 section 2.1.4.2). From an
    /// empty old tree everything follows, with no hashes.
    ///
    /// # Errors
    /// [`ProofError`].
    pub fn verify(&self, old_root: &Hash, new_root: &Hash) -> Result<(), ProofError> {
        if self.old_size > self.new_size {
            return Err(ProofError::Sizes);
        }
        let empty = |size, root: &Hash| size != 0 || *root == empty_root();
        if !empty(self.old_size, old_root) || !empty(self.new_size, new_root) {
            return Err(ProofError::Root);
        }
        if self.old_size == 0 || self.old_size == self.new_size {
            return match (self.hashes.is_empty(), self.old_size == 0 || old_root == new_root) {
                (false, _) => Err(ProofError::Length),
                (true, false) => Err(ProofError::Root),
                (true, true) => Ok(()),
            };
        }
        let (first, rest) = if self.old_size.is_power_of_two() {
            (old_root, self.hashes.as_slice())
        } else {
            self.hashes.split_first().ok_or(ProofError::Length)?
        };
        let shift = (self.old_size - 1).trailing_ones();
        let (mut node, mut last) = ((self.old_size - 1) >> shift, (self.new_size - 1) >> shift);
        let (mut old, mut new) = (*first, *first);
        for hash in rest {
            if last == 0 {
                return Err(ProofError::Length);
            }
            if node & 1 == 1 || node == last {
                old = node_hash(hash, &old);
                new = node_hash(hash, &new);
                skip_left_edges(&mut node, &mut last);
            } else {
                new = node_hash(&new, hash);
            }
            node >>= 1;
            last >>= 1;
        }
        match (last == 0, old == *old_root && new == *new_root) {
            (false, _) => Err(ProofError::Length),
            (true, false) => Err(ProofError::Root),
            (true, true) => Ok(()),
        }
    }
}

/// Goes up while the node has no right sibling of its own: on the right edge levels are missing.
const fn skip_left_edges(node: &mut u64, last: &mut u64) {
    while *node & 1 == 0 && *node != 0 {
        *node >>= 1;
        *last >>= 1;
    }
}

/// The largest power of two below `width`, for `width` of at least 2.
const fn split_point(width: u64) -> u64 {
    1 << (width - 1).ilog2()
}

/// MTH over `start..end`, where `start` is aligned to the largest complete subtree of the range.
fn range_root<S: Subtrees>(source: &S, start: u64, end: u64) -> Result<Hash, S::Error> {
    let mut complete = Vec::new();
    let mut at = start;
    while at < end {
        let level = (end - at).ilog2();
        complete.push(source.subtree(level, at >> level)?);
        at += 1 << level;
    }
    let mut from_right = complete.into_iter().rev();
    let last = from_right.next().unwrap_or_else(empty_root);
    Ok(from_right.fold(last, |right, left| node_hash(&left, &right)))
}
