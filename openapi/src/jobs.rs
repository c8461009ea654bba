//! Jobs: requests for federated learning.

use konclave_crypto::{Digest, JobId, RoundNumber, SiteId};
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
#[schema(example = json!({"task": "Solubility/Solubility", "kind": "regression", "output": 1, "center_micro": -2890000, "scale_micro": 2370000}))]
pub struct TaskSpec {
    /// The catalogue's key, `Test/Test_Type`.
    pub task: String,
    /// How its label is learned.
    pub kind: TaskKind,
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
    /// differently under one context. SHA-256 over the label `konclave/v1/training` and the fields in order: numbers as
    /// 8 bytes little-endian, text behind its length.
    #[must_use]
    pub fn training_digest(&self) -> Digest {
        fn number(bytes: &mut Vec<u8>, value: u64) {
            bytes.extend_from_slice(&value.to_le_bytes());
        }
        fn text(bytes: &mut Vec<u8>, value: &str) {
            number(bytes, value.len() as u64);
            bytes.extend_from_slice(value.as_bytes());
        }
        let mut bytes = Vec::new();
        text(&mut bytes, "konclave/v1/training");
        bytes.extend_from_slice(self.model.as_bytes());
        number(&mut bytes, self.tasks.len() as u64);
        for TaskSpec { task, kind, output, center_micro, scale_micro } in &self.tasks {
            text(&mut bytes, task);
            text(
                &mut bytes,
                match kind {
                    TaskKind::Regression => "regression",
                    TaskKind::Classification => "classification",
                },
            );
            number(&mut bytes, u64::from(*output));
            number(&mut bytes, center_micro.cast_unsigned());
            number(&mut bytes, scale_micro.cast_unsigned());
        }
        let TrainingSpec {
            local_epochs,
            batch_size,
            learning_rate_micro,
            weight_decay_micro,
            proximal_mu_micro,
            optimizer,
            seed,
        } = &self.training;
        for value in [
            u64::from(*local_epochs),
            u64::from(*batch_size),
            u64::from(*learning_rate_micro),
            u64::from(*weight_decay_micro),
            u64::from(*proximal_mu_micro),
            *seed,
        ] {
            number(&mut bytes, value);
        }
        text(
            &mut bytes,
            match optimizer {
                Optimizer::Adamw => "adamw",
                Optimizer::Sgd => "sgd",
            },
        );
        Digest::of(&bytes)
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
    /// When it was asked for (RFC 3339).
    pub created_at: String,
    /// The ledger entry that created it.
    pub entry: u64,
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
