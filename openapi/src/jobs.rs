//! Jobs: requests for federated learning.

use konclave_crypto::privacy::{Delta, PrivacyCost};
use konclave_crypto::{Digest, JobId, RoundNumber, SiteId, Transcript};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// How a task's label is learned.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "kebab-case")]
pub enum TaskKind {
    /// A number.
    Regression,
    /// Positive or negative.
    Classification,
}

/// One task of a multi-task model.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(example = json!({"task": "Solubility/Solubility", "kind": "regression", "unit": "log mol/L", "output": 1, "center_micro": -2890000, "scale_micro": 2370000}))]
pub struct TaskSpec {
    /// The catalogue's key, `Test/Test_Type`.
    pub task: String,
    /// How its label is learned.
    pub kind: TaskKind,
    /// The unit of its labels as the catalogue spells it; sites leave rows in another unit out. Units are not compared
    /// without it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub unit: Option<String>,
    /// Which output of the model.
    pub output: u16,
    /// Subtracted from a label before training, x 1e-6 (0 for classification).
    pub center_micro: i64,
    /// Divides the centred label, x 1e-6 (1000000 for classification); positive.
    pub scale_micro: i64,
}

/// How a site steps downhill.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Optimizer {
    /// Adam with decoupled weight decay.
    Adamw,
    /// Stochastic gradient descent with momentum 0.9.
    Sgd,
}

/// How each site trains in each round. All real numbers are in micro-units (x 1e-6).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct TrainingSpec {
    /// Passes over the site's data in one round.
    pub local_epochs: u16,
    /// Molecules in a step.
    pub batch_size: u32,
    /// Learning rate x 1e-6.
    pub learning_rate_micro: u32,
    /// Weight decay x 1e-6.
    pub weight_decay_micro: u32,
    /// FedProx's mu x 1e-6; 0 is FedAvg.
    pub proximal_mu_micro: u32,
    /// The optimiser.
    pub optimizer: Optimizer,
    /// Seeds shuffles and dropout (with job, round and site).
    pub seed: u64,
}

/// Asks for federated learning.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct NewJob {
    /// A name for people, 1 to 120 characters.
    pub name: String,
    /// What the model is for; sites' policies decide by it.
    pub purpose: String,
    /// A registered model.
    pub model: Digest,
    /// What it learns.
    pub tasks: Vec<TaskSpec>,
    /// How sites train.
    pub training: TrainingSpec,
    /// Server learning rate x 1e-6; 1000000 is plain averaging.
    pub server_rate_micro: u32,
    /// How many rounds must open before the job is finished.
    pub rounds: u32,
    /// Which of these (counted by opened rounds, from 1) are scoring rounds, opened batch by batch.
    pub scoring_rounds: Vec<u32>,
    /// The sites invited; all enrolled sites if empty.
    pub invited: Vec<SiteId>,
    /// The reward budget in micro-units of the programme's currency, a decimal string.
    pub budget_micro: String,
}

impl NewJob {
    /// The digest of all that decides how a site trains: model, tasks and training specification.
    ///
    /// It is the `training` of every round context of the job, so that a gateway cannot have two sites train
    /// differently under one context. SHA-256 of the transcript `konclave/v1/training` with the fields in order; an
    /// absent unit is an empty list, a present one a list of one.
    #[must_use]
    pub fn training_digest(&self) -> Digest {
        let task = |transcript: Transcript, task: &TaskSpec| {
            let TaskSpec { task, kind, unit, output, center_micro, scale_micro } = task;
            transcript
                .text(task)
                .text(match kind {
                    TaskKind::Regression => "regression",
                    TaskKind::Classification => "classification",
                })
                .list(unit.iter(), |transcript, unit| transcript.text(unit))
                .number((*output).into())
                .number(center_micro.cast_unsigned())
                .number(scale_micro.cast_unsigned())
        };
        let TrainingSpec {
            local_epochs,
            batch_size,
            learning_rate_micro,
            weight_decay_micro,
            proximal_mu_micro,
            optimizer,
            seed,
        } = &self.training;
        Transcript::new("training")
            .digest(&self.model)
            .list(self.tasks.iter(), task)
            .number((*local_epochs).into())
            .number((*batch_size).into())
            .number((*learning_rate_micro).into())
            .number((*weight_decay_micro).into())
            .number((*proximal_mu_micro).into())
            .number(*seed)
            .text(match optimizer {
                Optimizer::Adamw => "adamw",
                Optimizer::Sgd => "sgd",
            })
            .hash()
    }
}

/// A job and where it stands.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Job {
    /// Its id.
    pub job: JobId,
    /// What was asked.
    pub request: NewJob,
    /// The organisation that asked.
    pub organisation: String,
    /// Where it stands.
    pub phase: JobPhase,
    /// Each invited site's answer.
    pub consents: Vec<Consent>,
    /// The roster's digest, once keys are advertised.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub roster: Option<Digest>,
    /// The sites in the roster.
    pub sites: Vec<SiteId>,
    /// The current global parameters (flat f32 vector blob).
    pub global_parameters: Digest,
    /// Rounds opened so far.
    pub rounds_opened: u32,
    /// The round under way.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub current_round: Option<RoundNumber>,
    /// The rounds policy it runs under.
    pub policy: Digest,
    /// What its rounds have cost each of its sites of its privacy budget; absent if sums are exact.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub privacy: Option<JobPrivacy>,
    /// When it was asked for (RFC 3339).
    pub created_at: String,
    /// The ledger entry that created it.
    pub entry: u64,
}

