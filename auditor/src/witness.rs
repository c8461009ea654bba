//! Who vouches for a head: cosignatures under the checkpoint, what the log recorded, and heads that others were shown.

use std::fmt;
use std::ops::ControlFlow;

use konclave_crypto::ConsortiumRoot;
use konclave_ledger::enrolment::{Enrolment, SITE_ENROLLED, SITE_REVOKED};
use konclave_ledger::note::SignedNote;
use konclave_ledger::records::Record;
use konclave_ledger::{Checkpoint, Cosignature, Hash, Leaf, Timestamp, VerifierKey};
use serde::Serialize;

use crate::entries::{self, Flaws};
use crate::folder::{AuditError, Folder};
use crate::history::{Relation, relate};
use crate::log_keys::{LogIdentity, Theft, has_action};
use crate::report::KeySource;
use crate::show::head;
use crate::text::shown;

/// What the reader knows, and what is compared.
#[derive(Debug, Clone, Default)]
pub struct WitnessOptions {
    /// The log's key.
    pub key: Option<VerifierKey>,
    /// The consortium root.
    pub root: Option<ConsortiumRoot>,
    /// How many witnesses must have cosigned.
    pub quorum: usize,
    /// Checkpoints that others were shown: a name for each, and its bytes.
    pub notes: Vec<(String, Vec<u8>)>,
}

/// An enrolled witness.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct WitnessLine {
    /// The witness's name.
    pub witness: String,
    /// The site that enrolled it.
    pub site: String,
    /// When it cosigned the head, in seconds since 1970; none if it did not.
    pub cosigned: Option<u64>,
    /// Whether the site's keys were revoked, or replaced by later ones.
    pub former: bool,
}

/// The last `witness.status` entry.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct RecordedStatus {
    /// Its index.
    pub entry: u64,
    /// When it was taken.
    pub time: String,
    /// How many witnesses the policy asks for.
    pub required: u32,
    /// How many were enrolled.
    pub enrolled: u32,
    /// Whether the quorum stood.
    pub quorum: bool,
    /// The size of the newest head that a quorum had cosigned.
    pub witnessed: u64,
    /// Who had.
    pub witnesses: Vec<String>,
}

/// How a checkpoint that somebody was shown stands to this copy.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Standing {
    /// The same head.
    Same,
    /// A head that this ledger had earlier.
    Earlier,
    /// A head of more entries: this copy is older, and can't tell.
    Ahead,
    /// A head of another history, signed by the same log.
    Fork,
    /// This copy's files are damaged, and prove nothing.
    Damaged,
    /// A head of another history that only a key signed which was declared stolen: it proves nothing.
    StolenKey,
    /// Not signed by the log: it proves nothing.
    NotSigned,
    /// Another log's.
    OtherLog,
    /// No checkpoint.
    Unreadable,
}

/// A checkpoint that was compared.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct ComparedNote {
    /// Its name.
    pub name: String,
    /// Number of entries it counts.
    pub size: Option<u64>,
    /// The root over them.
    pub root: Option<Hash>,
    /// How it stands to this copy.
    pub standing: Standing,
    /// The key that signed it, if that was declared stolen and nothing else speaks for the head.
    pub theft: Option<Theft>,
    /// The signed note, if it proves a fork.
    pub evidence: Option<String>,
}

/// Who vouches for a copy's head.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct WitnessStatus {
    /// The log.
    pub origin: String,
    /// Number of entries.
    pub size: u64,
    /// The root over them.
    pub root: Hash,
    /// The key the head is signed with; none if the signature is wrong.
    pub signed_by: Option<String>,
    /// Where that key came from.
    pub key_source: KeySource,
    /// The head as a signed note.
    pub checkpoint: String,
    /// Every enrolled witness.
    pub witnesses: Vec<WitnessLine>,
    /// Lines under the checkpoint that no enrolled witness made, or that are wrong.
    pub wrong_lines: Vec<String>,
    /// How many witnesses were asked for.
    pub quorum: usize,
    /// What the log last recorded.
    pub recorded: Option<RecordedStatus>,
    /// The checkpoints that were compared.
    pub notes: Vec<ComparedNote>,
}

impl WitnessStatus {
    /// Witnesses whose cosignature of the head is valid.
    #[must_use]
    pub fn cosigned(&self) -> usize {
        self.witnesses.iter().filter(|line| line.cosigned.is_some()).count()
    }

    /// Whether nothing speaks against the head.
    #[must_use]
    pub fn is_sound(&self) -> bool {
        self.signed_by.is_some()
            && self.wrong_lines.is_empty()
            && self.cosigned() >= self.quorum
            && !self.notes.iter().any(|note| matches!(note.standing, Standing::Fork | Standing::Damaged))
    }

    /// Whether every checkpoint that was given could be compared.
    #[must_use]
    pub fn compared_all(&self) -> bool {
        let useless = [Standing::StolenKey, Standing::NotSigned, Standing::OtherLog, Standing::Unreadable];
        !self.notes.iter().any(|note| useless.contains(&note.standing))
    }
}

