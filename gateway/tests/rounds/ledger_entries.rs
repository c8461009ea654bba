//! Queries with proofs, receipts, the ledger's status, and what every entry says of the value before and after.

use axum::http::{Method, StatusCode};
use konclave_gateway::core::{Caller, NewClient};
use konclave_ledger::tlog_proof::TlogProof;
use konclave_ledger::witness::WitnessState;
use konclave_ledger::{
    Checkpoint, ConsistencyProof, InclusionProof, IndexState, Leaf, Timestamp, VerifierKey,
};
use konclave_openapi::deposits::Deposit;
use konclave_openapi::ledger::{CheckpointView, EntryPage, EntryView, LedgerStatus, NewCosignature, Receipt};
use konclave_policies::authorization::Role;
use konclave_policies::rounds::RoundPolicy;

use crate::ledger::deposit;
use crate::world::{START, Silent, World, auditor, council, member, operator, site, witness};

fn log_key(world: &World) -> VerifierKey {
    world.app().ledger().ledger().verifier_key()
}

/// Checks a page with nothing but the log's key; the size of its head.
fn verify(page: &EntryPage, key: &VerifierKey) -> u64 {
    let (head, _) = Checkpoint::verify(page.checkpoint.as_ref().unwrap().as_bytes(), key).unwrap();
    for entry in &page.items {
        let hashes = entry.proof.clone().unwrap();
        let proof = InclusionProof { index: entry.index, size: head.size, hashes };
        proof.verify(&konclave_ledger::tree::leaf_hash(entry.leaf.as_bytes()), &head.root).unwrap();
    }
    head.size
}

#[tokio::test]
async fn a_page_comes_with_a_checkpoint_and_a_proof_for_each_entry() {
    let mut world = World::new(5).await;
    let key = log_key(&world);
    let path = "/v1/ledger/entries?proofs=true&limit=3";
    let first: EntryPage = world.get(&auditor(), path).await;
    let size = verify(&first, &key);
    assert_eq!((first.items.len(), first.next_cursor.as_deref()), (3, Some("2")));
    // The next page stands by itself, over a restart and while entries come.
    world.request_job(1, vec![]).await;
    world.restart().await;
    let next: EntryPage = world.get(&auditor(), &format!("{path}&cursor=2")).await;
    assert!(verify(&next, &key) > size);
    assert_eq!(next.items[0].index, 3);
    // A member's page skips what is not for it, and proves the rest.
    let own: EntryPage =
        world.get(&member(&site(1)), "/v1/ledger/entries?proofs=true&action=site.enrolled").await;
    assert_eq!(own.items.len(), 6);
    verify(&own, &key);
    for path in ["/v1/ledger/entries", "/v1/ledger/entries?proofs=false"] {
        let plain: EntryPage = world.get(&auditor(), path).await;
        assert!(plain.checkpoint.is_none() && plain.items.iter().all(|entry| entry.proof.is_none()));
    }
    for bad in ["proofs=maybe", "cursor=x", "since=yesterday", "until=2026", "limit=0", "site=a&colour=red"] {
        world.refuses(&auditor(), Method::GET, &format!("/v1/ledger/entries?{bad}"), &(), 400).await;
    }
}

#[tokio::test]
async fn a_receipt_shows_an_entry_and_the_witnesses_behind_it() {
    let policy = format!("{}\n[witnesses]\nquorum = 2\npatience_seconds = 600\n", RoundPolicy::EMBEDDED);
    let world = World::with_policy(5, &policy).await;
    let key = log_key(&world);
    let registered: Deposit = world.post(&member(&site(1)), "/v1/deposits", &deposit(&world, 50)).await;
    let path = format!("/v1/ledger/entries/{}/receipt", registered.entry);
    let alone: Receipt = world.get(&member(&site(1)), &path).await;
    let proof: TlogProof = alone.receipt.parse().unwrap();
    proof.verify(alone.leaf.as_bytes(), &key).unwrap();
    assert_eq!((alone.quorum.required, alone.quorum.enrolled, alone.quorum.met), (2, 6, false));
    assert!(alone.quorum.witnesses.is_empty());

    let head: CheckpointView = world.get(&auditor(), "/v1/ledger/checkpoint").await;
    let from_nothing = ConsistencyProof { old_size: 0, new_size: head.size, hashes: Vec::new() };
    let state = WitnessState::new(key.name().clone()).advance(head.note.as_bytes(), &key, &from_nothing);
    let state = state.unwrap();
    let mut witnesses = Vec::new();
    for index in [2, 1] {
        let now = Timestamp::from_unix_seconds(START).unwrap();
        let line = state.cosign(&witness(&site(index)), now).line().to_string();
        let line = NewCosignature { size: head.size, line };
        let _: CheckpointView = world.post(&member(&site(index)), "/v1/ledger/cosignatures", &line).await;
        let receipt: Receipt = world.get(&auditor(), &path).await;
        witnesses.push(format!("konclave.example/site-{index}"));
        witnesses.sort();
        assert_eq!((&receipt.quorum.witnesses, receipt.quorum.met), (&witnesses, index == 1));
    }
    // The ledger goes on; the entry's receipt stays with the head that two witnesses know, a newer entry has none of them.
    let later: Deposit = world.post(&member(&site(1)), "/v1/deposits", &deposit(&world, 51)).await;
    let witnessed: Receipt = world.get(&auditor(), &path).await;
    assert!(witnessed.quorum.met && witnessed.receipt.contains(head.note.lines().nth(2).unwrap()));
    let unwitnessed: Receipt =
        world.get(&auditor(), &format!("/v1/ledger/entries/{}/receipt", later.entry)).await;
    assert!(unwitnessed.quorum.witnesses.is_empty() && !unwitnessed.quorum.met);
    let file = world.answer(&auditor(), "/witnessed", None).await;
    assert_eq!(file.headers()["cache-control"], "private, no-cache");
    let note = axum::body::to_bytes(file.into_body(), 1 << 20).await.unwrap();
    assert!(witnessed.receipt.as_bytes().ends_with(&note));

    let answer = world.answer(&auditor(), &path, Some(("accept", "text/plain"))).await;
    assert_eq!(answer.headers()["content-type"], "text/plain; charset=utf-8");
    assert_eq!(answer.headers()["vary"], "accept");
    let text = axum::body::to_bytes(answer.into_body(), 1 << 20).await.unwrap();
    assert_eq!(text, witnessed.receipt.as_bytes());

    // It shows the leaf, so it is for whom the entry is for.
    world.refuses(&member(&site(2)), Method::GET, &path, &(), 403).await;
    world.refuses(&auditor(), Method::GET, "/v1/ledger/entries/9999/receipt", &(), 404).await;
}

