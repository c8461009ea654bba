//! The site as a witness of the ledger: it checks that every head extends the last one it saw, remembers it, cosigns.
//!
//! The head is durable before its cosignature exists, so that a crash never makes the site forget what it vouched for.
//! A ledger that shrinks, forks or does not extend what was seen raises an alarm: a file, an error in the log, and the
//! site stops taking part until its owner has looked.
//!
//! A gateway could show each site a history of its own, each growing consistently. How that is found:
//! - Round contexts. The gateway's signed context of a round names the ledger's size and root. Each site checks that this
//!   head lies on the history it has seen ([`Witness::check_head`]), and all sites of a job sign, mask and tag under the
//!   digest of the *same* context. Sites of one job whose histories differ before that head cannot finish a round together.
//! - Gossip ([`Witness::gossip`]). The gateway shows what every other witness cosigned last; this site checks those heads
//!   against its own. A gateway with two histories must withhold here what the other side cosigned, because it cannot forge
//!   a cosignature: then the others' heads grow old, and `konclave-site witness status` shows it. Two heads of one size,
//!   both signed by the log, prove the fork to anybody.
//! - A way around the gateway ([`Witness::exchange`]): a folder that the sites share, and notes compared by hand.
//!
//! What is not found: two histories shown to sites that never share a job, nor a folder, nor a word.

mod alarm;
mod exchange;
mod fault;
mod gossip;
mod key_change;
mod log_keys;
mod others;
mod seen;

use std::collections::BTreeMap;

use konclave_crypto::ConsortiumRoot;
use konclave_ledger::checkpoint::{Checkpoint, CheckpointError};
use konclave_ledger::note::{SignatureLine, SignedNote, VerifierKey};
use konclave_ledger::proof::{ConsistencyProof, InclusionProof, ProofError};
use konclave_ledger::tree::leaf_hash;
use konclave_ledger::witness::{AddCheckpoint, Refusal, WitnessError, WitnessSigner};
use konclave_ledger::{Cosignature, Hash, Timestamp};
use konclave_openapi::ledger::CheckpointView;
use konclave_openapi::witnesses::{KeyChangeView, WitnessesView};

pub use alarm::{Alarm, AlarmError};
pub use exchange::{ReadError, read_note};
pub use fault::WitnessFault;
pub use gossip::{Comparison, compare_heads};
pub use log_keys::{KnownKeys, SignedHead};
pub use others::{OtherWitness, OtherWitnesses, Source};
pub use seen::SeenHead;

use crate::client::{ClientError, GatewayClient};
use crate::clock;
use crate::config::SiteFolder;
use crate::keystore::Disk;
use alarm::Advice;

/// Where the heads and proofs come from: the gateway, or a test's ledger.
pub trait LedgerView {
    /// The latest checkpoint.
    fn checkpoint(&self) -> impl Future<Output = Result<CheckpointView, ClientError>> + Send;

    /// What a witness that has seen `old` entries is asked to cosign: an `add-checkpoint` body.
    fn add_checkpoint(&self, old: u64) -> impl Future<Output = Result<String, ClientError>> + Send;

    /// The hashes that show how the ledger of `new` entries extends that of `old`.
    fn consistency(&self, old: u64, new: u64) -> impl Future<Output = Result<Vec<Hash>, ClientError>> + Send;

    /// The hashes that show that the entry is in the ledger of `size` entries.
    fn inclusion(&self, index: u64, size: u64)
    -> impl Future<Output = Result<Vec<Hash>, ClientError>> + Send;

    /// Hands in a cosignature.
    fn hand_in(&self, size: u64, line: String) -> impl Future<Output = Result<(), ClientError>> + Send;

    /// What the other witnesses cosigned.
    fn witnesses(&self) -> impl Future<Output = Result<WitnessesView, ClientError>> + Send;

    /// The changes of the log's key, oldest first.
    fn key_changes(&self) -> impl Future<Output = Result<Vec<KeyChangeView>, ClientError>> + Send;
}

impl LedgerView for GatewayClient {
    async fn checkpoint(&self) -> Result<CheckpointView, ClientError> {
        Self::checkpoint(self).await
    }

