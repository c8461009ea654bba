//! An older copy, or an older checkpoint, against a newer copy: what was added, and whether anything else changed.

use std::collections::BTreeMap;
use std::fmt;
use std::fs::File;
use std::io::{Read, Take};
use std::ops::ControlFlow;
use std::path::Path;

use konclave_crypto::ConsortiumRoot;
use konclave_ledger::note::{MAX_NOTE_BYTES, SignedNote};
use konclave_ledger::{Checkpoint, Hash, Leaf, VerifierKey};
use serde::Serialize;

use crate::entries::{self, EntryFlaw, Flaws};
use crate::folder::{AuditError, Folder};
use crate::history::{Relation, relate};
use crate::log_keys::{LogIdentity, Theft};
use crate::show::head;
use crate::subtrees::TileFiles;

/// Different actions that are counted by name.
const MAX_ACTIONS: usize = 1000;

/// The older side of a comparison.
#[derive(Debug)]
pub struct Older {
    /// Its head.
    pub(crate) head: Checkpoint,
    pub(crate) note: SignedNote,
    /// Its files, if it is a copy and not only a checkpoint.
    folder: Option<Folder>,
}

impl Older {
    /// Opens a copy or a checkpoint file.
    ///
    /// # Errors
    /// [`AuditError`] if there is no readable checkpoint.
    pub fn open(path: &Path) -> Result<Self, AuditError> {
        let no_checkpoint = || AuditError::NoCheckpoint { path: path.display().to_string() };
        if path.is_dir() {
            let folder = Folder::open(path)?;
            let (head, note) = head(&folder)?.ok_or_else(no_checkpoint)?;
            return Ok(Self { head, note, folder: Some(folder) });
        }
        let failed = |source| AuditError::Read { path: path.display().to_string(), source };
        let mut bytes = Vec::new();
        let mut file: Take<File> = File::open(path).map_err(failed)?.take(MAX_NOTE_BYTES as u64 + 1);
        file.read_to_end(&mut bytes).map_err(failed)?;
        let note = SignedNote::parse(&bytes).map_err(|_| no_checkpoint())?;
        let head = Checkpoint::parse_text(&note.text).map_err(|_| no_checkpoint())?;
        Ok(Self { head, note, folder: None })
    }
}

/// How the two sides stand to each other.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Verdict {
    /// They are the same ledger at the same size.
    Same,
    /// The newer one is the older one with entries added.
    Extended,
    /// The newer one has fewer entries.
    Rollback,
    /// The log signed two histories.
    Fork,
    /// They are different histories, and one head is signed by nothing but a key that was declared stolen.
    StolenKey,
    /// A head is not signed by the log.
    NotSigned,
    /// The newer copy's files do not lead to its own checkpoint.
    Damaged,
}

/// A head as it was compared.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct ComparedHead {
    /// Number of entries.
    pub size: u64,
    /// Root over them.
    pub root: Hash,
    /// The key whose signature it carries; none if it is not the log's.
    pub signed_by: Option<String>,
    /// The signed note.
    pub note: String,
}

/// What was added.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Added {
    /// Number of entries.
    pub entries: u64,
    /// The time of the first.
    pub first_time: Option<String>,
    /// The time of the last.
    pub last_time: Option<String>,
    /// How many by action.
    pub actions: BTreeMap<String, u64>,
    /// How many with actions beyond the first thousand.
    pub other_actions: u64,
    /// Entries that are missing, unreadable or do not fit their tile.
    pub flaws: Vec<String>,
}

/// The comparison.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Difference {
    /// The log.
    pub origin: String,
    /// How they stand to each other.
    pub verdict: Verdict,
    /// The older head.
    pub older: ComparedHead,
    /// The newer head.
    pub newer: ComparedHead,
    /// The head that only a stolen key signed, if that is the verdict.
    pub theft: Option<Theft>,
    /// The first entry that differs, where both sides have files.
    pub first_difference: Option<u64>,
    /// What was added, if the newer extends the older.
    pub added: Option<Added>,
}

