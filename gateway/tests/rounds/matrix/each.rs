//! Every blob, every entry and every figure that there is after both jobs, asked for by everybody: what is not for who
//! asks is answered as if it were not there.

use std::collections::BTreeSet;
use std::path::Path;

use axum::http::Method;
use konclave_crypto::SiteId;
use konclave_gateway::auth::Principal;
use konclave_ledger::Leaf;
use konclave_openapi::contributions::{Contribution, Statement};
use konclave_openapi::ledger::{EntryPage, EntryView};
use konclave_openapi::page::Page;
use konclave_openapi::problem::Problem;
use konclave_policies::authorization::Role;

use super::cast::Side;
use super::stage::{Cast, Stage};
use crate::world::World;

/// What the entries are about that everybody reads.
pub(super) const COMMON: [&str; 6] = [
    "gateway.certified",
    "ledger.created",
    "policy.set",
    "review.recorded",
    "site.enrolled",
    "witness.status",
];
/// Who of one organisation is to see nothing of another's.
pub(super) const APART: [Role; 3] = [Role::DataOwner, Role::ModelDeveloper, Role::Site];

#[tokio::test]
pub(super) async fn what_is_not_for_who_asks_is_answered_as_if_it_were_not_there() {
    let mut cast = Cast::new().await;
    for stage in Stage::ALL {
        cast.play_to(stage).await;
    }
    blobs(&cast.world).await;
    entries(&cast.world).await;
    figures(&cast).await;
}

/// Whether it may be read; if not, how that is told, without the name and the request's id.
pub(super) async fn read(
    world: &World,
    principal: &Principal,
    path: &str,
    name: &str,
) -> Result<Vec<u8>, String> {
    let (status, body) = world.send(principal, Method::GET, path, Vec::new(), true).await;
    if status.is_success() {
        return Ok(body);
    }
    let mut problem: Problem = serde_json::from_slice(&body).unwrap();
    problem.request_id.clear();
    Err(serde_json::to_string(&problem).unwrap().replace(name, "ID"))
}

pub(super) async fn blobs(world: &World) {
    let mut all = BTreeSet::new();
    names(&world.app().config().folder.blobs(), &mut all);
    assert!(all.len() > 20, "{all:?}");
    let nothing = "e".repeat(64);
    for role in Role::ALL {
        let mut readable = Vec::new();
        for side in Side::BOTH {
            let principal = side.principal(*role);
            let absent =
                read(world, &principal, &format!("/v1/blobs/{nothing}"), &nothing).await.unwrap_err();
            let mut own = BTreeSet::new();
            for digest in &all {
                match read(world, &principal, &format!("/v1/blobs/{digest}"), digest).await {
                    Ok(_) => drop(own.insert(digest.clone())),
                    Err(refused) => assert_eq!(refused, absent, "{role} {digest}"),
                }
            }
            readable.push(own);
        }
        let common = readable[0].intersection(&readable[1]).count();
        match role {
            Role::ModelDeveloper | Role::Site => {
                assert!(readable.iter().all(|own| own.len() > 2), "{role}: {readable:?}");
                assert_eq!(common, 0, "{role}");
            }
            Role::Evaluator => assert_eq!(common, all.len()),
            Role::Operator | Role::DataOwner | Role::Council | Role::Auditor => {
                assert_eq!(readable, [BTreeSet::new(), BTreeSet::new()], "{role}")
            }
        }
    }
}

/// The digests of the blobs in a folder.
pub(super) fn names(folder: &Path, into: &mut BTreeSet<String>) {
    for entry in std::fs::read_dir(folder).unwrap() {
        let entry = entry.unwrap();
        let name = entry.file_name().into_string().unwrap();
        if entry.file_type().unwrap().is_dir() {
            names(&entry.path(), into);
        } else if name.len() == 64 {
            into.insert(name);
        }
    }
}

pub(super) async fn entries(world: &World) {
    let size = world.app().state().size;
    for role in Role::ALL {
        let mut readable: Vec<BTreeSet<u64>> = Vec::new();
        for side in Side::BOTH {
            let principal = side.principal(*role);
            let (mut own, mut refusals) = (BTreeSet::new(), BTreeSet::new());
            for index in 0..size {
                let (path, name) = (format!("/v1/ledger/entries/{index}"), format!("entry {index}"));
                let receipt = read(world, &principal, &format!("{path}/receipt"), &name).await;
                match read(world, &principal, &path, &name).await {
                    Ok(_) => {
                        own.insert(index);
                        assert!(receipt.is_ok(), "{role} {index}");
                    }
                    Err(refused) => {
                        assert_eq!(receipt, Err(refused.clone()), "{role} {index}");
                        refusals.insert(refused);
                    }
                }
            }
            assert!(refusals.len() <= 1, "{role}: {refusals:?}");
            let listed: EntryPage = world.get(&principal, "/v1/ledger/entries?limit=500").await;
            assert_eq!(listed.items.iter().map(|entry| entry.index).collect::<BTreeSet<_>>(), own, "{role}");
            readable.push(own);
        }
        if APART.contains(role) {
            for index in readable[0].intersection(&readable[1]) {
                let path = format!("/v1/ledger/entries/{index}");
                let entry: EntryView = world.get(&Side::Acme.principal(Role::Auditor), &path).await;
                let action = Leaf::parse(entry.leaf.as_bytes()).unwrap().action;
                assert!(COMMON.contains(&action.as_str()), "{role} of two organisations read {action}");
            }
        }
    }
}

/// A site and its data owner see their own figures in the tables of their job, and none of their neighbours'.
pub(super) async fn figures(cast: &Cast) {
    for side in Side::BOTH {
        let (own, job) = (&cast.of(side).site, &cast.of(side).job);
        for role in [Role::Site, Role::DataOwner] {
            let principal = side.principal(role);
            let path = format!("/v1/jobs/{job}/contributions");
            let tables: Page<Contribution> = cast.world.get(&principal, &path).await;
            let rows: Vec<&SiteId> = tables.items[0].rows.iter().map(|row| &row.site).collect();
            assert_eq!(rows, [own], "{role}");
            let path = format!("/v1/jobs/{job}/statements");
            let statements: Page<Statement> = cast.world.get(&principal, &path).await;
            let stated = &statements.items[0].statement;
            let lines: Vec<&str> = stated.lines.iter().map(|line| line.legal_entity.as_str()).collect();
            assert_eq!(lines, [principal.organisation.as_str()], "{role}");
            let others = stated.batches.iter().filter(|batch| !batch.sites.contains(own));
            assert_eq!(others.count(), 0, "{role} sees what batches are worth that it is not in");
        }
    }
}