    async fn add_checkpoint(&self, old: u64) -> Result<String, ClientError> {
        Self::add_checkpoint(self, old).await
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

    async fn witnesses(&self) -> Result<WitnessesView, ClientError> {
        Self::witnesses(self).await
    }

    async fn key_changes(&self) -> Result<Vec<KeyChangeView>, ClientError> {
        Ok(self.log_keys().await?.changes)
    }
}

/// The witness of one ledger.
#[derive(Debug)]
pub struct Witness {
    disk: Disk,
    folder: SiteFolder,
    signer: WitnessSigner,
    root: ConsortiumRoot,
    keys: KnownKeys,
    seen: SeenHead,
    /// The newest head that this site cosigned, as it shows it to others.
    own: Option<SignedNote>,
    others: OtherWitnesses,
    /// Notes of others that were found to be on this site's history: they stay so, whatever it grows to.
    agreed: BTreeMap<Source, Hash>,
    /// How doubtful it is that such a note is, for those that were not shown to be.
    doubts: BTreeMap<Source, u32>,
    /// Witness keys that the consortium root certified, by site, as far as the gateway has shown them.
    certified: BTreeMap<String, VerifierKey>,
}

/// What a look at the ledger gave.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Look {
    /// Nothing new, and the head carries this site's cosignature.
    Unchanged,
    /// A head of so many entries was checked and cosigned.
    Cosigned(u64),
}

impl Witness {
    /// Reads the last head, or begins with an empty ledger. `log` is the key of the site's enrolment.
    ///
    /// # Errors
    /// [`WitnessFault::Disk`], [`WitnessFault::Head`], [`WitnessFault::LogKeys`], or [`WitnessFault::Unchecked`] for the
    /// head of another ledger.
    pub fn open(
        disk: Disk,
        folder: &SiteFolder,
        signer: WitnessSigner,
        log: VerifierKey,
        root: ConsortiumRoot,
    ) -> Result<Self, WitnessFault> {
        let (head_file, origin) = (folder.witness_head(), log.name().clone());
        if let Some(parent) = head_file.parent() {
            disk.create_folder(parent)?;
        }
        let seen = SeenHead::read(&disk, &head_file)?.unwrap_or_else(|| SeenHead::nothing(origin.clone()));
        if seen.head().origin != origin {
            let found = seen.head().origin.clone();
            return Err(WitnessFault::Unchecked(
                CheckpointError::WrongOrigin { expected: origin, found }.into(),
            ));
        }
        let keys = KnownKeys::open(&disk, &folder.log_keys(), log, &root)?;
        // Only shown to others: one that cannot be read is written anew with the next cosignature.
        let own = disk.read(&folder.own_note())?.and_then(|bytes| SignedNote::parse(&bytes).ok());
        let others = OtherWitnesses::read(&folder.other_witnesses())?.unwrap_or_default();
        Ok(Self {
            disk,
            folder: folder.clone(),
            signer,
            root,
            keys,
            seen,
            own,
            others,
            agreed: BTreeMap::new(),
            doubts: BTreeMap::new(),
            certified: BTreeMap::new(),
        })
    }

    /// The last head that was checked.
    #[must_use]
    pub fn head(&self) -> &Checkpoint {
        self.seen.head()
    }

    /// Looks at the ledger's head: checks it, stores it, cosigns it.
    ///
    /// # Errors
    /// [`WitnessFault`]; [`WitnessFault::Alarm`] if the ledger contradicts itself, with the alarm file written.
    pub async fn look<V: LedgerView>(&mut self, ledger: &V) -> Result<Look, WitnessFault> {
        let request = self.advance(ledger).await?;
        let size = self.head().size;
        if size == 0 {
            return Ok(Look::Unchanged);
        }
        let own_key = self.signer.verifier_key();
        // A line that only claims to be this site's is the gateway's invention, and must not be shown to others as its own.
        let own = |line: &&SignatureLine| Cosignature::verify(line, self.head(), &own_key).is_ok();
        if let Some(line) = request.checkpoint.signatures.iter().find(own) {
            self.keep_own(line.clone())?;
            return Ok(Look::Unchanged);
        }
        let now = Timestamp::from_unix_seconds(clock::now().get())?;
        let cosignature = self.seen.state.cosign(&self.signer, now);
        self.keep_own(cosignature.line().clone())?;
        match ledger.hand_in(size, cosignature.line().to_string()).await {
            Ok(()) => Ok(Look::Cosigned(size)),
            // The ledger has let go of that head; the next look cosigns a larger one.
            Err(error) if error.is_over() => Ok(Look::Unchanged),
            Err(error) => Err(error.into()),
        }
    }

