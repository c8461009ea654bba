//! What can go wrong between the site and the gateway, with whose fault it is.

use std::error::Error as _;
use std::path::PathBuf;

use konclave_crypto::Digest;
use konclave_openapi::problem::{Problem, ProblemType};

/// Why a request to the gateway failed.
#[derive(Debug, thiserror::Error)]
pub enum ClientError {
    /// The client's keys, certificates or address do not make a TLS client.
    #[error("cannot set up the connection to the gateway: {reason}")]
    Setup {
        /// What is wrong with them.
        reason: String,
    },
    /// No connection, or it broke.
    #[error("{method} {path}: cannot reach the gateway: {reason}")]
    Connection {
        /// The method.
        method: &'static str,
        /// The path and query.
        path: String,
        /// The reasons, outermost first.
        reason: String,
    },
    /// The gateway answered with a problem.
    #[error("{method} {path}: {}", in_full(.problem))]
    Problem {
        /// The method.
        method: &'static str,
        /// The path and query.
        path: String,
        /// The answer.
        problem: Box<Problem>,
        /// Seconds to wait, from `Retry-After`.
        retry_after: Option<u64>,
    },
    /// Something that is not Konclave's gateway answered, such as a proxy.
    #[error(
        "{method} {path}: the answer has status {status} and is no problem document; is there a proxy between?"
    )]
    NotAGateway {
        /// The method.
        method: &'static str,
        /// The path and query.
        path: String,
        /// Its status.
        status: u16,
        /// Seconds to wait, from `Retry-After`.
        retry_after: Option<u64>,
    },
    /// A success whose body is not what the contract says: the gateway's fault, or another version of it.
    #[error("{method} {path}: the gateway's answer does not follow the API: {reason}")]
    Malformed {
        /// The method.
        method: &'static str,
        /// The path and query.
        path: String,
        /// What is wrong with it.
        reason: String,
    },
    /// A blob whose bytes are not those of its digest.
    #[error(
        "the blob {wanted} came with digest {found}: refused; the gateway's blob store is damaged or lies"
    )]
    WrongBlob {
        /// The digest asked for.
        wanted: Digest,
        /// The digest of what came.
        found: Digest,
    },
    /// A blob larger than what was announced.
    #[error("the blob {digest} is larger than the {limit} bytes it may have here: refused")]
    BlobTooLarge {
        /// The blob.
        digest: Digest,
        /// The limit in bytes.
        limit: u64,
    },
    /// An upload that the gateway did not take in whole.
    #[error("the gateway holds {held} of {bytes} bytes of the upload after {attempts} attempts")]
    Stalled {
        /// Bytes the gateway has.
        held: u64,
        /// Bytes in all.
        bytes: u64,
        /// Attempts without progress.
        attempts: u32,
    },
    /// A local file failed.
    #[error("cannot {doing} {path}: {source}")]
    File {
        /// What was being done.
        doing: &'static str,
        /// The file.
        path: PathBuf,
        /// The system's reason.
        source: std::io::Error,
    },
    /// The record of what leaves the site cannot be written, so nothing is sent.
    #[error("cannot write the egress log {path}, so nothing is sent: {source}")]
    EgressLog {
        /// The log.
        path: PathBuf,
        /// The system's reason.
        source: std::io::Error,
    },
}

impl ClientError {
    /// From a failed exchange.
    pub(crate) fn connection(method: &'static str, path: &str, error: &reqwest::Error) -> Self {
        let mut reason = error.to_string();
        let mut source = error.source();
        while let Some(inner) = source {
            let text = inner.to_string();
            if !reason.contains(&text) {
                reason.push_str(": ");
                reason.push_str(&text);
            }
            source = inner.source();
        }
        Self::Connection { method, path: path.to_owned(), reason }
    }

    /// The problem's type, if it is a known problem.
    #[must_use]
    pub fn problem_type(&self) -> Option<ProblemType> {
        match self {
            Self::Problem { problem, .. } => known_type(problem),
            Self::Setup { .. }
            | Self::Connection { .. }
            | Self::NotAGateway { .. }
            | Self::Malformed { .. }
            | Self::WrongBlob { .. }
            | Self::BlobTooLarge { .. }
            | Self::Stalled { .. }
            | Self::File { .. }
            | Self::EgressLog { .. } => None,
        }
    }

    /// Whether the round or phase of the message is over or has not begun: time to ask for work again.
    #[must_use]
    pub fn is_over(&self) -> bool {
        matches!(
            self.problem_type(),
            Some(ProblemType::WrongRound | ProblemType::NotFound | ProblemType::Conflict)
        )
    }

    /// Whether the same request may succeed a little later.
    #[must_use]
    pub fn is_temporary(&self) -> bool {
        match self {
            Self::Connection { .. } => true,
            Self::Problem { problem, .. } => is_temporary_status(problem.status),
            Self::NotAGateway { status, .. } => is_temporary_status(*status),
            Self::Setup { .. }
            | Self::Malformed { .. }
            | Self::WrongBlob { .. }
            | Self::BlobTooLarge { .. }
            | Self::Stalled { .. }
            | Self::File { .. }
            | Self::EgressLog { .. } => false,
        }
    }

    /// Whether the request failed for a reason that is this site's: its own files, or an access that has ended.
    #[must_use]
    pub fn is_of_this_site(&self) -> bool {
        match self {
            Self::Setup { .. } | Self::File { .. } | Self::EgressLog { .. } => true,
            Self::Problem { problem, .. } => matches!(problem.status, 401 | 403),
            Self::Connection { .. }
            | Self::NotAGateway { .. }
            | Self::Malformed { .. }
            | Self::WrongBlob { .. }
            | Self::BlobTooLarge { .. }
            | Self::Stalled { .. } => false,
        }
    }

    /// Seconds the gateway asked to wait.
    #[must_use]
    pub fn retry_after(&self) -> Option<u64> {
        match self {
            Self::Problem { retry_after, .. } | Self::NotAGateway { retry_after, .. } => *retry_after,
            Self::Setup { .. }
            | Self::Connection { .. }
            | Self::Malformed { .. }
            | Self::WrongBlob { .. }
            | Self::BlobTooLarge { .. }
            | Self::Stalled { .. }
            | Self::File { .. }
            | Self::EgressLog { .. } => None,
        }
    }
}

/// 429 and what a gateway or the proxy before it says while it restarts or fails.
const fn is_temporary_status(status: u16) -> bool {
    matches!(status, 429 | 500 | 502 | 503 | 504)
}

/// The problem's type by the slug at the end of its `type`.
fn known_type(problem: &Problem) -> Option<ProblemType> {
    let slug = problem.kind.rsplit('/').next()?;
    ProblemType::ALL.iter().copied().find(|kind| kind.slug() == slug)
}

/// All of a problem in one line.
fn in_full(problem: &Problem) -> String {
    let mut text = format!("{} ({}, {})", problem.title, problem.status, problem.kind);
    if !problem.detail.is_empty() {
        text.push_str(": ");
        text.push_str(&problem.detail);
    }
    for error in &problem.errors {
        text.push_str(&format!("; {}: {}", error.at, error.detail));
    }
    text.push_str(&format!(" [request {}]", problem.request_id));
    text
}
