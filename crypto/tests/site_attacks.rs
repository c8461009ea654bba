//! One named test per attack of a malicious or broken site, and who stops it.

#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::cast_possible_truncation,
    reason = "a test may panic"
)]

mod support;

use std::collections::{BTreeMap, BTreeSet};

use konclave_crypto::aggregator::{Abort, Collecting, Opened, Rejection};
use konclave_crypto::encoding::{Encoding, pack, unpack};
use konclave_crypto::messages::{Manifest, SeedBytes, Share};
use konclave_crypto::site::{MaskError, mask};
use konclave_crypto::{Digest, HeaderFault, Mode, RingVector, RoundNumber, SiteId, body_root};
use support::{
    Consortium, Upload, Uploaded, agree_all, forge_body, open, plain_sum, site, unmask_all, upload_all,
    with_manifest,
};

fn nobody() -> BTreeSet<SiteId> {
    BTreeSet::new()
}

fn set(indices: impl IntoIterator<Item = usize>) -> BTreeSet<SiteId> {
    indices.into_iter().map(site).collect()
}

#[test]
fn replayed_manifests_of_another_round_are_refused() {
    let mut consortium = Consortium::new(3, 12);
    let first = consortium.context(Mode::Full);
    let verified = consortium.verified(&first);
    let (ring, _) = consortium.update(&first.encoding);
    let old = consortium.upload(&site(0), &verified, ring);

    let mut second = first.clone();
    second.round = RoundNumber::new(2).unwrap();
    let mut collecting = Collecting::new(second.clone(), consortium.roster.clone()).unwrap();
    assert_eq!(
        collecting.accept_manifest(&site(0), old.manifest.clone()),
        Err(Rejection::Header { site: site(0), fault: HeaderFault::Context })
    );
    // Relabelled for the round it is not the site's word any more.
    let mut relabelled = old.manifest.clone();
    relabelled.signed.header.context = second.digest();
    assert_eq!(
        collecting.accept_manifest(&site(0), relabelled),
        Err(Rejection::Header { site: site(0), fault: HeaderFault::Signature })
    );
    // Under another sender's connection it is refused as well.
    assert!(matches!(collecting.accept_manifest(&site(1), old.manifest), Err(Rejection::Sender { .. })));
    // The chains do not go back, and do not serve a round they do not stand at.
    let chains = consortium.chains.get_mut(&site(0)).unwrap();
    chains.advance_to(second.round).unwrap();
    assert!(chains.advance_to(first.round).is_err());
    let (ring, _) = consortium.update(&first.encoding);
    let refused = mask(
        &consortium.chains[&site(0)],
        &consortium.roster,
        &verified,
        consortium.key(&site(0)),
        ring,
        &mut consortium.rng.clone(),
    );
    assert_eq!(refused.unwrap_err(), MaskError::Round { context: first.round, chains: second.round });
}

#[test]
fn a_second_manifest_of_a_site_is_refused_and_a_repeated_one_is_not() {
    let mut consortium = Consortium::new(3, 13);
    let context = consortium.context(Mode::Full);
    let verified = consortium.verified(&context);
    let mut collecting = Collecting::new(context.clone(), consortium.roster.clone()).unwrap();
    let mut upload = || {
        let (ring, _) = consortium.update(&context.encoding);
        consortium.upload(&site(0), &verified, ring)
    };
    let (one, other) = (upload(), upload());
    collecting.accept_manifest(&site(0), one.manifest.clone()).unwrap();
    collecting.accept_manifest(&site(0), one.manifest).unwrap();
    assert_eq!(
        collecting.accept_manifest(&site(0), other.manifest),
        Err(Rejection::Changed { site: site(0) })
    );
    // Nor does the other body fit the first manifest.
    let root = body_root(other.body.as_slice()).unwrap();
    assert_eq!(
        collecting.accept_body(&site(0), root, other.body.len() as u64),
        Err(Rejection::Body { site: site(0) })
    );
    assert!(collecting.uploaded().is_empty());
}

