//! The one clock of the gateway, so that tests can turn it.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{SystemTime, UNIX_EPOCH};

use konclave_crypto::UnixSeconds;

/// Where the time is read from. Cheap to clone; clones of a set clock share it.
#[derive(Debug, Clone)]
pub enum Clock {
    /// The operating system's real-time clock.
    System,
    /// A clock that shows what it was set to, in milliseconds since 1970-01-01 UTC.
    Set(Arc<AtomicU64>),
}

impl Clock {
    /// A clock that stands at `now` until it is set or advanced.
    #[must_use]
    pub fn set_to(now: UnixSeconds) -> Self {
        Self::Set(Arc::new(AtomicU64::new(now.get().saturating_mul(1000))))
    }

    /// Milliseconds since 1970-01-01 UTC; 0 if the system's clock stands before that.
    #[must_use]
    pub fn unix_millis(&self) -> u64 {
        match self {
            Self::System => SystemTime::now()
                .duration_since(UNIX_EPOCH)
                .map_or(0, |elapsed| u64::try_from(elapsed.as_millis()).unwrap_or(u64::MAX)),
            Self::Set(millis) => millis.load(Ordering::SeqCst),
        }
    }

    /// Whole seconds since 1970-01-01 UTC.
    #[must_use]
    pub fn now(&self) -> UnixSeconds {
        UnixSeconds(self.unix_millis() / 1000)
    }

    /// Turns a set clock on; the system's clock is not affected.
    pub fn advance_seconds(&self, seconds: u64) {
        if let Self::Set(millis) = self {
            millis.fetch_add(seconds.saturating_mul(1000), Ordering::SeqCst);
        }
    }
}
