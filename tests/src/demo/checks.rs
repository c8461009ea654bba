//! What must hold at the end, each looked at from outside: through the interface and in the ledger's own entries.

use std::collections::BTreeSet;

use konclave_crypto::SiteId;
use konclave_ledger::records::SumResult;
use konclave_openapi::contributions::Statement;
use konclave_openapi::rounds::{Round, RoundPhase};

use super::evidence::Evidence;
use super::exactness::Exactness;
use crate::report::summary::{Check, Part};

/// A check with what was seen.
pub(super) fn check(name: impl Into<String>, passed: bool, detail: impl Into<String>) -> Check {
    Check { name: name.into(), passed, detail: detail.into() }
}

fn names(sites: &[SiteId]) -> BTreeSet<String> {
    sites.iter().map(ToString::to_string).collect()
}

/// The rounds as a whole and the two with a killed site.
pub(super) fn of_rounds(evidence: &Evidence) -> Vec<Check> {
    let wanted = evidence.job.request.rounds;
    let opened: Vec<&(Round, Exactness)> =
        evidence.rounds.iter().filter(|(round, _)| round.phase == RoundPhase::Opened).collect();
    let aborted = evidence.rounds.len() - opened.len();
    let signed = opened.iter().filter(|(_, found)| found.set_as_signed).count();
    let mut checks = vec![
        check(
            "All rounds opened",
            u32::try_from(opened.len()) == Ok(wanted),
            format!("{} of {wanted} opened, {aborted} aborted", opened.len()),
        ),
        check(
            "What was opened is the set that a quorum of sites signed",
            signed == opened.len(),
            format!("{signed} of {} rounds, by the interface and by the ledger's entries", opened.len()),
        ),
        of_verification(&opened),
        of_steps(evidence, &opened),
    ];
    for part in [Part::KilledBeforeUpload, Part::KilledAfterUpload] {
        checks.push(of_kill(part, evidence));
    }
    checks
}

/// What the sites found of the opened sums, by their tags.
fn of_verification(opened: &[&(Round, Exactness)]) -> Check {
    let found = |round: &Round| round.verification.as_ref().map(|verification| verification.result);
    let verified = opened.iter().filter(|(round, _)| found(round) == Some(SumResult::Verified)).count();
    let words: usize = opened
        .iter()
        .filter_map(|(round, _)| round.verification.as_ref())
        .map(|verification| verification.accepted.len())
        .sum();
    check(
        "Sites checked every opened sum against the tags of all agreed sites",
        verified == opened.len() && verified > 0,
        format!("{verified} of {} rounds verified by a quorum; {words} signed verdicts accept", opened.len()),
    )
}

/// The model's way from the developer's parameters to the last ones.
fn of_steps(evidence: &Evidence, opened: &[&(Round, Exactness)]) -> Check {
    let looked_at: Vec<bool> = opened.iter().filter_map(|(_, found)| found.step_as_opened).collect();
    let right = looked_at.iter().filter(|step| **step).count();
    let mut model = evidence.initial;
    let unbroken = opened.iter().all(|(round, _)| {
        let follows = round.parameters_before == model;
        round.parameters_after.is_some_and(|after| {
            model = after;
            follows
        })
    });
    let arrived = unbroken && model == evidence.job.global_parameters;
    check(
        "Every step of the model is that of the opened sum",
        right == looked_at.len() && !looked_at.is_empty() && arrived,
        format!(
            "{right} of {} rounds with one sum recomputed bit for bit; the rounds {} from the developer's parameters \
             to the final ones; that a sum is the sum of what the sites gave is shown by the test exact_sums, with \
             updates known in advance",
            looked_at.len(),
            if arrived { "lead without a gap" } else { "do not lead without a gap" }
        ),
    )
}

fn of_kill(part: Part, evidence: &Evidence) -> Check {
    let name = if part == Part::KilledBeforeUpload {
        "A site killed before its upload: the round finished without it"
    } else {
        "A site killed after its upload: the round finished with its update"
    };
    let Some(kill) = evidence.kills.iter().find(|kill| kill.part == part) else {
        return check(name, false, "no site was killed at that moment");
    };
    let of_kill = |(round, _): &&(Round, Exactness)| round.round.get() == kill.round;
    let Some((round, found)) = evidence.rounds.iter().find(of_kill) else {
        return check(name, false, format!("there is no round {}", kill.round));
    };
    let mut expected = names(&evidence.job.sites);
    if part == Part::KilledBeforeUpload {
        expected.remove(&kill.site);
    }
    let passed = found.holds() && names(&round.agreed) == expected;
    let answered =
        if names(&round.unmasked).contains(&kill.site) { "had answered" } else { "did not answer" };
    let sites: Vec<String> = names(&round.agreed).into_iter().collect();
    check(
        name,
        passed,
        format!(
            "round {}: {} was killed and {answered} the unmasking; signed and opened: {}",
            kill.round,
            kill.site,
            sites.join(", ")
        ),
    )
}

/// Whether the evaluator kept up.
pub(super) fn of_evaluations(rounds_with_one: usize, opened: u32) -> Check {
    check(
        "The evaluator scored the model after every round",
        u32::try_from(rounds_with_one) == Ok(opened),
        format!("{rounds_with_one} of {opened} rounds have a signed evaluation"),
    )
}

/// Budget balance to the last micro-unit.
pub(super) fn of_rewards(statement: Option<&Statement>, budget_micro: &str) -> Check {
    let name = "Rewards and what is returned are exactly the budget";
    let Some(Statement { statement, .. }) = statement else {
        return check(name, false, "there is no reward statement");
    };
    let lines: u128 = statement.lines.iter().map(|line| u128::from(line.amount.micro())).sum();
    let (paid, returned) = (u128::from(statement.paid.micro()), u128::from(statement.returned.micro()));
    let budget = statement.budget.micro();
    let passed = lines == paid && paid + returned == u128::from(budget) && budget.to_string() == budget_micro;
    check(
        name,
        passed,
        format!(
            "{} lines add up to {paid}; with {returned} returned that is {}; the budget is {budget}",
            statement.lines.len(),
            paid + returned
        ),
    )
}
