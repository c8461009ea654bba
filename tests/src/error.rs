//! What can go wrong around the processes: each error says which program, and shows the end of its log.

use std::io;
use std::path::PathBuf;
use std::time::Duration;

use konclave_openapi::problem::Problem;

/// A failure of a run.
#[derive(Debug, thiserror::Error)]
pub enum HarnessError {
    /// A program of the workspace has not been built.
    #[error(
        "{program} is not in {folder}: build it first (`make build`, or `cargo build --bins` for the tests)"
    )]
    MissingProgram {
        /// The program.
        program: &'static str,
        /// Where it was looked for.
        folder: PathBuf,
    },
    /// The file system refused.
    #[error("could not {action} {path}: {source}")]
    File {
        /// What was tried.
        action: &'static str,
        /// On what.
        path: PathBuf,
        /// The reason.
        source: io::Error,
    },
    /// A program could not be started.
    #[error("could not start {program}: {source}")]
    Start {
        /// The program.
        program: PathBuf,
        /// The reason.
        source: io::Error,
    },
    /// A command ended with a failure.
    #[error("`{command}` ended with {status}\n{output}")]
    Command {
        /// The command line.
        command: String,
        /// How it ended.
        status: String,
        /// The end of what it printed.
        output: String,
    },
    /// A process ended although it was still needed.
    #[error("{process} ended early with {status}; the end of {log}:\n{tail}")]
    EndedEarly {
        /// The process.
        process: String,
        /// How it ended.
        status: String,
        /// Its log.
        log: PathBuf,
        /// The log's end.
        tail: String,
    },
    /// Something did not happen in time.
    #[error("{what} did not happen within {} s\n{seen}", waited.as_secs())]
    TimedOut {
        /// What was waited for.
        what: String,
        /// For how long.
        waited: Duration,
        /// What was there instead.
        seen: String,
    },
    /// A request could not be made or its answer not be read.
    #[error("{request}: {source}")]
    Http {
        /// Method and path.
        request: String,
        /// The reason.
        #[source]
        source: reqwest::Error,
    },
    /// The gateway answered with a problem.
    #[error("{request}: {} {}: {}", problem.status, problem.title, problem.detail)]
    Problem {
        /// Method and path.
        request: String,
        /// The problem document.
        problem: Box<Problem>,
    },
    /// The folder for a run's results is used by another run.
    #[error("a demonstration runs in {folder}: stop it with Ctrl-C, or set --out")]
    FolderInUse {
        /// The folder.
        folder: PathBuf,
    },
    /// The folder for a run's results holds what no run made.
    #[error("{folder} holds other files, which a run would remove: name another folder with --out")]
    ForeignFolder {
        /// The folder.
        folder: PathBuf,
    },
    /// The public data have not been fetched.
    #[error("the public data are not at {path}: run `make setup`, which fetches them")]
    NoPublicData {
        /// Where they should be.
        path: PathBuf,
    },
    /// The user's own data cannot be read.
    #[error("cannot use the data file {path} (DATA=, --data): {source}")]
    NoDataFile {
        /// The file as it was named.
        path: PathBuf,
        /// The reason.
        source: io::Error,
    },
    /// Kept tasks that the held-out molecules cannot measure.
    #[error(
        "the held-out molecules cannot measure {}: leave out the task, or try another SEED",
        tasks.join(", ")
    )]
    NotMeasurable {
        /// The tasks.
        tasks: Vec<String>,
    },
    /// An answer or a file does not have the form it should have.
    #[error("{what} is not as expected: {found}")]
    Unexpected {
        /// What was read.
        what: String,
        /// What is wrong with it.
        found: String,
    },
}

impl HarnessError {
    /// For `map_err` on a file operation.
    pub(crate) fn file(action: &'static str, path: impl Into<PathBuf>) -> impl FnOnce(io::Error) -> Self {
        let path = path.into();
        move |source| Self::File { action, path, source }
    }

    /// Something is not as it should be.
    pub(crate) fn unexpected(what: impl Into<String>, found: impl ToString) -> Self {
        Self::Unexpected { what: what.into(), found: found.to_string() }
    }

    /// The problem document, if the gateway answered with one.
    #[must_use]
    pub fn problem(&self) -> Option<&Problem> {
        if let Self::Problem { problem, .. } = self { Some(problem) } else { None }
    }
}
