//! What goes wrong is said clearly: by whom, why, and what to do. Each case goes through the real programs.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "the lints spare test functions, but not what they call"
)]

use crate::support;
use std::fs;
use std::path::Path;
use std::process::Command;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use crate::support::inside::Inside;
use konclave_crypto::Digest;
use konclave_openapi::problem::Problem;
use konclave_tests::HarnessError;
use konclave_tests::consortium::{Consortium, Programs, output, wait_until};
use konclave_tests::partner::send;
use serde_json::json;

fn problem(error: &HarnessError) -> &Problem {
    error.problem().unwrap_or_else(|| panic!("no problem document: {error}"))
}

fn assert_problem(error: &HarnessError, status: u16, slug: &str) {
    let problem = problem(error);
    assert_eq!(
        (problem.status, problem.kind.as_str()),
        (status, format!("/problems/{slug}").as_str()),
        "{error}"
    );
    assert!(problem.detail.len() > 10, "the detail says what happened: {error}");
    assert!(!problem.request_id.is_empty());
}

fn running() -> (Consortium, tempfile::TempDir) {
    let (mut consortium, folder) = support::consortium(2, |plan| plan);
    consortium.start_gateway().unwrap();
    (consortium, folder)
}

#[test]
fn wrong_tokens_are_refused_with_the_reason() {
    let (consortium, _folder) = running();
    let (developer, auditor) = support::partners(&consortium);
    developer.status().unwrap();

    let unsigned = send("GET /v1/jobs", developer.http().get(format!("{}/v1/jobs", consortium.url)));
    assert_problem(&unsigned.unwrap_err(), 401, "unauthenticated");
    let request = developer.http().get(format!("{}/v1/jobs", consortium.url)).bearer_auth("not.a.token");
    assert_problem(&send("GET /v1/jobs", request).unwrap_err(), 401, "unauthenticated");

    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs();
    let claims = |subject: &str, audience: &str, jti: &str, exp: u64| json!({"iss": subject, "sub": subject, "aud": audience, "jti": jti, "iat": now, "exp": exp});
    let key = developer.key();
    for (case, claims) in [
        ("another audience", claims("developer", "https://elsewhere.example", "a", now + 60)),
        ("another client's name", claims("auditor", &consortium.url, "b", now + 60)),
        ("an unknown client", claims("nobody", &consortium.url, "c", now + 60)),
        ("expired", claims("developer", &consortium.url, "d", now - 60)),
        ("good for too long", claims("developer", &consortium.url, "e", now + 86_400)),
        ("no audience", json!({"iss": "developer", "sub": "developer", "jti": "f", "exp": now + 60})),
    ] {
        let refused = developer.request_token(&key.sign(&claims)).expect_err(case);
        assert_problem(&refused, 401, "unauthenticated");
    }
    let once = key.assertion(&consortium.url).unwrap();
    developer.request_token(&once).unwrap();
    assert_problem(&developer.request_token(&once).unwrap_err(), 401, "unauthenticated");

    // A good token of the wrong role.
    let denied = auditor.upload(b"an auditor uploads nothing".to_vec()).unwrap_err();
    assert_problem(&denied, 403, "forbidden");
}

#[test]
fn a_certificate_of_another_consortium_is_refused() {
    let (consortium, _folder) = running();
    let (other, _other_folder) = support::consortium(2, |plan| plan);
    let ca = fs::read(consortium.ca_file()).unwrap();
    let stranger = other.member("site-1").unwrap();
    let pem = stranger.identity_pem().unwrap();
    let client = konclave_tests::partner::http_client(&ca, Some(&pem)).unwrap();
    let refused = send("GET /v1/work", client.get(format!("{}/v1/work", consortium.url))).unwrap_err();
    // TLS 1.3 lets the server refuse after the client has begun to speak: the alert may be lost with the connection, so
    // the reason is looked for where the operator would look.
    assert!(matches!(refused, HarnessError::Http { .. }), "no answer, but {refused}");
    let reason = || Ok(consortium.gateway_log(50).contains("invalid peer certificate").then_some(()));
    wait_until("the reason in the gateway's log", Duration::from_secs(10), reason, || {
        consortium.gateway_log(50)
    })
    .unwrap();
    // The same request with a certificate of this consortium is answered.
    let member = consortium.member("site-1").unwrap().connect().unwrap();
    send("GET /v1/work", member.get(format!("{}/v1/work", consortium.url))).unwrap();
}

#[test]
fn wrong_rounds_and_foreign_seats_are_refused_in_a_round_under_way() {
    let (consortium, _folder) =
        support::consortium(3, |plan| plan.with_policy("min_cohort", 3).with_policy("min_agreed", 3));
    let mut consortium = consortium;
    consortium.start_gateway().unwrap();
    let (developer, _auditor) = support::partners(&consortium);
    let mut inside = Inside::default();
    let sites = support::site_names(&consortium);
    sites.iter().for_each(|site| inside.gate(site).close());
    inside.start_all(&consortium);
    let job = support::job::ask(&developer, 1, Vec::new()).job;
    support::job::wait_for_a_round(&consortium, &developer, &job);

    let member = consortium.member("site-1").unwrap().connect().unwrap();
    let put = |path: &str| {
        let url = format!("{}/v1/jobs/{job}/rounds/{path}?offset=0", consortium.url);
        let request = member.put(url).header("content-type", "application/octet-stream");
        send("PUT", request.body(b"abc".to_vec())).unwrap_err()
    };
    // A site speaks for itself alone, and only in the round that is under way.
    assert_problem(&put("1/uploads/site-2"), 403, "forbidden");
    assert_problem(&put("2/uploads/site-1"), 409, "wrong-round");
    assert_problem(&put("0/uploads/site-1"), 400, "invalid-request");
    let nothing_announced = put("1/uploads/site-1");
    assert!([400, 409, 422].contains(&problem(&nothing_announced).status), "{nothing_announced}");
}

