//! The stream of entries with proofs: one head, bounded, recorded before the first byte, cut short visibly.

use std::time::{Duration, Instant};

use axum::body::BodyDataStream;
use axum::http::{Method, StatusCode};
use axum::response::Response;
use futures_util::StreamExt;
use konclave_gateway::auth::Principal;
use konclave_gateway::core::MAX_EXPORTS;
use konclave_ledger::records::Record;
use konclave_ledger::{Checkpoint, Hash, InclusionProof, Leaf, VerifierKey, tree};
use konclave_openapi::ledger::{EntryPage, ExportEnd, ExportHead, ExportedEntry};
use konclave_openapi::problem::Problem;

use crate::world::{World, auditor, auditor_named, council, developer, member, operator, site};

/// Checks an export with nothing but the log's key: every leaf, every proof, the count. The entries and the head's size.
fn verify(text: &str, key: &VerifierKey) -> (Vec<ExportedEntry>, u64) {
    let mut lines = text.lines();
    let head: ExportHead = serde_json::from_str(lines.next().unwrap()).unwrap();
    let (checkpoint, _) = Checkpoint::verify(head.checkpoint.as_bytes(), key).unwrap();
    assert_eq!(checkpoint.origin.as_str(), head.origin);
    let end: ExportEnd = serde_json::from_str(lines.next_back().expect("the export was cut short")).unwrap();
    let entries: Vec<ExportedEntry> = lines.map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!(end.end, entries.len() as u64);
    for entry in &entries {
        let leaf = Leaf::parse(entry.leaf.as_bytes()).unwrap();
        assert_eq!(leaf.seq, entry.index);
        let proof = InclusionProof { index: entry.index, size: checkpoint.size, hashes: entry.proof.clone() };
        proof.verify(&tree::leaf_hash(entry.leaf.as_bytes()), &checkpoint.root).unwrap();
    }
    for pair in entries.windows(2).filter(|pair| pair[0].index + 1 == pair[1].index) {
        let next = Leaf::parse(pair[1].leaf.as_bytes()).unwrap();
        assert_eq!(next.prev, Hash::of(pair[0].leaf.as_bytes()));
    }
    (entries, checkpoint.size)
}

async fn whole(answer: Response) -> String {
    assert_eq!(answer.status(), StatusCode::OK);
    assert_eq!(answer.headers()["content-type"], "application/x-ndjson");
    assert_eq!(answer.headers()["cache-control"], "private, no-store");
    let bytes = axum::body::to_bytes(answer.into_body(), usize::MAX).await.unwrap();
    String::from_utf8(bytes.to_vec()).unwrap()
}

async fn export(world: &World, principal: &Principal, query: &str) -> Response {
    world.answer(principal, &format!("/v1/ledger/export.ndjson{query}"), None).await
}

/// The records of the exports as streams, oldest first.
async fn recorded(world: &World) -> Vec<(String, u64, Option<String>)> {
    let (mut items, mut cursor) = (Vec::new(), String::new());
    loop {
        let path = format!("/v1/ledger/entries?action=ledger.exported&limit=500{cursor}");
        let page: EntryPage = world.get(&auditor(), &path).await;
        items.extend(page.items);
        let Some(next) = page.next_cursor else { break };
        cursor = format!("&cursor={next}");
    }
    let records = items.iter().map(|entry| {
        let leaf = Leaf::parse(entry.leaf.as_bytes()).unwrap();
        Record::parse(&leaf.action, &leaf.record).unwrap()
    });
    let streams = records.filter_map(|record| {
        let Record::LedgerExported { by, size, format, filter } = record else { return None };
        (format.as_deref() == Some("ndjson")).then_some((by, size, filter))
    });
    streams.collect()
}

#[tokio::test]
async fn an_export_read_slowly_is_the_ledger_at_one_moment() {
    let world = World::new(5).await;
    let key = world.app().ledger().ledger().verifier_key();
    for _ in 0..3 {
        world.grow(200).await;
    }
    let size = world.app().state().size;
    let answer = export(&world, &auditor(), "").await;
    // Recorded before anybody could read a byte of it.
    assert_eq!(recorded(&world).await, [("auditor".to_owned(), size, None)]);
    let mut body = answer.into_body().into_data_stream();
    let mut text = Vec::new();
    while let Some(part) = body.next().await {
        let part = part.unwrap();
        // However long the ledger, only a little of it is in memory.
        assert!(part.len() <= 16 << 10, "{}", part.len());
        text.extend_from_slice(&part);
        // The ledger goes on meanwhile; nobody waits for a slow reader.
        world.grow(10).await;
        tokio::time::sleep(std::time::Duration::from_millis(2)).await;
    }
    let text = String::from_utf8(text).unwrap();
    let (entries, head) = verify(&text, &key);
    assert_eq!((entries.len() as u64, head), (size, size));
    assert!(entries.iter().zip(0..).all(|(entry, index)| entry.index == index));
    // What is cut off has no end.
    let cut: String = text.lines().take(100).collect::<Vec<_>>().join("\n");
    assert!(serde_json::from_str::<ExportEnd>(cut.lines().last().unwrap()).is_err());
}

