//! The ledger's witnesses: which head they are asked to cosign, what each cosigned last, and what the ledger says of
//! their quorum.
//!
//! Witnesses come when they come. A head counts as witnessed once enough of them cosigned that very head, so all who come
//! within a while are shown the same one, the *candidate*, although the ledger grows meanwhile; it stays open in the ledger
//! however fast that is. As long as enough witnesses come within a minute of each other, a quorum is met. Appending never waits
//! for them: a quorum that stays away is recorded (`witness.status`), and so is its return.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use konclave_crypto::SiteId;
use konclave_ledger::cosignature::Cosignature;
use konclave_ledger::note::SignedNote;
use konclave_ledger::records::Record;
use konclave_ledger::rotation::LEDGER_KEY_ROTATED;
use konclave_ledger::witness::AddCheckpoint;
use konclave_ledger::{Checkpoint, Filter, Ledger, Quorum, ReadError, Timestamp, VerifierKey};
use konclave_openapi::witnesses::{
    CosignedView, KeyChangeView, LogKeysView, QuorumView, WitnessView, WitnessesView,
};
use konclave_policies::rounds::WitnessRules;
use tokio::sync::watch;

use super::{App, Caller, CommandError, Entry};
use crate::error::ApiError;
use crate::projections::{State, WitnessStatusState};

/// How long witnesses are asked for a head that none has cosigned. Sites look every few seconds, so that most meet under
/// it; longer, and the witnessed head would lag behind for nothing where a quorum cannot be had anyway.
const CANDIDATE_MILLIS: u64 = 5_000;
/// How long after each witness's first line under a head the others are still asked for it. Each witness counts once, so
/// that a head which a quorum will not cosign is given up in the end.
const GATHERING_MILLIS: u64 = 60_000;
/// How often the gateway looks whether the quorum has gone or is back.
const PERIOD: Duration = Duration::from_secs(1);
/// The action of the entries about the quorum.
const WITNESS_STATUS: &str = "witness.status";
/// The most changes of the log's key that are told.
const MAX_KEY_CHANGES: usize = 1000;

/// What is kept of the witnesses besides the ledger. In memory only: after a start it is filled from the notes that the
/// ledger keeps, and then by whoever cosigns.
#[derive(Debug)]
pub struct Witnesses(Mutex<Kept>);

#[derive(Debug)]
struct Kept {
    candidate: Option<Candidate>,
    /// Who has seen more than the candidate, and can't cosign it any more; by the witness's name.
    beyond: BTreeSet<String>,
    /// By the witness's name.
    newest: BTreeMap<String, Cosigned>,
    /// How many are asked for, and since when as far as this process knows: nobody is late before.
    asked: (u16, u64),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Candidate {
    size: u64,
    /// When it was chosen, or when it last got the first line of a witness.
    since_millis: u64,
    /// How many witnesses had cosigned it then.
    cosigned: usize,
}

impl Candidate {
    /// How long it is asked for without another witness's line.
    const fn patience_millis(self) -> u64 {
        if self.cosigned == 0 { CANDIDATE_MILLIS } else { GATHERING_MILLIS }
    }
}

#[derive(Debug, Clone)]
struct Cosigned {
    size: u64,
    unix_seconds: u64,
    note: String,
}

/// What is asked of the witnesses, and what the ledger said last about them.
#[derive(Debug, Clone)]
struct Asked {
    rules: WitnessRules,
    since_millis: u64,
    last: Option<WitnessStatusState>,
}

/// How the quorum stands at a moment.
#[derive(Debug, Clone)]
struct Standing {
    quorum: Quorum,
    required: u16,
    /// When the oldest entry was recorded that lacks a quorum.
    missing_since: Option<Timestamp>,
    /// That entry is older than the policy's patience.
    overdue: bool,
    /// It is, counted from when this process first asked.
    told_overdue: bool,
    /// The ledger's last word is that the quorum is missing.
    said_missing: bool,
}

impl Witnesses {
    /// Begins with what the ledger has kept.
    pub(super) fn new(ledger: &Ledger, state: &State, now_millis: u64) -> Self {
        let asked = (state.witness_rules().quorum, now_millis);
        let witnesses = Self(Mutex::new(Kept {
            candidate: None,
            beyond: BTreeSet::new(),
            newest: BTreeMap::new(),
            asked,
        }));
        let newest = ledger.recent_note(ledger.head().size);
        for note in ledger.witnessed_note().into_iter().chain(newest) {
            for key in state.sites.values().filter_map(|site| site.witness_vkey.parse().ok()) {
                witnesses.keep(&key, note, now_millis);
            }
        }
        witnesses
    }

