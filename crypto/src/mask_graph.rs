//! Who shares a pairwise mask with whom, and how sure it is that no part of the honest sites stands alone.
//!
//! For large rosters the complete graph of masks is replaced by a k-regular one (Bell et al. 2020, SecAgg+): the sites
//! stand in a circle, in an order that nobody knows before all keys are there, and each shares masks with the `k / 2` next
//! ones on either side (a Harary graph). Only the masks become sparse. Shares are dealt to the whole roster, so that
//! thresholds, agreement and blame are what they are with the complete graph.
//!
//! # What can go wrong, and how likely it is
//!
//! Take away the sites that collude and those that are not in the agreed set. If the rest falls apart, the gateway can
//! compute the sum of each part, perhaps a single update. A part is cut off exactly where `k / 2` neighbouring places of
//! the circle are all taken away, in two places at once: over any shorter gap reaches a mask.
//!
//! Bell et al. take dropouts as given before the graph is drawn. Here a hostile gateway sees the graph and then claims
//! that the `d` sites it likes best have dropped out, as many as the smallest agreed set allows. It succeeds if two runs of
//! `k / 2` places hold at least `k - d` colluders together. Colluders have enrolled before the order is drawn, so their
//! number among any fixed `k` places is hypergeometric, and
//!
//! ```text
//! P(some part stands alone) <= n (n - 1) / 2 * P(Hypergeometric(n, c, k) >= k - d)        with c = 2t - n - 1
//! ```
//!
//! over all pairs of runs. The graph never has a smaller degree than keeps this below `2^-40`. What remains: whoever
//! advertises its keys last can try many and look at the order each gives; every doubling of the tries costs one bit.

use serde::{Deserialize, Serialize};

use crate::digest::Digest;
use crate::ids::{JobId, SiteId};
use crate::transcript::Transcript;

/// Between which sites pairwise masks are added.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
#[serde(tag = "kind", rename_all = "kebab-case", deny_unknown_fields)]
pub enum MaskGraph {
    /// Between all.
    Complete,
    /// Between each site and the `degree / 2` on either side of it in the job's circle. Mode full only.
    Regular {
        /// Masks of each site (k): even, at least 2 and below the number of other sites.
        degree: u16,
    },
}

/// Base-2 logarithm of the chance of failure that no graph may exceed.
pub const MAX_FAILURE_LOG2: f64 = -40.0;
/// By how much [`least_degree`] stays under it, so that rounding on another machine cannot reject what it chose.
const ROUNDING: f64 = 1e-6;

impl MaskGraph {
    pub(crate) fn append_to(self, transcript: Transcript) -> Transcript {
        match self {
            Self::Complete => transcript.text("complete").number(0),
            Self::Regular { degree } => transcript.text("regular").number(degree.into()),
        }
    }
}

/// Base-2 logarithm of an upper bound on the chance that a hostile gateway can cut the honest sites of an agreed set apart.
///
/// `sites` stand in the circle, `colluders` of them work with the gateway, which may leave out any `dropouts` others;
/// each site shares masks with `degree` others. The bound is derived in the module's documentation.
#[must_use]
pub fn failure_log2(sites: usize, colluders: usize, dropouts: usize, degree: usize) -> f64 {
    let taken = 2 * (degree / 2);
    let needed = taken.saturating_sub(dropouts);
    if needed == 0 {
        return 0.0;
    }
    let factorials = Factorials::up_to(sites);
    let all = factorials.choose_log2(sites, taken);
    let term = |among: usize| {
        let honest = sites.saturating_sub(colluders);
        factorials.choose_log2(colluders, among) + factorials.choose_log2(honest, taken - among) - all
    };
    let tail: f64 = (needed..=taken.min(colluders)).map(|among| term(among).exp2()).sum();
    #[expect(clippy::cast_precision_loss, reason = "a roster has at most 256 sites")]
    let runs = (sites * sites.saturating_sub(1)) as f64 / 2.0;
    (tail.log2() + runs.log2()).min(0.0)
}

/// The least even degree whose chance of failure is at most 2^-40 when `threshold` shares open a seed and at most
/// `dropouts` sites are missing in an agreed set; `None` if only the complete graph will do.
#[must_use]
pub fn least_degree(sites: usize, threshold: usize, dropouts: usize) -> Option<u16> {
    let colluders = (2 * threshold).saturating_sub(sites + 1);
    let safe =
        |degree: &usize| failure_log2(sites, colluders, dropouts, *degree) <= MAX_FAILURE_LOG2 - ROUNDING;
    (2..sites.saturating_sub(1)).step_by(2).find(safe).and_then(|degree| u16::try_from(degree).ok())
}

