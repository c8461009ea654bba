//! How much the gateway takes on at once: file descriptors, connections, requests.
//!
//! A connection is a file descriptor, and so are most requests' files; the ledger needs some of its own for every
//! write. Whoever uses them all up would stop the ledger, so each kind has its share and the rest is kept back.

mod answer;
mod connections;
mod requests;
mod shares;
mod stream;

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

pub use connections::{Admission, Connections, InForce, Ticket};
pub use requests::Requests;
pub(crate) use requests::bounded;
pub(crate) use shares::held;
pub use stream::Counted;

use crate::config::Limits;

/// A request opens at most this many files at once: the blob or body it reads or writes, and a recording.
const FILES_PER_REQUEST: usize = 2;

/// File descriptors that neither connections nor requests get: the ledger's, the rounds' and the logs'.
const RESERVE: usize = 128;

/// What fits into the process's file descriptors.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Capacity {
    /// Open connections.
    pub connections: usize,
    /// Of them, those from one address without a certificate in force, or with one such certificate.
    pub connections_per_address: usize,
    /// Requests under way.
    pub requests: usize,
}

impl Capacity {
    /// Requests under way of one address or certificate: the part of all that it may have of the connections.
    #[must_use]
    pub(crate) fn requests_per_address(&self) -> usize {
        let part = self.requests.saturating_mul(self.connections_per_address) / self.connections.max(1);
        part.max(1)
    }

    /// Raises the soft limit of open files to the hard one, and fits the configured limits into it.
    #[must_use]
    pub fn claim(limits: &Limits) -> Self {
        let files = getrlimit(Resource::Nofile);
        let raised = Rlimit { current: files.maximum, maximum: files.maximum };
        let files = match setrlimit(Resource::Nofile, raised) {
            Ok(()) => files.maximum,
            Err(error) => {
                tracing::warn!(%error, "the limit of open files cannot be raised");
                files.current
            }
        };
        let files = files.and_then(|files| usize::try_from(files).ok()).unwrap_or(usize::MAX);
        let capacity = Self::within(limits, files);
        if capacity != Self::within(limits, usize::MAX) {
            tracing::warn!(
                files,
                connections = capacity.connections,
                requests = capacity.requests,
                "the system's limit of open files (ulimit -n) is too low for the configured limits; fewer are taken on"
            );
        }
        capacity
    }

    /// The configured limits, or what the reserve leaves of `files`: a quarter for connections, the rest for requests.
    fn within(limits: &Limits, files: usize) -> Self {
        let wanted = |count: u32| usize::try_from(count).unwrap_or(usize::MAX);
        let left = files.saturating_sub(RESERVE);
        let connections = wanted(limits.connections).min(left / 4).max(1);
        Self {
            connections,
            connections_per_address: wanted(limits.connections_per_address).min(connections),
            requests: wanted(limits.requests).min((left - left / 4) / FILES_PER_REQUEST).max(1),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_taken_on_fits_into_the_file_descriptors() {
        let limits =
            Limits { connections: 512, connections_per_address: 64, requests: 1024, ..Limits::default() };
        let whole = Capacity { connections: 512, connections_per_address: 64, requests: 1024 };
        assert_eq!(Capacity::within(&limits, usize::MAX), whole);
        assert_eq!(whole.requests_per_address(), 128);
        assert_eq!(Capacity::within(&limits, 2732 + RESERVE), whole);
        for files in [0, 140, 200, 1024, 4096] {
            let fitted = Capacity::within(&limits, files);
            let used = fitted.connections + FILES_PER_REQUEST * fitted.requests + RESERVE;
            assert!(used <= files.max(RESERVE + 3), "{files}: {fitted:?}");
            assert!(fitted.connections_per_address <= fitted.connections);
            assert!((1..=fitted.requests).contains(&fitted.requests_per_address()));
        }
    }
}
