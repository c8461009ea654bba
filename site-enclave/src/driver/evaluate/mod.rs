//! The evaluator: measures global models and coalitions on the deposited benchmark data, and signs what it found.
//!
//! It is no oracle: it answers the questions of rounds whose context the consortium's gateway signed, each once, as
//! [`record`] says, and with numbers of four decimals. Nor does it score what it is given: parameters must follow from
//! what the sites uploaded, as far as [`check`] can tell.

mod check;
mod record;

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;

use konclave_crypto::{Digest, JobId, MemberRole, RoundNumber, SiteId};
use konclave_ledger::Hash;
use konclave_ledger::dsse::Envelope;
use konclave_ledger::statements::{self, EvaluationStatement, TaskMetric};
use konclave_openapi::jobs::{Job, JobPhase};
use konclave_openapi::models::ModelManifest;
use konclave_openapi::rounds::Round;
use konclave_openapi::work::WorkItem;
use tokio::sync::Mutex;

use self::check::{Means, OpenedRound};
use self::record::{JobRecord, Question};
use super::error::{StepError, blob_folder, blocking};
use super::learner::{Examiner, tasks_of};
use super::member::{Member, SiteError};
use super::session::fetch_model;
use super::work::{self, Duties};
use crate::clock;
use crate::config::{SiteConfig, SiteFolder};
use crate::consent::{PolicyFault, RoundPolicies, RoundsFloors};
use crate::deposit::DepositFacts;
use crate::trainer::read_parameters;
use crate::witness::Witness;

/// Most coordinates of a model that is measured: a parameter file of 2 GiB.
const MAX_COORDINATES: u64 = 1 << 29;

/// The step of signed scores, in millionths: a finer one would say more about single molecules than about models.
const RESOLUTION_MICRO: i64 = 100;

/// A benchmark evaluator.
#[derive(Debug)]
pub struct Evaluator<E> {
    member: Arc<Member>,
    examiner: Arc<E>,
    deposit: Option<DepositFacts>,
    witness: Arc<Mutex<Witness>>,
    policies: RoundPolicies,
    /// The round of each job that was asked about last.
    rounds: Mutex<BTreeMap<JobId, OpenedRound>>,
}

impl<E: Examiner> Evaluator<E> {
    /// Runs an evaluator until `shutdown` is ready.
    ///
    /// # Errors
    /// [`SiteError`] if it cannot start, or stops because the ledger raised an alarm.
    pub async fn run(
        folder: SiteFolder,
        config: SiteConfig,
        examiner: E,
        shutdown: impl Future<Output = ()> + Send,
    ) -> Result<(), SiteError> {
        let member = Arc::new(Member::open(folder, config, Some(MemberRole::Evaluator))?);
        let witness = Arc::new(Mutex::new(work::witness_of(&member)?));
        let deposit = examiner.deposit();
        // Floors protect the data that a member gives; an evaluator gives none and takes any policy of the consortium.
        let floors = RoundsFloors::embedded().map_err(|error| SiteError::from(PolicyFault::from(error)))?;
        let accepted = member.config.rounds_policy.as_deref();
        let policies = RoundPolicies::open(member.disk.clone(), &member.folder, accepted, floors)?;
        let evaluator = Arc::new(Self {
            member,
            examiner: Arc::new(examiner),
            deposit,
            witness: Arc::clone(&witness),
            policies,
            rounds: Mutex::default(),
        });
        tracing::info!(
            "evaluator {} works for {}",
            evaluator.member.site(),
            evaluator.member.config.gateway_url
        );
        work::serve(evaluator, witness, shutdown).await
    }

