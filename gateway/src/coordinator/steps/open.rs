//! Opening: sums, new parameters, coalition parameters, participation.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::PoisonError;

use konclave_crypto::aggregator::Opening;
use konclave_crypto::encoding::ApplyError;
use konclave_crypto::messages::AgreementProposal;
use konclave_crypto::{Digest, OpenedSum, RoundContext, SiteId, apply_sums};
use konclave_ledger::Hash;
use konclave_ledger::records::{CoalitionParameters, OpenedBatch, Record};
use konclave_policies::rounds::RoundPolicy;

use super::round::{abort, abort_for, close, round_object};
use super::setup::deadline;
use super::{caller, names};
use crate::coordinator::CoordinatorError;
use crate::core::{App, CommandError, EVALUATORS_ONLY, Entry, Held};
use crate::projections::{JobState, RoundState, to_hash};
use crate::rounds_store::RoundKey;

/// What an opening made, all of it stored as blobs.
struct Opened {
    batches: Vec<OpenedBatch>,
    after: Digest,
    coalitions: Option<Vec<CoalitionParameters>>,
}

enum Outcome {
    Opened(Opened, AgreementProposal, BTreeSet<SiteId>),
    Abort(konclave_crypto::aggregator::Abort),
    /// The sums are open, but applying them leaves the range of finite numbers.
    Useless(ApplyError),
    /// Another step closed it.
    Nothing,
}

/// Opens the sums of the agreed set. Everything is computed from durable messages: after a crash, the same again.
pub(super) async fn open(
    app: &App,
    held: &Held,
    job: &JobState,
    policy: &RoundPolicy,
    key: &RoundKey,
) -> Result<(), CoordinatorError> {
    let missing = || CoordinatorError::Missing { what: key.to_string() };
    let round = job.rounds.get(&key.round).ok_or_else(missing)?;
    let live = app.live_round(key).await?;
    let (owned_key, owned_job, owned_round) = (key.clone(), job.clone(), round.clone());
    let outcome = app
        .blocking(move |app| {
            let (closed, context) = {
                let mut live = live.lock().unwrap_or_else(PoisonError::into_inner);
                (live.close_unmasking(), live.context().clone())
            };
            match closed {
                Ok(None) => Ok(Outcome::Nothing),
                Ok(Some((opening, proposal, answered))) => {
                    let opened = open_sums(app, &owned_key, opening)?;
                    match opened {
                        Ok(sums) => match store(app, &owned_job, &owned_round, &context, &sums)? {
                            Ok(opened) => Ok(Outcome::Opened(opened, proposal, answered)),
                            Err(useless) => Ok(Outcome::Useless(useless)),
                        },
                        Err(abort) => Ok(Outcome::Abort(abort)),
                    }
                }
                Err(abort) => Ok(Outcome::Abort(abort)),
            }
        })
        .await?;
    match outcome {
        Outcome::Nothing => Ok(()),
        Outcome::Abort(fault) => abort_for(app, held, job, round.round, &fault).await,
        Outcome::Useless(error) => {
            let reason = format!("the opened sum was refused: {error}");
            abort(app, held, job, round.round, reason, BTreeSet::new()).await
        }
        Outcome::Opened(opened, proposal, answered) => {
            let entries = entries(app, job, policy, round, opened, &proposal, &answered).await?;
            app.append(held, &caller("open-round"), entries).await?;
            close(app, key.clone()).await
        }
    }
}

type Sums = Result<Vec<OpenedSum>, konclave_crypto::aggregator::Abort>;

fn open_sums(app: &App, key: &RoundKey, opening: Opening) -> Result<Sums, CoordinatorError> {
    let mut bodies = BTreeMap::new();
    for site in opening.agreed().to_vec() {
        let body = app.rounds().read_body(key, &site)?;
        bodies.insert(site, std::io::BufReader::with_capacity(1 << 16, body));
    }
    Ok(opening.open(bodies))
}

