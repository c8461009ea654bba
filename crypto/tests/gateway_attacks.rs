//! One named test per attack of a malicious gateway, and who stops it.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test may panic")]

mod support;

use std::collections::{BTreeMap, BTreeSet};

use konclave_crypto::aggregator::{Abort, Collecting, Rejection};
use konclave_crypto::batches::{scoring_batches, singletons};
use konclave_crypto::setup::advertise;
use konclave_crypto::site::{AgreeError, AwaitAgreement, AwaitUnmasking, MaskError, UnmaskError, mask};
use konclave_crypto::{
    ContextError, Digest, HeaderFault, MaskGraph, MemberRole, Mode, RoundContext, SiteFloor, SiteId,
};
use support::{Consortium, FLOOR, NOW, Upload, Uploaded, agree_all, site, unmask_all, upload_all};

fn nobody() -> BTreeSet<SiteId> {
    BTreeSet::new()
}

fn set(indices: impl IntoIterator<Item = usize>) -> BTreeSet<SiteId> {
    indices.into_iter().map(site).collect()
}

#[test]
fn two_models_shown_to_two_groups_are_refused_by_everyone() {
    // Pasquini et al. 2022: other models for other sites, to single out a gradient. The context is in every seed.
    let mut consortium = Consortium::new(4, 1);
    let context = consortium.context(Mode::Full);
    let mut other = context.clone();
    other.model = Digest::of(b"another model");
    let mut honest = Collecting::new(context.clone(), consortium.roster.clone()).unwrap();
    let verified = [consortium.verified(&context), consortium.verified(&other)];

    let mut uploads = BTreeMap::new();
    for (index, id) in consortium.sites().into_iter().enumerate() {
        let ring = consortium.update(&context.encoding).0;
        let upload = consortium.upload(&id, &verified[usize::from(index == 3)], ring);
        uploads.insert(id, upload);
    }
    // An honest gateway sees it at once.
    let Upload { manifest, .. } = &uploads[&site(3)];
    assert_eq!(
        honest.accept_manifest(&site(3), manifest.clone()),
        Err(Rejection::Header { site: site(3), fault: HeaderFault::Context })
    );
    // Honest sites refuse the proposal that mixes them.
    let proposal = konclave_crypto::messages::AgreementProposal {
        context: context.digest(),
        manifests: uploads.values().map(|upload| upload.manifest.signed.clone()).collect(),
        agreed: consortium.sites(),
    };
    let Upload { state, .. } = uploads.remove(&site(0)).unwrap();
    let refused =
        state.agree(&consortium.roster, &verified[0], &proposal, consortium.key(&site(0))).unwrap_err();
    assert_eq!(refused.error, AgreeError::Header { site: site(3), fault: HeaderFault::Context });
    // And even the pairwise commitments differ, so the masks between the two groups do not cancel.
    let commitment =
        |id: usize, peer: usize| uploads[&site(id)].manifest.signed.header.pair_seed_hashes[&site(peer)];
    assert_eq!(commitment(1, 2), commitment(2, 1));
    assert_ne!(commitment(1, 3), commitment(3, 1));
}

#[test]
fn late_upload_is_opened_by_nothing() {
    let mut consortium = Consortium::new(4, 2);
    let context = consortium.context(Mode::Full);
    let Uploaded { context: verified, collecting, waiting, mut bodies, .. } =
        upload_all(&mut consortium, &context, &set([3]));
    let (ring, _) = consortium.update(&context.encoding);
    let late = consortium.upload(&site(3), &verified, ring);

    let mut agreeing = collecting.close().unwrap();
    assert_eq!(agreeing.proposal().agreed, [site(0), site(1), site(2)]);
    // The late site's own signature does not count, and it may sign only what it was shown.
    let proposal = agreeing.proposal().clone();
    let (_, signature) =
        late.state.agree(&consortium.roster, &verified, &proposal, consortium.key(&site(3))).unwrap();
    assert_eq!(agreeing.accept(signature), Err(Rejection::NotUploaded { site: site(3) }));

    let signed = agree_all(&consortium, &verified, &mut agreeing, waiting, &nobody());
    let mut unmasking = agreeing.close().unwrap();
    assert!(unmasking.request_for(&site(3)).is_none());
    let request = unmasking.request_for(&site(0)).unwrap();
    assert!(!request.self_masks_of.contains(&site(3)) && !request.agreed.contains(&site(3)));
    unmask_all(&consortium, &verified, &mut unmasking, signed, &nobody());
    let opening = unmasking.close().unwrap();
    // The late body cannot be slipped into the opening either.
    bodies.insert(site(3), late.body);
    let all = bodies.iter().map(|(id, body)| (id.clone(), body.as_slice())).collect();
    assert_eq!(opening.open(all).unwrap_err(), Abort::Bodies);
}

