//! The evaluator: measures global models and coalitions on the deposited benchmark data, and signs what it found.

use std::sync::Arc;

use konclave_crypto::{Digest, JobId, MemberRole, RoundNumber, SiteId};
use konclave_ledger::Hash;
use konclave_ledger::dsse::Envelope;
use konclave_ledger::statements::{self, EvaluationStatement};
use konclave_openapi::work::WorkItem;
use tokio::sync::Mutex;

use super::error::{StepError, blob_folder, blocking};
use super::learner::{Examiner, tasks_of};
use super::member::{Member, SiteError};
use super::session::fetch_model;
use super::work::{self, Duties};
use crate::clock;
use crate::config::{SiteConfig, SiteFolder};
use crate::deposit::DepositFacts;
use crate::trainer::read_parameters;

/// A benchmark evaluator.
#[derive(Debug)]
pub struct Evaluator<E> {
    member: Arc<Member>,
    examiner: Arc<E>,
    deposit: Option<DepositFacts>,
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
        let member = Arc::new(Member::open(folder, config, MemberRole::Evaluator)?);
        let witness = Arc::new(Mutex::new(work::witness_of(&member)?));
        let deposit = examiner.deposit();
        let evaluator = Arc::new(Self { member, examiner: Arc::new(examiner), deposit });
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
        let folder = self.member.folder.state().join("evaluations").join(job.as_str());
        self.member.disk.create_folder(&folder)?;
        let stored = folder.join(format!("{round}-{}.json", coalition_name(parameters, coalition)));
        let statement = match self.member.disk.read(&stored)?.map(|bytes| Envelope::parse(&bytes)) {
            Some(Ok(statement)) => statement,
            // A damaged file holds no promise: the model is measured again.
            Some(Err(_)) | None => {
                let statement = self.measure(job, round, parameters, coalition).await?;
                self.member.disk.write(&stored, &statement.to_bytes())?;
                statement
            }
        };
        self.member.client.send_evaluation(statement).await?;
        Ok(())
    }

    async fn measure(
        &self,
        job: &JobId,
        round: RoundNumber,
        parameters: Digest,
        coalition: &[Vec<SiteId>],
    ) -> Result<Envelope, StepError> {
        let request = self.member.client.job(job).await?.request;
        let (manifest, model) = fetch_model(&self.member, job, &request).await?;
        let tasks = tasks_of(&request)?;
        let blobs = blob_folder(&self.member.disk, &self.member.folder)?;
        let limit = manifest.coordinates.saturating_mul(4);
        let file = self.member.client.fetch_blob(parameters, &blobs, limit).await?;
        let examiner = Arc::clone(&self.examiner);
        let scores = blocking("the evaluation", move || -> Result<_, StepError> {
            let parameters = read_parameters(&file, manifest.coordinates)?;
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
            scores.utility_micro
        );
        let statement = EvaluationStatement {
            job: job.to_string(),
            round: round.get(),
            model: Hash(*parameters.as_bytes()),
            coalition: sites,
            benchmark: self.deposit.as_ref().map_or(Hash::ZERO, |facts| facts.rows),
            metrics: scores.metrics,
            utility_micro: scores.utility_micro,
            made_at: clock::now().get(),
        };
        Ok(statements::sign(self.member.keys.identity.seed(), &statement)?)
    }
}

/// Names an evaluation's file: the same parameters may stand for two coalitions.
fn coalition_name(parameters: Digest, coalition: &[Vec<SiteId>]) -> Digest {
    let mut text = parameters.to_string();
    for batch in coalition {
        text.push('\n');
        for site in batch {
            text.push_str(site.as_str());
            text.push(' ');
        }
    }
    Digest::of(text.as_bytes())
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
            | WorkItem::Unmask { .. } => {
                tracing::warn!("the gateway asks the evaluator to train: ignored");
                Ok(())
            }
        }
    }

    async fn tidy(&self) -> Result<(), StepError> {
        Ok(())
    }
}
