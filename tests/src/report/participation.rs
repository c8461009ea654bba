//! The participation grid: sites by rounds.

use super::markup::Markup;
use super::summary::{Part, Summary};

/// A cell's class, sign and words.
fn cell(part: Part) -> (&'static str, &'static str, &'static str) {
    match part {
        Part::Summed => ("summed", "●", "uploaded, signed, in the sum"),
        Part::KilledAfterUpload => {
            ("after", "◐", "killed (kill -9) right after its upload; its update is in the sum")
        }
        Part::KilledBeforeUpload => ("before", "✕", "killed (kill -9) before its upload; not in the sum"),
        Part::Absent => ("absent", "–", "not in the sum"),
    }
}

/// The grid with its legend.
pub(super) fn grid(summary: &Summary) -> Markup {
    let mut grid = Markup::new();
    grid.open("div", &[("class", &"scroll")]).open("table", &[("class", &"grid")]);
    grid.raw("<thead><tr>").element("th", &[("scope", &"col")], "site");
    for round in &summary.rounds {
        let title = format!("round {}: {}", round.round, round.detail);
        grid.open("th", &[("scope", &"col"), ("title", &title)]).text(round.round);
        if round.scoring {
            grid.element("sup", &[("title", &"scoring round, opened batch by batch")], "s");
        }
        grid.close("th");
    }
    grid.raw("</tr></thead><tbody>");
    for share in &summary.sites {
        grid.raw("<tr>").element("th", &[("scope", &"row"), ("title", &share.legal_entity)], &share.site);
        for round in &summary.rounds {
            let part = round.sites.get(&share.site).copied().unwrap_or(Part::Absent);
            let (class, sign, words) = cell(part);
            let title = format!("{} in round {}: {words}", share.site, round.round);
            grid.element("td", &[("class", &class), ("title", &title)], sign);
        }
        grid.raw("</tr>");
    }
    grid.raw("<tr>").element("th", &[("scope", &"row")], "opened");
    for round in &summary.rounds {
        let exact = round.set_as_signed && round.step_as_opened != Some(false);
        let (class, sign) = match (round.outcome.as_str(), exact) {
            ("opened", true) => ("summed", "✓"),
            ("opened", false) => ("before", "≠"),
            _ => ("before", "✕"),
        };
        grid.element("td", &[("class", &class), ("title", &round.detail)], sign);
    }
    grid.raw("</tr></tbody></table></div>").open("ul", &[("class", &"legend")]);
    for part in [Part::Summed, Part::KilledAfterUpload, Part::KilledBeforeUpload, Part::Absent] {
        let (class, sign, words) = cell(part);
        grid.open("li", &[]).element("span", &[("class", &class)], sign).raw(" ").text(words).close("li");
    }
    grid.close("ul");
    grid
}