/// What a job with noise in its sums has told of each of its sites, and may tell.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct JobPrivacy {
    /// What its rounds have cost, in billionths of rho (zero-concentrated differential privacy).
    pub spent: PrivacyCost,
    /// What that comes to: epsilon, in thousandths, rounded up.
    pub epsilon_milli: u64,
    /// The most that the rounds policy allows a job: epsilon, in thousandths.
    pub budget_epsilon_milli: u32,
    /// Both epsilons are for a delta of 10 to the power of minus this.
    #[schema(value_type = u8, minimum = 3, maximum = 12)]
    pub delta_exponent: Delta,
    /// How many more rounds the job's budget allows.
    pub rounds_left: u32,
}

/// Where a job stands.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(tag = "kind", rename_all = "kebab-case")]
pub enum JobPhase {
    /// Invited sites are asked for consent.
    Consent {
        /// No answer by then counts as absent (RFC 3339).
        deadline: String,
    },
    /// Consenting sites advertise their KEM keys.
    AdvertiseKeys {
        /// The job aborts then (RFC 3339).
        deadline: String,
    },
    /// Sites exchange KEM ciphertexts.
    Encapsulate {
        /// The job aborts then (RFC 3339).
        deadline: String,
    },
    /// Rounds run.
    Running,
    /// All rounds are done.
    Finished,
    /// It ended early.
    Aborted {
        /// Why.
        reason: String,
        /// The sites that caused it, where known.
        culprits: Vec<SiteId>,
    },
}

/// One site's answer to an invitation.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Consent {
    /// The site.
    pub site: SiteId,
    /// Whether it takes part.
    pub accepted: bool,
    /// The rule that refused, for a refusal.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rule: Option<String>,
    /// The site's signed statement (DSSE envelope digest).
    pub statement: Digest,
}

/// The key advertisements of a job's roster, for sites to check and build the roster from.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct RosterView {
    /// The job.
    pub job: JobId,
    /// The digest every site must find.
    pub roster: Digest,
    /// Every advertisement.
    pub advertisements: Vec<konclave_crypto::setup::KeyAdvertisement>,
}

/// The KEM ciphertexts from or for one site.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Ciphertexts {
    /// The ciphertexts.
    pub ciphertexts: Vec<konclave_crypto::setup::KemCiphertext>,
}

#[cfg(test)]
mod tests {
    use super::*;

    fn job() -> NewJob {
        let text = serde_json::json!({
            "name": "a job", "purpose": "p", "model": "07".repeat(32), "tasks": [
                {"task": "A/B", "kind": "regression", "output": 0, "center_micro": -5, "scale_micro": 1_000_000},
                {"task": "C/D", "kind": "classification", "unit": "", "output": 1, "center_micro": 0,
                 "scale_micro": 1_000_000}
            ],
            "training": {"local_epochs": 1, "batch_size": 32, "learning_rate_micro": 1000, "weight_decay_micro": 0,
                         "proximal_mu_micro": 0, "optimizer": "adamw", "seed": 7},
            "server_rate_micro": 1_000_000, "rounds": 1, "scoring_rounds": [], "invited": [], "budget_micro": "0",
        });
        serde_json::from_value(text).unwrap()
    }

    /// Made without this crate: SHA-256 over the label and the fields, each behind its length.
    #[test]
    fn the_training_digest_is_the_one_written_down() {
        assert_eq!(
            job().training_digest().to_string(),
            "8aa3bc7684d0a334d0d7eafbd5da756b7301901362f1679a78738d96c8bce5a7"
        );
    }

    #[test]
    fn every_part_of_the_training_is_in_its_digest() {
        let changes: [fn(&mut NewJob); 14] = [
            |job| job.model = Digest([8; 32]),
            |job| job.tasks.truncate(1),
            |job| job.tasks[0].task.push('x'),
            |job| job.tasks[0].kind = TaskKind::Classification,
            |job| job.tasks[0].unit = Some(String::new()),
            |job| job.tasks[1].unit = None,
            |job| job.tasks[0].unit = Some("uM".to_owned()),
            |job| job.tasks[0].output = 2,
            |job| job.tasks[0].center_micro = 5,
            |job| job.tasks[0].scale_micro = 2,
            |job| job.training.local_epochs = 2,
            |job| job.training.batch_size = 2,
            |job| job.training.optimizer = Optimizer::Sgd,
            |job| job.training.seed = 8,
        ];
        let mut digests = std::collections::BTreeSet::from([job().training_digest()]);
        for (index, change) in changes.into_iter().enumerate() {
            let mut changed = job();
            change(&mut changed);
            assert!(digests.insert(changed.training_digest()), "change {index}");
        }
    }
}
