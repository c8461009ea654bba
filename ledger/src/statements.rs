//! The payloads that sites and evaluators sign as DSSE envelopes. Numbers are integers; values are in micro-units (1e-6).

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use crate::dsse::{self, DsseError, Envelope};
use crate::hash::Hash;
use crate::keys::PublicKey;
use crate::records::ReviewResult;

/// Whether deposited data is for training or for the benchmark.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
pub enum DataClass {
    /// Used for local training.
    Training,
    /// Held back to measure models.
    Benchmark,
}

/// A site's answer to a job.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
pub enum ConsentDecision {
    /// The site takes part.
    Accept,
    /// The site does not take part.
    Refuse,
}

/// How much data of one catalogue task a deposit holds.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
pub struct TaskCount {
    /// The task's name in the catalogue.
    pub task: String,
    /// Rows with a value.
    pub records: u64,
    /// Different structures among them.
    pub unique_structures: u64,
    /// Different scaffolds among them.
    pub scaffolds: u64,
    /// Values given only as above or below a limit.
    pub censored: u64,
}

/// One file of a deposit.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
pub struct FileCommitment {
    /// HMAC-SHA256 with a random 256-bit salt over the file's SHA-256; the opening stays at the site.
    pub commitment: Hash,
    /// Data rows in the file.
    pub rows: u64,
}

/// A site registers data that never leaves it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
pub struct DepositStatement {
    /// The site.
    pub site: String,
    /// The legal entity behind it, where it says so.
    pub legal_entity: Option<String>,
    /// What the data may be used for.
    pub data_class: DataClass,
    /// Amounts by task.
    pub catalogue_tasks: Vec<TaskCount>,
    /// The files.
    pub files: Vec<FileCommitment>,
    /// Merkle root over salted commitments to the rows.
    pub row_commitment: Hash,
    /// When, in seconds since 1970.
    pub made_at: u64,
}

/// A site accepts or refuses a job.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
pub struct ConsentStatement {
    /// The job.
    pub job: String,
    /// The site.
    pub site: String,
    /// Its answer.
    pub decision: ConsentDecision,
    /// The rule of the site's policy that decided.
    pub rule: String,
    /// Details in words.
    pub detail: String,
    /// Digest of the policy that the site applied.
    pub policy: Hash,
    /// When, in seconds since 1970.
    pub made_at: u64,
}

/// One measured number.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
pub struct TaskMetric {
    /// The task.
    pub task: String,
    /// The metric's name: `rmse`, `auroc`...
    pub metric: String,
    /// Its value times 1,000,000.
    pub value_micro: i64,
    /// Molecules measured.
    pub count: u64,
}

/// The evaluator measured a model on the benchmark.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
pub struct EvaluationStatement {
    /// The job.
    pub job: String,
    /// The round, from 1; 0 for the model before the first round.
    pub round: u32,
    /// Digest of the measured model.
    pub model: Hash,
    /// The sites whose updates it contains; empty for the round's global model.
    pub coalition: Vec<String>,
    /// Commitment to the benchmark data.
    pub benchmark: Hash,
    /// The numbers.
    pub metrics: Vec<TaskMetric>,
    /// The utility that scoring uses, times 1,000,000.
    pub utility_micro: i64,
    /// When, in seconds since 1970.
    pub made_at: u64,
}

/// A site says that it sent a masked update in a round.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
pub struct ParticipationStatement {
    /// The job.
    pub job: String,
    /// The round, from 1.
    pub round: u32,
    /// The site.
    pub site: String,
    /// Digest of the round context it took part under.
    pub context: Hash,
    /// Digest of the manifest it sent.
    pub manifest: Hash,
    /// Training records it used.
    pub records: u64,
    /// When, in seconds since 1970.
    pub made_at: u64,
}

/// An auditor reviewed the ledger: what `konclave-audit review` signs.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
pub struct ReviewStatement {
    /// The reviewer: the id of an API client with the role auditor.
    pub reviewer: String,
    /// The reviewed log.
    pub origin: String,
    /// The first entry of the reviewed period; everything before it was checked too.
    pub from: u64,
    /// Number of entries reviewed.
    pub size: u64,
    /// The root over them.
    pub root: Hash,
    /// What was found.
    pub result: ReviewResult,
    /// Entries whose place, chain and record were checked.
    pub entries_checked: u64,
    /// Statements whose signature was checked.
    pub statements_checked: u64,
    /// Witnesses whose cosignature of this head is valid, sorted.
    pub witnesses: Vec<String>,
    /// What is wrong, one line each.
    pub findings: Vec<String>,
    /// What the reviewer wants to say.
    pub remarks: String,
    /// When, in seconds since 1970.
    pub made_at: u64,
}

/// A payload with its DSSE payload type.
pub trait Statement: Serialize + DeserializeOwned {
    /// Media type in the envelope.
    const PAYLOAD_TYPE: &'static str;
}

