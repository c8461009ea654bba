//! The site as a witness of the ledger: it checks that every head extends the last one it saw, remembers it, cosigns.
//!
//! The head is durable before its cosignature exists, so that a crash never makes the site forget what it vouched for.
//! A ledger that shrinks, forks or does not extend what was seen raises an alarm: a file, an error in the log, and the
//! site stops taking part until its owner has looked.

mod alarm;

use std::path::PathBuf;

use konclave_ledger::checkpoint::{Checkpoint, CheckpointError};
use konclave_ledger::note::VerifierKey;
use konclave_ledger::proof::{ConsistencyProof, InclusionProof, ProofError};
use konclave_ledger::tree::leaf_hash;
use konclave_ledger::witness::{WitnessError, WitnessSigner, WitnessState};
use konclave_ledger::{Hash, Timestamp, TimestampError};
use konclave_openapi::ledger::CheckpointView;

pub use alarm::{Alarm, AlarmError};

use crate::client::{ClientError, GatewayClient};
use crate::clock;
use crate::config::SiteFolder;
use crate::keystore::{Disk, DiskError, RecordError, RecordKind, decode, encode};

/// Where the heads and proofs come from: the gateway, or a test's ledger.
pub trait LedgerView {
    /// The latest checkpoint.
    fn checkpoint(&self) -> impl Future<Output = Result<CheckpointView, ClientError>> + Send;

    /// The hashes that show how the ledger of `new` entries extends that of `old`.
    fn consistency(&self, old: u64, new: u64) -> impl Future<Output = Result<Vec<Hash>, ClientError>> + Send;

    /// The hashes that show that the entry is in the ledger of `size` entries.
    fn inclusion(&self, index: u64, size: u64)
    -> impl Future<Output = Result<Vec<Hash>, ClientError>> + Send;

    /// Hands in a cosignature.
    fn hand_in(&self, size: u64, line: String) -> impl Future<Output = Result<(), ClientError>> + Send;
}

impl LedgerView for GatewayClient {
    async fn checkpoint(&self) -> Result<CheckpointView, ClientError> {
        Self::checkpoint(self).await
    }

    async fn consistency(&self, old: u64, new: u64) -> Result<Vec<Hash>, ClientError> {
        Ok(Self::consistency(self, old, new).await?.path)
    }

    async fn inclusion(&self, index: u64, size: u64) -> Result<Vec<Hash>, ClientError> {
        Ok(Self::inclusion(self, index, size).await?.path)
    }

    async fn hand_in(&self, size: u64, line: String) -> Result<(), ClientError> {
        self.send_cosignature(size, line).await.map(drop)
    }
}

/// The witness of one ledger.
#[derive(Debug)]
pub struct Witness {
    disk: Disk,
    head_file: PathBuf,
    alarm_file: PathBuf,
    signer: WitnessSigner,
    log: VerifierKey,
    state: WitnessState,
}

/// What a look at the ledger gave.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Look {
    /// Nothing new, and the head carries this site's cosignature.
    Unchanged,
    /// A head of so many entries was checked and cosigned.
    Cosigned(u64),
}

