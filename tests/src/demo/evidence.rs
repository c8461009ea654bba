//! What the public interface shows of a finished job: read once, then judged.

use std::path::Path;

use konclave_crypto::Digest;
use konclave_ledger::Leaf;
use konclave_ledger::records::Record;
use konclave_openapi::contributions::{Contribution, Statement};
use konclave_openapi::deposits::Deposit;
use konclave_openapi::evaluations::Evaluation;
use konclave_openapi::jobs::Job;
use konclave_openapi::ledger::EntryView;
use konclave_openapi::rounds::Round;
use konclave_openapi::status::Status;

use super::exactness::{self, Exactness};
use super::job::initial_parameters;
use super::keys::KeyChanges;
use super::kills::Kill;
use super::rounds::Followed;
use super::stage::Stage;
use crate::error::HarnessError;

/// All that is known of a finished job.
pub(super) struct Evidence {
    pub(super) job: Job,
    /// The parameters that the developer uploaded.
    pub(super) initial: Digest,
    /// Who was killed when: this program's own doing.
    pub(super) kills: Vec<Kill>,
    /// Which keys were changed when, likewise.
    pub(super) keys: KeyChanges,
    /// Each round with what was found about its sum.
    pub(super) rounds: Vec<(Round, Exactness)>,
    pub(super) evaluations: Vec<Evaluation>,
    pub(super) contributions: Vec<Contribution>,
    pub(super) statements: Vec<Statement>,
    pub(super) deposits: Vec<Deposit>,
    pub(super) status: Status,
}

impl Evidence {
    /// Reads it as the developer and as the auditor.
    pub(super) fn gather(
        stage: &Stage,
        developer_folder: &Path,
        Followed { job, kills, keys }: Followed,
    ) -> Result<Self, HarnessError> {
        let (developer, auditor) = (&stage.developer, &stage.auditor);
        let ledger = records(&auditor.entries(None)?)?;
        let look = |round: Round| {
            let found = exactness::of(developer, &job, &round, &ledger)?;
            Ok((round, found))
        };
        let rounds = developer.rounds(&job.job)?;
        Ok(Self {
            initial: initial_parameters(developer_folder)?,
            rounds: rounds.into_iter().map(look).collect::<Result<_, HarnessError>>()?,
            evaluations: developer.evaluations(&job.job)?,
            contributions: developer.contributions(&job.job)?,
            statements: developer.statements(&job.job)?,
            deposits: auditor.deposits()?,
            status: developer.status()?,
            job,
            kills,
            keys,
        })
    }
}

/// The records of ledger entries.
fn records(entries: &[EntryView]) -> Result<Vec<Record>, HarnessError> {
    let read = |entry: &EntryView| {
        let what = || format!("ledger entry {}", entry.index);
        let leaf =
            Leaf::parse(entry.leaf.as_bytes()).map_err(|error| HarnessError::unexpected(what(), error))?;
        Record::parse(&leaf.action, &leaf.record).map_err(|error| HarnessError::unexpected(what(), error))
    };
    entries.iter().map(read).collect()
}
