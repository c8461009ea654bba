//! The order of events.

use std::fs;
use std::path::{Path, PathBuf};
use std::thread::{self, sleep};
use std::time::Duration;

use konclave_openapi::jobs::{Job, JobPhase};
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

use super::baselines::Baselines;
use super::checks::{self, check};
use super::narrator::Narrator;
use super::options::Options;
use super::rounds::{Follower, Kill};
use super::shares::{Shares, divide};
use super::{canary, ending, job, results, traffic};
use crate::consortium::{Consortium, EVALUATOR, Plan, output, set_keys, text, wait_until};
use crate::error::HarnessError;
use crate::partner::PartnerClient;
use crate::report::summary::{Check, LAYOUT, LedgerFacts, Run, SiteShare, Summary};

/// Marks a folder as one that a later run may remove.
const MARK: &str = ".konclave-demo";
/// How long members may take to declare their data.
const DEPOSIT_LIMIT: Duration = Duration::from_secs(60);
/// How long the last evaluations may take.
const EVALUATION_LIMIT: Duration = Duration::from_secs(120);
/// How long witnesses may take to cosign the last checkpoint.
const WITNESS_LIMIT: Duration = Duration::from_secs(30);

/// How it ended.
#[derive(Debug, Clone, Copy)]
pub struct Outcome {
    /// Whether everything that had to hold did.
    pub passed: bool,
}

/// The whole demonstration.
///
/// # Errors
/// If it could not be carried through; a promise that did not hold is no error but `passed: false`.
pub fn run(options: &Options) -> Result<Outcome, HarnessError> {
    let narrator = Narrator::new();
    let out = prepare(&options.out)?;
    let data = data_file(options)?;
    narrator.say(format!(
        "The data are {}; each of {} sites gets its own share of the chemistry",
        data.display(),
        options.sites
    ));
    let mut consortium = found(options, &out)?;
    let shares = divide(&consortium.programs, &data, options.sites, options.seed, &out.join("split"))?;
    shares.told.iter().for_each(|line| narrator.say(format!("  {line}")));
    let structure = canary::structure(options.seed);
    let (developer, auditor) = start(options, &mut consortium, &shares, &structure, &narrator)?;

    let asked = job::ask(&consortium.programs, &developer, options, &shares.tasks, &out.join("developer"))?;
    narrator.say(format!(
        "The model developer asks for {} rounds of federated learning: {}",
        options.rounds, asked.job
    ));
    let (timetable, victim) = (options.timetable(), options.first_victim());
    let (job, kills) =
        Follower::new(&mut consortium, &developer, &narrator, timetable, victim).follow(&asked.job)?;
    let job = finished(&developer, &job)?;
    narrator.finish();
    let summary = conclude(
        options,
        &out,
        &consortium,
        &shares,
        &structure,
        &developer,
        &auditor,
        &job,
        &kills,
        &narrator,
    )?;
    let written = crate::report::write(&out, &summary).map_err(HarnessError::file("write", &out))?;
    ending::print(&summary, &written);
    if options.keep {
        ending::print_kept(&consortium.url, &options.out);
        loop {
            sleep(Duration::from_secs(1));
            consortium.expect_running()?;
        }
    }
    Ok(Outcome { passed: summary.passed })
}

/// An access token of one of the demonstration's clients, for a gateway that was kept up.
///
/// # Errors
/// If there is no such client, or the gateway does not answer.
pub fn token(out: &Path, client: &str) -> Result<String, HarnessError> {
    let folder = out.join("consortium");
    let key = crate::partner::ClientKey::load(client, &folder.join("clients"))?;
    let url = crate::consortium::public_url(&folder.join("gateway/gateway.toml"))?;
    PartnerClient::new(&url, &folder.join("gateway/tls/ca.pem"), key)?.token()
}

/// An empty folder; what an earlier run made there is removed, anything else is not touched.
fn prepare(out: &Path) -> Result<PathBuf, HarnessError> {
    if out.exists() {
        let is_empty = fs::read_dir(out).map_err(HarnessError::file("list", out))?.next().is_none();
        if !is_empty && !out.join(MARK).exists() {
            return Err(HarnessError::unexpected(
                out.display().to_string(),
                "it holds other files; name another --out",
            ));
        }
        fs::remove_dir_all(out).map_err(HarnessError::file("remove", out))?;
    }
    fs::create_dir_all(out).map_err(HarnessError::file("create", out))?;
    fs::write(out.join(MARK), "made by konclave-demo\n").map_err(HarnessError::file("write", out))?;
    fs::canonicalize(out).map_err(HarnessError::file("find", out))
}