#[test]
fn split_view_of_the_agreed_set_is_signed_once_and_answered_for_that_set_only() {
    let mut consortium = Consortium::new(6, 3);
    let context = consortium.context(Mode::Full);
    let Uploaded { context: verified, collecting, mut waiting, .. } =
        upload_all(&mut consortium, &context, &nobody());
    let mut one = collecting.close().unwrap();

    // The gateway pretends to site 0 that site 5 never uploaded.
    let mut other = one.proposal().clone();
    other.manifests.pop();
    other.agreed.pop();
    let stored = waiting.remove(&site(0)).unwrap();
    let (deceived, signature) =
        stored.agree(&consortium.roster, &verified, &other, consortium.key(&site(0))).unwrap();
    assert_eq!(one.accept(signature.clone()), Err(Rejection::AgreedSet { site: site(0) }));

    let signed = agree_all(&consortium, &verified, &mut one, waiting, &nobody());
    assert_eq!(one.signed_by().len(), 5);
    let mut unmasking = one.close().unwrap();

    // Restored from its bytes, the deceived site still answers for its own set alone.
    let restored = AwaitUnmasking::from_secret_bytes(&deceived.to_secret_bytes()).unwrap();
    assert_eq!(*restored.agreement(), signature);
    let request = unmasking.request_for(&site(0)).unwrap();
    let refused =
        restored.unmask(&consortium.roster, &verified, &request, consortium.key(&site(0))).unwrap_err();
    assert_eq!(refused.error, UnmaskError::AgreedSet);

    // And for its own set there are not enough signatures.
    let mut request = request;
    request.agreed.pop();
    request.self_masks_of.pop();
    request.pair_seeds_of.push(site(5));
    request.sealed.pop();
    let refused =
        refused.state.unmask(&consortium.roster, &verified, &request, consortium.key(&site(0))).unwrap_err();
    // The first of them signed another set; that the last one is unknown to this set is not what stops it.
    assert_eq!(refused.error, UnmaskError::Signature { site: site(1) });
    request.signatures = vec![signature];
    let refused =
        refused.state.unmask(&consortium.roster, &verified, &request, consortium.key(&site(0))).unwrap_err();
    assert_eq!(refused.error, UnmaskError::TooFewSignatures { found: 1, threshold: 5 });

    unmask_all(&consortium, &verified, &mut unmasking, signed, &nobody());
    assert!(unmasking.sufficient());
}

#[test]
fn one_site_signing_many_times_is_not_a_quorum() {
    let mut consortium = Consortium::new(3, 4);
    let context = consortium.context(Mode::Full);
    let Uploaded { context: verified, collecting, waiting, .. } =
        upload_all(&mut consortium, &context, &nobody());
    let mut agreeing = collecting.close().unwrap();
    let mut signed = agree_all(&consortium, &verified, &mut agreeing, waiting, &nobody());
    let unmasking = agreeing.close().unwrap();
    let mut request = unmasking.request_for(&site(0)).unwrap();
    let first = request.signatures[0].clone();
    request.signatures = vec![first.clone(), first.clone(), first];
    let refused = signed
        .remove(&site(0))
        .unwrap()
        .unmask(&consortium.roster, &verified, &request, consortium.key(&site(0)))
        .unwrap_err();
    assert_eq!(refused.error, UnmaskError::Signature { site: site(0) });
}

