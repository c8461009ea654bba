//! Dividing a whole number of units by weights without losing one: the method of largest remainders
//! (Hamilton's).

/// A player and its weight; only the proportions matter.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Weight {
    /// Who; equal remainders are settled in the order of these names, which must differ.
    pub player: String,
    /// How much, from 0.
    pub weight: u128,
}

/// Why weights cannot be apportioned by.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ApportionError {
    /// The weights sum to more than can be computed with exactly.
    #[error("the weights sum to 2^126 or more; divide them all by a common number")]
    TooHeavy,
}

const TOO_HEAVY: u128 = 1 << 126;

/// The units of `total` that each weight gets, in the order given. They sum to `total` exactly, except
/// that nobody gets anything if every weight is 0; a weight of 0 never gets anything.
///
/// Raising one weight while the others stay never lowers what it gets.
///
/// # Errors
/// [`ApportionError::TooHeavy`] if the weights sum to 2^126 or more.
pub fn apportion(total: u64, weights: &[Weight]) -> Result<Vec<u64>, ApportionError> {
    let sum = weights
        .iter()
        .try_fold(0_u128, |sum, weight| sum.checked_add(weight.weight))
        .filter(|sum| *sum < TOO_HEAVY)
        .ok_or(ApportionError::TooHeavy)?;
    if sum == 0 {
        return Ok(vec![0; weights.len()]);
    }
    struct Quota<'a> {
        place: usize,
        units: u64,
        remainder: u128,
        player: &'a str,
    }
    let mut quotas: Vec<_> = weights
        .iter()
        .enumerate()
        .map(|(place, weight)| {
            let (units, remainder) = multiply_divide(total, weight.weight, sum);
            Quota { place, units, remainder, player: &weight.player }
        })
        .collect();
    let given = quotas.iter().fold(0_u64, |given, quota| given.saturating_add(quota.units));
    let left = usize::try_from(total.saturating_sub(given)).unwrap_or(usize::MAX);
    quotas.sort_by(|a, b| b.remainder.cmp(&a.remainder).then_with(|| a.player.cmp(b.player)));
    // The remainders sum to `left` x `sum` and each is below `sum`, so more than `left` of them are
    // above 0, or none is left: a weight of 0 is never reached.
    for quota in quotas.iter_mut().take(left) {
        quota.units = quota.units.saturating_add(1);
    }
    quotas.sort_by_key(|quota| quota.place);
    Ok(quotas.into_iter().map(|quota| quota.units).collect())
}

/// `(floor(total * part / whole), remainder)` for `part <= whole < 2^126`, `whole > 0`, without a
/// product of 192 bits: schoolbook binary multiplication that divides at every step.
pub(super) fn multiply_divide(total: u64, part: u128, whole: u128) -> (u64, u128) {
    debug_assert!(part <= whole && 0 < whole && whole < TOO_HEAVY);
    let (mut quotient, mut remainder) = (0_u64, 0_u128);
    for bit in (0..u64::BITS).rev() {
        // Invariant: total's bits above `bit`, times part, equals quotient * whole + remainder, with
        // remainder < whole; quotient <= those bits, so it fits.
        quotient = quotient.wrapping_shl(1);
        remainder <<= 1;
        if total >> bit & 1 == 1 {
            remainder += part;
        }
        // At most (2 * (whole - 1) + whole) / whole < 3 times.
        while remainder >= whole {
            remainder -= whole;
            quotient = quotient.wrapping_add(1);
        }
    }
    (quotient, remainder)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn weights(of: &[u128]) -> Vec<Weight> {
        of.iter()
            .enumerate()
            .map(|(i, weight)| Weight { player: format!("p{i:02}"), weight: *weight })
            .collect()
    }

    #[test]
    fn a_tie_goes_to_the_first_name_wherever_it_stands() {
        assert_eq!(apportion(10, &weights(&[1, 1, 1])).unwrap(), [4, 3, 3]);
        let mut turned = weights(&[1, 1, 1]);
        turned.reverse();
        assert_eq!(apportion(10, &turned).unwrap(), [3, 3, 4]);
    }

    #[test]
    fn nothing_and_too_much() {
        assert_eq!(apportion(10, &[]).unwrap(), Vec::<u64>::new());
        assert_eq!(apportion(10, &weights(&[0, 0])).unwrap(), [0, 0]);
        assert_eq!(apportion(10, &weights(&[u128::MAX, 1])), Err(ApportionError::TooHeavy));
        assert_eq!(apportion(10, &weights(&[TOO_HEAVY])), Err(ApportionError::TooHeavy));
        assert_eq!(apportion(u64::MAX, &weights(&[TOO_HEAVY - 1])).unwrap(), [u64::MAX]);
    }

    fn some_weights() -> impl Strategy<Value = Vec<u128>> {
        let weight = prop_oneof![Just(0), 1..5_u128, 0..1_u128 << 40, 0..1_u128 << 120];
        proptest::collection::vec(weight, 1..20)
    }

    proptest! {
        #[test]
        fn division_is_exact(total: u64, part in 0..=u128::from(u64::MAX), more: u64) {
            let whole = (part + u128::from(more)).max(1);
            let (quotient, remainder) = multiply_divide(total, part, whole);
            prop_assert_eq!(u128::from(quotient), u128::from(total) * part / whole);
            prop_assert_eq!(remainder, u128::from(total) * part % whole);
        }

        #[test]
        fn the_sum_is_exact_and_nobody_is_more_than_a_unit_off(total: u64, of in some_weights()) {
            let shares = apportion(total, &weights(&of)).unwrap();
            let sum: u128 = of.iter().sum();
            let given: u128 = shares.iter().map(|share| u128::from(*share)).sum();
            prop_assert_eq!(given, if sum == 0 { 0 } else { u128::from(total) });
            for (share, weight) in shares.iter().zip(&of) {
                prop_assert!(*weight > 0 || *share == 0);
                if sum > 0 {
                    let (floor, remainder) = multiply_divide(total, *weight, sum);
                    prop_assert!(*share == floor || *share == floor + 1 && remainder > 0);
                }
            }
        }

        #[test]
        fn more_weight_never_gets_less(total: u64, of in some_weights(), who: usize, more in 1..1_u128 << 60) {
            let who = who % of.len();
            let mut raised = of.clone();
            raised[who] += more;
            let before = apportion(total, &weights(&of)).unwrap()[who];
            prop_assert!(apportion(total, &weights(&raised)).unwrap()[who] >= before);
        }

        #[test]
        fn small_totals_too(total in 0..40_u64, of in proptest::collection::vec(0..30_u128, 1..8), who: usize) {
            let who = who % of.len();
            let mut raised = of.clone();
            raised[who] += 1;
            let before = apportion(total, &weights(&of)).unwrap();
            prop_assert!(apportion(total, &weights(&raised)).unwrap()[who] >= before[who]);
        }
    }
}
