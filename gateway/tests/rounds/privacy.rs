//! What the ledger, the blobs and the evaluations show to whom.

use std::collections::BTreeSet;

use axum::http::{Method, StatusCode};
use konclave_crypto::{Digest, JobId, SiteId};
use konclave_gateway::auth::Principal;
use konclave_ledger::statements::{
    self, ConsentDecision, ConsentStatement, DataClass, DepositStatement, TaskCount,
};
use konclave_ledger::{Hash, Leaf};
use konclave_openapi::deposits::{Deposit, NewDeposit};
use konclave_openapi::evaluations::Evaluation;
use konclave_openapi::jobs::Job;
use konclave_openapi::ledger::{EntryView, LedgerExport};
use konclave_openapi::page::Page;
use konclave_openapi::work::WorkItem;
use konclave_policies::authorization::Role;

use crate::world::{START, Silent, World, auditor, developer, evaluator, member, new_job, site};

fn partner(organisation: &str, role: Role) -> Principal {
    Principal {
        id: format!("{organisation}-{role}"),
        roles: vec![role],
        organisation: organisation.to_owned(),
        member: None,
    }
}

/// Everything that the ledger gives a principal, page by page.
async fn entries(world: &World, principal: &Principal, query: &str) -> Vec<(u64, Leaf)> {
    let mut found = Vec::new();
    let mut cursor = String::new();
    loop {
        let page: Page<EntryView> =
            world.get(principal, &format!("/v1/ledger/entries?limit=7{query}{cursor}")).await;
        for entry in page.items {
            found.push((entry.index, Leaf::parse(entry.leaf.as_bytes()).unwrap()));
        }
        match page.next_cursor {
            Some(next) => cursor = format!("&cursor={next}"),
            None => return found,
        }
    }
}

async fn actions(world: &World, principal: &Principal) -> BTreeSet<String> {
    entries(world, principal, "").await.into_iter().map(|(_, leaf)| leaf.action).collect()
}

async fn status(world: &World, principal: &Principal, path: &str) -> StatusCode {
    world.send(principal, Method::GET, path, Vec::new(), true).await.0
}

