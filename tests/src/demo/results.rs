//! Puts the evaluations, the baselines and the reward statement into the report's form.

use std::collections::BTreeMap;

use konclave_openapi::contributions::{Contribution, Statement};
use konclave_openapi::evaluations::Evaluation;
use konclave_openapi::jobs::TaskSpec;
use konclave_openapi::rounds::{Round, RoundPhase};

use super::baselines::Metrics;
use super::checks::check;
use super::exactness::Exactness;
use super::kills::Kill;
use crate::error::HarnessError;
use crate::report::summary::{Check, CurvePoint, Part, RewardLine, Rewards, RoundRecord, TaskResult};

/// The global model's metric of a task after each opened round, from the signed evaluations.
#[expect(clippy::cast_precision_loss, reason = "metrics in millionths are far below 2^53")]
pub(super) fn curve(
    task: &str,
    metric: &str,
    rounds: &[&Round],
    evaluations: &[Evaluation],
) -> Vec<CurvePoint> {
    let of_round = |round: &&Round| {
        let after = round.parameters_after?.to_string();
        let mut statements = evaluations.iter().map(|evaluation| &evaluation.statement);
        let global = statements.find(|statement| {
            statement.round == round.round.get()
                && statement.coalition.is_empty()
                && statement.model.to_string() == after
        })?;
        let line = global
            .metrics
            .iter()
            .find(|line| line.task == task && line.metric.eq_ignore_ascii_case(metric))?;
        Some(CurvePoint { round: round.round.get(), value: line.value_micro as f64 / 1e6 })
    };
    rounds.iter().filter_map(of_round).collect()
}

/// One task's comparison.
pub(super) fn task_result(
    task: &TaskSpec,
    federated: &Metrics,
    alone: &BTreeMap<String, Metrics>,
    pooled: &Metrics,
    with_task: &[String],
    curve: Vec<CurvePoint>,
) -> Result<TaskResult, HarnessError> {
    let missing = |whose: &str| {
        HarnessError::unexpected(format!("the score of {whose}"), format!("nothing on {}", task.task))
    };
    let own = federated.get(&task.task).ok_or_else(|| missing("the federated model"))?;
    let pooled = pooled.get(&task.task).ok_or_else(|| missing("the pooled model"))?;
    let mut local = BTreeMap::new();
    for site in with_task {
        let metric =
            alone.get(site).and_then(|metrics| metrics.get(&task.task)).ok_or_else(|| missing(site))?;
        local.insert(site.clone(), metric.value);
    }
    #[expect(clippy::cast_precision_loss, reason = "there are at most 20 sites")]
    let local_mean = local.values().sum::<f64>() / local.len().max(1) as f64;
    let better = if own.higher_is_better { own.value > local_mean } else { own.value < local_mean };
    Ok(TaskResult {
        task: task.task.clone(),
        metric: own.name.to_owned(),
        higher_is_better: own.higher_is_better,
        federated: own.value,
        local_mean,
        federated_beats_local: better && !local.is_empty(),
        local,
        pooled: pooled.value,
        molecules: own.molecules,
        curve,
    })
}

/// Whether each task is better federated than alone.
pub(super) fn comparison(tasks: &[TaskResult]) -> Vec<Check> {
    let of_task = |task: &TaskResult| {
        let detail = format!(
            "{}: federated {:.3}, mean of {} local-only models {:.3}, pooled {:.3}",
            task.metric,
            task.federated,
            task.local.len(),
            task.local_mean,
            task.pooled
        );
        check(
            format!("Federated beats the mean local-only model: {}", task.task),
            task.federated_beats_local,
            detail,
        )
    };
    tasks.iter().map(of_task).collect()
}

/// One round's record.
pub(super) fn round_record(round: &Round, found: Exactness, sites: &[String], kills: &[Kill]) -> RoundRecord {
    let number = round.round.get();
    let part = |site: &String| {
        let kill = kills.iter().find(|kill| kill.round == number && kill.site == *site);
        let summed = round.agreed.iter().any(|agreed| agreed.to_string() == *site)
            && matches!(round.phase, RoundPhase::Opened);
        match (kill.map(|kill| kill.part), summed) {
            (Some(Part::KilledAfterUpload), true) => Part::KilledAfterUpload,
            (Some(Part::KilledBeforeUpload), false) => Part::KilledBeforeUpload,
            (_, true) => Part::Summed,
            (_, false) => Part::Absent,
        }
    };
    let (outcome, detail) = match &round.phase {
        RoundPhase::Opened => (
            "opened",
            format!(
                "the sum of {} updates was opened in {} part(s)",
                round.agreed.len(),
                round.openings.len()
            ),
        ),
        RoundPhase::Aborted { reason, .. } => ("aborted", reason.clone()),
        RoundPhase::Uploading | RoundPhase::Agreeing | RoundPhase::Unmasking => ("unfinished", String::new()),
    };
    RoundRecord {
        round: number,
        outcome: outcome.to_owned(),
        detail,
        scoring: round.openings.len() > 1,
        sites: sites.iter().map(|site| (site.clone(), part(site))).collect(),
        set_as_signed: found.set_as_signed,
        step_as_opened: found.step_as_opened,
    }
}

/// The reward table. A legal entity is one player; the demonstration has one site to an entity, so a line is a site.
#[expect(clippy::cast_precision_loss, reason = "scores in millionths are far below 2^53")]
pub(super) fn rewards(contribution: Option<&Contribution>, statement: Option<&Statement>) -> Rewards {
    let mut rewards = Rewards {
        round: contribution.map_or(0, |contribution| contribution.round.get()),
        currency: String::from("credit"),
        budget_micro: String::from("0"),
        total_micro: String::from("0"),
        returned_micro: String::from("0"),
        provisional: false,
        lines: Vec::new(),
    };
    let Some(Statement { statement, .. }) = statement else { return rewards };
    rewards.currency.clone_from(&statement.currency);
    rewards.budget_micro = statement.budget.micro().to_string();
    rewards.returned_micro = statement.returned.micro().to_string();
    let total = u128::from(statement.paid.micro()) + u128::from(statement.returned.micro());
    rewards.total_micro = total.to_string();
    rewards.provisional = statement.provisional;
    rewards.lines = statement
        .lines
        .iter()
        .map(|line| RewardLine {
            site: line.sites.iter().map(ToString::to_string).collect::<Vec<_>>().join(", "),
            contribution: line.value_micro as f64 / 1e6,
            reward_micro: line.amount.micro().to_string(),
            reasons: vec![line.reason.en.clone()],
        })
        .collect();
    rewards
}
