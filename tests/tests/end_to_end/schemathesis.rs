//! Generated requests to every operation, in every role, find nothing that `openapi.json` does not say, and leave a
//! gateway that lives, in small memory, with a ledger that verifies.

#![allow(clippy::unwrap_used, reason = "the lints spare test functions, but not what they call")]

use std::fs;
use std::path::Path;
use std::process::Command;

use konclave_tests::consortium::{Consortium, EVALUATOR, call, output};
use konclave_tests::partner::{ClientKey, PartnerClient};

use crate::support;
use crate::support::inside::Inside;

/// Enough for a scoring round, so that there are contributions, statements and evaluations to be read.
const SITES: usize = 6;
/// The roles of partner systems besides those that ask here.
const OTHERS: [&str; 3] = ["operator", "data-owner", "council"];
/// What the gateway may hold in memory at any moment.
const MOST_MEMORY: u64 = 200 << 20;

/// Registers a client whose id is its role, with the person who answers for it: a commitment that can be opened and
/// erased. Its key is `ROLE.pk8` in the folder.
fn register(consortium: &Consortium, folder: &Path, role: &str, organisation: &str) -> PartnerClient {
    let key = ClientKey::generate(role, folder).unwrap();
    let (dir, public) = (consortium.gateway_folder(), key.public_file());
    let words = [
        "client",
        "add",
        "--dir",
        dir.to_str().unwrap(),
        "--client-id",
        role,
        "--organisation",
        organisation,
        "--role",
        role,
        "--public-key",
        public.to_str().unwrap(),
        "--contact",
        "Kim Doe, 1 Long Road",
    ];
    call(&consortium.programs.gateway, &words).unwrap();
    PartnerClient::new(&consortium.url, &consortium.ca_file(), key).unwrap()
}

fn write_certificate(consortium: &Consortium, folder: &Path, role: &str, member: &str) {
    let pem = consortium.member(member).unwrap().identity_pem().unwrap();
    fs::write(folder.join(format!("{role}.pem")), pem).unwrap();
}

/// Exports the ledger and lets the auditor's program verify it.
fn verify(consortium: &Consortium, auditor: &PartnerClient, folder: &Path) {
    auditor.export_ledger(folder).unwrap();
    let blobs = consortium.gateway_folder().join("blobs");
    let words = ["verify".as_ref(), folder.as_os_str(), "--blobs".as_ref(), blobs.as_os_str()];
    let verified = output(&consortium.programs.audit, &words).unwrap();
    let printed = String::from_utf8_lossy(&[verified.stdout, verified.stderr].concat()).into_owned();
    assert_eq!(verified.status.code(), Some(0), "{printed}");
}

/// Needs the packages of `make test-api`, which come from the Python package index.
#[test]
#[ignore = "needs third_party/schemathesis: run `make test-api`"]
fn generated_requests_in_every_role_find_nothing_that_is_not_documented() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    assert!(
        root.join("third_party/schemathesis/packages").is_dir(),
        "run `make test-api`, which installs schemathesis"
    );
    let (mut consortium, folder) = support::consortium(SITES, |plan| plan);
    let credentials = folder.path().join("credentials");
    let developer = register(&consortium, &credentials, "model-developer", "Model Developer Inc");
    let auditor = register(&consortium, &credentials, "auditor", "Audit Office");
    for role in OTHERS {
        register(&consortium, &credentials, role, &format!("The {role}"));
    }
    write_certificate(&consortium, &credentials, "site", "site-1");
    write_certificate(&consortium, &credentials, "evaluator", EVALUATOR);
    consortium.start_gateway_unrecorded().unwrap();
    let mut inside = Inside::default();
    inside.start_all(&consortium);
    let job = support::job::ask(&developer, 2, vec![2]);
    support::job::wait_for_the_end(&consortium, &developer, &job.job);
    assert_eq!(developer.statements(&job.job).unwrap().len(), 1);
    // Jobs that the generated requests ask for stay unanswered, so that only requests are tried here.
    drop(inside);

    let out = folder.path().join("schemathesis");
    let python = std::env::var("PYTHON").unwrap_or_else(|_| "python3".to_owned());
    let tried = Command::new(python)
        .arg(root.join("scripts/schemathesis_run.py"))
        .args(["--url", &consortium.url])
        .args(["--ca".as_ref(), consortium.ca_file().as_os_str()])
        .args(["--credentials".as_ref(), credentials.as_os_str()])
        .args(["--out".as_ref(), out.as_os_str()])
        .output()
        .unwrap();
    let printed = String::from_utf8_lossy(&[tried.stdout, tried.stderr].concat()).into_owned();
    println!("{printed}");
    assert!(tried.status.success(), "{printed}\n{}", consortium.gateway_log(30));

    consortium.expect_running().unwrap();
    let memory = support::peak_memory(&consortium);
    println!("gateway: {} MiB at most", memory >> 20);
    assert!(memory < MOST_MEMORY, "the gateway held {memory} bytes");
    let log = consortium.gateway_log(usize::MAX);
    assert!(!log.contains("panicked"), "{log}");
    verify(&consortium, &auditor, &folder.path().join("export"));
}
