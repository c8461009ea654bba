//! Phases fed with changed messages: nothing panics, and no changed message does what the true one does.

use konclave_crypto::messages::{
    AgreementProposal, AgreementSignature, Manifest, UnmaskingRequest, UnmaskingResponse,
};
use serde::Serialize;
use serde::de::DeserializeOwned;

use super::fixture::{fixture, victim};

/// Applies a list of edits of four bytes each (kind, place, value) to the JSON form of a message.
fn changed<T: Serialize + DeserializeOwned>(message: &T, edits: &[u8]) -> Option<T> {
    let mut text = serde_json::to_vec(message).unwrap();
    let (edits, _) = edits.as_chunks::<4>();
    for [kind, high, low, value] in edits.iter().take(64) {
        // Places are spread over the whole text, so that two bytes reach its end.
        let place = usize::from(u16::from_be_bytes([*high, *low])) * text.len() / (usize::from(u16::MAX) + 1);
        match kind % 6 {
            0 => text[place] = *value,
            1 => text.insert(place, *value),
            2 if text.len() > 1 => drop(text.remove(place)),
            // A digit or letter for another one: what is left parses more often.
            3 => text[place] = b"0123456789abcdefABCDEF+/="[usize::from(*value) % 25],
            4 => {
                let end = (place + usize::from(*value)).min(text.len());
                let copy = text[place..end].to_vec();
                text.splice(end..end, copy);
            }
            5 => {
                let end = (place + usize::from(*value)).min(text.len());
                if end - place < text.len() {
                    text.drain(place..end);
                }
            }
            _ => {}
        }
    }
    serde_json::from_slice(&text).ok()
}

/// The gateway taking manifests.
pub fn collecting(edits: &[u8]) {
    let made = fixture();
    let Some(manifest) = changed(&made.manifests[&victim()], edits) else { return };
    let manifest: Manifest = manifest;
    let mut phase = made.collecting();
    let accepted = phase.accept_manifest(&victim(), manifest.clone()).is_ok();
    // Only ciphertexts may differ, in their bytes alone: their receivers see to those.
    let same = manifest.signed == made.manifests[&victim()].signed
        && manifest.sealed.len() == made.manifests[&victim()].sealed.len();
    assert!(!accepted || same, "a changed manifest was accepted");
    // From anybody else's connection it is refused in any case.
    assert!(phase.accept_manifest(&crate::support::site(1), manifest).is_err());
}

/// A site deciding on a proposal, and the gateway taking signatures.
pub fn agreeing(edits: &[u8]) {
    let made = fixture();
    if let Some(proposal) = changed(&made.proposal, edits) {
        let proposal: AgreementProposal = proposal;
        let agreed = made.await_agreement().agree(made.roster(), &made.verified, &proposal, made.key());
        if let Ok((_, signature)) = agreed {
            assert_eq!(proposal, made.proposal, "a changed proposal was signed");
            assert_eq!(signature, made.agreements[0]);
        }
    }
    if let Some(signature) = changed(&made.agreements[0], edits) {
        let signature: AgreementSignature = signature;
        let mut phase = made.agreeing();
        if phase.accept(signature.clone()).is_ok() {
            assert_eq!(signature, made.agreements[0], "a changed signature was accepted");
        }
    }
}

/// A site answering a request, and the gateway taking answers.
pub fn unmasking(edits: &[u8]) {
    let made = fixture();
    if let Some(request) = changed(&made.request, edits) {
        let request: UnmaskingRequest = request;
        let answer = made.await_unmasking().unmask(made.roster(), &made.verified, &request, made.key());
        if let Ok((_, response)) = answer {
            assert_eq!(request.agreed, made.request.agreed);
            assert_eq!(request.self_masks_of, made.request.self_masks_of);
            assert_eq!(request.pair_seeds_of, made.request.pair_seeds_of);
            // What is opened is what was opened before, less the dealers whose ciphertexts were changed.
            let before = &made.responses[0];
            assert_eq!(response.own_pair_seeds, before.own_pair_seeds);
            for (dealer, share) in &before.self_mask_shares {
                let opened = response.self_mask_shares.get(dealer);
                assert_eq!(opened.is_none(), response.complaints.contains(dealer));
                assert!(opened.is_none_or(|opened| opened == share), "another share was opened");
            }
        }
    }
    if let Some(response) = changed(&made.responses[1], edits) {
        let response: UnmaskingResponse = response;
        let mut phase = made.unmasking();
        if phase.accept(response.clone()).is_ok() {
            assert_eq!(response, made.responses[1], "a changed response was accepted");
        }
    }
}

/// No edit, and a few of each kind.
pub fn seeds() -> Vec<Vec<u8>> {
    let mut seeds = vec![Vec::new()];
    seeds.extend((0..6).map(|kind| vec![kind, 0x40, 0x11, b'7', kind, 0xc0, 0x22, b'f']));
    seeds
}
