//! The page as a whole, from a summary with awkward names in it.

use std::collections::BTreeMap;

use super::summary::*;
use super::*;

const HOSTILE: &str = "<img src=x onerror=alert(1)> \"Ltd\" & Sons'";

fn task(name: &str, higher_is_better: bool, values: &[f64]) -> TaskResult {
    let curve = values.iter().zip(1..).map(|(value, round)| CurvePoint { round, value: *value }).collect();
    let local = BTreeMap::from([("site-1".to_owned(), 0.95), ("site-2".to_owned(), 0.88)]);
    TaskResult {
        task: name.to_owned(),
        metric: if higher_is_better { "AUROC" } else { "RMSE" }.to_owned(),
        higher_is_better,
        federated: *values.last().unwrap(),
        local_mean: 0.915,
        local,
        pooled: 0.78,
        molecules: 840,
        curve,
        federated_beats_local: !higher_is_better,
    }
}

pub(super) fn sample() -> Summary {
    let sites: Vec<String> = (1..=6).map(|number| format!("site-{number}")).collect();
    let rounds = (1..=10)
        .map(|round| {
            let part = |site: &String| match (round, site.as_str()) {
                (4, "site-2") => Part::KilledBeforeUpload,
                (7, "site-5") => Part::KilledAfterUpload,
                _ => Part::Summed,
            };
            RoundRecord {
                round,
                outcome: "opened".into(),
                detail: format!("the sum of the agreed set was opened {HOSTILE}"),
                scoring: round == 5,
                sites: sites.iter().map(|site| (site.clone(), part(site))).collect(),
                set_as_signed: true,
                step_as_opened: (round != 5).then_some(true),
            }
        })
        .collect();
    let lines =
        sites.iter().zip([0.031, 0.012, -0.004, 0.022, 0.0, 0.017]).map(|(site, contribution)| RewardLine {
            site: site.clone(),
            contribution,
            reward_micro: if contribution > 0.0 { "166666666667" } else { "16666666666" }.into(),
            reasons: vec!["took part in 10 of 10 rounds".into(), HOSTILE.into()],
        });
    Summary {
        layout: LAYOUT,
        passed: false,
        checks: vec![
            Check { name: "The ledger verifies offline".into(), passed: true, detail: "exit 0".into() },
            Check { name: "Federated beats local-only".into(), passed: false, detail: HOSTILE.into() },
        ],
        run: Run {
            finished_at: "2026-11-23T10:00:00Z".into(),
            software: "konclave-gateway 0.1.0".into(),
            job: "job-1".into(),
            data: "logD, solubility and blood-brain barrier".into(),
            seed: 1,
            seconds: 190.2,
            cores: 2,
            device: "CPU, 1 thread".into(),
            local_epochs: 2,
            attestation: "none".into(),
        },
        tasks: vec![
            task("Lipophilicity/logD", false, &[1.21, 1.1, 1.02, 0.97, 0.94, 0.91, 0.89, 0.87, 0.86, 0.85]),
            task("Solubility/Solubility", false, &[2.1, 1.8, 1.7, 1.6, 1.5, 1.45, 1.41, 1.4, 1.38, 1.36]),
            task("Total_BBB/Total_BBB", true, &[0.61, 0.7, 0.77, 0.8, 0.82, 0.84, 0.85, 0.86, 0.87, 0.87]),
        ],
        sites: sites
            .iter()
            .map(|site| SiteShare {
                site: site.clone(),
                legal_entity: HOSTILE.into(),
                rows: 2_000,
                labels: BTreeMap::from([
                    ("Lipophilicity/logD".to_owned(), 700),
                    ("Total_BBB/Total_BBB".to_owned(), 300),
                ]),
            })
            .collect(),
        rounds,
        rewards: Rewards {
            round: 5,
            currency: "credit".into(),
            budget_micro: "700000000000".into(),
            total_micro: "700000000000".into(),
            returned_micro: "0".into(),
            provisional: true,
            lines: lines.collect(),
        },
        ledger: LedgerFacts {
            origin: "konclave.example/ledger".into(),
            size: 131,
            root: "ab".repeat(32),
            checkpoint: "konclave.example/ledger\n131\nq80=\n\n— konclave.example/ledger AAAA\n".into(),
            witnesses: sites,
            enrolled: 7,
            folder: "target/demo/ledger".into(),
            verify: "target/release/konclave-audit verify target/demo/ledger".into(),
            verified: "131 entries verified".into(),
        },
        traffic: Traffic {
            parameters: 264_707,
            masked_bytes: 463_240,
            bytes_per_parameter: 1.75,
            round_bytes_per_parameter: 1.79,
            canary: "CC(C)Cc1ccc(cc1)C(C)C(=O)O".into(),
            searched_traffic: 91_000_000,
            searched_gateway: 23_000_000,
            found: vec![],
        },
    }
}

#[test]
fn the_page_loads_nothing_and_runs_nothing() {
    let html = page::html(&sample());
    for forbidden in ["<script", "<img", "<link", "<iframe", "http://", "https://", "url(", "@import"] {
        assert!(!html.contains(forbidden), "{forbidden} in the page");
    }
    assert!(html.contains("&lt;img src=x"), "the hostile name is shown as text");
}

#[test]
fn every_element_is_closed() {
    let html = page::html(&sample());
    let mut open = Vec::new();
    for piece in html.split('<').skip(1) {
        let name: String =
            piece.chars().take_while(|c| c.is_ascii_alphanumeric() || *c == '/' || *c == '!').collect();
        match name.strip_prefix('/') {
            Some(closed) => assert_eq!(open.pop().as_deref(), Some(closed)),
            None if name.starts_with('!') || name == "meta" => {}
            None => open.push(name),
        }
    }
    assert!(open.is_empty(), "{open:?}");
}

#[test]
fn the_data_can_be_read_back() {
    let folder = tempfile::tempdir().unwrap();
    let written = write(folder.path(), &sample()).unwrap();
    let back: Summary = serde_json::from_slice(&fs::read(written.json).unwrap()).unwrap();
    assert_eq!(back.rounds.len(), 10);
    assert_eq!(back.rounds[3].sites["site-2"], Part::KilledBeforeUpload);
    assert!(fs::metadata(written.html).unwrap().len() > 5_000);
}

#[test]
#[ignore = "writes the sample page to target/report-sample, to look at it"]
fn sample_page() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../target/report-sample");
    fs::create_dir_all(&folder).unwrap();
    write(&folder, &sample()).unwrap();
}

#[test]
fn a_failed_check_is_said_first() {
    let html = page::html(&sample());
    let banner = html.find("1 of 2 checks failed").unwrap();
    assert!(banner < html.find("<table").unwrap());
}