#[test]
fn a_corrupted_share_names_its_author_and_the_round_completes() {
    let mut consortium = Consortium::new(6, 14);
    let context = consortium.context(Mode::Full);
    let Uploaded { context: verified, collecting, waiting, bodies, plain } =
        upload_all(&mut consortium, &context, &nobody());
    let mut agreeing = collecting.close().unwrap();
    let mut signed = agree_all(&consortium, &verified, &mut agreeing, waiting, &nobody());
    let mut unmasking = agreeing.close().unwrap();

    // Site 2 turns malicious and flips a bit of one share it opens, signing what it sends.
    let request = unmasking.request_for(&site(2)).unwrap();
    let state = signed.remove(&site(2)).unwrap();
    let (_, mut bad) =
        state.unmask(&consortium.roster, &verified, &request, consortium.key(&site(2))).unwrap();
    let share: &mut Share = bad.self_mask_shares.get_mut(&site(4)).unwrap();
    share.value = SeedBytes({
        let mut bytes = share.value.0;
        bytes[0] ^= 1;
        bytes
    });
    // Without a new signature it is not even the site's message.
    assert_eq!(unmasking.accept(bad.clone()), Err(Rejection::Signature { site: site(2) }));
    let bad = bad.sign(consortium.key(&site(2)));
    let rejection = unmasking.accept(bad).unwrap_err();
    assert_eq!(
        rejection,
        Rejection::Opened { site: site(2), opened: Opened::SelfMaskShare { dealer: site(4) } }
    );
    assert_eq!(rejection.culprits(), set([2]));
    assert!(unmasking.answered_by().is_empty());

    unmask_all(&consortium, &verified, &mut unmasking, signed, &nobody());
    assert_eq!(unmasking.answered_by(), set([0, 1, 3, 4, 5]));
    let opened = open(unmasking.close().unwrap(), &bodies).unwrap();
    assert_eq!(opened, [plain_sum(&plain, &consortium.sites())]);
}

#[test]
fn shares_that_do_not_open_are_complained_about_and_the_round_completes() {
    let mut consortium = Consortium::new(6, 15);
    let context = consortium.context(Mode::Full);
    let Uploaded { context: verified, collecting, waiting, bodies, plain } =
        upload_all(&mut consortium, &context, &nobody());
    let mut agreeing = collecting.close().unwrap();
    let signed = agree_all(&consortium, &verified, &mut agreeing, waiting, &nobody());
    let mut unmasking = agreeing.close().unwrap();
    for (id, state) in signed {
        let mut request = unmasking.request_for(&id).unwrap();
        if id == site(0) {
            // What site 3 sealed for site 0 was altered (by site 3, or on the way).
            let entry = request.sealed.iter_mut().find(|entry| entry.from == site(3)).unwrap();
            entry.sealed[5] ^= 1;
        }
        let (_, response) =
            state.unmask(&consortium.roster, &verified, &request, consortium.key(&id)).unwrap();
        unmasking.accept(response).unwrap();
    }
    assert_eq!(unmasking.complaints(), BTreeMap::from([(site(3), set([0]))]));
    assert!(unmasking.sufficient());
    let opened = open(unmasking.close().unwrap(), &bodies).unwrap();
    assert_eq!(opened, [plain_sum(&plain, &consortium.sites())]);
}

#[test]
fn sufficient_counts_recoverable_seeds_and_not_only_answers() {
    // Five of six answer, which is t, but some cannot open what site 3 dealt: its self mask has too few shares. Up to three
    // of six sites may collude, so three complaints prove nothing and four do.
    for (complaining, blamed) in [(1, nobody()), (3, nobody()), (4, set([3]))] {
        shares_that_do_not_open(complaining, blamed);
    }
}

