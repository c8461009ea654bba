//! The command line: what it makes, what it refuses and what it advises.

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Read};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use konclave_crypto::{IdentityKey, MemberRole};
use zeroize::Zeroizing;

use crate::deployment::{Folders, enrolment_request, fail, program, succeed};

#[test]
fn init_makes_secrets_that_only_the_owner_reads() {
    let folders = Folders::new();
    let dir = folders.dir();
    let secrets = [
        "consortium/root.key",
        "keys/identity.key",
        "keys/ledger.key",
        "keys/token-1.key",
        "keys/token-2.key",
        "tls/ca.key",
        "tls/server.key",
    ];
    for secret in secrets {
        let mode = std::fs::metadata(Path::new(&dir).join(secret)).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600, "{secret}");
    }
    assert!(succeed(&["config", "check", "--dir", &dir]).starts_with("ok:"));
}

#[test]
fn the_folder_may_come_from_the_environment() {
    let folders = Folders::new();
    let mut check = Command::new(env!("CARGO_BIN_EXE_konclave-gateway"));
    let output = check.args(["config", "check"]).env("KONCLAVE_GATEWAY_DIR", folders.dir()).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
}

#[test]
fn init_refuses_a_folder_that_holds_something() {
    let folders = Folders::new();
    let said = fail(&["init", "--dir", &folders.dir()]);
    assert!(said.contains("is not empty"), "{said}");
    let said = fail(&["init", "--dir", &folders.path("other"), "--host", "no host"]);
    assert!(said.contains("host name") || said.contains("public_url"), "{said}");
}

#[test]
fn a_key_that_others_may_read_is_found_by_config_check() {
    let folders = Folders::new();
    let key = Path::new(&folders.dir()).join("keys/identity.key");
    std::fs::set_permissions(&key, std::fs::Permissions::from_mode(0o644)).unwrap();
    let said = fail(&["config", "check", "--dir", &folders.dir()]);
    assert!(said.contains("chmod 600"), "{said}");
}

#[test]
fn config_check_names_the_key_at_fault() {
    let folders = Folders::new();
    folders.configure("blob_bytes", "blob_bites");
    let said = fail(&["config", "check", "--dir", &folders.dir()]);
    assert!(said.contains("blob_bites"), "{said}");
    let said = fail(&["config", "check", "--dir", &folders.path("nothing")]);
    assert!(said.contains("konclave-gateway init"), "{said}");
}

#[test]
fn enrol_refuses_what_was_changed_on_its_way() {
    let folders = Folders::new();
    let enrol = |change: fn(&mut konclave_openapi::sites::EnrolmentRequest)| {
        let (mut request, _) = enrolment_request("alpha", MemberRole::Site, 1);
        change(&mut request);
        let input = folders.path("request.json");
        std::fs::write(&input, serde_json::to_vec(&request).unwrap()).unwrap();
        fail(&["enrol", "--dir", &folders.dir(), "--request", &input, "--out", &folders.path("out.json")])
    };
    assert!(enrol(|request| request.legal_entity.push('x')).contains("not signed by the identity key"));
    assert!(enrol(|request| request.role = MemberRole::Evaluator).contains("not signed"));
    assert!(enrol(|request| request.site = "beta".parse().unwrap()).contains("not signed"));
    assert!(!Path::new(&folders.path("out.json")).exists());
}

#[test]
fn a_member_is_not_replaced_without_being_asked() {
    let folders = Folders::new();
    let alpha = folders.enrol("alpha", MemberRole::Site, 1);
    let again = folders.enrol("alpha", MemberRole::Site, 1);
    assert!(again.enrolment.certificate.membership.serial > alpha.enrolment.certificate.membership.serial);

    let input = folders.path("other.json");
    let out = folders.path("out.json");
    let enrol = |site: &str, seed: u8, more: &[&str]| {
        let (request, _) = enrolment_request(site, MemberRole::Site, seed);
        std::fs::write(&input, serde_json::to_vec(&request).unwrap()).unwrap();
        let dir = folders.dir();
        let mut arguments = vec!["enrol", "--dir", &dir, "--request", &input, "--out", &out];
        arguments.extend(more);
        let output = program(&arguments);
        (output.status.success(), String::from_utf8_lossy(&output.stderr).into_owned())
    };
    let (enrolled, said) = enrol("alpha", 5, &[]);
    assert!(!enrolled && said.contains("--renew"), "{said}");
    assert!(enrol("alpha", 5, &["--renew"]).0);
    let (enrolled, said) = enrol("beta", 5, &[]);
    assert!(!enrolled && said.contains("those of alpha"), "{said}");
}

