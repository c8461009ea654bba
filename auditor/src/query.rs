//! Finding entries by who, what, where and when, from files alone.

use std::ops::ControlFlow;

use konclave_ledger::{Filter, Hash, Leaf};

use crate::entries::{self, EntryFlaw, Flaws};
use crate::folder::{AuditError, Folder};
use crate::show::size_of;

/// An entry that fulfils every condition.
#[derive(Debug)]
pub struct Match<'a> {
    /// Its stored bytes: canonical JSON on one line.
    pub stored: &'a [u8],
    /// What they say.
    pub leaf: &'a Leaf,
    /// Its hash in the tree.
    pub leaf_hash: Hash,
}

/// What a query went through.
#[derive(Debug, Default)]
pub struct Looked {
    /// Entries that matched and were given out.
    pub matched: u64,
    /// Entries that were looked at.
    pub looked: u64,
    /// Number of entries in the ledger.
    pub size: u64,
    /// What was not as it should be. An entry with a flaw is not given out.
    pub flaws: Flaws,
}

/// Calls `visit` for each entry that `filter` matches, at most `limit`, in order. Each is compared with its tile; nothing
/// else of the ledger is verified.
///
/// # Errors
/// [`AuditError`] for unreadable files, and what `visit` returns.
pub fn query<E: From<AuditError>>(
    folder: &Folder,
    filter: &Filter,
    limit: u64,
    mut visit: impl FnMut(&Match<'_>) -> Result<(), E>,
    progress: &mut dyn FnMut(u64, u64),
) -> Result<Looked, E> {
    let size = size_of(folder)?;
    let mut flaws = Flaws::default();
    let (mut matched, mut looked) = (0, 0);
    if limit > 0 {
        entries::each(folder, 0..size, size, &mut flaws, |entry, flaws| {
            looked += 1;
            if looked % 4096 == 0 {
                progress(looked, size);
            }
            let leaf = match Leaf::parse(entry.stored) {
                Ok(leaf) => leaf,
                Err(source) => {
                    flaws.add(EntryFlaw::Unreadable { index: entry.index, source });
                    return Ok(ControlFlow::Continue(()));
                }
            };
            if !filter.matches(&leaf) {
                return Ok(ControlFlow::Continue(()));
            }
            let Some(leaf_hash) = entry.hash().filter(|_| leaf.seq == entry.index) else {
                flaws.add(EntryFlaw::Misfit { index: entry.index });
                return Ok(ControlFlow::Continue(()));
            };
            visit(&Match { stored: entry.stored, leaf: &leaf, leaf_hash })?;
            matched += 1;
            Ok::<_, E>(if matched == limit { ControlFlow::Break(()) } else { ControlFlow::Continue(()) })
        })?;
    }
    Ok(Looked { matched, looked, size, flaws })
}
