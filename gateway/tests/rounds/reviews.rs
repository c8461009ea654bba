//! Reviews: only an auditor's own signed word about this very ledger is recorded.

use axum::http::{Method, StatusCode};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use konclave_gateway::core::{Caller, NewClient};
use konclave_ledger::dsse::Envelope;
use konclave_ledger::records::ReviewResult;
use konclave_ledger::statements::{self, ReviewStatement};
use konclave_ledger::{Hash, Leaf, SigningKey};
use konclave_openapi::ledger::{EntryView, LedgerExport, LedgerStatus};
use konclave_openapi::page::Page;
use konclave_openapi::reviews::Review;
use konclave_policies::authorization::Role;

use crate::world::{START, World, auditor, council, developer, member, operator, site};

const PATH: &str = "/v1/ledger/reviews";
const SEED: [u8; 32] = [44; 32];

/// A world in which the auditor's key is known.
async fn registered() -> World {
    let world = World::new(5).await;
    register(&world, None).await;
    world
}

/// Makes the auditor's key known, and with it a commitment to who answers for the auditor.
pub async fn register(world: &World, contact: Option<Hash>) {
    let mut der = hex::decode("302a300506032b6570032100").unwrap();
    der.extend(SigningKey::from_seed(&SEED).public().0);
    let pem = format!("-----BEGIN PUBLIC KEY-----\n{}\n-----END PUBLIC KEY-----\n", STANDARD.encode(der));
    let client = NewClient {
        client: "auditor".to_owned(),
        organisation: "Acme".to_owned(),
        roles: vec![Role::Auditor],
        public_key: pem,
        contact,
        certificate_bound: false,
    };
    world.app().register_client(&Caller::gateway("test"), client).await.unwrap();
}

pub fn review(world: &World, size: u64) -> ReviewStatement {
    ReviewStatement {
        reviewer: "auditor".to_owned(),
        origin: "konclave.example/test".to_owned(),
        from: 0,
        size,
        root: world.app().ledger().ledger().root_at(size).unwrap(),
        result: ReviewResult::Sound,
        entries_checked: size,
        statements_checked: 0,
        witnesses: Vec::new(),
        findings: Vec::new(),
        remarks: String::new(),
        made_at: START,
    }
}

pub fn signed(review: &ReviewStatement) -> Envelope {
    statements::sign(&SEED, review).unwrap()
}

#[tokio::test]
async fn a_review_is_recorded_and_shown() {
    let mut world = registered().await;
    let stated = review(&world, 5);
    let first: Review = world.post(&auditor(), PATH, &signed(&stated)).await;
    assert_eq!((first.size, first.root, first.result), (5, stated.root, ReviewResult::Sound));
    let again: Review = world.post(&auditor(), PATH, &signed(&stated)).await;
    assert_eq!(again, first, "the same statement is recorded once");
    let found = ReviewStatement {
        from: 5,
        result: ReviewResult::Findings,
        findings: vec!["entry 6 has no statement".to_owned()],
        ..review(&world, 8)
    };
    let second: Review = world.post(&auditor(), PATH, &signed(&found)).await;

    world.restart().await;
    let list: Page<Review> = world.get(&member(&site(1)), PATH).await;
    assert_eq!(list.items, [first.clone(), second.clone()]);
    let page: Page<Review> = world.get(&developer(), &format!("{PATH}?limit=1")).await;
    assert_eq!(page.items, std::slice::from_ref(&first));
    let rest: Page<Review> =
        world.get(&developer(), &format!("{PATH}?limit=1&cursor={}", page.next_cursor.unwrap())).await;
    assert!(rest.items == [second.clone()] && rest.next_cursor.is_none());
    let status: LedgerStatus = world.get(&auditor(), "/v1/ledger/status").await;
    assert_eq!(status.last_review, Some(second.clone()));

    // The signed statement is kept, named by the entry, and part of every export.
    let file = format!("statements/{}.json", second.statement);
    let kept: Envelope = world.get(&auditor(), &format!("/{file}")).await;
    assert_eq!(
        statements::verify::<ReviewStatement>(&kept, &SigningKey::from_seed(&SEED).public()).unwrap(),
        found
    );
    let export: LedgerExport = world.post(&auditor(), "/v1/ledger/exports", &serde_json::json!({})).await;
    assert!(export.files.contains(&file));
    let entry: EntryView = world.get(&site_1(), &format!("/v1/ledger/entries/{}", second.entry)).await;
    let leaf = Leaf::parse(entry.leaf.as_bytes()).unwrap();
    assert_eq!(
        (leaf.actor.as_str(), leaf.role.as_str(), leaf.action.as_str()),
        ("auditor", "auditor", "review.recorded")
    );
    assert_eq!(
        (leaf.statement, leaf.old, leaf.new),
        (Some(second.statement), Some(first.statement), Some(second.statement))
    );
}