/// Finds out who vouches for the head of `folder`.
///
/// # Errors
/// [`AuditError`].
pub fn witness(folder: &Folder, options: &WitnessOptions) -> Result<WitnessStatus, AuditError> {
    let (head, note) = head(folder)?.ok_or_else(|| AuditError::NoCheckpoint { path: folder.shown() })?;
    let identity = LogIdentity::read(folder, head.size, options.key.clone(), options.root)?;
    let by = identity.check(&head, &note)?.ok();
    let Said { mut enrolled, recorded } = Said::read(folder, head.size)?;
    let mut wrong_lines = Vec::new();
    for line in &note.signatures {
        if identity
            .keys_for(line)
            .any(|key| key.public().verify(note.text.as_bytes(), &line.signature).is_ok())
        {
            // The log's own; right after a change of key there are two.
            continue;
        }
        let Some((key, known)) = enrolled.iter_mut().find(|(key, _)| key.claims(line)) else {
            wrong_lines.push(format!("{} (key id {}): no such witness is enrolled", line.name, line.key_id));
            continue;
        };
        match Cosignature::verify(line, &head, key) {
            Ok(cosignature) => known.cosigned = Some(cosignature.unix_seconds()),
            Err(error) => wrong_lines.push(error.to_string()),
        }
    }
    let mut notes = Vec::new();
    for (name, bytes) in &options.notes {
        notes.push(compare(folder, &head, &identity, name, bytes)?);
    }
    Ok(WitnessStatus {
        origin: head.origin.to_string(),
        size: head.size,
        root: head.root,
        key_source: by.as_ref().map_or(KeySource::None, |by| by.source),
        signed_by: by.map(|by| by.key.to_string()),
        checkpoint: note.to_string(),
        witnesses: enrolled.into_iter().map(|(_, line)| line).collect(),
        wrong_lines,
        quorum: options.quorum,
        recorded,
        notes,
    })
}

/// What the entries say about witnesses.
#[derive(Default)]
struct Said {
    enrolled: Vec<(VerifierKey, WitnessLine)>,
    recorded: Option<RecordedStatus>,
}

impl Said {
    fn read(folder: &Folder, size: u64) -> Result<Self, AuditError> {
        let mut said = Self::default();
        let about = [SITE_ENROLLED, SITE_REVOKED, "witness.status"];
        entries::each(folder, 0..size, size, &mut Flaws::default(), |entry, _| {
            if about.iter().any(|action| has_action(entry.stored, action))
                && let Ok(leaf) = Leaf::parse(entry.stored)
            {
                said.take(&leaf);
            }
            Ok::<_, AuditError>(ControlFlow::Continue(()))
        })?;
        Ok(said)
    }

    fn take(&mut self, leaf: &Leaf) {
        if let Some(Ok(Enrolment { site, witness_key, .. })) = Enrolment::from_leaf(leaf) {
            self.end(&site);
            let witness = witness_key.name().to_string();
            match self.enrolled.iter_mut().find(|(key, _)| *key == witness_key) {
                Some((_, line)) => (line.site, line.former) = (site, false),
                None => {
                    let line = WitnessLine { witness, site, cosigned: None, former: false };
                    self.enrolled.push((witness_key, line));
                }
            }
            return;
        }
        match Record::parse(&leaf.action, &leaf.record) {
            Ok(Record::SiteRevoked { site, .. }) => self.end(&site),
            Ok(Record::WitnessStatus { required, enrolled, quorum, witnessed, witnesses }) => {
                let (entry, time) = (leaf.seq, leaf.time.clone());
                let recorded =
                    RecordedStatus { entry, time, required, enrolled, quorum, witnessed, witnesses };
                self.recorded = Some(recorded);
            }
            Ok(_) | Err(_) => {}
        }
    }

    /// The site's keys so far are its former ones.
    fn end(&mut self, site: &str) {
        self.enrolled
            .iter_mut()
            .filter(|(_, line)| line.site == site)
            .for_each(|(_, line)| line.former = true);
    }
}