    async fn evaluate(
        &self,
        job: &JobId,
        round: RoundNumber,
        parameters: Digest,
        coalition: &[Vec<SiteId>],
    ) -> Result<(), StepError> {
        let Member { disk, folder, client, enrolled, .. } = &*self.member;
        let known = client.job(job).await?;
        if known.job != *job {
            return Err(StepError::Changed { job: job.clone(), what: "id" });
        }
        let record = JobRecord::open(disk, folder, job, &known.request)?;
        let view = client.round(job, round).await?;
        let context = view
            .context
            .verify_signer(&enrolled.root, clock::now())
            .map_err(|source| StepError::Context { round, source })?;
        let refused = |rule| StepError::Evaluation { job: job.clone(), round, rule };
        if context.job != *job || context.round != round {
            return Err(refused("the signed context is another round's"));
        }
        if context.training != known.request.training_digest() {
            return Err(refused("the signed context is for another training specification"));
        }
        let question =
            Question::of(context, parameters, view.parameters_after, coalition).map_err(refused)?;
        let statement = match record.answered(round, &question, parameters)? {
            Some(statement) => statement,
            None => {
                let (manifest, model) = fetch_model(&self.member, job, &known.request).await?;
                if !is_sound(&manifest) {
                    return Err(StepError::Changed { job: job.clone(), what: "number of coordinates" });
                }
                self.check(&known, &manifest, &view, &question, parameters).await?;
                let statement =
                    self.measure(&known, &manifest, model, (round, parameters, coalition)).await?;
                record.keep(round, &question, parameters, &statement)?;
                statement
            }
        };
        client.send_evaluation(statement).await?;
        Ok(())
    }

    /// Checks that parameters follow from the round's sums, and the sums from what the sites uploaded.
    async fn check(
        &self,
        known: &Job,
        manifest: &ModelManifest,
        view: &Round,
        question: &Question,
        parameters: Digest,
    ) -> Result<(), StepError> {
        let job = &known.job;
        let mut rounds = self.rounds.lock().await;
        let mut opened = match rounds.remove(job) {
            Some(opened) if opened.round() == view.context.context.round => opened,
            Some(_) | None => {
                let Self { member, witness, policies, .. } = self;
                OpenedRound::gather(Means { member, witness, policies }, known, manifest, view).await?
            }
        };
        let checked = opened.check(&self.member, job, question, parameters).await;
        rounds.insert(job.clone(), opened);
        checked
    }

    async fn measure(
        &self,
        known: &Job,
        manifest: &ModelManifest,
        model: PathBuf,
        (round, parameters, coalition): (RoundNumber, Digest, &[Vec<SiteId>]),
    ) -> Result<Envelope, StepError> {
        let Job { job, request, .. } = known;
        let tasks = tasks_of(request)?;
        let blobs = blob_folder(&self.member.disk, &self.member.folder)?;
        let coordinates = manifest.coordinates;
        let limit = coordinates.saturating_mul(4);
        let file = self.member.client.fetch_blob(parameters, &blobs, limit).await?;
        let examiner = Arc::clone(&self.examiner);
        let scores = blocking("the evaluation", move || -> Result<_, StepError> {
            let parameters = read_parameters(&file, coordinates)?;
            let scores = examiner.examine(&model, &parameters, &tasks)?;
            if let Err(error) = std::fs::remove_file(&file) {
                tracing::debug!("{} stays: {error}", file.display());
            }
            Ok(scores)
        })
        .await??;
        let mut sites: Vec<String> = coalition.iter().flatten().map(ToString::to_string).collect();
        sites.sort_unstable();
        tracing::info!(
            "round {round}: {} scores {} of 1000000",
            if sites.is_empty() {
                "the global model".to_owned()
            } else {
                format!("the coalition of {}", sites.join(", "))
            },
            coarse(scores.utility_micro)
        );
        let statement = EvaluationStatement {
            job: job.to_string(),
            round: round.get(),
            model: Hash(*parameters.as_bytes()),
            coalition: sites,
            benchmark: self.deposit.as_ref().map_or(Hash::ZERO, |facts| facts.rows),
            metrics: scores.metrics.into_iter().map(coarse_metric).collect(),
            utility_micro: coarse(scores.utility_micro),
            made_at: clock::now().get(),
        };
        Ok(statements::sign(self.member.keys.identity.seed(), &statement)?)
    }
}

