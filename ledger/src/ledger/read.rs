//! Reading entries, proofs and published files.

use std::cell::RefCell;
use std::collections::{BTreeMap, VecDeque};
use std::ops::Range;

use super::errors::{Damage, ReadError, StorageFailure};
use super::sealed::first_unlike;
use super::witnessed::WITNESSED;
use super::{CHECKPOINT, Ledger};
use crate::bundle;
use crate::hash::Hash;
use crate::leaf::Leaf;
use crate::proof::{ConsistencyProof, InclusionProof, Subtrees};
use crate::tiles::{TILE_WIDTH, TileKind, TilePath, decode_hashes, encode_hashes};
use crate::tlog_proof::TlogProof;
use crate::tree::root_of;

const CHANGED: &str = "it is not what was verified when the ledger was opened";

impl Ledger {
    /// Entry `index`, or `None` beyond the head.
    ///
    /// # Errors
    /// [`ReadError`] if a file can't be read or is damaged.
    pub fn leaf(&self, index: u64) -> Result<Option<Leaf>, ReadError> {
        self.leaves(index..index.saturating_add(1)).next().transpose()
    }

    /// The stored bytes of entry `index`, which are what is hashed; `None` beyond the head.
    ///
    /// # Errors
    /// [`ReadError`] if a file can't be read or is damaged.
    pub fn leaf_bytes(&self, index: u64) -> Result<Option<Vec<u8>>, ReadError> {
        self.leaves(index..index.saturating_add(1)).next_stored().transpose()
    }

    /// Entries in order, as far as the ledger goes; reads one bundle at a time.
    #[must_use]
    pub fn leaves(&self, range: Range<u64>) -> Leaves<'_> {
        let end = range.end.min(self.tail.size());
        Leaves { ledger: self, range: range.start..end, read: VecDeque::new(), failed: false }
    }

    /// Proof that entry `index` is in the tree of the first `size` entries.
    ///
    /// # Errors
    /// [`ReadError::OutOfRange`] unless `index < size` and the ledger has `size` entries.
    pub fn inclusion_proof(&self, index: u64, size: u64) -> Result<InclusionProof, ReadError> {
        self.has_size(size)?;
        if index >= size {
            return Err(ReadError::OutOfRange { asked: index, size });
        }
        InclusionProof::build(&TileHashes::new(self), index, size)
    }

    /// Proof that the tree of the first `old` entries is a prefix of the one of the first `new`.
    ///
    /// # Errors
    /// [`ReadError::OutOfRange`] unless `old <= new` and the ledger has `new` entries.
    pub fn consistency_proof(&self, old: u64, new: u64) -> Result<ConsistencyProof, ReadError> {
        self.has_size(new)?;
        if old > new {
            return Err(ReadError::OutOfRange { asked: old, size: new });
        }
        ConsistencyProof::build(&TileHashes::new(self), old, new)
    }

    /// A receipt for entry `index` with the cosignatures there are (C2SP tlog-proof): against the witnessed head where
    /// it covers the entry, else against the newest.
    ///
    /// # Errors
    /// [`ReadError`].
    pub fn receipt(&self, index: u64) -> Result<TlogProof, ReadError> {
        let witnessed = self.heads_witnessed().filter(|(size, _)| index < *size);
        let (size, note) = witnessed.unwrap_or((self.tail.size(), &self.note));
        let hashes = self.inclusion_proof(index, size)?.hashes;
        Ok(TlogProof { index, hashes, checkpoint: note.clone() })
    }

    /// A published file: `checkpoint` or a tile's path. Partial tiles of every earlier size stay available, since they
    /// are beginnings of wider ones; `None` for everything else.
    ///
    /// # Errors
    /// [`ReadError`] if a file can't be read or is damaged.
    pub fn static_file(&self, path: &str) -> Result<Option<Vec<u8>>, ReadError> {
        self.readable()?;
        if path == WITNESSED {
            return Ok(self.witnessed_note().map(|note| note.to_string().into_bytes()));
        }
        if path == CHECKPOINT {
            return Ok(Some(self.checkpoint_note().into_bytes()));
        }
        let Ok(asked) = path.parse::<TilePath>() else { return Ok(None) };
        let Some(stored) = TilePath::in_log(asked.kind(), asked.index(), self.tail.size()) else {
            return Ok(None);
        };
        if asked.width() > stored.width() {
            return Ok(None);
        }
        let width = usize::from(asked.width());
        match asked.kind() {
            TileKind::Entries => {
                let whole = self.bundle(&stored)?;
                let cut = bundle::entries(&whole).take(width).flatten().map(|entry| 2 + entry.len()).sum();
                Ok(whole.get(..cut).map(<[u8]>::to_vec))
            }
            TileKind::Hashes { .. } => Ok(self.hash_tile(&stored)?.get(..width).map(encode_hashes)),
        }
    }

    pub(super) const fn readable(&self) -> Result<(), ReadError> {
        if self.poisoned { Err(ReadError::Poisoned) } else { Ok(()) }
    }

    pub(super) const fn tile_hashes(&self) -> TileHashes<'_> {
        TileHashes::new(self)
    }

    pub(super) const fn has_size(&self, size: u64) -> Result<(), ReadError> {
        if self.poisoned {
            return Err(ReadError::Poisoned);
        }
        let limit = self.tail.size();
        if size > limit { Err(ReadError::OutOfRange { asked: size, size: limit }) } else { Ok(()) }
    }

    /// The bytes of an entry bundle as it stands at the head.
    fn bundle(&self, path: &TilePath) -> Result<Vec<u8>, ReadError> {
        if !path.is_full() {
            return Ok(self.tail.bundle().to_vec());
        }
        let bytes = self.tile_file(path)?;
        if self.sealed.is_bundle(path, &bytes) {
            return Ok(bytes);
        }
        // It was verified when the ledger was opened or the entries appended, so it has changed since.
        let hashes = self.hash_tile(&TilePath::full(TileKind::Hashes { level: 0 }, path.index()));
        let position = hashes.map(|hashes| {
            let whole = bundle::entries(&bytes).filter(Result::is_ok).count();
            first_unlike(&bytes, &hashes).unwrap_or(whole)
        });
        let first_index = path.covers().start + position.unwrap_or_default() as u64;
        Err(Damage { file: path.to_string(), first_index, what: CHANGED.to_owned() }.into())
    }

    /// The hashes of a tile as it stands at the head.
    fn hash_tile(&self, path: &TilePath) -> Result<Vec<Hash>, ReadError> {
        let TileKind::Hashes { level } = path.kind() else {
            return Err(damage(path, "it is not a tile of hashes"));
        };
        if !path.is_full() {
            return Ok(self.tail.frontier().partial_hashes(level).to_vec());
        }
        let hashes = decode_hashes(&self.tile_file(path)?);
        let verified = hashes.filter(|hashes| self.sealed.is_hash_tile(level, path.index(), hashes));
        verified.ok_or_else(|| damage(path, CHANGED))
    }

    fn tile_file(&self, path: &TilePath) -> Result<Vec<u8>, ReadError> {
        let name = path.to_string();
        let bytes = self.storage.read(&name).map_err(StorageFailure::of("read", &name))?;
        bytes.ok_or_else(|| damage(path, "it is missing"))
    }
}

