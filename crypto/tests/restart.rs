//! Restarts: every stored state goes on exactly as the live one would have, and damaged bytes are refused.

#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::cast_possible_truncation,
    reason = "a test may panic"
)]

mod support;

use std::collections::{BTreeMap, BTreeSet};

use konclave_crypto::setup::PairwiseChains;
use konclave_crypto::site::{AwaitAgreement, AwaitUnmasking};
use konclave_crypto::{Mode, RoundNumber, StateError};
use support::{Consortium, Uploaded, open, plain_sum, site, upload_all};

#[test]
fn a_round_in_which_every_site_restarts_at_every_step() {
    let mut consortium = Consortium::new(5, 31);
    let stored: BTreeMap<_, _> =
        consortium.chains.iter().map(|(id, chains)| (id.clone(), chains.to_secret_bytes())).collect();
    consortium.chains = stored
        .into_iter()
        .map(|(id, bytes)| (id, PairwiseChains::from_secret_bytes(&bytes).unwrap()))
        .collect();

    let context = consortium.context(Mode::Full);
    let Uploaded { context: verified, collecting, waiting, bodies, plain } =
        upload_all(&mut consortium, &context, &BTreeSet::from([site(4)]));
    let mut agreeing = collecting.close().unwrap();
    let proposal = agreeing.proposal().clone();
    let mut signed = Vec::new();
    for (id, state) in waiting {
        let restored = AwaitAgreement::from_secret_bytes(&state.to_secret_bytes()).unwrap();
        assert_eq!(restored.manifest(), state.manifest());
        let key = consortium.key(&id);
        let (after, signature) = restored.agree(&consortium.roster, &verified, &proposal, key).unwrap();
        let (twin, again) = state.agree(&consortium.roster, &verified, &proposal, key).unwrap();
        assert_eq!(signature, again);
        assert_eq!(*after.to_secret_bytes(), *twin.to_secret_bytes());
        agreeing.accept(signature.clone()).unwrap();
        agreeing.accept(signature).unwrap();
        signed.push((id, after));
    }
    let mut unmasking = agreeing.close().unwrap();
    for (id, state) in signed {
        let restored = AwaitUnmasking::from_secret_bytes(&state.to_secret_bytes()).unwrap();
        let request = unmasking.request_for(&id).unwrap();
        let key = consortium.key(&id);
        let (closed, response) = restored.unmask(&consortium.roster, &verified, &request, key).unwrap();
        let (_, again) = state.unmask(&consortium.roster, &verified, &request, key).unwrap();
        assert_eq!(response, again);
        assert_eq!(closed.round, context.round);
        unmasking.accept(response.clone()).unwrap();
        unmasking.accept(response).unwrap();
    }
    let agreed: Vec<_> = proposal.agreed;
    let opened = open(unmasking.close().unwrap(), &bodies).unwrap();
    assert_eq!(opened, [plain_sum(&plain, &agreed)]);
}

#[test]
fn damaged_or_foreign_bytes_are_refused() {
    let mut consortium = Consortium::new(3, 32);
    let context = consortium.context(Mode::Full);
    let chains = consortium.chains[&site(0)].to_secret_bytes();
    let Uploaded { mut waiting, .. } = upload_all(&mut consortium, &context, &BTreeSet::new());
    let state = waiting.remove(&site(0)).unwrap().to_secret_bytes();

    assert!(matches!(AwaitAgreement::from_secret_bytes(&chains), Err(StateError::Kind)));
    assert!(matches!(PairwiseChains::from_secret_bytes(&state), Err(StateError::Kind)));
    assert!(matches!(AwaitUnmasking::from_secret_bytes(&state), Err(StateError::Kind)));
    let mut version = state.to_vec();
    version[5] += 1;
    assert!(matches!(AwaitAgreement::from_secret_bytes(&version), Err(StateError::Kind)));
    for length in 0..state.len() {
        assert!(AwaitAgreement::from_secret_bytes(&state[..length]).is_err(), "cut at {length}");
    }
    let mut longer = state.to_vec();
    longer.push(0);
    assert!(matches!(AwaitAgreement::from_secret_bytes(&longer), Err(StateError::Damaged)));
    // A huge length does not make the reader allocate or panic.
    let mut huge = chains.to_vec();
    huge[6..14].fill(0xff);
    assert!(matches!(PairwiseChains::from_secret_bytes(&huge), Err(StateError::Damaged)));
}

#[test]
fn the_ratchet_moves_forward_and_erases() {
    let mut consortium = Consortium::new(3, 33);
    let chains = consortium.chains.get_mut(&site(0)).unwrap();
    let first = chains.to_secret_bytes();
    chains.advance_to(RoundNumber::new(3).unwrap()).unwrap();
    chains.advance_to(RoundNumber::new(3).unwrap()).unwrap();
    assert!(chains.advance_to(RoundNumber::new(2).unwrap()).is_err());
    let third = chains.to_secret_bytes();
    // The state ends with the three keys of the last peer: none of them is left in the third round's state.
    let keys = &first[first.len() - 96..];
    for window in keys.windows(16) {
        assert!(!third.windows(16).any(|other| other == window));
    }
    assert_eq!(first.len(), third.len());
    // Going step by step gives the same keys.
    let mut twin = PairwiseChains::from_secret_bytes(&first).unwrap();
    twin.advance_to(RoundNumber::new(2).unwrap()).unwrap();
    twin.advance_to(RoundNumber::new(3).unwrap()).unwrap();
    assert_eq!(*twin.to_secret_bytes(), *third);
}