/// Whether a manifest's coordinates are its tensors' and few enough.
fn is_sound(manifest: &ModelManifest) -> bool {
    let elements = |shape: &[u64]| shape.iter().try_fold(1_u64, |product, side| product.checked_mul(*side));
    let sum =
        manifest.parameters.iter().try_fold(0_u64, |sum, tensor| sum.checked_add(elements(&tensor.shape)?));
    sum == Some(manifest.coordinates) && (1..=MAX_COORDINATES).contains(&manifest.coordinates)
}

/// A score to the nearest step, halves away from zero.
fn coarse(micro: i64) -> i64 {
    let half = micro.signum() * (RESOLUTION_MICRO / 2);
    micro.saturating_add(half) / RESOLUTION_MICRO * RESOLUTION_MICRO
}

fn coarse_metric(metric: TaskMetric) -> TaskMetric {
    TaskMetric { value_micro: coarse(metric.value_micro), ..metric }
}

impl<E: Examiner> Duties for Evaluator<E> {
    fn member(&self) -> &Arc<Member> {
        &self.member
    }

    fn deposit(&self) -> Option<DepositFacts> {
        self.deposit.clone()
    }

    async fn perform(&self, item: &WorkItem) -> Result<(), StepError> {
        match item {
            WorkItem::Evaluate { job, round, parameters, coalition } => {
                self.evaluate(job, *round, *parameters, coalition).await
            }
            WorkItem::Consent { .. }
            | WorkItem::AdvertiseKeys { .. }
            | WorkItem::Encapsulate { .. }
            | WorkItem::Upload { .. }
            | WorkItem::Agree { .. }
            | WorkItem::Unmask { .. }
            | WorkItem::Tag { .. }
            | WorkItem::Verify { .. } => {
                tracing::warn!("the gateway asks the evaluator to train: ignored");
                Ok(())
            }
        }
    }

    /// Empties the cache once no job needs it.
    async fn tidy(&self) -> Result<(), StepError> {
        let Member { disk, folder, client, .. } = &*self.member;
        let mut open = 0;
        for job in record::open_jobs(folder)? {
            match client.job(&job).await {
                Ok(known) => match known.phase {
                    JobPhase::Finished | JobPhase::Aborted { .. } => record::close(disk, folder, &job)?,
                    JobPhase::Consent { .. }
                    | JobPhase::AdvertiseKeys { .. }
                    | JobPhase::Encapsulate { .. }
                    | JobPhase::Running => open += 1,
                },
                Err(error) if error.is_over() => record::close(disk, folder, &job)?,
                Err(error) => return Err(error.into()),
            }
        }
        if open > 0 {
            return Ok(());
        }
        self.rounds.lock().await.clear();
        work::empty_cache(&self.member)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn scores_have_four_decimals() {
        for (exact, signed) in [(0, 0), (49, 0), (50, 100), (-50, -100), (-49, 0), (123_456, 123_500)] {
            assert_eq!(coarse(exact), signed);
        }
        assert_eq!(coarse(i64::MAX) % RESOLUTION_MICRO, 0);
        assert_eq!(coarse(i64::MIN) % RESOLUTION_MICRO, 0);
    }

    #[test]
    fn coordinates_are_counted_and_bounded() {
        let manifest = |shape: Vec<u64>, coordinates| ModelManifest {
            parameters: vec![konclave_openapi::models::ParameterTensor { name: "w".to_owned(), shape }],
            coordinates,
            heads: 1,
            torchscript: Digest::of(b"m"),
            initial_parameters: Digest::of(b"p"),
        };
        assert!(is_sound(&manifest(vec![3, 4], 12)));
        for (shape, coordinates) in [
            (vec![3, 4], 13),
            (vec![0], 0),
            (vec![1 << 30], 1 << 30),
            (vec![1 << 32, 1 << 32], 0),
            (vec![u64::MAX], u64::MAX),
        ] {
            assert!(!is_sound(&manifest(shape, coordinates)));
        }
    }
}