fn shares_that_do_not_open(complaining: usize, blamed: BTreeSet<SiteId>) {
    let mut consortium = Consortium::new(6, 16);
    let context = consortium.context(Mode::Full);
    let Uploaded { context: verified, collecting, waiting, .. } =
        upload_all(&mut consortium, &context, &nobody());
    let mut agreeing = collecting.close().unwrap();
    let signed = agree_all(&consortium, &verified, &mut agreeing, waiting, &nobody());
    let mut unmasking = agreeing.close().unwrap();
    let receivers: Vec<SiteId> = consortium.sites().into_iter().filter(|id| *id != site(3)).collect();
    for (id, state) in signed.into_iter().take(5) {
        let mut request = unmasking.request_for(&id).unwrap();
        if receivers.iter().take(complaining).any(|receiver| *receiver == id) {
            request.sealed.iter_mut().find(|entry| entry.from == site(3)).unwrap().sealed[0] ^= 1;
        }
        let (_, response) =
            state.unmask(&consortium.roster, &verified, &request, consortium.key(&id)).unwrap();
        unmasking.accept(response).unwrap();
    }
    assert_eq!(unmasking.answered_by().len(), 5);
    assert!(!unmasking.sufficient());
    let abort = unmasking.close().unwrap_err();
    assert_eq!((abort.culprits(), abort.suspects()), (blamed.clone(), set([3])));
    assert_eq!(abort, Abort::Unrecoverable { found: 5, needed: 5, complained_of: set([3]), blamed });
}

#[test]
fn pair_seeds_are_recovered_from_the_owner_or_from_shares() {
    // Site 5 never uploads. Site 0 uploads and then falls silent, so its seed with site 5 comes from shares.
    let mut consortium = Consortium::new(9, 17);
    let context = consortium.context(Mode::Full);
    let Uploaded { context: verified, collecting, waiting, bodies, plain } =
        upload_all(&mut consortium, &context, &set([5]));
    let mut agreeing = collecting.close().unwrap();
    let agreed = agreeing.proposal().agreed.clone();
    let mut signed = agree_all(&consortium, &verified, &mut agreeing, waiting, &nobody());
    let mut unmasking = agreeing.close().unwrap();
    signed.remove(&site(0));
    let (id, state) = signed.pop_first().unwrap();
    let request = unmasking.request_for(&id).unwrap();
    let (_, response) = state.unmask(&consortium.roster, &verified, &request, consortium.key(&id)).unwrap();
    assert_eq!(response.own_pair_seeds.keys().collect::<Vec<_>>(), [&site(5)]);
    assert!(response.pair_seed_shares.iter().any(|entry| entry.owner == site(0) && entry.peer == site(5)));

    // A seed that does not match its commitment is refused and its author named.
    let mut forged = response.clone();
    forged.own_pair_seeds.insert(site(5), SeedBytes([1; 32]));
    assert_eq!(
        unmasking.accept(forged.sign(consortium.key(&id))),
        Err(Rejection::Opened { site: id.clone(), opened: Opened::OwnPairSeed { peer: site(5) } })
    );
    // An answer that leaves something out or adds something is refused too.
    let mut partial = response.clone();
    partial.pair_seed_shares.pop();
    assert_eq!(
        unmasking.accept(partial.sign(consortium.key(&id))),
        Err(Rejection::Opened { site: id, opened: Opened::List })
    );
    unmasking.accept(response).unwrap();
    unmask_all(&consortium, &verified, &mut unmasking, signed, &nobody());
    let opened = open(unmasking.close().unwrap(), &bodies).unwrap();
    assert_eq!(opened, [plain_sum(&plain, &agreed)]);
}

/// Garbage where the coordinates are; the weight, the last lane, stays as it was.
fn garbage(body: &[u8]) -> Vec<u8> {
    let mut body = body.to_vec();
    let coordinates = body.len() / 2;
    body[..coordinates].iter_mut().step_by(3).for_each(|byte| *byte = byte.wrapping_add(77));
    body
}

