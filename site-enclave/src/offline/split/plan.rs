//! Which molecule goes where.

use std::collections::BTreeMap;

use rand_chacha::ChaCha12Rng;
use rand_chacha::rand_core::{Rng, SeedableRng};

use crate::data::{Censoring, Collection, Label, TaskKey};
use crate::features::{ScaffoldKey, Structure};

/// Groups larger than this share of all molecules stay out of the benchmark: one framework must not dominate it.
const LARGEST_BENCHMARK_GROUP: f64 = 0.01;

/// Groups of up to this many molecules may always be in the benchmark, so that small files can be split too.
const SMALL_GROUP: f64 = 20.0;

/// Fewest uncensored labels of each regression task in the sample file, from which its scale is derived.
const SAMPLE_LABELS: u64 = 100;

/// The sample file's largest share of the molecules.
const LARGEST_SAMPLE: f64 = 0.1;

/// Sizes of sites fall with this power of their number.
const SITE_SIZE_EXPONENT: f64 = 0.8;

/// Where a molecule goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Place {
    /// To the evaluator's held-out benchmark.
    Benchmark,
    /// To the sample file that all participants see.
    Sample,
    /// To a site, from 0.
    Site(usize),
}

/// How to split.
#[derive(Debug, Clone, Copy)]
pub(super) struct SplitRules {
    pub(super) sites: usize,
    pub(super) seed: u64,
    pub(super) benchmark_share: f64,
}

/// Where each molecule goes, and which task each site lacks.
#[derive(Debug)]
pub(super) struct SplitPlan {
    /// By structure text.
    pub(super) places: BTreeMap<String, Place>,
    /// The task that a site does not have.
    pub(super) missing: BTreeMap<usize, TaskKey>,
}

impl SplitPlan {
    /// Splits the molecules that have a label of one of the tasks. Molecules with one ring framework stay together, so that
    /// no site's chemistry is in the benchmark.
    pub(super) fn new(collection: &Collection, tasks: &[TaskKey], rules: SplitRules) -> Self {
        let mut random = ChaCha12Rng::seed_from_u64(rules.seed);
        let mut groups = groups(collection, tasks);
        shuffle(&mut groups, &mut random);
        let total: usize = groups.iter().map(Vec::len).sum();
        let total = as_f64(total);
        let mut places = BTreeMap::new();
        let mut put = |group: &[usize], place: Place| {
            for molecule in group.iter().filter_map(|index| collection.molecules().get(*index)) {
                places.insert(molecule.structure().to_owned(), place);
            }
        };

        let (mut benchmark, mut sample, mut rest) = (0.0, SampleCounts::new(tasks), Vec::new());
        for group in groups {
            let size = as_f64(group.len());
            let small = size <= (total * LARGEST_BENCHMARK_GROUP).max(SMALL_GROUP);
            if small && benchmark + size <= total * rules.benchmark_share {
                benchmark += size;
                put(&group, Place::Benchmark);
            } else if small && !sample.enough() && sample.molecules + size <= total * LARGEST_SAMPLE {
                sample.add(collection, &group);
                put(&group, Place::Sample);
            } else {
                rest.push(group);
            }
        }
        // Large groups first: the small ones then fill up what is left of each site's share.
        rest.sort_by_key(|group| std::cmp::Reverse(group.len()));
        let mut wanted = site_sizes(rules.sites, as_f64(rest.iter().map(Vec::len).sum()));
        for group in &rest {
            let emptiest = wanted.iter().enumerate().max_by(|one, other| one.1.total_cmp(other.1));
            let Some(site) = emptiest.map(|(site, _)| site) else { continue };
            if let Some(wanted) = wanted.get_mut(site) {
                *wanted -= as_f64(group.len());
            }
            put(group, Place::Site(site));
        }
        Self { places, missing: missing_tasks(rules.sites, tasks) }
    }
}

