//! Two sums over almost the same sites: their difference is the update of the few sites that are in one alone.

use std::collections::BTreeSet;

/// How many sites are in one of the sets and not in the other, if they are too few to be told apart from each other:
/// at least one, and fewer than `min_batch`, the fewest whose sum may be opened by itself. Equal sets give equal sums
/// and no difference.
pub fn almost_equal<S: Ord>(earlier: &BTreeSet<S>, wanted: &BTreeSet<S>, min_batch: u16) -> Option<usize> {
    let differing = earlier.symmetric_difference(wanted).count();
    (1..usize::from(min_batch)).contains(&differing).then_some(differing)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn almost(earlier: &[u8], wanted: &[u8]) -> Option<usize> {
        let set = |sites: &[u8]| sites.iter().copied().collect();
        almost_equal(&set(earlier), &set(wanted), 3)
    }

    #[test]
    fn fewer_than_a_batch_is_too_few() {
        assert_eq!(almost(&[1, 2, 3, 4, 5, 6], &[1, 2, 3, 4, 5]), Some(1));
        assert_eq!(almost(&[1, 2, 3, 4, 5], &[1, 2, 3, 4, 5, 6, 7]), Some(2));
        assert_eq!(almost(&[1, 2, 3, 4, 5], &[2, 3, 4, 5, 6]), Some(2));
    }

    #[test]
    fn equal_sets_and_a_batch_or_more_are_fine() {
        assert_eq!(almost(&[1, 2, 3, 4, 5], &[5, 4, 3, 2, 1]), None);
        assert_eq!(almost(&[1, 2, 3, 4, 5], &[1, 2, 3, 4, 5, 6, 7, 8]), None);
        assert_eq!(almost(&[1, 2, 3], &[4, 5, 6]), None);
        assert_eq!(almost(&[], &[]), None);
    }
}
