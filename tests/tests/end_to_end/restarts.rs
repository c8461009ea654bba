//! kill -9 of the gateway in every phase: after the restart the work goes on where it stood, or ends cleanly, and the
//! ledger verifies.
//!
//! Phases are held open without any trick in the gateway: a site's training waits at a gate, and a quorum that is
//! needed is kept from being there by stopping sites.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "the lints spare test functions, but not what they call"
)]

use crate::support;
use std::fs;
use std::path::Path;
use std::time::Duration;

use konclave_ledger::records::SumResult;
use konclave_openapi::jobs::{Job, JobPhase};
use konclave_openapi::rounds::{Round, RoundPhase};
use konclave_tests::consortium::{Consortium, EVALUATOR, output, wait_until};
use konclave_tests::partner::PartnerClient;

use crate::support::inside::Inside;

const LIMIT: Duration = Duration::from_secs(60);
const SITES: usize = 6;

struct Scene {
    consortium: Consortium,
    developer: PartnerClient,
    auditor: PartnerClient,
    inside: Inside,
    folder: tempfile::TempDir,
    exports: u32,
}

fn scene() -> Scene {
    let (mut consortium, folder) = support::consortium(SITES, |plan| {
        [
            "consent_seconds",
            "setup_seconds",
            "upload_seconds",
            "agree_seconds",
            "unmask_seconds",
            "evaluation_seconds",
        ]
        .into_iter()
        .fold(plan, |plan, key| plan.with_policy(key, 90))
    });
    let (developer, auditor) = support::partners(&consortium);
    consortium.start_gateway().unwrap();
    Scene { consortium, developer, auditor, inside: Inside::default(), folder, exports: 0 }
}

impl Scene {
    /// kill -9, then a new process on the same folder.
    fn restart(&mut self) {
        self.consortium.kill_gateway();
        self.consortium.start_gateway().unwrap();
    }

    fn wait<T>(&self, what: &str, mut look: impl FnMut() -> Option<T>) -> T {
        wait_until(what, LIMIT, || Ok(look()), || self.consortium.gateway_log(30)).unwrap()
    }

    fn job(&self, job: &Job) -> Job {
        self.developer.job(&job.job).unwrap()
    }

    fn round(&self, job: &Job) -> Round {
        self.developer.rounds(&job.job).unwrap().pop().unwrap()
    }

    /// How many messages of the key set-up are durable at the gateway.
    fn durable(&self, job: &Job, kind: &str) -> usize {
        let folder = self.consortium.gateway_folder().join("rounds").join(job.job.as_str());
        fs::read_dir(folder.join("setup").join(kind)).map_or(0, |files| {
            let names = files.map(|file| file.unwrap().path());
            names.filter(|name| name.extension().is_some_and(|end| end == "json")).count()
        })
    }

    fn finish(&self, job: &Job) -> Job {
        self.wait("the end of the job", || {
            let job = self.job(job);
            matches!(job.phase, JobPhase::Finished | JobPhase::Aborted { .. }).then_some(job)
        })
    }

    /// Exports the ledger and lets the auditor's program verify it.
    fn verify(&mut self) {
        self.exports += 1;
        let folder = self.folder.path().join(format!("export-{}", self.exports));
        self.auditor.export_ledger(&folder).unwrap();
        let blobs = self.consortium.gateway_folder().join("blobs");
        let words = ["verify".as_ref(), folder.as_os_str(), "--blobs".as_ref(), blobs.as_os_str()];
        let verified = output(&self.consortium.programs.audit, &words).unwrap();
        let printed = String::from_utf8_lossy(&[verified.stdout, verified.stderr].concat()).into_owned();
        assert_eq!(verified.status.code(), Some(0), "{printed}");
        // Everything that the gateway keeps of the rounds is there, and bears the entries out.
        assert!(printed.contains("sums against tags"), "{printed}");
        assert!(!printed.contains("is not in the folder"), "{printed}");
        assert!(Path::new(&folder).join("checkpoint").exists());
    }
}

