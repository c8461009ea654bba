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
use crate::coordinator::decide::some_of;
use crate::coordinator::evaluations::{batches, complete_scores};
use crate::core::{App, CommandError, Entry, Held};
use crate::projections::{EvaluationState, JobState, State};

/// Appends the contribution figures of one scoring round.
pub(super) async fn score(
    app: &App,
    held: &Held,
    job: &JobState,
    policy: &RoundPolicy,
    round: RoundNumber,
) -> Result<(), CoordinatorError> {
    let scoring = complete(app, job, round).await?;
    let (inputs, reason) = inputs(app, job, policy, scoring).await?;
    let reason = format!("every coalition is scored{reason}");
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
    let entry = Entry::new(round_object(job, round), reason, record).changing(None, new);
    app.append(held, &caller("score"), vec![entry]).await?;
    Ok(())
}

/// Appends what each legal entity is paid, by the last scoring round whose contributions were scored, and by the very
/// scores that are recorded with them: another evaluator's, complete by now, would give other figures.
pub(super) async fn state_reward(
    app: &App,
    held: &Held,
    job: &JobState,
    policy: &RoundPolicy,
) -> Result<(), CoordinatorError> {
    let scoring = match job.contributions.values().next_back() {
        Some(scored) => {
            let scores = app.read_document(&scored.scores).await?;
            serde_json::from_value(scores).map_err(CommandError::from)?
        }
        None => None,
    };
    let (inputs, reason) = inputs(app, job, policy, scoring).await?;
    let reason = format!("the job's rounds and evaluations are done{reason}");
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
    let entry = Entry::new(object(job), reason, record).changing(None, new);
    app.append(held, &caller("state-reward"), vec![entry]).await?;
    Ok(())
}

/// The scores of a round by the first evaluator that has scored every coalition.
async fn complete(
    app: &App,
    job: &JobState,
    round: RoundNumber,
) -> Result<Option<ScoringRound>, CoordinatorError> {
    let job = job.clone();
    app.blocking(move |app| {
        let Some(round) = job.rounds.get(&round) else { return Ok(None) };
        let state = app.state();
        let scores = complete_scores(&state, &job, round, app.blobs())?;
        Ok(scores.zip(round.opened()).and_then(|(scores, opened)| {
            let (_, first) = scores.first()?;
            let score = |(bits, known): &(u16, &EvaluationState)| CoalitionScore {
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
        }))
    })
    .await
}

/// What the policies compute from: nothing but what the ledger holds. Beside it what the entry's reason has to add.
async fn inputs(
    app: &App,
    job: &JobState,
    policy: &RoundPolicy,
    scoring: Option<ScoringRound>,
) -> Result<(StatementInputs, String), CoordinatorError> {
    let (owned, policy) = (job.clone(), policy.clone());
    app.blocking(move |app| {
        let state = app.state();
        let mut sites: Vec<SiteEvidence> =
            owned.cohort.iter().map(|site| evidence(&state, &owned, site)).collect();
        let inadmissible = drop_inadmissible(&mut sites);
        let reason = if inadmissible.is_empty() {
            String::new()
        } else {
            format!(
                "; of no weight, because they declare too much: the deposits of {}",
                some_of(&inadmissible)
            )
        };
        let inputs = StatementInputs {
            job: owned.job.clone(),
            policy: owned.policy,
            reward: RewardRules { budget_micro: owned.budget_micro, ..policy.reward.clone() },
            data_class_weights: policy.data_class_weights.clone(),
            budget_holder: owned.organisation.clone(),
            sites,
            scoring,
        };
        Ok((inputs, reason))
    })
    .await
}

/// Takes out what no statement may count, so that one site's deposit does not cost all others their pay; whose it was.
fn drop_inadmissible(sites: &mut [SiteEvidence]) -> BTreeSet<SiteId> {
    let mut whose = BTreeSet::new();
    for site in sites {
        if !site.deposits.iter().all(DepositEvidence::is_admissible) {
            site.deposits.clear();
            whose.insert(site.site.clone());
        }
    }
    whose
}

/// What can be said of a site's part without seeing an update: its rounds, and its latest deposit of training data.
///
/// Only the latest before the cohort was fixed counts, so that stating the same data twice gains nothing, and neither
/// does stating more once the pay-out is near. Deposit statements do not say yet what
/// kind of study a record comes from, so all count as in vitro.
fn evidence(state: &State, job: &JobState, site: &SiteId) -> SiteEvidence {
    let took_part = |round: &&crate::projections::RoundState| {
        round.participation.get(site).is_some_and(|part| part.agreed)
    };
    let rounds = job.rounds.values().filter(took_part).map(|round| round.round).collect();
    let legal_entity =
        state.sites.get(site).map_or_else(|| site.to_string(), |known| known.legal_entity().to_owned());
    let in_time = |entry: u64| job.cohort_entry.is_some_and(|fixed| entry < fixed);
    let latest = state
        .deposits
        .iter()
        .rev()
        .find(|deposit| deposit.site == *site && deposit.training && in_time(deposit.entry));
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

#[cfg(test)]
mod tests {
    use konclave_policies::contribution::MAX_DEPOSIT_COUNT;

    use super::*;

    #[test]
    fn a_deposit_beyond_what_is_paid_for_weighs_nothing_and_is_named() {
        let deposit = |records| DepositEvidence {
            task: "Solubility/Solubility".to_owned(),
            class: DataClass::InVitro,
            records,
            unique_structures: 1,
            scaffolds: 1,
            statement: Digest::of(b"statement"),
        };
        let site = |name: &str, records| SiteEvidence {
            site: name.parse().unwrap(),
            legal_entity: name.to_owned(),
            rounds: BTreeSet::from([RoundNumber::FIRST]),
            deposits: vec![deposit(records)],
        };
        let mut sites = [site("site-1", MAX_DEPOSIT_COUNT), site("site-2", MAX_DEPOSIT_COUNT + 1)];
        assert_eq!(drop_inadmissible(&mut sites), BTreeSet::from(["site-2".parse().unwrap()]));
        assert_eq!(sites.map(|site| site.deposits.len()), [1, 0]);
    }
}
