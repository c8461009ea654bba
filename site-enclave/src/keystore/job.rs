//! One job's state: the key set-up, then the chains that every round draws from.
//!
//! ```text
//! state/jobs/<job>/await-roster          secret: decapsulation keys, until ciphertexts are made
//!                  advertised            the key advertisement sent
//!                  await-ciphertexts     secret: shared secrets so far, until the chains stand
//!                  encapsulated          the ciphertexts sent
//!                  chains                secret: one chain key a peer, at the next round
//!                  rounds/<round>/...    see MaskedRound and AgreedRound
//! ```

use std::fs;
use std::io;
use std::path::Path;

use konclave_crypto::setup::{AwaitCiphertexts, AwaitRoster, KeyAdvertisement, PairwiseChains};
use konclave_crypto::{Digest, JobId, RoundNumber};
use konclave_openapi::jobs::Ciphertexts;
use serde::Serialize;
use serde::de::DeserializeOwned;

use super::disk::{Disk, DiskError};
use super::error::StateError;
use super::journal::{Decision, Journal};
use super::once::{OnceFiles, Slot};
use super::record::RecordKind;

const AWAIT_ROSTER: &str = "await-roster";
const AWAIT_CIPHERTEXTS: &str = "await-ciphertexts";
const CHAINS: &str = "chains";
const ADVERTISED: Slot =
    Slot { kind: RecordKind::Advertised, decision: Decision::Advertised, round: 0, name: "advertised" };
const ENCAPSULATED: Slot =
    Slot { kind: RecordKind::Encapsulated, decision: Decision::Encapsulated, round: 0, name: "encapsulated" };

/// The stored state of one job.
#[derive(Debug)]
pub struct JobStore {
    pub(super) files: OnceFiles,
}

impl JobStore {
    /// Opens or begins a job's state under the site's folder.
    ///
    /// # Errors
    /// [`StateError`].
    pub fn open(disk: Disk, site_folder: &Path, job: &JobId) -> Result<Self, StateError> {
        let folder = site_folder.join("state/jobs").join(job.as_str());
        let journals = site_folder.join("journal");
        disk.create_folder(&folder)?;
        disk.create_folder(&journals)?;
        let journal = Journal::open(disk.clone(), &journals.join(job.as_str()))?;
        Ok(Self { files: OnceFiles { job: job.clone(), disk, folder, journal } })
    }

    /// Jobs in which the site ever decided anything, by their journals.
    ///
    /// # Errors
    /// [`DiskError`].
    pub fn decided(site_folder: &Path) -> Result<Vec<String>, DiskError> {
        names(&site_folder.join("journal"))
    }

    /// Jobs with state under the site's folder.
    ///
    /// # Errors
    /// [`DiskError`].
    pub fn list(site_folder: &Path) -> Result<Vec<JobId>, DiskError> {
        let folder = site_folder.join("state/jobs");
        Ok(names(&folder)?.iter().filter_map(|name| name.parse().ok()).collect())
    }

    /// What was decided in this job.
    #[must_use]
    pub fn journal(&self) -> &Journal {
        &self.files.journal
    }

    /// The advertisement that was sent or is to be sent.
    ///
    /// # Errors
    /// [`StateError`].
    pub fn advertised(&mut self) -> Result<Option<KeyAdvertisement>, StateError> {
        let Some([message]) = self.files.load(ADVERTISED)? else { return Ok(None) };
        self.message(ADVERTISED.name, &message).map(Some)
    }

    /// Stores the decapsulation keys and the advertisement; only then it may be sent.
    ///
    /// # Errors
    /// [`StateError`].
    pub fn store_advertised(
        &mut self,
        secret: &AwaitRoster,
        message: &KeyAdvertisement,
    ) -> Result<(), StateError> {
        self.files.store_secret(RecordKind::Advertised, 0, AWAIT_ROSTER, &secret.to_secret_bytes())?;
        let message = self.bytes(ADVERTISED.name, message)?;
        self.files.store(ADVERTISED, [&message])
    }

    /// The decapsulation keys.
    ///
    /// # Errors
    /// [`StateError::OutOfOrder`] if there are none.
    pub fn await_roster(&self) -> Result<AwaitRoster, StateError> {
        let secret = self.files.secret(RecordKind::Advertised, 0, AWAIT_ROSTER)?;
        let secret = secret.ok_or_else(|| self.out_of_order(0, "decapsulation keys"))?;
        AwaitRoster::from_secret_bytes(&secret).map_err(|error| self.unreadable(0, AWAIT_ROSTER, &error))
    }

    /// The ciphertexts that were sent or are to be sent.
    ///
    /// # Errors
    /// [`StateError`].
    pub fn encapsulated(&mut self) -> Result<Option<Ciphertexts>, StateError> {
        let Some([message]) = self.files.load(ENCAPSULATED)? else { return Ok(None) };
        self.message(ENCAPSULATED.name, &message).map(Some)
    }

