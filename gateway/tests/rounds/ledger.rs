//! The ledger through the routes: proofs, cosignatures, exports, idempotent commands, long polls.

use std::time::Duration;

use axum::http::{Method, StatusCode};
use konclave_ledger::statements::{self, DataClass, DepositStatement, TaskCount};
use konclave_ledger::witness::WitnessState;
use konclave_ledger::{ConsistencyProof, Hash, InclusionProof, Timestamp, VerifierKey};
use konclave_openapi::deposits::{Deposit, NewDeposit};
use konclave_openapi::jobs::Job;
use konclave_openapi::ledger::{
    CheckpointView, ConsistencyProofView, EntryView, InclusionProofView, LedgerExport, NewCosignature,
};
use konclave_openapi::page::Page;
use konclave_openapi::problem::Problem;
use konclave_openapi::work::{WorkItem, WorkList};

use crate::world::{START, World, auditor, developer, member, new_job, site, witness};

async fn checkpoint(world: &World) -> CheckpointView {
    world.get(&auditor(), "/v1/ledger/checkpoint").await
}

pub fn deposit(world: &World, records: u64) -> NewDeposit {
    let statement = DepositStatement {
        site: "site-1".to_owned(),
        legal_entity: Some("site-1 Ltd".to_owned()),
        data_class: DataClass::Training,
        catalogue_tasks: vec![TaskCount {
            task: "Solubility/Solubility".to_owned(),
            records,
            unique_structures: 40,
            scaffolds: 12,
            censored: 0,
        }],
        files: Vec::new(),
        row_commitment: Hash::of(b"rows"),
        made_at: START,
    };
    NewDeposit { statement: statements::sign(world.sites[&site(1)].key.seed(), &statement).unwrap() }
}

#[tokio::test]
async fn entries_are_in_the_tree_and_the_tree_only_grows() {
    let world = World::new(5).await;
    let old = checkpoint(&world).await;
    world.request_job(1, vec![]).await;
    let new = checkpoint(&world).await;
    let path = "/v1/ledger/entries?action=site.enrolled&limit=2";
    let page: Page<EntryView> = world.get(&auditor(), path).await;
    assert!(page.items.len() == 2 && page.next_cursor.is_some());
    let next: Page<EntryView> =
        world.get(&auditor(), &format!("{path}&cursor={}", page.next_cursor.unwrap())).await;
    assert!(next.items[0].index > page.items[1].index);
    for entry in &page.items {
        let at = format!("/v1/ledger/entries/{}/proof?size={}", entry.index, new.size);
        let view: InclusionProofView = world.get(&auditor(), &at).await;
        let proof = InclusionProof { index: view.index, size: view.size, hashes: view.path };
        let leaf = konclave_ledger::tree::leaf_hash(entry.leaf.as_bytes());
        proof.verify(&leaf, &new.root).unwrap();
    }
    let at = format!("/v1/ledger/consistency?old={}&new={}", old.size, new.size);
    let view: ConsistencyProofView = world.get(&auditor(), &at).await;
    let proof = ConsistencyProof { old_size: view.old, new_size: view.new, hashes: view.path };
    proof.verify(&old.root, &new.root).unwrap();
}

#[tokio::test]
async fn sites_cosign_one_of_the_latest_checkpoints_in_their_own_name() {
    let world = World::new(5).await;
    let log: VerifierKey = world.app().ledger().ledger().verifier_key();
    let head = checkpoint(&world).await;
    let proof = ConsistencyProof { old_size: 0, new_size: head.size, hashes: Vec::new() };
    let state = WitnessState::new(log.name().clone()).advance(head.note.as_bytes(), &log, &proof).unwrap();
    let line = |index: usize| {
        let cosigned = state.cosign(&witness(&site(index)), Timestamp::from_unix_seconds(START).unwrap());
        NewCosignature { size: head.size, line: cosigned.line().to_string() }
    };
    let cosigned: CheckpointView = world.post(&member(&site(1)), "/v1/ledger/cosignatures", &line(1)).await;
    assert_eq!(cosigned.witnesses, ["konclave.example/site-1"]);
    let foreign = serde_json::to_vec(&line(2)).unwrap();
    let (status, _) =
        world.send(&member(&site(1)), Method::POST, "/v1/ledger/cosignatures", foreign, true).await;
    assert_eq!(status, StatusCode::UNPROCESSABLE_ENTITY);
    // A head that is no longer the newest still takes lines, but not as another head.
    world.request_job(1, vec![]).await;
    let late: CheckpointView = world.post(&member(&site(2)), "/v1/ledger/cosignatures", &line(2)).await;
    assert!(late.size > head.size && late.witnesses.is_empty());
    let newest = world.app().ledger().ledger().head().size;
    for (size, expected) in [(newest, StatusCode::UNPROCESSABLE_ENTITY), (newest + 1, StatusCode::CONFLICT)] {
        let wrong = serde_json::to_vec(&NewCosignature { size, ..line(3) }).unwrap();
        let (status, _) =
            world.send(&member(&site(3)), Method::POST, "/v1/ledger/cosignatures", wrong, true).await;
        assert_eq!(status, expected, "as the head of {size} entries");
    }
}

