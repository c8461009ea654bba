//! What the evaluator has measured for each job: the limit on what the benchmark can be asked.
//!
//! Every score says something about the benchmark's labels. So a job is measured as it was asked for at first, in no more
//! rounds than it asked for, and each question of a round is answered once: the parameters before it, those after it,
//! and those of each coalition. The answers are durable before they are sent.

use std::collections::BTreeSet;
use std::path::PathBuf;

use konclave_crypto::{Digest, JobId, Mode, RoundContext, RoundNumber, SiteId};
use konclave_ledger::dsse::Envelope;
use konclave_openapi::jobs::NewJob;
use serde::{Deserialize, Serialize};

use super::super::error::StepError;
use crate::config::SiteFolder;
use crate::keystore::{Disk, DiskError};

/// The layout's version.
const VERSION: u32 = 2;

/// A question about one round.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Question {
    /// The model that the round started from.
    Before,
    /// The global model that it made.
    After,
    /// The model that some of its batches would have made, by their places in the context.
    Coalition(BTreeSet<usize>),
}

/// Why a question is not one that the round has.
pub(super) type Rule = &'static str;

impl Question {
    /// The question that the gateway asks, held against the round's signed context.
    pub(super) fn of(
        context: &RoundContext,
        parameters: Digest,
        after: Option<Digest>,
        coalition: &[Vec<SiteId>],
    ) -> Result<Self, Rule> {
        if coalition.is_empty() {
            return if parameters == context.model {
                Ok(Self::Before)
            } else if after == Some(parameters) {
                Ok(Self::After)
            } else {
                Err("these parameters are neither those before nor those after the round")
            };
        }
        if context.mode != Mode::Group {
            return Err("coalitions are measured in scoring rounds alone");
        }
        let mut asked = BTreeSet::new();
        for sites in coalition {
            // Sites that dropped out are missing from their batch; no batch is asked for in parts.
            let batch =
                context.batches.iter().position(|batch| sites.iter().all(|site| batch.contains(site)));
            let place = batch.filter(|place| !sites.is_empty() && asked.insert(*place));
            place.ok_or("the coalition is not made of whole batches of the round")?;
        }
        Ok(Self::Coalition(asked))
    }

    /// The answer's file, without its round.
    fn name(&self) -> String {
        match self {
            Self::Before => "before".to_owned(),
            Self::After => "after".to_owned(),
            Self::Coalition(batches) => {
                let places: Vec<String> = batches.iter().map(usize::to_string).collect();
                format!("coalition-{}", places.join("+"))
            }
        }
    }
}

