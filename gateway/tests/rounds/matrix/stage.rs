//! The two jobs of the matrix, played on to where every site waits.

use std::collections::BTreeSet;
use std::sync::atomic::{AtomicU64, Ordering};

use konclave_crypto::{Digest, IdentityKey, RoundNumber, SiteId};
use konclave_ledger::statements;
use konclave_openapi::evaluations::{Evaluation, NewEvaluation};
use konclave_openapi::jobs::Job;
use konclave_openapi::work::{WorkItem, WorkList};
use konclave_policies::authorization::Role;
use zeroize::Zeroizing;

use super::cast::{Caller, Holdings, Side, Whose};
use super::furnish::job;
use crate::site::evaluation;
use crate::witnesses::{Watcher, three_wanted};
use crate::world::{START, Silent, World};

/// The one round of both jobs.
pub(super) const ROUND: RoundNumber = RoundNumber::FIRST;

/// How far both jobs are: the messages of a phase are sent while they are waited for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Stage {
    Uploading,
    Agreeing,
    Unmasking,
    Tagging,
    Checking,
    /// Nothing is scored yet, and the sites are invited to another job.
    Played,
    Scored,
}

impl Stage {
    pub const ALL: [Self; 7] = [
        Self::Uploading,
        Self::Agreeing,
        Self::Unmasking,
        Self::Tagging,
        Self::Checking,
        Self::Played,
        Self::Scored,
    ];
}

pub struct Cast {
    pub world: World,
    sides: [Holdings; 2],
    nobodys: Holdings,
    second_evaluator: IdentityKey,
    bodies: Vec<(Side, Vec<u8>)>,
    counter: AtomicU64,
}

impl Cast {
    pub async fn new() -> Self {
        let world = World::with_policy(12, &three_wanted()).await;
        let nobodys = Holdings::nobodys();
        let second_evaluator = IdentityKey::from_seed(Zeroizing::new([33; 32]));
        let sides = [nobodys.clone(), nobodys.clone()];
        let mut cast =
            Self { world, sides, nobodys, second_evaluator, bodies: Vec::new(), counter: AtomicU64::new(0) };
        cast.enrol_second_evaluator().await;
        for side in Side::BOTH {
            cast.sides[side as usize] = cast.furnished(side).await;
        }
        for side in Side::BOTH {
            cast.correct_entries(side).await;
        }
        for index in 1..=3 {
            Watcher::new(&cast.world, index).come(&cast.world).await;
        }
        cast
    }

    /// What belongs to a side.
    pub fn of(&self, side: Side) -> &Holdings {
        &self.sides[side as usize]
    }

    pub(super) fn second_evaluator(&self) -> &IdentityKey {
        &self.second_evaluator
    }

    pub fn holdings(&self, caller: Caller, whose: Whose) -> &Holdings {
        match whose {
            Whose::Own => self.of(caller.side),
            Whose::Others => self.of(caller.side.other()),
            Whose::Nobodys => &self.nobodys,
        }
    }

    /// A number that was not given before: no request is one that was sent already.
    pub fn fresh(&self) -> u64 {
        self.counter.fetch_add(1, Ordering::Relaxed)
    }

    /// What a member signs with; who is no member has a key of its own making.
    pub fn signing_seed(&self, member: &SiteId) -> Zeroizing<[u8; 32]> {
        match self.world.sites.get(member) {
            Some(known) => known.key.seed().clone(),
            None if *member == Side::Acme.evaluator() => self.world.evaluator.seed().clone(),
            None if *member == Side::Rival.evaluator() => self.second_evaluator.seed().clone(),
            None => Zeroizing::new(Digest::of(member.as_str().as_bytes()).0),
        }
    }

    /// Plays both jobs on to where every site waits.
    pub async fn play_to(&mut self, stage: Stage) {
        let all: BTreeSet<SiteId> = self.world.sites.keys().cloned().collect();
        match stage {
            Stage::Uploading => {
                self.play(Silent { upload: all, ..Silent::default() }).await;
                self.begin_uploads().await;
            }
            Stage::Agreeing => {
                self.end_uploads().await;
                self.play(Silent { agree: all, ..Silent::default() }).await;
            }
            Stage::Unmasking => self.play(Silent { unmask: all, ..Silent::default() }).await,
            Stage::Tagging => self.play(Silent { tag: all, ..Silent::default() }).await,
            Stage::Checking => self.play(Silent { verify: all, ..Silent::default() }).await,
            Stage::Played => {
                self.play(Silent::default()).await;
                for side in Side::BOTH {
                    self.invite(side).await;
                }
            }
            Stage::Scored => {
                for side in Side::BOTH {
                    self.score(side).await;
                }
                for side in Side::BOTH {
                    self.world.coordinate(&self.of(side).job).await;
                }
            }
        }
    }

    pub(super) async fn play(&mut self, silent: Silent) {
        for side in Side::BOTH {
            let job = self.of(side).job.clone();
            self.world.play(&job, &silent).await;
        }
    }

    /// Whoever asks sends its manifest, so that its upload is under way.
    pub(super) async fn begin_uploads(&mut self) {
        for side in Side::BOTH {
            let (site, job) = (self.of(side).site.clone(), self.of(side).job.clone());
            let body = self.world.mask(&site, &job, ROUND).await;
            self.bodies.push((side, body));
        }
    }

    pub(super) async fn end_uploads(&mut self) {
        for (side, body) in std::mem::take(&mut self.bodies) {
            let (site, job) = (self.of(side).site.clone(), self.of(side).job.clone());
            self.world.send_body(&site, &job, ROUND, &body).await;
        }
    }

    /// Asks for a job that nobody answers, and keeps what became of the first one.
    pub(super) async fn invite(&mut self, side: Side) {
        let own = self.of(side);
        let asked: Job =
            self.world.post(&side.principal(Role::ModelDeveloper), "/v1/jobs", &job(own, vec![])).await;
        let opened = self.world.opened(&own.job, 1);
        let own = &mut self.sides[side as usize];
        own.invitation = asked.job;
        own.batch_sum = Digest(opened.batches[0].sum.0);
        own.scored = opened.parameters_after;
    }

    pub(super) async fn score(&self, side: Side) {
        let principal = side.principal(Role::Evaluator);
        let list: WorkList = self.world.get(&principal, "/v1/work").await;
        for item in &list.items {
            let WorkItem::Evaluate { job, round, parameters, coalition } = item else { panic!("{item:?}") };
            let statement = evaluation(job, *round, *parameters, coalition, START);
            let seed = self.signing_seed(&side.evaluator());
            let statement = statements::sign(&seed, &statement).unwrap();
            let _: Evaluation =
                self.world.post(&principal, "/v1/evaluations", &NewEvaluation { statement }).await;
        }
    }
}
