//! How long to wait before the same request is sent again.

use std::time::Duration;

/// Exponential backoff with full jitter, so that sites do not return in step after a gateway's restart.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RetryPolicy {
    /// Attempts in all, at least 1.
    pub attempts: u32,
    /// The longest first wait.
    pub first_wait: Duration,
    /// The longest wait at all, also where the gateway asks for more.
    pub longest_wait: Duration,
}

impl Default for RetryPolicy {
    fn default() -> Self {
        Self { attempts: 6, first_wait: Duration::from_millis(250), longest_wait: Duration::from_secs(10) }
    }
}

impl RetryPolicy {
    /// The wait after failed attempt `attempt` (from 1), given 64 random bits and what the gateway asked for.
    ///
    /// The gateway's `Retry-After` is a minimum; half of the backoff step is fixed and half is random.
    #[must_use]
    pub fn wait(&self, attempt: u32, random: u64, retry_after: Option<u64>) -> Duration {
        let doublings = attempt.saturating_sub(1).min(16);
        let step = self.first_wait.saturating_mul(1 << doublings).min(self.longest_wait);
        let half = step / 2;
        let spread = u64::try_from(half.as_micros()).unwrap_or(u64::MAX).saturating_add(1);
        let jittered = half + Duration::from_micros(random % spread);
        let asked = Duration::from_secs(retry_after.unwrap_or(0));
        jittered.max(asked).min(self.longest_wait)
    }
}

/// 64 random bits; the clock's where the system gives none (jitter is no secret).
pub(crate) fn random_bits() -> u64 {
    getrandom::u64().unwrap_or_else(|_| {
        let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap_or_default();
        u64::from(since.subsec_nanos())
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_double_up_to_the_longest_and_keep_a_random_half() {
        let policy = RetryPolicy::default();
        assert_eq!(policy.wait(1, 0, None), Duration::from_millis(125));
        assert!(policy.wait(1, u64::MAX, None) <= Duration::from_millis(250));
        assert_eq!(policy.wait(3, 0, None), Duration::from_millis(500));
        assert_eq!(policy.wait(40, 0, None), Duration::from_secs(5));
        assert_ne!(policy.wait(5, 1, None), policy.wait(5, 100_000, None));
    }

    #[test]
    fn the_gateways_wish_is_a_minimum_within_reason() {
        let policy = RetryPolicy::default();
        assert_eq!(policy.wait(1, 0, Some(3)), Duration::from_secs(3));
        assert_eq!(policy.wait(1, 0, Some(86_400)), policy.longest_wait);
    }
}
