//! The JSON form of messages: exact round trips, strict parsing, nothing secret in Debug.

#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::cast_possible_truncation,
    reason = "a test may panic"
)]

mod support;

use std::collections::BTreeSet;

use konclave_crypto::messages::{
    AgreementProposal, AgreementSignature, Manifest, SeedBytes, UnmaskingRequest, UnmaskingResponse,
};
use konclave_crypto::setup::KeyAdvertisement;
use konclave_crypto::{Mode, OpenedSum, SignedContext};
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::Value;
use support::{Consortium, Uploaded, agree_all, site, upload_all};

/// Round trip, and a stray field anywhere is refused.
fn check<T: Serialize + DeserializeOwned + PartialEq + std::fmt::Debug>(message: &T) {
    let value = serde_json::to_value(message).unwrap();
    assert_eq!(&serde_json::from_value::<T>(value.clone()).unwrap(), message);
    let mut stray = value.clone();
    stray.as_object_mut().unwrap().insert("stray".into(), Value::Null);
    assert!(serde_json::from_value::<T>(stray).is_err());
    for field in value.as_object().unwrap().keys() {
        let mut missing = value.clone();
        missing.as_object_mut().unwrap().remove(field);
        assert!(serde_json::from_value::<T>(missing).is_err(), "without {field}");
    }
}

#[test]
fn messages_round_trip_strictly() {
    let mut consortium = Consortium::new(5, 41);
    let context = consortium.context(Mode::Full);
    let signed_context: SignedContext = consortium.signed(context.clone());
    check(&signed_context);
    check(&consortium.roster.advertisements()[0] as &KeyAdvertisement);
    let Uploaded { context: verified, collecting, waiting, .. } =
        upload_all(&mut consortium, &context, &BTreeSet::from([site(1)]));
    let manifest: &Manifest = waiting[&site(0)].manifest();
    check(manifest);
    let text = serde_json::to_value(manifest).unwrap();
    assert!(text["signed"]["header"]["context"].as_str().unwrap().len() == 64);
    assert!(text["sealed"][0]["sealed"].is_string());

    let mut agreeing = collecting.close().unwrap();
    check::<AgreementProposal>(agreeing.proposal());
    let mut signed = agree_all(&consortium, &verified, &mut agreeing, waiting, &BTreeSet::new());
    let unmasking = agreeing.close().unwrap();
    let request: UnmaskingRequest = unmasking.request_for(&site(0)).unwrap();
    check(&request);
    check::<AgreementSignature>(&request.signatures[0]);
    let state = signed.remove(&site(0)).unwrap();
    let debug = format!("{state:?}");
    let (_, response) =
        state.unmask(&consortium.roster, &verified, &request, consortium.key(&site(0))).unwrap();
    check::<UnmaskingResponse>(&response);
    assert_eq!(debug, "AwaitUnmasking { site: SiteId(\"site-00\"), round: RoundNumber(1), .. }");
    assert!(!response.self_mask_shares.is_empty() && !response.own_pair_seeds.is_empty());
    assert!(!response.pair_seed_shares.is_empty());
    let shares =
        response.self_mask_shares.values().chain(response.pair_seed_shares.iter().map(|one| &one.share));
    let opened = shares.map(|share| &share.value).chain(response.own_pair_seeds.values());
    let shown: String = format!("{response:?}").split_whitespace().collect();
    for SeedBytes(seed) in opened {
        assert_eq!(format!("{:?}", SeedBytes(*seed)), "SeedBytes(..)");
        // However it may be written: as numbers, in hexadecimal, in base64.
        let numbers: Vec<String> = seed.iter().map(ToString::to_string).collect();
        let hex: String = seed.iter().map(|byte| format!("{byte:02x}")).collect();
        for form in [numbers[..4].join(","), hex, String::from(SeedBytes(*seed))] {
            assert!(!shown.contains(&form), "{form} in {shown}");
        }
    }
    check(&OpenedSum { sites: vec![site(0)], coordinates: vec![-3, 4], weight: 2 });
}
