//! The walk over a ledger: every entry once, in order, in bounded memory.

use std::path::PathBuf;
use std::thread;

use konclave_crypto::{ConsortiumRoot, UnixSeconds};
use konclave_ledger::checkpoint::Checkpoint;
use konclave_ledger::enrolment::EnrolledKeys;
use konclave_ledger::frontier::Frontier;
use konclave_ledger::records::{Record, RecordError};
use konclave_ledger::tiles::TileKind;
use konclave_ledger::tree::root_of;
use konclave_ledger::{Leaf, Origin, Timestamp, VerifierKey};

use crate::ahead::{Bundles, Parsed, Prepared, PreparedBundle};
use crate::amendments::Amendments;
use crate::checkpoint;
use crate::clients::Clients;
use crate::folder::{AuditError, Folder};
use crate::key_changes::KeyChanges;
use crate::members::Members;
use crate::report::{Defect, KeySource, Report};
use crate::reviews;
use crate::rounds::RoundAudit;
use crate::statements::{Known, StatementCheck};
use crate::subtrees::TileFiles;
use crate::surplus;
use crate::tiles::TileCheck;
use crate::witnessed;

/// What the caller knows from elsewhere and wants checked.
#[derive(Debug, Clone, Default)]
pub struct VerifyOptions {
    /// The log's name.
    pub origin: Option<Origin>,
    /// The log's key.
    pub key: Option<VerifierKey>,
    /// The consortium root, under which all members are certified.
    pub root: Option<ConsortiumRoot>,
    /// How many witnesses must have cosigned.
    pub quorum: usize,
    /// A folder of blobs: documents, sums and models that entries name.
    pub blobs: Option<PathBuf>,
}

/// Walks entries and collects what later checks need.
struct Walk<'a> {
    folder: &'a Folder,
    size: u64,
    frontier: Frontier,
    tiles: TileCheck<'a>,
    statements: StatementCheck<'a>,
    keys: EnrolledKeys,
    members: Members,
    clients: Clients,
    log_keys: KeyChanges<'a>,
    amendments: Amendments,
    subtrees: TileFiles<'a>,
    rounds: RoundAudit,
    unknown_actions: u64,
    latest: u64,
    origin: Option<Origin>,
}

/// The walk can't go on: what follows a broken entry hangs on it.
struct Broken;