fn site_1() -> konclave_gateway::auth::Principal {
    member(&site(1))
}

#[tokio::test]
async fn a_review_that_is_not_what_it_says_is_refused() {
    let world = registered().await;
    let good = review(&world, 6);
    for principal in [operator(), council(), developer(), site_1()] {
        world.refuses(&principal, Method::POST, PATH, &signed(&good), 403).await;
    }
    let refuses = async |body: &Envelope, says: &str| {
        let said = world.refuses(&auditor(), Method::POST, PATH, body, 422).await;
        assert!(said.contains(says), "{said}");
    };
    // Not the registered key, another type, an altered payload, no signature at all.
    refuses(&statements::sign(&[45; 32], &good).unwrap(), "Ed25519 key").await;
    let payload = serde_json_bytes(&good);
    refuses(&konclave_ledger::dsse::sign(&SEED, "application/json", &payload), "expected").await;
    let altered =
        Envelope { payload: STANDARD.encode(serde_json_bytes(&review(&world, 5))), ..signed(&good) };
    refuses(&altered, "signature").await;
    refuses(&Envelope { signatures: Vec::new(), ..signed(&good) }, "signature").await;

    let changed = |change: &dyn Fn(&mut ReviewStatement)| {
        let mut stated = good.clone();
        change(&mut stated);
        signed(&stated)
    };
    refuses(&changed(&|stated| stated.reviewer = "somebody".to_owned()), "reviewer").await;
    refuses(&changed(&|stated| stated.origin = "elsewhere.example".to_owned()), "origin").await;
    refuses(&changed(&|stated| stated.root = Hash::of(b"another tree")), "fork").await;
    refuses(&changed(&|stated| stated.size = 7), "fork").await;
    refuses(&changed(&|stated| stated.size = 1000), "beyond the ledger").await;
    refuses(&changed(&|stated| stated.size = 0), "at least 1").await;
    refuses(&changed(&|stated| stated.from = 7), "from").await;
    refuses(&changed(&|stated| stated.entries_checked = 7), "entries_checked").await;
    refuses(&changed(&|stated| stated.findings = vec!["x".to_owned()]), "findings").await;
    refuses(&changed(&|stated| stated.result = ReviewResult::Findings), "findings").await;

    // No step back behind the reviewer's last one.
    let _: Review = world.post(&auditor(), PATH, &signed(&good)).await;
    refuses(&signed(&review(&world, 5)), "less than the 6").await;
    world.refuses(&auditor(), Method::POST, PATH, &serde_json::json!({"payload": ""}), 400).await;
}

fn serde_json_bytes(review: &ReviewStatement) -> Vec<u8> {
    serde_json::to_vec(review).unwrap()
}

#[tokio::test]
async fn a_reviewer_needs_a_key_that_the_ledger_knows() {
    let world = World::new(5).await;
    let stated = review(&world, 5);
    let said = world.refuses(&auditor(), Method::POST, PATH, &signed(&stated), 409).await;
    assert!(said.contains("does not know the client auditor"), "{said}");
    let client = NewClient {
        client: "auditor".to_owned(),
        organisation: "Acme".to_owned(),
        roles: vec![Role::Auditor],
        public_key:
            "-----BEGIN PUBLIC KEY-----\nMFkwEwYHKoZIzj0CAQYIKoZIzj0DAQcDQgAE\n-----END PUBLIC KEY-----"
                .to_owned(),
        contact: None,
        certificate_bound: false,
    };
    world.app().register_client(&Caller::gateway("test"), client).await.unwrap();
    let said = world.refuses(&auditor(), Method::POST, PATH, &signed(&stated), 422).await;
    assert!(said.contains("Ed25519"), "{said}");
}

#[tokio::test]
async fn a_review_is_recorded_once_under_a_key() {
    let world = registered().await;
    let (status, first) = world.post_once(&auditor(), PATH, "key-1", &signed(&review(&world, 5))).await;
    assert_eq!(status, StatusCode::CREATED);
    let (status, again) = world.post_once(&auditor(), PATH, "key-1", &signed(&review(&world, 5))).await;
    assert_eq!((status, again), (StatusCode::CREATED, first));
    let size = world.app().state().size;
    let (status, _) = world.post_once(&auditor(), PATH, "key-1", &signed(&review(&world, 6))).await;
    assert_eq!((status, world.app().state().size), (StatusCode::UNPROCESSABLE_ENTITY, size));
}