#[tokio::test]
async fn an_export_holds_what_was_asked_for_and_its_record_says_so() {
    let world = World::new(5).await;
    let key = world.app().ledger().ledger().verifier_key();
    world.grow(300).await;
    world.request_job(1, vec![]).await;
    let (enrolled, _) = verify(&whole(export(&world, &auditor(), "?action=site.enrolled").await).await, &key);
    assert_eq!(enrolled.len(), 6);
    let (two, _) = verify(
        &whole(export(&world, &council(), "?site=site-2&since=2020-01-01T00%3A00%3A00Z").await).await,
        &key,
    );
    assert_eq!(two.len(), 1);
    let text = whole(export(&world, &operator(), "?object=nothing").await).await;
    assert!(verify(&text, &key).0.is_empty());
    let head: ExportHead = serde_json::from_str(text.lines().next().unwrap()).unwrap();
    assert_eq!(head.filter.object.as_deref(), Some("nothing"));
    let by: Vec<_> =
        recorded(&world).await.into_iter().map(|(by, _, filter)| (by, filter.unwrap())).collect();
    let expected = [
        ("auditor", "action=site.enrolled"),
        ("council", "site=site-2&since=2020-01-01T00%3A00%3A00Z"),
        ("operator", "object=nothing"),
    ];
    assert_eq!(by, expected.map(|(by, filter)| (by.to_owned(), filter.to_owned())));
}

#[tokio::test]
async fn an_export_is_not_for_everyone_and_nothing_refused_is_recorded() {
    let world = World::new(5).await;
    let path = "/v1/ledger/export.ndjson";
    for principal in [developer(), member(&site(1))] {
        world.refuses(&principal, Method::GET, path, &(), 403).await;
    }
    for bad in ["since=yesterday", "proofs=true", "cursor=3", "round=one"] {
        world.refuses(&auditor(), Method::GET, &format!("{path}?{bad}"), &(), 400).await;
    }
    // What cannot be recorded is not given.
    let long = format!("{path}?object={}", "x".repeat(20_000));
    world.refuses(&auditor(), Method::GET, &long, &(), 422).await;
}

#[tokio::test]
async fn a_reader_that_goes_away_makes_room_for_the_next() {
    let world = World::new(5).await;
    world.grow(200).await;
    let mut held = Vec::new();
    for number in 0..MAX_EXPORTS {
        held.push(begun(&world, &auditor_named(&format!("auditor-{number}"))).await);
    }
    let before = world.app().state().exports.len();
    is_refused(&world, &council()).await;
    assert_eq!(world.app().state().exports.len(), before);
    held.pop();
    let key = world.app().ledger().ledger().verifier_key();
    verify(&whole(export(&world, &council(), "").await).await, &key);
}

/// An export of which a principal has taken the first part.
async fn begun(world: &World, principal: &Principal) -> BodyDataStream {
    let answer = export(world, principal, "").await;
    assert_eq!(answer.status(), StatusCode::OK);
    let mut body = answer.into_body().into_data_stream();
    body.next().await.unwrap().unwrap();
    body
}

async fn is_refused(world: &World, principal: &Principal) {
    let refused = export(world, principal, "").await;
    assert_eq!(refused.status(), StatusCode::TOO_MANY_REQUESTS);
    assert_eq!(refused.headers()["retry-after"], "10");
    let body = axum::body::to_bytes(refused.into_body(), usize::MAX).await.unwrap();
    let problem: Problem = serde_json::from_slice(&body).unwrap();
    assert_eq!(problem.kind.as_str(), "/problems/too-many-requests");
}

#[tokio::test]
async fn one_client_has_one_export_under_way_and_the_others_have_theirs() {
    let world = World::new(5).await;
    world.grow(200).await;
    let held = begun(&world, &auditor()).await;
    for _ in 0..MAX_EXPORTS {
        is_refused(&world, &auditor()).await;
    }
    let key = world.app().ledger().ledger().verifier_key();
    verify(&whole(export(&world, &council(), "").await).await, &key);
    // Its own one is over when it was read to its end, or given up.
    drop(held);
    for _ in 0..2 {
        verify(&whole(export(&world, &auditor(), "").await).await, &key);
    }
}

#[tokio::test]
async fn a_reader_that_takes_nothing_is_broken_off_and_one_that_is_slow_is_not() {
    let mut world = World::new(5).await;
    world.answer_seconds = Some(1);
    world.restart().await;
    for _ in 0..2 {
        world.grow(200).await;
    }
    let mut stalled = Vec::new();
    for number in 1..MAX_EXPORTS {
        stalled.push(begun(&world, &auditor_named(&format!("auditor-{number}"))).await);
    }
    let mut slow = begun(&world, &auditor()).await;
    is_refused(&world, &council()).await;
    let (mut text, started) = (Vec::new(), Instant::now());
    while let Some(part) = slow.next().await {
        text.extend_from_slice(&part.unwrap());
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    assert!(started.elapsed() > Duration::from_millis(1200), "longer than a second in all");
    let last = String::from_utf8(text).unwrap().lines().last().map(str::to_owned);
    assert!(serde_json::from_str::<ExportEnd>(&last.unwrap()).is_ok());
    // Nobody reads them, and their places are free all the same.
    let key = world.app().ledger().ledger().verifier_key();
    for number in 1..MAX_EXPORTS {
        let text = whole(export(&world, &auditor_named(&format!("auditor-{number}")), "").await).await;
        verify(&text, &key);
    }
    for mut body in stalled {
        let rest = body.next().await.expect("it does not end as if it were whole");
        assert!(rest.unwrap_err().to_string().contains("took nothing"));
        assert!(body.next().await.is_none());
    }
}
