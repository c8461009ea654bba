//! Rounds under way: the protocol's aggregator phases in memory, every message of which is durable in
//! [`crate::rounds_store`], so that a restarted gateway rebuilds the same phase from the same messages.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, PoisonError};

use konclave_crypto::aggregator::{Abort, Agreeing, Collecting, Opening, Rejection, Unmasking};
use konclave_crypto::messages::{
    AgreementProposal, AgreementSignature, Manifest, UnmaskingRequest, UnmaskingResponse,
};
use konclave_crypto::setup::Roster;
use konclave_crypto::{ContextError, Digest, JobId, RoundContext, SiteId, UnixSeconds};
use serde::{Deserialize, Serialize};

use crate::rounds_store::{BodyFile, Kind, RoundKey, RoundsStore, StoreError};

/// All rounds under way, and the rosters of their jobs.
#[derive(Default)]
pub struct LiveRounds {
    rounds: Mutex<BTreeMap<RoundKey, Arc<Mutex<LiveRound>>>>,
    rosters: Mutex<BTreeMap<JobId, Arc<Roster>>>,
}

/// A body that is being received; the lock is held by the one upload under way.
pub type SharedBody = Arc<tokio::sync::Mutex<BodyFile>>;

/// One round under way.
pub struct LiveRound {
    key: RoundKey,
    context: RoundContext,
    phase: Phase,
    bodies: BTreeMap<SiteId, SharedBody>,
    uploaded: BTreeSet<SiteId>,
    last_byte: Option<UnixSeconds>,
    quorum_since: Option<UnixSeconds>,
    stale: bool,
}

enum Phase {
    Uploading(Collecting),
    Agreeing(Agreeing, UnixSeconds),
    Unmasking(Unmasking),
    Closed,
}

/// The proposal as it is stored before any site sees it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct StoredProposal {
    /// What is proposed.
    pub proposal: AgreementProposal,
    /// When agreement closes.
    pub deadline: UnixSeconds,
}

/// Where a round stands between the ledger's entries.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stage {
    /// Sites train, mask and upload.
    Uploading,
    /// Sites sign the agreed set.
    Agreeing {
        /// When agreement closes.
        deadline: UnixSeconds,
    },
    /// Sites answer the unmasking request.
    Unmasking,
    /// The sums are being opened.
    Opening,
}

