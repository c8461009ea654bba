//! A disk that is really full: work of every day is refused, what cannot wait is written from the reserve, and all goes
//! on without a restart once there is space.

use std::fs::{self, OpenOptions};
use std::io::Write;
use std::path::Path;
use std::process::Command;

use axum::http::{Method, StatusCode};
use konclave_crypto::JobId;
use konclave_gateway::core::{Caller, NewClient};
use konclave_gateway::revocation::{Revocation, Revoked};
use konclave_ledger::openings::{Opening, Openings};
use konclave_ledger::{Hash, ReserveState};
use konclave_openapi::jobs::JobPhase;
use konclave_openapi::ledger::{LedgerExport, LedgerStatus};
use konclave_openapi::openings::{NewErasure, OpeningView};
use konclave_openapi::problem::Problem;
use konclave_policies::authorization::Role;
use serde_json::json;
use zeroize::Zeroizing;

use crate::world::{World, auditor, operator, site};

const DISK: &str = "KONCLAVE_GATEWAY_FULL_DISK";
const RESERVE: u64 = 16 << 20;

/// Mounts a small disk in a namespace of its own, which goes with the process, and runs the other test on it.
#[test]
fn a_full_disk_pushes_work_back_and_leaves_room_for_what_cannot_wait() {
    let folder = tempfile::tempdir().unwrap();
    let inside = r#"mount -t tmpfs -o size=40m,mode=700 konclave "$KONCLAVE_GATEWAY_FULL_DISK" || exit 99
        export TMPDIR="$KONCLAVE_GATEWAY_FULL_DISK"
        exec "$0" --exact full_disk::on_a_small_disk --ignored --nocapture --test-threads=1"#;
    for namespace in [&["--mount"][..], &["--mount", "--map-root-user"]] {
        let ran = Command::new("unshare")
            .args(namespace)
            .args(["sh", "-c", inside])
            .arg(std::env::current_exe().unwrap())
            .env(DISK, folder.path())
            .output();
        let Ok(ran) = ran else { break };
        let said = String::from_utf8_lossy(&ran.stdout);
        if ran.status.code() == Some(99) || !said.contains("running 1 test") {
            continue;
        }
        assert!(ran.status.success(), "{said}\n{}", String::from_utf8_lossy(&ran.stderr));
        assert!(said.contains("1 passed"), "{said}");
        return;
    }
    eprintln!(
        "skipped: this user may not mount a small disk (unshare --mount, with or without --map-root-user)"
    );
}

/// Writes until nothing more fits.
fn fill(filler: &Path) {
    let mut file = OpenOptions::new().create(true).append(true).open(filler).unwrap();
    for piece in [64 * 1024, 4096, 512, 1] {
        while file.write_all(&vec![7; piece]).is_ok() {}
    }
}

/// Registers a partner system with a contact.
async fn contact(world: &World, person: &str) -> Hash {
    let salt = Zeroizing::new([person.len() as u8; 32]);
    let openings = Openings::at(&world.app().config().folder.openings());
    let contact = openings.put(&Opening::new(salt, person).unwrap()).unwrap();
    let client = NewClient {
        client: format!("partner-{}", person.len()),
        organisation: "Acme".to_owned(),
        roles: vec![Role::ModelDeveloper],
        public_key: "not read here".to_owned(),
        contact: Some(contact),
        certificate_bound: false,
    };
    world.app().register_client(&Caller::gateway("test"), client).await.unwrap();
    contact
}

async fn export(world: &World) -> (StatusCode, Vec<u8>) {
    let body = serde_json::to_vec(&json!({})).unwrap();
    world.send(&auditor(), Method::POST, "/v1/ledger/exports", body, true).await
}