fn data_file(options: &Options) -> Result<PathBuf, HarnessError> {
    let fetched = || Path::new(env!("CARGO_MANIFEST_DIR")).join("../third_party/demo-data/admet.csv");
    let file = options.data.clone().unwrap_or_else(fetched);
    fs::canonicalize(&file).map_err(HarnessError::file("find (is `make setup` done?)", file))
}

/// Keys, certificates, folders: what an operator and the data owners do once.
fn found(options: &Options, out: &Path) -> Result<Consortium, HarnessError> {
    let mut plan = Plan::new(&out.join("consortium"), usize::from(options.sites));
    plan.rounds_policy = options.policy();
    let consortium = Consortium::found(&plan)?;
    for member in consortium.members() {
        set_keys(&member.folder.join("site.toml"), &[("witness_seconds", "1".to_owned())])?;
    }
    Ok(consortium)
}

/// Everything is started; returns once all members have declared their data.
fn start(
    options: &Options,
    consortium: &mut Consortium,
    shares: &Shares,
    structure: &str,
    narrator: &Narrator,
) -> Result<(PartnerClient, PartnerClient), HarnessError> {
    for (site, share) in &shares.sites {
        if *site == options.canary_site() {
            canary::plant(&share.file, structure)?;
            narrator
                .say(format!("A canary structure is planted at {site}; it must not turn up anywhere else"));
        }
        consortium.member(site)?.give_data(&share.file)?;
    }
    consortium.member(EVALUATOR)?.give_data(&shares.benchmark)?;
    let developer = consortium.add_client("developer", "Model Developer Inc", "model-developer")?;
    let auditor = consortium.add_client("auditor", "Audit Office", "auditor")?;
    consortium.start_gateway()?;
    consortium.start_members()?;
    narrator.say(format!(
        "A gateway, {} site enclaves and a benchmark evaluator run as separate processes and talk over mTLS at {}",
        options.sites, consortium.url
    ));
    let members = consortium.members().count();
    let deposited = || {
        consortium.expect_running()?;
        let sites: std::collections::BTreeSet<_> =
            auditor.deposits()?.into_iter().map(|deposit| deposit.site).collect();
        Ok((sites.len() >= members).then_some(()))
    };
    wait_until("every member's data deposit", DEPOSIT_LIMIT, deposited, || {
        "see the members' logs".to_owned()
    })?;
    narrator
        .say(format!("{members} signed data deposits are in the ledger: numbers and commitments, no data"));
    Ok((developer, auditor))
}

/// Waits until the evaluator has scored everything and the rewards are stated.
fn finished(client: &PartnerClient, job: &Job) -> Result<Job, HarnessError> {
    let look = || {
        let job = client.job(&job.job)?;
        Ok(matches!(job.phase, JobPhase::Finished | JobPhase::Aborted { .. }).then_some(job))
    };
    wait_until("the end of the job, with all evaluations", EVALUATION_LIMIT, look, String::new)
}