    /// Remembers what a witness cosigned, if it is among the note's lines and its newest. A first line under the head that
    /// others are asked for gives those more time.
    pub(super) fn keep(&self, key: &VerifierKey, note: &SignedNote, now_millis: u64) {
        let Ok(head) = Checkpoint::parse_text(&note.text) else { return };
        let Some(line) = note.signatures.iter().find(|line| key.claims(line)) else { return };
        let Ok(cosigned) = Cosignature::verify(line, &head, key) else { return };
        let by_log = note.signatures.iter().filter(|line| line.name == head.origin);
        let signatures = by_log.chain([line]).cloned().collect();
        let own = SignedNote { text: note.text.clone(), signatures }.to_string();
        let found = Cosigned { size: head.size, unix_seconds: cosigned.unix_seconds(), note: own };
        let cosigned = note.signatures.iter().filter(|line| line.name != head.origin).count();
        let mut kept = self.lock();
        if let Some(candidate) = &mut kept.candidate
            && candidate.size == head.size
            && candidate.cosigned < cosigned
        {
            (candidate.cosigned, candidate.since_millis) = (cosigned, now_millis);
        }
        let known = kept.newest.get(key.name().as_str());
        if known.is_none_or(|known| known.size <= found.size) {
            kept.newest.insert(key.name().as_str().to_owned(), found);
        }
    }

    /// The size of the head that a witness is asked to cosign that has seen `old` entries. `witness` is its name.
    fn candidate(&self, ledger: &Ledger, witness: Option<String>, old: u64, now_millis: u64) -> u64 {
        let newest = ledger.head().size;
        let quorum = ledger.quorum();
        let mut kept = self.lock();
        let stays = kept.candidate.and_then(|candidate| {
            let signers = cosigned_by(ledger, candidate.size)?;
            let gone = witness.filter(|name| old > candidate.size && !signers.contains(name));
            kept.beyond.extend(gone);
            let possible = quorum.enrolled.saturating_sub(kept.beyond.len()) >= quorum.required;
            let waits = now_millis.abs_diff(candidate.since_millis) < candidate.patience_millis();
            let wanted = quorum.required > 0 && candidate.size > covered(&quorum);
            (wanted && possible && waits).then_some(candidate)
        });
        let candidate = stays.unwrap_or_else(|| {
            kept.beyond.clear();
            Candidate { size: newest, since_millis: now_millis, cosigned: 0 }
        });
        // Still under the lock that appends wait for: no entry can come between.
        ledger.hold_open(candidate.size);
        kept.candidate = Some(candidate);
        if old > candidate.size { newest } else { candidate.size }
    }

    /// Since when so many are asked for, as far as this process knows.
    pub(super) fn asked_since(&self, quorum: u16, now_millis: u64) -> u64 {
        let mut kept = self.lock();
        if kept.asked.0 != quorum {
            kept.asked = (quorum, now_millis);
        }
        kept.asked.1
    }

    fn lock(&self) -> MutexGuard<'_, Kept> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Who has cosigned one of the latest heads; nothing if it is not open any more.
fn cosigned_by(ledger: &Ledger, size: u64) -> Option<BTreeSet<String>> {
    let note = ledger.recent_note(size)?;
    let origin = ledger.verifier_key().name().clone();
    let names = note.signatures.iter().map(|line| &line.name).filter(|name| **name != origin);
    Some(names.map(ToString::to_string).collect())
}

/// Entries under the newest head with as many cosignatures as are asked for now.
fn covered(quorum: &Quorum) -> u64 {
    if quorum.witnesses.len() >= quorum.required { quorum.witnessed } else { 0 }
}

impl Standing {
    fn of(ledger: &Ledger, asked: &Asked, now_millis: u64) -> Result<Self, ReadError> {
        let quorum = ledger.quorum();
        let required = asked.rules.quorum;
        let oldest = if required == 0 { None } else { oldest_unwitnessed(ledger, &quorum)? };
        let patience = u64::from(asked.rules.patience_seconds) * 1000;
        let late = |since: u64| now_millis.saturating_sub(since) > patience;
        Ok(Self {
            required,
            quorum,
            missing_since: oldest,
            overdue: oldest.is_some_and(|time| late(time.unix_millis())),
            told_overdue: oldest.is_some_and(|time| late(time.unix_millis().max(asked.since_millis))),
            said_missing: asked.last.as_ref().is_some_and(|last| !last.quorum),
        })
    }

