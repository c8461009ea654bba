//! Three sites against a gateway in memory: whole rounds, kills, and a gateway that lies.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::panic, reason = "a test may panic")]

mod support;

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use konclave_crypto::{Digest, RoundContext};
use konclave_openapi::models::ModelManifest;
use konclave_site::client::{EgressLine, MessageClass};
use konclave_site::config::{ConfigFlags, SiteConfig, SiteFolder};
use konclave_site::data::TaskSpec;
use konclave_site::driver::{Learner, LearnerFault, Site, SiteError};
use konclave_site::trainer::{
    LocalDelta, LocalUpdate, TrainError, TrainProgress, TrainingReport, TrainingTask,
};
use support::Pki;
use support::gateway::{COORDINATES, Gateway, router};
use tokio::task::JoinHandle;

const SITES: [&str; 3] = ["site-a", "site-b", "site-c"];

/// Gives the same vector in every round.
struct KnownVector(Vec<f32>);

impl Learner for KnownVector {
    fn inspect(&self, _: &Path, _: &ModelManifest, _: &[TaskSpec]) -> Result<(), LearnerFault> {
        if self.0.is_empty() { Err(LearnerFault::NoLabels) } else { Ok(()) }
    }

    fn begin(&self, _: &Path) -> Result<Box<dyn LocalUpdate + Send>, LearnerFault> {
        Ok(Box::new(Self(self.0.clone())))
    }
}

impl LocalUpdate for KnownVector {
    fn train(
        &mut self,
        task: &TrainingTask<'_>,
        progress: &mut dyn FnMut(TrainProgress),
    ) -> Result<LocalDelta, TrainError> {
        assert_eq!(task.parameters.len(), COORDINATES);
        progress(TrainProgress { epochs_done: 1, epochs: 1, loss: 0.5 });
        let report = TrainingReport {
            device: "none".into(),
            molecules: 1,
            steps: 1,
            milliseconds: 1,
            tasks: std::collections::BTreeMap::new(),
            unused: Default::default(),
        };
        // More labels than the cap: the driver must cut the weight.
        Ok(LocalDelta { delta: self.0.clone(), weight: 1_000_000, report })
    }
}

struct Field {
    gateway: Arc<Mutex<Gateway>>,
    folders: Vec<PathBuf>,
    _keep: tempfile::TempDir,
}

impl Field {
    fn new() -> Self {
        let _ = tracing_subscriber::fmt().with_test_writer().with_max_level(tracing::Level::WARN).try_init();
        let keep = tempfile::tempdir().unwrap();
        let gateway = Gateway::new(&SITES);
        let folders = SITES
            .iter()
            .map(|site| {
                let pki = Pki::new(site);
                let address = pki.serve(router(&gateway, site));
                let folder = keep.path().join(site);
                gateway.lock().unwrap().enrol(&pki, site, address, &folder);
                std::fs::write(folder.join("data/m.csv"), "SMILES_Structure_Parent\n").unwrap();
                folder
            })
            .collect();
        Self { gateway, folders, _keep: keep }
    }

    fn start(&self, index: usize) -> JoinHandle<Result<(), SiteError>> {
        self.start_with(index, vector(index))
    }

    fn start_with(&self, index: usize, vector: Vec<f32>) -> JoinHandle<Result<(), SiteError>> {
        let folder = SiteFolder::new(&self.folders[index]);
        let flags = ConfigFlags { poll_seconds: Some(1), witness_seconds: Some(1), ..ConfigFlags::default() };
        let config = SiteConfig::load(&folder, &flags).unwrap();
        tokio::spawn(Site::run(folder, config, KnownVector(vector), std::future::pending()))
    }

