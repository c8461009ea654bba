//! Three sites against a gateway in memory: whole rounds, kills, and a gateway that lies.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::panic, reason = "a test may panic")]

mod evaluator;
mod field;
mod hostile;
mod lies;
mod noise;
#[path = "../support/mod.rs"]
mod support;

use std::collections::BTreeSet;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use field::{Field, expected_sum};
use konclave_site::client::MessageClass;
use konclave_site::keystore::{Decision, Disk, JobStore, Journal};
use tokio::task::JoinHandle;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn rounds_open_to_the_sum_of_the_known_vectors() {
    let field = Field::new();
    let sites: Vec<_> = (0..3).map(|index| field.start(index)).collect();
    field.until("two opened rounds", |gateway| gateway.opened.len() == 2).await;
    let cap = u64::from(field.gateway.lock().unwrap().policy.weight_cap);
    for (coordinates, weight) in &field.gateway.lock().unwrap().opened {
        assert_eq!(*weight, 3 * cap);
        for (found, wanted) in coordinates.iter().zip(expected_sum(3)) {
            // 0.2 is no binary fraction: stochastic rounding may move each site's value by one.
            assert!((found - wanted).abs() <= 3, "{coordinates:?}");
        }
    }
    field.until("all verdicts", |gateway| gateway.verdicts_seen.len() == 6).await;
    assert!(field.gateway.lock().unwrap().verdicts_seen.iter().all(|(_, _, accepted)| *accepted));
    field.until("all cosigned", |gateway| gateway.cosignatures.len() == 3).await;
    sites.iter().for_each(JoinHandle::abort);
    for index in 0..3 {
        let classes: BTreeSet<MessageClass> = field.egress(index).iter().map(|line| line.class).collect();
        let allowed = BTreeSet::from([
            MessageClass::Read,
            MessageClass::Consent,
            MessageClass::KeyAdvertisement,
            MessageClass::KemCiphertexts,
            MessageClass::Manifest,
            MessageClass::MaskedUpdate,
            MessageClass::Agreement,
            MessageClass::Unmasking,
            MessageClass::Tag,
            MessageClass::Verdict,
            MessageClass::Cosignature,
        ]);
        assert_eq!(classes, allowed);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_site_that_is_killed_again_and_again_sends_one_manifest_a_round() {
    let field = Field::with(|gateway| {
        gateway.rounds_wanted = 3;
        gateway.request.rounds = 3;
    });
    let others: Vec<_> = (1..3).map(|index| field.start(index)).collect();
    let mut victim = field.start(0);
    for pause in [40, 70, 110, 160, 230, 300, 90, 50, 130, 180] {
        tokio::time::sleep(Duration::from_millis(pause)).await;
        victim.abort();
        let _ = victim.await;
        victim = field.restart(0).await;
    }
    field.until("three opened rounds", |gateway| gateway.opened.len() == 3).await;
    let gateway = field.gateway.lock().unwrap();
    let mut by_round = std::collections::BTreeMap::new();
    for (site, manifest) in gateway.manifests_seen.iter().filter(|(site, _)| site.as_str() == "site-a") {
        let header = &manifest.signed.header;
        let first = by_round.entry((site.clone(), header.context)).or_insert(manifest);
        assert_eq!(*first, manifest, "two different manifests in one round");
    }
    assert_eq!(by_round.len(), 3);
    drop(gateway);
    victim.abort();
    others.iter().for_each(JoinHandle::abort);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_site_restored_from_an_old_copy_does_not_mask_again() {
    let field = Field::new();
    field.gateway.lock().unwrap().hold_uploads = true;
    let sites: Vec<_> = (0..3).map(|index| field.start(index)).collect();
    field.until("all uploads", |gateway| gateway.uploaded() == 3).await;
    for site in sites {
        site.abort();
        let _ = site.await;
    }
    tokio::time::sleep(Duration::from_millis(200)).await;
    // Site a loses the round's state, site b the journal with it, site c nothing.
    let rounds = format!("state/jobs/{}/rounds", field.job());
    for (index, paths) in [(0, vec![rounds.as_str()]), (1, vec![&rounds, "journal"])] {
        for path in paths {
            std::fs::remove_dir_all(field.folders[index].join(path)).unwrap();
        }
    }
    let before = field.gateway.lock().unwrap().manifests_seen.len();
    let mut sites = Vec::new();
    for index in 0..3 {
        sites.push(field.restart(index).await);
    }
    field.until("site c again", |gateway| gateway.manifests_seen.len() > before).await;
    tokio::time::sleep(Duration::from_millis(700)).await;
    let mut seen = field.gateway.lock().unwrap().manifests_seen.clone();
    let later = seen.split_off(before);
    let first = seen.into_iter().find(|(site, _)| site.as_str() == "site-c").unwrap();
    assert!(later.iter().all(|again| *again == first), "the one that lost nothing sends the same again");
    field.refused("this site already masked in round 1").await;
    field.refused("the gateway has an upload of this site in round 1").await;
    sites.iter().for_each(JoinHandle::abort);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_site_without_labels_signs_a_refusal() {
    let field = Field::new();
    let site = field.start_with(0, Vec::new());
    field.until("an answer", |gateway| gateway.consents.len() == 1).await;
    let envelope = field.gateway.lock().unwrap().consents.values().next().unwrap().clone();
    let text = String::from_utf8(envelope.unverified_payload().unwrap()).unwrap();
    assert!(text.contains("\"decision\":\"refuse\"") && text.contains("\"rule\":\"tasks\""), "{text}");
    site.abort();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_site_that_uploaded_but_was_never_asked_to_sign_still_answers() {
    let field = Field::of(4, |gateway| {
        gateway.rounds_wanted = 1;
        gateway.unasked = BTreeSet::from(["site-d".parse().unwrap()]);
    });
    let sites: Vec<_> = (0..4).map(|index| field.start(index)).collect();
    field.until("an opened round", |gateway| gateway.opened.len() == 1).await;
    sites.iter().for_each(JoinHandle::abort);
    let gateway = field.gateway.lock().unwrap();
    assert!(gateway.answers_seen.iter().any(|(_, site)| site.as_str() == "site-d"));
    drop(gateway);
    // What it agreed to is durable, and its signature never left it.
    let journal = Journal::peek(&field.folders[3].join("journal").join(field.job().as_str())).unwrap();
    assert!(journal.decided(Decision::Agreed, 1).is_some());
    assert!(field.egress(3).iter().all(|line| line.class != MessageClass::Agreement));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_keys_of_a_round_are_gone_once_its_update_is_masked() {
    let field = Field::with(|gateway| gateway.hold_uploads = true);
    let sites: Vec<_> = (0..3).map(|index| field.start(index)).collect();
    field.until("all uploads", |gateway| gateway.uploaded() == 3).await;
    for site in sites {
        site.abort();
        let _ = site.await;
    }
    tokio::time::sleep(Duration::from_millis(200)).await;
    for folder in &field.folders {
        let store = JobStore::open(Disk::default(), folder, &field.job()).unwrap();
        assert_eq!(store.chains().unwrap().unwrap().round().get(), 2);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_site_restored_from_an_old_copy_does_not_sign_again() {
    let field = Field::of(4, |gateway| gateway.hold_uploads = true);
    let sites: Vec<_> = (0..4).map(|index| field.start(index)).collect();
    field.until("all uploads", |gateway| gateway.uploaded() == 4).await;
    // The copy has all that a signature takes.
    let round = field.folders[0].join(format!("state/jobs/{}/rounds/1", field.job()));
    let copy = field.folders[0].join("copy");
    copy_files(&round, &copy);
    {
        let mut gateway = field.gateway.lock().unwrap();
        (gateway.hold_uploads, gateway.hold_agreement) = (false, true);
    }
    field.until("all signatures", |gateway| gateway.signed() == 4).await;
    for site in sites {
        site.abort();
        let _ = site.await;
    }
    tokio::time::sleep(Duration::from_millis(200)).await;
    std::fs::remove_dir_all(&round).unwrap();
    std::fs::rename(&copy, &round).unwrap();
    std::fs::remove_dir_all(field.folders[0].join("journal")).unwrap();
    // And the gateway shows it another set, one that it would have signed then.
    field.gateway.lock().unwrap().deceit = Some(Arc::new(|_, _, path, proposal| {
        if path.ends_with("/agreement") {
            let _ = ["manifests", "agreed"].map(|list| proposal[list].as_array_mut().unwrap().pop());
        }
    }));
    let site = field.restart(0).await;
    field.refused("the gateway has an agreement of this site in round 1").await;
    site.abort();
    let gateway = field.gateway.lock().unwrap();
    let own = gateway.signatures_seen.iter().filter(|signature| signature.site.as_str() == "site-a");
    assert_eq!(own.map(|signature| signature.agreed_digest).collect::<BTreeSet<_>>().len(), 1);
}

/// Copies the files of a folder.
fn copy_files(from: &Path, to: &Path) {
    std::fs::create_dir(to).unwrap();
    for entry in std::fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        std::fs::copy(entry.path(), to.join(entry.file_name())).unwrap();
    }
}
