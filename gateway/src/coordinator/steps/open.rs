//! Opening: sums, new parameters, coalition parameters, participation.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::File;
use std::io::{self, Read, Write};
use std::sync::{Arc, PoisonError};

use konclave_crypto::aggregator::{Abort, Opening, SumSink, Tagging};
use konclave_crypto::encoding::{ApplyError, ServerStep};
use konclave_crypto::messages::AgreementProposal;
use konclave_crypto::verification::SumAnnouncement;
use konclave_crypto::{Digest, RoundContext, SiteId};
use konclave_ledger::Hash;
use konclave_ledger::records::{CoalitionParameters, OpenedBatch, OpenedTotal, Record};
use konclave_policies::rounds::RoundPolicy;

use super::round::{abort, abort_for, round_object};
use super::setup::deadline;
use super::{caller, names};
use crate::blobs::BlobWriter;
use crate::coordinator::CoordinatorError;
use crate::coordinator::live::StoredOpening;
use crate::core::{App, CommandError, EVALUATORS_ONLY, Entry, Held};
use crate::projections::{JobState, RoundState, to_hash};
use crate::rounds_store::RoundKey;

/// What an opening made, all of it stored as blobs.
struct Opened {
    announcement: SumAnnouncement,
    batches: Vec<OpenedBatch>,
    total: OpenedTotal,
    after: Digest,
    coalitions: Option<Vec<CoalitionParameters>>,
}

enum Outcome {
    Opened(Box<Opened>, AgreementProposal, BTreeSet<SiteId>),
    Abort(Abort),
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
    let shared = Arc::clone(&live);
    let outcome = app
        .blocking(move |app| {
            let (closed, context) = {
                let mut live = shared.lock().unwrap_or_else(PoisonError::into_inner);
                (live.close_unmasking(), live.context().clone())
            };
            let (opening, proposal, answered) = match closed {
                Ok(Some(closed)) => closed,
                Ok(None) => return Ok(Outcome::Nothing),
                Err(abort) => return Ok(Outcome::Abort(abort)),
            };
            let (tagging, blobs) = match open_sums(app, &owned_key, opening)? {
                Ok(opened) => opened,
                Err(abort) => return Ok(Outcome::Abort(abort)),
            };
            let opened = match apply(app, &owned_job, &owned_round, &context, &tagging, &blobs)? {
                Ok(opened) => opened,
                Err(useless) => return Ok(Outcome::Useless(useless)),
            };
            let stored = StoredOpening {
                announcement: tagging.announcement().clone(),
                opened: tagging.opened().clone(),
            };
            app.rounds().put_opening(&owned_key, &stored)?;
            shared.lock().unwrap_or_else(PoisonError::into_inner).begin_tagging(tagging);
            Ok(Outcome::Opened(Box::new(opened), proposal, answered))
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
            let entries = entries(app, job, policy, round, *opened, &proposal, &answered).await?;
            app.append(held, &caller("open-round"), entries).await?;
            app.notify();
            Ok(())
        }
    }
}

/// The blobs of the opened sums: one for each, and the total.
struct SumBlobs {
    sums: Vec<Digest>,
    total: Digest,
}

/// Writes opened sums to blobs as they come.
struct SumFiles {
    sums: Vec<BlobWriter>,
    total: BlobWriter,
}

impl SumSink for SumFiles {
    fn take(&mut self, sum: usize, coordinates: &[i32]) -> io::Result<()> {
        let file = self.sums.get_mut(sum).ok_or(io::ErrorKind::InvalidInput)?;
        file.write_all(&sum_bytes(coordinates))
    }

    fn take_total(&mut self, coordinates: &[i32]) -> io::Result<()> {
        self.total.write_all(&sum_bytes(coordinates))
    }
}

fn open_sums(
    app: &App,
    key: &RoundKey,
    opening: Opening,
) -> Result<Result<(Tagging, SumBlobs), Abort>, CoordinatorError> {
    let mut bodies = BTreeMap::new();
    for site in opening.agreed() {
        let body = app.rounds().read_body(key, &site)?;
        bodies.insert(site, io::BufReader::with_capacity(1 << 16, body));
    }
    let writers = (0..opening.sums()).map(|_| app.blobs().writer()).collect::<io::Result<Vec<_>>>()?;
    let several = writers.len() > 1;
    let mut files = SumFiles { sums: writers, total: app.blobs().writer()? };
    let tagging = match opening.open_into(bodies, &mut files) {
        Ok(tagging) => tagging,
        // A full disk is a reason to try again, not to end the round.
        Err(Abort::Sink { kind }) => return Err(io::Error::from(kind).into()),
        Err(abort) => return Ok(Err(abort)),
    };
    let sums = files.sums.into_iter().map(BlobWriter::finish).collect::<io::Result<Vec<_>>>()?;
    let total = match sums.as_slice() {
        [only] if !several => *only,
        [] | [..] => files.total.finish()?,
    };
    Ok(Ok((tagging, SumBlobs { sums, total })))
}

