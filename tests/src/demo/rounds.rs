//! Follows the rounds through the public interface, and does the two kills at their moments.

use std::collections::BTreeMap;
use std::thread::sleep;
use std::time::{Duration, Instant};

use konclave_crypto::JobId;
use konclave_openapi::jobs::{Job, JobPhase};
use konclave_openapi::rounds::{Round, RoundPhase};

use super::narrator::Narrator;
use super::options::Timetable;
use crate::consortium::Consortium;
use crate::error::HarnessError;
use crate::partner::PartnerClient;
use crate::report::summary::Part;

/// How often the gateway is asked.
const POLL: Duration = Duration::from_millis(80);
/// When to give the whole job up.
const JOB_LIMIT: Duration = Duration::from_secs(900);

/// A kill that was done.
#[derive(Debug, Clone)]
pub(super) struct Kill {
    /// In which round (its number).
    pub(super) round: u32,
    /// Which site.
    pub(super) site: String,
    /// At which moment.
    pub(super) part: Part,
}

/// Follows one job.
pub(super) struct Follower<'a> {
    pub(super) consortium: &'a mut Consortium,
    pub(super) client: &'a PartnerClient,
    pub(super) narrator: &'a Narrator,
    pub(super) timetable: Timetable,
    pub(super) first_victim: String,
    kills: Vec<Kill>,
    down: BTreeMap<u32, String>,
    told: BTreeMap<u32, &'static str>,
}

impl<'a> Follower<'a> {
    pub(super) fn new(
        consortium: &'a mut Consortium,
        client: &'a PartnerClient,
        narrator: &'a Narrator,
        timetable: Timetable,
        first_victim: String,
    ) -> Self {
        let (kills, down, told) = (Vec::new(), BTreeMap::new(), BTreeMap::new());
        Self { consortium, client, narrator, timetable, first_victim, kills, down, told }
    }

    /// Until all rounds are open, or the job has ended otherwise.
    pub(super) fn follow(mut self, id: &JobId) -> Result<(Job, Vec<Kill>), HarnessError> {
        let started = Instant::now();
        let mut said_setup = false;
        loop {
            let job = self.client.job(id)?;
            self.narrator.rounds(job.rounds_opened, job.request.rounds);
            match &job.phase {
                JobPhase::Consent { .. } => self.narrator.now("sites check the job against their policies"),
                JobPhase::AdvertiseKeys { .. } | JobPhase::Encapsulate { .. } => {
                    if !said_setup {
                        said_setup = true;
                        let accepted = job.consents.iter().filter(|consent| consent.accepted).count();
                        self.narrator.say(format!(
                            "{accepted} sites consent by policy; now they agree on pairwise keys that the gateway never sees"
                        ));
                    }
                    self.narrator.now("sites exchange keys");
                }
                JobPhase::Running | JobPhase::Finished => {
                    let open = self.current(&job)?;
                    if !open && job.rounds_opened >= job.request.rounds {
                        self.catch_up(&job, u32::MAX)?;
                        self.restart(u32::MAX)?;
                        return Ok((job, self.kills));
                    }
                }
                JobPhase::Aborted { reason, culprits } => {
                    let culprits: Vec<String> = culprits.iter().map(ToString::to_string).collect();
                    let found = format!("it was aborted: {reason} {}", culprits.join(", "));
                    return Err(HarnessError::unexpected(format!("job {id}"), found));
                }
            }
            self.consortium.expect_running()?;
            if started.elapsed() > JOB_LIMIT {
                let what = format!("the end of job {id}");
                let seen = self.consortium.gateway_log(20);
                return Err(HarnessError::TimedOut { what, waited: JOB_LIMIT, seen });
            }
            sleep(POLL);
        }
    }