    /// Whether the quorum stands. Once it was said to be missing it does so again when it is really there; that a
    /// gateway has just started, and nobody could have come yet, excuses only what was not said yet.
    fn stands(&self) -> bool {
        if self.said_missing { !self.overdue } else { !self.told_overdue }
    }

    /// What the ledger is to record, if its last word is not true any more.
    fn transition(&self) -> Option<Record> {
        if self.required == 0 || self.stands() != self.said_missing {
            return None;
        }
        let narrow = |count: usize| u32::try_from(count).unwrap_or(u32::MAX);
        Some(Record::WitnessStatus {
            required: self.required.into(),
            enrolled: narrow(self.quorum.enrolled),
            quorum: self.stands(),
            witnessed: self.quorum.witnessed,
            witnesses: self.quorum.witnesses.iter().map(ToString::to_string).collect(),
        })
    }

    fn view(&self) -> QuorumView {
        let narrow = |count: usize| u32::try_from(count).unwrap_or(u32::MAX);
        QuorumView {
            required: self.required.into(),
            enrolled: narrow(self.quorum.enrolled),
            witnessed: self.quorum.witnessed,
            witnesses: self.quorum.witnesses.iter().map(ToString::to_string).collect(),
            stands: self.stands(),
            missing_since: self.missing_since.map(|time| time.to_string()),
        }
    }
}

/// When the oldest entry was recorded that no witnessed head covers. What the ledger says about the witnesses does not
/// count: otherwise that word would itself be missed, and call for another one, for ever.
fn oldest_unwitnessed(ledger: &Ledger, quorum: &Quorum) -> Result<Option<Timestamp>, ReadError> {
    for index in covered(quorum)..ledger.head().size {
        let Some(leaf) = ledger.leaf(index)? else { break };
        if leaf.action != WITNESS_STATUS {
            return Ok(leaf.timestamp().ok());
        }
    }
    Ok(None)
}

impl App {
    /// What a witness that has seen `old` entries is asked to cosign: the body of C2SP tlog-witness's `add-checkpoint`.
    /// `site` is the member that asks.
    ///
    /// # Errors
    /// [`ApiError::Rejected`] if the witness has seen more than there is.
    pub async fn add_checkpoint(&self, site: Option<&SiteId>, old: u64) -> Result<AddCheckpoint, ApiError> {
        let vkey =
            site.and_then(|site| self.state().sites.get(site).map(|member| member.witness_vkey.clone()));
        let witness = vkey.and_then(|vkey| vkey.split('+').next().map(ToOwned::to_owned));
        let (app, now) = (self.clone(), self.clock().unix_millis());
        let asked = move |ledger: &Ledger| {
            let size = app.witnesses().candidate(ledger, witness, old, now);
            ledger.add_checkpoint(old, size)
        };
        self.ledger().read(asked).await.map_err(CommandError::from)?.map_err(|error| match error {
            ReadError::OutOfRange { .. } => ApiError::rejected(format!(
                "you have seen {old} entries, more than this ledger has: it was restored from an older copy, or yours is \
                 another ledger; GET /v1/ledger/checkpoint has its signed head"
            )),
            ReadError::Damaged(_) | ReadError::Leaf { .. } | ReadError::Storage(_) | ReadError::Poisoned => {
                ApiError::internal(error)
            }
        })
    }

    /// How far the witnesses are.
    ///
    /// # Errors
    /// [`ApiError::Internal`] if the ledger cannot be read.
    pub async fn quorum(&self) -> Result<QuorumView, ApiError> {
        Ok(self.standing().await?.map_err(ApiError::internal)?.view())
    }

