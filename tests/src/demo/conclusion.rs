//! Everything that was seen, put together and judged.

use std::fs;
use std::path::Path;

use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

use super::audit::audit;
use super::baselines::Baselines;
use super::evidence::Evidence;
use super::narrator::Narrator;
use super::options::Options;
use super::stage::Stage;
use super::{checks, job, results, traffic};
use crate::consortium::Member;
use crate::error::HarnessError;
use crate::report::summary::{LAYOUT, Run, SiteShare, Summary, TaskResult};

/// Trains the models to compare with, audits, searches, and draws up the summary.
pub(super) fn conclude(
    options: &Options,
    out: &Path,
    stage: &Stage,
    evidence: &Evidence,
    narrator: &Narrator,
) -> Result<Summary, HarnessError> {
    let tasks = compare(out, stage, evidence, narrator)?;
    let mut all = checks::of_rounds(evidence);
    all.extend(evidence.keys.checks(evidence));
    let points = tasks.iter().map(|task| task.curve.len()).min().unwrap_or_default();
    all.push(checks::of_evaluations(points, evidence.job.rounds_opened));
    all.push(checks::of_rewards(evidence.statements.last(), job::BUDGET_MICRO));
    all.extend(results::comparison(&tasks));
    narrator.say("An auditor takes a copy of the ledger and verifies it offline");
    let (ledger, ledger_checks) = audit(stage, out, &options.out, evidence.keys.revoked())?;
    all.extend(ledger_checks);
    narrator.say("Everything the gateway received or keeps is searched for the canary");
    let (traffic, traffic_checks) = traffic::search(stage, evidence, narrator)?;
    all.extend(traffic_checks);

    let names: Vec<String> = stage.shares.sites.keys().cloned().collect();
    let record = |(round, found)| results::round_record(round, found, &names, &evidence.kills);
    Ok(Summary {
        layout: LAYOUT,
        passed: all.iter().all(|check| check.passed),
        checks: all,
        run: run_facts(options, stage, evidence, narrator),
        tasks,
        sites: site_shares(stage)?,
        rounds: evidence.rounds.iter().map(|(round, found)| (round, *found)).map(record).collect(),
        rewards: results::rewards(evidence.contributions.last(), evidence.statements.last()),
        ledger,
        traffic,
    })
}

/// Each task's result beside those of the models trained without a federation.
fn compare(
    out: &Path,
    stage: &Stage,
    evidence: &Evidence,
    narrator: &Narrator,
) -> Result<Vec<TaskResult>, HarnessError> {
    let (job, shares) = (&evidence.job, &stage.shares);
    narrator.say(
        "For comparison, each site trains alone and one model trains on all data together, as many passes as in all rounds",
    );
    let baselines = Baselines {
        programs: &stage.consortium.programs,
        model: &job::model_file(),
        shares,
        training: &job.request.training,
        rounds: job.rounds_opened,
        folder: out.join("baselines"),
        narrator,
    };
    let (alone, pooled) = baselines.run()?;
    let parameters = out.join("developer/federated.f32");
    let bytes = stage.developer.get_bytes(&format!("/v1/blobs/{}", job.global_parameters))?;
    fs::write(&parameters, bytes).map_err(HarnessError::file("write", &parameters))?;
    let federated = baselines.score("federated", &parameters)?;
    let rounds: Vec<_> = evidence.rounds.iter().map(|(round, _)| round).collect();
    let compare = |task: &konclave_openapi::jobs::TaskSpec| {
        let with_task = shares.sites.iter().filter(|(_, share)| share.labels.contains_key(&task.task));
        let with_task: Vec<String> = with_task.map(|(site, _)| site.clone()).collect();
        let metric = federated.get(&task.task).map_or("", |metric| metric.name);
        let curve = results::curve(&task.task, metric, &rounds, &evidence.evaluations);
        results::task_result(task, &federated, &alone, &pooled, &with_task, curve)
    };
    shares.tasks.iter().map(compare).collect()
}

fn run_facts(options: &Options, stage: &Stage, evidence: &Evidence, narrator: &Narrator) -> Run {
    let attestation = serde_json::to_value(evidence.status.attestation).ok();
    Run {
        finished_at: OffsetDateTime::now_utc().format(&Rfc3339).unwrap_or_default(),
        software: evidence.status.software.clone(),
        job: evidence.job.job.to_string(),
        data: options.data.as_ref().map_or_else(
            || "public logD, solubility and blood-brain barrier data".to_owned(),
            |file| file.display().to_string(),
        ),
        seed: options.seed,
        seconds: narrator.seconds(),
        cores: std::thread::available_parallelism().map_or(1, usize::from),
        device: device(stage.consortium.members()),
        local_epochs: evidence.job.request.training.local_epochs.into(),
        attestation: attestation.and_then(|value| value.as_str().map(str::to_owned)).unwrap_or_default(),
    }
}

/// What trained, in the words of the sites' logs; each different one once.
fn device<'a>(members: impl Iterator<Item = &'a Member>) -> String {
    let logs: Vec<String> = members.map(Member::log_text).collect();
    let lines = logs.iter().flat_map(|log| log.lines()).filter(|line| line.contains(": trained on "));
    let devices: std::collections::BTreeSet<&str> =
        lines.filter_map(|line| line.rsplit_once(" ms on ").map(|(_, device)| device.trim())).collect();
    devices.into_iter().collect::<Vec<_>>().join(" and ")
}

fn site_shares(stage: &Stage) -> Result<Vec<SiteShare>, HarnessError> {
    let share = |(site, share): (&String, &super::shares::Share)| {
        Ok(SiteShare {
            site: site.clone(),
            legal_entity: stage.consortium.member(site)?.legal_entity.clone(),
            rows: share.rows,
            labels: share.labels.clone(),
        })
    };
    stage.shares.sites.iter().map(share).collect()
}