    /// Stores the shared secrets and the ciphertexts, and erases the keys they were made with.
    ///
    /// # Errors
    /// [`StateError`].
    pub fn store_encapsulated(
        &mut self,
        secret: &AwaitCiphertexts,
        message: &Ciphertexts,
    ) -> Result<(), StateError> {
        self.files.store_secret(RecordKind::Encapsulated, 0, AWAIT_CIPHERTEXTS, &secret.to_secret_bytes())?;
        let message = self.bytes(ENCAPSULATED.name, message)?;
        self.files.store(ENCAPSULATED, [&message])?;
        self.files.erase(0, &[AWAIT_ROSTER])
    }

    /// The shared secrets so far.
    ///
    /// # Errors
    /// [`StateError::OutOfOrder`] if there are none.
    pub fn await_ciphertexts(&self) -> Result<AwaitCiphertexts, StateError> {
        let secret = self.files.secret(RecordKind::Encapsulated, 0, AWAIT_CIPHERTEXTS)?;
        let secret = secret.ok_or_else(|| self.out_of_order(0, "shared secrets"))?;
        AwaitCiphertexts::from_secret_bytes(&secret)
            .map_err(|error| self.unreadable(0, AWAIT_CIPHERTEXTS, &error))
    }

    /// The chains, once the set-up is finished.
    ///
    /// # Errors
    /// [`StateError`].
    pub fn chains(&self) -> Result<Option<PairwiseChains>, StateError> {
        let Some(secret) = self.files.secret(RecordKind::Chains, 0, CHAINS)? else { return Ok(None) };
        PairwiseChains::from_secret_bytes(&secret)
            .map(Some)
            .map_err(|error| self.unreadable(0, CHAINS, &error))
    }

    /// Stores the chains over their older form and erases what they came from.
    ///
    /// # Errors
    /// [`StateError`].
    pub fn store_chains(&mut self, chains: &PairwiseChains) -> Result<(), StateError> {
        self.files.store_secret(RecordKind::Chains, 0, CHAINS, &chains.to_secret_bytes())?;
        self.files.erase(0, &[AWAIT_ROSTER, AWAIT_CIPHERTEXTS])
    }

    /// Rounds with files here, in order.
    ///
    /// # Errors
    /// [`StateError`].
    pub fn rounds(&self) -> Result<Vec<RoundNumber>, StateError> {
        let names = names(&self.files.folder.join("rounds"))?;
        let mut rounds: Vec<RoundNumber> = names.iter().filter_map(|name| name.parse().ok()).collect();
        rounds.sort_unstable();
        Ok(rounds)
    }

    /// Erases the job's secrets: it is over. Only then the journal says so, so that a power cut in between repeats it.
    ///
    /// # Errors
    /// [`StateError`].
    pub fn close(&mut self) -> Result<(), StateError> {
        for round in self.rounds()? {
            self.close_round(round)?;
        }
        self.files.erase(0, &[AWAIT_ROSTER, AWAIT_CIPHERTEXTS, CHAINS])?;
        let label = format!("{} closed", self.files.job);
        Ok(self.files.journal.decide(Decision::Closed, 0, Digest::of(label.as_bytes()))?)
    }

    pub(super) fn bytes<T: Serialize>(&self, name: &str, message: &T) -> Result<Vec<u8>, StateError> {
        serde_json::to_vec(message)
            .map_err(|source| StateError::Message { path: self.files.folder.join(name), source })
    }

    pub(super) fn message<T: DeserializeOwned>(&self, name: &str, bytes: &[u8]) -> Result<T, StateError> {
        serde_json::from_slice(bytes)
            .map_err(|source| StateError::Message { path: self.files.folder.join(name), source })
    }

    pub(super) fn out_of_order(&self, round: u32, missing: &'static str) -> StateError {
        StateError::OutOfOrder { job: self.files.job.clone(), round, missing }
    }

    pub(super) fn unreadable(&self, round: u32, name: &str, error: &impl std::fmt::Display) -> StateError {
        StateError::Secret { path: self.files.path(round, name), reason: error.to_string() }
    }
}

/// The names in a folder; none where there is no folder.
fn names(folder: &Path) -> Result<Vec<String>, DiskError> {
    let failed = |source| DiskError { doing: "list", path: folder.to_path_buf(), source };
    match fs::read_dir(folder) {
        Ok(entries) => entries
            .map(|entry| entry.map(|entry| entry.file_name().to_string_lossy().into_owned()))
            .collect::<io::Result<Vec<_>>>()
            .map_err(failed),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Vec::new()),
        Err(source) => Err(failed(source)),
    }
}