#[tokio::test]
async fn the_status_tells_of_witnesses_index_and_reviews() {
    let world = World::new(5).await;
    let status: LedgerStatus = world.get(&member(&site(1)), "/v1/ledger/status").await;
    assert_eq!((status.origin.as_str(), status.size), ("konclave.example/test", 8));
    assert!(status.writable && !status.checkpoint_lags && status.index == IndexState::Ready);
    assert_eq!((status.quorum.required, status.quorum.enrolled, status.quorum.witnessed), (0, 6, 0));
    assert!(status.last_review.is_none());
}

#[tokio::test]
async fn every_entry_has_the_value_after_it_and_a_change_the_one_before() {
    let mut world = World::new(5).await;
    let job = world.request_job(1, vec![1]).await;
    world.play(&job, &Silent::default()).await;
    world.evaluate().await;
    world.coordinate(&job).await;
    let client = |roles: Vec<Role>| NewClient {
        client: "acme".to_owned(),
        organisation: "Acme".to_owned(),
        roles,
        public_key: "a key".to_owned(),
        contact: None,
        certificate_bound: false,
    };
    let caller = Caller::gateway("test");
    for roles in [vec![Role::ModelDeveloper], vec![Role::ModelDeveloper], vec![Role::Auditor]] {
        world.app().register_client(&caller, client(roles)).await.unwrap();
    }
    let page: EntryPage = world.get(&auditor(), "/v1/ledger/entries?limit=500").await;
    let leaves: Vec<Leaf> =
        page.items.iter().map(|entry| Leaf::parse(entry.leaf.as_bytes()).unwrap()).collect();
    assert!(leaves.len() > 30);
    for leaf in &leaves {
        assert!(leaf.new.is_some() && !leaf.reason.is_empty(), "{leaf:?}");
    }
    let registered: Vec<&Leaf> = leaves.iter().filter(|leaf| leaf.action == "client.registered").collect();
    assert_eq!(registered.len(), 2, "the same again is no entry");
    assert_eq!((registered[0].old, registered[1].old), (None, registered[0].new));
    assert_ne!(registered[0].new, registered[1].new);
    let set = leaves.iter().find(|leaf| leaf.action == "policy.set").unwrap();
    assert_eq!(set.new.unwrap().to_string(), set.record.text("policy").unwrap());
}

#[tokio::test]
async fn who_may_not_read_the_ledger_gets_nothing() {
    let world = World::new(5).await;
    let nobody = konclave_gateway::auth::Principal { roles: Vec::new(), ..auditor() };
    for path in [
        "/v1/ledger/entries",
        "/v1/ledger/entries/0",
        "/v1/ledger/entries/0/receipt",
        "/v1/ledger/status",
        "/v1/ledger/schemas",
        "/v1/ledger/schemas/policy.set",
        "/v1/ledger/corrections",
        "/v1/ledger/reviews",
        "/checkpoint",
        "/witnessed",
        "/tile/0/000.p/1",
        "/tile/entries/000.p/1",
        "/v1/ledger/export.ndjson",
    ] {
        world.refuses(&nobody, Method::GET, path, &(), 403).await;
    }
    for reader in [operator(), council(), auditor()] {
        let entry: EntryView = world.get(&reader, "/v1/ledger/entries/0").await;
        assert!(entry.corrected_by.is_empty());
    }
    let answer = world.answer(&member(&site(1)), "/v1/ledger/schemas", None).await;
    assert_eq!(answer.status(), StatusCode::OK);
}