/// Why the witness cannot go on.
#[derive(Debug, thiserror::Error)]
pub enum WitnessFault {
    /// The ledger contradicts what this site has seen; the alarm was raised.
    #[error("ALARM: {0}")]
    Alarm(Box<Alarm>),
    /// The alarm could not be written.
    #[error(transparent)]
    AlarmFile(#[from] AlarmError),
    /// The gateway could not be asked.
    #[error(transparent)]
    Gateway(#[from] ClientError),
    /// The stored head cannot be read or written.
    #[error(transparent)]
    Disk(#[from] DiskError),
    /// The stored head is damaged.
    #[error(
        "the witness's stored head {path} cannot be used: {source}; restore it from a copy, do not remove it: a witness that \
         forgets cannot see a rollback"
    )]
    Head {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        source: RecordError,
    },
    /// The head could not be checked, for a reason that is no contradiction.
    #[error("the ledger's head cannot be checked: {0}")]
    Unchecked(WitnessError),
    /// An entry was shown that the ledger this site has seen does not hold: the gateway's fault.
    #[error("entry {index} is not proven to be in the ledger: {source}")]
    Unproven {
        /// The index it was said to have.
        index: u64,
        /// What is wrong with the proof.
        source: ProofError,
    },
    /// The system's clock is unusable.
    #[error("the system's clock cannot be used for a cosignature: {0}")]
    Clock(#[from] TimestampError),
}

impl Witness {
    /// Reads the last head, or begins with an empty ledger.
    ///
    /// # Errors
    /// [`WitnessFault::Disk`], [`WitnessFault::Head`], or [`WitnessFault::Unchecked`] for the head of another ledger.
    pub fn open(
        disk: Disk,
        folder: &SiteFolder,
        signer: WitnessSigner,
        log: VerifierKey,
    ) -> Result<Self, WitnessFault> {
        let head_file = folder.witness_head();
        if let Some(parent) = head_file.parent() {
            disk.create_folder(parent)?;
        }
        let state = match disk.read(&head_file)? {
            None => WitnessState::new(log.name().clone()),
            Some(bytes) => {
                let [stored] = decode(RecordKind::Head, &bytes)
                    .map_err(|source| WitnessFault::Head { path: head_file.clone(), source })?;
                WitnessState::from_bytes(&stored).map_err(WitnessFault::Unchecked)?
            }
        };
        if state.head().origin != *log.name() {
            let (expected, found) = (log.name().clone(), state.head().origin.clone());
            return Err(WitnessFault::Unchecked(CheckpointError::WrongOrigin { expected, found }.into()));
        }
        Ok(Self { disk, head_file, alarm_file: folder.alarm(), signer, log, state })
    }

    /// The last head that was checked.
    #[must_use]
    pub fn head(&self) -> &Checkpoint {
        self.state.head()
    }

    /// Looks at the ledger's head: checks it, stores it, cosigns it.
    ///
    /// # Errors
    /// [`WitnessFault`]; [`WitnessFault::Alarm`] if the ledger contradicts itself, with the alarm file written.
    pub async fn look<V: LedgerView>(&mut self, ledger: &V) -> Result<Look, WitnessFault> {
        let view = ledger.checkpoint().await?;
        self.accept(ledger, view.note.as_bytes()).await?;
        let size = self.head().size;
        let own_name = self.signer.name.as_str();
        // The view may be newer than the note that was checked only if the gateway contradicts itself.
        if size == 0 || view.witnesses.iter().any(|witness| witness == own_name) {
            return Ok(Look::Unchanged);
        }
        let now = Timestamp::from_unix_seconds(clock::now().get())?;
        let cosignature = self.state.cosign(&self.signer, now);
        match ledger.hand_in(size, cosignature.line().to_string()).await {
            Ok(()) => Ok(Look::Cosigned(size)),
            // The ledger grew in between; the next look cosigns the larger head.
            Err(error) if error.is_over() => Ok(Look::Unchanged),
            Err(error) => Err(error.into()),
        }
    }

    /// Checks a signed note against the last head and makes it the last head.
    async fn accept<V: LedgerView>(&mut self, ledger: &V, note: &[u8]) -> Result<(), WitnessFault> {
        let seen = self.head().size;
        let offered = match Checkpoint::verify(note, &self.log) {
            Ok((offered, _)) => offered,
            Err(error) => return Err(self.fault(error.into(), note)),
        };
        let hashes = if seen == 0 || offered.size <= seen {
            Vec::new()
        } else {
            ledger.consistency(seen, offered.size).await?
        };
        let proof = ConsistencyProof { old_size: seen, new_size: offered.size, hashes };
        let advanced = match self.state.advance(note, &self.log, &proof) {
            Ok(advanced) => advanced,
            Err(error) => return Err(self.fault(error, note)),
        };
        if advanced != self.state {
            self.disk.write(&self.head_file, &encode(RecordKind::Head, &[&advanced.to_bytes()]))?;
            self.state = advanced;
        }
        Ok(())
    }

    /// Checks that a head named elsewhere, as in a round context, lies on the history this site has seen.
    ///
    /// # Errors
    /// [`WitnessFault`]; the alarm is raised if it does not.
    pub async fn check_head<V: LedgerView>(
        &mut self,
        ledger: &V,
        size: u64,
        root: Hash,
    ) -> Result<(), WitnessFault> {
        if size > self.head().size {
            let view = ledger.checkpoint().await?;
            self.accept(ledger, view.note.as_bytes()).await?;
        }
        let head = self.head().clone();
        if size > head.size {
            let error = WitnessError::Rollback { seen: size, offered: head.size };
            return Err(self.fault(error, head.text().as_bytes()));
        }
        let hashes = if size == 0 || size == head.size {
            Vec::new()
        } else {
            ledger.consistency(size, head.size).await?
        };
        let proof = ConsistencyProof { old_size: size, new_size: head.size, hashes };
        proof.verify(&root, &head.root).map_err(|source: ProofError| {
            let error = if size == head.size {
                WitnessError::Fork { size }
            } else {
                WitnessError::Inconsistent { seen: size, source }
            };
            self.fault(error, format!("a round context names {size} entries with root {root}\n").as_bytes())
        })
    }

    /// Checks that an entry is in the ledger at an index, under the last head that was checked; an entry beyond that
    /// head makes the witness look first.
    ///
    /// # Errors
    /// [`WitnessFault::Unproven`] if it is not: an answer that proves nothing, and no contradiction that an alarm could
    /// show to others. [`WitnessFault::Alarm`] if a newer head does not extend the last one.
    pub async fn check_entry<V: LedgerView>(
        &mut self,
        ledger: &V,
        index: u64,
        leaf: &[u8],
    ) -> Result<(), WitnessFault> {
        if index >= self.head().size {
            let view = ledger.checkpoint().await?;
            self.accept(ledger, view.note.as_bytes()).await?;
        }
        let Checkpoint { size, root, .. } = self.head().clone();
        if index >= size {
            return Err(WitnessFault::Unproven { index, source: ProofError::Sizes });
        }
        let hashes = ledger.inclusion(index, size).await?;
        InclusionProof { index, size, hashes }
            .verify(&leaf_hash(leaf), &root)
            .map_err(|source| WitnessFault::Unproven { index, source })
    }

    /// Raises the alarm for whatever shows that the ledger's keeper contradicts itself.
    fn fault(&self, error: WitnessError, evidence: &[u8]) -> WitnessFault {
        match error {
            WitnessError::Stale { .. } | WitnessError::StoredState => WitnessFault::Unchecked(error),
            WitnessError::Checkpoint(_)
            | WitnessError::Rollback { .. }
            | WitnessError::Fork { .. }
            | WitnessError::Inconsistent { .. } => {
                let alarm = Alarm::new(&error, self.head(), evidence);
                match alarm.raise(&self.disk, &self.alarm_file) {
                    Ok(()) => WitnessFault::Alarm(Box::new(alarm)),
                    Err(error) => error.into(),
                }
            }
        }
    }
}

#[cfg(test)]
mod tests;