/// Verifies the ledger in `folder`. `progress` is called with the number of entries done and their total.
///
/// # Errors
/// [`AuditError`] if the audit could not be done; whatever is wrong with the ledger is in the report.
pub fn verify(
    folder: &Folder,
    options: &VerifyOptions,
    progress: &mut dyn FnMut(u64, u64),
) -> Result<Report, AuditError> {
    let mut report = Report::new();
    let reach = folder.entries_on_disk()?;
    let signed = checkpoint::read(folder.read("checkpoint")?.as_deref(), reach, &mut report);
    let head = signed.as_ref().map(|(head, _)| head);
    report.size = head.map_or(reach, |head| head.size);
    report.origin = head.map(|head| head.origin.to_string());
    report.root = head.map(|head| head.root);

    let mut walk = Walk {
        folder,
        size: report.size,
        frontier: Frontier::default(),
        tiles: TileCheck::new(folder, report.size),
        statements: StatementCheck::new(folder),
        keys: EnrolledKeys::default(),
        members: Members::new(options.root),
        clients: Clients::default(),
        log_keys: KeyChanges::new(folder, report.size, options.key.clone(), options.root),
        amendments: Amendments::default(),
        subtrees: TileFiles::new(folder, report.size),
        rounds: RoundAudit::new(options.blobs.clone()),
        unknown_actions: 0,
        latest: 0,
        origin: head.map(|head| head.origin.clone()),
    };
    let complete = walk.run(&mut report, progress)?.is_ok();
    report.witnesses_enrolled = walk.keys.witness_count() as u64;
    report.consortium_root = walk.members.root().map(|root| root.0.to_string());
    report.consortium_root_source = match (options.root, &report.consortium_root) {
        (Some(_), _) => KeySource::Given,
        (None, Some(_)) => KeySource::FromTheLogItself,
        (None, None) => KeySource::None,
    };
    if walk.unknown_actions > 0 {
        let unknown = walk.unknown_actions;
        report.add_note(format!(
            "{unknown} entries have actions that this program does not know: only their place was checked"
        ));
    }

    if let Some((head, note)) = &signed {
        compare_root(head, &walk.frontier, complete, &mut report);
        let identity = &walk.log_keys.identity;
        if options.key.is_none() && identity.keys.current().is_none() && report.ok {
            return Err(AuditError::NoKey);
        }
        match checkpoint::check_signature(head, note, options, identity, &mut report) {
            // Findings are worth more than the advice which key to give.
            Err(error @ AuditError::KeyReplaced { .. }) if !report.ok => report.add_note(error.to_string()),
            checked => checked?,
        }
        if complete {
            report.cosignatures =
                checkpoint::cosigners(checkpoint::FILE, head, note, &walk.keys, identity, &mut report);
            if report.ok {
                let origin = head.origin.as_str();
                witnessed::check(folder, origin, &walk.keys, identity, &walk.subtrees, &mut report)?;
            }
            checkpoint::check_quorum(options.quorum, &mut report);
        }
    }
    // After a walk that stopped early, the statements of later entries would all look unnamed.
    if complete {
        surplus::check(folder, report.size, &walk.statements, &mut report)?;
    }
    Ok(report)
}

/// A root that differs although every tile fits the entries means another checkpoint; otherwise the finding is known.
fn compare_root(head: &Checkpoint, frontier: &Frontier, complete: bool, report: &mut Report) {
    if complete && report.ok && frontier.root() != head.root {
        let detail = "the entries and tiles fit each other but do not lead to the root in the checkpoint";
        report.add(Defect::Root, "checkpoint", 0..head.size, detail);
    }
}

