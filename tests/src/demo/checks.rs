//! What must hold at the end, each looked at from outside: through the interface and in the ledger's own entries.

use std::collections::BTreeSet;

use konclave_crypto::SiteId;
use konclave_ledger::Leaf;
use konclave_ledger::records::Record;
use konclave_openapi::contributions::Statement;
use konclave_openapi::jobs::Job;
use konclave_openapi::ledger::EntryView;
use konclave_openapi::rounds::{Round, RoundPhase};

use super::rounds::Kill;
use crate::error::HarnessError;
use crate::report::summary::{Check, Part};

/// A check with what was seen.
pub(super) fn check(name: impl Into<String>, passed: bool, detail: impl Into<String>) -> Check {
    Check { name: name.into(), passed, detail: detail.into() }
}

/// The records of ledger entries.
pub(super) fn records(entries: &[EntryView]) -> Result<Vec<Record>, HarnessError> {
    let read = |entry: &EntryView| {
        let what = || format!("ledger entry {}", entry.index);
        let leaf =
            Leaf::parse(entry.leaf.as_bytes()).map_err(|error| HarnessError::unexpected(what(), error))?;
        Record::parse(&leaf.action, &leaf.record).map_err(|error| HarnessError::unexpected(what(), error))
    };
    entries.iter().map(read).collect()
}

fn names(sites: &[SiteId]) -> BTreeSet<String> {
    sites.iter().map(ToString::to_string).collect()
}

/// Whether what was opened is exactly the set that a quorum of sites signed: the interface's view of the agreed set,
/// the union of the opened sums and both ledger entries name the same sites.
pub(super) fn is_exact(round: &Round, ledger: &[Record]) -> bool {
    let number = round.round.get();
    let agreed = names(&round.agreed);
    let opened: Vec<SiteId> = round.openings.iter().flat_map(|opening| opening.sites.clone()).collect();
    let threshold = usize::from(round.context.context.threshold);
    let in_ledger = |record: &Record| {
        if let Record::RoundAgreed { round, agreed: sites, signed, .. } = record
            && *round == number
        {
            return Some(
                sites.iter().cloned().collect::<BTreeSet<_>>() == agreed && signed.len() >= threshold,
            );
        }
        if let Record::RoundOpened { round, batches, .. } = record
            && *round == number
        {
            let sites: Vec<String> = batches.iter().flat_map(|batch| batch.sites.clone()).collect();
            return Some(sites.len() == agreed.len() && sites.into_iter().collect::<BTreeSet<_>>() == agreed);
        }
        None
    };
    let entries: Vec<bool> = ledger.iter().filter_map(in_ledger).collect();
    matches!(round.phase, RoundPhase::Opened)
        && opened.len() == agreed.len()
        && names(&opened) == agreed
        && entries == [true, true]
}

/// The rounds as a whole and the two with a killed site.
pub(super) fn of_rounds(job: &Job, rounds: &[Round], kills: &[Kill], ledger: &[Record]) -> Vec<Check> {
    let opened: Vec<&Round> =
        rounds.iter().filter(|round| matches!(round.phase, RoundPhase::Opened)).collect();
    let aborted = rounds.len() - opened.len();
    let exact = opened.iter().filter(|round| is_exact(round, ledger)).count();
    let mut checks = vec![
        check(
            "All rounds opened",
            opened.len() == usize::try_from(job.request.rounds).unwrap_or(usize::MAX),
            format!("{} of {} opened, {aborted} aborted", opened.len(), job.request.rounds),
        ),
        check(
            "Every sum is that of the set which the sites signed",
            exact == opened.len(),
            format!("{exact} of {} rounds, by the interface and by the ledger's entries", opened.len()),
        ),
    ];
    for part in [Part::KilledBeforeUpload, Part::KilledAfterUpload] {
        checks.push(of_kill(part, kills, job, rounds, ledger));
    }
    checks
}

fn of_kill(part: Part, kills: &[Kill], job: &Job, rounds: &[Round], ledger: &[Record]) -> Check {
    let name = if part == Part::KilledBeforeUpload {
        "A site killed before its upload: the round finished without it"
    } else {
        "A site killed after its upload: the round finished with its update"
    };
    let Some(kill) = kills.iter().find(|kill| kill.part == part) else {
        return check(name, false, "no site was killed at that moment");
    };
    let Some(round) = rounds.iter().find(|round| round.round.get() == kill.round) else {
        return check(name, false, format!("there is no round {}", kill.round));
    };
    let mut expected = names(&job.sites);
    if part == Part::KilledBeforeUpload {
        expected.remove(&kill.site);
    }
    let passed = is_exact(round, ledger) && names(&round.agreed) == expected;
    let answered =
        if names(&round.unmasked).contains(&kill.site) { "had answered" } else { "did not answer" };
    let sites: Vec<String> = names(&round.agreed).into_iter().collect();
    check(
        name,
        passed,
        format!(
            "round {}: {} was killed and {answered} the unmasking; the sum is exactly that of {}",
            kill.round,
            kill.site,
            sites.join(", ")
        ),
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
