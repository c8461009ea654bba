//! `konclave-site status`: what a site's owner can see without asking anyone.

use std::fmt::Write as _;
use std::path::PathBuf;

use konclave_crypto::JobId;
use konclave_crypto::privacy::{Delta, PrivacyCost};
use konclave_openapi::sites::Enrolment;
use serde::Serialize;

use super::CommandError;
use super::witness::WitnessStatus;
use crate::client::{EgressLog, EgressTotal, MessageClass};
use crate::clock;
use crate::config::SiteFolder;
use crate::driver::StoredAnswer;
use crate::keystore::{Decision, Disk, DiskError, JobStore, Journal, Spending};

/// What `status` takes.
#[derive(Debug, clap::Args)]
pub struct StatusArguments {
    /// The site's folder.
    #[arg(long, value_name = "FOLDER", env = "KONCLAVE_SITE_DIR")]
    pub dir: PathBuf,
    /// As JSON.
    #[arg(long)]
    pub json: bool,
}

#[derive(Debug, Serialize)]
struct Status {
    site: Option<String>,
    role: Option<String>,
    enrolled_until: Option<String>,
    /// The ledger as this site has witnessed it.
    #[serde(flatten)]
    ledger: WitnessStatus,
    jobs: Vec<JobStatus>,
    /// What updates with noise have cost; absent where none was made.
    #[serde(skip_serializing_if = "Option::is_none")]
    privacy_spent: Option<PrivacyStatus>,
    egress: Vec<Egress>,
    unreadable_egress_lines: u64,
}

#[derive(Debug, Serialize)]
struct JobStatus {
    job: JobId,
    answer: &'static str,
    last_round: u32,
    updates_sent: u32,
    over: bool,
}

#[derive(Debug, Serialize)]
struct PrivacyStatus {
    /// In billionths of rho.
    nano_rho: u64,
    /// What that comes to at a delta of 10^-6, in thousandths.
    epsilon_milli: u64,
}

#[derive(Debug, Serialize)]
struct Egress {
    class: MessageClass,
    requests: u64,
    bytes: u64,
}

/// Gathers the state from the site's files; gives the text to print.
///
/// # Errors
/// [`CommandError`] for a file that cannot be read.
pub fn status(arguments: &StatusArguments) -> Result<String, CommandError> {
    let folder = SiteFolder::new(&arguments.dir);
    let status = gather(&folder)?;
    if arguments.json {
        return serde_json::to_string_pretty(&status)
            .map_err(|error| CommandError::Request(error.to_string()));
    }
    Ok(in_words(&status))
}

fn gather(folder: &SiteFolder) -> Result<Status, CommandError> {
    let disk = Disk::default();
    let enrolment: Option<Enrolment> =
        disk.read(&folder.enrolment())?.and_then(|bytes| serde_json::from_slice(&bytes).ok());
    let member = enrolment.as_ref().map(|enrolment| &enrolment.certificate.membership);
    let log = folder.egress_log();
    let totals = EgressLog::totals(&log).map_err(|source| DiskError { doing: "read", path: log, source })?;
    Ok(Status {
        site: member.map(|member| member.site.to_string()),
        role: member.map(|member| member.role.as_str().to_owned()),
        enrolled_until: member.map(|member| clock::rfc3339(member.not_after)),
        ledger: WitnessStatus::gather(folder)?,
        jobs: jobs(&disk, folder)?,
        privacy_spent: privacy_spent(folder)?,
        unreadable_egress_lines: totals.bad_lines,
        egress: totals
            .by_class
            .into_iter()
            .map(|(class, EgressTotal { requests, bytes })| Egress { class, requests, bytes })
            .collect(),
    })
}

fn privacy_spent(folder: &SiteFolder) -> Result<Option<PrivacyStatus>, CommandError> {
    let spent = Spending::peek(&folder.privacy_spent())
        .map_err(|error| CommandError::Site(crate::driver::SiteError::Spending(error)))?
        .total();
    let status =
        PrivacyStatus { nano_rho: spent.nano_rho(), epsilon_milli: spent.epsilon_milli(Delta::MILLIONTH) };
    Ok((spent != PrivacyCost::NONE).then_some(status))
}

fn jobs(disk: &Disk, folder: &SiteFolder) -> Result<Vec<JobStatus>, DiskError> {
    let mut jobs = Vec::new();
    for job in JobStore::list(folder.path())? {
        let answer = disk.read(&folder.state().join("jobs").join(job.as_str()).join("consent.json"))?;
        let answer = answer.and_then(|bytes| serde_json::from_slice::<StoredAnswer>(&bytes).ok());
        let journal = Journal::peek(&folder.path().join("journal").join(job.as_str())).ok();
        let last_round = journal.as_ref().map_or(0, Journal::last_round);
        let masked = |round: &u32| {
            journal.as_ref().is_some_and(|journal| journal.decided(Decision::Masked, *round).is_some())
        };
        jobs.push(JobStatus {
            answer: match answer {
                Some(StoredAnswer { accepted: true, .. }) => "takes part",
                Some(StoredAnswer { accepted: false, .. }) => "refused",
                None => "not answered",
            },
            last_round,
            updates_sent: u32::try_from((1..=last_round).filter(masked).count()).unwrap_or(u32::MAX),
            over: journal.as_ref().is_some_and(|journal| journal.decided(Decision::Closed, 0).is_some()),
            job,
        });
    }
    Ok(jobs)
}

fn in_words(status: &Status) -> String {
    let mut text = String::new();
    // Writing to a String cannot fail.
    let mut line = |words: String| {
        let _ = writeln!(text, "{words}");
    };
    match (&status.site, &status.role, &status.enrolled_until) {
        (Some(site), Some(role), Some(until)) => line(format!("{site}, {role}, enrolled until {until}")),
        _ => line("not joined to a consortium yet".to_owned()),
    }
    line(status.ledger.in_words(clock::now().get()).trim_end().to_owned());
    for job in &status.jobs {
        let over = if job.over { ", over" } else { "" };
        line(format!(
            "job {}: {}, last round {}, {} masked updates made{over}",
            job.job, job.answer, job.last_round, job.updates_sent
        ));
    }
    if let Some(PrivacyStatus { nano_rho, epsilon_milli }) = &status.privacy_spent {
        let (rho, epsilon) = (*nano_rho as f64 * 1e-9, *epsilon_milli as f64 * 1e-3);
        line(format!(
            "privacy spent in rounds with noise: rho {rho:.6}, epsilon {epsilon:.3} at delta 10^-6"
        ));
    }
    line("what has left this site (details in state/egress.ndjson):".to_owned());
    for Egress { class, requests, bytes } in &status.egress {
        let class = serde_json::to_value(class).ok();
        let class = class.as_ref().and_then(serde_json::Value::as_str).unwrap_or("?");
        line(format!("  {class:<18} {requests:>8} requests {bytes:>14} bytes"));
    }
    if status.unreadable_egress_lines > 0 {
        line(format!("  {} lines cannot be read and are in no sum", status.unreadable_egress_lines));
    }
    text
}