    /// Starts again right after a kill; work of the killed one that cannot be interrupted may hold the lock a moment.
    async fn restart(&self, index: usize) -> JoinHandle<Result<(), SiteError>> {
        for _ in 0..100 {
            let mut site = self.start(index);
            match tokio::time::timeout(Duration::from_millis(100), &mut site).await {
                Ok(ended) => {
                    let error = ended.unwrap().unwrap_err();
                    assert!(matches!(error, SiteError::Locked(_)), "{error}");
                }
                Err(_) => return site,
            }
        }
        panic!("the lock is never released");
    }

    async fn until(&self, what: &str, reached: impl Fn(&Gateway) -> bool) {
        for _ in 0..600 {
            if reached(&self.gateway.lock().unwrap()) {
                return;
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        panic!("not reached in 30 s: {what}");
    }

    fn egress(&self, index: usize) -> Vec<EgressLine> {
        let text = std::fs::read_to_string(self.folders[index].join("state/egress.ndjson")).unwrap();
        text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
    }
}

/// Multiples of the clip bound that the quantisation represents exactly at full weight.
fn vector(index: usize) -> Vec<f32> {
    (0..COORDINATES).map(|place| if (place + index).is_multiple_of(2) { 0.2 } else { -0.2 }).collect()
}

fn expected_sum(sites: usize) -> Vec<i32> {
    let largest = (1 << 15) - 1;
    let sign =
        |place: usize, index: usize| if (place + index).is_multiple_of(2) { largest } else { -largest };
    (0..COORDINATES).map(|place| (0..sites).map(|index| sign(place, index)).sum()).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn rounds_open_to_the_sum_of_the_known_vectors() {
    let field = Field::new();
    let sites: Vec<_> = (0..3).map(|index| field.start(index)).collect();
    field.until("two opened rounds", |gateway| gateway.opened.len() == 2).await;
    let cap = u64::from(field.gateway.lock().unwrap().policy.weight_cap);
    for (coordinates, weight) in &field.gateway.lock().unwrap().opened {
        assert_eq!(*weight, 3 * cap);
        for (found, wanted) in coordinates.iter().zip(expected_sum(3)) {
            // 0.2 is no binary fraction: stochastic rounding may move each site's value by one.
            assert!((found - wanted).abs() <= 3, "{coordinates:?}");
        }
    }
    field.until("all cosigned", |gateway| gateway.cosignatures.len() == 3).await;
    sites.iter().for_each(JoinHandle::abort);
    for index in 0..3 {
        let classes: BTreeSet<MessageClass> = field.egress(index).iter().map(|line| line.class).collect();
        let allowed = BTreeSet::from([
            MessageClass::Read,
            MessageClass::Consent,
            MessageClass::KeyAdvertisement,
            MessageClass::KemCiphertexts,
            MessageClass::Manifest,
            MessageClass::MaskedUpdate,
            MessageClass::Agreement,
            MessageClass::Unmasking,
            MessageClass::Cosignature,
        ]);
        assert_eq!(classes, allowed);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_site_that_is_killed_again_and_again_sends_one_manifest_a_round() {
    let field = Field::new();
    field.gateway.lock().unwrap().rounds_wanted = 3;
    let others: Vec<_> = (1..3).map(|index| field.start(index)).collect();
    let mut victim = field.start(0);
    for pause in [40, 70, 110, 160, 230, 300, 90, 50, 130, 180] {
        tokio::time::sleep(Duration::from_millis(pause)).await;
        victim.abort();
        let _ = victim.await;
        victim = field.restart(0).await;
    }
    field.until("three opened rounds", |gateway| gateway.opened.len() == 3).await;
    let gateway = field.gateway.lock().unwrap();
    let mut by_round = std::collections::BTreeMap::new();
    for (site, manifest) in gateway.manifests_seen.iter().filter(|(site, _)| site.as_str() == "site-a") {
        let header = &manifest.signed.header;
        let first = by_round.entry((site.clone(), header.context)).or_insert(manifest);
        assert_eq!(*first, manifest, "two different manifests in one round");
    }
    assert_eq!(by_round.len(), 3);
    drop(gateway);
    victim.abort();
    others.iter().for_each(JoinHandle::abort);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn contexts_that_say_other_things_than_the_job_get_no_update() {
    let tampers: [fn(&mut RoundContext); 6] = [
        |context| context.training = Digest::of(b"train longer"),
        |context| context.policy = Digest::of(b"another policy"),
        |context| context.min_agreed = 2,
        |context| context.model = Digest::of(b"another model"),
        |context| context.encoding.weight_cap += 1,
        |context| context.encoding.tensors[0].name.push('x'),
    ];
    for (case, tamper) in tampers.into_iter().enumerate() {
        let field = Field::new();
        field.gateway.lock().unwrap().tamper = Some(tamper);
        let sites: Vec<_> = (0..3).map(|index| field.start(index)).collect();
        let asked = |gateway: &Gateway| gateway.consents.len() == 3 && gateway.has_round();
        field.until("a round", asked).await;
        tokio::time::sleep(Duration::from_millis(700)).await;
        assert!(field.gateway.lock().unwrap().manifests_seen.is_empty(), "case {case}");
        sites.iter().for_each(JoinHandle::abort);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn another_ledger_head_in_a_context_raises_the_alarm_and_stops_the_site() {
    let field = Field::new();
    field.gateway.lock().unwrap().tamper = Some(|context| context.ledger_root = Digest::of(b"fork"));
    let sites: Vec<_> = (0..3).map(|index| field.start(index)).collect();
    for (index, site) in sites.into_iter().enumerate() {
        let error = tokio::time::timeout(Duration::from_secs(30), site).await.unwrap().unwrap().unwrap_err();
        assert!(error.to_string().contains("ALARM"), "{error}");
        assert!(field.folders[index].join("state/ALARM").is_file());
        let error = field.start(index).await.unwrap().unwrap_err();
        assert!(matches!(error, SiteError::Alarm { .. }), "{error}");
    }
    assert!(field.gateway.lock().unwrap().manifests_seen.is_empty());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_site_restored_from_an_old_copy_does_not_mask_again() {
    let field = Field::new();
    field.gateway.lock().unwrap().hold_uploads = true;
    let sites: Vec<_> = (0..3).map(|index| field.start(index)).collect();
    field.until("all uploads", |gateway| gateway.uploaded() == 3).await;
    for site in sites {
        site.abort();
        let _ = site.await;
    }
    tokio::time::sleep(Duration::from_millis(200)).await;
    // Site a loses the round's state, site b the journal with it, site c nothing.
    for (index, paths) in
        [(0, vec!["state/jobs/job-1/rounds"]), (1, vec!["state/jobs/job-1/rounds", "journal"])]
    {
        for path in paths {
            std::fs::remove_dir_all(field.folders[index].join(path)).unwrap();
        }
    }
    let before = field.gateway.lock().unwrap().manifests_seen.len();
    let mut sites = Vec::new();
    for index in 0..3 {
        sites.push(field.restart(index).await);
    }
    field.until("site c again", |gateway| gateway.manifests_seen.len() > before).await;
    tokio::time::sleep(Duration::from_millis(700)).await;
    let gateway = field.gateway.lock().unwrap();
    assert!(gateway.manifests_seen[before..].iter().all(|(site, _)| site.as_str() == "site-c"));
    drop(gateway);
    sites.iter().for_each(JoinHandle::abort);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_site_without_labels_signs_a_refusal() {
    let field = Field::new();
    let site = field.start_with(0, Vec::new());
    field.until("an answer", |gateway| gateway.consents.len() == 1).await;
    let envelope = field.gateway.lock().unwrap().consents.values().next().unwrap().clone();
    let text = String::from_utf8(envelope.unverified_payload().unwrap()).unwrap();
    assert!(text.contains("\"decision\":\"refuse\"") && text.contains("\"rule\":\"tasks\""), "{text}");
    site.abort();
}