#[test]
fn both_kinds_of_share_asked_is_refused_with_the_state_unchanged() {
    let mut consortium = Consortium::new(6, 5);
    let context = consortium.context(Mode::Full);
    let Uploaded { context: verified, collecting, waiting, .. } =
        upload_all(&mut consortium, &context, &set([5]));
    let mut agreeing = collecting.close().unwrap();
    let mut signed = agree_all(&consortium, &verified, &mut agreeing, waiting, &nobody());
    let unmasking = agreeing.close().unwrap();
    let honest = unmasking.request_for(&site(0)).unwrap();
    let state = signed.remove(&site(0)).unwrap();
    let before = state.to_secret_bytes();

    let mut both = honest.clone();
    both.pair_seeds_of.insert(0, site(1));
    let refused = state.unmask(&consortium.roster, &verified, &both, consortium.key(&site(0))).unwrap_err();
    assert_eq!(refused.error, UnmaskError::BothKinds { site: site(1) });
    assert_eq!(*refused.state.to_secret_bytes(), *before);

    let mut both = honest.clone();
    both.self_masks_of.push(site(5));
    let refused =
        refused.state.unmask(&consortium.roster, &verified, &both, consortium.key(&site(0))).unwrap_err();
    assert_eq!(refused.error, UnmaskError::BothKinds { site: site(5) });

    // Asking for less, or for a site in neither list, is no way around it.
    for change in [
        (|request| drop(request.self_masks_of.pop())) as fn(&mut konclave_crypto::messages::UnmaskingRequest),
        |request| drop(request.pair_seeds_of.pop()),
    ] {
        let mut odd = honest.clone();
        change(&mut odd);
        let state = AwaitUnmasking::from_secret_bytes(&before).unwrap();
        let refused =
            state.unmask(&consortium.roster, &verified, &odd, consortium.key(&site(0))).unwrap_err();
        assert_eq!(refused.error, UnmaskError::Lists);
    }

    // The honest request still gets its answer from the unchanged state.
    assert!(refused.state.unmask(&consortium.roster, &verified, &honest, consortium.key(&site(0))).is_ok());
}

#[test]
fn a_lowered_threshold_or_floor_is_refused_by_sites() {
    let consortium = Consortium::new(6, 6);
    let good = consortium.context(Mode::Full);
    let verify = |context, floor: &SiteFloor| {
        consortium.signed(context).verify(&consortium.root(), &consortium.roster, NOW, floor)
    };
    for threshold in [0, 1, 3, 4, 7] {
        let mut context = good.clone();
        context.threshold = threshold;
        assert_eq!(verify(context, &FLOOR).unwrap_err(), ContextError::Threshold { threshold, sites: 6 });
    }
    // The protocol's own least values hold for a site without floors too.
    let none = SiteFloor { min_agreed: 0, min_batch: 0, ..FLOOR };
    for min_agreed in [0, 1] {
        let mut context = good.clone();
        context.min_agreed = min_agreed;
        assert!(matches!(verify(context, &none), Err(ContextError::MinAgreed { floor: 2, .. })));
    }
    let strict = SiteFloor { min_agreed: 4, ..FLOOR };
    assert!(matches!(verify(good.clone(), &strict), Err(ContextError::MinAgreed { found: 2, floor: 4, .. })));
    let strict = SiteFloor { min_sites: 7, ..FLOOR };
    assert_eq!(verify(good.clone(), &strict).unwrap_err(), ContextError::MinSites { found: 6, floor: 7 });

    let group = consortium.context(Mode::Group);
    assert!(verify(group.clone(), &FLOOR).is_ok());
    let strict = SiteFloor { min_batch: 3, ..FLOOR };
    assert_eq!(verify(group.clone(), &strict).unwrap_err(), ContextError::MinBatch { found: 2, floor: 3 });
    let mut alone = group.clone();
    alone.batches = consortium.sites().into_iter().map(|id| vec![id]).collect();
    alone.min_batch = 1;
    assert_eq!(verify(alone, &none).unwrap_err(), ContextError::MinBatch { found: 1, floor: 2 });
}

#[test]
fn batches_that_the_gateway_chose_are_refused() {
    // Sums over other batches in each round are a system of equations for single updates.
    let consortium = Consortium::new(6, 26);
    let verify = |context, floor: &SiteFloor| {
        consortium.signed(context).verify(&consortium.root(), &consortium.roster, NOW, floor)
    };
    let good = consortium.context(Mode::Group);
    let mut other = good.clone();
    let moved = other.batches[0].remove(0);
    let back = std::mem::replace(&mut other.batches[1][0], moved);
    other.batches[0].push(back);
    other.batches.iter_mut().for_each(|batch| batch.sort());
    assert_eq!(verify(other, &FLOOR).unwrap_err(), ContextError::OtherBatches { batch_size: 2 });
    let mut merged = good.clone();
    let last = merged.batches.pop().unwrap();
    merged.batches[0].extend(last);
    assert_eq!(verify(merged, &FLOOR).unwrap_err(), ContextError::OtherBatches { batch_size: 2 });

    // And none at all in a job that has no scoring rounds.
    let never = SiteFloor { scoring_batch_size: None, ..FLOOR };
    assert_eq!(verify(good, &never).unwrap_err(), ContextError::NotScoring);
}

