//! The tables of the report: results, checks, shares, ledger facts.

use super::markup::Markup;
use super::summary::Summary;

/// A number of micro-units as units with six decimals, by digits alone.
pub(crate) fn units(micro: &str) -> String {
    let (sign, digits) = micro.strip_prefix('-').map_or(("", micro), |digits| ("-", digits));
    if digits.is_empty() || !digits.bytes().all(|byte| byte.is_ascii_digit()) {
        return micro.to_owned();
    }
    let padded = format!("{digits:0>7}");
    let (whole, fraction) = padded.split_at(padded.len() - 6);
    format!("{sign}{whole}.{fraction}")
}

/// Per task: federated, mean local-only, pooled.
pub(super) fn results(summary: &Summary) -> Markup {
    let mut table = header(&[
        "task",
        "metric",
        "federated",
        "mean local-only",
        "pooled",
        "molecules",
        "federated beats local-only",
    ]);
    for task in &summary.tasks {
        table.raw("<tr>").element("th", &[("scope", &"row")], &task.task);
        let arrow = if task.higher_is_better { "↑" } else { "↓" };
        table.element("td", &[], format_args!("{} {arrow}", task.metric));
        for value in [task.federated, task.local_mean, task.pooled] {
            table.element("td", &[("class", &"number")], format_args!("{value:.3}"));
        }
        table.element("td", &[("class", &"number")], task.molecules);
        verdict(&mut table, task.federated_beats_local);
        table.raw("</tr>");
    }
    footer(table)
}

/// What had to hold.
pub(super) fn checks(summary: &Summary) -> Markup {
    let mut table = header(&["what had to hold", "seen", ""]);
    for check in &summary.checks {
        table.raw("<tr>").element("th", &[("scope", &"row")], &check.name).element("td", &[], &check.detail);
        verdict(&mut table, check.passed);
        table.raw("</tr>");
    }
    footer(table)
}

/// What each site brought.
pub(super) fn shares(summary: &Summary) -> Markup {
    let mut table = Markup::new();
    table.raw("<div class=\"scroll\"><table><thead><tr>");
    table.element("th", &[], "site").element("th", &[], "legal entity");
    table.element("th", &[("class", &"number")], "rows");
    for task in &summary.tasks {
        table.element("th", &[("class", &"number")], &task.task);
    }
    table.raw("</tr></thead><tbody>");
    for share in &summary.sites {
        table.raw("<tr>").element("th", &[("scope", &"row")], &share.site).element(
            "td",
            &[],
            &share.legal_entity,
        );
        table.element("td", &[("class", &"number")], share.rows);
        for task in &summary.tasks {
            match share.labels.get(&task.task) {
                Some(labels) => table.element("td", &[("class", &"number")], labels),
                None => table.element("td", &[("class", &"number quiet")], "none"),
            };
        }
        table.raw("</tr>");
    }
    footer(table)
}

/// The rewards, line by line, with the reasons.
pub(super) fn rewards(summary: &Summary) -> Markup {
    let mut table = header(&["site", "contribution", "reward", "why"]);
    for line in &summary.rewards.lines {
        table.raw("<tr>").element("th", &[("scope", &"row")], &line.site);
        table.element("td", &[("class", &"number")], format_args!("{:.4}", line.contribution));
        table.element("td", &[("class", &"number")], units(&line.reward_micro));
        table.element("td", &[], line.reasons.join("; ")).raw("</tr>");
    }
    for (name, micro) in
        [("returned", &summary.rewards.returned_micro), ("total", &summary.rewards.total_micro)]
    {
        table.raw("<tr class=\"sum\">").element("th", &[("scope", &"row")], name).raw("<td></td>");
        table.element("td", &[("class", &"number")], units(micro));
        let of = format!("of a budget of {}", units(&summary.rewards.budget_micro));
        table.element("td", &[], if name == "total" { of.as_str() } else { "" }).raw("</tr>");
    }
    footer(table)
}

/// Facts as a list of terms.
pub(super) fn facts(rows: &[(&str, String)]) -> Markup {
    let mut list = Markup::new();
    list.raw("<dl>");
    for (term, value) in rows {
        list.element("dt", &[], term).element("dd", &[], value);
    }
    list.raw("</dl>");
    list
}

/// Columns whose head stands over numbers.
const NUMBERS: [&str; 7] =
    ["federated", "mean local-only", "pooled", "molecules", "contribution", "reward", "rows"];

fn header(columns: &[&'static str]) -> Markup {
    let mut table = Markup::new();
    table.raw("<div class=\"scroll\"><table><thead><tr>");
    for column in columns {
        let class = if NUMBERS.contains(column) { "number" } else { "" };
        table.element("th", &[("scope", &"col"), ("class", &class)], column);
    }
    table.raw("</tr></thead><tbody>");
    table
}

fn footer(mut table: Markup) -> Markup {
    table.raw("</tbody></table></div>");
    table
}

fn verdict(table: &mut Markup, passed: bool) {
    let (class, word) = if passed { ("pass", "PASS") } else { ("fail", "FAIL") };
    table.element("td", &[("class", &class)], word);
}

#[cfg(test)]
mod tests {
    use super::units;

    #[test]
    fn micro_units_keep_every_digit() {
        for (micro, expected) in [
            ("0", "0.000000"),
            ("1", "0.000001"),
            ("1000000", "1.000000"),
            ("-2500000", "-2.500000"),
            ("123456789012345678901234567890", "123456789012345678901234.567890"),
            ("n/a", "n/a"),
            ("", ""),
        ] {
            assert_eq!(units(micro), expected, "{micro}");
        }
    }
}