impl Walk<'_> {
    fn run(
        &mut self,
        report: &mut Report,
        progress: &mut dyn FnMut(u64, u64),
    ) -> Result<Result<(), Broken>, AuditError> {
        let (folder, size) = (self.folder, self.size);
        thread::scope(|scope| {
            for bundle in Bundles::start(scope, folder, size) {
                progress(self.frontier.size(), size);
                if let Err(broken) = self.bundle(bundle?, report)? {
                    return Ok(Err(broken));
                }
            }
            progress(size, size);
            Ok(Ok(()))
        })
    }

    fn bundle(
        &mut self,
        bundle: PreparedBundle,
        report: &mut Report,
    ) -> Result<Result<(), Broken>, AuditError> {
        let file = bundle.path.to_string();
        let covered = bundle.path.covers();
        report.tiles_checked += 1;
        if bundle.missing {
            report.add(Defect::Tile, &file, covered, "the entries are missing");
            return Ok(Err(Broken));
        }
        for entry in bundle.entries {
            let index = self.frontier.size();
            if index >= covered.end {
                report.add(Defect::Tile, &file, covered, "the file holds more entries than it may");
                return Ok(Err(Broken));
            }
            match entry {
                Ok(entry) => {
                    if let Err(broken) = self.entry(&file, entry, report)? {
                        return Ok(Err(broken));
                    }
                }
                Err(error) => {
                    report.add(Defect::Entry, &file, index..covered.end, error.to_string());
                    return Ok(Err(Broken));
                }
            }
        }
        let reached = self.frontier.size();
        if reached < covered.end {
            let detail = format!("the file ends before entry {reached}");
            report.add(Defect::Tile, &file, reached..covered.end, detail);
            return Ok(Err(Broken));
        }
        Ok(Ok(()))
    }

    fn entry(
        &mut self,
        file: &str,
        entry: Prepared,
        report: &mut Report,
    ) -> Result<Result<(), Broken>, AuditError> {
        let index = self.frontier.size();
        let here = index..index + 1;
        self.tiles.item(0, index, &entry.leaf_hash, report)?;
        let Parsed { leaf, record } = match entry.parsed {
            Ok(parsed) => parsed,
            Err(error) => {
                report.add(Defect::Entry, file, here, error.to_string());
                return Ok(Err(Broken));
            }
        };
        // Without a readable checkpoint the first entry says which log this is.
        let origin = self.origin.get_or_insert_with(|| leaf.origin.clone());
        if let Err(error) = leaf.check_link(origin, &self.frontier) {
            report.add(Defect::Chain, file, here, error.to_string());
            return Ok(Err(Broken));
        }
        if let Err(error) = self.keys.note(&leaf) {
            report.add_note(format!("entry {index}: {error}"));
        }
        let time = self.time(&leaf, report);
        let record = self.record(file, &leaf, record, time, report);
        self.log_keys.entry(&leaf, file, report)?;
        let known = Known { keys: &self.keys, members: &self.members, clients: &self.clients };
        self.statements.entry(&leaf, record.as_ref(), &known, report)?;
        if let Some(record) = &record {
            self.rounds.entry(&leaf, record, time, &self.members, report)?;
            self.about_others(file, &leaf, record, report)?;
        }
        for tile in self.frontier.push_hashes(entry.leaf_hash, entry.entry_hash) {
            // A full tile is one item of the level above.
            if let TileKind::Hashes { level } = tile.path.kind() {
                self.tiles.item(level + 1, tile.path.index(), &root_of(&tile.hashes), report)?;
            }
        }
        report.entries_checked += 1;
        Ok(Ok(()))
    }

    /// Reads what an entry says; `None` if its action is not known or what it says cannot be read.
    fn record(
        &mut self,
        file: &str,
        leaf: &Leaf,
        parsed: Result<Record, RecordError>,
        time: UnixSeconds,
        report: &mut Report,
    ) -> Option<Record> {
        let here = leaf.seq..leaf.seq + 1;
        let record = match parsed {
            Ok(record) => record,
            Err(RecordError::UnknownAction { .. }) => {
                self.unknown_actions += 1;
                return None;
            }
            Err(error @ RecordError::Malformed { .. }) => {
                report.add(Defect::Record, file, here, error.to_string());
                return None;
            }
        };
        if let Err(fault) = self.members.note(&record, time) {
            report.add(Defect::Membership, file, here, fault.to_string());
        }
        self.clients.note(&record);
        Some(record)
    }

    /// What an entry says about earlier ones.
    fn about_others(
        &mut self,
        file: &str,
        leaf: &Leaf,
        record: &Record,
        report: &mut Report,
    ) -> Result<(), AuditError> {
        let here = leaf.seq..leaf.seq + 1;
        if let Err(fault) = self.amendments.entry(self.folder, self.size, leaf, record)? {
            report.add(Defect::Amendment, file, here.clone(), fault.to_string());
        }
        if let Record::ReviewRecorded { size, root, .. } = record
            && let Err(fault) = reviews::check_history(&self.subtrees, leaf, *size, root)?
        {
            report.add(Defect::Review, file, here, fault.to_string());
        }
        Ok(())
    }

    /// When the ledger took an entry. A clock may be set back, but no deadline must be met that way unseen.
    fn time(&mut self, leaf: &Leaf, report: &mut Report) -> UnixSeconds {
        // The leaf was parsed, so its time is one.
        let time = leaf.timestamp().map_or(0, Timestamp::unix_seconds);
        if time < self.latest {
            report.add_note(format!(
                "entry {} is dated {} s before an earlier one",
                leaf.seq,
                self.latest - time
            ));
        }
        self.latest = self.latest.max(time);
        UnixSeconds(time)
    }
}
