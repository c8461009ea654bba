//! What the evaluator checks before it scores parameters: that they follow from what the sites uploaded.
//!
//! The sum of a batch and the model of a coalition are read by evaluators alone, so no site can check them: a gateway that
//! moves a share of the sum from one batch to another leaves the total, which sites check, as it was. What was opened, from
//! which model, and whose tags came is what the ledger proves; everything else proves itself by signatures and digests.
//!
//! A scoring round may stay pending, because a missing tag is not made up for there. Its sums are scored all the same, as
//! sites go on from them: the ledger shows that they are not verified. A tag counts as missing only if the ledger says so.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::sync::Arc;

use konclave_crypto::messages::TagEvidence;
use konclave_crypto::setup::Roster;
use konclave_crypto::verification::{AgreedSet, SumAnnouncement, SumCheck, Unverified};
use konclave_crypto::{Digest, JobId, Mode, RoundNumber, SiteFloor, SiteId, VerifiedContext};
use konclave_openapi::jobs::Job;
use konclave_openapi::models::ModelManifest;
use konclave_openapi::rounds::Round;
use konclave_policies::rounds::RoundPolicy;
use tokio::sync::Mutex;

use super::super::error::{StepError, blob_folder, blocking};
use super::super::evidence::{self, OpenedEntry};
use super::super::history::ProvenLedger;
use super::super::member::Member;
use super::super::sums;
use super::record::Question;
use crate::clock;
use crate::consent::RoundPolicies;
use crate::witness::Witness;

/// What the checks need of the evaluator.
#[derive(Debug, Clone, Copy)]
pub(super) struct Means<'a> {
    pub(super) member: &'a Member,
    pub(super) witness: &'a Mutex<Witness>,
    pub(super) policies: &'a RoundPolicies,
}

/// An opened round with the evidence of its sums, gathered once for all questions about it.
#[derive(Debug)]
pub(super) struct OpenedRound {
    round: RoundNumber,
    evidence: Arc<SumEvidence>,
    entry: OpenedEntry,
    /// Bytes of a model and of a sum.
    vector: u64,
    rate: u32,
    /// Files of the sums that are checked; `None` is the total.
    checked: BTreeMap<Option<usize>, PathBuf>,
}

/// What sums are checked against.
#[derive(Debug)]
struct SumEvidence {
    roster: Roster,
    context: VerifiedContext,
    agreed: AgreedSet,
    announcement: SumAnnouncement,
    /// Nothing if no tag came at all.
    tags: Option<TagEvidence>,
    /// Whose tags are missing, by the ledger.
    missing: BTreeSet<SiteId>,
}

impl OpenedRound {
    /// The round.
    pub(super) fn round(&self) -> RoundNumber {
        self.round
    }

    /// Gathers what the ledger and the gateway give of an opened round, and checks all but the sums.
    pub(super) async fn gather(
        means: Means<'_>,
        known: &Job,
        manifest: &ModelManifest,
        view: &Round,
    ) -> Result<Self, StepError> {
        let Means { member, witness, policies } = means;
        let (job, round) = (&known.job, view.context.context.round);
        let listed = member.client.roster(job).await?.advertisements;
        let roster = Roster::new(job.clone(), listed, &member.enrolled.root, clock::now())?;
        let policy = policies.proven(known.policy, &member.client, witness).await?;
        let context = view
            .context
            .verify(&member.enrolled.root, &roster, clock::now(), &floor(known, &policy))
            .map_err(|source| StepError::Context { round, source })?;
        let ledger = ProvenLedger::new(member, witness);
        let entry = ledger.opened(job, round).await?;
        let field = |field| StepError::ContextField { round, field };
        if context.digest() != entry.context {
            return Err(field("digest"));
        }
        if context.context().policy != known.policy {
            return Err(field("policy"));
        }
        let standing = ledger.standing(job, round, manifest.initial_parameters).await?.model;
        let refused = |rule| StepError::Evaluation { job: job.clone(), round, rule };
        if entry.before != standing || context.context().model != standing {
            return Err(refused("the ledger's entry starts from another model than the round"));
        }
        let agreed = evidence::agreed_set(member, view, &roster, &context).await?;
        let announcement = entry.announcement(&agreed);
        let announcement = announcement
            .ok_or_else(|| refused("the sums in the ledger are not those that the sites tagged"))?;
        let tagged = ledger.tagged(job, round).await?;
        let tags = if tagged.any {
            Some(evidence::tags(member, round, tagged.evidence, entry.announcement).await?)
        } else {
            None
        };
        let missing = tagged.missing.iter().filter_map(|site| site.parse().ok()).collect();
        let evidence = SumEvidence { roster, context, agreed, announcement, tags, missing };
        Ok(Self {
            round,
            evidence: Arc::new(evidence),
            entry,
            vector: manifest.coordinates.saturating_mul(4),
            rate: known.request.server_rate_micro,
            checked: BTreeMap::new(),
        })
    }