/// An applicant signs its own request: what it is to be is for the operator to say.
#[test]
fn a_member_gets_the_role_that_the_operator_says_and_keeps_it() {
    let folders = Folders::new();
    let (input, out, dir) = (folders.path("other.json"), folders.path("out.json"), folders.dir());
    let enrol = |role: MemberRole, more: &[&str]| {
        let (request, _) = enrolment_request("alpha", role, 1);
        std::fs::write(&input, serde_json::to_vec(&request).unwrap()).unwrap();
        let mut arguments = vec!["enrol", "--dir", &dir, "--request", &input, "--out", &out];
        arguments.extend(more);
        let output = program(&arguments);
        (output.status.success(), String::from_utf8_lossy(&output.stderr).into_owned())
    };
    let (enrolled, said) = enrol(MemberRole::Evaluator, &[]);
    assert!(!enrolled && said.contains("--role evaluator"), "{said}");
    assert!(enrol(MemberRole::Site, &[]).0);
    for more in [&["--role", "evaluator"][..], &["--role", "evaluator", "--renew"]] {
        let (enrolled, said) = enrol(MemberRole::Evaluator, more);
        assert!(!enrolled && said.contains("does not change its role"), "{said}");
    }
    let (enrolled, said) = enrol(MemberRole::Site, &["--role", "evaluator"]);
    assert!(!enrolled && said.contains("asks to be site"), "{said}");
}

#[test]
fn two_members_do_not_share_a_tls_key() {
    let folders = Folders::new();
    let (input, out, dir) = (folders.path("other.json"), folders.path("out.json"), folders.dir());
    let (alpha, _) = enrolment_request("alpha", MemberRole::Site, 1);
    let (mut beta, _) = enrolment_request("beta", MemberRole::Site, 2);
    beta.tls_request.clone_from(&alpha.tls_request);
    beta.signature = IdentityKey::from_seed(Zeroizing::new([2; 32])).sign(&beta.signed_bytes());
    let enrol = ["enrol", "--dir", &dir, "--request", &input, "--out", &out];
    std::fs::write(&input, serde_json::to_vec(&alpha).unwrap()).unwrap();
    succeed(&enrol);
    std::fs::write(&input, serde_json::to_vec(&beta).unwrap()).unwrap();
    let said = fail(&enrol);
    assert!(said.contains("those of alpha"), "{said}");
}

#[test]
fn client_add_takes_public_keys_only() {
    let folders = Folders::new();
    let path = folders.path("client.key");
    let add = |role: &str| {
        let dir = folders.dir();
        let arguments = [
            "client",
            "add",
            "--dir",
            &dir,
            "--client-id",
            "acme",
            "--organisation",
            "Acme",
            "--role",
            role,
            "--public-key",
            &path,
        ];
        let output = program(&arguments);
        (output.status.code(), String::from_utf8_lossy(&output.stderr).into_owned())
    };
    std::fs::write(&path, rcgen::KeyPair::generate().unwrap().serialize_pem()).unwrap();
    let (code, said) = add("auditor");
    assert!(code == Some(1) && said.contains("private key"), "{said}");
    let (code, said) = add("site");
    assert!(code == Some(2) && said.contains("enrol"), "{said}");
    let (code, said) = add("king");
    assert!(code == Some(2) && said.contains("model-developer"), "{said}");
}