/// Logarithms of factorials.
struct Factorials(Vec<f64>);

impl Factorials {
    fn up_to(largest: usize) -> Self {
        let mut sum = 0.0;
        #[expect(clippy::cast_precision_loss, reason = "a roster has at most 256 sites")]
        let logs = (1..=largest).map(|factor| {
            sum += (factor as f64).log2();
            sum
        });
        Self(std::iter::once(0.0).chain(logs).collect())
    }

    /// Minus infinity where there is no way to choose.
    fn choose_log2(&self, from: usize, count: usize) -> f64 {
        let rest = from.checked_sub(count);
        let logs = rest.and_then(|rest| Some((self.0.get(from)?, self.0.get(count)?, self.0.get(rest)?)));
        logs.map_or(f64::NEG_INFINITY, |(from, count, rest)| from - count - rest)
    }
}

/// The job's circle: sites in the order of SHA-256(label, job, roster, site), the same in every round.
pub(crate) fn circle<'a>(
    job: &JobId,
    roster: &Digest,
    sites: impl Iterator<Item = &'a SiteId>,
) -> Vec<&'a SiteId> {
    let place = |site: &SiteId| {
        Transcript::new("mask-graph").text(job.as_str()).digest(roster).text(site.as_str()).hash()
    };
    let mut placed: Vec<(Digest, &SiteId)> = sites.map(|site| (place(site), site)).collect();
    placed.sort();
    placed.into_iter().map(|(_, site)| site).collect()
}