impl Statement for DepositStatement {
    const PAYLOAD_TYPE: &'static str = "application/vnd.konclave.deposit.v1+json";
}
impl Statement for ConsentStatement {
    const PAYLOAD_TYPE: &'static str = "application/vnd.konclave.consent.v1+json";
}
impl Statement for EvaluationStatement {
    const PAYLOAD_TYPE: &'static str = "application/vnd.konclave.evaluation.v1+json";
}
impl Statement for ParticipationStatement {
    const PAYLOAD_TYPE: &'static str = "application/vnd.konclave.participation.v1+json";
}

impl Statement for ReviewStatement {
    const PAYLOAD_TYPE: &'static str = "application/vnd.konclave.review.v1+json";
}

/// Why a signed statement is not accepted.
#[derive(Debug, thiserror::Error)]
pub enum StatementError {
    /// Wrong type or signature.
    #[error(transparent)]
    Envelope(#[from] DsseError),
    /// The signed payload isn't the promised statement.
    #[error("the signed payload is not the statement its type promises: {0}")]
    Payload(#[from] serde_json::Error),
}

/// Signs `statement` with the Ed25519 key of `seed`.
///
/// # Errors
/// [`StatementError::Payload`] if it can't be written as JSON.
pub fn sign<S: Statement>(seed: &[u8; 32], statement: &S) -> Result<Envelope, StatementError> {
    Ok(dsse::sign(seed, S::PAYLOAD_TYPE, &serde_json_canonicalizer::to_vec(statement)?))
}

/// Checks type and signature and reads the statement. What is read are the bytes that were signed.
///
/// # Errors
/// [`StatementError`].
pub fn verify<S: Statement>(envelope: &Envelope, key: &PublicKey) -> Result<S, StatementError> {
    if envelope.payload_type != S::PAYLOAD_TYPE {
        let (expected, found) = (S::PAYLOAD_TYPE.to_owned(), envelope.payload_type.clone());
        return Err(DsseError::WrongType { expected, found }.into());
    }
    Ok(serde_json::from_slice(&envelope.verify(key)?)?)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::keys::SigningKey;

    const SEED: [u8; 32] = [21; 32];

    fn participation() -> ParticipationStatement {
        ParticipationStatement {
            job: "job-1".into(),
            round: 3,
            site: "site-a".into(),
            context: Hash::of(b"context"),
            manifest: Hash::of(b"manifest"),
            records: 1234,
            made_at: 1_767_225_600,
        }
    }

    fn evaluation() -> EvaluationStatement {
        EvaluationStatement {
            job: "job-1".into(),
            round: 0,
            model: Hash::of(b"model"),
            coalition: vec![],
            benchmark: Hash::of(b"benchmark"),
            metrics: vec![TaskMetric {
                task: "logD".into(),
                metric: "rmse".into(),
                value_micro: -1,
                count: 9,
            }],
            utility_micro: -250_000,
            made_at: 1_767_225_600,
        }
    }

    #[test]
    fn reads_back_what_was_signed() {
        let key = SigningKey::from_seed(&SEED).public();
        let deposit = DepositStatement {
            site: "site-a".into(),
            legal_entity: None,
            data_class: DataClass::Benchmark,
            catalogue_tasks: vec![TaskCount {
                task: "logD".into(),
                records: 10,
                unique_structures: 9,
                scaffolds: 4,
                censored: 1,
            }],
            files: vec![FileCommitment { commitment: Hash::of(b"file"), rows: 10 }],
            row_commitment: Hash::of(b"rows"),
            made_at: 1_767_225_600,
        };
        assert_eq!(verify::<DepositStatement>(&sign(&SEED, &deposit).unwrap(), &key).unwrap(), deposit);
        let envelope = sign(&SEED, &evaluation()).unwrap();
        assert_eq!(verify::<EvaluationStatement>(&envelope, &key).unwrap(), evaluation());
        let envelope = sign(&SEED, &participation()).unwrap();
        assert_eq!(verify::<ParticipationStatement>(&envelope, &key).unwrap(), participation());
    }

    #[test]
    fn refuses_another_type_key_or_shape() {
        let key = SigningKey::from_seed(&SEED).public();
        let envelope = sign(&SEED, &participation()).unwrap();
        let other = verify::<EvaluationStatement>(&envelope, &key);
        assert!(matches!(other, Err(StatementError::Envelope(DsseError::WrongType { .. }))), "{other:?}");
        let stranger = verify::<ParticipationStatement>(&envelope, &SigningKey::from_seed(&[1; 32]).public());
        assert!(
            matches!(stranger, Err(StatementError::Envelope(DsseError::BadSignature { .. }))),
            "{stranger:?}"
        );
        let payload = br#"{"job":"job-1","surprise":1}"#;
        let shaped = dsse::sign(&SEED, ParticipationStatement::PAYLOAD_TYPE, payload);
        let shaped = verify::<ParticipationStatement>(&shaped, &key);
        assert!(matches!(shaped, Err(StatementError::Payload(_))), "{shaped:?}");
    }
}