#[test]
fn serve_announces_its_port_says_what_is_not_attested_and_stops_on_sigterm() {
    let folders = Folders::new();
    let mut gateway = Command::new(env!("CARGO_BIN_EXE_konclave-gateway"))
        .args(["serve", "--dir", &folders.dir(), "--listen", "127.0.0.1:0"])
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut announced = String::new();
    BufReader::new(gateway.stdout.take().unwrap()).read_line(&mut announced).unwrap();
    assert!(
        announced.starts_with("listening on https://127.0.0.1:") && !announced.contains(":0\n"),
        "{announced}"
    );
    let killed = Command::new("kill").args(["-TERM", &gateway.id().to_string()]).status().unwrap();
    assert!(killed.success());
    assert!(gateway.wait().unwrap().success());
    let mut log = String::new();
    gateway.stderr.take().unwrap().read_to_string(&mut log).unwrap();
    assert!(log.lines().next().unwrap().contains("attestation: none"), "{log}");
    assert!(log.contains("stopped"), "{log}");
}

#[test]
fn help_is_helpful() {
    for command in [&["--help"][..], &["init", "--help"], &["enrol", "--help"], &["client", "add", "--help"]]
    {
        assert!(succeed(command).len() > 200, "{command:?}");
    }
    assert_eq!(program(&["nonsense"]).status.code(), Some(2));
}

#[test]
fn clients_and_members_have_ids_of_their_own() {
    let folders = Folders::new();
    folders.enrol("alpha", MemberRole::Site, 1);
    folders.add_client("acme", "auditor", 2);
    let key = folders.path("client.pub");
    let dir = folders.dir();
    for id in ["alpha", "gateway"] {
        let of = ["--organisation", "Acme", "--role", "auditor", "--public-key", &key];
        let said = fail(&[&["client", "add", "--dir", &dir, "--client-id", id][..], &of].concat());
        assert!(said.contains("is the id of a member"), "{said}");
    }
    let (request, _) = enrolment_request("acme", MemberRole::Site, 3);
    let (input, out) = (folders.path("request.json"), folders.path("out.json"));
    std::fs::write(&input, serde_json::to_vec(&request).unwrap()).unwrap();
    let said = fail(&["enrol", "--dir", &dir, "--request", &input, "--out", &out]);
    assert!(said.contains("is the id of a client"), "{said}");
}

/// Every file of a folder with what it holds.
fn contents(folder: &Path) -> BTreeMap<PathBuf, Vec<u8>> {
    let mut found = BTreeMap::new();
    let mut folders = vec![folder.to_owned()];
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
            } else {
                found.insert(path.clone(), std::fs::read(path).unwrap());
            }
        }
    }
    found
}

#[tokio::test]
async fn neither_config_check_nor_a_second_serve_changes_a_file_of_a_serving_gateway() {
    let folders = Folders::new();
    folders.add_client("acme", "auditor", 7);
    let served = folders.serve().await;
    // An upload under way, and an assertion that must not become good again.
    let dir = served.folders.dir();
    let under_way = Path::new(&dir).join("blobs/tmp/under-way");
    std::fs::write(&under_way, b"half of a blob").unwrap();
    let claims = served.claims("acme", "once");
    assert_eq!(served.ask_token(&claims, 7, None).await.status().as_u16(), 200);
    let before = contents(Path::new(&dir));

    assert!(succeed(&["config", "check", "--dir", &dir]).starts_with("ok:"));
    assert_eq!(contents(Path::new(&dir)), before);
    let said = fail(&["serve", "--dir", &dir, "--listen", "127.0.0.1:0"]);
    assert!(said.contains("in use"), "{said}");
    assert_eq!(contents(Path::new(&dir)), before);

    // What is used from now on is written to the file that a restart reads.
    assert_eq!(served.ask_token(&served.claims("acme", "two"), 7, None).await.status().as_u16(), 200);
    assert_ne!(contents(Path::new(&dir)), before);
    crate::deployment::problem(served.ask_token(&claims, 7, None).await, 401, "unauthenticated").await;
}