/// The same body with `more` added to its weight.
fn heavier(body: &[u8], encoding: &Encoding, more: u32) -> Vec<u8> {
    let mut lanes = unpack(body, encoding.lanes() as usize, encoding.ring_bits).unwrap();
    let weight = lanes.last_mut().unwrap();
    *weight = weight.wrapping_add(more) & ((1 << encoding.ring_bits) - 1);
    pack(&lanes, encoding.ring_bits).unwrap()
}

#[test]
fn garbage_uploads_abort_and_name_the_batch() {
    // Each of the two checks by itself: of the coordinates' range, and of the weights'.
    for (mode, of_weight) in
        [Mode::Full, Mode::Group].into_iter().flat_map(|mode| [(mode, false), (mode, true)])
    {
        let mut consortium = Consortium::new(4, 18);
        let mut context = consortium.context(mode);
        context.encoding = support::encoding(&[200], 8, 20);
        let verified = consortium.verified(&context);
        let mut collecting = Collecting::new(context.clone(), consortium.roster.clone()).unwrap();
        let (mut waiting, mut bodies) = (BTreeMap::new(), BTreeMap::new());
        for id in consortium.sites() {
            let (ring, _) = consortium.update(&context.encoding);
            let Upload { mut state, mut manifest, mut body } = consortium.upload(&id, &verified, ring);
            if id == site(1) {
                body = if of_weight { heavier(&body, &context.encoding, 1 << 18) } else { garbage(&body) };
                manifest = forge_body(&consortium, &manifest, &body);
                // The malicious site goes on with a state that fits its forged manifest.
                state = with_manifest(&state, &manifest);
            }
            collecting.accept_manifest(&id, manifest).unwrap();
            collecting.accept_body(&id, body_root(body.as_slice()).unwrap(), body.len() as u64).unwrap();
            waiting.insert(id.clone(), state);
            bodies.insert(id, body);
        }
        let mut agreeing = collecting.close().unwrap();
        let signed = agree_all(&consortium, &verified, &mut agreeing, waiting, &nobody());
        let mut unmasking = agreeing.close().unwrap();
        unmask_all(&consortium, &verified, &mut unmasking, signed, &nobody());
        let abort = open(unmasking.close().unwrap(), &bodies).unwrap_err();
        let all = consortium.sites().into_iter().collect();
        let batch = if mode == Mode::Group { batch_of(&context, &site(1)) } else { all };
        let Abort::OutOfRange { batch: named, coordinate } = &abort else { panic!("{abort}") };
        assert_eq!((named, *coordinate == context.encoding.coordinates()), (&batch, of_weight), "{abort}");
        assert_eq!((abort.culprits(), abort.suspects()), (nobody(), batch));
    }
}

#[test]
fn an_out_of_range_weight_aborts() {
    let consortium = Consortium::new(3, 19);
    let context = consortium.context(Mode::Full);
    let verified = consortium.verified(&context);
    // An honest site does not even mask such an update.
    for bad_weight in [0, context.encoding.weight_cap + 1] {
        let ring = RingVector::from_lanes(vec![0, 0, 0, 0, 0, 0, 0, bad_weight], 16).unwrap();
        let refused = mask(
            &consortium.chains[&site(0)],
            &consortium.roster,
            &verified,
            consortium.key(&site(0)),
            ring,
            &mut consortium.rng.clone(),
        );
        assert!(matches!(refused, Err(MaskError::Update(_))));
    }
    let ring = RingVector::from_lanes(vec![0, 128, 0, 0, 0, 0, 0, 1], 16).unwrap();
    let refused = mask(
        &consortium.chains[&site(0)],
        &consortium.roster,
        &verified,
        consortium.key(&site(0)),
        ring,
        &mut consortium.rng.clone(),
    );
    assert!(matches!(refused, Err(MaskError::Update(_))));
}

