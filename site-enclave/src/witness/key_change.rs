//! Following a change of the log's key.
//!
//! The operator alone cannot change it: the consortium root signs each change, from a key that this site knows to the next.
//! A change also says up to which head the old key is known to have signed rightly. That head must lie on the history this
//! site has seen, and after a theft every head beyond it may be the thief's: the owner is told before the site goes on.

use konclave_ledger::Checkpoint;
use konclave_ledger::checkpoint::CheckpointError;
use konclave_ledger::proof::ConsistencyProof;
use konclave_ledger::rotation::{ChangeReason, KeyChange};

use super::{Advice, LedgerView, Witness, WitnessFault};

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
                let changes: Vec<KeyChange> =
                    keys.changes_since(&self.keys).iter().map(|followed| followed.change.clone()).collect();
                for change in &changes {
                    self.check_trusted_head(ledger, change, &offered, note).await?;
                }
                // The alarm stands before the key is followed: a crash between the two raises it again, not never.
                let theft = self.seen_after_a_theft(&changes, note);
                if let Some(fault @ WitnessFault::AlarmFile(_)) = theft {
                    return Err(fault);
                }
                keys.store(&self.disk, &self.folder.log_keys())?;
                self.keys = keys;
                tracing::warn!(key = %self.keys.current(), "the ledger's key was changed on the consortium root's authority");
                return theft.map_or(Ok(offered), Err);
            }
        }
        Err(self.fault(unsigned.into(), note))
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

    /// The alarm, raised, if this site has seen heads that a thief of the old key may have signed.
    fn seen_after_a_theft(&self, changes: &[KeyChange], note: &[u8]) -> Option<WitnessFault> {
        let seen = self.head().size;
        let stolen = changes
            .iter()
            .find(|change| change.reason == ChangeReason::Compromised && change.trusted_size < seen)?;
        let what = format!(
            "this site has seen {seen} entries under the key {}, which somebody else may have; only the first {} are \
             known to be the operator's",
            stolen.old_vkey, stolen.trusted_size
        );
        Some(self.alarm(what, note, Advice::StolenKey))
    }
}
