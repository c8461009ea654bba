//! s
use std::collections::{BTreeMap, BTreeSet};
use std::io::Read;
use crate::{context::{ContextError, RoundContext}, digest::Digest, encoding::OpenedSum, ids::*, messages::*, setup::Roster};
/// One message was refused; the phase is as it was before.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Rejection {}
impl Rejection {
    /// The sites at fault.
    pub fn culprits(&self) -> BTreeSet<SiteId> { todo!() }
}
/// The round is over without a result.
#[derive(Debug, thiserror::Error)]
pub enum Abort {}
impl Abort {
    /// The sites at fault; empty when it is nobody's or the gateway's own.
    pub fn culprits(&self) -> BTreeSet<SiteId> { todo!() }
}
/// c
pub struct Collecting {}
/// c
pub struct Agreeing {}
/// c
pub struct Unmasking {}
/// c
pub struct Opening {}
impl Collecting {
    /// c
    /// # Errors
    /// e
    pub fn new(_context: RoundContext, _roster: Roster) -> Result<Self, ContextError> { todo!() }
    /// c
    /// # Errors
    /// e
    pub fn accept_manifest(&mut self, _from: &SiteId, _manifest: Manifest) -> Result<(), Rejection> { todo!() }
    /// c
    /// # Errors
    /// e
    pub fn accept_body(&mut self, _from: &SiteId, _body_root: Digest, _bytes: u64) -> Result<(), Rejection> { todo!() }
    /// c
    pub fn uploaded(&self) -> BTreeSet<SiteId> { todo!() }
    /// c
    /// # Errors
    /// e
    pub fn close(self) -> Result<Agreeing, Abort> { todo!() }
}
impl Agreeing {
    /// c
    pub fn proposal(&self) -> &AgreementProposal { todo!() }
    /// c
    /// # Errors
    /// e
    pub fn accept(&mut self, _signature: AgreementSignature) -> Result<(), Rejection> { todo!() }
    /// c
    pub fn signed_by(&self) -> BTreeSet<SiteId> { todo!() }
    /// c
    pub fn quorum(&self) -> bool { todo!() }
    /// c
    /// # Errors
    /// e
    pub fn close(self) -> Result<Unmasking, Abort> { todo!() }
}
impl Unmasking {
    /// c
    pub fn proposal(&self) -> &AgreementProposal { todo!() }
    /// c
    pub fn request_for(&self, _site: &SiteId) -> Option<UnmaskingRequest> { todo!() }
    /// c
    /// # Errors
    /// e
    pub fn accept(&mut self, _response: UnmaskingResponse) -> Result<(), Rejection> { todo!() }
    /// c
    pub fn answered_by(&self) -> BTreeSet<SiteId> { todo!() }
    /// c
    pub fn sufficient(&self) -> bool { todo!() }
    /// c
    /// # Errors
    /// e
    pub fn close(self) -> Result<Opening, Abort> { todo!() }
}
impl Opening {
    /// The agreed sites, ascending: whose bodies [`Self::open`] needs.
    pub fn agreed(&self) -> &[SiteId] { todo!() }
    /// c
    /// # Errors
    /// e
    pub fn open<B: Read>(self, _bodies: BTreeMap<SiteId, B>) -> Result<Vec<OpenedSum>, Abort> { todo!() }
}
