//! Data deposits: what a site declares of its data under its signature, so that contributions can be weighed.
//!
//! Counts and salted commitments only. The salt stays at the site (`keys/deposit.salt`); with it and a row, the site can
//! show later that the row was among those declared, and nobody can guess rows from the commitment.

mod commitment;

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;

use konclave_crypto::{Digest, MemberRole};
use konclave_ledger::Hash;
use konclave_ledger::dsse::{DsseError, Envelope};
use konclave_ledger::statements::{
    self, DataClass, DepositStatement, FileCommitment, StatementError, TaskCount,
};

pub use commitment::{CommitError, Committed, commit};

use crate::client::{ClientError, GatewayClient};
use crate::clock;
use crate::config::{Enrolled, SiteFolder};
use crate::data::{Censoring, Collection, Label};
use crate::features::{ScaffoldKey, Structure};
use crate::keystore::{Disk, DiskError, SiteKeys};

/// What is declared of one set of data.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DepositFacts {
    /// Names the set: the same files, the same digest.
    pub data: Digest,
    /// What it may be used for.
    pub class: DataClass,
    /// Amounts by task, sorted.
    pub tasks: Vec<TaskCount>,
    /// The files.
    pub files: Vec<FileCommitment>,
    /// The root over the rows' commitments.
    pub rows: Hash,
}

/// Why a deposit could not be registered.
#[derive(Debug, thiserror::Error)]
pub enum DepositError {
    /// A file operation failed.
    #[error(transparent)]
    Disk(#[from] DiskError),
    /// The statement could not be signed.
    #[error(transparent)]
    Statement(#[from] StatementError),
    /// The stored statement is damaged.
    #[error("the stored deposit statement {path} cannot be read: {source}")]
    Stored {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        source: DsseError,
    },
    /// The gateway refused it or could not be reached.
    #[error(transparent)]
    Gateway(#[from] ClientError),
}

impl DepositFacts {
    /// Counts a collection and commits to the files it was read from.
    ///
    /// # Errors
    /// [`CommitError`] if a file cannot be read again.
    pub fn of(
        files: &[PathBuf],
        collection: &Collection,
        role: MemberRole,
        salt: &[u8; 32],
    ) -> Result<Self, CommitError> {
        let class = match role {
            MemberRole::Evaluator => DataClass::Benchmark,
            MemberRole::Site | MemberRole::Gateway => DataClass::Training,
        };
        let Committed { data, files, rows } = commit(files, salt)?;
        Ok(Self { data, class, tasks: count(collection), files, rows })
    }
}

/// Amounts by task.
fn count(collection: &Collection) -> Vec<TaskCount> {
    #[derive(Default)]
    struct Tally {
        records: u64,
        structures: u64,
        scaffolds: BTreeSet<ScaffoldKey>,
        censored: u64,
    }
    let mut tallies = BTreeMap::<String, Tally>::new();
    for molecule in collection.molecules() {
        let scaffold = Structure::read(molecule.structure()).ok().map(|structure| structure.scaffold());
        let mut counted = BTreeSet::new();
        for label in molecule.labels() {
            let Some(task) = collection.task(label) else { continue };
            let tally = tallies.entry(task.to_string()).or_default();
            tally.records += 1;
            tally.censored += u64::from(match label.label {
                Label::Quantity { censoring, .. } => censoring != Censoring::Exact,
                Label::Class(_) => false,
            });
            if counted.insert(task.clone()) {
                tally.structures += 1;
                tally.scaffolds.extend(scaffold.clone());
            }
        }
    }
    tallies
        .into_iter()
        .map(|(task, tally)| TaskCount {
            task,
            records: tally.records,
            unique_structures: tally.structures,
            scaffolds: tally.scaffolds.len() as u64,
            censored: tally.censored,
        })
        .collect()
}

/// Registers a deposit once: a statement is made and stored once for the same data, and sent until it was taken.
///
/// # Errors
/// [`DepositError`]; the next start continues.
pub async fn register(
    facts: &DepositFacts,
    disk: &Disk,
    folder: &SiteFolder,
    keys: &SiteKeys,
    enrolled: &Enrolled,
    client: &GatewayClient,
) -> Result<(), DepositError> {
    let deposits = folder.deposits();
    disk.create_folder(&deposits)?;
    let statement_file = deposits.join(format!("{}.json", facts.data));
    let receipt_file = deposits.join(format!("{}.registered", facts.data));
    if receipt_file.is_file() {
        tracing::debug!(data = %facts.data, "the deposit is registered already");
        return Ok(());
    }
    let envelope = match disk.read(&statement_file)? {
        Some(bytes) => Envelope::parse(&bytes)
            .map_err(|source| DepositError::Stored { path: statement_file.clone(), source })?,
        None => {
            let statement = DepositStatement {
                site: enrolled.site().to_string(),
                legal_entity: Some(enrolled.certificate.membership.legal_entity.clone()),
                data_class: facts.class,
                catalogue_tasks: facts.tasks.clone(),
                files: facts.files.clone(),
                row_commitment: facts.rows,
                made_at: clock::now().get(),
            };
            let envelope = statements::sign(keys.identity.seed(), &statement)?;
            disk.write(&statement_file, &envelope.to_bytes())?;
            envelope
        }
    };
    let deposit = client.send_deposit(envelope).await?;
    let receipt = format!("{{\"deposit\":\"{}\",\"entry\":{}}}\n", deposit.deposit, deposit.entry);
    disk.write(&receipt_file, receipt.as_bytes())?;
    let records: u64 = facts.tasks.iter().map(|task| task.records).sum();
    tracing::info!(
        entry = deposit.entry,
        "deposit registered: {records} records of {} tasks (counts and a commitment; the data stays here)",
        facts.tasks.len()
    );
    Ok(())
}
