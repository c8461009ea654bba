//! s
use super::{AwaitAgreement, AwaitUnmasking, Refused};
use crate::{context::VerifiedContext, identity::IdentityKey, messages::*, setup::Roster};
/// m
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum AgreeError {}
impl AwaitAgreement {
    /// m
    /// # Errors
    /// e
    pub fn agree(self, _roster: &Roster, _context: &VerifiedContext, _proposal: &AgreementProposal, _key: &IdentityKey) -> Result<(AwaitUnmasking, AgreementSignature), Refused<Self, AgreeError>> { todo!() }
}
