//! A site whose client is another implementation, in Python and by `docs/protocol.md`, takes part in whole jobs
//! beside Rust sites at a real gateway: the opened sums are exactly the sums of what all gave.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "the lints spare test functions, but not what they call"
)]

use crate::support;
use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::thread::sleep;
use std::time::{Duration, Instant};

use konclave_crypto::{Mode, OpenedSum, apply_sums};
use konclave_ledger::records::SumResult;
use konclave_openapi::jobs::{Job, JobPhase};
use konclave_openapi::rounds::{Round, RoundPhase};
use konclave_tests::consortium::{Consortium, Process};
use konclave_tests::partner::PartnerClient;

use crate::support::inside::Inside;
use crate::support::job::COORDINATES;
use crate::support::known::known;

const SITES: usize = 6;
/// The site that runs the second client. Its id is in the middle, so that it encapsulates and decapsulates, adds masks and
/// subtracts them.
const PYTHON: &str = "site-3";
const SCORING: u32 = 2;
/// A Rust site that is away in a round, so that the others give the seeds of their masks with it.
const ABSENT: &str = "site-5";
const ABSENT_IN: u32 = 3;
const ROUNDS: u32 = 3;

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

fn start_second_client(consortium: &Consortium) -> Process {
    let packages = root().join("third_party/second-client/packages");
    assert!(packages.is_dir(), "run `make test-second`, which installs the second client's packages");
    let path = format!("{}:{}", root().join("tests/second-client").display(), packages.display());
    let python = std::env::var("PYTHON").unwrap_or_else(|_| "python3".to_owned());
    let folder = consortium.member(PYTHON).unwrap().folder.display().to_string();
    // Through `env`, because the harness starts programs with the environment as it is.
    let words = [
        &format!("PYTHONPATH={path}"),
        "PYTHONDONTWRITEBYTECODE=1",
        &python,
        "-m",
        "second_client",
        "run",
        "--dir",
        &folder,
    ];
    let log = consortium.folder.join("logs/second-client.log");
    Process::start(PYTHON, Path::new("/usr/bin/env"), &words.map(str::to_owned), &log).unwrap()
}

/// Waits for the end of the job; the absent site stays away from its round on until that round is agreed.
fn follow(
    consortium: &mut Consortium,
    second: &mut Process,
    developer: &PartnerClient,
    inside: &mut Inside,
    job: &Job,
) -> Vec<Round> {
    let started = Instant::now();
    let mut held = false;
    loop {
        consortium.expect_running().unwrap();
        second.expect_running().unwrap();
        let now = developer.job(&job.job).unwrap();
        let rounds = developer.rounds(&job.job).unwrap();
        match &now.phase {
            JobPhase::Finished => return rounds,
            JobPhase::Aborted { reason, culprits } => {
                panic!("aborted: {reason} {culprits:?}\n{}\n{}", second.printed(), consortium.gateway_log(30))
            }
            JobPhase::Consent { .. }
            | JobPhase::AdvertiseKeys { .. }
            | JobPhase::Encapsulate { .. }
            | JobPhase::Running => {}
        }
        // Its gate closes as soon as it has uploaded in the round before; in its own round it is stopped.
        let uploaded = |round: &Round| {
            round.round.get() == ABSENT_IN - 1 && round.uploaded.iter().any(|site| site.as_str() == ABSENT)
        };
        if !held && rounds.iter().any(uploaded) {
            held = true;
            inside.gate(ABSENT).close();
        }
        if now.current_round.is_some_and(|round| round.get() == ABSENT_IN) {
            inside.stop(ABSENT);
        }
        assert!(
            started.elapsed() < Duration::from_secs(180),
            "the job takes too long: {:?}\n{}\n{}",
            now.phase,
            second.printed(),
            consortium.gateway_log(30)
        );
        sleep(Duration::from_millis(20));
    }
}