/// Work of every day is pushed back, and nothing of it is written.
async fn is_pushed_back(world: &World) {
    let before = world.app().state().clone();
    for _ in 0..3 {
        let (status, answer) = export(world).await;
        let problem: Problem = serde_json::from_slice(&answer).unwrap();
        assert_eq!(
            (status, problem.kind.as_str()),
            (StatusCode::SERVICE_UNAVAILABLE, "/problems/unavailable"),
            "{problem:?}"
        );
        assert!(problem.detail.contains("disk is full"), "{}", problem.detail);
    }
    assert_eq!(*world.app().state(), before);
    assert!(world.app().ledger().is_writable());
}

async fn erase(world: &World, commitment: Hash) {
    let asked = NewErasure { commitment, ground: "request of the data subject".to_owned() };
    let erased: OpeningView = world.post(&operator(), "/v1/ledger/erasures", &asked).await;
    assert!(erased.erased_by.is_some() && erased.value.is_none());
}

/// Ends the keys of the last site.
async fn revoke(world: &World) {
    let id = site(5);
    let identity_key = world.app().state().sites[&id].certificate.membership.identity_key;
    let of = Revoked::Site { site: id.clone(), identity_key, others: Vec::new() };
    let revocation = Revocation { of, reason: "its key was stolen".to_owned() };
    world.app().revoke(&Caller::gateway("test"), &revocation).await.unwrap();
    assert!(!world.app().is_member(&id));
}

async fn reserve(world: &World) -> ReserveState {
    world.get::<LedgerStatus>(&auditor(), "/v1/ledger/status").await.reserve
}

#[tokio::test]
#[ignore = "run by the other test, on a small disk"]
async fn on_a_small_disk() {
    let filler = Path::new(&std::env::var(DISK).unwrap()).join("filler");
    let mut world = World::new(5).await;
    let held = world.app().config().folder.ledger().join("reserve");
    let length = || fs::metadata(&held).unwrap().len();
    let mut contacts = Vec::new();
    for person in ["Min-ji", "Min-ji K", "Min-ji Kim"] {
        contacts.push(contact(&world, person).await);
    }
    let job: JobId = world.request_job(1, vec![]).await;
    // A partial bundle that is large: the next entry writes all of it anew.
    world.grow(200).await;
    assert_eq!((length(), reserve(&world).await), (RESERVE, ReserveState::Held));

    fill(&filler);
    is_pushed_back(&world).await;
    assert_eq!((length(), reserve(&world).await), (RESERVE, ReserveState::Held), "nothing took of it");

    // An erasure cannot wait. It costs a little of the reserve, which work of every day does not get.
    erase(&world, contacts[0]).await;
    let left = length();
    assert!((RESERVE - (2 << 20)..RESERVE).contains(&left), "{left}");
    assert_eq!(reserve(&world).await, ReserveState::Missing);
    is_pushed_back(&world).await;
    fill(&filler);
    erase(&world, contacts[1]).await;
    is_pushed_back(&world).await;
    // Keys end: their owner may be the one who filled the disk.
    revoke(&world).await;
    is_pushed_back(&world).await;
    // A job that nobody can go on with ends.
    world.clock.advance_seconds(10 * 24 * 3600);
    world.coordinate(&job).await;
    assert!(matches!(world.job(&job).await.phase, JobPhase::Aborted { .. }));
    assert!(length() > RESERVE / 2, "{}", length());
    // Over a restart too.
    world.restart().await;
    is_pushed_back(&world).await;
    erase(&world, contacts[2]).await;

    // Space again: the reserve is whole before anything else is written, and no restart was needed.
    fs::remove_file(&filler).unwrap();
    let (status, answer) = export(&world).await;
    assert_eq!(status, StatusCode::CREATED, "{}", String::from_utf8_lossy(&answer));
    let listed: LedgerExport = serde_json::from_slice(&answer).unwrap();
    assert_eq!(listed.size + 1, world.app().state().size);
    assert_eq!((length(), reserve(&world).await), (RESERVE, ReserveState::Held));
    world.restart().await;
}
