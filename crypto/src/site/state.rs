//! s
use zeroize::Zeroizing;
use crate::{digest::Digest, ids::*, messages::*, state_codec::StateError};
/// a
pub struct AwaitAgreement {}
/// a
pub struct AwaitUnmasking {}
/// The end of a site's round: nothing of it is left to open.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RoundClosed {
    /// Digest of the round context.
    pub context: Digest,
    /// The round.
    pub round: RoundNumber,
}
impl AwaitAgreement {
    /// The manifest that was sent, to be sent again unchanged after a restart.
    pub fn manifest(&self) -> &Manifest { todo!() }
    /// Digest of the round context.
    pub fn context(&self) -> Digest { todo!() }
    /// s
    pub fn to_secret_bytes(&self) -> Zeroizing<Vec<u8>> { todo!() }
    /// f
    /// # Errors
    /// e
    pub fn from_secret_bytes(_b: &[u8]) -> Result<Self, StateError> { todo!() }
}
impl AwaitUnmasking {
    /// The signature that was sent, to be sent again unchanged after a restart.
    pub fn agreement(&self) -> &AgreementSignature { todo!() }
    /// The set that was signed, ascending.
    pub fn agreed(&self) -> &[SiteId] { todo!() }
    /// Digest of the round context.
    pub fn context(&self) -> Digest { todo!() }
    /// s
    pub fn to_secret_bytes(&self) -> Zeroizing<Vec<u8>> { todo!() }
    /// f
    /// # Errors
    /// e
    pub fn from_secret_bytes(_b: &[u8]) -> Result<Self, StateError> { todo!() }
}