/// Why a message was not accepted. The round is as it was before.
#[derive(Debug, thiserror::Error)]
pub enum MessageError {
    /// It belongs to another phase.
    #[error("{key} is in phase {phase}; {message} are taken in phase {belongs}")]
    WrongPhase {
        /// The round.
        key: RoundKey,
        /// Where it stands.
        phase: &'static str,
        /// What was sent.
        message: &'static str,
        /// Where it belongs.
        belongs: &'static str,
    },
    /// The round changed hands within this moment; the same message again will be taken.
    #[error("{key} is being reloaded; send the message again")]
    Stale {
        /// The round.
        key: RoundKey,
    },
    /// A body without a manifest.
    #[error("the manifest of {site} must come before its masked update")]
    NoManifest {
        /// The site.
        site: SiteId,
    },
    /// The protocol refuses it.
    #[error(transparent)]
    Rejected(#[from] Rejection),
    /// It could not be stored, or another one was before.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// Why a round could not be rebuilt from its stored messages. It is aborted; nothing of it was opened.
#[derive(Debug, thiserror::Error)]
pub enum RebuildError {
    /// The stored context does not fit the roster.
    #[error("the stored context is refused: {0}")]
    Context(#[from] ContextError),
    /// A stored message is refused, though it was accepted before.
    #[error("a stored message is refused: {0}")]
    Rejected(#[from] Rejection),
    /// A phase that was closed does not close.
    #[error("a phase that was closed before does not close: {0}")]
    Abort(#[from] Abort),
    /// The messages lead to another agreed set than the one that was shown to the sites.
    #[error("stored messages are missing: they lead to another agreed set than the one proposed")]
    OtherProposal,
    /// A file could not be read.
    #[error(transparent)]
    Store(#[from] StoreError),
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

    /// Drops a round from memory: it is over, or is to be rebuilt from what is durable.
    pub fn forget(&self, key: &RoundKey) {
        self.rounds.lock().unwrap_or_else(PoisonError::into_inner).remove(key);
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

impl LiveRound {
    /// The phase that the stored messages lead to. `agreed` says whether the ledger has the agreed set.
    ///
    /// # Errors
    /// [`RebuildError`].
    pub fn rebuild(
        store: &RoundsStore,
        key: RoundKey,
        context: RoundContext,
        roster: &Roster,
        agreed: bool,
    ) -> Result<Self, RebuildError> {
        let mut collecting = Collecting::new(context.clone(), roster.clone())?;
        let mut bodies = BTreeMap::new();
        let mut uploaded = BTreeSet::new();
        for (site, manifest) in store.all::<Manifest>(&Kind::Manifest(&key))? {
            let header = manifest.signed.header.clone();
            collecting.accept_manifest(&site, manifest)?;
            let body = store
                .open_body(&key, &site, header.body_bytes, header.body_root)
                .map_err(StoreError::from)?;
            if body.is_complete() {
                collecting.accept_body(&site, header.body_root, header.body_bytes)?;
                uploaded.insert(site.clone());
            }
            bodies.insert(site, Arc::new(tokio::sync::Mutex::new(body)));
        }
        let phase = match store.proposal::<StoredProposal>(&key)? {
            None => Phase::Uploading(collecting),
            Some(stored) => Self::rebuild_agreement(store, &key, collecting, &stored, agreed)?,
        };
        Ok(Self {
            key,
            context,
            phase,
            bodies,
            uploaded,
            last_byte: None,
            quorum_since: None,
            stale: false,
        })
    }

    fn rebuild_agreement(
        store: &RoundsStore,
        key: &RoundKey,
        collecting: Collecting,
        stored: &StoredProposal,
        agreed: bool,
    ) -> Result<Phase, RebuildError> {
        let mut agreeing = collecting.close()?;
        if *agreeing.proposal() != stored.proposal {
            return Err(RebuildError::OtherProposal);
        }
        for signature in store.all::<AgreementSignature>(&Kind::Agreement(key))?.into_values() {
            agreeing.accept(signature)?;
        }
        if !agreed {
            return Ok(Phase::Agreeing(agreeing, stored.deadline));
        }
        let mut unmasking = agreeing.close()?;
        for response in store.all::<UnmaskingResponse>(&Kind::Unmasking(key))?.into_values() {
            unmasking.accept(response)?;
        }
        Ok(Phase::Unmasking(unmasking))
    }

    /// Where it stands.
    #[must_use]
    pub fn stage(&self) -> Stage {
        match &self.phase {
            Phase::Uploading(_) => Stage::Uploading,
            Phase::Agreeing(_, deadline) => Stage::Agreeing { deadline: *deadline },
            Phase::Unmasking(_) => Stage::Unmasking,
            Phase::Closed => Stage::Opening,
        }
    }

    /// The context all masks are bound to.
    #[must_use]
    pub fn context(&self) -> &RoundContext {
        &self.context
    }

    /// The sites whose upload is complete.
    #[must_use]
    pub fn uploaded(&self) -> &BTreeSet<SiteId> {
        &self.uploaded
    }

    /// The proposal, once uploads are closed.
    #[must_use]
    pub fn proposal(&self) -> Option<&AgreementProposal> {
        match &self.phase {
            Phase::Agreeing(agreeing, _) => Some(agreeing.proposal()),
            Phase::Unmasking(unmasking) => Some(unmasking.proposal()),
            Phase::Uploading(_) | Phase::Closed => None,
        }
    }

    /// The sites that signed the proposal, while agreement is open.
    #[must_use]
    pub fn signed_by(&self) -> BTreeSet<SiteId> {
        match &self.phase {
            Phase::Agreeing(agreeing, _) => agreeing.signed_by(),
            Phase::Uploading(_) | Phase::Unmasking(_) | Phase::Closed => BTreeSet::new(),
        }
    }

    /// Since when enough sites have signed.
    #[must_use]
    pub fn quorum_since(&self) -> Option<UnixSeconds> {
        self.quorum_since
    }

    /// When bytes of an upload came last.
    #[must_use]
    pub fn last_byte(&self) -> Option<UnixSeconds> {
        self.last_byte
    }

    /// The sites that answered the unmasking request, and whether the answers suffice.
    #[must_use]
    pub fn unmasked_by(&self) -> (BTreeSet<SiteId>, bool) {
        match &self.phase {
            Phase::Unmasking(unmasking) => (unmasking.answered_by(), unmasking.sufficient()),
            Phase::Uploading(_) | Phase::Agreeing(..) | Phase::Closed => (BTreeSet::new(), false),
        }
    }

    /// What one site is asked to unmask.
    ///
    /// # Errors
    /// [`MessageError::WrongPhase`].
    pub fn request_for(&self, site: &SiteId) -> Result<Option<UnmaskingRequest>, MessageError> {
        match &self.phase {
            Phase::Unmasking(unmasking) => Ok(unmasking.request_for(site)),
            Phase::Uploading(_) | Phase::Agreeing(..) | Phase::Closed => {
                Err(self.wrong_phase("unmasking requests", "unmasking"))
            }
        }
    }

    fn wrong_phase(&self, message: &'static str, belongs: &'static str) -> MessageError {
        let phase = match &self.phase {
            Phase::Uploading(_) => "uploading",
            Phase::Agreeing(..) => "agreeing",
            Phase::Unmasking(_) => "unmasking",
            Phase::Closed => "opening",
        };
        MessageError::WrongPhase { key: self.key.clone(), phase, message, belongs }
    }

    fn check_fresh(&self) -> Result<(), MessageError> {
        if self.stale { Err(MessageError::Stale { key: self.key.clone() }) } else { Ok(()) }
    }

    /// Marks the copy in memory as no longer the truth.
    pub fn retire(&mut self) {
        self.stale = true;
    }

    /// Takes a manifest; durable on return.
    ///
    /// # Errors
    /// [`MessageError`].
    pub fn accept_manifest(
        &mut self,
        store: &RoundsStore,
        site: &SiteId,
        manifest: &Manifest,
    ) -> Result<(), MessageError> {
        self.check_fresh()?;
        let kind = Kind::Manifest(&self.key);
        if store.known(&kind, site, manifest)?.is_some() {
            return Ok(());
        }
        let Phase::Uploading(collecting) = &mut self.phase else {
            return Err(self.wrong_phase("manifests", "uploading"));
        };
        collecting.accept_manifest(site, manifest.clone())?;
        let header = &manifest.signed.header;
        let body =
            store.open_body(&self.key, site, header.body_bytes, header.body_root).map_err(StoreError::from)?;
        store.put(&kind, site, manifest)?;
        self.bodies.insert(site.clone(), Arc::new(tokio::sync::Mutex::new(body)));
        Ok(())
    }

    /// The body of a site whose manifest is here, for appending or to see how far it is.
    ///
    /// # Errors
    /// [`MessageError::NoManifest`] or [`MessageError::WrongPhase`].
    pub fn body(&mut self, site: &SiteId, now: UnixSeconds) -> Result<SharedBody, MessageError> {
        self.check_fresh()?;
        if !matches!(self.phase, Phase::Uploading(_)) && !self.uploaded.contains(site) {
            return Err(self.wrong_phase("masked updates", "uploading"));
        }
        self.last_byte = Some(now);
        self.bodies.get(site).cloned().ok_or_else(|| MessageError::NoManifest { site: site.clone() })
    }

    /// Notes that bytes of an upload came.
    pub fn bytes_came(&mut self, now: UnixSeconds) {
        self.last_byte = Some(now);
    }

    /// Counts a body that is complete and durable.
    ///
    /// # Errors
    /// [`MessageError`]; it came after uploads were closed.
    pub fn body_complete(&mut self, site: &SiteId, root: Digest, bytes: u64) -> Result<(), MessageError> {
        self.check_fresh()?;
        if self.uploaded.contains(site) {
            return Ok(());
        }
        let Phase::Uploading(collecting) = &mut self.phase else {
            return Err(self.wrong_phase("masked updates", "uploading"));
        };
        collecting.accept_body(site, root, bytes)?;
        self.uploaded.insert(site.clone());
        Ok(())
    }

    /// Closes uploads: the proposal is durable before any site can read it.
    ///
    /// # Errors
    /// The inner error if the round aborts; the outer one if the proposal could not be stored, after which this copy
    /// is stale.
    pub fn close_uploads(
        &mut self,
        store: &RoundsStore,
        deadline: UnixSeconds,
    ) -> Result<Result<(), Abort>, StoreError> {
        let collecting = match std::mem::replace(&mut self.phase, Phase::Closed) {
            Phase::Uploading(collecting) => collecting,
            other @ (Phase::Agreeing(..) | Phase::Unmasking(_) | Phase::Closed) => {
                self.phase = other;
                return Ok(Ok(()));
            }
        };
        let agreeing = match collecting.close() {
            Ok(agreeing) => agreeing,
            Err(abort) => return Ok(Err(abort)),
        };
        let stored = StoredProposal { proposal: agreeing.proposal().clone(), deadline };
        if let Err(error) = store.put_proposal(&self.key, &stored) {
            self.retire();
            return Err(error);
        }
        self.phase = Phase::Agreeing(agreeing, deadline);
        Ok(Ok(()))
    }

    /// Takes an agreement signature; durable on return.
    ///
    /// # Errors
    /// [`MessageError`].
    pub fn accept_agreement(
        &mut self,
        store: &RoundsStore,
        site: &SiteId,
        signature: &AgreementSignature,
        now: UnixSeconds,
    ) -> Result<(), MessageError> {
        self.check_fresh()?;
        let kind = Kind::Agreement(&self.key);
        if store.known(&kind, site, signature)?.is_some() {
            return Ok(());
        }
        let Phase::Agreeing(agreeing, _) = &mut self.phase else {
            return Err(self.wrong_phase("agreement signatures", "agreeing"));
        };
        agreeing.accept(signature.clone())?;
        let quorum = agreeing.quorum();
        store.put(&kind, site, signature)?;
        if quorum {
            self.quorum_since.get_or_insert(now);
        }
        Ok(())
    }

    /// Whether enough sites signed; notes since when, where a restart forgot it.
    pub fn quorum(&mut self, now: UnixSeconds) -> bool {
        let quorum = matches!(&self.phase, Phase::Agreeing(agreeing, _) if agreeing.quorum());
        if quorum {
            self.quorum_since.get_or_insert(now);
        }
        quorum
    }

    /// Closes agreement, after the ledger has the agreed set.
    ///
    /// # Errors
    /// The round aborts.
    pub fn close_agreement(&mut self) -> Result<(), Abort> {
        match std::mem::replace(&mut self.phase, Phase::Closed) {
            Phase::Agreeing(agreeing, _) => self.phase = Phase::Unmasking(agreeing.close()?),
            other @ (Phase::Uploading(_) | Phase::Unmasking(_) | Phase::Closed) => self.phase = other,
        }
        Ok(())
    }

    /// Takes an answer to the unmasking request; durable on return.
    ///
    /// # Errors
    /// [`MessageError`].
    pub fn accept_unmasking(
        &mut self,
        store: &RoundsStore,
        site: &SiteId,
        response: &UnmaskingResponse,
    ) -> Result<(), MessageError> {
        self.check_fresh()?;
        let kind = Kind::Unmasking(&self.key);
        if store.known(&kind, site, response)?.is_some() {
            return Ok(());
        }
        let Phase::Unmasking(unmasking) = &mut self.phase else {
            return Err(self.wrong_phase("unmasking responses", "unmasking"));
        };
        unmasking.accept(response.clone())?;
        store.put(&kind, site, response)?;
        Ok(())
    }

    /// Closes unmasking: what opens the sums. A second call finds nothing.
    ///
    /// # Errors
    /// The round aborts.
    pub fn close_unmasking(&mut self) -> Result<Option<(Opening, AgreementProposal, BTreeSet<SiteId>)>, Abort> {
        match std::mem::replace(&mut self.phase, Phase::Closed) {
            Phase::Unmasking(unmasking) => {
                let proposal = unmasking.proposal().clone();
                let answered = unmasking.answered_by();
                Ok(Some((unmasking.close()?, proposal, answered)))
            }
            other @ (Phase::Uploading(_) | Phase::Agreeing(..) | Phase::Closed) => {
                self.phase = other;
                Ok(None)
            }
        }
    }
}