#[test]
fn batches_of_ordinary_rounds_are_the_jobs_too() {
    // So et al. 2023: with batches of its choice, even a round that opens one sum tells the gateway who is in it.
    let consortium = Consortium::new(6, 28);
    let verify = |batches: Vec<Vec<SiteId>>, batch_size| {
        let context = RoundContext { batches, ..consortium.context(Mode::Full) };
        let floor = SiteFloor { batch_size, ..FLOOR };
        consortium.signed(context).verify(&consortium.root(), &consortium.roster, NOW, &floor)
    };
    let (single, whole) = (singletons(&consortium.roster), scoring_batches(&consortium.roster, 2));
    let chosen: Vec<_> = consortium.sites().chunks(2).map(<[SiteId]>::to_vec).collect();
    assert_ne!(chosen, whole);
    for (batches, batch_size) in [(&single, 1), (&whole, 2)] {
        assert!(verify(batches.clone(), batch_size).is_ok());
    }
    for (batches, batch_size) in [(&whole, 1), (&chosen, 1), (&single, 2), (&chosen, 2), (&whole, 3)] {
        let refused = verify(batches.clone(), batch_size).unwrap_err();
        assert_eq!(refused, ContextError::OtherBatches { batch_size });
    }
}

#[test]
fn a_mask_graph_that_could_be_cut_is_refused() {
    let consortium = Consortium::new(30, 29);
    let with = |mode, degree, min_agreed| {
        let mask_graph = MaskGraph::Regular { degree };
        let context = RoundContext { mask_graph, min_agreed, ..consortium.context(mode) };
        let least = context.least_degree(30);
        (context.validate(&consortium.roster), ContextError::MaskGraph { degree, sites: 30, least })
    };
    // Up to nine of the thirty may be left out, and up to eleven collude.
    let least = RoundContext { min_agreed: 2, ..consortium.context(Mode::Full) }.least_degree(30).unwrap();
    assert!((10..28).contains(&least), "{least}");
    assert_eq!(with(Mode::Full, least, 2).0, Ok(()));
    for degree in [0, 2, least - 2, least + 1, 29, 30] {
        let (found, expected) = with(Mode::Full, degree, 2);
        assert_eq!(found, Err(expected));
    }
    // Batches are opened by themselves and stay complete inside.
    let (found, expected) = with(Mode::Group, least, 2);
    assert_eq!(found, Err(expected));
    // The larger the smallest agreed set, the fewer sites a gateway can leave out.
    let strict = RoundContext { min_agreed: 28, ..consortium.context(Mode::Full) };
    assert!(strict.least_degree(30).unwrap() < least);
    // Whole batches may be agreed on by fewer sites than upload, so that more can be left out.
    let batches = scoring_batches(&consortium.roster, 3);
    let whole = RoundContext { batches, ..consortium.context(Mode::Full) };
    assert!(whole.least_degree(30).is_none_or(|needed| needed > least));
}

#[test]
fn sites_of_one_owner_count_once() {
    let consortium = Consortium::owned(6, 27, |index| if index == 0 { "Victim" } else { "Sybil" }.to_owned());
    assert_eq!(consortium.roster.legal_entities(), 2);
    let context = consortium.context(Mode::Full);
    let verified = consortium.signed(context).verify(
        &consortium.root(),
        &consortium.roster,
        NOW,
        &SiteFloor { min_sites: 3, ..FLOOR },
    );
    assert_eq!(verified.unwrap_err(), ContextError::MinSites { found: 2, floor: 3 });
}

