//! The query index: a sled database that can be deleted at any time and is rebuilt on any doubt.
//!
//! sled is never asked to be durable, only to be internally consistent: every batch of keys is applied in one atomic
//! step together with the size and root it belongs to. If those differ from the head, if the keys are not those that the
//! entries give, or if anything fails or panics inside sled, the index is thrown away; the entries are the truth.

use std::fs;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::sleep;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::Ledger;
use super::filter::Filter;
use super::key_sum::KeySum;
use crate::checkpoint::Checkpoint;
use crate::leaf::Leaf;

/// Version of the keys; raised with every change of what is indexed, so that an older index is rebuilt.
const VERSION: u8 = 2;
/// Version, size and root that the keys stand for.
const HEAD_KEY: &[u8] = b"h";
/// Entries indexed in one atomic step. sled keeps what a step touches: a rebuild over 20,000 entries took 460 MiB with steps
/// of 1024 and 55 MiB with these.
const STEP: usize = 16;
const CACHE_BYTES: u64 = 32 * 1024 * 1024;

/// Whether queries are answered from the index.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
pub enum IndexState {
    /// Not asked for.
    Off,
    /// In use.
    Ready,
    /// It failed; queries read the entries. The next open rebuilds it.
    Lost,
}

/// The index, if there is one.
#[derive(Debug)]
pub(super) enum IndexSlot {
    Off,
    On(QueryIndex),
}

/// Sled's keys: a tag, the field's value, a NUL (which no indexed value contains), the entry's number big-endian.
#[derive(Debug)]
pub(super) struct QueryIndex {
    database: Option<sled::Db>,
    lost: AtomicBool,
}

#[derive(Debug, thiserror::Error)]
enum IndexError {
    #[error(transparent)]
    Sled(#[from] sled::Error),
    #[error("a key or value has the wrong length")]
    Malformed,
    #[error("sled panicked")]
    Panicked,
    #[error("the entries can't be read")]
    Entries,
}

impl IndexSlot {
    pub(super) const fn off() -> Self {
        Self::Off
    }

    /// Opens the index of `ledger`, whose entries give `keys`; rebuilds it if it is missing, damaged or for another head.
    pub(super) fn open(folder: &Path, ledger: &Ledger, keys: KeySum) -> Self {
        let head = ledger.head();
        let opened = guarded(|| {
            let database = open_database(folder)?;
            let current = database.get(HEAD_KEY)? == Some(head_value(&head).as_slice().into());
            Ok((current && keys_in(&database)? == keys).then_some(database))
        });
        let database = match opened {
            Ok(Some(database)) => Some(database),
            Ok(None) | Err(_) => guarded(|| rebuild(folder, ledger)).ok(),
        };
        Self::On(QueryIndex { lost: AtomicBool::new(database.is_none()), database })
    }

    pub(super) fn state(&self) -> IndexState {
        match self {
            Self::Off => IndexState::Off,
            Self::On(index) if index.lost.load(Ordering::Acquire) => IndexState::Lost,
            Self::On(_) => IndexState::Ready,
        }
    }

    /// Adds the entries of a batch that has just become part of the ledger.
    pub(super) fn add(&self, leaves: &[Leaf], head: &Checkpoint) {
        let Self::On(index) = self else { return };
        let _ = index.attempt(|database| {
            let last = leaves.len().saturating_sub(1) / STEP;
            // A head that is no ledger's stands in the index until the last step: one cut short is seen as such.
            let unfinished = unfinished(head);
            leaves.chunks(STEP).enumerate().try_for_each(|(step, leaves)| {
                apply(database, leaves, if step == last { head } else { &unfinished })
            })
        });
    }

