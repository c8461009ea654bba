//! Follows the rounds through the public interface, and does the two kills at their moments.

use std::collections::BTreeMap;
use std::thread::sleep;
use std::time::{Duration, Instant};

use konclave_crypto::{JobId, SiteId};
use konclave_openapi::jobs::{Job, JobPhase};
use konclave_openapi::rounds::{Round, RoundPhase};

use super::keys::KeyChanges;
use super::kills::{Kill, Kills, Seen};
use super::narrator::Narrator;
use super::options::Timetable;
use crate::consortium::Consortium;
use crate::error::HarnessError;
use crate::partner::PartnerClient;
use crate::report::summary::Part;

/// How often the gateway is asked.
const POLL: Duration = Duration::from_millis(80);
/// How long after a kill the gateway may still be taking in what the site had sent before.
const SETTLE: Duration = Duration::from_millis(250);

/// A job that was followed to its last round, and what was done to it meanwhile.
pub(super) struct Followed {
    pub(super) job: Job,
    pub(super) kills: Vec<Kill>,
    pub(super) keys: KeyChanges,
}

/// Follows one job.
pub(super) struct Follower<'a> {
    consortium: &'a mut Consortium,
    client: &'a PartnerClient,
    narrator: &'a Narrator,
    standstill: Duration,
    kills: Kills,
    keys: KeyChanges,
    timetable: Timetable,
    told: BTreeMap<u32, &'static str>,
    moved: (Instant, (u32, u32)),
}

impl<'a> Follower<'a> {
    /// After `standstill` without the end of a round it gives up.
    pub(super) fn new(
        consortium: &'a mut Consortium,
        client: &'a PartnerClient,
        narrator: &'a Narrator,
        timetable: Timetable,
        standstill: Duration,
        kills: Kills,
    ) -> Self {
        let (told, moved, keys) = (BTreeMap::new(), (Instant::now(), (0, 0)), KeyChanges::default());
        Self { consortium, client, narrator, standstill, kills, keys, timetable, told, moved }
    }

    /// Until all rounds are open, or the job has ended otherwise.
    pub(super) fn follow(mut self, id: &JobId) -> Result<Followed, HarnessError> {
        loop {
            let job = self.client.job(id)?;
            self.narrator.progress(job.rounds_opened.into(), job.request.rounds.into(), "rounds");
            match &job.phase {
                JobPhase::Consent { .. } => self.narrator.now("sites check the job against their policies"),
                JobPhase::AdvertiseKeys { .. } | JobPhase::Encapsulate { .. } => {
                    self.tell_setup(&job);
                    self.narrator.now("sites exchange keys");
                }
                JobPhase::Running | JobPhase::Finished => {
                    self.tell_setup(&job);
                    let open = self.current(&job)?;
                    if !open && job.rounds_opened >= job.request.rounds {
                        self.catch_up(&job, u32::MAX)?;
                        self.restart(u32::MAX)?;
                        if !self.keys.is_revoked() {
                            self.revoke(&names(&job.sites), None)?;
                        }
                        return Ok(Followed { job, kills: self.kills.into_done(), keys: self.keys });
                    }
                }
                JobPhase::Aborted { reason, culprits } => {
                    let culprits: Vec<String> = culprits.iter().map(ToString::to_string).collect();
                    let found = format!("it was aborted: {reason} {}", culprits.join(", "));
                    return Err(HarnessError::unexpected(format!("job {id}"), found));
                }
            }
            self.consortium.expect_running()?;
            self.expect_progress(&job)?;
            sleep(POLL);
        }
    }

    /// Gives up when no round has begun or ended for too long.
    fn expect_progress(&mut self, job: &Job) -> Result<(), HarnessError> {
        let stands = (job.rounds_opened, job.current_round.map_or(0, |round| round.get()));
        let (since, stood) = self.moved;
        if stands != stood {
            self.moved = (Instant::now(), stands);
        } else if since.elapsed() > self.standstill {
            let what = format!("the beginning or end of a round of {}", job.job);
            let seen = self.consortium.gateway_log(20);
            return Err(HarnessError::TimedOut { what, waited: self.standstill, seen });
        }
        Ok(())
    }