impl Difference {
    /// Whether the newer copy is the older one, perhaps with entries added.
    #[must_use]
    pub fn is_sound(&self) -> bool {
        matches!(self.verdict, Verdict::Same | Verdict::Extended)
            && self.added.as_ref().is_none_or(|added| added.flaws.is_empty())
    }
}

/// Compares an older copy or checkpoint with a newer copy. `key` and `root` are what the reader knows from elsewhere.
///
/// # Errors
/// [`AuditError`] if they can't be compared.
pub fn diff(
    older: &Older,
    newer: &Folder,
    key: Option<VerifierKey>,
    root: Option<ConsortiumRoot>,
) -> Result<Difference, AuditError> {
    let (new_head, new_note) =
        head(newer)?.ok_or_else(|| AuditError::NoCheckpoint { path: newer.shown() })?;
    if older.head.origin != new_head.origin {
        return Err(AuditError::OtherLog { one: older.head.origin.clone(), other: new_head.origin });
    }
    let identity = LogIdentity::read(newer, new_head.size, key, root)?;
    let compared = |head: &Checkpoint, note: &SignedNote| {
        let by = identity.check(head, note)?;
        Ok::<_, AuditError>(ComparedHead {
            size: head.size,
            root: head.root,
            signed_by: by.ok().map(|by| by.key.to_string()),
            note: note.to_string(),
        })
    };
    let (older_head, newer_head) = (compared(&older.head, &older.note)?, compared(&new_head, &new_note)?);
    let relation = relate(newer, &new_head, &older.head)?;
    let signed = older_head.signed_by.is_some() && newer_head.signed_by.is_some();
    let theft = identity.theft(&older.head, &older.note).or_else(|| identity.theft(&new_head, &new_note));
    let verdict = match (signed, relation) {
        (_, Relation::Damaged) => Verdict::Damaged,
        // On this history it does not matter who signed the older head.
        (true, Relation::Same) => Verdict::Same,
        (true, Relation::Extended) => Verdict::Extended,
        (_, _) if theft.is_some() => Verdict::StolenKey,
        (false, _) => Verdict::NotSigned,
        (true, Relation::Longer) => Verdict::Rollback,
        (true, Relation::Forked) => Verdict::Fork,
    };
    let added = match verdict {
        Verdict::Extended => Some(added(newer, older.head.size, new_head.size)?),
        Verdict::Same
        | Verdict::Rollback
        | Verdict::Fork
        | Verdict::StolenKey
        | Verdict::NotSigned
        | Verdict::Damaged => None,
    };
    let theft = theft.filter(|_| verdict == Verdict::StolenKey);
    let differ = !matches!(relation, Relation::Same | Relation::Extended);
    let first_difference = match older.folder.as_ref().filter(|_| differ) {
        Some(folder) => first_difference(folder, &older.head, newer, &new_head)?,
        None => None,
    };
    let origin = new_head.origin.to_string();
    Ok(Difference { origin, verdict, older: older_head, newer: newer_head, theft, first_difference, added })
}

/// The first entry that differs by the tiles, or, where those are broken, none.
fn first_difference(
    older: &Folder,
    older_head: &Checkpoint,
    newer: &Folder,
    newer_head: &Checkpoint,
) -> Result<Option<u64>, AuditError> {
    let (one, other) = (TileFiles::new(older, older_head.size), TileFiles::new(newer, newer_head.size));
    match one.first_difference(&other, older_head.size.min(newer_head.size)) {
        Ok(found) => Ok(found),
        Err(AuditError::BrokenTile { .. } | AuditError::NoEntry { .. }) => Ok(None),
        Err(error) => Err(error),
    }
}

