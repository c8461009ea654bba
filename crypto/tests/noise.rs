//! Rounds whose sums carry noise: how much of it is there, what a site refuses, what is still told from garbage.

#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::cast_possible_truncation,
    reason = "a test may panic"
)]

mod support;

use std::collections::{BTreeMap, BTreeSet};

use konclave_crypto::aggregator::{Abort, Collecting};
use konclave_crypto::encoding::EncodingError;
use konclave_crypto::privacy::{NoiseTerms, PrivacyCost, PrivacyError};
use konclave_crypto::site::{MaskError, mask};
use konclave_crypto::{ContextError, Encoding, Mode, OpenedSum, RingVector, RoundContext, body_root};
use rand_core::Rng;
use support::{
    Consortium, Losses, Upload, agree_all, encoding, forge_body, open, play, site, unmask_all, with_manifest,
};

const TERMS: NoiseTerms = NoiseTerms { clip_norm: 30_000, site_variance: 250_000, colluders: 1 };

/// Six sites, five of whom must agree, and as many coordinates.
fn noisy(consortium: &Consortium, mode: Mode, coordinates: u64) -> RoundContext {
    let encoding = Encoding { weight_cap: 1, ..encoding(&[coordinates], 12, 18) };
    let context = consortium.context(mode);
    RoundContext { encoding, min_agreed: 5, noise: Some(TERMS), ..context }
}

/// The noise in a sum: the difference from what the sites put in.
fn noise(opened: &OpenedSum, plain: &OpenedSum) -> Vec<f64> {
    assert_eq!((opened.weight, &opened.sites), (plain.weight, &plain.sites), "the weight carries no noise");
    opened.coordinates.iter().zip(&plain.coordinates).map(|(sum, exact)| f64::from(sum - exact)).collect()
}

/// Noise of a mean of 0 and of a variance, each within 6 standard errors: 2 in 10^9 for another seed.
fn assert_variance(noise: &[f64], variance: f64) {
    let n = noise.len() as f64;
    let mean = noise.iter().sum::<f64>() / n;
    assert!(mean.abs() < 6.0 * (variance / n).sqrt(), "mean {mean}");
    let found = noise.iter().map(|value| value * value).sum::<f64>() / n;
    assert!((found / variance - 1.0).abs() < 6.0 * (2.0 / n).sqrt(), "variance {found} for {variance}");
}

#[test]
fn a_sum_has_the_noise_of_each_site_in_it() {
    for (lost, sites) in [(None, 6.0), (Some(2), 5.0)] {
        let mut consortium = Consortium::new(6, 61);
        let context = noisy(&consortium, Mode::Full, 20_000);
        let losses = Losses { before_upload: lost.map(site).into_iter().collect(), ..Losses::default() };
        let (opened, plain) = play(&mut consortium, &context, &losses).unwrap();
        assert_eq!(opened[0].weight as f64, sites);
        let noise = noise(&opened[0], &plain[0]);
        assert_variance(&noise, sites * 250_000.0);
        // What the round is charged for is there, whoever drops out: five sites less one that colludes.
        let cost =
            PrivacyCost::at_least(TERMS.sensitivity_squared(20_000) as f64 / (2.0 * (5.0 - 1.0) * 250_000.0));
        assert_eq!(context.privacy_cost(), Some(cost));
    }
}

#[test]
fn batches_that_are_opened_by_themselves_have_the_noise_of_their_sites() {
    let mut consortium = Consortium::new(6, 62);
    let context = noisy(&consortium, Mode::Group, 10_000);
    let (opened, plain) = play(&mut consortium, &context, &Losses::default()).unwrap();
    assert_eq!(opened.len(), 3);
    for (opened, plain) in opened.iter().zip(&plain) {
        assert_variance(&noise(opened, plain), 2.0 * 250_000.0);
    }
    // Of a batch of two one colludes: one site's noise is left.
    let alone = TERMS.sensitivity_squared(10_000) as f64 / (2.0 * 250_000.0);
    assert_eq!(context.privacy_cost(), Some(PrivacyCost::at_least(alone)));
}

