//! s
use rand_core::CryptoRng;
use serde::{Deserialize, Serialize};
use zeroize::Zeroizing;
use super::{KeyAdvertisement, PairwiseChains, Roster};
use crate::digest::Digest;
use crate::identity::{IdentityKey, Signature};
use crate::ids::{JobId, SiteId};
use crate::membership::MembershipCertificate;
use crate::state_codec::StateError;
use crate::text::base64_bytes;
/// A ciphertext that sets up the secrets of one pair of sites.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
#[serde(deny_unknown_fields)]
pub struct KemCiphertext {
    /// The job.
    pub job: JobId,
    /// The encapsulating site.
    pub from: SiteId,
    /// The decapsulating site, later in the roster.
    pub to: SiteId,
    /// Digest of the roster.
    pub roster: Digest,
    /// X25519 ephemeral key (32 bytes), then ML-KEM-768 ciphertext (1088 bytes).
    #[serde(with = "base64_bytes")]
    #[cfg_attr(feature = "schema", schema(value_type = String, format = Byte))]
    pub ciphertext: Vec<u8>,
    /// Signature of `from`.
    pub signature: Signature,
}
impl KemCiphertext {
    /// v
    pub fn verify(&self, _roster: &Roster) -> bool { todo!() }
}
/// e
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SetupError { }
/// a
pub struct AwaitRoster {}
/// a
pub struct AwaitCiphertexts {}
/// a
pub fn advertise<R: CryptoRng + ?Sized>(_job: &JobId, _key: &IdentityKey, _certificate: &MembershipCertificate, _rng: &mut R) -> (AwaitRoster, KeyAdvertisement) { todo!() }
impl AwaitRoster {
    /// e
    /// # Errors
    /// e
    pub fn encapsulate<R: CryptoRng + ?Sized>(self, _roster: &Roster, _key: &IdentityKey, _rng: &mut R) -> Result<(AwaitCiphertexts, Vec<KemCiphertext>), SetupError> { todo!() }
    /// s
    pub fn to_secret_bytes(&self) -> Zeroizing<Vec<u8>> { todo!() }
    /// f
    /// # Errors
    /// e
    pub fn from_secret_bytes(_b: &[u8]) -> Result<Self, StateError> { todo!() }
}
impl AwaitCiphertexts {
    /// e
    /// # Errors
    /// e
    pub fn finish(self, _roster: &Roster, _ciphertexts: Vec<KemCiphertext>) -> Result<PairwiseChains, SetupError> { todo!() }
    /// s
    pub fn to_secret_bytes(&self) -> Zeroizing<Vec<u8>> { todo!() }
    /// f
    /// # Errors
    /// e
    pub fn from_secret_bytes(_b: &[u8]) -> Result<Self, StateError> { todo!() }
}
