//! Taking messages into a round, and closing its phases.

use std::collections::BTreeSet;

use konclave_crypto::aggregator::{Abort, Opening, Tagging};
use konclave_crypto::messages::{AgreementProposal, AgreementSignature, Manifest, SumTag, UnmaskingResponse};
use konclave_crypto::{Digest, SiteId, UnixSeconds};

use super::{LiveRound, MessageError, Phase, StoredProposal};
use crate::rounds_store::{Kind, RoundsStore, SharedBody, StoreError};

impl LiveRound {
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
        let (body, _) = store
            .share_body(&self.key, site, header.body_bytes, header.body_root)
            .map_err(StoreError::from)?;
        store.put(&kind, site, manifest)?;
        self.bodies.insert(site.clone(), body);
        Ok(())
    }

    /// The body of a site whose manifest is here, for appending or to see how far it is.
    ///
    /// # Errors
    /// [`MessageError::NoManifest`] or [`MessageError::WrongPhase`].
    pub fn body(&mut self, site: &SiteId) -> Result<SharedBody, MessageError> {
        self.check_fresh()?;
        if !matches!(self.phase, Phase::Uploading(_)) && !self.uploaded.contains(site) {
            return Err(self.wrong_phase("masked updates", "uploading"));
        }
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
            other @ (Phase::Agreeing(..) | Phase::Unmasking(_) | Phase::Tagging(_) | Phase::Closed) => {
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
            other @ (Phase::Uploading(_) | Phase::Unmasking(_) | Phase::Tagging(_) | Phase::Closed) => {
                self.phase = other;
            }
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
    pub fn close_unmasking(
        &mut self,
    ) -> Result<Option<(Opening, AgreementProposal, BTreeSet<SiteId>)>, Abort> {
        match std::mem::replace(&mut self.phase, Phase::Closed) {
            Phase::Unmasking(unmasking) => {
                let proposal = unmasking.proposal().clone();
                let answered = unmasking.answered_by();
                Ok(Some((unmasking.close()?, proposal, answered)))
            }
            other @ (Phase::Uploading(_) | Phase::Agreeing(..) | Phase::Tagging(_) | Phase::Closed) => {
                self.phase = other;
                Ok(None)
            }
        }
    }

    /// Goes on to gathering tags.
    pub fn begin_tagging(&mut self, tagging: Tagging) {
        self.phase = Phase::Tagging(Box::new(tagging));
    }

    /// Takes a tag; durable on return.
    ///
    /// # Errors
    /// [`MessageError`].
    pub fn accept_tag(
        &mut self,
        store: &RoundsStore,
        site: &SiteId,
        tag: &SumTag,
    ) -> Result<(), MessageError> {
        self.check_fresh()?;
        let kind = Kind::Tag(&self.key);
        if store.known(&kind, site, tag)?.is_some() {
            return Ok(());
        }
        let Phase::Tagging(tagging) = &mut self.phase else {
            return Err(self.wrong_phase("tags", "tagging"));
        };
        tagging.accept(tag.clone())?;
        store.put(&kind, site, tag)?;
        Ok(())
    }

    /// Closes tagging. A second call finds nothing.
    pub fn close_tagging(&mut self) -> Option<Tagging> {
        match std::mem::replace(&mut self.phase, Phase::Closed) {
            Phase::Tagging(tagging) => Some(*tagging),
            other @ (Phase::Uploading(_) | Phase::Agreeing(..) | Phase::Unmasking(_) | Phase::Closed) => {
                self.phase = other;
                None
            }
        }
    }
}
