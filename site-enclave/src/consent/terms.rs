//! The terms of a job as policy sees them: before the roster is known, and in each round.

use konclave_crypto::{Mode, RoundContext};
use konclave_openapi::jobs::{Job, NewJob};
use konclave_policies::quorum;
use konclave_policies::rounds::RoundPolicy;
use konclave_policies::site::JobTerms;

/// What an invitation promises: the consortium's limits, for as many sites as are invited.
#[must_use]
pub fn at_consent(job: &Job, rounds: &RoundPolicy) -> JobTerms {
    let request = &job.request;
    // An empty list invites all, of whom at least a cohort must answer.
    let invited =
        if request.invited.is_empty() { usize::from(rounds.min_cohort) } else { request.invited.len() };
    let sites = u16::try_from(invited).unwrap_or(u16::MAX);
    JobTerms {
        purpose: request.purpose.clone(),
        tasks: request.tasks.iter().map(|task| task.task.clone()).collect(),
        policy: job.policy,
        sites,
        threshold: quorum::threshold(sites),
        min_agreed: rounds.min_agreed,
        min_batch: rounds.min_batch,
        scoring_batch_size: (!request.scoring_rounds.is_empty()).then_some(rounds.scoring_batch_size),
        clip_micro: rounds.clip_micro,
        quantisation_bits: rounds.quantisation_bits,
        ring_bits: quorum::ring_bits(rounds.quantisation_bits, sites, rounds.guard_bits),
        weight_cap: rounds.weight_cap,
    }
}

/// What a round's context says.
#[must_use]
pub fn in_round(request: &NewJob, context: &RoundContext) -> JobTerms {
    let sizes = || context.batches.iter().map(Vec::len);
    let sixteen = |count: usize| u16::try_from(count).unwrap_or(u16::MAX);
    JobTerms {
        purpose: request.purpose.clone(),
        tasks: request.tasks.iter().map(|task| task.task.clone()).collect(),
        policy: context.policy,
        sites: sixteen(sizes().sum()),
        threshold: context.threshold,
        min_agreed: context.min_agreed,
        min_batch: context.min_batch,
        scoring_batch_size: match context.mode {
            Mode::Full => None,
            Mode::Group => Some(sixteen(sizes().min().unwrap_or(0))),
        },
        clip_micro: context.encoding.tensors.iter().map(|tensor| tensor.clip_micro).max().unwrap_or(0),
        quantisation_bits: context.encoding.quantisation_bits,
        ring_bits: context.encoding.ring_bits,
        weight_cap: context.encoding.weight_cap,
    }
}
