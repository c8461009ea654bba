//! A hostile site beside five honest ones, all over mTLS against a real gateway process: what it sends, what the gateway says
//! to that, who is named, and that the honest sites' sums are opened exactly, or nothing is.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "the lints spare test functions, but not what they call"
)]

use crate::support;
use konclave_crypto::messages::{SeedBytes, SumTag, SumVerdict, TagValue};
use konclave_crypto::setup::KemPublicKey;
use konclave_crypto::{Digest, SiteId};
use konclave_ledger::records::SumResult;
use konclave_openapi::problem::Problem;
use konclave_openapi::rounds::{Round, RoundPhase};
use konclave_openapi::work::WorkItem;
use konclave_tests::consortium::output;
use konclave_tests::partner::PartnerClient;

use crate::support::inside::Inside;
use crate::support::job::COORDINATES;
use crate::support::known::known;
use crate::support::player::Player;

const HOSTILE: &str = "site-3";

fn opened(round: &Round) -> bool {
    round.phase == RoundPhase::Opened
}

/// The opened sum is that of these sites' known updates, to the last bit.
fn assert_exact(developer: &PartnerClient, round: &Round, sites: usize) {
    let opening = &round.openings[0];
    assert_eq!(opening.sites.len(), sites, "{:?}", opening.sites);
    let mut sum = vec![0_i32; COORDINATES];
    for site in &opening.sites {
        let given = known(site.as_str(), &round.parameters_before, COORDINATES);
        sum.iter_mut().zip(&given.plain).for_each(|(sum, value)| *sum += value);
    }
    let expected: Vec<u8> = sum.iter().flat_map(|value| value.to_le_bytes()).collect();
    assert_eq!(developer.get_bytes(&format!("/v1/blobs/{}", opening.sum)).unwrap(), expected);
}

fn assert_refused(answer: Result<(), Box<Problem>>, kind: &str, words: &str) {
    let problem = answer.unwrap_err();
    assert_eq!(problem.kind, kind, "{}", problem.detail);
    assert!(problem.detail.contains(words), "{}", problem.detail);
}

/// Keys that are no keys.
fn advertises_malformed_keys(player: &mut Player) {
    let good = player.advertisement();
    let path = format!("keys/{}", player.site);
    // Zero is a point of low order; a lattice coefficient of 0xfff is not reduced.
    let spoils: [fn(&mut [u8]); 2] = [|bytes| bytes[..32].fill(0), |bytes| bytes[32..40].fill(0xff)];
    for spoil in spoils {
        let mut bytes = *good.kem_key.as_bytes();
        spoil(&mut bytes);
        let mut bad = good.clone();
        bad.kem_key = KemPublicKey::from(bytes);
        let refused = player.put(&path, &bad.sign(&player.keys.identity));
        assert_refused(refused, "/problems/rejected", "the KEM key of `site-3` is malformed");
    }
    player.put(&path, &good).unwrap();
}

/// A share sealed wrong, a share answered wrong, a false tag and a false verdict: the sum of all six is opened and stands.
fn lies_about_shares_and_sums(player: &mut Player) -> Round {
    let (manifest, body) = player.masked(1, |manifest, _| manifest.sealed[0].sealed[40] ^= 1);
    player.send_manifest(1, &manifest).unwrap();
    player.send_body(1, body).unwrap();
    player.agree(1);
    let honest = player.shares(1);
    let mut lie = honest.clone();
    let share = lie.self_mask_shares.values_mut().next().unwrap();
    let mut bytes = share.value.0;
    bytes[0] ^= 1;
    share.value = SeedBytes(bytes);
    let path = format!("rounds/1/unmasking/{}", player.site);
    let refused = player.put(&path, &lie.sign(&player.keys.identity));
    // Whom it would harm is told to the liar alone.
    assert_refused(refused, "/problems/rejected", "share");
    player.put(&path, &honest).unwrap();

    let honest = player.tag(1);
    let mut value = *honest.value.as_bytes();
    value[0] ^= 1;
    let (key, site) = (&player.keys.identity, player.site.clone());
    let lie = SumTag::sign(honest.context, site.clone(), honest.announcement, TagValue::from(value), key);
    player.put(&format!("rounds/1/tags/{site}"), &lie).unwrap();
    player.until_asked(|item| matches!(item, WorkItem::Verify { .. }));
    let lie = SumVerdict::sign(honest.context, site.clone(), honest.announcement, false, key);
    player.put(&format!("rounds/1/verdicts/{site}"), &lie).unwrap();
    player.until_round(1, |round| {
        round.verification.as_ref().is_some_and(|found| found.result != SumResult::Pending)
    })
}

