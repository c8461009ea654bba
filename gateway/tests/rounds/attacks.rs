//! Messages that must be refused, with the state as it was before.

use axum::http::{Method, StatusCode};
use konclave_crypto::messages::{AgreementProposal, Manifest};
use konclave_crypto::setup::{KeyAdvertisement, advertise};
use konclave_crypto::{Digest, MemberRole, RoundNumber};
use konclave_ledger::Hash;
use konclave_ledger::statements::{self, ConsentDecision, ConsentStatement};
use konclave_openapi::problem::Problem;
use konclave_openapi::work::WorkItem;
use rand_chacha::ChaCha20Rng;
use rand_chacha::rand_core::SeedableRng;

use crate::world::{START, Silent, World, developer, member, new_job, only, site};

fn everyone(world: &World) -> std::collections::BTreeSet<konclave_crypto::SiteId> {
    world.sites.keys().cloned().collect()
}

#[tokio::test]
async fn consent_is_the_sites_own_and_given_once() {
    let world = World::new(5).await;
    let job = world.request_job(1, vec![]).await;
    let statement = |site: &str, decision| ConsentStatement {
        job: job.to_string(),
        site: site.to_owned(),
        decision,
        rule: "purpose".to_owned(),
        detail: String::new(),
        policy: Hash::of(b"site policy"),
        made_at: 0,
    };
    let key = |index: usize| world.sites[&site(index)].key.seed();
    let path = format!("/v1/jobs/{job}/consents");
    for (signer, stated) in [(2, "site-1"), (1, "site-2")] {
        let envelope = statements::sign(key(signer), &statement(stated, ConsentDecision::Accept)).unwrap();
        let body = serde_json::to_vec(&envelope).unwrap();
        let (status, answer) = world.send(&member(&site(1)), Method::POST, &path, body, true).await;
        assert_eq!(status, StatusCode::UNPROCESSABLE_ENTITY, "{}", String::from_utf8_lossy(&answer));
    }
    for (decision, expected) in [
        (ConsentDecision::Refuse, StatusCode::OK),
        (ConsentDecision::Refuse, StatusCode::OK),
        (ConsentDecision::Accept, StatusCode::CONFLICT),
    ] {
        let envelope = statements::sign(key(1), &statement("site-1", decision)).unwrap();
        let body = serde_json::to_vec(&envelope).unwrap();
        let (status, _) = world.send(&member(&site(1)), Method::POST, &path, body, true).await;
        assert_eq!(status, expected);
    }
    let consents = world.job(&job).await.consents;
    assert_eq!(
        (consents.len(), consents[0].accepted, consents[0].rule.as_deref()),
        (1, false, Some("purpose"))
    );
}

#[tokio::test]
async fn consent_after_the_deadline_is_refused() {
    let world = World::new(5).await;
    let job = world.request_job(1, vec![]).await;
    // The coordinator has not looked yet: the job is still in phase consent.
    world.clock.advance_seconds(259_201);
    let statement = ConsentStatement {
        job: job.to_string(),
        site: "site-1".to_owned(),
        decision: ConsentDecision::Accept,
        rule: "auto".to_owned(),
        detail: String::new(),
        policy: Hash::of(b"site policy"),
        made_at: 0,
    };
    let envelope = statements::sign(world.sites[&site(1)].key.seed(), &statement).unwrap();
    let body = serde_json::to_vec(&envelope).unwrap();
    let path = format!("/v1/jobs/{job}/consents");
    let (status, answer) = world.send(&member(&site(1)), Method::POST, &path, body, true).await;
    let problem: Problem = serde_json::from_slice(&answer).unwrap();
    assert_eq!((status, problem.kind.as_str()), (StatusCode::CONFLICT, "/problems/wrong-round"));
    assert!(world.job(&job).await.consents.is_empty());
}