    /// The witnesses and what each cosigned last.
    ///
    /// # Errors
    /// [`ApiError::Internal`] if the ledger cannot be read.
    pub async fn witnesses_view(&self) -> Result<WitnessesView, ApiError> {
        let quorum = self.quorum().await?;
        let note = |ledger: &Ledger| ledger.witnessed_note().map(ToString::to_string);
        let note = self.ledger().read(note).await.map_err(CommandError::from)?;
        let kept = self.witnesses().lock().newest.clone();
        let state = self.state();
        let witnesses = state.sites.values().map(|site| {
            let name = site.witness_vkey.split('+').next().unwrap_or_default();
            WitnessView {
                site: site.site.clone(),
                witness_vkey: site.witness_vkey.clone(),
                certificate: site.certificate.clone(),
                cosigned: kept.get(name).and_then(Cosigned::view),
            }
        });
        Ok(WitnessesView { quorum, note, witnesses: witnesses.collect() })
    }

    /// The log's key, and every change of it.
    ///
    /// # Errors
    /// [`ApiError::Internal`] if the ledger cannot be read.
    pub async fn log_keys(&self) -> Result<LogKeysView, ApiError> {
        let read = self.ledger().read(key_changes).await.map_err(CommandError::from)?;
        read.map_err(ApiError::internal)
    }

    /// Records that the quorum has been missing for too long or is there again, once each; says whether it did.
    ///
    /// # Errors
    /// [`CommandError`]; it is to be tried again.
    pub async fn record_witness_status(&self) -> Result<bool, CommandError> {
        let held = self.lock("witnesses").await;
        let standing = match self.standing().await? {
            Ok(standing) => standing,
            Err(error) => {
                tracing::warn!(%error, "how far the witnesses are cannot be read from the ledger");
                return Ok(false);
            }
        };
        let Some(record) = standing.transition() else { return Ok(false) };
        let reason = if standing.stands() {
            "enough witnesses cosign the ledger's heads again"
        } else {
            "entries have lacked the witnesses' quorum for longer than the policy's patience"
        };
        tracing::warn!(required = standing.required, witnessed = standing.quorum.witnessed, "{reason}");
        let entry = Entry::new("ledger/witnesses", reason, record);
        self.append(&held, &Caller::gateway("witnesses"), vec![entry]).await?;
        Ok(true)
    }

    async fn standing(&self) -> Result<Result<Standing, ReadError>, CommandError> {
        let now = self.clock().unix_millis();
        let (rules, last) = {
            let state = self.state();
            (state.witness_rules(), state.witness_status.clone())
        };
        let asked = Asked { rules, since_millis: self.witnesses().asked_since(rules.quorum, now), last };
        Ok(self.ledger().read(move |ledger| Standing::of(ledger, &asked, now)).await?)
    }
}

impl Cosigned {
    fn view(&self) -> Option<CosignedView> {
        let time = Timestamp::from_unix_seconds(self.unix_seconds).ok()?.to_string();
        Some(CosignedView { size: self.size, time, note: self.note.clone() })
    }
}

fn key_changes(ledger: &Ledger) -> Result<LogKeysView, ReadError> {
    let filter = Filter { action: Some(LEDGER_KEY_ROTATED.to_owned()), ..Filter::default() };
    let entries: BTreeSet<u64> = ledger.query(&filter, None, MAX_KEY_CHANGES)?.into_iter().collect();
    let mut changes = Vec::new();
    for entry in entries {
        let Some(leaf) = ledger.leaf(entry)? else { continue };
        // What cannot be read was not appended by this program: it changed no key.
        let Ok(Record::LedgerKeyRotated { old_vkey, new_vkey, authorisation }) =
            Record::parse(&leaf.action, &leaf.record)
        else {
            continue;
        };
        let Ok(authorisation) = serde_json::from_value(authorisation) else { continue };
        changes.push(KeyChangeView { entry, old_vkey, new_vkey, authorisation });
    }
    Ok(LogKeysView { vkey: ledger.verifier_key().to_string(), changes })
}

/// Looks every second whether the quorum has gone or is back, until told to stop.
pub async fn run(app: App, mut stop: watch::Receiver<bool>) {
    while !*stop.borrow() {
        if let Err(error) = app.record_witness_status().await {
            tracing::warn!(%error, "what became of the witnesses' quorum could not be recorded; it is tried again");
        }
        tokio::select! {
            () = tokio::time::sleep(PERIOD) => {}
            changed = stop.changed() => if changed.is_err() { return },
        }
    }
}
