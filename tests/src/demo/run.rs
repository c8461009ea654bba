//! The order of events.

use std::path::Path;
use std::thread;

use konclave_openapi::jobs::JobPhase;

use super::conclusion::conclude;
use super::evidence::Evidence;
use super::folder::DemoFolder;
use super::kills::Kills;
use super::narrator::Narrator;
use super::options::Options;
use super::pace::Pace;
use super::rounds::{Followed, Follower};
use super::shares::{Shares, divide, source};
use super::stage::Stage;
use super::{ending, job, kept};
use crate::consortium::{Programs, public_url, wait_until};
use crate::error::HarnessError;
use crate::partner::{ClientKey, PartnerClient};

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
    let folder = DemoFolder::claim(&options.out)?;
    let shares = prepare(options, &folder, &narrator)?;
    let cores = thread::available_parallelism().map_or(1, usize::from);
    let pace = Pace::new(options.sites, cores, shares.training_rows(), shares.benchmark_rows);
    let mut stage = Stage::set(options, folder.path(), shares, pace, &narrator)?;

    let developer_folder = folder.path().join("developer");
    let followed = train(options, &developer_folder, &mut stage, pace, &narrator)?;
    let evidence = Evidence::gather(&stage, &developer_folder, followed)?;
    let summary = conclude(options, folder.path(), &stage, &evidence, &narrator)?;
    narrator.finish();
    let written =
        crate::report::write(folder.path(), &summary).map_err(HarnessError::file("write", folder.path()))?;
    ending::print(&summary, &written);
    if options.keep {
        kept::keep_up(&mut stage.consortium, &options.out)?;
    }
    Ok(Outcome { passed: summary.passed })
}

/// An access token of one of the demonstration's clients, for a gateway that was kept up.
///
/// # Errors
/// If there is no such client, or the gateway does not answer.
pub fn token(out: &Path, client: &str) -> Result<String, HarnessError> {
    let folder = out.join("consortium");
    let key = ClientKey::load(client, &folder.join("clients"))?;
    let url = public_url(&folder.join("gateway/gateway.toml"))?;
    PartnerClient::new(&url, &folder.join("gateway/tls/ca.pem"), key)?.token()
}

/// Finds and divides the data; only then are an earlier run's results removed.
fn prepare(options: &Options, folder: &DemoFolder, narrator: &Narrator) -> Result<Shares, HarnessError> {
    let data = source(options)?;
    narrator.say(format!(
        "The data are {}; each of {} sites gets its own share of the chemistry",
        data.display(),
        options.sites
    ));
    let told = divide(&Programs::find()?, &data, options, &folder.stage()?)?;
    told.iter().for_each(|line| narrator.say(format!("  {line}")));
    Shares::read(&folder.replace("split")?)
}

/// The model developer asks, and the job is followed to its end, all evaluations included.
fn train(
    options: &Options,
    folder: &Path,
    stage: &mut Stage,
    pace: Pace,
    narrator: &Narrator,
) -> Result<Followed, HarnessError> {
    let Stage { consortium, shares, developer, .. } = stage;
    let asked = job::ask(&consortium.programs, developer, options, &shares.tasks, folder)?;
    narrator.say(format!(
        "The model developer asks for {} rounds of federated learning: {}",
        options.rounds, asked.job
    ));
    let timetable = options.timetable();
    let kills = Kills::new(timetable, options.first_victim());
    let follower = Follower::new(consortium, developer, narrator, timetable, pace.standstill(), kills);
    let mut followed = follower.follow(&asked.job)?;
    narrator.now("waiting for the last evaluations and the rewards");
    let look = || {
        let job = developer.job(&followed.job.job)?;
        Ok(matches!(job.phase, JobPhase::Finished | JobPhase::Aborted { .. }).then_some(job))
    };
    followed.job =
        wait_until("the end of the job, with all evaluations", pace.evaluations(), look, String::new)?;
    Ok(followed)
}
