//! What a site refuses to sign or to open, each time with its state unchanged.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test may panic")]

mod support;

use std::collections::BTreeSet;

use konclave_crypto::batches::scoring_batches;
use konclave_crypto::messages::{AgreementProposal, UnmaskingRequest};
use konclave_crypto::site::{AgreeError, AwaitUnmasking, UnmaskError};
use konclave_crypto::{ContextError, Digest, Mode, SiteFloor};
use support::{Consortium, FLOOR, NOW, Uploaded, agree_all, site, upload_all};

#[test]
fn a_partition_that_leaves_one_site_alone_is_refused_before_anything_is_masked() {
    // One batch of one, one of the rest: without site 5 the agreed set would be site 0 alone.
    let consortium = Consortium::new(6, 41);
    let mut context = consortium.context(Mode::Full);
    let sites = consortium.sites();
    context.batches = vec![sites[..1].to_vec(), sites[1..].to_vec()];
    for batch_size in [1, 2, 3] {
        let floor = SiteFloor { batch_size, ..FLOOR };
        let signed = consortium.signed(context.clone());
        let refused = signed.verify(&consortium.root(), &consortium.roster, NOW, &floor).unwrap_err();
        assert_eq!(refused, ContextError::OtherBatches { batch_size });
    }
}

#[test]
fn a_set_below_the_floor_is_not_signed_though_enough_sites_uploaded() {
    let mut consortium = Consortium::new(6, 42);
    let mut context = consortium.context(Mode::Full);
    context.batches = scoring_batches(&consortium.roster, 2);
    context.min_agreed = 5;
    let Uploaded { context: verified, mut waiting, .. } =
        upload_all(&mut consortium, &context, &BTreeSet::from([site(5)]));
    let agreed = context.agreed_set(&waiting.keys().cloned().collect());
    let proposal = AgreementProposal {
        context: verified.digest(),
        manifests: waiting.values().map(|state| state.manifest().signed.clone()).collect(),
        agreed: agreed.into_iter().collect(),
    };
    let state = waiting.remove(&site(0)).unwrap();
    let refused =
        state.agree(&consortium.roster, &verified, &proposal, consortium.key(&site(0))).unwrap_err();
    assert_eq!(refused.error, AgreeError::TooFewAgreed { found: 4, min_agreed: 5 });
}

#[test]
fn a_set_is_signed_with_the_key_of_the_roster_alone() {
    let mut consortium = Consortium::new(4, 43);
    let context = consortium.context(Mode::Full);
    let Uploaded { context: verified, collecting, mut waiting, .. } =
        upload_all(&mut consortium, &context, &BTreeSet::new());
    let proposal = collecting.close().unwrap().proposal().clone();
    let state = waiting.remove(&site(0)).unwrap();
    let refused =
        state.agree(&consortium.roster, &verified, &proposal, consortium.key(&site(1))).unwrap_err();
    assert_eq!(refused.error, AgreeError::Identity { site: site(0) });
    assert!(refused.state.agree(&consortium.roster, &verified, &proposal, consortium.key(&site(0))).is_ok());
}

#[test]
fn requests_that_are_not_for_this_round_site_and_set_are_not_answered() {
    let mut consortium = Consortium::new(6, 44);
    let context = consortium.context(Mode::Full);
    let Uploaded { context: verified, collecting, waiting, .. } =
        upload_all(&mut consortium, &context, &BTreeSet::from([site(5)]));
    let mut agreeing = collecting.close().unwrap();
    let mut signed = agree_all(&consortium, &verified, &mut agreeing, waiting, &BTreeSet::new());
    let unmasking = agreeing.close().unwrap();
    let (honest, of_another) =
        (unmasking.request_for(&site(0)).unwrap(), unmasking.request_for(&site(1)).unwrap());
    let state = signed.remove(&site(0)).unwrap();
    let before = state.to_secret_bytes();
    let ask = |request: &UnmaskingRequest, context, key| {
        let state = AwaitUnmasking::from_secret_bytes(&before).unwrap();
        let refused =
            state.unmask(&consortium.roster, context, request, consortium.key(&site(key))).unwrap_err();
        assert_eq!(*refused.state.to_secret_bytes(), *before);
        refused.error
    };
    assert_eq!(ask(&honest, &verified, 1), UnmaskError::Identity { site: site(0) });

    let changed = |change: &dyn Fn(&mut UnmaskingRequest)| {
        let mut request = honest.clone();
        change(&mut request);
        ask(&request, &verified, 0)
    };
    assert_eq!(changed(&|request| request.context = Digest::of(b"x")), UnmaskError::Context);
    // The same request under another context: another round, or the same one shown differently.
    let mut later = context.clone();
    later.model = Digest::of(b"another model");
    let later = consortium.verified(&later);
    assert_eq!(ask(&honest, &later, 0), UnmaskError::Context);
    let mut moved = honest.clone();
    moved.context = later.digest();
    assert_eq!(ask(&moved, &later, 0), UnmaskError::Context);

    assert_eq!(changed(&|request| drop(request.sealed.pop())), UnmaskError::Sealed);
    assert_eq!(changed(&|request| request.sealed.swap(0, 1)), UnmaskError::Sealed);
    assert_eq!(changed(&|request| request.sealed.push(request.sealed[0].clone())), UnmaskError::Sealed);
    assert_eq!(changed(&|request| request.sealed.clone_from(&of_another.sealed)), UnmaskError::Sealed);
    assert_eq!(changed(&|request| request.sealed[0].to = site(1)), UnmaskError::Sealed);
    assert!(state.unmask(&consortium.roster, &verified, &honest, consortium.key(&site(0))).is_ok());
}