#[test]
fn batches_must_be_an_exact_partition() {
    let consortium = Consortium::new(4, 7);
    let good = consortium.context(Mode::Full);
    let check = |change: fn(&mut Vec<Vec<SiteId>>), culprit: Option<SiteId>| {
        let mut context = good.clone();
        change(&mut context.batches);
        assert_eq!(context.validate(&consortium.roster), Err(ContextError::Batches { site: culprit }));
    };
    check(|batches| drop(batches.pop()), Some(site(3)));
    check(|batches| batches.push(vec![site(0)]), Some(site(0)));
    check(|batches| batches[0].push(site(9)), Some(site(9)));
    check(|batches| batches.push(Vec::new()), None);
}

#[test]
fn a_context_is_bound_to_its_gateway_and_roster() {
    let mut consortium = Consortium::new(4, 8);
    let stranger = Consortium::new(4, 9);
    let good = consortium.context(Mode::Full);
    let signed = consortium.signed(good.clone());
    let verify = |signed: &konclave_crypto::SignedContext| {
        signed.verify(&consortium.root(), &consortium.roster, NOW, &FLOOR).unwrap_err()
    };
    let mut altered = signed.clone();
    altered.context.model = Digest::of(b"x");
    assert_eq!(verify(&altered), ContextError::Signature);
    let foreign = konclave_crypto::SignedContext::sign(
        good.clone(),
        stranger.gateway.certificate.clone(),
        &stranger.gateway.key,
    );
    assert!(matches!(verify(&foreign), ContextError::Gateway(_)));
    // A site cannot pose as the gateway.
    let member = &consortium.members[&site(0)];
    let posing = konclave_crypto::SignedContext::sign(good.clone(), member.certificate.clone(), &member.key);
    assert!(matches!(verify(&posing), ContextError::Gateway(_)));
    let mut other_roster = good.clone();
    other_roster.roster = stranger.roster.digest();
    assert_eq!(verify(&consortium.signed(other_roster)), ContextError::Roster);
    let mut other_job = good.clone();
    other_job.job = "job-2".parse().unwrap();
    assert!(matches!(verify(&consortium.signed(other_job)), ContextError::Job { .. }));

    // A site whose keys were set up with another roster does not mask for this one.
    let context = consortium.verified(&good);
    let (ring, _) = consortium.update(&good.encoding);
    let refused = mask(
        &stranger.chains[&site(0)],
        &consortium.roster,
        &context,
        consortium.key(&site(0)),
        ring,
        &mut consortium.rng.clone(),
    );
    assert_eq!(refused.unwrap_err(), MaskError::Roster);
}

#[test]
fn a_ring_too_narrow_for_the_sum_is_refused() {
    let consortium = Consortium::new(5, 10);
    let mut context = consortium.context(Mode::Full);
    // 5 sites need 3 bits of sum and a guard bit.
    context.encoding.quantisation_bits = 13;
    context.encoding.ring_bits = 16;
    assert!(matches!(context.validate(&consortium.roster), Err(ContextError::Encoding(_))));
    context.encoding.ring_bits = 17;
    assert_eq!(context.validate(&consortium.roster), Ok(()));
    context.encoding.weight_cap = (1 << 16) / 5;
    assert!(context.validate(&consortium.roster).is_ok());
    context.encoding.weight_cap += 1;
    assert!(matches!(context.validate(&consortium.roster), Err(ContextError::Encoding(_))));
}

#[test]
fn a_sybil_key_is_not_let_into_the_roster() {
    use konclave_crypto::membership::MembershipError;
    use konclave_crypto::setup::{Roster, RosterError};
    let mut consortium = Consortium::new(3, 11);
    let root = consortium.root();
    let good: Vec<_> = consortium.roster.advertisements().to_vec();
    let with = |extra| {
        let list = good.iter().cloned().chain([extra]).collect();
        Roster::new(support::job(), list, &root, NOW).unwrap_err()
    };
    let own_root = konclave_crypto::ConsortiumRootKey::generate(&mut consortium.rng);
    let sybil = support::member(&own_root, site(7), MemberRole::Site, 1, &mut consortium.rng);
    let (_, message) = advertise(&support::job(), &sybil.key, &sybil.certificate, &mut consortium.rng);
    assert!(matches!(with(message), RosterError::Certificate(MembershipError::NotFromRoot { .. })));

    // Nor a second key of a member, another role's certificate, or a key for another job.
    let member = &consortium.members[&site(0)];
    let (_, again) = advertise(&support::job(), &member.key, &member.certificate, &mut consortium.rng);
    assert_eq!(with(again), RosterError::Duplicate { site: site(0) });
    let gateway = &consortium.gateway;
    let (_, posing) = advertise(&support::job(), &gateway.key, &gateway.certificate, &mut consortium.rng);
    assert!(matches!(with(posing), RosterError::Certificate(MembershipError::WrongRole { .. })));
    let fresh = support::member(&consortium.root_key, site(8), MemberRole::Site, 9, &mut consortium.rng);
    let (_, elsewhere) =
        advertise(&"job-2".parse().unwrap(), &fresh.key, &fresh.certificate, &mut consortium.rng);
    assert_eq!(with(elsewhere), RosterError::Job { site: site(8) });
}