/// Applies the sums and stores everything that the ledger is going to name.
fn store(
    app: &App,
    job: &JobState,
    round: &RoundState,
    context: &RoundContext,
    sums: &[OpenedSum],
) -> Result<Result<Opened, ApplyError>, CoordinatorError> {
    let before = read_parameters(&std::fs::read(app.blobs().path(&round.parameters_before))?);
    let rate = job.request.server_rate_micro;
    let apply = |sums: &[OpenedSum]| apply_sums(&before, sums, &context.encoding, rate);
    let after = match apply(sums) {
        Ok(parameters) => put_owned(app, &parameter_bytes(&parameters), job)?,
        Err(useless) => return Ok(Err(useless)),
    };
    let mut batches = Vec::with_capacity(sums.len());
    for sum in sums {
        let bytes = sum_bytes(sum);
        let blob = if round.scoring { put_restricted(app, &bytes)? } else { put_owned(app, &bytes, job)? };
        batches.push(OpenedBatch { sites: names(&sum.sites), sum: to_hash(&blob), weight: sum.weight });
    }
    if !round.scoring {
        return Ok(Ok(Opened { batches, after, coalitions: None }));
    }
    let mut coalitions =
        vec![CoalitionParameters { coalition: 0, parameters: to_hash(&round.parameters_before) }];
    let all = u16::try_from((1_u32 << sums.len().min(15)) - 1).unwrap_or(u16::MAX);
    for coalition in 1..=all {
        let parameters = if coalition == all {
            after
        } else {
            let members = sums.iter().enumerate().filter(|(g, _)| coalition >> g & 1 == 1);
            let members: Vec<OpenedSum> = members.map(|(_, sum)| sum.clone()).collect();
            match apply(&members) {
                Ok(parameters) => put_restricted(app, &parameter_bytes(&parameters))?,
                Err(useless) => return Ok(Err(useless)),
            }
        };
        coalitions.push(CoalitionParameters { coalition, parameters: to_hash(&parameters) });
    }
    Ok(Ok(Opened { batches, after, coalitions: Some(coalitions) }))
}

/// Stores a blob that the job's organisation may read: the model, and the sum over all sites, which is no more than
/// the step from one model to the next.
fn put_owned(app: &App, bytes: &[u8], job: &JobState) -> Result<Digest, CoordinatorError> {
    let digest = app.blobs().put_bytes(bytes)?;
    app.blobs().add_owner(&digest, &job.organisation)?;
    // The ledger names it for all, also if an earlier round made the same bytes for the evaluators.
    app.blobs().release(&digest, EVALUATORS_ONLY)?;
    Ok(digest)
}

/// Stores a blob that sites must not read: from the sum of a batch of three, two of its sites learn the third's
/// update. The mark is durable before the ledger names the blob. Bytes that somebody has anyway, such as the parameters
/// that the round began from, are not restricted.
fn put_restricted(app: &App, bytes: &[u8]) -> Result<Digest, CoordinatorError> {
    let digest = Digest::of(bytes);
    if !app.blobs().exists(&digest) {
        app.blobs().put_bytes(bytes)?;
    }
    app.blobs().restrict(&digest, EVALUATORS_ONLY)?;
    Ok(digest)
}

async fn entries(
    app: &App,
    job: &JobState,
    policy: &RoundPolicy,
    round: &RoundState,
    opened: Opened,
    proposal: &AgreementProposal,
    answered: &BTreeSet<SiteId>,
) -> Result<Vec<Entry>, CoordinatorError> {
    let coalitions = match opened.coalitions {
        Some(listed) => Some(app.document(serde_json::to_value(listed).map_err(CommandError::from)?).await?),
        None => None,
    };
    let (before, after) = (to_hash(&round.parameters_before), to_hash(&opened.after));
    let record = Record::RoundOpened {
        job: job.job.to_string(),
        round: round.round.get(),
        context: to_hash(&round.context),
        batches: opened.batches,
        parameters_before: before,
        parameters_after: after,
        coalitions,
        evaluation_deadline: deadline(app.clock().now(), policy.evaluation_seconds),
    };
    let object = round_object(job, round.round);
    let reason = format!("the sum over {} sites is open", proposal.agreed.len());
    let mut entries = vec![Entry::new(object.clone(), reason, record).changing(Some(before), Some(after))];
    let signed = round.agreed.as_ref().map(|agreed| agreed.signed.as_slice()).unwrap_or_default();
    for site in &job.cohort {
        let header = proposal.manifests.iter().find(|manifest| manifest.header.site == *site);
        let manifest = match header {
            Some(header) => Some(Hash::of(&serde_json::to_vec(header).map_err(CommandError::from)?)),
            None => None,
        };
        let record = Record::ParticipationRecorded {
            job: job.job.to_string(),
            round: round.round.get(),
            site: site.to_string(),
            uploaded: manifest.is_some(),
            agreed: proposal.agreed.contains(site),
            signed: signed.contains(site),
            unmasked: answered.contains(site),
            manifest,
        };
        entries.push(Entry::new(object.clone(), "what the site did in this round", record).about_site(site));
    }
    Ok(entries)
}

/// A flat parameter vector from its blob: little-endian f32.
pub(super) fn read_parameters(bytes: &[u8]) -> Vec<f32> {
    bytes.chunks_exact(4).filter_map(|word| word.try_into().ok()).map(f32::from_le_bytes).collect()
}

fn parameter_bytes(parameters: &[f32]) -> Vec<u8> {
    parameters.iter().flat_map(|value| value.to_le_bytes()).collect()
}

fn sum_bytes(sum: &OpenedSum) -> Vec<u8> {
    sum.coordinates.iter().flat_map(|value| value.to_le_bytes()).collect()
}