    /// Looks at the round under way; says whether it is still open for messages.
    fn current(&mut self, job: &Job) -> Result<bool, HarnessError> {
        let Some(number) = job.current_round else { return Ok(false) };
        let round: Round = self.client.get(&format!("/v1/jobs/{}/rounds/{number}", job.job))?;
        let number = number.get();
        self.catch_up(job, number)?;
        self.restart(number)?;
        let sites = job.sites.len();
        let ordinal = job.rounds_opened + 1;
        match &round.phase {
            RoundPhase::Uploading => {
                self.tell(
                    number,
                    "training",
                    format!(
                        "round {number}: the sites train from the same model, each on its own molecules{}",
                        if ordinal == self.timetable.scoring { "; this is the scoring round" } else { "" }
                    ),
                );
                self.kill_if_due(ordinal, number, &round)?;
                self.narrator.now(format!(
                    "round {number}: {} of {sites} masked updates are in",
                    round.uploaded.len()
                ));
                Ok(true)
            }
            RoundPhase::Agreeing => {
                self.kill_if_due(ordinal, number, &round)?;
                self.narrator.now(format!(
                    "round {number}: {} of {sites} signed which updates to open",
                    round.signed.len()
                ));
                Ok(true)
            }
            RoundPhase::Unmasking => {
                self.narrator.now(format!(
                    "round {number}: {} sites gave their shares of the masks",
                    round.unmasked.len()
                ));
                Ok(true)
            }
            RoundPhase::Opened | RoundPhase::Aborted { .. } => {
                self.tell_end(&round, sites);
                Ok(false)
            }
        }
    }

    /// Tells the end of earlier rounds whose last phases went by between two looks.
    fn catch_up(&mut self, job: &Job, number: u32) -> Result<(), HarnessError> {
        let untold: Vec<u32> = self
            .told
            .iter()
            .filter(|(round, told)| **round < number && **told == "training")
            .map(|(round, _)| *round)
            .collect();
        for earlier in untold {
            let round: Round = self.client.get(&format!("/v1/jobs/{}/rounds/{earlier}", job.job))?;
            self.tell_end(&round, job.sites.len());
        }
        Ok(())
    }

    fn tell_end(&mut self, round: &Round, sites: usize) {
        let number = round.round.get();
        if let RoundPhase::Aborted { reason, .. } = &round.phase {
            self.tell(number, "over", format!("round {number} was aborted, nothing was opened: {reason}"));
        } else if round.phase == RoundPhase::Opened {
            self.tell(number, "over", opened_words(round, sites));
        }
    }

    fn tell(&mut self, round: u32, what: &'static str, sentence: String) {
        if self.told.insert(round, what) != Some(what) {
            self.narrator.say(sentence);
        }
    }

    /// The two kills, each once.
    fn kill_if_due(&mut self, ordinal: u32, number: u32, round: &Round) -> Result<(), HarnessError> {
        if self.down.contains_key(&number) {
            return Ok(());
        }
        let done = |part| self.kills.iter().any(|kill| kill.part == part);
        if ordinal == self.timetable.killed_before && !done(Part::KilledBeforeUpload) {
            let victim = self.first_victim.clone();
            if !round.uploaded.iter().any(|site| site.to_string() == victim) {
                let words = "before its upload: the others must finish without it";
                self.kill(victim, number, Part::KilledBeforeUpload, words)?;
            }
        } else if ordinal == self.timetable.killed_after && !done(Part::KilledAfterUpload) {
            // Whoever uploads first has the longest time left in which it will be missed.
            if let Some(victim) = round.uploaded.first().map(ToString::to_string) {
                let words = "right after its upload: its update must be in the sum all the same";
                self.kill(victim, number, Part::KilledAfterUpload, words)?;
            }
        }
        Ok(())
    }

    fn kill(&mut self, site: String, round: u32, part: Part, words: &str) -> Result<(), HarnessError> {
        self.consortium.kill_member(&site)?;
        self.narrator.say(format!("round {round}: {site} is killed (kill -9) {words}"));
        self.down.insert(round, site.clone());
        self.kills.push(Kill { round, site, part });
        Ok(())
    }

    /// Starts the killed sites again whose round is over.
    fn restart(&mut self, number: u32) -> Result<(), HarnessError> {
        let over: Vec<u32> = self.down.keys().copied().filter(|round| *round < number).collect();
        for round in over {
            if let Some(site) = self.down.remove(&round) {
                self.consortium.start_member(&site)?;
                self.narrator.say(format!("{site} is started again and goes on from its stored state"));
            }
        }
        Ok(())
    }
}

fn opened_words(round: &Round, sites: usize) -> String {
    let number = round.round;
    if round.openings.len() > 1 {
        return format!(
            "round {number}: {} sums are open, one for each batch of sites, and no single update",
            round.openings.len()
        );
    }
    format!(
        "round {number}: the sum of {} of {sites} updates is open, and no single update",
        round.agreed.len()
    )
}
