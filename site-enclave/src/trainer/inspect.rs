//! A look at a model in a process of its own.
//!
//! A model is code: to see its parameters and outputs libtorch compiles and runs it. The first time that happens before the
//! site has agreed to anything, so it happens in a child process: the same program, started anew, without keys and data,
//! with bounds on its memory, its computing time and the files it can write. What the child says is kept by the file's
//! digest, a failure too: a model that crashed or hung the child is not looked at again, also after a restart.

use std::io::Read;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use konclave_crypto::Digest;
use rustix::process::{Resource, Rlimit, setrlimit};
use serde::{Deserialize, Serialize};

use super::manifest::ModelManifest;
use super::model::{ModelError, TorchScriptModel, read_model};
use crate::keystore::Disk;

/// The hidden command under which the program inspects a model.
pub const INSPECT_COMMAND: &str = "inspect-model";

/// How long the child may take.
const WALL_LIMIT: Duration = Duration::from_secs(120);

/// Its computing time in seconds.
const CPU_LIMIT: u64 = 120;

/// Its address space beside what the file itself takes: libtorch's libraries, and room for one small batch.
const MEMORY_LIMIT: u64 = 6 << 30;

/// Copies of the file that loading makes.
const COPIES: u64 = 6;

/// Longest answer of the child.
const ANSWER_LIMIT: u64 = 32 << 20;

/// Longest explanation of a refusal, in characters.
const REASON_LIMIT: usize = 500;

/// Inspects models in child processes and remembers what they said.
#[derive(Debug)]
pub struct Inspector {
    program: PathBuf,
    verdicts: PathBuf,
    wall_limit: Duration,
    disk: Disk,
}

/// What an inspection found; the child prints it, and the parent keeps it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
enum Verdict {
    Accepted(ModelManifest),
    Refused { category: ModelFault, reason: String },
}

/// The kind of a model's fault: all of it that others are told.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum ModelFault {
    /// The file could not be read here; not the model's fault.
    File,
    /// The file is not what `torch.jit.save` writes.
    Format,
    /// State that cannot be averaged.
    State,
    /// It does not compute outputs from a batch of fingerprints.
    Outputs,
    /// It took too long or too much memory to look at.
    Inspection,
}

impl ModelFault {
    /// In words, without anything of the site's own.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::File => "the model could not be read",
            Self::Format => "the model file is not one that a site loads",
            Self::State => "the model's state cannot be averaged",
            Self::Outputs => "the model does not compute outputs from fingerprints",
            Self::Inspection => "the model took too long or too much memory to look at, or crashed",
        }
    }
}

impl Inspector {
    /// An inspector that starts this very program, with a folder for what it found.
    #[must_use]
    pub fn new(verdicts: PathBuf) -> Self {
        // The file that runs now, also if another one was installed in its place since.
        Self::with_program(PathBuf::from("/proc/self/exe"), verdicts, WALL_LIMIT)
    }

    /// An inspector that starts another copy of this program and waits for a given time.
    #[must_use]
    pub fn with_program(program: PathBuf, verdicts: PathBuf, wall_limit: Duration) -> Self {
        Self { program, verdicts, wall_limit, disk: Disk::default() }
    }

    /// What a model is made of.
    ///
    /// # Errors
    /// [`ModelError`]; the same for the same file ever after, except for [`ModelError::File`].
    pub fn inspect(&self, model: &Path) -> Result<ModelManifest, ModelError> {
        let here = |reason: String| ModelError::File { path: model.to_path_buf(), reason };
        let digest = Digest::of(&read_model(model)?);
        self.disk.create_folder(&self.verdicts).map_err(|error| here(error.to_string()))?;
        let file = self.verdicts.join(format!("{digest}.json"));
        let stored = self.disk.read(&file).map_err(|error| here(error.to_string()))?;
        let verdict = match stored.and_then(|bytes| serde_json::from_slice(&bytes).ok()) {
            Some(verdict) => verdict,
            None => {
                let verdict = self.ask_child(model)?;
                let lost = |error: serde_json::Error| here(error.to_string());
                if !matches!(verdict, Verdict::Refused { category: ModelFault::File, .. }) {
                    let bytes = serde_json::to_vec(&verdict).map_err(lost)?;
                    self.disk.write(&file, &bytes).map_err(|error| here(error.to_string()))?;
                }
                verdict
            }
        };
        match verdict {
            Verdict::Accepted(manifest) if manifest.torchscript == digest => Ok(manifest),
            Verdict::Accepted(_) => Err(here("the child looked at another file".to_owned())),
            Verdict::Refused { category: ModelFault::File, reason } => Err(here(reason)),
            Verdict::Refused { category, reason } => Err(ModelError::Refused { category, reason }),
        }
    }

    fn ask_child(&self, model: &Path) -> Result<Verdict, ModelError> {
        let here = |error: std::io::Error| ModelError::File {
            path: model.to_path_buf(),
            reason: format!("no process could be started for it: {error}"),
        };
        let model = std::path::absolute(model).map_err(here)?;
        let mut command = Command::new(&self.program);
        command.arg(INSPECT_COMMAND).arg(model).current_dir("/").env_clear();
        if let Some(path) = std::env::var_os("LD_LIBRARY_PATH") {
            command.env("LD_LIBRARY_PATH", path);
        }
        let mut child = command
            .env("OMP_NUM_THREADS", "1")
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .map_err(here)?;
        let answer = child.stdout.take().map(|stdout| {
            thread::spawn(move || {
                let mut answer = Vec::new();
                stdout.take(ANSWER_LIMIT).read_to_end(&mut answer).map(|_| answer)
            })
        });
        let failed = |reason: &str| {
            Ok(Verdict::Refused { category: ModelFault::Inspection, reason: reason.to_owned() })
        };
        if !ends_within(&mut child, self.wall_limit).map_err(here)? {
            return failed("the look at the model took too long");
        }
        let answer = answer.and_then(|thread| thread.join().ok()).and_then(Result::ok).unwrap_or_default();
        match serde_json::from_slice(&answer) {
            Ok(verdict) => Ok(verdict),
            Err(_) => {
                failed("the look at the model ended without an answer: it crashed or used up its limits")
            }
        }
    }
}

/// Waits for a child; kills it when its time is over.
fn ends_within(child: &mut Child, limit: Duration) -> std::io::Result<bool> {
    let start = Instant::now();
    while child.try_wait()?.is_none() {
        if start.elapsed() >= limit {
            child.kill()?;
            child.wait()?;
            return Ok(false);
        }
        thread::sleep(Duration::from_millis(20));
    }
    Ok(true)
}

/// The child's part: bounds itself, looks at the model and gives the answer to print.
///
/// # Errors
/// The system's reason if the bounds cannot be set; then nothing was looked at.
pub fn inspect_here(model: &Path) -> std::io::Result<String> {
    let size = std::fs::metadata(model).map_or(0, |found| found.len());
    let memory = MEMORY_LIMIT.saturating_add(size.saturating_mul(COPIES));
    for (resource, limit) in [(Resource::As, memory), (Resource::Cpu, CPU_LIMIT), (Resource::Fsize, 0)] {
        setrlimit(resource, Rlimit { current: Some(limit), maximum: Some(limit) })?;
    }
    let verdict = match TorchScriptModel::open(model) {
        Ok(checked) => Verdict::Accepted(checked.manifest().clone()),
        Err(error) => {
            let reason: String =
                error.to_string().chars().filter(|c| !c.is_control()).take(REASON_LIMIT).collect();
            Verdict::Refused { category: error.fault(), reason }
        }
    };
    serde_json::to_string(&verdict).map_err(std::io::Error::other)
}
