//! The attacks of a hostile gateway on a round, each over TLS against real sites: what it shows them and asks of them,
//! and that nothing comes of it. `SECURITY.md` maps each attack to its tests.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use konclave_crypto::messages::{AgreementProposal, AgreementSignature, UnmaskingRequest};
use konclave_crypto::setup::{KemPublicKey, KeyAdvertisement, advertise};
use konclave_crypto::{
    ConsortiumRootKey, Digest, IdentityKey, MemberRole, Membership, RoundContext, SiteId, UnixSeconds,
};
use konclave_openapi::jobs::{Ciphertexts, RosterView};
use konclave_openapi::rounds::Round;
use konclave_site::driver::SiteError;
use rand_chacha::ChaCha20Rng;
use rand_chacha::rand_core::SeedableRng;
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::Value;
use tokio::task::JoinHandle;
use zeroize::Zeroizing;

use crate::field::Field;
use crate::support::gateway::{COORDINATES, Gateway};

fn site(name: &str) -> SiteId {
    name.parse().unwrap()
}

/// Changes an answer as what it is.
fn change<T: Serialize + DeserializeOwned>(answer: &mut Value, change: impl FnOnce(&mut T)) {
    let mut typed: T = serde_json::from_value(answer.take()).unwrap();
    change(&mut typed);
    *answer = serde_json::to_value(&typed).unwrap();
}

/// A lie about the answers whose path ends so.
fn about(
    end: &'static str,
    lie: impl Fn(&Gateway, &SiteId, &mut Value) + Send + Sync + 'static,
) -> impl FnOnce(&mut Gateway) {
    move |gateway| {
        gateway.deceit = Some(Arc::new(move |gateway, site, path, answer| {
            if path.ends_with(end) || path.contains(&format!("{end}/")) {
                lie(gateway, site, answer);
            }
        }));
    }
}

fn start(field: &Field, sites: usize) -> Vec<JoinHandle<Result<(), SiteError>>> {
    (0..sites).map(|index| field.start(index)).collect()
}

/// Time in which a site that is not stopped by a check would have gone on.
async fn a_while() {
    tokio::time::sleep(Duration::from_millis(700)).await;
}

/// Runs all sites of a field until one refuses for this reason, and a while longer.
async fn refusal(field: &Field, sites: usize, reason: &str) {
    let running = start(field, sites);
    field.refused(reason).await;
    a_while().await;
    running.iter().for_each(JoinHandle::abort);
}