#[test]
fn a_body_changed_in_the_store_is_nobodys_fault_but_the_gateways() {
    let mut consortium = Consortium::new(3, 20);
    let context = consortium.context(Mode::Full);
    for change in [
        (|body: &mut Vec<u8>| body[0] ^= 1) as fn(&mut Vec<u8>),
        |body| body.truncate(body.len() - 1),
        |body| body.push(0),
    ] {
        let Uploaded { context: verified, collecting, waiting, mut bodies, .. } =
            upload_all(&mut consortium, &context, &nobody());
        let mut agreeing = collecting.close().unwrap();
        let signed = agree_all(&consortium, &verified, &mut agreeing, waiting, &nobody());
        let mut unmasking = agreeing.close().unwrap();
        unmask_all(&consortium, &verified, &mut unmasking, signed, &nobody());
        change(bodies.get_mut(&site(1)).unwrap());
        let abort = open(unmasking.close().unwrap(), &bodies).unwrap_err();
        assert_eq!(abort, Abort::BodyChanged { site: site(1) });
        assert!(abort.culprits().is_empty());
    }
}

#[test]
fn contradicting_pair_commitments_leave_the_liar_out() {
    // Site 2's commitments contradict everyone's (a damaged key store, say): it alone is left out.
    let mut consortium = Consortium::new(6, 22);
    let context = consortium.context(Mode::Full);
    let verified = consortium.verified(&context);
    let collect = |consortium: &mut Consortium,
                   lie: &dyn Fn(&mut konclave_crypto::messages::ManifestHeader)| {
        let mut collecting = Collecting::new(context.clone(), consortium.roster.clone()).unwrap();
        for id in consortium.sites() {
            let (ring, _) = consortium.update(&context.encoding);
            let Upload { mut manifest, body, .. } = consortium.upload(&id, &verified, ring);
            if id == site(2) {
                let mut header = manifest.signed.header.clone();
                lie(&mut header);
                manifest.signed = header.sign(consortium.key(&id));
            }
            collecting.accept_manifest(&id, manifest).unwrap();
            collecting.accept_body(&id, body_root(body.as_slice()).unwrap(), body.len() as u64).unwrap();
        }
        collecting
    };
    let all = collect(&mut consortium, &|header| {
        header.pair_seed_hashes.values_mut().for_each(|hash| *hash = Digest::of(hash.as_bytes()));
    });
    assert_eq!(all.conflicting(), set([2]));
    assert_eq!(all.uploaded(), set([0, 1, 3, 4, 5]));
    assert_eq!(all.close().unwrap().proposal().agreed.len(), 5);

    // With one contradiction nothing tells the two ends apart: both go, and the round is over if too few stay.
    let one = collect(&mut consortium, &|header| {
        header.pair_seed_hashes.insert(site(4), Digest::of(b"lie"));
    });
    assert_eq!(one.conflicting(), set([2, 4]));
    let abort = one.close().unwrap_err();
    assert_eq!(abort, Abort::TooFewUploads { found: 4, needed: 5, conflicting: set([2, 4]) });
    assert_eq!((abort.culprits(), abort.suspects()), (nobody(), set([2, 4])));
}

#[test]
fn colluding_liars_cannot_throw_out_an_honest_site_and_stay() {
    // Of six sites three may collude. Each of them says that it has another common seed with the honest site 5.
    for liars in 1..=3_usize {
        let mut consortium = Consortium::new(6, 24);
        let context = consortium.context(Mode::Full);
        let verified = consortium.verified(&context);
        let mut collecting = Collecting::new(context.clone(), consortium.roster.clone()).unwrap();
        for (index, id) in consortium.sites().into_iter().enumerate() {
            let (ring, _) = consortium.update(&context.encoding);
            let Upload { mut manifest, body, .. } = consortium.upload(&id, &verified, ring);
            if index < liars {
                let mut header = manifest.signed.header.clone();
                header.pair_seed_hashes.insert(site(5), Digest::of(b"lie"));
                manifest.signed = header.sign(consortium.key(&id));
            }
            collecting.accept_manifest(&id, manifest).unwrap();
            collecting.accept_body(&id, body_root(body.as_slice()).unwrap(), body.len() as u64).unwrap();
        }
        let out = collecting.conflicting();
        assert_eq!(out, (0..liars).chain([5]).map(site).collect(), "{liars} liars go with their victim");
    }
}