/// Checks a round's sums against what its sites gave; gives the sums.
fn check_sums(developer: &PartnerClient, round: &Round) -> Vec<OpenedSum> {
    let sums = round.openings.iter().map(|opening| {
        let given: Vec<_> = opening
            .sites
            .iter()
            .map(|site| known(site.as_str(), &round.parameters_before, COORDINATES))
            .collect();
        let coordinates: Vec<i32> =
            (0..COORDINATES).map(|at| given.iter().map(|known| known.plain[at]).sum()).collect();
        let weight: u64 = given.iter().map(|known| u64::from(known.weight)).sum();
        assert_eq!(opening.weight, weight, "round {}: the sum of weights", round.round);
        OpenedSum { sites: opening.sites.clone(), coordinates, weight }
    });
    let sums: Vec<OpenedSum> = sums.collect();
    // Sums of batches are the evaluator's alone; the total over them is the developer's to read.
    let total = &round.verification.as_ref().unwrap().total;
    let bytes = developer.get_bytes(&format!("/v1/blobs/{total}")).unwrap();
    let opened: Vec<i32> =
        bytes.chunks_exact(4).map(|word| i32::from_le_bytes(word.try_into().unwrap())).collect();
    let plain: Vec<i32> =
        (0..COORDINATES).map(|at| sums.iter().map(|sum| sum.coordinates[at]).sum()).collect();
    assert_eq!(opened, plain, "round {}: the sum over all agreed sites", round.round);
    sums
}

fn parameters(developer: &PartnerClient, digest: &konclave_crypto::Digest) -> Vec<f32> {
    let bytes = developer.get_bytes(&format!("/v1/blobs/{digest}")).unwrap();
    bytes.chunks_exact(4).map(|word| f32::from_le_bytes(word.try_into().unwrap())).collect()
}

/// Needs the packages of `make test-second`, which come from the Python package index.
#[test]
#[ignore = "needs third_party/second-client: run `make test-second`"]
fn a_second_implementation_takes_part_and_every_sum_is_exact() {
    let (mut consortium, _folder) = support::consortium(SITES, |plan| {
        plan.with_policy("upload_seconds", 20)
            .with_policy("agree_seconds", 20)
            .with_policy("unmask_seconds", 20)
    });
    let (developer, _auditor) = support::partners(&consortium);
    consortium.start_gateway().unwrap();
    let mut inside = Inside::default();
    for member in consortium.members().filter(|member| member.site != PYTHON) {
        inside.start(&consortium, &member.site);
    }
    let mut second = start_second_client(&consortium);
    let job = support::job::ask(&developer, ROUNDS, vec![SCORING]);
    let rounds = follow(&mut consortium, &mut second, &developer, &mut inside, &job);
    drop(inside);
    let printed = second.printed();

    let opened: Vec<&Round> = rounds.iter().filter(|round| round.phase == RoundPhase::Opened).collect();
    assert_eq!(opened.len(), usize::try_from(ROUNDS).unwrap());
    let of = |sites: &[konclave_crypto::SiteId]| {
        sites.iter().map(|site| site.as_str().to_owned()).collect::<BTreeSet<_>>()
    };
    let mut modes = BTreeSet::new();
    for round in &opened {
        let sums = check_sums(&developer, round);
        let before = parameters(&developer, &round.parameters_before);
        let rate = job.request.server_rate_micro;
        let after = apply_sums(&before, &sums, &round.context.context.encoding, rate).unwrap();
        assert_eq!(parameters(&developer, &round.parameters_after.unwrap()), after, "round {}", round.round);
        modes.insert(round.context.context.mode == Mode::Group);

        let number = round.round.get();
        let verification = round.verification.as_ref().unwrap();
        assert_eq!(verification.result, SumResult::Verified, "round {number}");
        let mut steps = vec![
            ("uploaded", &round.uploaded),
            ("was agreed on", &round.agreed),
            ("tagged", &verification.tagged),
            ("accepted the sum", &verification.accepted),
        ];
        // The gateway waits for all of these; for signatures and shares only until they are enough. With one site away
        // it takes those of all others.
        if number == ABSENT_IN {
            steps.extend([("signed the set", &round.signed), ("gave shares", &round.unmasked)]);
        }
        for (what, sites) in steps {
            assert!(of(sites).contains(PYTHON), "round {number}: {PYTHON} {what}: {sites:?}\n{printed}");
        }
        assert!(verification.rejected.is_empty() && verification.false_tags.is_empty(), "round {number}");
        assert_eq!(of(&round.agreed).contains(ABSENT), number != ABSENT_IN, "round {number}");
    }
    assert_eq!(modes.len(), 2, "a round in each mode");
    // With one site missing the second client gave shares of the others' seeds with it, and its upload came in parts.
    assert!(printed.contains("shares of 5 self masks and 4 pair seeds"), "{printed}");
    assert!(printed.contains("bytes in 3 parts"), "{printed}");
    assert!(!printed.contains("refused") && !printed.contains("WRONG"), "{printed}");
}
