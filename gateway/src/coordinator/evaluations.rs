//! Which parameters the evaluators are asked to score, and which scoring rounds are complete.

use std::collections::{BTreeMap, BTreeSet};
use std::io;

use konclave_crypto::{Digest, RoundNumber, SiteId, UnixSeconds};
use konclave_ledger::records::CoalitionParameters;

use crate::blobs::BlobStore;
use crate::projections::{EvaluationState, JobState, OpenedState, RoundState, State, to_digest};

/// Parameters to be scored.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Needed {
    /// The opened round they belong to.
    pub round: RoundNumber,
    /// The blob of the flat parameter vector.
    pub parameters: Digest,
    /// The batches whose sums made them; empty for a global model.
    pub coalition: Vec<Vec<SiteId>>,
    /// Until when the score counts.
    pub deadline: UnixSeconds,
    /// The ledger entry that began the round.
    pub context_entry: u64,
}

impl Needed {
    /// The sites of the coalition as evaluation statements name them: sorted.
    #[must_use]
    pub fn coalition_sites(&self) -> Vec<SiteId> {
        let mut sites: Vec<SiteId> = self.coalition.iter().flatten().cloned().collect();
        sites.sort();
        sites
    }
}

/// All that is to be scored for a job, oldest round first: the global parameters of every opened round, and in a
/// scoring round those it started from and those of every coalition. Parameters that occur twice (all batches
/// together are the global model) are asked for once.
///
/// # Errors
/// If a stored list of coalitions cannot be read.
pub fn needed(job: &JobState, blobs: &BlobStore) -> io::Result<Vec<Needed>> {
    let mut all = Vec::new();
    let mut asked = BTreeSet::new();
    for round in job.rounds.values() {
        let Some(opened) = round.opened() else { continue };
        let mut ask = |parameters: Digest, coalition: Vec<Vec<SiteId>>| {
            if asked.insert(parameters) {
                let deadline = opened.evaluation_deadline;
                let (round, context_entry) = (round.round, round.entry);
                all.push(Needed { round, parameters, coalition, deadline, context_entry });
            }
        };
        if round.scoring {
            ask(round.parameters_before, Vec::new());
        }
        ask(opened.parameters_after, Vec::new());
        let batches = batches(opened);
        for entry in coalitions(opened, blobs)? {
            let chosen = batches.iter().enumerate().filter(|(g, _)| entry.coalition >> g & 1 == 1);
            ask(to_digest(&entry.parameters), chosen.map(|(_, batch)| batch.clone()).collect());
        }
    }
    Ok(all)
}

/// The batches of an opened round, in the order of the coalitions' bits.
#[must_use]
pub fn batches(opened: &OpenedState) -> Vec<Vec<SiteId>> {
    let parsed = |names: &Vec<String>| names.iter().filter_map(|name| name.parse().ok()).collect();
    opened.batches.iter().map(|batch| parsed(&batch.sites)).collect()
}

/// The parameters of every coalition of a scoring round; nothing for other rounds.
///
/// # Errors
/// If the stored list cannot be read.
pub fn coalitions(opened: &OpenedState, blobs: &BlobStore) -> io::Result<Vec<CoalitionParameters>> {
    let Some(document) = &opened.coalitions else { return Ok(Vec::new()) };
    let listed = match &document.inline {
        Some(value) => serde_json::from_value(value.clone()),
        None => serde_json::from_slice(&std::fs::read(blobs.path(&to_digest(&document.digest)))?),
    };
    listed.map_err(io::Error::other)
}

/// Whether an evaluator has scored these parameters.
#[must_use]
pub fn is_scored(state: &State, job: &JobState, evaluator: Option<&SiteId>, parameters: &Digest) -> bool {
    state.evaluations.iter().any(|known| {
        known.job == job.job
            && known.parameters == *parameters
            && evaluator.is_none_or(|evaluator| known.evaluator == *evaluator)
    })
}

/// The scores of all coalitions of a round, if one evaluator has scored them all on one benchmark.
///
/// # Errors
/// If the stored list of coalitions cannot be read.
pub fn complete_scores<'a>(
    state: &'a State,
    job: &JobState,
    round: &RoundState,
    blobs: &BlobStore,
) -> io::Result<Option<Vec<(u16, &'a EvaluationState)>>> {
    let Some(opened) = round.opened().filter(|_| round.scoring) else { return Ok(None) };
    let coalitions = coalitions(opened, blobs)?;
    let mut by_evaluator: BTreeMap<(&SiteId, Digest), BTreeMap<Digest, &EvaluationState>> = BTreeMap::new();
    for known in state.evaluations.iter().filter(|known| known.job == job.job) {
        let scores = by_evaluator.entry((&known.evaluator, known.benchmark)).or_default();
        scores.entry(known.parameters).or_insert(known);
    }
    Ok(by_evaluator.values().find_map(|scores| {
        let score = |entry: &CoalitionParameters| {
            scores.get(&to_digest(&entry.parameters)).map(|known| (entry.coalition, *known))
        };
        coalitions.iter().map(score).collect()
    }))
}
