//! What an audit found, for people and for programs.

use std::fmt;
use std::ops::Range;

use konclave_ledger::Hash;
use serde::Serialize;

use crate::rounds::{CheckTally, Gap, NotMade, Place, RoundCheck, RoundFault};

/// Findings kept in full; more are only counted.
const MAX_FINDINGS: usize = 100;

/// What kind of thing is wrong.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Defect {
    /// The checkpoint is missing, malformed, wrongly signed or for another log.
    Checkpoint,
    /// The entries don't lead to the checkpoint's root.
    Root,
    /// An entry is unreadable.
    Entry,
    /// An entry's record lacks what its action promises.
    Record,
    /// A certificate that the consortium root did not sign, or an entry that differs from it.
    Membership,
    /// An entry doesn't follow the one before it.
    Chain,
    /// A tile file is missing, has the wrong length or doesn't fit the entries.
    Tile,
    /// A signature line under the checkpoint that no enrolled witness made.
    Cosignature,
    /// Fewer cosignatures than asked for.
    Quorum,
    /// A statement is missing, altered, not signed by the member, or says something else than the entry.
    Statement,
    /// A change of the log's key that the consortium root did not authorise, or of another history.
    KeyChange,
    /// A correction or an erasure that does not fit the entry it is about.
    Amendment,
    /// A review of another history than this ledger's.
    Review,
    /// An entry of a round that breaks a rule, or that the evidence it names does not bear out.
    Round,
    /// A file that doesn't belong to the ledger.
    Surplus,
}

/// One thing that is wrong.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Finding {
    /// What kind.
    pub defect: Defect,
    /// The file.
    pub file: String,
    /// First entry concerned.
    pub first_index: u64,
    /// One past the last entry concerned.
    pub end_index: u64,
    /// What is wrong, in words.
    pub detail: String,
}

/// Where the key came from that the checkpoint was checked with.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum KeySource {
    /// From the caller, who knows it from elsewhere.
    Given,
    /// From the log's own first entry. Whoever made the log chose it.
    FromTheLogItself,
    /// The key that the caller knows was replaced by it, on the authority of the consortium root.
    FollowsFromTheGiven,
    /// There was none.
    None,
}

/// A valid cosignature.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Cosigned {
    /// The witness's name.
    pub witness: String,
    /// When it cosigned, in seconds since 1970.
    pub unix_seconds: u64,
}

/// The head that a quorum cosigned.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Witnessed {
    /// How many entries it covers.
    pub size: u64,
    /// The valid cosignatures under it.
    pub cosignatures: Vec<Cosigned>,
}

/// The result of an audit.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Report {
    /// Whether nothing is wrong.
    pub ok: bool,
    /// The lowest index among the findings.
    pub first_bad_index: Option<u64>,
    /// The log's name, where the checkpoint says it.
    pub origin: Option<String>,
    /// Number of entries that the checkpoint counts.
    pub size: u64,
    /// The root that the checkpoint names.
    pub root: Option<Hash>,
    /// The key the checkpoint was checked with (vkey).
    pub key: Option<String>,
    /// Where that key came from.
    pub key_source: KeySource,
    /// How often the log's key was replaced.
    pub key_changes: u64,
    /// The consortium root that members' certificates were checked under, hex.
    pub consortium_root: Option<String>,
    /// Where that came from.
    pub consortium_root_source: KeySource,
    /// Valid cosignatures.
    pub cosignatures: Vec<Cosigned>,
    /// The newest head that a quorum cosigned, if the copy holds one.
    pub witnessed: Option<Witnessed>,
    /// Witness keys that the log has enrolled.
    pub witnesses_enrolled: u64,
    /// Entries whose hash, place and chain were checked.
    pub entries_checked: u64,
    /// Tile files compared.
    pub tiles_checked: u64,
    /// Statements whose digest and signature were checked.
    pub statements_checked: u64,
    /// What of the jobs' rounds was checked, and what could not be.
    pub rounds: Vec<CheckTally>,
    /// What is wrong; at most 100.
    pub findings: Vec<Finding>,
    /// How many findings are not listed.
    pub findings_left_out: u64,
    /// What is odd but not wrong.
    pub notes: Vec<String>,
}

impl Report {
    pub(crate) const fn new() -> Self {
        Self {
            ok: true,
            first_bad_index: None,
            origin: None,
            size: 0,
            root: None,
            key: None,
            key_source: KeySource::None,
            key_changes: 0,
            consortium_root: None,
            consortium_root_source: KeySource::None,
            cosignatures: Vec::new(),
            witnessed: None,
            witnesses_enrolled: 0,
            entries_checked: 0,
            tiles_checked: 0,
            statements_checked: 0,
            rounds: Vec::new(),
            findings: Vec::new(),
            findings_left_out: 0,
            notes: Vec::new(),
        }
    }

    pub(crate) fn add(&mut self, defect: Defect, file: &str, entries: Range<u64>, detail: impl Into<String>) {
        self.ok = false;
        self.first_bad_index =
            Some(self.first_bad_index.map_or(entries.start, |first| first.min(entries.start)));
        if self.findings.len() >= MAX_FINDINGS {
            self.findings_left_out += 1;
            return;
        }
        let (first_index, end_index) = (entries.start, entries.end.max(entries.start.saturating_add(1)));
        self.findings.push(Finding {
            defect,
            file: file.to_owned(),
            first_index,
            end_index,
            detail: detail.into(),
        });
    }

