//! Data deposits: what a site declares of its data under its signature, so that contributions can be weighed.
//!
//! Counts and salted commitments only. What a data file says in its own words is not declared: tasks bear the names of the
//! catalogue, and tasks with few records are left out. The site's salt stays at the site (`keys/deposit.salt`); with the
//! salt of one row, made from it, the site can show later that this row was among those declared, and nobody can guess
//! this or another row from the commitment.

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
use crate::data::{Catalogue, Censoring, Collection, Label, TaskKey};
use crate::features::{ScaffoldKey, Structure};
use crate::keystore::{Disk, DiskError, SiteKeys};

/// Fewest records of a task that is declared: below the programme's quorum for training a task counts for nothing, and a
/// count of one says more than a count.
const FEWEST_RECORDS: u64 = 50;

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
        catalogue: &Catalogue,
        role: MemberRole,
        salt: &[u8; 32],
    ) -> Result<Self, CommitError> {
        let class = match role {
            MemberRole::Evaluator => DataClass::Benchmark,
            MemberRole::Site | MemberRole::Gateway => DataClass::Training,
        };
        let Committed { data, files, rows } = commit(files, salt)?;
        Ok(Self { data, class, tasks: count(collection, catalogue), files, rows })
    }
}

impl DepositFacts {
    /// All that is declared, for the owner to read.
    fn lines(&self) -> impl Iterator<Item = String> {
        let tasks = self.tasks.iter().map(|count| {
            let TaskCount { task, records, unique_structures, scaffolds, censored } = count;
            format!(
                "{task}: {records} records, {unique_structures} structures, {scaffolds} scaffolds, {censored} censored"
            )
        });
        let rows: u64 = self.files.iter().map(|file| file.rows).sum();
        let commitment = format!("commitments to {rows} rows in {} files", self.files.len());
        tasks.chain(std::iter::once(commitment))
    }
}

/// Amounts by the tasks' declared names; tasks with few records are left out.
fn count(collection: &Collection, catalogue: &Catalogue) -> Vec<TaskCount> {
    #[derive(Default)]
    struct Tally {
        records: u64,
        structures: u64,
        scaffolds: BTreeSet<ScaffoldKey>,
        censored: u64,
    }
    let mut names = BTreeMap::<TaskKey, String>::new();
    let mut tallies = BTreeMap::<String, Tally>::new();
    for molecule in collection.molecules() {
        let scaffold = Structure::read(molecule.structure()).ok().map(|structure| structure.scaffold());
        let mut counted = BTreeSet::new();
        for label in molecule.labels() {
            let Some(task) = collection.task(label) else { continue };
            let name = names.entry(task.clone()).or_insert_with(|| catalogue.declared(task)).clone();
            let tally = tallies.entry(name.clone()).or_default();
            tally.records += 1;
            tally.censored += u64::from(match label.label {
                Label::Quantity { censoring, .. } => censoring != Censoring::Exact,
                Label::Class(_) => false,
            });
            if counted.insert(name) {
                tally.structures += 1;
                tally.scaffolds.extend(scaffold.clone());
            }
        }
    }
    tallies
        .into_iter()
        .filter(|(_, tally)| tally.records >= FEWEST_RECORDS)
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
    if facts.tasks.is_empty() {
        tracing::warn!(
            "no task has {FEWEST_RECORDS} records: nothing is declared, and this data earns no reward"
        );
        return Ok(());
    }
    let deposits = folder.deposits();
    disk.create_folder(&deposits)?;
    // Statements of the first layout named tasks in the words of the data files: none of those is sent any more.
    let statement_file = deposits.join(format!("{}.v2.json", facts.data));
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
    tracing::info!("this deposit statement goes to the gateway and into the ledger, for ever:");
    for line in facts.lines() {
        tracing::info!("  {line}");
    }
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_that_a_row_says_in_its_own_words_is_declared() {
        let header =
            "SMILES_Structure_Parent,Test,Test_Type,Test_Subject,Measurement_Type,Measurement_Value\n";
        let row = |length: usize, subject: &str, kind: &str| {
            format!("{},Plasma_protein_binding,PPB,{subject},{kind},5\n", "C".repeat(length))
        };
        let mut text = header.to_owned();
        for length in 1..=60 {
            text += &row(length, "human", "");
        }
        for length in 1..=30 {
            text += &row(length, "\"patient 0042, F, 63\"", "");
            text += &row(length, "", "seen by Dr Canary");
            text += &row(length, "Rat", "");
        }
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("secret-name.csv");
        std::fs::write(&path, &text).unwrap();
        let catalogue = Catalogue::embedded().unwrap();
        let (collection, report) =
            Collection::load(std::slice::from_ref(&path), &catalogue, &mut |_| {}).unwrap();
        assert_eq!(report.accepted(), 150);
        let facts = DepositFacts::of(&[path], &collection, &catalogue, MemberRole::Site, &[1; 32]).unwrap();
        let declared: Vec<(&str, u64, u64)> = facts
            .tasks
            .iter()
            .map(|count| (count.task.as_str(), count.records, count.unique_structures))
            .collect();
        // The rat's 30 records are too few.
        assert_eq!(
            declared,
            [("Plasma_protein_binding/PPB", 60, 30), ("Plasma_protein_binding/PPB@Human", 60, 60)]
        );
        let shown: String = facts.lines().collect();
        let sent = format!("{}{}", serde_json::to_string(&facts.tasks).unwrap(), shown);
        for canary in ["0042", "Canary", "Rat", "secret"] {
            assert!(!sent.contains(canary), "{canary} in {sent}");
        }
    }
}
