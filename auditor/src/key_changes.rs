//! The log's keys over a walk: each change authorised by the consortium root, for the history that this ledger has.

use konclave_crypto::ConsortiumRoot;
use konclave_ledger::records::Record;
use konclave_ledger::rotation::KeyChange;
use konclave_ledger::{Envelope, Leaf, VerifierKey};

use crate::folder::{AuditError, Folder};
use crate::log_keys::{KEY_ROTATED, LogIdentity, names_root};
use crate::report::{Defect, Report};
use crate::subtrees::TileFiles;

/// Follows the log's keys entry by entry.
pub(crate) struct KeyChanges<'a> {
    pub(crate) identity: LogIdentity,
    root: Option<ConsortiumRoot>,
    tiles: TileFiles<'a>,
}

impl<'a> KeyChanges<'a> {
    pub(crate) fn new(
        folder: &'a Folder,
        size: u64,
        given: Option<VerifierKey>,
        root: Option<ConsortiumRoot>,
    ) -> Self {
        let identity = LogIdentity { given, ..LogIdentity::default() };
        Self { identity, root, tiles: TileFiles::new(folder, size) }
    }

    /// Takes the next entry; most are about something else.
    pub(crate) fn entry(&mut self, leaf: &Leaf, file: &str, report: &mut Report) -> Result<(), AuditError> {
        if leaf.seq == 0 {
            self.identity.root_is_known = self.root.is_some_and(|root| names_root(leaf, root));
        } else if leaf.action != KEY_ROTATED {
            return Ok(());
        }
        match self.identity.note(leaf) {
            Err(error) => report.add(Defect::KeyChange, file, leaf.seq..leaf.seq + 1, error.to_string()),
            Ok(true) if leaf.seq > 0 => {
                report.key_changes += 1;
                self.trusted_head(leaf, file, report)?;
            }
            Ok(_) => {}
        }
        Ok(())
    }

    /// The root signed up to which head the old key may be believed: that head must be one of this history.
    fn trusted_head(&self, leaf: &Leaf, file: &str, report: &mut Report) -> Result<(), AuditError> {
        let Some(change) = change_in(leaf) else { return Ok(()) };
        let fits = match self.tiles.root_at(change.trusted_size) {
            _ if change.trusted_size > leaf.seq => false,
            Ok(root) => root == change.trusted_root,
            Err(AuditError::BrokenTile { .. } | AuditError::NoEntry { .. }) => false,
            Err(error) => return Err(error),
        };
        if !fits {
            let size = change.trusted_size;
            let detail = format!(
                "the consortium root authorised the change of key for another history: the head of {size} entries that \
                 it trusts is not one of this ledger"
            );
            report.add(Defect::KeyChange, file, leaf.seq..leaf.seq + 1, detail);
        }
        Ok(())
    }
}

/// The change in an entry whose envelope was verified.
fn change_in(leaf: &Leaf) -> Option<KeyChange> {
    let Ok(Record::LedgerKeyRotated { authorisation, .. }) = Record::parse(&leaf.action, &leaf.record) else {
        return None;
    };
    let envelope: Envelope = serde_json::from_value(authorisation).ok()?;
    serde_json::from_slice(&envelope.unverified_payload().ok()?).ok()
}
