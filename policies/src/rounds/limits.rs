//! The numeric keys of a round policy: what each allows, and which way is tighter for a site.

use std::ops::RangeInclusive;

use super::RoundPolicy;

/// Which way a site may move a limit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Tighter {
    /// A larger value protects the site more.
    Higher,
    /// A smaller value protects the site more.
    Lower,
    /// The consortium's alone: a site cannot set it.
    Fixed,
}

/// One numeric key of a policy, or of a table of it.
pub(crate) struct LimitKey<P> {
    pub(crate) name: &'static str,
    pub(crate) allowed: RangeInclusive<u64>,
    pub(crate) tighter: Tighter,
    pub(crate) read: fn(&P) -> u64,
    pub(crate) write: fn(&mut P, u64),
}

macro_rules! limit {
    ($field:ident, $allowed:expr, $tighter:ident) => {
        LimitKey {
            name: stringify!($field),
            allowed: $allowed,
            tighter: Tighter::$tighter,
            read: |policy: &RoundPolicy| u64::from(policy.$field),
            // `allowed` keeps every value inside the field's type, which a test checks.
            write: |policy, value| policy.$field = value.try_into().unwrap_or_default(),
        }
    };
}

const A_WEEK: u64 = 7 * 24 * 3_600;

/// Every numeric key. With these bounds q + ceil(log2 n) + guard stays within the protocol's 16 to 32
/// bits for every roster from the smallest cohort to the largest.
pub(crate) const LIMITS: &[LimitKey<RoundPolicy>] = &[
    limit!(min_cohort, 3..=256, Higher),
    limit!(min_agreed, 3..=256, Higher),
    limit!(min_batch, 2..=256, Higher),
    limit!(scoring_batch_size, 2..=256, Higher),
    limit!(batch_size, 1..=256, Fixed),
    limit!(complete_graph_sites, 3..=256, Fixed),
    limit!(clip_micro, 1..=100_000_000, Lower),
    limit!(quantisation_bits, 13..=20, Lower),
    limit!(guard_bits, 1..=4, Higher),
    limit!(weight_cap, 1..=524_287, Lower),
    limit!(consent_seconds, 1..=4 * A_WEEK, Fixed),
    limit!(setup_seconds, 1..=A_WEEK, Fixed),
    limit!(upload_seconds, 1..=A_WEEK, Fixed),
    limit!(agree_seconds, 1..=A_WEEK, Fixed),
    limit!(unmask_seconds, 1..=A_WEEK, Fixed),
    limit!(evaluation_seconds, 1..=A_WEEK, Fixed),
];

#[cfg(test)]
mod tests {
    use super::*;
    use crate::quorum::ring_bits;

    #[test]
    fn every_allowed_value_fits_its_field() {
        let mut policy = RoundPolicy::embedded().unwrap();
        for limit in LIMITS {
            for value in [*limit.allowed.start(), *limit.allowed.end()] {
                (limit.write)(&mut policy, value);
                assert_eq!((limit.read)(&policy), value, "{}", limit.name);
            }
        }
    }

    #[test]
    fn every_allowed_ring_is_one_the_protocol_has() {
        let bounds = |name: &str| LIMITS.iter().find(|limit| limit.name == name).unwrap().allowed.clone();
        let byte = |value: &u64| u8::try_from(*value).unwrap();
        let (n, q, guard) = (bounds("min_cohort"), bounds("quantisation_bits"), bounds("guard_bits"));
        let smallest = u16::try_from(*n.start()).unwrap();
        let largest = u16::try_from(*n.end()).unwrap();
        assert!(ring_bits(byte(q.start()), smallest, byte(guard.start())) >= 16);
        assert!(ring_bits(byte(q.end()), largest, byte(guard.end())) <= 32);
    }
}
