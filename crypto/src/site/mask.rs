//! s
use rand_core::CryptoRng;
use super::AwaitAgreement;
use crate::{context::VerifiedContext, encoding::RingVector, identity::IdentityKey, messages::Manifest, setup::{PairwiseChains, Roster}};
/// m
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum MaskError {}
/// m
/// # Errors
/// e
pub fn mask<R: CryptoRng + ?Sized>(_chains: &PairwiseChains, _roster: &Roster, _context: &VerifiedContext, _key: &IdentityKey, _update: impl Into<RingVector>, _rng: &mut R) -> Result<(AwaitAgreement, Manifest, Vec<u8>), MaskError> { todo!() }