#[tokio::test]
async fn keys_under_a_certificate_that_is_not_the_enrolled_one_are_refused() {
    let mut world = World::new(5).await;
    let job = world.request_job(1, vec![]).await;
    for index in 1..=5 {
        world.work(&site(index), WorkItem::Consent { job: job.clone() }, &Silent::default()).await;
    }
    world.coordinate(&job).await;
    // The consortium root issued it, for the same site and key: but it is not in the ledger.
    let own = &world.sites[&site(1)];
    let other = world.certificate(&site(1), MemberRole::Site, &own.key, START * 2 - 1).certificate;
    let keys = advertise(&job, &own.key, &other, &mut ChaCha20Rng::from_seed([78; 32])).1;
    let problem = world.refused(&member(&site(1)), &format!("/v1/jobs/{job}/keys/{}", site(1)), &keys).await;
    assert_eq!(problem.kind, "/problems/rejected");
    assert!(problem.detail.contains("is not the enrolled one"), "{}", problem.detail);
}

#[tokio::test]
async fn keys_are_the_sites_own_and_sent_once_in_their_phase() {
    let mut world = World::new(5).await;
    let job = world.request_job(1, vec![]).await;
    let mut rng = ChaCha20Rng::from_seed([77; 32]);
    let keys_of = |world: &World, index: usize, rng: &mut ChaCha20Rng| -> KeyAdvertisement {
        let site = &world.sites[&site(index)];
        advertise(&job, &site.key, &site.certificate, rng).1
    };
    let path = |index: usize| format!("/v1/jobs/{job}/keys/{}", site(index));
    let early = keys_of(&world, 1, &mut rng);
    let problem = world.refused(&member(&site(1)), &path(1), &early).await;
    assert_eq!((problem.kind.as_str(), problem.status), ("/problems/wrong-round", 409), "{}", problem.detail);
    assert!(problem.detail.contains("is in phase consent"), "{}", problem.detail);

    for index in 1..=5 {
        world.work(&site(index), WorkItem::Consent { job: job.clone() }, &Silent::default()).await;
    }
    world.coordinate(&job).await;
    let foreign = keys_of(&world, 2, &mut rng);
    assert_eq!(world.refused(&member(&site(1)), &path(1), &foreign).await.kind, "/problems/rejected");
    assert_eq!(world.refused(&member(&site(2)), &path(1), &foreign).await.status, 403);
    let own = keys_of(&world, 1, &mut rng);
    world.put(&member(&site(1)), &path(1), &own).await;
    world.put(&member(&site(1)), &path(1), &own).await;
    let other = keys_of(&world, 1, &mut rng);
    assert_eq!(world.refused(&member(&site(1)), &path(1), &other).await.kind, "/problems/already-sent");
}

#[tokio::test]
async fn messages_of_another_phase_or_round_name_where_the_round_stands() {
    let mut world = World::new(5).await;
    let job = world.request_job(1, vec![]).await;
    world.play(&job, &Silent { agree: everyone(&world), ..Silent::default() }).await;
    // All have uploaded: the round is in phase agreeing.
    let manifests = world.folder.path().join(format!("rounds/{job}/1/manifests"));
    let stored = std::fs::read(manifests.join("site-1.json")).unwrap();
    let manifest: Manifest = serde_json::from_slice(&stored).unwrap();
    let at = |round: u32| format!("/v1/jobs/{job}/rounds/{round}/manifests/{}", site(1));
    world.put(&member(&site(1)), &at(1), &manifest).await;
    let mut other = manifest.clone();
    other.signed.header.body_bytes += 1;
    assert_eq!(world.refused(&member(&site(1)), &at(1), &other).await.kind, "/problems/already-sent");
    let problem = world.refused(&member(&site(1)), &at(2), &manifest).await;
    assert_eq!(problem.kind, "/problems/wrong-round");
    assert!(problem.detail.contains("has not begun; under way is round 1"), "{}", problem.detail);
    let unmasking = format!("/v1/jobs/{job}/rounds/1/unmasking/{}", site(1));
    let (status, answer) = world.send(&member(&site(1)), Method::GET, &unmasking, Vec::new(), true).await;
    let problem: Problem = serde_json::from_slice(&answer).unwrap();
    assert_eq!(status, StatusCode::CONFLICT);
    assert!(problem.detail.contains("is in phase agreeing"), "{}", problem.detail);
}