fn compare(
    folder: &Folder,
    head: &Checkpoint,
    identity: &LogIdentity,
    name: &str,
    bytes: &[u8],
) -> Result<ComparedNote, AuditError> {
    let mut compared = ComparedNote {
        name: name.to_owned(),
        size: None,
        root: None,
        standing: Standing::Unreadable,
        theft: None,
        evidence: None,
    };
    let Ok(note) = SignedNote::parse(bytes) else { return Ok(compared) };
    let Ok(other) = Checkpoint::parse_text(&note.text) else { return Ok(compared) };
    (compared.size, compared.root) = (Some(other.size), Some(other.root));
    if other.origin != head.origin {
        compared.standing = Standing::OtherLog;
        return Ok(compared);
    }
    let (signed, theft) = (identity.check(&other, &note)?.is_ok(), identity.theft(&other, &note));
    compared.standing = match (signed, relate(folder, head, &other)?) {
        // On this history it does not matter who signed it.
        (true, Relation::Same) => Standing::Same,
        (true, Relation::Extended) => Standing::Earlier,
        (true, Relation::Damaged) => Standing::Damaged,
        (_, _) if theft.is_some() => Standing::StolenKey,
        (false, _) => Standing::NotSigned,
        (true, Relation::Longer) => Standing::Ahead,
        (true, Relation::Forked) => Standing::Fork,
    };
    compared.theft = theft.filter(|_| compared.standing == Standing::StolenKey);
    compared.evidence = (compared.standing == Standing::Fork).then(|| note.to_string());
    Ok(compared)
}

impl Standing {
    const fn words(self) -> &'static str {
        match self {
            Self::Same => "the same head",
            Self::Earlier => "an earlier head of this ledger",
            Self::Ahead => {
                "AHEAD of this copy, which is older and can't tell: take a new copy and compare again"
            }
            Self::Fork => "FORK: the log signed it, and it is of another history",
            Self::Damaged => "not comparable: this copy is damaged, run `konclave-audit verify`",
            Self::StolenKey => "STOLEN KEY: another history",
            Self::NotSigned => "not signed by the log: it proves nothing",
            Self::OtherLog => "of another log",
            Self::Unreadable => "no checkpoint",
        }
    }
}

/// The status with the time of the reader's clock, from which ages are counted.
#[derive(Debug, Clone, Copy)]
pub struct AsOf<'a>(pub &'a WitnessStatus, pub Timestamp);

impl fmt::Display for AsOf<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self(status, now) = self;
        let (cosigned, enrolled) =
            (status.cosigned(), status.witnesses.iter().filter(|line| !line.former).count());
        let state = if status.is_sound() { "OK" } else { "NOT VOUCHED FOR" };
        writeln!(
            f,
            "{state}  {}: {} entries, cosigned by {cosigned} of {enrolled} witnesses",
            status.origin, status.size
        )?;
        writeln!(f, "  root         {}", status.root)?;
        match &status.signed_by {
            Some(key) => writeln!(f, "  signed by    {key}")?,
            None => writeln!(f, "  signed by    NOBODY: the log's signature is wrong")?,
        }
        if status.key_source == KeySource::FromTheLogItself {
            writeln!(f, "               TAKEN FROM THE LOG ITSELF: pass the key that you know with --key")?;
        }
        if cosigned < status.quorum {
            writeln!(f, "  quorum       MISSED: {cosigned} cosignatures, {} asked for", status.quorum)?;
        }
        for line in &status.witnesses {
            let former = if line.former { " (former key)" } else { "" };
            let (name, site) = (shown(&line.witness), shown(&line.site));
            match line.cosigned {
                Some(time) => writeln!(f, "  witness      {name} of {site}{former}: {}", age(time, *now))?,
                None if line.former => {}
                None => writeln!(f, "  witness      {name} of {site}: has not cosigned this head")?,
            }
        }
        status.wrong_lines.iter().try_for_each(|line| writeln!(f, "  WRONG LINE   {}", shown(line)))?;
        if let Some(recorded) = &status.recorded {
            let stands = if recorded.quorum { "reached" } else { "MISSED" };
            writeln!(
                f,
                "  recorded     entry {} ({}): quorum of {} of {} {stands}, last at {} entries",
                recorded.entry, recorded.time, recorded.required, recorded.enrolled, recorded.witnessed
            )?;
        }
        for note in &status.notes {
            let size = note.size.map_or_else(String::new, |size| format!(" ({size} entries)"));
            write!(f, "  note         {}{size}: {}", shown(&note.name), note.standing.words())?;
            match &note.theft {
                Some(theft) => writeln!(f, ", {theft}")?,
                None => writeln!(f)?,
            }
        }
        for evidence in status.notes.iter().filter_map(|note| note.evidence.as_ref()) {
            writeln!(
                f,
                "\nThe log's key signed these two heads, and no ledger has both. Together they prove what the operator \
                 did:\n\n{}\n{evidence}",
                status.checkpoint
            )?;
        }
        Ok(())
    }
}

fn age(unix_seconds: u64, now: Timestamp) -> String {
    let time =
        Timestamp::from_unix_seconds(unix_seconds).map_or_else(|_| "?".to_owned(), |time| time.to_string());
    let Some(seconds) = now.unix_seconds().checked_sub(unix_seconds) else {
        return format!("{time}, ahead of this clock");
    };
    match seconds {
        0..=119 => format!("{time}, {seconds} s ago"),
        120..=7199 => format!("{time}, {} min ago", seconds / 60),
        7200..=172_799 => format!("{time}, {} h ago", seconds / 3600),
        _ => format!("{time}, {} days ago", seconds / 86_400),
    }
}
