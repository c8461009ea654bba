//! Sites that commit to something else than they dealt or sent: found when it is opened, and named.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test may panic")]

mod support;

use std::collections::{BTreeMap, BTreeSet};

use konclave_crypto::aggregator::{Abort, Collecting, Opening};
use konclave_crypto::messages::ManifestHeader;
use konclave_crypto::{Digest, Mode, SiteId, body_root};
use support::{
    Consortium, Upload, agree_all, encoding, forge_body, forge_header, open, site, unmask_all, with_manifest,
};

const LIAR: usize = 2;

/// A round of seven sites, of which the last never uploads and the liar does not unmask, up to its opening.
fn opening(change: impl Fn(&mut ManifestHeader), seed: u8) -> Result<Opening, Abort> {
    let mut consortium = Consortium::new(7, seed);
    let context = consortium.context(Mode::Full);
    let verified = consortium.verified(&context);
    let mut collecting = Collecting::new(context.clone(), consortium.roster.clone()).unwrap();
    let mut waiting = BTreeMap::new();
    for id in consortium.sites().into_iter().take(6) {
        let (ring, _) = consortium.update(&context.encoding);
        let Upload { mut state, mut manifest, body } = consortium.upload(&id, &verified, ring);
        if id == site(LIAR) {
            manifest = forge_header(&consortium, &manifest, &change);
            state = with_manifest(&state, &manifest);
        }
        collecting.accept_manifest(&id, manifest).unwrap();
        collecting.accept_body(&id, body_root(body.as_slice()).unwrap(), body.len() as u64).unwrap();
        waiting.insert(id, state);
    }
    let mut agreeing = collecting.close().unwrap();
    let signed = agree_all(&consortium, &verified, &mut agreeing, waiting, &BTreeSet::new());
    let mut unmasking = agreeing.close().unwrap();
    unmask_all(&consortium, &verified, &mut unmasking, signed, &BTreeSet::from([site(LIAR)]));
    assert!(unmasking.sufficient());
    unmasking.close()
}

#[test]
fn an_honest_dealing_is_recovered() {
    assert!(opening(|_| {}, 31).is_ok());
}

#[test]
fn shares_of_another_self_mask_seed_than_committed_to_name_the_dealer() {
    let abort = opening(|header| header.self_mask_hash = Digest::of(b"another seed"), 32).unwrap_err();
    assert_eq!(abort, Abort::BadDealing { dealer: site(LIAR) });
    assert_eq!(abort.culprits(), BTreeSet::from([site(LIAR)]));
}

#[test]
fn shares_of_another_pair_seed_than_committed_to_name_the_dealer() {
    // The pair's other end never uploaded: nothing contradicts the commitment until the shares are put together.
    let other = |header: &mut ManifestHeader| {
        header.pair_seed_hashes.insert(site(6), Digest::of(b"another seed"));
    };
    assert_eq!(opening(other, 33).unwrap_err(), Abort::BadDealing { dealer: site(LIAR) });
}

#[test]
fn a_body_with_set_padding_bits_names_its_sender() {
    let mut consortium = Consortium::new(4, 34);
    let mut context = consortium.context(Mode::Full);
    // Seven lanes of 17 bits leave one bit of the last byte.
    context.encoding = encoding(&[2, 4], 8, 17);
    let verified = consortium.verified(&context);
    let mut collecting = Collecting::new(context.clone(), consortium.roster.clone()).unwrap();
    let (mut waiting, mut bodies) = (BTreeMap::new(), BTreeMap::<SiteId, Vec<u8>>::new());
    for id in consortium.sites() {
        let (ring, _) = consortium.update(&context.encoding);
        let Upload { mut state, mut manifest, mut body } = consortium.upload(&id, &verified, ring);
        if id == site(LIAR) {
            *body.last_mut().unwrap() |= 0x80;
            manifest = forge_body(&consortium, &manifest, &body);
            state = with_manifest(&state, &manifest);
        }
        collecting.accept_manifest(&id, manifest).unwrap();
        collecting.accept_body(&id, body_root(body.as_slice()).unwrap(), body.len() as u64).unwrap();
        waiting.insert(id.clone(), state);
        bodies.insert(id, body);
    }
    let mut agreeing = collecting.close().unwrap();
    let signed = agree_all(&consortium, &verified, &mut agreeing, waiting, &BTreeSet::new());
    let mut unmasking = agreeing.close().unwrap();
    unmask_all(&consortium, &verified, &mut unmasking, signed, &BTreeSet::new());
    let abort = open(unmasking.close().unwrap(), &bodies).unwrap_err();
    assert_eq!(abort, Abort::BodyFormat { site: site(LIAR) });
    assert_eq!(abort.culprits(), BTreeSet::from([site(LIAR)]));
}
