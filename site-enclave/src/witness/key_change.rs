//! Following a change of the log's key.
//!
//! The operator alone cannot change it: the consortium root signs each change, from a key that this site knows to the next.
//! A change also says up to which head the old key is known to have signed rightly. That head must lie on the history this
//! site has seen, and after a theft every head beyond it may be the thief's: the owner is told before the site goes on.

use konclave_ledger::Checkpoint;
use konclave_ledger::checkpoint::CheckpointError;
use konclave_ledger::proof::ConsistencyProof;
use konclave_ledger::rotation::{KeyChange, StolenKey};

use super::log_keys::Followed;
use super::{Advice, LedgerView, SignedHead, Witness, WitnessFault};

impl Witness {
    /// Follows the changes that the gateway shows up to the key that signed the note, and makes them durable.
    pub(super) async fn follow_key_changes<V: LedgerView>(
        &mut self,
        ledger: &V,
        note: &[u8],
        unsigned: CheckpointError,
    ) -> Result<Checkpoint, WitnessFault> {
        let shown = match ledger.key_changes().await {
            Ok(shown) => shown,
            Err(error) if error.is_temporary() => return Err(error.into()),
            // Whoever shows no change has changed nothing.
            Err(_) => Vec::new(),
        };
        let mut keys = self.keys.clone();
        for view in &shown {
            if view.old_vkey != keys.current().to_string() {
                continue;
            }
            match keys.next(&view.authorisation) {
                Ok(followed) => keys.follow(followed),
                Err(error) => return Err(self.alarm(error.to_string(), note, Advice::Contradiction)),
            }
            if let Ok((offered, _)) = Checkpoint::verify(note, keys.current()) {
                for followed in keys.changes_since(&self.keys) {
                    self.check_trusted_head(ledger, &followed.change, &offered, note).await?;
                }
                // The alarm stands before the key is followed: a crash between the two raises it again, not never.
                let theft = self.seen_after_a_theft(keys.changes_since(&self.keys), note);
                if let Some(fault @ WitnessFault::AlarmFile(_)) = theft {
                    return Err(fault);
                }
                keys.store(&self.disk, &self.folder.log_keys())?;
                self.keys = keys;
                tracing::warn!(key = %self.keys.current(), "the ledger's key was changed on the consortium root's authority");
                return theft.map_or(Ok(offered), Err);
            }
        }
        Err(match self.keys.read_head(note) {
            Ok(SignedHead { head, stolen: Some(stolen) }) => {
                let what = format!("a head of {} entries is {stolen}; it was not accepted", head.size);
                self.alarm(what, note, Advice::Thief)
            }
            Ok(_) | Err(_) => self.fault(unsigned.into(), note),
        })
    }

    /// Learns the changes again that this site had followed, if its file of them was lost: up to the key that signed the
    /// head which it has seen. They were checked, and the owner told of a theft, when they were followed first.
    pub(super) async fn recall_keys<V: LedgerView>(&mut self, ledger: &V) -> Result<(), WitnessFault> {
        if !self.seen.is_beyond(&self.keys) {
            return Ok(());
        }
        let (shown, seen) = (ledger.key_changes().await?, self.seen.evidence());
        let mut keys = self.keys.clone();
        for view in &shown {
            if view.old_vkey != keys.current().to_string() {
                continue;
            }
            let Ok(followed) = keys.next(&view.authorisation) else { break };
            keys.follow(followed);
            if Checkpoint::verify(seen.as_bytes(), keys.current()).is_ok() {
                keys.store(&self.disk, &self.folder.log_keys())?;
                self.keys = keys;
                tracing::warn!(key = %self.keys.current(), "the changes of the ledger's key were learned again");
                return Ok(());
            }
        }
        // A site that enrolled anew begins with a later key than the one that signed what it has seen.
        if self.keys.follow_from(seen.as_bytes(), &shown) {
            return Ok(());
        }
        Err(WitnessFault::KeysForgotten { path: self.folder.log_keys() })
    }

    /// Checks that the last head that the old key is trusted for lies on the history this site has seen, or, if that is
    /// shorter, on the one that is offered now.
    async fn check_trusted_head<V: LedgerView>(
        &self,
        ledger: &V,
        change: &KeyChange,
        offered: &Checkpoint,
        note: &[u8],
    ) -> Result<(), WitnessFault> {
        let seen = self.head();
        let history = if change.trusted_size <= seen.size { seen } else { offered };
        let (old_size, new_size) = (change.trusted_size, history.size);
        let hashes = if old_size == 0 || old_size >= new_size {
            Vec::new()
        } else {
            ledger.consistency(old_size, new_size).await?
        };
        let proof = ConsistencyProof { old_size, new_size, hashes };
        proof.verify(&change.trusted_root, &history.root).map_err(|source| {
            let what = format!(
                "the change of the ledger's key trusts a head of {old_size} entries that is not on the history of \
                 {new_size} entries: {source}"
            );
            self.alarm(what, note, Advice::Contradiction)
        })
    }

    /// The alarm, raised, if this site has seen heads that a thief of the old key may have signed. What a later key signed
    /// is none of them.
    fn seen_after_a_theft(&self, followed: &[Followed], note: &[u8]) -> Option<WitnessFault> {
        let (seen, evidence) = (self.head().size, self.seen.evidence());
        let beyond =
            |followed: &Followed| followed.change.stolen().filter(|stolen| stolen.trusted_size < seen);
        let (at, StolenKey { key, trusted_size }) =
            followed.iter().enumerate().find_map(|(at, followed)| Some((at, beyond(followed)?)))?;
        let mut later = followed.iter().skip(at).map(|followed| &followed.key);
        if later.any(|key| Checkpoint::verify(evidence.as_bytes(), key).is_ok()) {
            return None;
        }
        let what = format!(
            "this site has seen {seen} entries under the key {key}, which somebody else may have; only the first \
             {trusted_size} are known to be the operator's"
        );
        Some(self.alarm(what, note, Advice::StolenKey))
    }
}
