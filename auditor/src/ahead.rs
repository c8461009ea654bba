//! Reading ahead: threads that read bundles, hash and parse their entries, while the walk takes them in order.
//!
//! Memory is bounded: each thread is at most two bundles ahead of the walk.

use std::num::NonZeroUsize;
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::thread::{self, Scope};

use konclave_ledger::bundle::{self, BundleError};
use konclave_ledger::records::{Record, RecordError};
use konclave_ledger::tiles::{TileKind, TilePath};
use konclave_ledger::tree::leaf_hash;
use konclave_ledger::{Hash, Leaf, LeafError};

use crate::folder::{AuditError, Folder};

/// More threads would wait for the walk.
const MAX_THREADS: usize = 8;
/// Bundles that a thread may be ahead.
const AHEAD: usize = 2;

/// An entry with everything that can be found out about it alone.
pub(crate) struct Prepared {
    /// Its hash in the tree.
    pub(crate) leaf_hash: Hash,
    /// The hash that the next entry carries.
    pub(crate) entry_hash: Hash,
    /// What it says, and its record.
    pub(crate) parsed: Result<Parsed, LeafError>,
}

/// An entry's fields and its record. Not boxed: one allocation more for each, freed by another thread, costs more than
/// moving it.
pub(crate) struct Parsed {
    pub(crate) leaf: Leaf,
    pub(crate) record: Result<Record, RecordError>,
}

/// A bundle, as far as it can be read.
pub(crate) struct PreparedBundle {
    pub(crate) path: TilePath,
    pub(crate) entries: Vec<Result<Prepared, BundleError>>,
    /// The file is missing.
    pub(crate) missing: bool,
}

/// The bundles of a ledger in order.
pub(crate) struct Bundles {
    threads: Vec<Receiver<Result<PreparedBundle, AuditError>>>,
    next: usize,
}

impl Bundles {
    /// Starts reading the bundles of a ledger of `size` entries. The threads end when this is dropped.
    pub(crate) fn start<'scope, 'env>(
        scope: &'scope Scope<'scope, 'env>,
        folder: &'scope Folder,
        size: u64,
    ) -> Self {
        let count = thread::available_parallelism().map_or(1, NonZeroUsize::get).min(MAX_THREADS);
        let start = |first: usize| {
            let (sender, receiver) = sync_channel(AHEAD);
            scope.spawn(move || prepare_every(count, first, folder, size, &sender));
            receiver
        };
        Self { threads: (0..count).map(start).collect(), next: 0 }
    }
}

impl Iterator for Bundles {
    type Item = Result<PreparedBundle, AuditError>;

    fn next(&mut self) -> Option<Self::Item> {
        // A thread hangs up behind its last bundle, and the first one to do so had the turn.
        let bundle = self.threads.get(self.next)?.recv().ok();
        self.next = (self.next + 1) % self.threads.len();
        bundle
    }
}

/// Prepares each `count`-th bundle, from `first` on, until there are no more or nobody takes them.
fn prepare_every(
    count: usize,
    first: usize,
    folder: &Folder,
    size: u64,
    sender: &SyncSender<Result<PreparedBundle, AuditError>>,
) {
    let numbers = (first as u64..).step_by(count);
    for path in numbers.map_while(|number| TilePath::in_log(TileKind::Entries, number, size)) {
        if sender.send(prepare(folder, path)).is_err() {
            return;
        }
    }
}

fn prepare(folder: &Folder, path: TilePath) -> Result<PreparedBundle, AuditError> {
    let Some(bytes) = folder.read(&path.to_string())? else {
        return Ok(PreparedBundle { path, entries: Vec::new(), missing: true });
    };
    // One more than may be there tells that there are too many.
    let entries = bundle::entries(&bytes).take(usize::from(path.width()) + 1);
    let entries = entries.map(|entry| entry.map(prepare_entry)).collect();
    Ok(PreparedBundle { path, entries, missing: false })
}

fn prepare_entry(stored: &[u8]) -> Prepared {
    let parsed = Leaf::parse(stored).map(|leaf| {
        let record = Record::parse(&leaf.action, &leaf.record);
        Parsed { leaf, record }
    });
    Prepared { leaf_hash: leaf_hash(stored), entry_hash: Hash::of(stored), parsed }
}