    /// Looks at the round under way; says whether it is still open for messages.
    fn current(&mut self, job: &Job) -> Result<bool, HarnessError> {
        let Some(number) = job.current_round else { return Ok(false) };
        let number = number.get();
        let round = self.round(&job.job, number)?;
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
                self.kill_if_due(ordinal, job, &round)?;
                self.change_keys_if_due(ordinal, job, &round)?;
                self.narrator.now(format!(
                    "round {number}: {} of {sites} masked updates are in",
                    round.uploaded.len()
                ));
                Ok(true)
            }
            RoundPhase::Agreeing => {
                self.kill_if_due(ordinal, job, &round)?;
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
            let round = self.round(&job.job, earlier)?;
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

    /// Once, even if the whole key set-up went by between two looks.
    fn tell_setup(&mut self, job: &Job) {
        let accepted = job.consents.iter().filter(|consent| consent.accepted).count();
        let sentence = format!(
            "{accepted} sites consent by policy and agree on pairwise keys that the gateway never sees"
        );
        self.tell(0, "set-up", sentence);
    }

    fn tell(&mut self, round: u32, what: &'static str, sentence: String) {
        if self.told.insert(round, what) != Some(what) {
            self.narrator.say(sentence);
        }
    }

    fn round(&self, job: &JobId, number: u32) -> Result<Round, HarnessError> {
        self.client.get(&format!("/v1/jobs/{job}/rounds/{number}"))
    }

    /// The two kills, each once.
    fn kill_if_due(&mut self, ordinal: u32, job: &Job, round: &Round) -> Result<(), HarnessError> {
        let number = round.round.get();
        let (sites, uploaded) = (names(&job.sites), names(&round.uploaded));
        let uploading = round.phase == RoundPhase::Uploading;
        let seen = Seen { round: number, ordinal, sites: &sites, uploaded: &uploaded, uploading };
        let Some((site, wanted)) = self.kills.due(seen) else { return Ok(()) };
        self.consortium.kill_member(&site)?;
        let mut uploaded = wanted == Part::KilledAfterUpload;
        if !uploaded {
            sleep(SETTLE);
            uploaded = names(&self.round(&job.job, number)?.uploaded).contains(&site);
        }
        let words = match self.kills.record(number, &site, uploaded) {
            Part::KilledBeforeUpload => "before its upload: the others must finish without it",
            Part::KilledAfterUpload | Part::Summed | Part::Absent => {
                "right after its upload: its update must be in the sum all the same"
            }
        };
        self.narrator.say(format!("round {number}: {site} is killed (kill -9) {words}"));
        Ok(())
    }

    /// A renewal in the scoring round, and a revocation in the last one, if nobody is missing there for another reason.
    fn change_keys_if_due(&mut self, ordinal: u32, job: &Job, round: &Round) -> Result<(), HarnessError> {
        let number = round.round.get();
        let (sites, uploaded) = (names(&job.sites), names(&round.uploaded));
        if ordinal >= self.timetable.scoring && !self.keys.is_renewed() {
            let Some(site) = sites.last() else { return Ok(()) };
            self.keys.renew(self.consortium, self.client, site, number)?;
            self.narrator.say(format!(
                "round {number}: {site} and the gateway take new TLS certificates while the round goes on"
            ));
        }
        let alone = ordinal > self.timetable.killed_after && !self.kills.is_one_down();
        if ordinal == job.request.rounds && alone && !self.keys.is_revoked() {
            let waiting: Vec<String> =
                sites.iter().filter(|site| !uploaded.contains(site)).cloned().collect();
            self.revoke(if waiting.is_empty() { &sites } else { &waiting }, Some(number))?;
        }
        Ok(())
    }

    /// Revokes the last of some sites.
    fn revoke(&mut self, sites: &[String], round: Option<u32>) -> Result<(), HarnessError> {
        let Some(site) = sites.last() else { return Ok(()) };
        self.keys.revoke(self.consortium, site, round)?;
        let when = round.map_or_else(|| "After the last round".to_owned(), |round| format!("round {round}"));
        self.narrator.say(format!("{when}: {site} is revoked by the operator and refused from then on"));
        Ok(())
    }

    /// Starts the killed sites again whose round is over.
    fn restart(&mut self, number: u32) -> Result<(), HarnessError> {
        for site in self.kills.take_down_before(number) {
            self.consortium.start_member(&site)?;
            self.narrator.say(format!("{site} is started again and goes on from its stored state"));
        }
        Ok(())
    }
}

fn names(sites: &[SiteId]) -> Vec<String> {
    sites.iter().map(ToString::to_string).collect()
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