/// Parameters that the gateway made to single out a site's update.
fn crafted() -> Vec<u8> {
    (0..COORDINATES).flat_map(|_| 0.5_f32.to_le_bytes()).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn different_models_for_different_sites_get_no_update_of_the_deceived() {
    // Both contexts are signed and in the ledger; one site is shown the second.
    let field = Field::of(3, |gateway| {
        gateway.hold_uploads = true;
        let other: fn(&mut RoundContext) = |context| context.model = Digest::of(&crafted());
        gateway.begins = Some(Box::new(move |gateway: &mut Gateway| {
            gateway.keep(crafted());
            let second = gateway.second_context(other);
            let lie = move |_: &Gateway, site: &SiteId, path: &str, answer: &mut Value| {
                if path.ends_with("/rounds/1") && site.as_str() == "site-c" {
                    change::<Round>(answer, |view| {
                        view.context = second.clone();
                        view.context_digest = second.context.digest();
                        view.parameters_before = second.context.model;
                    });
                }
            };
            gateway.deceit = Some(Arc::new(lie));
        }));
    });
    refusal(&field, 3, "by the ledger the job stands at").await;
    let gateway = field.gateway.lock().unwrap();
    assert!(gateway.manifests_seen.iter().all(|(site, _)| site.as_str() != "site-c"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_late_uploads_self_mask_is_opened_by_nobody() {
    type Ask = fn(&mut UnmaskingRequest);
    let asks: [(Ask, &str); 3] = [
        (
            |request| request.self_masks_of.push(site("site-d")),
            "both the self mask and the pairwise masks of `site-d` are asked for",
        ),
        (
            |request| {
                request.pair_seeds_of.clear();
                request.self_masks_of.push(site("site-d"));
            },
            "the request asks for other secrets than the agreed set needs",
        ),
        (
            |request| {
                request.pair_seeds_of.clear();
                request.self_masks_of.push(site("site-d"));
                request.agreed.push(site("site-d"));
            },
            "the request is for another set than the one this site signed",
        ),
    ];
    for (ask, reason) in asks {
        let field = Field::of(4, |gateway| {
            gateway.late = BTreeSet::from([site("site-d")]);
            gateway.hold_unmasking = true;
            gateway.deceit = Some(Arc::new(move |_, to, path, answer| {
                if path.ends_with("/rounds/1") && to.as_str() == "site-d" {
                    answer["phase"] = serde_json::json!({"kind": "uploading"});
                }
                if path.contains("/unmasking/") {
                    change::<UnmaskingRequest>(answer, ask);
                }
            }));
        });
        let running = start(&field, 4);
        // The gateway holds the late update, complete, and only then asks for what would open it.
        field.until("the late upload", |gateway| gateway.has_body(&site("site-d"))).await;
        field.gateway.lock().unwrap().hold_unmasking = false;
        field.refused(reason).await;
        a_while().await;
        running.iter().for_each(JoinHandle::abort);
        assert!(field.gateway.lock().unwrap().answers_seen.is_empty(), "{reason}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_split_view_of_the_agreed_set_finds_no_quorum() {
    let without_first = |_: &Gateway, to: &SiteId, answer: &mut Value| {
        if to.as_str() >= "site-c" {
            change::<AgreementProposal>(answer, |proposal| {
                proposal.manifests.remove(0);
                proposal.agreed.remove(0);
            });
        }
    };
    let field = Field::of(4, |gateway| {
        gateway.hold_agreement = true;
        about("/agreement", without_first)(gateway);
    });
    let running = start(&field, 4);
    let signers = |signatures: &[AgreementSignature]| {
        signatures.iter().map(|signature| signature.site.clone()).collect::<BTreeSet<_>>().len()
    };
    field.until("four signatures", |gateway| signers(&gateway.signatures_seen) == 4).await;
    // Now it shows the larger set to all, and asks again.
    let before = {
        let mut gateway = field.gateway.lock().unwrap();
        gateway.deceit = None;
        gateway.signatures_seen.len()
    };
    // Of each: those whose signature was refused take their time.
    field.until("four more signatures", |gateway| signers(&gateway.signatures_seen[before..]) == 4).await;
    running.iter().for_each(JoinHandle::abort);
    let gateway = field.gateway.lock().unwrap();
    let mut sets: BTreeMap<Digest, BTreeSet<SiteId>> = BTreeMap::new();
    for signature in &gateway.signatures_seen {
        sets.entry(signature.agreed_digest).or_default().insert(signature.site.clone());
    }
    let sizes: Vec<usize> = sets.values().map(BTreeSet::len).collect();
    assert_eq!(sizes, [2, 2], "each site signs one set, and three of four signatures open one");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn shares_are_given_to_no_set_that_a_quorum_did_not_sign() {
    type Forge = fn(&mut UnmaskingRequest);
    let forgeries: [(Forge, &str); 3] = [
        (|request| request.signatures.truncate(2), "only 2 sites signed the set; 3 are needed"),
        (
            |request| request.signatures[2] = request.signatures[1].clone(),
            "the agreement signature of `site-b` does not hold, is repeated",
        ),
        (
            |request| request.signatures[2].signature = request.signatures[1].signature,
            "the agreement signature of `site-c` does not hold",
        ),
    ];
    for (forge, reason) in forgeries {
        let tell = about("/unmasking", move |_, _, answer| change::<UnmaskingRequest>(answer, forge));
        let field = Field::of(4, tell);
        refusal(&field, 4, reason).await;
        assert!(field.gateway.lock().unwrap().answers_seen.is_empty(), "{reason}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn both_kinds_of_share_of_one_site_are_refused_and_the_honest_request_is_answered() {
    let field = Field::of(4, |gateway| {
        gateway.rounds_wanted = 1;
        gateway.late = BTreeSet::from([site("site-d")]);
        let both = |_: &Gateway, _: &SiteId, answer: &mut Value| {
            change::<UnmaskingRequest>(answer, |request| request.pair_seeds_of.insert(0, site("site-a")));
        };
        about("/unmasking", both)(gateway);
    });
    let running = start(&field, 4);
    field.refused("both the self mask and the pairwise masks of `site-a` are asked for").await;
    a_while().await;
    {
        let mut gateway = field.gateway.lock().unwrap();
        assert!(gateway.answers_seen.is_empty());
        gateway.deceit = None;
    }
    field.until("the opened sum", |gateway| gateway.opened.len() == 1).await;
    running.iter().for_each(JoinHandle::abort);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_set_that_splits_a_batch_is_not_signed() {
    type Cut = fn(&mut AgreementProposal);
    let cuts: [Cut; 2] = [
        // The last site is said to have uploaded, but to be left out; and not to have uploaded.
        |proposal| drop(proposal.agreed.pop()),
        |proposal| drop((proposal.agreed.pop(), proposal.manifests.pop())),
    ];
    for cut in cuts {
        let tell = about("/agreement", move |_, _, answer| change::<AgreementProposal>(answer, cut));
        let batches = |text: String| {
            text.replace("scoring_batch_size = 3", "scoring_batch_size = 2")
                .replace("\nbatch_size = 1", "\nbatch_size = 2")
        };
        let field = Field::under(batches, 4, tell);
        refusal(&field, 4, "the proposed set is not the union of the batches that uploaded completely").await;
        assert!(field.gateway.lock().unwrap().signatures_seen.is_empty());
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_sum_of_few_is_not_signed_and_a_lowered_threshold_gets_no_update() {
    let alone = |_: &Gateway, _: &SiteId, answer: &mut Value| {
        change::<AgreementProposal>(answer, |proposal| {
            proposal.agreed.truncate(1);
            proposal.manifests.truncate(1);
        });
    };
    let field = Field::of(4, about("/agreement", alone));
    refusal(&field, 4, "only 1 sites uploaded; 3 are needed to open anything").await;
    assert!(field.gateway.lock().unwrap().signatures_seen.is_empty());

    type Lower = fn(&mut RoundContext);
    let lowered: [(Lower, &str); 3] = [
        (|context| context.threshold = 2, "threshold 2 must be above 2/3 of 4 sites"),
        (|context| context.min_agreed = 1, "min_agreed 1 must be from 2 to 4"),
        // More than the protocol's least, less than this site's.
        (|context| context.min_agreed = 2, "min_agreed 2 must be from 3 to 4"),
    ];
    for (lower, reason) in lowered {
        let field = Field::of(4, |gateway| gateway.tamper = Some(lower));
        refusal(&field, 4, reason).await;
        assert!(field.gateway.lock().unwrap().manifests_seen.is_empty(), "{reason}");
    }
}

/// An advertisement of a site that the consortium did not enrol.
fn invented(gateway: &Gateway, name: &str) -> KeyAdvertisement {
    let (root, key) = (
        ConsortiumRootKey::from_seed(Zeroizing::new([66; 32])),
        IdentityKey::from_seed(Zeroizing::new([67; 32])),
    );
    let certificate = root.issue(Membership {
        site: site(name),
        legal_entity: "Sybil".into(),
        role: MemberRole::Site,
        identity_key: key.public(),
        witness_vkey: String::new(),
        serial: 1,
        not_before: UnixSeconds(0),
        not_after: UnixSeconds(u64::from(u32::MAX)),
    });
    advertise(&gateway.job, &key, &certificate, &mut ChaCha20Rng::from_seed([68; 32])).1
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_sybil_in_the_roster_gets_no_keys() {
    let add = |gateway: &Gateway, _: &SiteId, answer: &mut Value| {
        change::<RosterView>(answer, |view| view.advertisements.push(invented(gateway, "site-z")));
    };
    let field = Field::of(3, about("/roster", add));
    refusal(&field, 3, "the certificate of `site-z` is not signed by this consortium's root").await;
    assert_eq!(field.gateway.lock().unwrap().ciphertexts_seen(), 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn keys_that_the_gateway_put_in_the_middle_are_refused() {
    type Exchange = fn(&Gateway, &mut RosterView);
    let exchanges: [(Exchange, &str); 4] = [
        // A key of its own under another site's certificate.
        (
            |gateway, view| view.advertisements[1].kem_key = invented(gateway, "site-b").kem_key,
            "the key advertisement of `site-b` is not signed by its identity key",
        ),
        // The whole site, under a root of its own.
        (
            |gateway, view| view.advertisements[1] = invented(gateway, "site-b"),
            "the certificate of `site-b` is not signed by this consortium's root",
        ),
        // The same key for two sites.
        (
            |_, view| view.advertisements[1] = view.advertisements[2].clone(),
            "`site-c` repeats the id or a key of another entry",
        ),
        // A key of low order: every shared secret would be known.
        (
            |_, view| {
                let mut bytes = *view.advertisements[1].kem_key.as_bytes();
                bytes[..32].fill(0);
                view.advertisements[1].kem_key = KemPublicKey::from(bytes);
            },
            "the key advertisement of `site-b` is not signed by its identity key",
        ),
    ];
    for (exchange, reason) in exchanges {
        // Site b itself would see that its own key is another.
        let tell = about("/roster", move |gateway, to, answer| {
            if to.as_str() != "site-b" {
                change::<RosterView>(answer, |view| exchange(gateway, view));
            }
        });
        let field = Field::of(3, tell);
        refusal(&field, 3, reason).await;
        assert!(field.gateway.lock().unwrap().manifests_seen.is_empty());
    }
    let own = about("/roster", |gateway, to, answer| {
        if to.as_str() == "site-b" {
            change::<RosterView>(answer, |view| view.advertisements[1] = invented(gateway, "site-b"));
        }
    });
    let field = Field::of(3, own);
    refusal(&field, 3, "does not hold the key that this site advertised: refused").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn ciphertexts_that_the_gateway_exchanged_are_refused() {
    type Exchange = fn(&mut Ciphertexts);
    let exchanges: [(Exchange, &str); 3] = [
        (
            |list| {
                let other = list.ciphertexts[0].ciphertext.clone();
                list.ciphertexts[1].ciphertext = other;
            },
            "is not signed by that site: it was replaced on the way",
        ),
        (|list| drop(list.ciphertexts.pop()), "is missing"),
        (|list| list.ciphertexts[1] = list.ciphertexts[0].clone(), "there are two ciphertexts from"),
    ];
    for (exchange, reason) in exchanges {
        let tell = about("/ciphertexts", move |_, to, answer| {
            // Only the last site of the roster is encapsulated to by two.
            if to.as_str() == "site-c" {
                change::<Ciphertexts>(answer, exchange);
            }
        });
        let field = Field::of(3, tell);
        refusal(&field, 3, reason).await;
        let gateway = field.gateway.lock().unwrap();
        assert!(gateway.manifests_seen.iter().all(|(site, _)| site.as_str() != "site-c"));
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_replayed_round_is_not_masked_for_again() {
    // Round 2 is announced with the context of round 1: the masks would be those of round 1.
    let field = Field::of(3, |gateway| {
        gateway.deceit = Some(Arc::new(|gateway, _, path, answer| {
            if path.ends_with("/rounds/2") {
                let mut replayed = gateway.view(1).unwrap();
                replayed.uploaded.clear();
                *answer = serde_json::to_value(&replayed).unwrap();
                answer["phase"] = serde_json::json!({"kind": "uploading"});
            }
        }));
    });
    refusal(&field, 3, "its round number is not the job's").await;
    assert_eq!(field.gateway.lock().unwrap().manifests_seen.len(), 3, "round 1 alone");
}