#[test]
fn every_phase_survives_a_killed_gateway() {
    let mut scene = scene();
    let sites = support::site_names(&scene.consortium);
    let (last, others) = sites.split_last().unwrap();
    let evaluator = scene.inside.gate(EVALUATOR);
    evaluator.close();
    scene.inside.start(&scene.consortium, EVALUATOR);

    // Consent: one invited site is not there yet.
    others.iter().for_each(|site| scene.inside.start(&scene.consortium, site));
    let held = scene.inside.gate(last);
    held.close();
    let job = support::job::ask(&scene.developer, 1, Vec::new());
    scene.wait("five consents", || (scene.job(&job).consents.len() == SITES - 1).then_some(()));
    scene.restart();
    let after = scene.job(&job);
    assert!(matches!(after.phase, JobPhase::Consent { .. }), "{:?}", after.phase);
    assert_eq!(after.consents.len(), SITES - 1, "consents are durable");

    // Advertising keys: a site that has consented is not there when the last consent closes the cohort.
    let absent = others[0].as_str();
    scene.inside.stop(absent);
    scene.inside.start(&scene.consortium, last);
    scene.wait("five keys", || (scene.durable(&job, "keys") == SITES - 1).then_some(()));
    let before = scene.job(&job);
    assert!(matches!(before.phase, JobPhase::AdvertiseKeys { .. }), "{:?}", before.phase);
    scene.restart();
    let after = scene.job(&job);
    assert_eq!((&after.phase, &after.sites), (&before.phase, &before.sites), "the cohort stays fixed");

    // Exchanging ciphertexts: another site goes after its key, so that its ciphertexts are missing.
    let gone = others[1].as_str();
    scene.inside.stop(gone);
    scene.inside.start(&scene.consortium, absent);
    scene.wait("the roster", || scene.job(&job).roster.map(drop));
    scene.wait("the others' ciphertexts", || (scene.durable(&job, "ciphertexts") == SITES - 1).then_some(()));
    let before = scene.job(&job);
    assert!(matches!(before.phase, JobPhase::Encapsulate { .. }), "{:?}", before.phase);
    scene.restart();
    let after = scene.job(&job);
    assert_eq!((&after.phase, after.roster), (&before.phase, before.roster), "the roster stays fixed");
    scene.inside.start(&scene.consortium, gone);

    // Uploading: five updates are in, the sixth is held back.
    scene.wait("five uploads", || {
        let rounds = scene.developer.rounds(&job.job).unwrap();
        rounds.last().is_some_and(|round| round.uploaded.len() == SITES - 1).then_some(())
    });
    scene.restart();
    let round = scene.round(&job);
    assert_eq!(round.phase, RoundPhase::Uploading);
    assert_eq!(round.uploaded.len(), SITES - 1, "uploads are durable");

    // Agreeing: with two sites stopped there are four signatures of the five that are needed.
    let (first, second) = (others[0].as_str(), others[1].as_str());
    scene.inside.stop(first);
    scene.inside.stop(second);
    held.open();
    scene.wait("four signatures", || (scene.round(&job).signed.len() == SITES - 2).then_some(()));
    scene.restart();
    let round = scene.round(&job);
    assert_eq!(round.phase, RoundPhase::Agreeing);
    assert_eq!((round.agreed.len(), round.signed.len()), (SITES, SITES - 2), "signatures are durable");

    // Unmasking: one of the four goes, one of the two comes back: five have signed, four can answer.
    let third = others[2].as_str();
    scene.inside.stop(third);
    scene.inside.start(&scene.consortium, first);
    scene.wait("four answers", || (scene.round(&job).unmasked.len() == SITES - 2).then_some(()));
    scene.restart();
    let round = scene.round(&job);
    assert_eq!(round.phase, RoundPhase::Unmasking);
    assert_eq!(round.unmasked.len(), SITES - 2, "answers are durable");

    // Opened: the tag of the site that is still stopped is missing.
    scene.inside.start(&scene.consortium, third);
    let tagged = |scene: &Scene| scene.round(&job).verification.map_or(0, |found| found.tagged.len());
    scene.wait("five tags", || (tagged(&scene) == SITES - 1).then_some(()));
    scene.restart();
    assert_eq!(tagged(&scene), SITES - 1, "tags are durable");

    // Checking: another site goes before the last tag comes, and with it its verdict.
    scene.inside.stop(third);
    scene.inside.start(&scene.consortium, second);
    let accepted = |scene: &Scene| scene.round(&job).verification.map_or(0, |found| found.accepted.len());
    scene.wait("five verdicts", || (accepted(&scene) == SITES - 1).then_some(()));
    scene.restart();
    let verification = scene.round(&job).verification.unwrap();
    assert_eq!(
        (verification.result, accepted(&scene)),
        (SumResult::Pending, SITES - 1),
        "verdicts are durable"
    );

    // Verified, with the evaluation still to come.
    scene.inside.start(&scene.consortium, third);
    scene.wait("the verified sum", || {
        let verification = scene.round(&job).verification?;
        (verification.result == SumResult::Verified).then_some(())
    });
    scene.restart();
    let after = scene.job(&job);
    assert_eq!(after.rounds_opened, 1);
    assert!(matches!(after.phase, JobPhase::Running), "{:?}", after.phase);
    let round = scene.round(&job);
    assert_eq!(round.agreed.len(), SITES, "the stopped site's update is in the sum");
    assert_eq!(round.parameters_after, Some(after.global_parameters));
    evaluator.open();
    assert_eq!(scene.finish(&job).phase, JobPhase::Finished);
    scene.restart();
    assert_eq!(scene.job(&job).phase, JobPhase::Finished);
    scene.verify();
}

#[test]
fn kills_at_any_moment_end_in_a_finished_job_and_a_ledger_that_verifies() {
    let mut scene = scene();
    scene.inside.start_all(&scene.consortium);
    let job = support::job::ask(&scene.developer, 6, vec![3]);
    // Spread over the milliseconds in which phases follow each other, opening and scoring included.
    for milliseconds in [150, 420, 90, 610, 260, 35, 530, 340, 180, 480, 70, 300] {
        std::thread::sleep(Duration::from_millis(milliseconds));
        scene.restart();
        if matches!(scene.job(&job).phase, JobPhase::Finished) {
            break;
        }
    }
    let job = scene.finish(&job);
    assert_eq!(job.phase, JobPhase::Finished, "{}", scene.consortium.gateway_log(40));
    assert_eq!(job.rounds_opened, 6);
    let statement = scene.developer.statements(&job.job).unwrap().pop().unwrap().statement;
    assert_eq!((statement.paid.micro() + statement.returned.micro()).to_string(), job.request.budget_micro);
    scene.verify();
}
