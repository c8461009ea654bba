//! Konclave.
pub mod aggregator;
pub mod context;
mod digest;
pub mod encoding;
pub mod identity;
mod ids;
mod kem;
pub mod membership;
mod merkle;
pub mod messages;
mod schema;
#[allow(dead_code)]
mod secret;
pub mod setup;
pub mod site;
mod state_codec;
mod text;
mod transcript;

pub use context::{ContextError, Mode, RoundContext, SignedContext, SiteFloor, VerifiedContext};
pub use digest::Digest;
pub use encoding::{Encoding, OpenedSum, Quantised, RingVector, TensorEncoding, apply_sums, quantise};
pub use identity::{IdentityKey, IdentityPublicKey, Signature};
pub use ids::{IdError, JobId, MAX_ID_BYTES, RoundNumber, SiteId, UnixSeconds};
pub use membership::{
    ConsortiumRoot, ConsortiumRootKey, MemberRole, Membership, MembershipCertificate, MembershipError,
};
pub use merkle::{BODY_CHUNK_BYTES, BodyHasher, body_root};
pub use state_codec::StateError;