#[test]
fn a_weight_that_does_not_fit_the_coordinates_aborts() {
    // Five sites give their largest weight; the sixth pulls the sum of weights down to 6, the least that six sites could
    // have. Applied, the step would be as many times too long as the weights are too small.
    let mut consortium = Consortium::new(6, 25);
    let context = consortium.context(Mode::Full);
    let (encoding, verified) = (context.encoding.clone(), consortium.verified(&context));
    let (cap, bits) = (encoding.weight_cap, encoding.ring_bits);
    let mut collecting = Collecting::new(context.clone(), consortium.roster.clone()).unwrap();
    let (mut waiting, mut bodies) = (BTreeMap::new(), BTreeMap::new());
    for id in consortium.sites() {
        let largest = encoding.quantised_max().cast_unsigned();
        let lanes = |value: u32, weight: u32| {
            let mut lanes = vec![value; encoding.coordinates() as usize];
            lanes.push(weight);
            RingVector::from_lanes(lanes, bits).unwrap()
        };
        let Upload { mut state, mut manifest, mut body } =
            consortium.upload(&id, &verified, lanes(largest, cap));
        if id == site(1) {
            body = heavier(&body, &encoding, 6_u32.wrapping_sub(6 * cap));
            manifest = forge_body(&consortium, &manifest, &body);
            state = with_manifest(&state, &manifest);
        }
        collecting.accept_manifest(&id, manifest).unwrap();
        collecting.accept_body(&id, body_root(body.as_slice()).unwrap(), body.len() as u64).unwrap();
        waiting.insert(id.clone(), state);
        bodies.insert(id, body);
    }
    let mut agreeing = collecting.close().unwrap();
    let signed = agree_all(&consortium, &verified, &mut agreeing, waiting, &nobody());
    let mut unmasking = agreeing.close().unwrap();
    unmask_all(&consortium, &verified, &mut unmasking, signed, &nobody());
    let abort = open(unmasking.close().unwrap(), &bodies).unwrap_err();
    assert!(matches!(abort, Abort::OutOfRange { coordinate: 0, .. }), "{abort}");
}

fn batch_of(context: &konclave_crypto::RoundContext, id: &SiteId) -> BTreeSet<SiteId> {
    context.batch_of(id).unwrap().iter().cloned().collect()
}

#[test]
fn malformed_sealed_shares_are_refused() {
    let mut consortium = Consortium::new(4, 23);
    let context = consortium.context(Mode::Full);
    let verified = consortium.verified(&context);
    let mut collecting = Collecting::new(context.clone(), consortium.roster.clone()).unwrap();
    let (ring, _) = consortium.update(&context.encoding);
    let good = consortium.upload(&site(0), &verified, ring).manifest;
    let changes: [fn(&mut Manifest); 5] = [
        |manifest| drop(manifest.sealed.pop()),
        |manifest| manifest.sealed.swap(0, 1),
        |manifest| manifest.sealed[0].to = site(0),
        |manifest| manifest.sealed[0].from = site(1),
        |manifest| manifest.sealed[2].sealed.push(0),
    ];
    for change in changes {
        let mut bad = good.clone();
        change(&mut bad);
        assert_eq!(collecting.accept_manifest(&site(0), bad), Err(Rejection::Sealed { site: site(0) }));
    }
    collecting.accept_manifest(&site(0), good).unwrap();
    assert!(matches!(
        collecting.accept_body(&"stranger".parse().unwrap(), Digest::of(b""), 1),
        Err(Rejection::UnknownSite { .. })
    ));
}
