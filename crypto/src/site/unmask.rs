//! s
use super::{AwaitUnmasking, RoundClosed, Refused};
use crate::{context::VerifiedContext, identity::IdentityKey, messages::*, setup::Roster};
/// m
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum UnmaskError {}
impl AwaitUnmasking {
    /// m
    /// # Errors
    /// e
    pub fn unmask(self, _roster: &Roster, _context: &VerifiedContext, _request: &UnmaskingRequest, _key: &IdentityKey) -> Result<(RoundClosed, UnmaskingResponse), Refused<Self, UnmaskError>> { todo!() }
}