    /// Fetches what is to be cosigned, checks it against the last head, and makes it the last head.
    async fn advance<V: LedgerView>(&mut self, ledger: &V) -> Result<AddCheckpoint, WitnessFault> {
        let mut conflict = None;
        for _ in 0..2 {
            let seen = self.head().size;
            let request: AddCheckpoint = match ledger.add_checkpoint(seen).await {
                Ok(body) => body.parse()?,
                Err(error) if error.is_temporary() => return Err(error.into()),
                // A ledger that has become smaller cannot answer. What it is now, its signed head says.
                Err(error) => {
                    let view = ledger.checkpoint().await?;
                    self.accept(ledger, view.note.as_bytes()).await?;
                    return Err(error.into());
                }
            };
            let note = request.checkpoint.to_string();
            let offered = self.verified(ledger, note.as_bytes()).await?;
            if offered.size < seen {
                let error = WitnessError::Rollback { seen, offered: offered.size };
                return Err(self.fault(error, note.as_bytes()));
            }
            let refusal = match self.seen.state.add_checkpoint(&request, self.keys.current()) {
                Ok(state) => {
                    self.store(SeenHead::checked(state, &request.checkpoint, &self.keys))?;
                    return Ok(request);
                }
                Err(refusal) => refusal,
            };
            match refusal {
                // It answered for another size than it was asked for: once may be a mistake.
                Refusal::Conflict { .. } => conflict = Some(refusal),
                Refusal::Fork(error) | Refusal::Unproven(error) => {
                    return Err(self.fault(error, note.as_bytes()));
                }
                Refusal::NotSigned(error) => return Err(self.fault(error.into(), note.as_bytes())),
                Refusal::UnknownLog { .. } | Refusal::BadRequest => {
                    return Err(WitnessFault::Refused(refusal));
                }
            }
        }
        Err(WitnessFault::Refused(conflict.unwrap_or(Refusal::BadRequest)))
    }

    /// Checks a signed note against the last head and makes it the last head.
    async fn accept<V: LedgerView>(&mut self, ledger: &V, note: &[u8]) -> Result<(), WitnessFault> {
        let offered = self.verified(ledger, note).await?;
        let seen = self.head().size;
        let hashes = if seen == 0 || offered.size <= seen {
            Vec::new()
        } else {
            ledger.consistency(seen, offered.size).await?
        };
        let proof = ConsistencyProof { old_size: seen, new_size: offered.size, hashes };
        let advanced = match self.seen.state.advance(note, self.keys.current(), &proof) {
            Ok(advanced) => advanced,
            Err(error) => return Err(self.fault(error, note)),
        };
        match SignedNote::parse(note) {
            Ok(note) => self.store(SeenHead::checked(advanced, &note, &self.keys)),
            Err(error) => Err(self.fault(CheckpointError::from(error).into(), note)),
        }
    }

    /// Reads a head that the log's key signed. A key that this site does not know is followed if the consortium root put
    /// it in the known one's place, and is an alarm otherwise.
    async fn verified<V: LedgerView>(&mut self, ledger: &V, note: &[u8]) -> Result<Checkpoint, WitnessFault> {
        self.recall_keys(ledger).await?;
        match Checkpoint::verify(note, self.keys.current()) {
            Ok((offered, _)) => Ok(offered),
            Err(error @ CheckpointError::NotSigned { .. }) => {
                self.follow_key_changes(ledger, note, error).await
            }
            Err(error) => Err(self.fault(error.into(), note)),
        }
    }

    /// Makes a checked head the last one, durably.
    fn store(&mut self, seen: SeenHead) -> Result<(), WitnessFault> {
        if seen.state != self.seen.state || self.seen.note.is_none() {
            seen.store(&self.disk, &self.folder.witness_head())?;
            self.seen = seen;
        }
        Ok(())
    }

    /// Keeps the last head with this site's line, for others to read. The head itself is durable already.
    fn keep_own(&mut self, line: SignatureLine) -> Result<(), WitnessFault> {
        let Some(note) = &self.seen.note else { return Ok(()) };
        if self.own.as_ref().is_some_and(|own| own.text == note.text) {
            return Ok(());
        }
        let mut own = note.clone();
        own.signatures.push(line);
        self.disk.write(&self.folder.own_note(), own.to_string().as_bytes())?;
        self.own = Some(own);
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
                self.alarm(error.to_string(), evidence, Advice::Contradiction)
            }
        }
    }

    /// Raises the alarm with this site's head beside what contradicts it.
    fn alarm(&self, what: String, evidence: &[u8], advice: Advice) -> WitnessFault {
        let alarm = Alarm::new(what, self.seen.evidence(), evidence, advice);
        match alarm.raise(&self.disk, &self.folder.alarm()) {
            Ok(()) => WitnessFault::Alarm(Box::new(alarm)),
            Err(error) => error.into(),
        }
    }
}

#[cfg(test)]
pub(crate) mod tests;