/// Applies the sums, and says who may read what came of it, before the ledger names it.
fn apply(
    app: &App,
    job: &JobState,
    round: &RoundState,
    context: &RoundContext,
    tagging: &Tagging,
    blobs: &SumBlobs,
) -> Result<Result<Opened, ApplyError>, CoordinatorError> {
    let announcement = tagging.announcement().clone();
    let rate = job.request.server_rate_micro;
    let step = |sums: &[usize]| -> Result<Result<Digest, ApplyError>, CoordinatorError> {
        let chosen =
            sums.iter().filter_map(|index| blobs.sums.get(*index).zip(announcement.sums.get(*index)));
        let (files, weights): (Vec<&Digest>, Vec<u64>) = chosen.map(|(blob, sum)| (blob, sum.weight)).unzip();
        let step = match ServerStep::new(&context.encoding, weights.iter().sum(), rate) {
            Ok(step) => step,
            Err(useless) => return Ok(Err(useless)),
        };
        move_parameters(app, &round.parameters_before, &files, &step)
    };
    let every: Vec<usize> = (0..blobs.sums.len()).collect();
    let after = match step(&every)? {
        Ok(after) => after,
        Err(useless) => return Ok(Err(useless)),
    };
    own(app, &after, job)?;
    let mut batches = Vec::with_capacity(blobs.sums.len());
    for (blob, sum) in blobs.sums.iter().zip(&announcement.sums) {
        if round.scoring {
            app.blobs().restrict(blob, EVALUATORS_ONLY)?;
        } else {
            own(app, blob, job)?;
        }
        batches.push(OpenedBatch { sites: names(&sum.sites), sum: to_hash(blob), weight: sum.weight });
    }
    own(app, &blobs.total, job)?;
    let total = OpenedTotal { sum: to_hash(&blobs.total), weight: announcement.total.weight };
    if !round.scoring {
        return Ok(Ok(Opened { announcement, batches, total, after, coalitions: None }));
    }
    let mut coalitions =
        vec![CoalitionParameters { coalition: 0, parameters: to_hash(&round.parameters_before) }];
    let all = u16::try_from((1_u32 << blobs.sums.len().min(15)) - 1).unwrap_or(u16::MAX);
    for coalition in 1..=all {
        let parameters = if coalition == all {
            after
        } else {
            let members: Vec<usize> = every.iter().copied().filter(|g| coalition >> g & 1 == 1).collect();
            match step(&members)? {
                // Sites must not read it: from the sum of a batch of three, two of its sites learn the third's update.
                Ok(parameters) => {
                    app.blobs().restrict(&parameters, EVALUATORS_ONLY)?;
                    parameters
                }
                Err(useless) => return Ok(Err(useless)),
            }
        };
        coalitions.push(CoalitionParameters { coalition, parameters: to_hash(&parameters) });
    }
    Ok(Ok(Opened { announcement, batches, total, after, coalitions: Some(coalitions) }))
}

/// Coordinates moved at once: half a megabyte of each file.
const MOVED_AT_ONCE: usize = 1 << 17;

/// Applies sums to parameters block by block, so that no model is ever whole in memory.
fn move_parameters(
    app: &App,
    before: &Digest,
    sums: &[&Digest],
    step: &ServerStep<'_>,
) -> Result<Result<Digest, ApplyError>, CoordinatorError> {
    let mut before = File::open(app.blobs().path(before))?;
    let mut sums =
        sums.iter().map(|sum| File::open(app.blobs().path(sum))).collect::<io::Result<Vec<_>>>()?;
    let mut left = usize::try_from(before.metadata()?.len() / 4).map_err(io::Error::other)?;
    let mut after = app.blobs().writer()?;
    let mut bytes = vec![0; MOVED_AT_ONCE * 4];
    let mut first = 0;
    while left > 0 {
        let count = left.min(MOVED_AT_ONCE);
        let bytes = bytes.get_mut(..count * 4).unwrap_or_default();
        before.read_exact(bytes)?;
        let mut parameters: Vec<f32> = words(bytes).map(f32::from_le_bytes).collect();
        let mut totals = vec![0_i64; count];
        for sum in &mut sums {
            sum.read_exact(bytes)?;
            totals
                .iter_mut()
                .zip(words(bytes))
                .for_each(|(total, word)| *total += i64::from(i32::from_le_bytes(word)));
        }
        if let Err(useless) = step.apply(first, &mut parameters, &totals) {
            return Ok(Err(useless));
        }
        for (slot, value) in bytes.as_chunks_mut::<4>().0.iter_mut().zip(&parameters) {
            *slot = value.to_le_bytes();
        }
        after.write_all(bytes)?;
        left -= count;
        first += count as u64;
    }
    Ok(Ok(after.finish()?))
}

fn words(bytes: &[u8]) -> impl Iterator<Item = [u8; 4]> + '_ {
    bytes.as_chunks::<4>().0.iter().copied()
}

/// Lets the job's organisation read a blob: the model, and the sum over all sites, which is no more than the step from
/// one model to the next.
fn own(app: &App, digest: &Digest, job: &JobState) -> Result<(), CoordinatorError> {
    app.blobs().add_owner(digest, &job.organisation)?;
    // The ledger names it for all, also if an earlier round made the same bytes for the evaluators.
    Ok(app.blobs().release(digest, EVALUATORS_ONLY)?)
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
        total: opened.total,
        announcement: to_hash(&opened.announcement.digest()),
        tag_deadline: deadline(app.clock().now(), policy.unmask_seconds),
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

fn sum_bytes(coordinates: &[i32]) -> Vec<u8> {
    coordinates.iter().flat_map(|value| value.to_le_bytes()).collect()
}
