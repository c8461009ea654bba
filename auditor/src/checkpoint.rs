//! The checkpoint: its text, the log's signature, and every other line under it.

use konclave_ledger::Checkpoint;
use konclave_ledger::enrolment::EnrolledKeys;
use konclave_ledger::note::SignedNote;

use crate::folder::AuditError;
use crate::log_keys::LogIdentity;
use crate::report::{Cosigned, Defect, Report};
use crate::verify::VerifyOptions;

pub(crate) const FILE: &str = "checkpoint";

/// Reads the checkpoint without checking signatures, so that the walk knows how far to go.
pub(crate) fn read(
    bytes: Option<&[u8]>,
    reach: u64,
    report: &mut Report,
) -> Option<(Checkpoint, SignedNote)> {
    let Some(bytes) = bytes else {
        report.add(Defect::Checkpoint, FILE, 0..reach, "the checkpoint is missing");
        return None;
    };
    let parsed = SignedNote::parse(bytes)
        .map_err(|error| error.to_string())
        .and_then(|note| Ok((Checkpoint::parse_text(&note.text).map_err(|error| error.to_string())?, note)));
    match parsed {
        Ok(parsed) => Some(parsed),
        Err(detail) => {
            report.add(Defect::Checkpoint, FILE, 0..reach, detail);
            None
        }
    }
}

/// Checks the log's signature with the given key, with the one that follows from it, or, failing that, with the one that
/// the log itself publishes.
pub(crate) fn check_signature(
    head: &Checkpoint,
    note: &SignedNote,
    options: &VerifyOptions,
    identity: &LogIdentity,
    report: &mut Report,
) -> Result<(), AuditError> {
    let whole = 0..report.size;
    if let Some(expected) = options.origin.as_ref().filter(|expected| **expected != head.origin) {
        let detail = format!("the checkpoint is for the log {}, not for {expected}", head.origin);
        report.add(Defect::Checkpoint, FILE, whole.clone(), detail);
    }
    if let (Some(given), Some(published)) = (&options.key, identity.keys.at_size(1))
        && !identity.keys.contains(given)
    {
        report.add_note(format!("the log's first entry publishes another key: {published}"));
    }
    let Some(by) = identity.key_at(head.size, note)? else { return Ok(()) };
    if let Err(error) = Checkpoint::verify(note.to_string().as_bytes(), &by.key) {
        report.add(Defect::Checkpoint, FILE, whole, error.to_string());
    }
    report.key = Some(by.key.to_string());
    report.key_source = by.source;
    Ok(())
}

/// The witnesses whose lines under a note are right. The ledger takes cosignatures only from enrolled witnesses, so any
/// other line was put there, or changed, later.
pub(crate) fn cosigners(
    file: &str,
    checkpoint: &Checkpoint,
    note: &SignedNote,
    keys: &EnrolledKeys,
    identity: &LogIdentity,
    report: &mut Report,
) -> Vec<Cosigned> {
    let mut found: Vec<Cosigned> = Vec::new();
    let mut wrong = |detail: String| report.add(Defect::Cosignature, file, 0..checkpoint.size, detail);
    for line in &note.signatures {
        if let Some(key) = identity.keys_for(line).next() {
            // Right after a change of key the head carries both signatures.
            if key.public().verify(note.text.as_bytes(), &line.signature).is_err() {
                wrong(format!("the signature by the log's key {key} is wrong"));
            }
            continue;
        }
        match keys.check_cosignature(line, checkpoint) {
            Some(Ok(cosignature)) => {
                let witness = cosignature.witness().to_string();
                if found.iter().any(|known| known.witness == witness) {
                    wrong(format!("{witness} has cosigned twice"));
                } else {
                    found.push(Cosigned { witness, unix_seconds: cosignature.unix_seconds() });
                }
            }
            Some(Err(error)) => wrong(error.to_string()),
            None => wrong(format!(
                "the signature line of {} (key id {}) is by no enrolled key",
                line.name, line.key_id
            )),
        }
    }
    found
}

/// Whether enough witnesses cosigned the checkpoint, or the witnessed head beside it.
pub(crate) fn check_quorum(quorum: usize, report: &mut Report) {
    let of_the_witnessed = report.witnessed.as_ref().map_or(0, |witnessed| witnessed.cosignatures.len());
    let found = report.cosignatures.len().max(of_the_witnessed);
    if found < quorum {
        let detail = format!("{found} valid cosignatures, {quorum} asked for");
        report.add(Defect::Quorum, FILE, 0..report.size, detail);
    }
}
