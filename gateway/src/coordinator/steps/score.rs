//! Contribution figures of a scoring round and the reward statement of a job.

use std::collections::BTreeSet;

use konclave_crypto::{Digest, RoundNumber, SiteId};
use konclave_ledger::records::Record;
use konclave_policies::contribution::{
    Coalition, CoalitionScore, DepositEvidence, ScoringRound, SiteEvidence, StatementInputs,
    contribution_table, reward_statement,
};
use konclave_policies::rounds::{DataClass, RewardRules, RoundPolicy};

use super::round::round_object;
use super::setup::abort;
use super::{caller, object};
use crate::coordinator::CoordinatorError;
use crate::coordinator::evaluations::{batches, complete_scores};
use crate::core::{App, CommandError, Entry, Held};
use crate::projections::{JobState, State};

/// Appends the contribution figures of one scoring round.
pub(super) async fn score(
    app: &App,
    held: &Held,
    job: &JobState,
    policy: &RoundPolicy,
    round: RoundNumber,
) -> Result<(), CoordinatorError> {
    let inputs = inputs(app, job, policy, Some(round)).await?;
    let rows = match contribution_table(&inputs) {
        Ok(rows) => rows,
        Err(error) => {
            let reason = format!("the contributions of round {round} cannot be computed: {error}");
            return abort(app, held, job, reason, BTreeSet::new()).await;
        }
    };
    let rows = app.document(serde_json::to_value(rows).map_err(CommandError::from)?).await?;
    let scores = app.document(serde_json::to_value(&inputs.scoring).map_err(CommandError::from)?).await?;
    let (job_id, new) = (job.job.to_string(), Some(rows.digest));
    let record = Record::ContributionScored { job: job_id, round: round.get(), rows, scores };
    let entry = Entry::new(round_object(job, round), "every coalition is scored", record).changing(None, new);
    app.append(held, &caller("score"), vec![entry]).await?;
    Ok(())
}

/// Appends what each legal entity is paid, by the last scoring round whose scores are complete.
pub(super) async fn state_reward(
    app: &App,
    held: &Held,
    job: &JobState,
    policy: &RoundPolicy,
) -> Result<(), CoordinatorError> {
    let scored = job.contributions.keys().next_back().copied();
    let inputs = inputs(app, job, policy, scored).await?;
    let statement = match reward_statement(&inputs) {
        Ok(statement) => statement,
        Err(error) => {
            let reason = format!("the rewards cannot be computed: {error}");
            return abort(app, held, job, reason, BTreeSet::new()).await;
        }
    };
    let (budget_micro, paid_micro) = (job.budget_micro.to_string(), statement.paid.micro().to_string());
    let document = app.document(serde_json::to_value(&statement).map_err(CommandError::from)?).await?;
    let new = Some(document.digest);
    let record =
        Record::RewardStated { job: job.job.to_string(), statement: document, budget_micro, paid_micro };
    let entry =
        Entry::new(object(job), "the job's rounds and evaluations are done", record).changing(None, new);
    app.append(held, &caller("state-reward"), vec![entry]).await?;
    Ok(())
}

/// What the policies compute from: nothing but what the ledger holds.
async fn inputs(
    app: &App,
    job: &JobState,
    policy: &RoundPolicy,
    scored: Option<RoundNumber>,
) -> Result<StatementInputs, CoordinatorError> {
    let (owned, policy) = (job.clone(), policy.clone());
    app.blocking(move |app| {
        let state = app.state();
        let sites = owned.cohort.iter().map(|site| evidence(&state, &owned, site)).collect();
        let scoring = match scored.and_then(|round| owned.rounds.get(&round)) {
            Some(round) => {
                let scores = complete_scores(&state, &owned, round, app.blobs())?;
                scores.zip(round.opened()).and_then(|(scores, opened)| {
                    let (_, first) = scores.first()?;
                    let score =
                        |(bits, known): &(u16, &crate::projections::EvaluationState)| CoalitionScore {
                            coalition: Coalition::from_bits(*bits),
                            score_micro: known.score_micro,
                        };
                    Some(ScoringRound {
                        round: round.round,
                        context: round.context,
                        evaluator: first.evaluator.clone(),
                        benchmark: first.benchmark,
                        batches: batches(opened),
                        scores: scores.iter().map(score).collect(),
                    })
                })
            }
            None => None,
        };
        Ok(StatementInputs {
            job: owned.job.clone(),
            policy: owned.policy,
            reward: RewardRules { budget_micro: owned.budget_micro, ..policy.reward.clone() },
            data_class_weights: policy.data_class_weights.clone(),
            budget_holder: owned.organisation.clone(),
            sites,
            scoring,
        })
    })
    .await
}

/// What can be said of a site's part without seeing an update: its rounds, and its latest deposit of training data.
///
/// Only the latest counts, so that stating the same data twice gains nothing. Deposit statements do not say yet what
/// kind of study a record comes from, so all count as in vitro.
fn evidence(state: &State, job: &JobState, site: &SiteId) -> SiteEvidence {
    let took_part = |round: &&crate::projections::RoundState| {
        round.participation.get(site).is_some_and(|part| part.agreed)
    };
    let rounds = job.rounds.values().filter(took_part).map(|round| round.round).collect();
    let legal_entity =
        state.sites.get(site).map_or_else(|| site.to_string(), |known| known.legal_entity().to_owned());
    let latest = state.deposits.iter().rev().find(|deposit| deposit.site == *site && deposit.training);
    let line = |line: &konclave_ledger::records::DepositLine, statement: Digest| DepositEvidence {
        task: line.task.clone(),
        class: DataClass::InVitro,
        records: line.records,
        unique_structures: line.unique_structures,
        scaffolds: line.scaffolds,
        statement,
    };
    let deposits = latest
        .map(|deposit| deposit.lines.iter().map(|one| line(one, deposit.deposit)).collect())
        .unwrap_or_default();
    SiteEvidence { site: site.clone(), legal_entity, rounds, deposits }
}
