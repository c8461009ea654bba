//! s
use zeroize::Zeroizing;
use crate::ids::RoundNumber;
use crate::state_codec::StateError;
/// Why a chain could not be moved.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ChainError {
    /// The keys of an earlier round are erased.
    #[error("round {asked} is over: the chains stand at round {current} and cannot go back")]
    Erased {
        /// Round the chains stand at.
        current: RoundNumber,
        /// Round asked for.
        asked: RoundNumber,
    },
}
/// Chains
pub struct PairwiseChains {}
impl PairwiseChains {
    /// r
    pub fn round(&self) -> RoundNumber { todo!() }
    /// a
    /// # Errors
    /// e
    pub fn advance_to(&mut self, _round: RoundNumber) -> Result<(), ChainError> { todo!() }
    /// s
    pub fn to_secret_bytes(&self) -> Zeroizing<Vec<u8>> { todo!() }
    /// f
    /// # Errors
    /// e
    pub fn from_secret_bytes(_b: &[u8]) -> Result<Self, StateError> { todo!() }
}