fn damage(path: &TilePath, what: &str) -> ReadError {
    Damage { file: path.to_string(), first_index: path.covers().start, what: what.to_owned() }.into()
}

/// Entries in order; see [`Ledger::leaves`]. Ends after the first error.
#[derive(Debug)]
pub struct Leaves<'a> {
    ledger: &'a Ledger,
    range: Range<u64>,
    read: VecDeque<Vec<u8>>,
    failed: bool,
}

impl Leaves<'_> {
    /// The next entry's stored bytes.
    pub fn next_stored(&mut self) -> Option<Result<Vec<u8>, ReadError>> {
        if self.failed || self.range.is_empty() {
            return None;
        }
        let next = self.advance();
        self.failed = next.is_err();
        Some(next)
    }

    fn advance(&mut self) -> Result<Vec<u8>, ReadError> {
        self.ledger.readable()?;
        let index = self.range.start;
        if self.read.is_empty() {
            self.read = self.bundle_from(index)?;
        }
        self.range.start += 1;
        let cut_short =
            || Damage { file: "tile/entries".into(), first_index: index, what: "it ends too early".into() };
        Ok(self.read.pop_front().ok_or_else(cut_short)?)
    }

    fn bundle_from(&self, index: u64) -> Result<VecDeque<Vec<u8>>, ReadError> {
        let size = self.ledger.tail.size();
        let Some(path) = TilePath::in_log(TileKind::Entries, index / TILE_WIDTH, size) else {
            return Err(ReadError::OutOfRange { asked: index, size });
        };
        let bytes = self.ledger.bundle(&path)?;
        let wanted = (path.covers().start..self.range.end).zip(bundle::entries(&bytes));
        let stored = wanted.filter(|(at, _)| *at >= index).map(|(at, entry)| {
            let cut = |error: bundle::BundleError| Damage {
                file: path.to_string(),
                first_index: at,
                what: error.to_string(),
            };
            Ok(entry.map_err(cut)?.to_vec())
        });
        stored.collect()
    }
}

impl Iterator for Leaves<'_> {
    type Item = Result<Leaf, ReadError>;

    fn next(&mut self) -> Option<Self::Item> {
        let index = self.range.start;
        let stored = match self.next_stored()? {
            Ok(stored) => stored,
            Err(error) => return Some(Err(error)),
        };
        Some(Leaf::parse(&stored).map_err(|source| ReadError::Leaf { index, source }))
    }
}

/// Subtree hashes out of tiles; each tile is read once per proof.
pub(super) struct TileHashes<'a> {
    ledger: &'a Ledger,
    read: RefCell<BTreeMap<TilePath, Vec<Hash>>>,
}

impl<'a> TileHashes<'a> {
    const fn new(ledger: &'a Ledger) -> Self {
        Self { ledger, read: RefCell::new(BTreeMap::new()) }
    }
}

impl Subtrees for TileHashes<'_> {
    type Error = ReadError;

    fn subtree(&self, level: u32, index: u64) -> Result<Hash, ReadError> {
        self.ledger.readable()?;
        let size = self.ledger.tail.size();
        let beyond = || ReadError::OutOfRange { asked: index, size };
        // Tile levels are 8 tree levels apart; the levels between are hashed from a run of 2^(level mod 8) items.
        let kind = TileKind::Hashes { level: u8::try_from(level / 8).map_err(|_| beyond())? };
        let first = index << (level % 8);
        let path = TilePath::in_log(kind, first / TILE_WIDTH, size).ok_or_else(beyond)?;
        let mut read = self.read.borrow_mut();
        let hashes = match read.entry(path) {
            std::collections::btree_map::Entry::Occupied(known) => known.into_mut(),
            std::collections::btree_map::Entry::Vacant(new) => new.insert(self.ledger.hash_tile(&path)?),
        };
        let start = usize::try_from(first % TILE_WIDTH).map_err(|_| beyond())?;
        let run = hashes.get(start..start + (1 << (level % 8))).ok_or_else(beyond)?;
        Ok(root_of(run))
    }
}