#[tokio::test]
async fn an_export_lists_files_that_lead_to_its_checkpoint() {
    let world = World::new(5).await;
    let registered: Deposit = world.post(&member(&site(1)), "/v1/deposits", &deposit(&world, 50)).await;
    let export: LedgerExport = world.post(&auditor(), "/v1/ledger/exports", &serde_json::json!({})).await;
    assert!(export.files.contains(&format!("statements/{}.json", registered.deposit)));
    for file in &export.files {
        let (status, bytes) =
            world.send(&auditor(), Method::GET, &format!("/{file}"), Vec::new(), true).await;
        assert!(status == StatusCode::OK && !bytes.is_empty(), "{file}: {status}");
    }
    assert_eq!(checkpoint(&world).await.size, export.size + 1, "the export itself is an entry");
    let (status, _) = world.send(&developer(), Method::POST, "/v1/ledger/exports", Vec::new(), true).await;
    assert_eq!(status, StatusCode::FORBIDDEN);
}

#[tokio::test]
async fn a_deposit_is_stated_by_its_owner_and_registered_once() {
    let world = World::new(5).await;
    let first: Deposit = world.post(&member(&site(1)), "/v1/deposits", &deposit(&world, 50)).await;
    let again: Deposit = world.post(&member(&site(1)), "/v1/deposits", &deposit(&world, 50)).await;
    assert_eq!((first.deposit, first.entry), (again.deposit, again.entry));
    let body = |records| serde_json::to_vec(&deposit(&world, records)).unwrap();
    let (status, _) = world.send(&member(&site(2)), Method::POST, "/v1/deposits", body(60), true).await;
    assert_eq!(status, StatusCode::UNPROCESSABLE_ENTITY, "site 2 cannot state for site 1");
    let (status, _) = world.send(&member(&site(1)), Method::POST, "/v1/deposits", body(1), true).await;
    assert_eq!(status, StatusCode::UNPROCESSABLE_ENTITY, "40 structures in one record");
    let most = konclave_policies::contribution::MAX_DEPOSIT_COUNT;
    let (status, _) = world.send(&member(&site(1)), Method::POST, "/v1/deposits", body(most + 1), true).await;
    assert_eq!(status, StatusCode::UNPROCESSABLE_ENTITY, "more than is paid for");
    let (status, _) = world.send(&member(&site(1)), Method::POST, "/v1/deposits", body(most), true).await;
    assert_eq!(status, StatusCode::CREATED);
}

#[tokio::test]
async fn an_idempotency_key_makes_one_job_across_a_restart() {
    let mut world = World::new(5).await;
    let job = world.request_job(1, vec![]).await;
    let model = world.job(&job).await.request.model;
    let (wanted, other) = (new_job(model, 2, vec![]), new_job(model, 3, vec![]));
    let (status, first) = world.post_once(&developer(), "/v1/jobs", "order-7", &wanted).await;
    assert_eq!(status, StatusCode::CREATED);
    world.restart().await;
    let (status, again) = world.post_once(&developer(), "/v1/jobs", "order-7", &wanted).await;
    assert_eq!(status, StatusCode::CREATED);
    let (first, again): (Job, Job) =
        (serde_json::from_slice(&first).unwrap(), serde_json::from_slice(&again).unwrap());
    assert_eq!(first, again);
    let (status, answer) = world.post_once(&developer(), "/v1/jobs", "order-7", &other).await;
    let problem: Problem = serde_json::from_slice(&answer).unwrap();
    assert_eq!((status.as_u16(), problem.kind.as_str()), (422, "/problems/idempotency-mismatch"));
    let (_, separate) = world.post_once(&developer(), "/v1/jobs", "order-8", &wanted).await;
    assert_ne!(serde_json::from_slice::<Job>(&separate).unwrap().job, first.job);
}

#[tokio::test]
async fn a_long_poll_is_answered_when_there_is_work() {
    let world = World::new(5).await;
    let (asking, site) = (member(&site(1)), site(1));
    let poll = world.get::<WorkList>(&asking, "/v1/work?wait_seconds=20");
    let later = async {
        tokio::time::sleep(Duration::from_millis(100)).await;
        world.request_job(1, vec![]).await
    };
    let (list, job) = tokio::time::timeout(Duration::from_secs(10), async { tokio::join!(poll, later) })
        .await
        .unwrap_or_else(|_| panic!("{site} was not told of its work"));
    assert_eq!(list.items, [WorkItem::Consent { job }]);
}
