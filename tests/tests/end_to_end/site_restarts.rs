//! kill -9 of a site's real process at each step of a round, and of all sites at any moment: a restarted site goes on
//! from what it had stored, no message ever reaches the gateway in two versions, and the ledger verifies.
//!
//! With three sites a quorum is all of them, so that every phase waits for the one that was killed.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "the lints spare test functions, but not what they call"
)]

use crate::support;
use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::time::Duration;

use konclave_crypto::{JobId, SiteId};
use konclave_ledger::records::SumResult;
use konclave_openapi::jobs::{Job, JobPhase};
use konclave_openapi::rounds::Round;
use konclave_tests::consortium::{Consortium, output, wait_until};
use konclave_tests::partner::PartnerClient;

const LIMIT: Duration = Duration::from_secs(120);
const VICTIM: &str = "site-2";

struct Scene {
    consortium: Consortium,
    developer: PartnerClient,
    auditor: PartnerClient,
    job: JobId,
    folder: tempfile::TempDir,
}

fn scene(rounds: u32) -> Scene {
    let (mut consortium, folder) =
        support::consortium(3, |plan| plan.with_policy("min_cohort", 3).with_policy("min_agreed", 3));
    let (developer, auditor) = support::partners(&consortium);
    consortium.start_gateway().unwrap();
    consortium.start_members().unwrap();
    let job = support::job::ask_for_training(&consortium, &developer, folder.path(), rounds).job;
    Scene { consortium, developer, auditor, job, folder }
}

impl Scene {
    /// kill -9, then a new process on the same folder.
    fn restart(&mut self, site: &str) {
        self.consortium.kill_member(site).unwrap();
        self.consortium.start_member(site).unwrap();
    }

    fn wait(&self, what: &str, reached: impl Fn(&Job, &[Round]) -> bool) {
        let look = || {
            let (job, rounds) = (self.developer.job(&self.job)?, self.developer.rounds(&self.job)?);
            if let JobPhase::Aborted { reason, culprits } = &job.phase {
                panic!("before {what}: {reason} {culprits:?}");
            }
            Ok(reached(&job, &rounds).then_some(()))
        };
        let seen = || {
            let log = self.consortium.member(VICTIM).unwrap().log_text();
            let tail: Vec<&str> = log.lines().rev().take(15).collect();
            format!("{}\n{}", self.consortium.gateway_log(10), tail.join("\n"))
        };
        wait_until(what, LIMIT, look, seen).unwrap();
    }

    /// How many files of a kind of message of the key set-up are durable at the gateway.
    fn has_sent(&self, kind: &str, site: &str) -> bool {
        let folder = self.consortium.gateway_folder().join("rounds").join(self.job.as_str());
        folder.join("setup").join(kind).join(format!("{site}.json")).exists()
    }

    /// The job is finished with these rounds verified, the ledger holds, and every message came in one version.
    fn check(&self, rounds: usize) {
        self.wait("the end of the job", |job, _| matches!(job.phase, JobPhase::Finished));
        let opened = self.developer.rounds(&self.job).unwrap();
        let verified: Vec<&Round> = opened
            .iter()
            .filter(|round| {
                round.verification.as_ref().is_some_and(|found| found.result == SumResult::Verified)
            })
            .collect();
        assert_eq!(verified.len(), rounds);
        assert!(verified.iter().all(|round| round.agreed.len() == 3), "all updates are in the sums");
        let export = self.folder.path().join("export");
        self.auditor.export_ledger(&export).unwrap();
        let audit =
            output(&self.consortium.programs.audit, &["verify".as_ref(), export.as_os_str()]).unwrap();
        assert_eq!(audit.status.code(), Some(0), "{}", String::from_utf8_lossy(&audit.stderr));

        let versions = self.versions();
        for kind in ["keys", "ciphertexts", "manifests", "agreement", "unmasking", "tags", "verdicts"] {
            let paths: Vec<_> =
                versions.iter().filter(|(path, _)| path.contains(&format!("/{kind}/"))).collect();
            let per_site = if kind == "keys" || kind == "ciphertexts" { 1 } else { rounds };
            // The last site in the roster encapsulates to none, and says so.
            assert!(paths.len() >= per_site * 2, "{kind}: {} recorded", paths.len());
            for (path, bodies) in paths {
                assert_eq!(bodies.len(), 1, "{path} was sent in {} versions", bodies.len());
            }
        }
    }

    /// The versions of every message that the gateway received, by path. A body that was cut off with its sender is none.
    fn versions(&self) -> BTreeMap<String, BTreeSet<Vec<u8>>> {
        let mut versions: BTreeMap<String, BTreeSet<Vec<u8>>> = BTreeMap::new();
        for file in fs::read_dir(self.consortium.traffic_folder()).unwrap() {
            let bytes = fs::read(file.unwrap().path()).unwrap();
            let Some(end) = bytes.windows(4).position(|window| window == b"\r\n\r\n") else { continue };
            let head = String::from_utf8_lossy(&bytes[..end]).into_owned();
            let mut words = head.split_whitespace();
            if words.next() != Some("PUT") {
                continue;
            }
            let path = words.next().unwrap().to_owned();
            let body = bytes[end + 4..].to_vec();
            if serde_json::from_slice::<serde_json::Value>(&body).is_ok() {
                versions.entry(path).or_default().insert(body);
            }
        }
        versions
    }
}

#[test]
fn a_site_that_is_killed_after_each_of_its_steps_goes_on_and_says_nothing_twice() {
    let mut scene = scene(2);
    let victim: SiteId = VICTIM.parse().unwrap();
    scene.wait("consent", |job, _| job.consents.iter().any(|consent| consent.site == victim));
    scene.restart(VICTIM);
    scene.wait("the key", |_, _| scene.has_sent("keys", VICTIM));
    scene.restart(VICTIM);
    scene.wait("the ciphertexts", |_, _| scene.has_sent("ciphertexts", VICTIM));
    scene.restart(VICTIM);
    scene.wait("the round", |_, rounds| !rounds.is_empty());
    // While it trains, or masks, or uploads.
    scene.restart(VICTIM);
    type Step = (&'static str, fn(&Round, &SiteId) -> bool);
    let steps: [Step; 5] = [
        ("the upload", |round, site| round.uploaded.contains(site)),
        ("the signature", |round, site| round.signed.contains(site)),
        ("the shares", |round, site| round.unmasked.contains(site)),
        ("the tag", |round, site| {
            round.verification.as_ref().is_some_and(|found| found.tagged.contains(site))
        }),
        ("the verdict", |round, site| {
            round.verification.as_ref().is_some_and(|found| found.accepted.contains(site))
        }),
    ];
    for (what, done) in steps {
        scene.wait(what, |_, rounds| rounds.first().is_some_and(|round| done(round, &victim)));
        scene.restart(VICTIM);
    }
    scene.check(2);
}

#[test]
fn sites_that_are_killed_at_any_moment_say_nothing_twice() {
    let mut scene = scene(3);
    // A start takes about a second; the others' waits are spread over a round.
    for (turn, milliseconds) in [900, 1700, 1300, 2100, 1100, 2500, 1500, 1900, 2300].into_iter().enumerate()
    {
        std::thread::sleep(Duration::from_millis(milliseconds));
        if matches!(scene.developer.job(&scene.job).unwrap().phase, JobPhase::Finished) {
            break;
        }
        scene.restart(&format!("site-{}", turn % 3 + 1));
    }
    scene.check(3);
}