#[tokio::test]
async fn a_forged_manifest_and_a_wrong_body_are_refused() {
    let mut world = World::new(5).await;
    let job = world.request_job(1, vec![]).await;
    world.play(&job, &Silent { upload: only(5), ..Silent::default() }).await;
    let manifests = world.folder.path().join(format!("rounds/{job}/1/manifests"));
    let stored = std::fs::read(manifests.join("site-1.json")).unwrap();
    let manifest: Manifest = serde_json::from_slice(&stored).unwrap();
    let path = format!("/v1/jobs/{job}/rounds/1/manifests/{}", site(5));
    // Another site's manifest under one's own name, and one whose signature does not hold.
    assert_eq!(world.refused(&member(&site(5)), &path, &manifest).await.kind, "/problems/rejected");
    let mut claimed = manifest.clone();
    claimed.signed.header.site = site(5);
    assert_eq!(world.refused(&member(&site(5)), &path, &claimed).await.kind, "/problems/rejected");
    // A field too much is named.
    let mut value = serde_json::to_value(&manifest).unwrap();
    value["signed"]["header"]["colour"] = "red".into();
    let problem = world.refused(&member(&site(5)), &path, &value).await;
    assert_eq!(problem.kind, "/problems/invalid-request");
    assert!(problem.errors[0].at.starts_with("/signed/header"), "{:?}", problem.errors);
    // A body without a manifest.
    let upload = format!("/v1/jobs/{job}/rounds/1/uploads/{}", site(5));
    let (status, _) = world.send(&member(&site(5)), Method::PUT, &upload, vec![0; 10], false).await;
    assert_eq!(status, StatusCode::CONFLICT);
}

#[tokio::test]
async fn a_signature_under_another_set_is_refused() {
    let mut world = World::new(5).await;
    let job = world.request_job(1, vec![]).await;
    world.play(&job, &Silent { agree: everyone(&world), ..Silent::default() }).await;
    let proposal: AgreementProposal =
        world.get(&member(&site(1)), &format!("/v1/jobs/{job}/rounds/1/agreement")).await;
    // A signature of site 2 in the name of site 1's seat, and one over another set.
    world
        .work(&site(2), WorkItem::Agree { job: job.clone(), round: RoundNumber::FIRST }, &Silent::default())
        .await;
    let stored = world.folder.path().join(format!("rounds/{job}/1/agreements/site-2.json"));
    let mut signature: konclave_crypto::messages::AgreementSignature =
        serde_json::from_slice(&std::fs::read(stored).unwrap()).unwrap();
    let path = format!("/v1/jobs/{job}/rounds/1/agreement/{}", site(1));
    assert_eq!(world.refused(&member(&site(1)), &path, &signature).await.kind, "/problems/rejected");
    assert_eq!(signature.agreed_digest, proposal.agreed_digest());
    signature.site = site(1);
    signature.agreed_digest = Digest::of(b"another set");
    assert_eq!(world.refused(&member(&site(1)), &path, &signature).await.kind, "/problems/rejected");
}

#[tokio::test]
async fn a_job_that_breaks_a_rule_is_refused_naming_the_field() {
    let world = World::new(5).await;
    let job = world.request_job(1, vec![]).await;
    let model = world.job(&job).await.request.model;
    let good = new_job(model, 3, vec![2]);
    let mut cases = Vec::new();
    let mut case = |at: &'static str, change: fn(&mut konclave_openapi::jobs::NewJob)| {
        let mut bad = good.clone();
        change(&mut bad);
        cases.push((at, bad));
    };
    case("/purpose", |job| job.purpose = "marketing".to_owned());
    case("/model", |job| job.model = Digest::of(b"unknown"));
    case("/tasks/0/output", |job| job.tasks[0].output = 2);
    case("/training/seed", |job| job.training.seed = u64::MAX);
    case("/scoring_rounds", |job| job.scoring_rounds = vec![4]);
    case("/budget_micro", |job| job.budget_micro = "1e6".to_owned());
    case("/invited/0", |job| job.invited = vec!["benchmark".parse().unwrap()]);
    case("/invited", |job| job.invited = vec![site(1), site(2)]);
    let before = world.app().state().clone();
    for (at, bad) in cases {
        let body = serde_json::to_vec(&bad).unwrap();
        let (status, answer) = world.send(&developer(), Method::POST, "/v1/jobs", body, true).await;
        let problem: Problem = serde_json::from_slice(&answer).unwrap();
        assert_eq!((status.as_u16(), problem.errors[0].at.as_str()), (422, at), "{}", problem.detail);
    }
    assert_eq!(*world.app().state(), before);
}
