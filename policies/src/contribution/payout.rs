//! From figures to payouts, to the micro-unit.
//!
//! The budget B is cut into a value part and a participation part of rho x B. The value part goes to
//! the batches by the positive part of their exact Shapley values, and inside a batch to legal
//! entities by evidence; the participation part goes to legal entities by the rounds they took part
//! in. Each step is apportioned by largest remainders, so every unit is either paid or returned.

use std::collections::{BTreeMap, BTreeSet};

use konclave_crypto::{RoundNumber, SiteId};

use super::amount::Amount;
use super::apportion::{Weight, apportion};
use super::evidence;
use super::inputs::StatementInputs;
use super::reasons::{self, BatchPart, LineFacts};
use super::shapley::factorial;
use super::statement::{BatchValue, Reason, RewardLine, RewardStatement};
use super::table::{AssessedBatch, Assessment, StatementError, assess};

/// The reward statement of a job: a pure function of what the ledger holds, whatever the order of the
/// inputs' lists.
///
/// # Errors
/// [`StatementError`] if the inputs contradict themselves.
pub fn reward_statement(inputs: &StatementInputs) -> Result<RewardStatement, StatementError> {
    let assessment = assess(inputs)?;
    let players = players(&assessment);
    let parts = BudgetParts::cut(inputs.reward.budget_micro, inputs.reward.participation_share_ppm);

    let by_value = pay_value(parts.value, &assessment, &players)?;
    let by_participation = pay_participation(parts.participation, &players)?;
    let rows = assessment.rows()?;

    let all_rounds = players.values().fold(0_usize, |sum, player| sum.saturating_add(player.rounds.len()));
    let mut lines = Vec::new();
    for (entity, player) in &players {
        let value_amount = by_value.get(entity).copied().unwrap_or_default();
        let participation_amount = by_participation.get(entity).copied().unwrap_or_default();
        let amount = value_amount.saturating_add(participation_amount);
        let own_rows = rows.iter().filter(|row| row.legal_entity == *entity);
        let members = player.sites.iter().filter_map(|site| assessment.sites.get(site));
        let evidence = evidence::figures(members.map(|site| (site.evidence, site.weight)))
            .ok_or_else(|| StatementError::EvidenceTooLarge { site: player.first_site.clone() })?;
        let reason = reasons::line(&LineFacts {
            legal_entity: entity,
            currency: &inputs.reward.currency,
            amount: Amount::from_micro(amount),
            value_amount: Amount::from_micro(value_amount),
            participation_amount: Amount::from_micro(participation_amount),
            scoring_round: assessment.scoring_round,
            batches_scored: assessment.batches.len(),
            batches: &batch_parts(&assessment, player),
            rounds: player.rounds.len(),
            all_rounds,
        });
        lines.push(RewardLine {
            legal_entity: (*entity).to_owned(),
            sites: player.sites.iter().map(|site| (*site).clone()).collect(),
            value_micro: own_rows.fold(0_i64, |sum, row| sum.saturating_add(row.value_micro)),
            standard_error_micro: None,
            provisional: true,
            evidence,
            value_amount: Amount::from_micro(value_amount),
            participation_amount: Amount::from_micro(participation_amount),
            amount: Amount::from_micro(amount),
            reason,
        });
    }
    let paid_by_value = total(&by_value);
    let paid = paid_by_value.saturating_add(total(&by_participation));
    let returned = inputs.reward.budget_micro.saturating_sub(paid);
    Ok(RewardStatement {
        rule: RewardStatement::RULE.to_owned(),
        job: inputs.job.clone(),
        policy: inputs.policy,
        currency: inputs.reward.currency.clone(),
        budget: Amount::from_micro(inputs.reward.budget_micro),
        value_part: Amount::from_micro(parts.value),
        participation_part: Amount::from_micro(parts.participation),
        paid: Amount::from_micro(paid),
        returned: Amount::from_micro(returned),
        budget_holder: inputs.budget_holder.clone(),
        returned_reason: returned_reason(inputs, &assessment, &parts, paid_by_value, returned),
        provisional: lines.iter().any(|line| line.provisional),
        batches: batch_values(&assessment),
        lines,
    })
}

/// A legal entity: one player, however many sites it runs.
struct Player<'a> {
    /// The first of its sites by id, by which ties are settled.
    first_site: &'a SiteId,
    sites: BTreeSet<&'a SiteId>,
    /// Rounds in which at least one of its sites took part.
    rounds: BTreeSet<RoundNumber>,
}

impl Player<'_> {
    fn weigh(&self, weight: u128) -> Weight {
        Weight { player: self.first_site.to_string(), weight }
    }
}

/// By name.
fn players<'a>(assessment: &Assessment<'a>) -> BTreeMap<&'a str, Player<'a>> {
    let mut players = BTreeMap::new();
    // Sites come in the order of their ids, so the first one seen is the first.
    for (site, assessed) in &assessment.sites {
        let player = players.entry(assessed.evidence.legal_entity.as_str()).or_insert_with(|| Player {
            first_site: site,
            sites: BTreeSet::new(),
            rounds: BTreeSet::new(),
        });
        player.sites.insert(*site);
        player.rounds.extend(&assessed.evidence.rounds);
    }
    players
}

