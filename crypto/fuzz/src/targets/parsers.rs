//! Parsers: nothing panics, and what parses is written back the same.

use std::fmt::Debug;

use konclave_crypto::encoding::{pack, packed_bytes, unpack};
use konclave_crypto::messages::{
    AgreementProposal, AgreementSignature, Manifest, SignedManifestHeader, UnmaskingRequest,
    UnmaskingResponse,
};
use konclave_crypto::setup::{
    AwaitCiphertexts, AwaitRoster, KemCiphertext, KeyAdvertisement, PairwiseChains,
};
use konclave_crypto::site::{AwaitAgreement, AwaitUnmasking};
use konclave_crypto::{
    ConsortiumRoot, MembershipCertificate, OpenedSum, RoundContext, SignedContext, SiteFloor,
};
use serde::Serialize;
use serde::de::DeserializeOwned;

/// Every message in its JSON form.
pub fn messages(bytes: &[u8]) {
    round_trip::<SignedContext>(bytes);
    round_trip::<RoundContext>(bytes);
    round_trip::<SiteFloor>(bytes);
    round_trip::<MembershipCertificate>(bytes);
    round_trip::<ConsortiumRoot>(bytes);
    round_trip::<KeyAdvertisement>(bytes);
    round_trip::<KemCiphertext>(bytes);
    round_trip::<SignedManifestHeader>(bytes);
    round_trip::<Manifest>(bytes);
    round_trip::<AgreementProposal>(bytes);
    round_trip::<AgreementSignature>(bytes);
    round_trip::<UnmaskingRequest>(bytes);
    round_trip::<UnmaskingResponse>(bytes);
    round_trip::<OpenedSum>(bytes);
    // Whatever parses can be hashed.
    if let Ok(signed) = serde_json::from_slice::<SignedContext>(bytes) {
        let _ = signed.context.digest();
    }
    if let Ok(proposal) = serde_json::from_slice::<AgreementProposal>(bytes) {
        let _ = proposal.agreed_digest();
    }
}

fn round_trip<T: Serialize + DeserializeOwned + PartialEq + Debug>(bytes: &[u8]) {
    if let Ok(message) = serde_json::from_slice::<T>(bytes) {
        let written = serde_json::to_vec(&message).unwrap();
        assert_eq!(serde_json::from_slice::<T>(&written).unwrap(), message);
    }
}

/// Packed ring elements: a byte of width, two of length, then the body.
pub fn packing(bytes: &[u8]) {
    let [bits, low, high, body @ ..] = bytes else { return };
    let lanes = usize::from(u16::from_le_bytes([*low, *high]));
    if let Ok(unpacked) = unpack(body, lanes, *bits) {
        assert_eq!(unpacked.len(), lanes);
        assert_eq!(packed_bytes(lanes as u64, *bits), body.len() as u64);
        assert_eq!(pack(&unpacked, *bits).unwrap(), body);
    }
}

/// Stored states.
pub fn states(bytes: &[u8]) {
    if let Ok(state) = AwaitRoster::from_secret_bytes(bytes) {
        assert_eq!(*state.to_secret_bytes(), bytes);
    }
    if let Ok(state) = AwaitCiphertexts::from_secret_bytes(bytes) {
        assert_eq!(state.to_secret_bytes().len(), bytes.len());
    }
    if let Ok(state) = PairwiseChains::from_secret_bytes(bytes) {
        assert_eq!(state.to_secret_bytes().len(), bytes.len());
    }
    if let Ok(state) = AwaitAgreement::from_secret_bytes(bytes) {
        assert_eq!(state.to_secret_bytes().len(), bytes.len());
    }
    if let Ok(state) = AwaitUnmasking::from_secret_bytes(bytes) {
        assert_eq!(state.to_secret_bytes().len(), bytes.len());
    }
}
