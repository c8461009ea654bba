//! A Python client generated from the committed document works against a live gateway.

use crate::support;
use std::path::Path;
use std::process::Command;

use crate::support::inside::Inside;

/// Needs the generated client of `make test-api`, which fetches its generator from the Python package index.
#[test]
#[ignore = "needs third_party/api-client: run `make test-api`"]
fn a_generated_python_client_lists_jobs_rounds_and_ledger_entries() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    let folder = root.join("third_party/api-client");
    assert!(
        folder.join("konclave_client/client.py").exists(),
        "run `make test-api`, which generates the client"
    );
    let (mut consortium, _folder) = support::consortium(5, |plan| plan);
    let (developer, _auditor) = support::partners(&consortium);
    consortium.start_gateway().unwrap();
    let mut inside = Inside::default();
    inside.start_all(&consortium);
    let job = support::job::ask(&developer, 1, Vec::new());
    support::job::wait_for_the_end(&consortium, &developer, &job.job);
    let python = std::env::var("PYTHON").unwrap_or_else(|_| "python3".to_owned());
    let output = Command::new(python)
        .arg(root.join("scripts/api_client_check.py"))
        .args(["--url", &consortium.url, "--ca", &consortium.ca_file().display().to_string()])
        .args(["--token", &developer.token().unwrap(), "--job", job.job.as_ref()])
        .env("PYTHONPATH", format!("{}:{}", folder.display(), folder.join("packages").display()))
        .output()
        .unwrap();
    let printed = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success(), "{printed}\n{}", String::from_utf8_lossy(&output.stderr));
    assert!(printed.contains(&format!("job {}", job.job)), "{printed}");
    assert!(printed.lines().any(|line| line == "round 1: opened"), "{printed}");
    for action in ["job.requested", "round.opened"] {
        assert!(printed.contains(action), "{action}: {printed}");
    }
}
