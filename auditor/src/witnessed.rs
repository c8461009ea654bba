//! The witnessed head: the newest one that a quorum of witnesses cosigned, beside the checkpoint, which may be newer.

use konclave_ledger::Checkpoint;
use konclave_ledger::enrolment::EnrolledKeys;
use konclave_ledger::note::SignedNote;

use crate::checkpoint::cosigners;
use crate::folder::{AuditError, Folder};
use crate::log_keys::LogIdentity;
use crate::report::{Defect, Report, Witnessed};
use crate::subtrees::TileFiles;

/// The file's name in a folder of the ledger.
pub(crate) const FILE: &str = "witnessed";

/// Checks the witnessed head, if there is one, against entries and tiles that fit each other.
pub(crate) fn check(
    folder: &Folder,
    origin: &str,
    keys: &EnrolledKeys,
    identity: &LogIdentity,
    tiles: &TileFiles<'_>,
    report: &mut Report,
) -> Result<(), AuditError> {
    let Some(bytes) = folder.read(FILE)? else { return Ok(()) };
    let parsed = SignedNote::parse(&bytes).ok();
    let parsed = parsed.and_then(|note| Some((Checkpoint::parse_text(&note.text).ok()?, note)));
    let Some((head, note)) = parsed else {
        report.add(Defect::Checkpoint, FILE, 0..report.size, "the witnessed head is not a checkpoint");
        return Ok(());
    };
    let covered = 0..head.size;
    if head.origin.as_str() != origin {
        let detail = format!("the witnessed head is of the log {}", head.origin);
        report.add(Defect::Checkpoint, FILE, covered, detail);
        return Ok(());
    }
    if head.size > report.size {
        // A copy of a running ledger takes this file last.
        report.add_note(format!("{FILE} is for {} entries, more than this copy has: not checked", head.size));
        return Ok(());
    }
    if tiles.root_at(head.size)? != head.root {
        let detail = "witnesses cosigned another history: its head has another root than these entries";
        report.add(Defect::Root, FILE, covered, detail);
        return Ok(());
    }
    if let Some(by) = identity.key_at(head.size, &note)?
        && let Err(error) = Checkpoint::verify(&bytes, &by.key)
    {
        report.add(Defect::Checkpoint, FILE, covered, error.to_string());
    }
    let cosignatures = cosigners(FILE, &head, &note, keys, identity, report);
    report.witnessed = Some(Witnessed { size: head.size, cosignatures });
    Ok(())
}