    /// Matching entries from `from` on, or `None` if the index can't say.
    pub(super) fn find(&self, filter: &Filter, from: u64, limit: usize) -> Option<Vec<u64>> {
        let Self::On(index) = self else { return None };
        if filter.job.as_ref().is_some_and(|job| job.contains('\0')) {
            return None;
        }
        index.attempt(|database| search(database, filter, from, limit))
    }
}

impl QueryIndex {
    /// Runs an operation; after the first failure or panic the index is not used again.
    fn attempt<T>(&self, operation: impl FnOnce(&sled::Db) -> Result<T, IndexError>) -> Option<T> {
        let database = self.database.as_ref().filter(|_| !self.lost.load(Ordering::Acquire))?;
        let done = guarded(|| operation(database));
        if done.is_err() {
            self.lost.store(true, Ordering::Release);
        }
        done.ok()
    }
}

/// sled is known to panic on some kinds of damage; a cache must not take the process down.
fn guarded<T>(operation: impl FnOnce() -> Result<T, IndexError>) -> Result<T, IndexError> {
    catch_unwind(AssertUnwindSafe(operation)).unwrap_or(Err(IndexError::Panicked))
}

/// A process killed a moment ago can still hold sled's lock, so opening is tried for one second.
fn open_database(folder: &Path) -> Result<sled::Db, IndexError> {
    let config = sled::Config::new().path(folder).flush_every_ms(None).cache_capacity(CACHE_BYTES);
    for _ in 0..20 {
        match config.open() {
            Ok(database) => return Ok(database),
            Err(sled::Error::Io(_)) => sleep(Duration::from_millis(50)),
            Err(other) => return Err(other.into()),
        }
    }
    Ok(config.open()?)
}

fn rebuild(folder: &Path, ledger: &Ledger) -> Result<sled::Db, IndexError> {
    let removed = match fs::symlink_metadata(folder) {
        Ok(found) if found.is_dir() => fs::remove_dir_all(folder),
        Ok(_) => fs::remove_file(folder),
        Err(_) => Ok(()),
    };
    removed.map_err(sled::Error::from)?;
    let database = open_database(folder)?;
    let unfinished = unfinished(&ledger.head());
    let mut step = Vec::with_capacity(STEP);
    for leaf in ledger.leaves(0..u64::MAX) {
        step.push(leaf.map_err(|_| IndexError::Entries)?);
        if step.len() == STEP {
            apply(&database, &step, &unfinished)?;
            step.clear();
        }
    }
    apply(&database, &step, &ledger.head())?;
    Ok(database)
}

fn unfinished(head: &Checkpoint) -> Checkpoint {
    Checkpoint { size: u64::MAX, ..head.clone() }
}

fn head_value(head: &Checkpoint) -> Vec<u8> {
    let mut value = vec![VERSION];
    value.extend(head.size.to_be_bytes());
    value.extend(head.root.0);
    value
}

fn key(tag: u8, value: &str, seq: u64) -> Vec<u8> {
    let mut key = vec![tag];
    key.extend(value.as_bytes());
    key.push(0);
    key.extend(seq.to_be_bytes());
    key
}

/// The keys of an entry, with their values; `None` if its time can't be read.
pub(super) fn indexed_keys(leaf: &Leaf) -> Option<Vec<(Vec<u8>, Vec<u8>)>> {
    let millis = leaf.timestamp().ok()?.unix_millis();
    let mut keys = vec![(key(b't', "", leaf.seq), millis.to_be_bytes().to_vec())];
    let mut add = |tag, value: &str| keys.push((key(tag, value, leaf.seq), Vec::new()));
    for (tag, value) in [(b'a', &leaf.actor), (b'c', &leaf.action), (b'o', &leaf.object)] {
        add(tag, value);
    }
    if let Some(site) = &leaf.site {
        add(b's', site);
    }
    // A record's text may hold what a leaf's own fields may not.
    if let Some(job) = leaf.job().filter(|job| !job.contains('\0')) {
        add(b'j', &job);
    }
    if let Some(round) = leaf.round() {
        add(b'r', &round.to_string());
    }
    Some(keys)
}

fn keys_in(database: &sled::Db) -> Result<KeySum, IndexError> {
    let mut found = KeySum::default();
    for item in database.iter() {
        let (key, value) = item?;
        if key.as_ref() != HEAD_KEY {
            found.add(&key, &value);
        }
    }
    Ok(found)
}

fn apply(database: &sled::Db, leaves: &[Leaf], head: &Checkpoint) -> Result<(), IndexError> {
    let mut batch = sled::Batch::default();
    for leaf in leaves {
        for (key, value) in indexed_keys(leaf).ok_or(IndexError::Entries)? {
            batch.insert(key, value);
        }
    }
    batch.insert(HEAD_KEY, head_value(head));
    Ok(database.apply_batch(batch)?)
}

/// Walks the keys of the condition that is likely the rarest and looks the others up.
fn search(database: &sled::Db, filter: &Filter, from: u64, limit: usize) -> Result<Vec<u64>, IndexError> {
    let round = filter.round.map(|round| round.to_string());
    let by_rarity = [
        (b'o', &filter.object),
        (b'r', &round),
        (b'j', &filter.job),
        (b's', &filter.site),
        (b'a', &filter.actor),
        (b'c', &filter.action),
    ];
    let mut wanted = by_rarity.into_iter().filter_map(|(tag, value)| Some((tag, value.as_deref()?)));
    let (tag, value) = wanted.next().unwrap_or((b't', ""));
    let others: Vec<_> = wanted.collect();
    let mut found = Vec::new();
    for item in database.range(key(tag, value, from)..=key(tag, value, u64::MAX)) {
        if found.len() >= limit {
            break;
        }
        let (name, _) = item?;
        let seq = u64::from_be_bytes(*name.last_chunk::<8>().ok_or(IndexError::Malformed)?);
        if matches(database, filter, &others, seq)? {
            found.push(seq);
        }
    }
    Ok(found)
}

fn matches(
    database: &sled::Db,
    filter: &Filter,
    others: &[(u8, &str)],
    seq: u64,
) -> Result<bool, IndexError> {
    for (tag, value) in others {
        if !database.contains_key(key(*tag, value, seq))? {
            return Ok(false);
        }
    }
    let millis = database.get(key(b't', "", seq))?.ok_or(IndexError::Malformed)?;
    Ok(filter.covers(u64::from_be_bytes(millis.as_ref().try_into().map_err(|_| IndexError::Malformed)?)))
}