/// The answers to one job's questions.
pub(super) struct JobRecord<'a> {
    disk: &'a Disk,
    folder: PathBuf,
    job: &'a JobId,
    request: NewJob,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct StoredJob {
    version: u32,
    request: NewJob,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct StoredEvaluation {
    version: u32,
    parameters: Digest,
    statement: Envelope,
}

/// The folder of all jobs' answers.
fn all_jobs(folder: &SiteFolder) -> PathBuf {
    folder.state().join("evaluations")
}

impl<'a> JobRecord<'a> {
    /// Opens a job's record; the first time it keeps the request, which then must stay the same.
    pub(super) fn open(
        disk: &'a Disk,
        folder: &SiteFolder,
        job: &'a JobId,
        request: &NewJob,
    ) -> Result<Self, StepError> {
        let folder = all_jobs(folder).join(job.as_str());
        disk.create_folder(&folder)?;
        let path = folder.join("job.json");
        let unreadable = |source| StepError::StoredAnswer { job: job.clone(), source };
        match disk.read(&path)? {
            Some(bytes) => {
                let stored: StoredJob = serde_json::from_slice(&bytes).map_err(unreadable)?;
                if stored.request != *request {
                    return Err(StepError::Changed { job: job.clone(), what: "request" });
                }
            }
            None => {
                let stored = StoredJob { version: VERSION, request: request.clone() };
                disk.write(&path, &serde_json::to_vec(&stored).map_err(unreadable)?)?;
            }
        }
        Ok(Self { disk, folder, job, request: request.clone() })
    }

    /// The answer given already, if there is one; an error if the question may not be answered.
    pub(super) fn answered(
        &self,
        round: RoundNumber,
        question: &Question,
        parameters: Digest,
    ) -> Result<Option<Envelope>, StepError> {
        let refused = |rule| StepError::Evaluation { job: self.job.clone(), round, rule };
        if let Some(bytes) = self.disk.read(&self.path(round, question))? {
            let stored: StoredEvaluation = serde_json::from_slice(&bytes)
                .map_err(|source| StepError::StoredAnswer { job: self.job.clone(), source })?;
            if stored.parameters != parameters {
                return Err(refused("other parameters were measured for the same question"));
            }
            return Ok(Some(stored.statement));
        }
        let (mut rounds, mut scoring) = (BTreeSet::new(), BTreeSet::new());
        for name in self.names()? {
            let Some((number, question)) = name.split_once('-') else { continue };
            rounds.insert(number.to_owned());
            if question.starts_with("coalition") {
                scoring.insert(number.to_owned());
            }
        }
        let (number, of_job) = (round.get().to_string(), |count: usize, most: usize| count > most);
        rounds.insert(number.clone());
        if of_job(rounds.len(), usize::try_from(self.request.rounds).unwrap_or(usize::MAX)) {
            return Err(refused("as many rounds as the job asks for were measured already"));
        }
        if matches!(question, Question::Coalition(_)) {
            scoring.insert(number);
            if of_job(scoring.len(), self.request.scoring_rounds.len()) {
                return Err(refused("as many scoring rounds as the job asks for were measured already"));
            }
        }
        Ok(None)
    }

    /// Keeps an answer.
    pub(super) fn keep(
        &self,
        round: RoundNumber,
        question: &Question,
        parameters: Digest,
        statement: &Envelope,
    ) -> Result<(), StepError> {
        let stored = StoredEvaluation { version: VERSION, parameters, statement: statement.clone() };
        let bytes = serde_json::to_vec(&stored)
            .map_err(|source| StepError::StoredAnswer { job: self.job.clone(), source })?;
        Ok(self.disk.write(&self.path(round, question), &bytes)?)
    }

    fn path(&self, round: RoundNumber, question: &Question) -> PathBuf {
        self.folder.join(format!("{}-{}.json", round.get(), question.name()))
    }

    fn names(&self) -> Result<Vec<String>, StepError> {
        let failed = |source| DiskError { doing: "list", path: self.folder.clone(), source };
        let mut names = Vec::new();
        for entry in self.folder.read_dir().map_err(failed)? {
            names.extend(entry.map_err(failed)?.file_name().into_string());
        }
        Ok(names)
    }
}

/// The jobs that were measured and are not over yet.
pub(super) fn open_jobs(folder: &SiteFolder) -> Result<Vec<JobId>, DiskError> {
    let path = all_jobs(folder);
    let failed = |source| DiskError { doing: "list", path: path.clone(), source };
    let entries = match path.read_dir() {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(Vec::new()),
        entries => entries.map_err(failed)?,
    };
    let mut jobs = Vec::new();
    for entry in entries {
        let entry = entry.map_err(failed)?;
        let job = entry.file_name().into_string().ok().and_then(|name| name.parse().ok());
        jobs.extend(job.filter(|_| !entry.path().join("over").exists()));
    }
    Ok(jobs)
}

/// Notes that a job is over.
pub(super) fn close(disk: &Disk, folder: &SiteFolder, job: &JobId) -> Result<(), DiskError> {
    disk.write(&all_jobs(folder).join(job.as_str()).join("over"), b"")
}

#[cfg(test)]
mod tests;