#[test]
fn malformed_requests_are_refused_with_the_field() {
    let (consortium, _folder) = running();
    let (developer, _auditor) = support::partners(&consortium);
    let member = consortium.member("site-1").unwrap().connect().unwrap();
    let url = |path: &str| format!("{}{path}", consortium.url);

    let unknown = member.put(url("/v1/jobs/job-77/rounds/1/uploads/site-1?offset=0"));
    let unknown = unknown.header("content-type", "application/octet-stream").body(b"abc".to_vec());
    assert_problem(&send("PUT", unknown).unwrap_err(), 404, "not-found");
    let no_json = member
        .put(url("/v1/jobs/job-77/rounds/1/manifests/site-1"))
        .header("content-type", "application/json");
    assert_problem(&send("PUT", no_json.body("{\"signed\": 1}")).unwrap_err(), 400, "invalid-request");

    let digest = Digest::of(b"what was announced");
    let other =
        developer.put_bytes::<serde_json::Value>(&format!("/v1/blobs/{digest}"), b"what was sent".to_vec());
    assert_problem(&other.unwrap_err(), 422, "digest-mismatch");
    let nowhere = developer.get::<serde_json::Value>("/v1/no-such-thing").unwrap_err();
    assert_problem(&nowhere, 404, "not-found");
    let unknown_field =
        developer.post::<_, serde_json::Value>("/v1/models", "k", &json!({"nam": "x"})).unwrap_err();
    assert_problem(&unknown_field, 400, "invalid-request");
}

#[test]
fn a_bad_row_is_reported_with_its_number_and_reason() {
    let programs = Programs::find().unwrap();
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("rows.csv");
    support::write_measurements(&file, 1, 60);
    let mut text = fs::read_to_string(&file).unwrap();
    text.push_str("BAD-1,C1CC(,Solubility,Solubility,,,=,-1.0,log mol/L\n");
    text.push_str("BAD-2,CCO,Solubility,Solubility,,,=,not-a-number,log mol/L\n");
    fs::write(&file, text).unwrap();
    let checked = output(&programs.site, &["check-data".as_ref(), file.as_os_str()]).unwrap();
    let printed =
        String::from_utf8_lossy(&[checked.stdout.as_slice(), &checked.stderr].concat()).into_owned();
    // The header is row 1, then the planted row and sixty others.
    for (row, reason) in [("row 63: ", "SMILES"), ("row 64: ", "\"not-a-number\" is neither a number")] {
        let line = printed.lines().find(|line| line.contains(row));
        assert!(line.is_some_and(|line| line.contains(reason)), "{row}{reason}:\n{printed}");
    }
    assert!(!printed.contains("C1CC("), "the structure itself is a secret and is not repeated:\n{printed}");
}

#[test]
fn a_missing_libtorch_is_named_by_the_loader() {
    let programs = Programs::find().unwrap();
    let folder = tempfile::tempdir().unwrap();
    let copy = folder.path().join("konclave-site");
    let mut program = fs::read(&programs.site).unwrap();
    // The search path of shared libraries stands in the program as text: make it lead nowhere.
    let path = fs::canonicalize(Path::new(env!("CARGO_MANIFEST_DIR")).join("../third_party/libtorch/lib"));
    let path = path.unwrap().display().to_string();
    let places: Vec<usize> = (0..program.len() - path.len())
        .filter(|at| program[*at] == b'/' && program[*at..].starts_with(path.as_bytes()))
        .collect();
    assert!(!places.is_empty(), "the program has no search path to {path}");
    for at in places {
        program[at + 1] = b'_';
    }
    fs::write(&copy, program).unwrap();
    fs::set_permissions(&copy, std::os::unix::fs::PermissionsExt::from_mode(0o755)).unwrap();
    let started = output(&copy, &["--version"]).unwrap();
    let printed = String::from_utf8_lossy(&started.stderr).into_owned();
    assert!(!started.status.success());
    assert!(printed.contains("libtorch") || printed.contains("libc10"), "{printed}");
}

#[test]
fn a_build_without_libtorch_says_how_to_get_it() {
    let folder = tempfile::tempdir().unwrap();
    let program = folder.path().join("build-script");
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("../site-enclave/build.rs");
    let rustc = std::env::var_os("RUSTC").unwrap_or_else(|| "rustc".into());
    let words = ["--edition", "2024", "-o", program.to_str().unwrap(), source.to_str().unwrap()];
    let compiled = output(Path::new(&rustc), &words).unwrap();
    assert!(compiled.status.success(), "{}", String::from_utf8_lossy(&compiled.stderr));
    let built =
        Command::new(&program).env_remove("LIBTORCH_LIB").env("LIBTORCH", "/nonexistent").output().unwrap();
    let printed = String::from_utf8_lossy(&built.stdout).into_owned();
    assert!(!built.status.success(), "{printed}");
    let error = printed.lines().find(|line| line.starts_with("cargo::error=")).unwrap();
    assert!(error.contains("/nonexistent/lib") && error.contains("make setup"), "{error}");
}