#[test]
fn proposals_that_break_a_rule_are_not_signed() {
    let mut consortium = Consortium::new(6, 21);
    let mut context = consortium.context(Mode::Full);
    context.batches = scoring_batches(&consortium.roster, 2);
    let Uploaded { context: verified, collecting, mut waiting, .. } =
        upload_all(&mut consortium, &context, &set([5]));
    let agreeing = collecting.close().unwrap();
    let honest = agreeing.proposal().clone();
    // Site 5's partner uploaded, but its batch is not complete.
    let partner = context.batch_of(&site(5)).unwrap().iter().find(|id| **id != site(5)).unwrap().clone();
    assert!(honest.agreed.len() == 4 && !honest.agreed.contains(&partner));

    let mut state = waiting.remove(&site(0)).unwrap();
    let before = state.to_secret_bytes();
    let mut refuse = |change: &dyn Fn(&mut konclave_crypto::messages::AgreementProposal)| {
        let mut proposal = honest.clone();
        change(&mut proposal);
        let current = AwaitAgreement::from_secret_bytes(&before).unwrap();
        let refused =
            current.agree(&consortium.roster, &verified, &proposal, consortium.key(&site(0))).unwrap_err();
        assert_eq!(*refused.state.to_secret_bytes(), *before);
        state = refused.state;
        refused.error
    };
    assert_eq!(refuse(&|p| p.agreed.push(partner.clone())), AgreeError::AgreedSet);
    assert_eq!(refuse(&|p| drop(p.agreed.pop())), AgreeError::AgreedSet);
    assert_eq!(refuse(&|p| p.agreed.swap(0, 1)), AgreeError::AgreedSet);
    assert_eq!(refuse(&|p| p.context = Digest::of(b"x")), AgreeError::Context);
    assert_eq!(refuse(&|p| p.manifests.swap(1, 2)), AgreeError::Order { site: site(1) });
    assert_eq!(
        refuse(&|p| {
            let first = p.manifests[0].clone();
            p.manifests.insert(0, first);
        }),
        AgreeError::Order { site: site(0) }
    );
    assert_eq!(
        refuse(&|p| p.manifests[1].header.body_root = Digest::of(b"x")),
        AgreeError::Header { site: site(1), fault: HeaderFault::Signature }
    );
    assert_eq!(
        refuse(&|p| {
            p.manifests.truncate(2);
            p.agreed.truncate(2);
        }),
        AgreeError::TooFewUploads { found: 2, threshold: 5 }
    );
    // This site's own manifest, validly signed, but not the one it sent.
    assert_eq!(
        refuse(&|p| {
            let mut header = p.manifests[0].header.clone();
            header.body_root = Digest::of(b"x");
            p.manifests[0] = header.sign(consortium.key(&site(0)));
        }),
        AgreeError::OwnManifest
    );
    // A colluding site's second manifest with another pairwise commitment.
    assert_eq!(
        refuse(&|p| {
            let mut header = p.manifests[1].header.clone();
            header.pair_seed_hashes.insert(site(0), Digest::of(b"x"));
            p.manifests[1] = header.sign(consortium.key(&site(1)));
        }),
        AgreeError::PairSeeds { site: site(0), peer: site(1) }
    );
    // A header that commits to too few neighbours.
    assert_eq!(
        refuse(&|p| {
            let mut header = p.manifests[1].header.clone();
            header.pair_seed_hashes.pop_last();
            p.manifests[1] = header.sign(consortium.key(&site(1)));
        }),
        AgreeError::Header { site: site(1), fault: HeaderFault::Neighbours }
    );
    assert!(state.agree(&consortium.roster, &verified, &honest, consortium.key(&site(0))).is_ok());
}