fn added(folder: &Folder, from: u64, size: u64) -> Result<Added, AuditError> {
    let (mut added, mut flaws) = (Added::default(), Flaws::default());
    entries::each(folder, from..size, size, &mut flaws, |entry, flaws| {
        added.entries += 1;
        match Leaf::parse(entry.stored) {
            Ok(_) if entry.hash().is_none() => flaws.add(EntryFlaw::Misfit { index: entry.index }),
            Ok(leaf) => added.count(leaf),
            Err(source) => flaws.add(EntryFlaw::Unreadable { index: entry.index, source }),
        }
        Ok::<_, AuditError>(ControlFlow::Continue(()))
    })?;
    added.flaws = flaws.kept.iter().map(EntryFlaw::to_string).collect();
    Ok(added)
}

impl Added {
    fn count(&mut self, leaf: Leaf) {
        if self.first_time.is_none() {
            self.first_time = Some(leaf.time.clone());
        }
        self.last_time = Some(leaf.time);
        if let Some(count) = self.actions.get_mut(&leaf.action) {
            *count += 1;
        } else if self.actions.len() < MAX_ACTIONS {
            self.actions.insert(leaf.action, 1);
        } else {
            self.other_actions += 1;
        }
    }
}

impl fmt::Display for Difference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (origin, old, new) = (&self.origin, self.older.size, self.newer.size);
        match self.verdict {
            Verdict::Same => writeln!(f, "SAME  {origin}: {old} entries on both sides")?,
            Verdict::Extended => writeln!(
                f,
                "EXTENDED  {origin}: the {old} entries of the older side are unchanged, {} were added",
                new - old
            )?,
            Verdict::Rollback => writeln!(
                f,
                "ROLLBACK  {origin}: the newer side has {new} entries, {} fewer than the older side",
                old.saturating_sub(new)
            )?,
            Verdict::Fork => writeln!(f, "FORK  {origin}: the two sides are different histories")?,
            Verdict::StolenKey => writeln!(
                f,
                "STOLEN KEY  {origin}: the two sides are different histories, and the head of one is {}",
                self.theft.as_ref().map_or_else(String::new, ToString::to_string)
            )?,
            Verdict::NotSigned => writeln!(f, "NOT SIGNED  {origin}: a head is not signed by the log")?,
            Verdict::Damaged => writeln!(
                f,
                "DAMAGED  {origin}: the newer side's files do not lead to its own checkpoint, and prove nothing; run \
                 `konclave-audit verify`"
            )?,
        }
        for (name, head) in [("older", &self.older), ("newer", &self.newer)] {
            let signed = head
                .signed_by
                .as_deref()
                .map_or("NOT SIGNED BY THE LOG".to_owned(), |key| format!("signed by {key}"));
            writeln!(f, "  {name:<8} {} entries, root {}, {signed}", head.size, head.root)?;
        }
        if let Some(first) = self.first_difference {
            writeln!(f, "  differs  from entry {first} on")?;
        }
        if let Some(added) = &self.added {
            let time = |time: &Option<String>| time.clone().unwrap_or_default();
            writeln!(f, "  added    {} to {}", time(&added.first_time), time(&added.last_time))?;
            for (action, count) in &added.actions {
                writeln!(f, "           {count:>8}  {}", crate::text::shown(action))?;
            }
            if added.other_actions > 0 {
                writeln!(f, "           {:>8}  with other actions", added.other_actions)?;
            }
            added.flaws.iter().try_for_each(|flaw| writeln!(f, "  flaw     {flaw}"))?;
        }
        if self.verdict == Verdict::Fork || self.verdict == Verdict::Rollback {
            let what = if self.verdict == Verdict::Fork {
                "The log's key signed both heads, and no ledger has both. Together they prove what the operator did:"
            } else {
                "The log's key signed both heads. A ledger never shrinks: unless the newer side is simply an old copy,\n  \
                 entries were withdrawn. The two heads:"
            };
            writeln!(f, "  {what}\n\n{}\n{}", self.older.note, self.newer.note)?;
        }
        Ok(())
    }
}
