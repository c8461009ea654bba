//! The results for people.

use std::fmt;

use super::federation::ALL_TASKS;
use super::summary::{ArmSummary, Line, QualitySummary};

/// Prints a summary.
pub(super) struct Table<'a>(pub(super) &'a QualitySummary);

impl fmt::Display for Table<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self(summary) = self;
        metrics(summary, f)?;
        cut(summary, f)?;
        wire(summary, f)
    }
}

fn metrics(summary: &QualitySummary, f: &mut fmt::Formatter<'_>) -> fmt::Result {
    writeln!(
        f,
        "On the held-out molecules, {} sites, {} rounds, {} seeds: mean and standard deviation over the seeds;",
        summary.sites,
        summary.rounds,
        summary.seeds.len()
    )?;
    writeln!(
        f,
        "and the mean difference from plain float averaging, seed by seed, with its standard error."
    )?;
    let tasks = summary.arms.first().map(|arm| arm.lines.as_slice()).unwrap_or_default();
    for task in tasks {
        let direction = if task.higher_is_better { "up" } else { "down" };
        let scores = if task.task == ALL_TASKS { ", mean of the tasks'" } else { "" };
        writeln!(f, "\n  {} {} ({direction}{scores})", task.task, task.metric)?;
        writeln!(
            f,
            "    {:<30} {:>8} {:>8} {:>11} {:>9}",
            "averaged by", "mean", "s.d.", "difference", "s.e."
        )?;
        for arm in &summary.arms {
            for line in arm.lines.iter().filter(|line| line.task == task.task) {
                one_line(arm, line, f)?;
            }
        }
    }
    writeln!(f, "\n{}", summary.rule)
}

fn one_line(arm: &ArmSummary, line: &Line, f: &mut fmt::Formatter<'_>) -> fmt::Result {
    write!(f, "    {:<30} {:>8.4} {:>8.4}", arm.name, line.mean, line.deviation)?;
    let Some(difference) = line.difference else { return writeln!(f) };
    write!(f, " {:>+11.4} {:>9.4}", difference.mean, difference.standard_error)?;
    if arm.quantisation_bits.is_none() {
        return writeln!(f, "  by chance alone: root mean square {:.4}", difference.chance);
    }
    let worse = (difference.mean < 0.0) == line.higher_is_better;
    let verdict = match (difference.within_noise, worse) {
        (true, _) => "within noise",
        (false, true) => "WORSE",
        (false, false) => "BETTER",
    };
    writeln!(f, "  {verdict}")
}

fn cut(summary: &QualitySummary, f: &mut fmt::Formatter<'_>) -> fmt::Result {
    let clip = f64::from(summary.policy.clip_micro) / 1e6;
    writeln!(
        f,
        "\nCut by the encoding, all sites and seeds together (clip {clip}, weights up to {}):",
        summary.policy.weight_cap
    )?;
    for arm in summary.arms.iter().filter(|arm| arm.quantisation_bits.is_some()) {
        let coordinates: u64 = arm.rounds.iter().map(|round| round.coordinates).sum();
        let weights: u64 = arm.rounds.iter().map(|round| round.weights_cut).sum();
        let clipped: Vec<String> = arm.rounds.iter().map(|round| round.clipped.to_string()).collect();
        let saturated: Vec<String> = arm.rounds.iter().map(|round| round.saturated.to_string()).collect();
        writeln!(f, "  {}: {coordinates} coordinates, {weights} weights cut", arm.name)?;
        writeln!(f, "    clipped by round    {}", clipped.join(" "))?;
        writeln!(f, "    saturated by round  {}", saturated.join(" "))?;
    }
    Ok(())
}

fn wire(summary: &QualitySummary, f: &mut fmt::Formatter<'_>) -> fmt::Result {
    let (bits, guard) = (summary.policy.quantisation_bits, summary.policy.guard_bits);
    writeln!(
        f,
        "\nOn the wire by the default policy ({bits} bits and {guard} guard bits; a plain float takes 4 bytes):"
    )?;
    for wire in &summary.wire {
        writeln!(
            f,
            "  {:>3} sites: ring of {} bits, {:.3} bytes a parameter, {} bytes for the model's {}",
            wire.sites, wire.ring_bits, wire.bytes_per_parameter, wire.body_bytes, summary.parameters
        )?;
    }
    Ok(())
}