struct BudgetParts {
    value: u64,
    participation: u64,
}

impl BudgetParts {
    /// The participation part is rounded down; the value part is the rest.
    fn cut(budget: u64, participation_share_ppm: u32) -> Self {
        let product = u128::from(budget) * u128::from(participation_share_ppm) / 1_000_000;
        // At most `budget`, because the share is at most a million (checked with the rules).
        let participation = u64::try_from(product).unwrap_or(budget).min(budget);
        Self { value: budget - participation, participation }
    }
}

type Payouts<'a> = BTreeMap<&'a str, u64>;

fn pay_value<'a>(
    part: u64,
    assessment: &Assessment<'a>,
    players: &BTreeMap<&'a str, Player<'a>>,
) -> Result<Payouts<'a>, StatementError> {
    // Over the common denominator m! the values are integers, in proportion.
    let common = factorial(assessment.batches.len());
    let weights: Vec<_> = assessment
        .batches
        .iter()
        .map(|batch| Weight {
            // Batches have no name that survives reordering but that of their first site.
            player: batch.sites.first().map(ToString::to_string).unwrap_or_default(),
            weight: payable(batch, common),
        })
        .collect();
    let mut payouts = Payouts::new();
    for (batch, pot) in assessment.batches.iter().zip(apportion(part, &weights)?) {
        let shares: Vec<_> = players
            .iter()
            .map(|(entity, player)| (*entity, player, weight_in(assessment, batch, player)))
            .collect();
        let weights: Vec<_> = shares.iter().map(|(_, player, weight)| player.weigh(*weight)).collect();
        for ((entity, _, _), amount) in shares.iter().zip(apportion(pot, &weights)?) {
            let sum = payouts.entry(*entity).or_default();
            *sum = sum.saturating_add(amount);
        }
    }
    Ok(payouts)
}

/// The weight of a batch in the value part: its value times m! if that is above zero and there is
/// evidence to divide it by.
fn payable(batch: &AssessedBatch<'_>, common: i128) -> u128 {
    if batch.weight == 0 {
        return 0;
    }
    let scaled =
        common.checked_div(batch.value.denominator()).and_then(|f| batch.value.numerator().checked_mul(f));
    scaled.and_then(|scaled| u128::try_from(scaled).ok()).unwrap_or(0)
}

/// A player's evidence in one batch; its sites' sum is at most the batch's, which fits.
fn weight_in(assessment: &Assessment<'_>, batch: &AssessedBatch<'_>, player: &Player<'_>) -> u128 {
    let members = player.sites.intersection(&batch.sites).filter_map(|site| assessment.sites.get(site));
    members.fold(0, |sum, site| sum.saturating_add(site.weight))
}

fn pay_participation<'a>(
    part: u64,
    players: &BTreeMap<&'a str, Player<'a>>,
) -> Result<Payouts<'a>, StatementError> {
    let weights: Vec<_> = players
        .values()
        .map(|player| player.weigh(u128::try_from(player.rounds.len()).unwrap_or(0)))
        .collect();
    Ok(players.keys().copied().zip(apportion(part, &weights)?).collect())
}

/// Each step is bounded by the budget, so sums of payouts are too.
fn total(payouts: &Payouts<'_>) -> u64 {
    payouts.values().fold(0, |sum, amount| sum.saturating_add(*amount))
}

fn batch_parts(assessment: &Assessment<'_>, player: &Player<'_>) -> Vec<BatchPart> {
    let batches = assessment.batches.iter().enumerate();
    batches
        .filter(|(_, batch)| !batch.sites.is_disjoint(&player.sites))
        .map(|(index, batch)| {
            let weight = weight_in(assessment, batch, player);
            let (sites, share_ppm) = (batch.sites.len(), batch.share_ppm(weight));
            BatchPart { index, sites, value: batch.value, share_ppm, has_evidence: weight > 0 }
        })
        .collect()
}

fn batch_values(assessment: &Assessment<'_>) -> Vec<BatchValue> {
    let batches = (0_u16..).zip(&assessment.batches);
    batches
        .map(|(batch, assessed)| BatchValue {
            batch,
            sites: assessed.sites.iter().map(|site| (*site).clone()).collect(),
            shapley_micro: assessed.value,
        })
        .collect()
}

fn returned_reason(
    inputs: &StatementInputs,
    assessment: &Assessment<'_>,
    parts: &BudgetParts,
    paid_by_value: u64,
    returned: u64,
) -> Option<Reason> {
    let value_returned = parts.value.saturating_sub(paid_by_value);
    (returned > 0).then(|| {
        reasons::returned(
            Amount::from_micro(value_returned),
            Amount::from_micro(returned.saturating_sub(value_returned)),
            assessment.scoring_round,
            &inputs.budget_holder,
            &inputs.reward.currency,
        )
    })
}
