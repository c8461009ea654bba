//! The page: one HTML file with its style and drawings inside, which loads nothing from anywhere.

use super::bars::{self, Bar};
use super::markup::Markup;
use super::summary::Summary;
use super::{curves, participation, tables};

const STYLE: &str = include_str!("style.css");

/// The whole document.
pub(super) fn html(summary: &Summary) -> String {
    let mut page = Markup::new();
    page.raw("<!doctype html><html lang=\"en\"><head><meta charset=\"utf-8\">");
    page.raw("<meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">");
    // Says by itself that nothing may be loaded or run.
    page.raw("<meta http-equiv=\"Content-Security-Policy\" content=\"default-src 'none'; style-src 'unsafe-inline'\">");
    page.raw("<title>Konclave: report of a federated run</title><style>")
        .raw(STYLE)
        .raw("</style></head><body><main>");
    opening(&mut page, summary);
    page.raw("<h2>Results on the same held-out molecules</h2>").add(&tables::results(summary));
    page.raw("<h2>Round by round</h2><div class=\"charts\">");
    for task in &summary.tasks {
        page.add(&curves::figure(task));
    }
    page.raw("</div><h2>Who took part</h2>").add(&participation::grid(summary));
    rewards(&mut page, summary);
    page.raw("<h2>What each site brought</h2>").add(&tables::shares(summary));
    traffic(&mut page, summary);
    ledger(&mut page, summary);
    page.raw("<h2>What had to hold</h2>").add(&tables::checks(summary));
    page.raw("</main></body></html>\n");
    page.into_string()
}

fn opening(page: &mut Markup, summary: &Summary) {
    let run = &summary.run;
    page.raw("<h1>Konclave: report of a federated run</h1>");
    page.open("p", &[("class", &"quiet")]);
    page.text(format_args!(
        "{} sites, {} rounds, job {}, {} ({}), seed {}; {:.0} s on {} cores, training on {}; {}",
        summary.sites.len(),
        summary.rounds.len(),
        run.job,
        run.finished_at,
        run.software,
        run.seed,
        run.seconds,
        run.cores,
        run.device,
        run.data
    ));
    page.close("p");
    page.open("p", &[("class", &"notice")]);
    page.text(format_args!(
        "Attestation: {}. Hardware does not prove here which programs ran; the sums, the set of sites and the ledger \
         are protected by cryptography alone, whose composition has not yet been reviewed from outside.",
        run.attestation
    ));
    page.close("p");
    let failed = summary.checks.iter().filter(|check| !check.passed).count();
    let class = if summary.passed { "banner" } else { "banner failed" };
    page.open("p", &[("class", &class)]);
    if summary.passed {
        page.text(format_args!("All {} checks passed.", summary.checks.len()));
    } else {
        page.text(format_args!("{failed} of {} checks failed: see the last table.", summary.checks.len()));
    }
    page.close("p");
}

fn rewards(page: &mut Markup, summary: &Summary) {
    let rewards = &summary.rewards;
    page.raw("<h2>Contribution and reward</h2>");
    page.open("p", &[]).text(format_args!(
        "From scoring round {}, whose sums were opened batch by batch: the value of each batch is its exact Shapley \
         value on the benchmark. {}",
        rewards.round,
        if rewards.provisional {
            "Inside a batch the sites cannot be told apart, so the split within it follows the recorded evidence and is \
             provisional until enough seasons have been scored."
        } else {
            ""
        }
    ));
    page.close("p").raw("<div class=\"charts\">");
    let bar = |line: &super::summary::RewardLine, value: f64, label: String| Bar {
        name: line.site.clone(),
        value,
        label,
        title: line.reasons.join("; "),
    };
    let scores: Vec<Bar> = rewards
        .lines
        .iter()
        .map(|line| bar(line, line.contribution, format!("{:.4}", line.contribution)))
        .collect();
    // Only the length of a bar is rounded; the label has every digit.
    let paid: Vec<Bar> = rewards
        .lines
        .iter()
        .map(|line| bar(line, line.reward_micro.parse().unwrap_or(0.0), tables::units(&line.reward_micro)))
        .collect();
    page.add(&bars::figure("Contribution", "score by site", "contribution", &scores));
    let note = format!("of a budget of {}", tables::units(&rewards.budget_micro));
    page.add(&bars::figure("Reward", &note, "reward", &paid));
    page.raw("</div><p></p>").add(&tables::rewards(summary));
}

fn traffic(page: &mut Markup, summary: &Summary) {
    let traffic = &summary.traffic;
    page.raw("<h2>What left the sites</h2>");
    let found = if traffic.found.is_empty() { "nowhere".to_owned() } else { traffic.found.join(", ") };
    page.add(&tables::facts(&[
        ("parameters", traffic.parameters.to_string()),
        (
            "masked update",
            format!(
                "{} bytes: {:.3} bytes a parameter (a plain 32-bit float is 4.0)",
                traffic.masked_bytes, traffic.bytes_per_parameter
            ),
        ),
        (
            "with everything a round sends",
            format!("{:.3} bytes a parameter", traffic.round_bytes_per_parameter),
        ),
        ("planted structure", traffic.canary.clone()),
        (
            "searched",
            format!(
                "{} bytes of recorded requests and {} bytes of the gateway's folder",
                traffic.searched_traffic, traffic.searched_gateway
            ),
        ),
        ("found", found),
    ]));
}

fn ledger(page: &mut Markup, summary: &Summary) {
    let ledger = &summary.ledger;
    page.raw("<h2>The ledger</h2>");
    page.add(&tables::facts(&[
        ("entries", ledger.size.to_string()),
        ("root", ledger.root.clone()),
        (
            "cosigned by",
            format!(
                "{} of {} enrolled witnesses: {}",
                ledger.witnesses.len(),
                ledger.enrolled,
                ledger.witnesses.join(", ")
            ),
        ),
        ("exported to", ledger.folder.clone()),
    ]));
    page.raw("<p>Verify it yourself, without the gateway:</p>").element(
        "pre",
        &[],
        format_args!("{}\n\n{}", ledger.verify, ledger.verified),
    );
    page.raw("<p>The checkpoint, with the ledger's signature and the witnesses' cosignatures:</p>").element(
        "pre",
        &[],
        &ledger.checkpoint,
    );
}