#[test]
fn noise_is_drawn_anew_for_each_mask_and_without_terms_there_is_none() {
    let mut consortium = Consortium::new(4, 63);
    let mut context = RoundContext { min_agreed: 3, ..noisy(&consortium, Mode::Full, 500) };
    let differing = |noise: &[f64]| noise.iter().filter(|value| **value != 0.0).count();
    let (opened, plain) = play(&mut consortium, &context, &Losses::default()).unwrap();
    let first = noise(&opened[0], &plain[0]);
    let (opened, plain) = play(&mut consortium, &context, &Losses::default()).unwrap();
    let second = noise(&opened[0], &plain[0]);
    assert!(differing(&first) > 490);
    let changes: Vec<f64> = first.iter().zip(&second).map(|(one, other)| one - other).collect();
    assert!(differing(&changes) > 490);
    context.noise = None;
    let (opened, plain) = play(&mut consortium, &context, &Losses::default()).unwrap();
    assert_eq!(differing(&noise(&opened[0], &plain[0])), 0);
}

#[test]
fn a_site_masks_nothing_that_the_noise_is_not_made_for() {
    let mut consortium = Consortium::new(4, 64);
    let context = RoundContext { min_agreed: 3, ..noisy(&consortium, Mode::Full, 1_000) };
    let verified = consortium.verified(&context);
    // A norm of 2047 sqrt(1000), about 65,000.
    let mut lanes = vec![2047; 1_000];
    lanes.push(1);
    let update = RingVector::from_lanes(lanes, 18).unwrap();
    let key = &consortium.members[&site(0)].key;
    let chains = &consortium.chains[&site(0)];
    let refused = mask(chains, &consortium.roster, &verified, key, update, &mut consortium.rng).unwrap_err();
    assert_eq!(refused, MaskError::Update(EncodingError::Norm));
}

#[test]
fn a_context_whose_noise_hides_nothing_is_refused() {
    let consortium = Consortium::new(6, 65);
    let refusal = |change: fn(&mut RoundContext), mode| {
        let mut context = noisy(&consortium, mode, 100);
        context.validate(&consortium.roster).unwrap();
        change(&mut context);
        context.validate(&consortium.roster).unwrap_err()
    };
    assert_eq!(
        refusal(|context| context.noise.as_mut().unwrap().colluders = 5, Mode::Full),
        ContextError::Noise(PrivacyError::NoNoise { colluders: 5, summed: 5 })
    );
    // In a scoring round the smallest batch counts, whatever `min_agreed` is.
    assert_eq!(
        refusal(|context| context.noise.as_mut().unwrap().colluders = 2, Mode::Group),
        ContextError::Noise(PrivacyError::NoNoise { colluders: 2, summed: 2 })
    );
    assert_eq!(
        refusal(|context| context.encoding.weight_cap = 2, Mode::Full),
        ContextError::Noise(PrivacyError::Weights { weight_cap: 2 })
    );
    assert!(matches!(
        refusal(|context| context.noise.as_mut().unwrap().site_variance = 1 << 40, Mode::Full),
        ContextError::Noise(PrivacyError::RingBits { ring_bits: 18, .. })
    ));
    assert!(matches!(
        refusal(|context| context.noise.as_mut().unwrap().site_variance = 0, Mode::Full),
        ContextError::Noise(PrivacyError::Variance { found: 0 })
    ));
}

#[test]
fn garbage_is_told_from_noise() {
    let mut consortium = Consortium::new(4, 66);
    let context = RoundContext { min_agreed: 3, ..noisy(&consortium, Mode::Full, 200) };
    let verified = consortium.verified(&context);
    let mut collecting = Collecting::new(context.clone(), consortium.roster.clone()).unwrap();
    let (mut waiting, mut bodies) = (BTreeMap::new(), BTreeMap::new());
    for id in consortium.sites() {
        let (ring, _) = consortium.update_within(&context.encoding, context.noise.as_ref());
        let Upload { mut state, mut manifest, mut body } = consortium.upload(&id, &verified, ring);
        if id == site(3) {
            let last = body.len() - 8;
            consortium.rng.fill_bytes(&mut body[..last]);
            manifest = forge_body(&consortium, &manifest, &body);
            state = with_manifest(&state, &manifest);
        }
        collecting.accept_manifest(&id, manifest).unwrap();
        collecting.accept_body(&id, body_root(body.as_slice()).unwrap(), body.len() as u64).unwrap();
        waiting.insert(id.clone(), state);
        bodies.insert(id, body);
    }
    let nobody = BTreeSet::new();
    let mut agreeing = collecting.close().unwrap();
    let signed = agree_all(&consortium, &verified, &mut agreeing, waiting, &nobody);
    let mut unmasking = agreeing.close().unwrap();
    unmask_all(&consortium, &verified, &mut unmasking, signed, &nobody);
    let abort = open(unmasking.close().unwrap(), &bodies).unwrap_err();
    assert!(matches!(abort, Abort::OutOfRange { .. }), "{abort}");
}
