//! The rounds and rosters that are in memory.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

use konclave_crypto::setup::Roster;
use konclave_crypto::{JobId, UnixSeconds};

use super::LiveRound;
use crate::rounds_store::RoundKey;

/// All rounds under way, and the rosters of their jobs.
#[derive(Default)]
pub struct LiveRounds {
    rounds: Mutex<BTreeMap<RoundKey, Arc<Mutex<LiveRound>>>>,
    rosters: Mutex<BTreeMap<JobId, Arc<Roster>>>,
    quorums: Mutex<BTreeMap<(RoundKey, Awaited), UnixSeconds>>,
}

/// What the sites of an opened round are waited for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Awaited {
    /// Their tags.
    Tags,
    /// Their verdicts.
    Verdicts,
}

impl LiveRounds {
    /// The round, if it is in memory.
    #[must_use]
    pub fn find(&self, key: &RoundKey) -> Option<Arc<Mutex<LiveRound>>> {
        self.rounds.lock().unwrap_or_else(PoisonError::into_inner).get(key).cloned()
    }

    /// Takes a rebuilt round in; one that is already there stays.
    pub fn insert(&self, round: LiveRound) -> Arc<Mutex<LiveRound>> {
        let mut rounds = self.rounds.lock().unwrap_or_else(PoisonError::into_inner);
        Arc::clone(rounds.entry(round.key.clone()).or_insert_with(|| Arc::new(Mutex::new(round))))
    }

    /// Since when a quorum has sent what is awaited; nothing if none has. A restart forgets it: then the quorum counts as
    /// reached after it, and stragglers are waited for longer.
    pub fn quorum_since(
        &self,
        key: &RoundKey,
        awaited: Awaited,
        reached: bool,
        now: UnixSeconds,
    ) -> Option<UnixSeconds> {
        let mut quorums = self.quorums.lock().unwrap_or_else(PoisonError::into_inner);
        reached.then(|| *quorums.entry((key.clone(), awaited)).or_insert(now))
    }

    /// Drops what is known of the quorums of a round that nothing is awaited for any more.
    pub fn forget_quorums(&self, key: &RoundKey) {
        self.quorums.lock().unwrap_or_else(PoisonError::into_inner).retain(|(round, _), _| round != key);
    }

    /// Drops a round from memory: it is over, or is to be rebuilt from what is durable.
    pub fn forget(&self, key: &RoundKey) {
        self.rounds.lock().unwrap_or_else(PoisonError::into_inner).remove(key);
    }

    /// Drops a round from memory whose phase was used up, or is ahead of what is durable: the next use brings it back.
    /// Whoever still has it can send nothing into it. The caller does not hold the round.
    pub fn discard(&self, key: &RoundKey) {
        if let Some(live) = self.find(key) {
            live.lock().unwrap_or_else(PoisonError::into_inner).retire();
            self.forget(key);
        }
    }

    /// A job's roster, if it is in memory.
    #[must_use]
    pub fn roster(&self, job: &JobId) -> Option<Arc<Roster>> {
        self.rosters.lock().unwrap_or_else(PoisonError::into_inner).get(job).cloned()
    }

    /// Keeps a job's roster.
    pub fn keep_roster(&self, roster: Roster) -> Arc<Roster> {
        let roster = Arc::new(roster);
        let mut rosters = self.rosters.lock().unwrap_or_else(PoisonError::into_inner);
        rosters.insert(roster.job().clone(), Arc::clone(&roster));
        roster
    }
}
