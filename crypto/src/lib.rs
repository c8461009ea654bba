//! Secure aggregation for federated learning: the gateway learns the sum over an agreed set of sites, and about one
//! site's update nothing else, as long as fewer than `2t - n` of the sites collude with it.
//!
//! The protocol follows Bonawitz et al. 2017 in its active-adversary variant (self masks, pairwise masks, consistency
//! step), with one key set-up per job that is ratcheted over its rounds as in Flamingo (2023), whole batches as the
//! unit of summation, and a hybrid X25519 and ML-KEM-768 key exchange. This composition is the project's own and has
//! **not been reviewed externally**.
//!
//! What this crate does not do: it has no HTTP, no async, no storage and no clock. Time, randomness and bytes are
//! arguments; drivers store states and move messages. It does not judge the quality of an input beyond its range.
//! The inner loops are in `konclave-mask-kernel`.
//!
//! # Public surface
//!
//! | module | for |
//! |---|---|
//! | [`membership`], [`identity`] | consortium root, certificates, Ed25519 keys |
//! | [`setup`] | once per job: [`setup::advertise`], [`setup::Roster`], [`setup::PairwiseChains`] |
//! | [`batches`] | how a roster is cut into batches, the same for everyone |
//! | [`mask_graph`] | who masks with whom, and the chance that it is too few |
//! | [`context`] | [`RoundContext`], signed by the gateway, checked by each site against its own floors |
//! | [`privacy`] | noise that hides one site's part in a sum, and what a round costs |
//! | [`encoding`] | floats to ring elements and back: [`quantise`], [`apply_sums`] |
//! | [`site`] | a site's round: [`site::mask`], [`site::AwaitAgreement`], [`site::AwaitUnmasking`] |
//! | [`aggregator`] | the gateway's round: [`aggregator::Collecting`] to [`aggregator::Opening`] |
//! | [`verification`] | that what was opened is what was uploaded: [`verification::tag`], [`verification::SumCheck`] |
//! | [`messages`] | everything that travels between the two |
//!
//! Errors come in three tiers: a [`aggregator::Rejection`] or [`site::Refused`] concerns one message and changes
//! nothing; an [`aggregator::Abort`] ends a round and names culprits; errors of parsing one's own stored state
//! ([`StateError`]) are faults of the machine.

#![cfg_attr(test, allow(clippy::cast_possible_truncation, reason = "tests choose their numbers"))]

pub mod aggregator;
pub mod batches;
mod body;
pub mod context;
mod dealing;
mod digest;
pub mod encoding;
pub mod identity;
mod ids;
mod kem;
mod key_schedule;
pub mod mask_graph;
pub mod membership;
mod merkle;
pub mod messages;
mod prg;
pub mod privacy;
mod round;
mod schema;
mod sealing;
mod secret;
mod seed;
pub mod setup;
mod shamir;
pub mod site;
mod state_codec;
mod text;
mod transcript;
#[cfg(test)]
mod vectors;
pub mod verification;

pub use body::BodyFault;
pub use context::{ContextError, Mode, RoundContext, SignedContext, SiteFloor, VerifiedContext};
pub use digest::Digest;
pub use encoding::{
    Encoding, OpenedSum, Quantised, RingVector, TensorEncoding, apply_sums, quantise, quantise_within,
};
pub use identity::{IdentityKey, IdentityPublicKey, Signature};
pub use ids::{IdError, JobId, MAX_ID_BYTES, RoundNumber, SiteId, UnixSeconds};
pub use mask_graph::MaskGraph;
pub use membership::{
    ConsortiumRoot, ConsortiumRootKey, MemberRole, Membership, MembershipCertificate, MembershipError,
};
pub use merkle::{BODY_CHUNK_BYTES, BodyHasher, body_root};
pub use round::HeaderFault;
pub use state_codec::StateError;
pub use transcript::Transcript;