    /// Checks that parameters are what a question about the round asks for.
    pub(super) async fn check(
        &mut self,
        member: &Member,
        job: &JobId,
        question: &Question,
        parameters: Digest,
    ) -> Result<(), StepError> {
        let round = self.round;
        let refused = |rule| StepError::Evaluation { job: job.clone(), round, rule };
        let group = self.evidence.context.context().mode == Mode::Group;
        let sums = match question {
            Question::Before if parameters == self.entry.before => return Ok(()),
            Question::After if parameters == self.entry.after && group => {
                (0..self.evidence.announcement.sums.len()).map(Some).collect()
            }
            Question::After if parameters == self.entry.after => vec![None],
            Question::Before | Question::After => {
                return Err(refused("the ledger has other parameters before or after the round"));
            }
            Question::Coalition(batches) => {
                self.sums_of(batches).ok_or_else(|| refused("a batch of the coalition was not opened"))?
            }
        };
        let (mut files, mut weight) = (Vec::with_capacity(sums.len()), 0_u64);
        for sum in sums {
            files.push(self.sum(member, sum).await?);
            weight = weight.saturating_add(self.evidence.announced(sum).map_or(0, |(_, weight)| weight));
        }
        let blobs = blob_folder(&member.disk, &member.folder)?;
        let before = member.client.fetch_blob(self.entry.before, &blobs, self.vector).await?;
        let (evidence, rate) = (Arc::clone(&self.evidence), self.rate);
        let step = move || sums::moved(&evidence.context.context().encoding, &before, &files, weight, rate);
        if blocking("checking a model", step).await?? == Some(parameters) {
            Ok(())
        } else {
            Err(refused("the parameters do not follow from the round's model and the sums of the uploads"))
        }
    }

    /// The places of the sums over some batches of the context, if all were opened.
    fn sums_of(&self, batches: &BTreeSet<usize>) -> Option<Vec<Option<usize>>> {
        let context = self.evidence.context.context();
        let place = |batch: &usize| {
            let sites = context.batches.get(*batch)?;
            self.evidence.announcement.sums.iter().position(|sum| sum.sites == *sites).map(Some)
        };
        batches.iter().map(place).collect()
    }

    /// The file of one of the round's sums, checked against the tags of its sites.
    async fn sum(&mut self, member: &Member, sum: Option<usize>) -> Result<PathBuf, StepError> {
        if let Some(file) = self.checked.get(&sum).filter(|file| file.is_file()) {
            return Ok(file.clone());
        }
        let round = self.round;
        let (digest, _) = self.evidence.announced(sum).ok_or_else(|| StepError::Unverified {
            round,
            source: Unverified::NoSuchSum {
                index: sum.unwrap_or_default(),
                sums: self.evidence.announcement.sums.len(),
            },
        })?;
        let blobs = blob_folder(&member.disk, &member.folder)?;
        let file = member.client.fetch_blob(digest, &blobs, self.vector).await?;
        let body_bytes = self.evidence.context.context().encoding.body_bytes();
        let mut bodies = Vec::new();
        for upload in self.evidence.tags.iter().flat_map(|tags| &tags.uploads) {
            bodies.push(member.client.fetch_blob(upload.body, &blobs, body_bytes).await?);
        }
        let (evidence, path) = (Arc::clone(&self.evidence), file.clone());
        let check = move || {
            let checked = evidence.check(sum, &path, &bodies);
            bodies.iter().for_each(|body| sums::forget(body));
            checked
        };
        match blocking("checking an opened sum", check).await?? {
            Ok(()) => {}
            Err(Unverified::Missing { sites }) if self.may_stay_pending(&sites) => {
                tracing::warn!(
                    job = %self.evidence.context.context().job,
                    "round {round}: a sum is scored that is not verified, tags of {} sites are missing",
                    sites.len()
                );
            }
            Err(source) => return Err(StepError::Unverified { round, source }),
        }
        self.checked.insert(sum, file.clone());
        Ok(file)
    }

    /// Whether a sum may be scored without these tags.
    fn may_stay_pending(&self, without: &BTreeSet<SiteId>) -> bool {
        self.entry.scoring && without.is_subset(&self.evidence.missing)
    }
}

impl SumEvidence {
    /// The digest and the weight of a sum, as announced.
    fn announced(&self, sum: Option<usize>) -> Option<(Digest, u64)> {
        match sum {
            None => Some((self.announcement.total.coordinates, self.announcement.total.weight)),
            Some(index) => self.announcement.sums.get(index).map(|sum| (sum.coordinates, sum.weight)),
        }
    }

    fn check(
        &self,
        sum: Option<usize>,
        file: &std::path::Path,
        bodies: &[PathBuf],
    ) -> Result<Result<(), Unverified>, StepError> {
        let Self { roster, context, agreed, announcement, .. } = self;
        let (tags, recomputed) = match &self.tags {
            Some(evidence) => match sums::recomputed(context, agreed, evidence, bodies)? {
                Ok(recomputed) => (evidence.tags.as_slice(), recomputed),
                Err(reason) => return Ok(Err(reason)),
            },
            None => (Default::default(), Vec::new()),
        };
        let check = match sum {
            None => SumCheck::of_total(roster, context, agreed, announcement, tags, &recomputed),
            Some(index) => SumCheck::of_sum(index, roster, context, agreed, announcement, tags, &recomputed),
        };
        match check {
            Ok(check) => Ok(sums::read(check, file)?.map(drop)),
            Err(reason) => Ok(Err(reason)),
        }
    }
}

/// The floors that the consortium's policy sets: an evaluator has none of its own, it gives no data.
fn floor(known: &Job, policy: &RoundPolicy) -> SiteFloor {
    let scoring = !known.request.scoring_rounds.is_empty();
    SiteFloor {
        min_sites: policy.min_cohort,
        min_agreed: policy.min_agreed,
        min_batch: policy.min_batch,
        scoring_batch_size: scoring.then_some(policy.scoring_batch_size),
        batch_size: policy.batch_size,
    }
}