/// Seeds that none of its partners has: it is left out of the sum.
fn contradicts_its_partners(player: &mut Player) -> Round {
    let (manifest, body) = player.masked(2, |manifest, _| {
        let hashes = manifest.signed.header.pair_seed_hashes.values_mut();
        hashes.for_each(|hash| *hash = Digest::of(hash.as_bytes()));
    });
    player.send_manifest(2, &manifest).unwrap();
    player.send_body(2, body).unwrap();
    player.until_round(2, opened)
}

/// An old round's manifest, and an upload after the set was fixed.
fn replays_and_comes_late(player: &mut Player) -> Round {
    let (manifest, body) = player.masked(3, |_, _| ());
    let mut old = manifest.clone();
    old.signed.header.context = player.until_round(1, opened).context_digest;
    old.signed = old.signed.header.sign(&player.keys.identity);
    assert_refused(player.send_manifest(3, &old), "/problems/rejected", "context");
    player.send_manifest(3, &manifest).unwrap();
    player.until_round(3, |round| round.phase != RoundPhase::Uploading);
    assert_refused(player.send_body(3, body), "/problems/wrong-round", "");
    player.until_round(3, opened)
}

/// Garbage under a good signature: nothing is opened, and the batch is told.
fn uploads_garbage(player: &mut Player) -> (String, Vec<SiteId>) {
    let (manifest, body) = player.masked(4, |_, body| {
        body.iter_mut().step_by(3).for_each(|byte| *byte = byte.wrapping_add(77));
        // The padding bits stay zero.
        *body.last_mut().unwrap() = 0;
    });
    player.send_manifest(4, &manifest).unwrap();
    player.send_body(4, body).unwrap();
    let ended = player.until_round(4, |round| matches!(round.phase, RoundPhase::Aborted { .. }));
    let RoundPhase::Aborted { reason, culprits } = ended.phase else { unreachable!() };
    (reason, culprits)
}

#[test]
fn what_a_hostile_site_sends_over_tls_is_refused_survived_or_ends_the_round_with_nothing_open() {
    let (mut consortium, folder) = support::consortium(6, |plan| {
        plan.with_policy("upload_seconds", 8)
            .with_policy("agree_seconds", 20)
            .with_policy("unmask_seconds", 20)
    });
    let (developer, auditor) = support::partners(&consortium);
    consortium.start_gateway().unwrap();
    let mut inside = Inside::default();
    let names: Vec<String> = consortium.members().map(|member| member.site.clone()).collect();
    names.iter().filter(|name| *name != HOSTILE).for_each(|name| inside.start(&consortium, name));
    let job = support::job::ask(&developer, 4, Vec::new()).job;
    let mut player = Player::new(&consortium, HOSTILE, job.clone());
    player.consent();
    advertises_malformed_keys(&mut player);
    player.exchange_ciphertexts();

    let first = lies_about_shares_and_sums(&mut player);
    assert_exact(&developer, &first, 6);
    let verification = first.verification.unwrap();
    assert_eq!(verification.result, SumResult::Verified);
    assert_eq!(
        (verification.false_tags, verification.rejected),
        (vec![player.site.clone()], vec![player.site.clone()])
    );
    assert_exact(&developer, &contradicts_its_partners(&mut player), 5);
    assert_exact(&developer, &replays_and_comes_late(&mut player), 5);
    let before = developer.job(&job).unwrap().global_parameters;
    let (reason, culprits) = uploads_garbage(&mut player);
    assert!(reason.contains("at fault is at least one of site-1, site-2, site-3"), "{reason}");
    assert!(culprits.is_empty(), "nothing shows which it was: {culprits:?}");
    let after = developer.job(&job).unwrap();
    assert_eq!((after.global_parameters, after.rounds_opened), (before, 3));

    drop(inside);
    let export = folder.path().join("export");
    auditor.export_ledger(&export).unwrap();
    let verified = output(&consortium.programs.audit, &["verify".as_ref(), export.as_os_str()]).unwrap();
    assert!(verified.status.success(), "{}", String::from_utf8_lossy(&verified.stderr));
}
