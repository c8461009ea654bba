//! The last lines: the table, the rewards, the checks, the paths.

use crate::report::summary::Summary;
use crate::report::{Written, units};

/// Prints the results.
pub(super) fn print(summary: &Summary, written: &Written) {
    println!("\nOn the same held-out molecules:");
    println!(
        "  {:<34} {:>9} {:>11} {:>16} {:>8}   federated beats local-only",
        "task", "", "federated", "mean local-only", "pooled"
    );
    for task in &summary.tasks {
        let name = format!("{} {}", task.metric, if task.higher_is_better { "(up)" } else { "(down)" });
        let verdict = if task.federated_beats_local { "PASS" } else { "FAIL" };
        println!(
            "  {:<34} {name:>9} {:>11.3} {:>16.3} {:>8.3}   {verdict}",
            task.task, task.federated, task.local_mean, task.pooled
        );
    }
    let ledger = &summary.ledger;
    println!("\nLedger: {} entries, root {}", ledger.size, ledger.root);
    println!("  cosigned by {} of {} members", ledger.witnesses.len(), ledger.enrolled);
    let traffic = &summary.traffic;
    println!(
        "Uploads: {:.3} bytes a parameter, {:.3} with shares and everything else (a plain 32-bit float: 4.0)",
        traffic.bytes_per_parameter, traffic.round_bytes_per_parameter
    );
    println!(
        "\nRewards from scoring round {} ({}s, budget {}):",
        summary.rewards.round,
        summary.rewards.currency,
        units(&summary.rewards.budget_micro)
    );
    for line in &summary.rewards.lines {
        println!(
            "  {:<12} contribution {:>9.4}   reward {:>20}",
            line.site,
            line.contribution,
            units(&line.reward_micro)
        );
    }
    println!("  {:<12} {:>22}   reward {:>20}", "returned", "", units(&summary.rewards.returned_micro));
    println!(
        "  {:<12} {:>22}   total  {:>20} of {}",
        "",
        "",
        units(&summary.rewards.total_micro),
        units(&summary.rewards.budget_micro)
    );
    println!("\nWhat had to hold:");
    for check in &summary.checks {
        println!("  {}  {} ({})", if check.passed { "PASS" } else { "FAIL" }, check.name, check.detail);
    }
    println!("\nAttestation: {} (no hardware proves which programs ran)", summary.run.attestation);
    println!("Report:  {}\nData:    {}", written.html.display(), written.json.display());
    println!("Verify the ledger yourself: {}", ledger.verify);
    println!(
        "{} in {:.0} s",
        if summary.passed { "All held," } else { "NOT all held," },
        summary.run.seconds
    );
}