    #[expect(clippy::indexing_slicing, reason = "it was found there, or put there")]
    fn tally(&mut self, check: RoundCheck) -> &mut CheckTally {
        let at = match self.rounds.binary_search_by_key(&check, |tally| tally.check) {
            Ok(at) => at,
            Err(at) => {
                let tally = CheckTally { check, passed: 0, failed: 0, not_made: 0, gaps: Vec::new() };
                self.rounds.insert(at, tally);
                at
            }
        };
        &mut self.rounds[at]
    }

    pub(crate) fn passed(&mut self, check: RoundCheck) {
        self.tally(check).passed += 1;
    }

    pub(crate) fn failed(&mut self, check: RoundCheck, place: &Place<'_>, fault: &RoundFault) {
        self.tally(check).failed += 1;
        let Place { index, job, round } = place;
        let round = round.map_or_else(String::new, |round| format!(", round {round}"));
        let detail = format!("job {job}{round}: {fault} ({})", check.name());
        self.add(Defect::Round, "the entry", *index..index + 1, detail);
    }

    pub(crate) fn not_made(&mut self, check: RoundCheck, place: &Place<'_>, reason: NotMade) {
        let tally = self.tally(check);
        tally.not_made += 1;
        if tally.gaps.len() < MAX_FINDINGS {
            let Place { index, job, round } = place;
            tally.gaps.push(Gap { entry: *index, job: (*job).to_owned(), round: *round, reason });
        }
    }

    pub(crate) fn add_note(&mut self, note: impl Into<String>) {
        if self.notes.len() < MAX_FINDINGS {
            self.notes.push(note.into());
        }
    }
}

impl Report {
    /// One line a check: how often it passed, and why it could not be made.
    fn show_rounds(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (place, tally) in self.rounds.iter().enumerate() {
            let title = if place == 0 { "rounds" } else { "" };
            write!(f, "  {title:<12} {:<18} {} passed", tally.check.name(), tally.passed)?;
            if tally.failed > 0 {
                write!(f, ", {} failed", tally.failed)?;
            }
            if tally.not_made > 0 {
                write!(f, ", {} NOT MADE", tally.not_made)?;
                let mut reasons: Vec<String> = tally.gaps.iter().map(|gap| gap.reason.to_string()).collect();
                reasons.sort();
                reasons.dedup();
                write!(f, ": {}", reasons.join("; "))?;
            }
            writeln!(f)?;
        }
        Ok(())
    }
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.end_index - self.first_index == 1 {
            write!(f, "entry {}", self.first_index)?;
        } else {
            write!(f, "entries {} to {}", self.first_index, self.end_index - 1)?;
        }
        write!(f, ", {}: {}", self.file, self.detail)
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let name = self.origin.as_deref().unwrap_or("unnamed log");
        match self.first_bad_index {
            None => writeln!(
                f,
                "OK  {name}: {} entries, nothing changed, removed, reordered or added",
                self.size
            )?,
            Some(first) => writeln!(f, "TAMPERED  {name}: first bad index {first}")?,
        }
        for finding in &self.findings {
            writeln!(f, "  {finding}")?;
        }
        if self.findings_left_out > 0 {
            writeln!(f, "  and {} findings more", self.findings_left_out)?;
        }
        if let Some(root) = &self.root {
            writeln!(f, "  root         {root}")?;
        }
        writeln!(
            f,
            "  checked      {} entries, {} tile files, {} statements",
            self.entries_checked, self.tiles_checked, self.statements_checked
        )?;
        self.show_rounds(f)?;
        let witnesses: Vec<&str> =
            self.cosignatures.iter().map(|cosigned| cosigned.witness.as_str()).collect();
        let names = if witnesses.is_empty() { String::new() } else { format!(": {}", witnesses.join(", ")) };
        writeln!(
            f,
            "  cosigned by  {} of {} enrolled witnesses{names}",
            witnesses.len(),
            self.witnesses_enrolled
        )?;
        if let Some(witnessed) = &self.witnessed {
            let count = witnessed.cosignatures.len();
            writeln!(f, "  witnessed    the first {} entries, by {count} witnesses", witnessed.size)?;
        }
        match (&self.key, self.key_source) {
            (Some(key), KeySource::Given) => writeln!(f, "  key          {key} (as given)")?,
            (Some(key), KeySource::FollowsFromTheGiven) => writeln!(
                f,
                "  key          {key}\n               follows from the key given: the consortium root authorised {} changes",
                self.key_changes
            )?,
            (Some(key), KeySource::FromTheLogItself | KeySource::None) => {
                writeln!(f, "  key          {key}")?;
                writeln!(
                    f,
                    "               TAKEN FROM THE LOG ITSELF: whoever wrote the log chose it. Compare it with the"
                )?;
                writeln!(f, "               key you know from elsewhere, or pass that with --key.")?;
            }
            (None, _) => writeln!(f, "  key          none; the checkpoint's signature was not checked")?,
        }
        match (&self.consortium_root, self.consortium_root_source) {
            (Some(root), KeySource::Given) => writeln!(f, "  consortium   root {root} (as given)")?,
            (Some(root), _) => {
                writeln!(f, "  consortium   root {root}")?;
                writeln!(
                    f,
                    "               TAKEN FROM THE LOG ITSELF: compare it with the root you know, or pass that with --root."
                )?;
            }
            (None, _) => {}
        }
        self.notes.iter().try_for_each(|note| writeln!(f, "  note         {note}"))
    }
}
