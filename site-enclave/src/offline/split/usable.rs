//! Which tasks a split can carry to the end: scaled from the sample, trained at sites, measured on the benchmark.

use std::collections::{BTreeMap, BTreeSet};

use super::plan::{Place, SplitPlan};
use super::scale::FEWEST;
use crate::data::{Censoring, Collection, Label, TaskCounts, TaskKey, TaskKind, ValidationReport};

/// Fewest positive and fewest negative results of a classification task in the benchmark.
const FEWEST_OF_A_CLASS: usize = 3;

/// One task's labels in one place.
#[derive(Debug, Default)]
struct Tally {
    /// Uncensored quantities in the task's main unit.
    exact: Vec<f64>,
    positive: usize,
    negative: usize,
    /// Labels of the task's kind.
    usable: usize,
}

/// Every task's labels in every place, as the files will have them.
#[derive(Debug, Default)]
pub(super) struct Usable {
    tallies: BTreeMap<(TaskKey, Place), Tally>,
}

impl Usable {
    /// Counts what the plan gives to each place.
    pub(super) fn count(
        collection: &Collection,
        report: &ValidationReport,
        tasks: &[TaskKey],
        plan: &SplitPlan,
    ) -> Self {
        let mut tallies = BTreeMap::<(TaskKey, Place), Tally>::new();
        let wanted: BTreeMap<&TaskKey, &TaskCounts> =
            tasks.iter().filter_map(|task| Some((task, report.tasks.get(task)?))).collect();
        for molecule in collection.molecules() {
            let Some(place) = plan.places.get(molecule.structure()) else { continue };
            for label in molecule.labels() {
                let found = collection.task(label).and_then(|task| wanted.get_key_value(task));
                let Some((task, counts)) = found else { continue };
                if matches!(place, Place::Site(site) if plan.missing.get(site) == Some(*task)) {
                    continue;
                }
                let in_main_unit = collection.unit(label) == counts.main_unit();
                tallies.entry(((*task).clone(), *place)).or_default().add(
                    label.label,
                    counts.kind(),
                    in_main_unit,
                );
            }
        }
        Self { tallies }
    }

    /// The tasks that cannot be carried to the end, each with the reason.
    pub(super) fn unusable(
        &self,
        report: &ValidationReport,
        tasks: &[TaskKey],
        sites: usize,
    ) -> Vec<(TaskKey, String)> {
        let reason = |task: &TaskKey| {
            let kind = report.tasks.get(task)?.kind();
            let reason = self.missing_anywhere(task, kind, sites)?;
            Some((task.clone(), reason))
        };
        tasks.iter().filter_map(reason).collect()
    }

    /// The sites, from 0, that would have nothing to train on.
    pub(super) fn empty_sites(&self, sites: usize) -> Vec<usize> {
        let filled: BTreeSet<usize> = self
            .tallies
            .iter()
            .filter(|(_, tally)| tally.usable > 0)
            .filter_map(|((_, place), _)| match place {
                Place::Site(site) => Some(*site),
                Place::Benchmark | Place::Sample => None,
            })
            .collect();
        (0..sites).filter(|site| !filled.contains(site)).collect()
    }

    fn missing_anywhere(&self, task: &TaskKey, kind: TaskKind, sites: usize) -> Option<String> {
        let none = Tally::default();
        let at = |place: Place| self.tallies.get(&(task.clone(), place)).unwrap_or(&none);
        let benchmark = at(Place::Benchmark);
        match kind {
            TaskKind::Regression => {
                let places = [("shared sample", at(Place::Sample)), ("held-out benchmark", benchmark)];
                let reason = places.iter().find_map(|(place, tally)| tally.no_quantities(place));
                if reason.is_some() {
                    return reason;
                }
            }
            TaskKind::Classification => {
                for (class, found) in [("positive", benchmark.positive), ("negative", benchmark.negative)] {
                    if found < FEWEST_OF_A_CLASS {
                        return Some(format!(
                            "the held-out benchmark has {found} {class} results, {FEWEST_OF_A_CLASS} needed"
                        ));
                    }
                }
            }
        }
        // What a single site knows is not learned together; of two sites one may lack the task.
        let needed = sites.saturating_sub(1).min(2);
        let with_labels = (0..sites).filter(|site| at(Place::Site(*site)).usable > 0).count();
        (with_labels < needed).then(|| format!("{with_labels} sites have labels of it, {needed} needed"))
    }
}

impl Tally {
    fn add(&mut self, label: Label, kind: TaskKind, in_main_unit: bool) {
        match (kind, label) {
            (TaskKind::Classification, Label::Class(class)) => {
                self.usable += 1;
                *(if class { &mut self.positive } else { &mut self.negative }) += 1;
            }
            (TaskKind::Regression, Label::Quantity { value, censoring }) => {
                self.usable += 1;
                if censoring == Censoring::Exact && in_main_unit {
                    self.exact.push(value);
                }
            }
            // A label of the other kind is never used.
            (TaskKind::Classification | TaskKind::Regression, Label::Class(_) | Label::Quantity { .. }) => {}
        }
    }

    fn no_quantities(&self, place: &str) -> Option<String> {
        let found = self.exact.len();
        if found < FEWEST {
            return Some(format!("the {place} has {found} uncensored values of it, {FEWEST} needed"));
        }
        let first = self.exact.first().copied();
        let all_equal = self.exact.iter().all(|value| Some(*value) == first);
        all_equal.then(|| format!("all its values in the {place} are equal"))
    }
}