/// A site's signed declaration of so many records.
pub fn deposit_of(world: &World, index: usize, records: u64) -> NewDeposit {
    let statement = DepositStatement {
        site: site(index).to_string(),
        legal_entity: Some(format!("site-{index} Ltd")),
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
    NewDeposit { statement: statements::sign(world.sites[&site(index)].key.seed(), &statement).unwrap() }
}

/// Lets a site refuse an invitation.
pub async fn refuse(world: &World, job: &JobId, index: usize) {
    let statement = ConsentStatement {
        job: job.to_string(),
        site: site(index).to_string(),
        decision: ConsentDecision::Refuse,
        rule: "purpose".to_owned(),
        detail: String::new(),
        policy: Hash::of(b"site policy"),
        made_at: START,
    };
    let envelope = statements::sign(world.sites[&site(index)].key.seed(), &statement).unwrap();
    let _: Job = world.post(&member(&site(index)), &format!("/v1/jobs/{job}/consents"), &envelope).await;
}

/// A world in which a scoring round was scored and paid for.
async fn scored() -> (World, JobId) {
    let mut world = World::new(6).await;
    for index in 1..=2 {
        let new = deposit_of(&world, index, 50);
        let _: Deposit = world.post(&member(&site(index)), "/v1/deposits", &new).await;
    }
    let job = world.request_job(1, vec![1]).await;
    world.play(&job, &Silent::default()).await;
    while world.evaluate().await > 0 {}
    world.play(&job, &Silent::default()).await;
    (world, job)
}

#[tokio::test]
async fn the_ledger_shows_figures_to_verifiers_and_their_owners_only() {
    let (world, job) = scored().await;
    let all = actions(&world, &auditor()).await;
    for action in ["contribution.scored", "reward.stated", "deposit.registered", "evaluation.recorded"] {
        assert!(all.contains(action), "{action}: {all:?}");
    }
    for role in [Role::Council, Role::Operator] {
        assert_eq!(actions(&world, &partner("Konclave", role)).await, all, "{role}");
    }
    let common: BTreeSet<String> =
        ["ledger.created", "policy.set", "site.enrolled"].map(str::to_owned).into();
    for stranger in [partner("Rival", Role::ModelDeveloper), partner("Stranger", Role::DataOwner)] {
        assert_eq!(actions(&world, &stranger).await, common, "{stranger}");
    }
    // The developer pays and sees what it pays for, but nobody's deposit.
    let developers = actions(&world, &developer()).await;
    assert!(developers.contains("reward.stated") && !developers.contains("deposit.registered"));

    // A site sees its job, and of deposits, consents and participation its own.
    let own = entries(&world, &member(&site(1)), "").await;
    for (index, leaf) in &own {
        let private = ["deposit.registered", "consent.given", "participation.recorded"];
        if private.contains(&leaf.action.as_str()) {
            assert_eq!(leaf.site.as_deref(), Some("site-1"), "entry {index}");
        }
        let hidden = ["contribution.scored", "reward.stated", "evaluation.recorded", "model.registered"];
        assert!(!hidden.contains(&leaf.action.as_str()), "entry {index} {}", leaf.action);
    }
    let seen: BTreeSet<&str> = own.iter().map(|(_, leaf)| leaf.action.as_str()).collect();
    for action in ["deposit.registered", "job.requested", "round.opened", "participation.recorded"] {
        assert!(seen.contains(action), "{action}: {seen:?}");
    }

    // One by one it is the same, and so it is with files.
    for (index, leaf) in entries(&world, &auditor(), "").await {
        let path = format!("/v1/ledger/entries/{index}");
        let expected =
            if own.iter().any(|(seen, _)| *seen == index) { StatusCode::OK } else { StatusCode::FORBIDDEN };
        assert_eq!(status(&world, &member(&site(1)), &path).await, expected, "{}", leaf.action);
    }
    let export: LedgerExport = world.post(&auditor(), "/v1/ledger/exports", &serde_json::json!({})).await;
    for file in &export.files {
        let hashes = file.starts_with("tile/") && !file.starts_with("tile/entries/");
        for reader in [member(&site(1)), developer(), evaluator()] {
            let expected = if hashes { StatusCode::OK } else { StatusCode::FORBIDDEN };
            assert_eq!(status(&world, &reader, &format!("/{file}")).await, expected, "{file} {reader}");
        }
    }
    for path in [
        "/checkpoint",
        "/v1/ledger/checkpoint",
        "/v1/ledger/entries/3/proof",
        "/v1/ledger/consistency?old=2&new=5",
    ] {
        assert_eq!(
            status(&world, &partner("Rival", Role::ModelDeveloper), path).await,
            StatusCode::OK,
            "{path}"
        );
    }

    // The scores of coalitions give away what the contributions are.
    let path = format!("/v1/evaluations?job={job}");
    for (reader, sees) in [
        (member(&site(1)), false),
        (partner("site-1 Ltd", Role::DataOwner), false),
        (developer(), true),
        (auditor(), true),
    ] {
        if !sees {
            assert_eq!(status(&world, &reader, &path).await, StatusCode::FORBIDDEN, "{reader}");
            continue;
        }
        let page: Page<Evaluation> = world.get(&reader, &path).await;
        assert!(!page.items.is_empty(), "{reader}");
    }
}

#[tokio::test]
async fn a_site_reads_the_blobs_of_the_jobs_it_takes_part_in_only() {
    let mut world = World::new(6).await;
    let job = world.request_job(1, vec![]).await;
    let model = world.job(&job).await.request.model;
    let parameters = world.job(&job).await.global_parameters;
    let torchscript = Digest::of(b"not looked at by the gateway");
    let readable = async |world: &World, site: &SiteId, blob: &Digest| {
        status(world, &member(site), &format!("/v1/blobs/{blob}")).await == StatusCode::OK
    };
    for blob in [parameters, torchscript] {
        assert!(readable(&world, &site(1), &blob).await, "invited, and has not answered");
    }
    world.work(&site(1), WorkItem::Consent { job: job.clone() }, &Silent::default()).await;
    refuse(&world, &job, 6).await;
    for blob in [parameters, torchscript] {
        assert!(readable(&world, &site(1), &blob).await);
        assert!(!readable(&world, &site(6), &blob).await, "it refused");
    }
    world.play(&job, &Silent::default()).await;
    let after = world.job(&job).await.global_parameters;
    assert_ne!(after, parameters);
    for blob in [parameters, torchscript, after] {
        assert!(readable(&world, &site(1), &blob).await);
        assert!(!readable(&world, &site(6), &blob).await);
        assert_eq!(status(&world, &evaluator(), &format!("/v1/blobs/{blob}")).await, StatusCode::OK);
    }

    // Nor a blob that no job names, nor one of a job with others.
    let other = b"another model".to_vec();
    let digest = Digest::of(&other);
    let (put, _) = world.send(&developer(), Method::PUT, &format!("/v1/blobs/{digest}"), other, false).await;
    assert_eq!(put, StatusCode::OK);
    assert!(!readable(&world, &site(1), &digest).await);
    let _: Job = {
        let mut request = new_job(model, 1, vec![]);
        request.invited = (1..=5).map(site).collect();
        world.post(&developer(), "/v1/jobs", &request).await
    };
    assert!(!readable(&world, &site(6), &parameters).await);
}