/// The sites at most `degree / 2` places from `site` in the circle, without it.
pub(crate) fn around<'a>(
    circle: &'a [&'a SiteId],
    site: &'a SiteId,
    degree: u16,
) -> impl Iterator<Item = &'a SiteId> {
    let reach = usize::from(degree / 2);
    let at = circle.iter().position(|other| *other == site);
    let window = at.map(|at| {
        let first = at + circle.len() - reach.min(circle.len());
        circle.iter().cycle().skip(first).take(2 * reach + 1).copied()
    });
    window.into_iter().flatten().filter(move |other| *other != site)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use proptest::prelude::*;
    use rand_chacha::ChaCha20Rng;
    use rand_core::{Rng, SeedableRng};

    use super::*;
    use crate::vectors;

    #[test]
    fn known_answers() {
        let file = vectors::load(include_str!("../vectors/mask_graph.json"));
        let number = |value: &serde_json::Value| value.as_u64().unwrap();
        // Who shares masks with whom in one graph, or the least degree of any graph.
        let found = |case: &serde_json::Value| {
            if case["degree"].is_null() {
                let [sites, threshold, dropouts] =
                    ["sites", "threshold", "dropouts"].map(|name| number(&case[name]) as usize);
                return serde_json::json!(least_degree(sites, threshold, dropouts));
            }
            let job: JobId = serde_json::from_value(case["job"].clone()).unwrap();
            let sites: Vec<SiteId> = serde_json::from_value(case["sites"].clone()).unwrap();
            let circle = circle(&job, &Digest(vectors::bytes(&case["roster"])), sites.iter());
            let degree = number(&case["degree"]) as u16;
            let all = sites
                .iter()
                .map(|site| (site.to_string(), around(&circle, site, degree).collect::<BTreeSet<_>>()));
            serde_json::json!(all.collect::<std::collections::BTreeMap<_, _>>())
        };
        let expected = |case: &serde_json::Value| {
            let name = if case["degree"].is_null() { "least_degree" } else { "neighbours" };
            case[name].clone()
        };
        for case in vectors::cases(&file, "positive") {
            assert_eq!(found(&case), expected(&case));
        }
        for case in vectors::cases(&file, "negative") {
            assert_ne!(found(&case), expected(&case), "{}", case["why"]);
        }
    }

    fn draw(rng: &mut ChaCha20Rng, below: usize) -> usize {
        (rng.next_u64() % below as u64) as usize
    }

    /// Whether the places that are left form one part, by walking the graph.
    fn connected(left: &[bool], degree: usize) -> bool {
        let n = left.len();
        let Some(start) = left.iter().position(|left| *left) else { return true };
        let (mut seen, mut frontier) = (BTreeSet::from([start]), vec![start]);
        while let Some(at) = frontier.pop() {
            for step in 1..=degree / 2 {
                for next in [(at + step) % n, (at + n - step) % n] {
                    if left[next] && seen.insert(next) {
                        frontier.push(next);
                    }
                }
            }
        }
        seen.len() == left.iter().filter(|left| **left).count()
    }

    /// Runs of at least `length` places taken away, around the circle.
    fn long_gaps(left: &[bool], length: usize) -> usize {
        let n = left.len();
        (0..n).filter(|at| left[*at]).filter(|at| (1..=length).all(|step| !left[(at + step) % n])).count()
    }

    proptest! {
        #[test]
        fn the_circle_falls_apart_exactly_at_two_long_gaps(
            left in proptest::collection::vec(any::<bool>(), 5..24),
            half in 1_usize..4,
        ) {
            prop_assume!(2 * half < left.len() - 1);
            prop_assert_eq!(connected(&left, 2 * half), long_gaps(&left, half) < 2);
        }
    }

    /// The fewest honest sites that a gateway must leave out to cut the circle, by trying every pair of runs.
    fn cheapest_cut(colluding: &[bool], half: usize) -> usize {
        let n = colluding.len();
        let honest = |start: usize| (0..half).filter(|step| !colluding[(start + step) % n]).count();
        let mut cheapest = usize::MAX;
        for one in 0..n {
            // The runs do not meet, and somebody honest is left on both sides.
            for apart in half + 1..n - half {
                let other = one + apart;
                let between = |from: usize, to: usize| (from..to).any(|at| !colluding[at % n]);
                if between(one + half, other) && between(other + half, one + n) {
                    cheapest = cheapest.min(honest(one) + honest(other));
                }
            }
        }
        cheapest
    }

    #[test]
    fn a_gateway_that_knows_the_graph_succeeds_no_more_often_than_the_bound() {
        let rng = &mut ChaCha20Rng::from_seed([7; 32]);
        let mut compared = 0;
        for (n, colluders, dropouts, degree) in
            [(24, 7, 0, 6), (30, 9, 0, 6), (30, 9, 1, 8), (40, 10, 2, 10), (40, 13, 4, 12), (24, 7, 4, 8)]
        {
            let draws = 4_000;
            let cut = (0..draws)
                .filter(|_| {
                    let mut places: Vec<bool> = (0..n).map(|at| at < colluders).collect();
                    for last in (1..n).rev() {
                        places.swap(last, draw(rng, last + 1));
                    }
                    cheapest_cut(&places, degree / 2) <= dropouts
                })
                .count();
            let (found, bound) =
                (cut as f64 / f64::from(draws), failure_log2(n, colluders, dropouts, degree));
            // Four standard deviations of the count.
            let noise = 4.0 * (found / f64::from(draws)).sqrt();
            assert!(found - noise <= bound.exp2(), "n {n}: {found} above 2^{bound}");
            // The union over pairs of runs counts neighbouring runs many times over, but not without limit.
            if cut > 20 && bound < -0.5 {
                compared += 1;
                assert!(bound.exp2() < 10.0 * found, "n {n}: {found} far below 2^{bound}");
            }
        }
        assert!(compared >= 3, "{compared} cases in which the bound says anything");
    }

    #[test]
    fn the_bound_is_the_hypergeometric_tail_times_the_pairs_of_runs() {
        // 10 places, 3 colluders, 4 taken, at least 3 of them colluding: C(3,3) C(7,1) / C(10,4) = 7 / 210.
        let expected = (45.0_f64 * 7.0 / 210.0).log2().min(0.0);
        assert!((failure_log2(10, 3, 1, 4) - expected).abs() < 1e-9);
        let expected = (4950.0_f64 * (1.0 / 3_921_225.0)).log2();
        // 100 places, 4 colluders, all 4 taken: 1 / C(100, 4).
        assert!((failure_log2(100, 4, 0, 4) - expected).abs() < 1e-9);
        assert_eq!(failure_log2(100, 3, 0, 4), f64::NEG_INFINITY);
        assert!(failure_log2(100, 33, 8, 8).abs() < 1e-12);
    }

    #[test]
    fn least_degrees() {
        // Sites, fewest in the agreed set, degree. The more may drop out, the more a hostile gateway may leave out.
        for (sites, agreed, degree) in [
            (100, 67, 68),
            (100, 90, 44),
            (200, 134, 134),
            (200, 160, 102),
            (200, 180, 72),
            (200, 190, 54),
            (256, 243, 62),
        ] {
            let threshold = sites * 2 / 3 + 1;
            assert_eq!(least_degree(sites, threshold, sites - agreed), Some(degree), "{sites} {agreed}");
            let colluders = 2 * threshold - sites - 1;
            let below = failure_log2(sites, colluders, sites - agreed, usize::from(degree) - 2);
            assert!(below > MAX_FAILURE_LOG2, "{sites} {agreed}: 2^{below} with less");
        }
        assert_eq!(least_degree(5, 4, 1), None);
    }
}