#[expect(clippy::too_many_arguments, reason = "the one place where all that was seen comes together")]
fn conclude(
    options: &Options,
    out: &Path,
    consortium: &Consortium,
    shares: &Shares,
    structure: &str,
    developer: &PartnerClient,
    auditor: &PartnerClient,
    job: &Job,
    kills: &[Kill],
    narrator: &Narrator,
) -> Result<Summary, HarnessError> {
    narrator.say("For comparison, each site trains alone and one model trains on all data together, as many passes as in all rounds");
    let model = job::model_file();
    let training = &job.request.training;
    let folder = out.join("baselines");
    let programs = &consortium.programs;
    let baselines =
        Baselines { programs, model: &model, shares, training, rounds: job.rounds_opened, folder };
    let (alone, pooled) = baselines.run()?;
    let parameters = out.join("developer/federated.f32");
    let bytes = developer.get_bytes(&format!("/v1/blobs/{}", job.global_parameters))?;
    fs::write(&parameters, bytes).map_err(HarnessError::file("write", &parameters))?;
    let federated = baselines.score("federated", &parameters)?;

    let rounds = developer.rounds(&job.job)?;
    let evaluations = developer.evaluations(&job.job)?;
    let records = checks::records(&auditor.entries(None)?)?;
    let mut tasks = Vec::new();
    for task in &shares.tasks {
        let with_task: Vec<String> = shares
            .sites
            .iter()
            .filter(|(_, share)| share.labels.contains_key(&task.task))
            .map(|(site, _)| site.clone())
            .collect();
        let metric = federated.get(&task.task).map_or("", |metric| metric.name);
        let curve = results::curve(&task.task, metric, &rounds, &evaluations);
        tasks.push(results::task_result(task, &federated, &alone, &pooled, &with_task, curve)?);
    }
    let contributions = developer.contributions(&job.job)?;
    let statements = developer.statements(&job.job)?;
    let names: Vec<String> = shares.sites.keys().cloned().collect();

    let mut all = checks::of_rounds(job, &rounds, kills, &records);
    let points = tasks.iter().map(|task| task.curve.len()).min().unwrap_or_default();
    let scored = points == usize::try_from(job.rounds_opened).unwrap_or(usize::MAX);
    all.push(check(
        "The evaluator scored the model after every round",
        scored,
        format!("{points} rounds have a signed evaluation"),
    ));
    all.push(checks::of_rewards(statements.last(), job::BUDGET_MICRO));
    all.extend(results::comparison(&tasks));
    narrator.say("An auditor takes a copy of the ledger and verifies it offline");
    let (ledger, ledger_checks) = audit(out, options, consortium, auditor)?;
    all.extend(ledger_checks);
    narrator.say("Everything the gateway received or keeps is searched for the canary");
    let (traffic, traffic_checks) = traffic::search(consortium, structure, &job.job, &rounds)?;
    all.extend(traffic_checks);

    let status = developer.status()?;
    Ok(Summary {
        layout: LAYOUT,
        passed: all.iter().all(|check| check.passed),
        checks: all,
        run: Run {
            finished_at: OffsetDateTime::now_utc().format(&Rfc3339).unwrap_or_default(),
            software: status.software,
            job: job.job.to_string(),
            data: options.data.as_ref().map_or_else(
                || "public logD, solubility and blood-brain barrier data".to_owned(),
                |file| file.display().to_string(),
            ),
            seed: options.seed,
            seconds: narrator.seconds(),
            cores: thread::available_parallelism().map_or(1, usize::from),
            device: ending::device(consortium),
            local_epochs: job.request.training.local_epochs.into(),
            attestation: serde_json::to_value(status.attestation)
                .ok()
                .and_then(|value| value.as_str().map(str::to_owned))
                .unwrap_or_default(),
        },
        tasks,
        sites: site_shares(consortium, shares)?,
        rounds: rounds.iter().map(|round| results::round_record(round, &names, kills, &records)).collect(),
        rewards: results::rewards(contributions.last(), statements.last()),
        ledger,
        traffic,
    })
}

fn site_shares(consortium: &Consortium, shares: &Shares) -> Result<Vec<SiteShare>, HarnessError> {
    let share = |(site, share): (&String, &super::shares::Share)| {
        Ok(SiteShare {
            site: site.clone(),
            legal_entity: consortium.member(site)?.legal_entity.clone(),
            rows: share.rows,
            labels: share.labels.clone(),
        })
    };
    shares.sites.iter().map(share).collect()
}

/// Waits for the witnesses, copies the ledger, verifies the copy with the auditor's own program.
fn audit(
    out: &Path,
    options: &Options,
    consortium: &Consortium,
    auditor: &PartnerClient,
) -> Result<(LedgerFacts, Vec<Check>), HarnessError> {
    let enrolled = consortium.members().count();
    let cosigned = || {
        let view = auditor.checkpoint()?;
        Ok((view.witnesses.len() >= enrolled).then_some(()))
    };
    // A missing quorum shows in the check below; it is no reason to stop here.
    let _ = wait_until("cosignatures", WITNESS_LIMIT, cosigned, String::new);
    let view = auditor.checkpoint()?;
    let folder = out.join("ledger");
    let exported = auditor.export_ledger(&folder)?;
    let verified = output(&consortium.programs.audit, &["verify".to_owned(), text(&folder)])?;
    let printed = String::from_utf8_lossy(&[verified.stdout, verified.stderr].concat()).trim().to_owned();
    let shown = options.out.join("ledger");
    let checks = vec![
        check(
            "The exported ledger verifies offline",
            verified.status.success(),
            format!("{} entries: {}", exported.size, verified.status),
        ),
        check(
            "All members cosigned the ledger's checkpoint",
            view.witnesses.len() == enrolled,
            format!("{} of {enrolled} cosigned the tree of {} entries", view.witnesses.len(), view.size),
        ),
    ];
    let facts = LedgerFacts {
        origin: view.origin,
        size: exported.size,
        root: view.root.to_string(),
        checkpoint: exported.note,
        witnesses: view.witnesses,
        enrolled: enrolled as u64,
        folder: shown.display().to_string(),
        verify: format!("target/release/konclave-audit verify {}", shown.display()),
        verified: printed,
    };
    Ok((facts, checks))
}
