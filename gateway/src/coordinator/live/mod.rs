//! Rounds under way: the protocol's aggregator phases in memory, every message of which is durable in
//! [`crate::rounds_store`], so that a restarted gateway rebuilds the same phase from the same messages.

mod errors;
mod messages;
mod registry;

use std::collections::{BTreeMap, BTreeSet};

use konclave_crypto::aggregator::{Agreeing, Collecting, Tagging, Unmasking};
use konclave_crypto::messages::{
    AgreementProposal, AgreementSignature, Manifest, OpenedSeeds, SumTag, TaggingRequest, UnmaskingRequest,
    UnmaskingResponse,
};
use konclave_crypto::setup::Roster;
use konclave_crypto::verification::SumAnnouncement;
use konclave_crypto::{RoundContext, SiteId, UnixSeconds};
use serde::{Deserialize, Serialize};

pub use errors::{MessageError, RebuildError};
pub use registry::{Awaited, LiveRounds};

use crate::rounds_store::{Kind, RoundKey, RoundsStore, SharedBody, StoreError};

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
    Tagging(Box<Tagging>),
    Closed,
}

/// What was opened, as it is stored before the ledger names it: what it takes to go on after a crash.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct StoredOpening {
    /// What was opened.
    pub announcement: SumAnnouncement,
    /// The seeds of each agreed site that are open now.
    pub opened: BTreeMap<SiteId, OpenedSeeds>,
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
    /// The sums are open; the agreed sites send their tags.
    Tagging,
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
        let stored = store.proposal::<StoredProposal>(&key)?;
        // What came after the proposal was fixed is no part of it, though its bytes may be complete by now.
        let counts = |site: &SiteId| {
            let proposed = |stored: &StoredProposal| {
                stored.proposal.manifests.iter().any(|manifest| manifest.header.site == *site)
            };
            stored.as_ref().is_none_or(proposed)
        };
        let mut collecting = Collecting::new(context.clone(), roster.clone())?;
        let mut bodies = BTreeMap::new();
        let mut uploaded = BTreeSet::new();
        for (site, manifest) in store.all::<Manifest>(&Kind::Manifest(&key))? {
            if !counts(&site) {
                continue;
            }
            let header = manifest.signed.header.clone();
            collecting.accept_manifest(&site, manifest)?;
            let (body, complete) = store
                .share_body(&key, &site, header.body_bytes, header.body_root)
                .map_err(StoreError::from)?;
            if complete {
                collecting.accept_body(&site, header.body_root, header.body_bytes)?;
                uploaded.insert(site.clone());
            }
            bodies.insert(site, body);
        }
        let phase = match stored {
            None => Phase::Uploading(collecting),
            Some(stored) => Self::rebuild_agreement(store, &key, collecting, &stored, agreed)?,
        };
        Ok(Self { key, context, phase, bodies, uploaded, last_byte: None, quorum_since: None, stale: false })
    }

    /// A round whose sums are open, brought back to gather tags.
    ///
    /// # Errors
    /// [`RebuildError`].
    pub fn rebuild_tagging(
        store: &RoundsStore,
        key: RoundKey,
        context: RoundContext,
        roster: &Roster,
    ) -> Result<Self, RebuildError> {
        let opening = store.opening::<StoredOpening>(&key)?.ok_or(RebuildError::NoOpening)?;
        let proposal = store.proposal::<StoredProposal>(&key)?.ok_or(RebuildError::OtherProposal)?.proposal;
        let StoredOpening { announcement, opened } = opening;
        let mut tagging = Tagging::resume(context.clone(), roster.clone(), &proposal, announcement, opened)?;
        for tag in store.all::<SumTag>(&Kind::Tag(&key))?.into_values() {
            tagging.accept(tag)?;
        }
        let uploaded = proposal.manifests.iter().map(|manifest| manifest.header.site.clone()).collect();
        let phase = Phase::Tagging(Box::new(tagging));
        Ok(Self {
            key,
            context,
            phase,
            bodies: BTreeMap::new(),
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
            Phase::Tagging(_) => Stage::Tagging,
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
            Phase::Uploading(_) | Phase::Tagging(_) | Phase::Closed => None,
        }
    }

    /// The sites that signed the proposal, while agreement is open.
    #[must_use]
    pub fn signed_by(&self) -> BTreeSet<SiteId> {
        match &self.phase {
            Phase::Agreeing(agreeing, _) => agreeing.signed_by(),
            Phase::Uploading(_) | Phase::Unmasking(_) | Phase::Tagging(_) | Phase::Closed => BTreeSet::new(),
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
            Phase::Uploading(_) | Phase::Agreeing(..) | Phase::Tagging(_) | Phase::Closed => {
                (BTreeSet::new(), false)
            }
        }
    }

    /// The sites of the proposal, once uploads are closed.
    #[must_use]
    pub fn proposed(&self) -> BTreeSet<SiteId> {
        let manifests = self.proposal().map(|proposal| proposal.manifests.as_slice()).unwrap_or_default();
        manifests.iter().map(|manifest| manifest.header.site.clone()).collect()
    }

    /// For each dealer, the sites that could not open the shares it dealt them.
    #[must_use]
    pub fn complaints(&self) -> BTreeMap<SiteId, BTreeSet<SiteId>> {
        match &self.phase {
            Phase::Unmasking(unmasking) => unmasking.complaints(),
            Phase::Uploading(_) | Phase::Agreeing(..) | Phase::Tagging(_) | Phase::Closed => BTreeMap::new(),
        }
    }

    /// What one site is asked to unmask.
    ///
    /// # Errors
    /// [`MessageError::WrongPhase`].
    pub fn request_for(&self, site: &SiteId) -> Result<Option<UnmaskingRequest>, MessageError> {
        match &self.phase {
            Phase::Unmasking(unmasking) => Ok(unmasking.request_for(site)),
            Phase::Uploading(_) | Phase::Agreeing(..) | Phase::Tagging(_) | Phase::Closed => {
                Err(self.wrong_phase("unmasking requests", "unmasking"))
            }
        }
    }

    /// What one site is asked to tag; nothing if its upload is not in the sum.
    ///
    /// # Errors
    /// [`MessageError::WrongPhase`].
    pub fn tagging_request_for(&self, site: &SiteId) -> Result<Option<TaggingRequest>, MessageError> {
        match &self.phase {
            Phase::Tagging(tagging) => Ok(tagging.request_for(site)),
            Phase::Uploading(_) | Phase::Agreeing(..) | Phase::Unmasking(_) | Phase::Closed => {
                Err(self.wrong_phase("requests for tags", "tagging"))
            }
        }
    }

    /// The agreed sites whose tag is here, and those whose tag is not.
    #[must_use]
    pub fn tagged_by(&self) -> (BTreeSet<SiteId>, BTreeSet<SiteId>) {
        match &self.phase {
            Phase::Tagging(tagging) => (tagging.tagged_by(), tagging.missing()),
            Phase::Uploading(_) | Phase::Agreeing(..) | Phase::Unmasking(_) | Phase::Closed => {
                (BTreeSet::new(), BTreeSet::new())
            }
        }
    }

    fn wrong_phase(&self, message: &'static str, belongs: &'static str) -> MessageError {
        let phase = match &self.phase {
            Phase::Uploading(_) => "uploading",
            Phase::Agreeing(..) => "agreeing",
            Phase::Unmasking(_) => "unmasking",
            Phase::Tagging(_) => "tagging",
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
}