/// Molecules with a wanted label, by ring framework.
fn groups(collection: &Collection, tasks: &[TaskKey]) -> Vec<Vec<usize>> {
    let mut groups: BTreeMap<ScaffoldKey, Vec<usize>> = BTreeMap::new();
    for (index, molecule) in collection.molecules().iter().enumerate() {
        let wanted = molecule
            .labels()
            .iter()
            .any(|label| collection.task(label).is_some_and(|key| tasks.contains(key)));
        // The structure was read before, when its fingerprint was made.
        if let (true, Ok(structure)) = (wanted, Structure::read(molecule.structure())) {
            groups.entry(structure.scaffold()).or_default().push(index);
        }
    }
    groups.into_values().collect()
}

/// Sites 2, 4, 6... lack one task each, in turn; with a single task nobody lacks it.
fn missing_tasks(sites: usize, tasks: &[TaskKey]) -> BTreeMap<usize, TaskKey> {
    if tasks.len() < 2 {
        return BTreeMap::new();
    }
    (1..sites).step_by(2).zip(tasks.iter().cycle()).map(|(site, task)| (site, task.clone())).collect()
}

/// Molecules for each site: shares that fall with a power of the site's number, as companies' libraries differ.
fn site_sizes(sites: usize, molecules: f64) -> Vec<f64> {
    let weights: Vec<f64> = (1..=sites).map(|site| as_f64(site).powf(-SITE_SIZE_EXPONENT)).collect();
    let sum: f64 = weights.iter().sum();
    weights.iter().map(|weight| weight / sum * molecules).collect()
}

fn shuffle<T>(items: &mut [T], random: &mut ChaCha12Rng) {
    for last in (1..items.len()).rev() {
        let drawn = random.next_u64() % (last as u64 + 1);
        items.swap(last, usize::try_from(drawn).unwrap_or(0));
    }
}

/// Labels gathered for the sample file.
struct SampleCounts {
    molecules: f64,
    exact: BTreeMap<TaskKey, u64>,
    classes: BTreeMap<TaskKey, u64>,
}

impl SampleCounts {
    fn new(tasks: &[TaskKey]) -> Self {
        let none = tasks.iter().map(|task| (task.clone(), 0)).collect();
        Self { molecules: 0.0, exact: none, classes: BTreeMap::new() }
    }

    fn add(&mut self, collection: &Collection, group: &[usize]) {
        for molecule in group.iter().filter_map(|index| collection.molecules().get(*index)) {
            self.molecules += 1.0;
            for label in molecule.labels() {
                let Some(task) = collection.task(label) else { continue };
                match label.label {
                    Label::Quantity { censoring: Censoring::Exact, .. } => {
                        self.exact.entry(task.clone()).and_modify(|count| *count += 1);
                    }
                    Label::Class(_) => *self.classes.entry(task.clone()).or_default() += 1,
                    Label::Quantity { .. } => {}
                }
            }
        }
    }

    fn enough(&self) -> bool {
        self.exact.iter().all(|(task, count)| {
            *count >= SAMPLE_LABELS || self.classes.get(task).is_some_and(|classes| *classes >= SAMPLE_LABELS)
        })
    }
}

#[expect(clippy::cast_precision_loss, reason = "counts are far below 2^53")]
fn as_f64(count: usize) -> f64 {
    count as f64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn site_sizes_fall_and_add_up() {
        let sizes = site_sizes(6, 1_000.0);
        assert!(sizes.windows(2).all(|pair| pair[0] > pair[1]));
        assert!((sizes.iter().sum::<f64>() - 1_000.0).abs() < 1e-6);
        assert!(sizes[5] > 50.0, "{sizes:?}");
    }

    #[test]
    fn every_second_site_lacks_one_task_in_turn() {
        let tasks: Vec<TaskKey> = ["a/b", "c/d", "e/f"].map(|key| key.parse().unwrap()).to_vec();
        let missing = missing_tasks(6, &tasks);
        let found: Vec<(usize, &str)> = missing.iter().map(|(site, task)| (*site, task.as_str())).collect();
        assert_eq!(found, [(1, "a/b"), (3, "c/d"), (5, "e/f")]);
        assert!(missing_tasks(6, &tasks[..1]).is_empty());
    }
}
