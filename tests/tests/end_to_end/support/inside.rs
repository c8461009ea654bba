//! Members run inside the test, on threads of their own, with known learners: everything but the learning is real.

use std::collections::BTreeMap;
use std::path::Path;
use std::thread::JoinHandle;
use std::time::Duration;

use konclave_site::config::{ConfigFlags, SiteConfig, SiteFolder};
use konclave_site::driver::{Evaluator, Site};
use konclave_tests::consortium::{Consortium, EVALUATOR};
use tokio::sync::oneshot;

use super::known::{Gate, KnownExaminer, KnownLearner};

/// The members that run inside this test; all stop when it is dropped.
#[derive(Default)]
pub(crate) struct Inside {
    running: BTreeMap<String, Running>,
    gates: BTreeMap<String, Gate>,
}

struct Running {
    stop: oneshot::Sender<()>,
    thread: JoinHandle<Result<(), String>>,
}

impl Inside {
    /// The gate before a member's training or examination.
    pub(crate) fn gate(&mut self, member: &str) -> Gate {
        self.gates.entry(member.to_owned()).or_default().clone()
    }

    /// Starts all members that do not run.
    pub(crate) fn start_all(&mut self, consortium: &Consortium) {
        let names: Vec<String> = consortium.members().map(|member| member.site.clone()).collect();
        names.iter().for_each(|member| self.start(consortium, member));
    }

    /// Starts a member, if it does not run.
    pub(crate) fn start(&mut self, consortium: &Consortium, member: &str) {
        if self.running.contains_key(member) {
            return;
        }
        let folder = consortium.member(member).unwrap().folder.clone();
        let (name, gate) = (member.to_owned(), self.gate(member));
        let (stop, stopped) = oneshot::channel();
        let thread = std::thread::spawn(move || run(&name, &folder, gate, stopped));
        self.running.insert(member.to_owned(), Running { stop, thread });
    }

    /// Stops a member in the middle of whatever it does: its task is dropped, nothing is finished or told to anyone.
    pub(crate) fn stop(&mut self, member: &str) {
        let Some(running) = self.running.remove(member) else { return };
        let gate = self.gate(member);
        drop(running.stop);
        // A held-back training must end, or the member's thread would wait for it; nobody takes its result any more.
        gate.open();
        let ended = running.thread.join().unwrap();
        assert!(ended.is_ok(), "{member}: {ended:?}");
    }
}

impl Drop for Inside {
    fn drop(&mut self) {
        self.gates.values().for_each(Gate::open);
        for (_, running) in std::mem::take(&mut self.running) {
            drop(running.stop);
            // A failure was seen by whoever waited for its effect.
            let _ = running.thread.join();
        }
    }
}

fn run(name: &str, folder: &Path, gate: Gate, stopped: oneshot::Receiver<()>) -> Result<(), String> {
    let _ = rustls::crypto::ring::default_provider().install_default();
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
    let folder = SiteFolder::new(folder);
    let flags = ConfigFlags { poll_seconds: Some(1), witness_seconds: Some(1), ..ConfigFlags::default() };
    let config = SiteConfig::load(&folder, &flags).map_err(|error| error.to_string())?;
    let ended = runtime.block_on(async {
        let forever = std::future::pending::<()>();
        let service = async {
            if name == EVALUATOR {
                Evaluator::run(folder, config, KnownExaminer { gate }, forever).await
            } else {
                Site::run(folder, config, KnownLearner { site: name.to_owned(), gate }, forever).await
            }
        };
        // The service loses the race when it is stopped: it is dropped where it stands.
        tokio::select! {
            ended = service => ended.map_err(|error| error.to_string()),
            _ = stopped => Ok(()),
        }
    });
    runtime.shutdown_timeout(Duration::from_secs(5));
    ended
}
