//! Any file may be handed to the demonstration: what its split cannot carry to the end is left out or refused with the
//! reason, before anything starts.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "the lints spare test functions, but not what they call"
)]

use crate::support;
use std::fmt::Write as _;
use std::fs;
use std::path::Path;

use konclave_tests::consortium::{Programs, output};

/// Molecules of `groups` ring frameworks, `each` of a framework.
fn structures(groups: usize, each: usize) -> Vec<String> {
    let group = |group: usize| {
        let bridge = "C".repeat(1 + group % 12);
        let rings = ["c1ccccc1", "C1CCCC1", "c1ccncc1", "C1CCOCC1", "c1ccsc1"];
        let (head, tail) = (rings[group / 12 % 5], rings[group / 60 % 5].replace('1', "2"));
        (0..each).map(move |member| format!("{}{head}{bridge}{tail}", "C".repeat(1 + member)))
    };
    // The first ring is bound at its first atom, to a side chain before it; the bridge follows its last.
    (0..groups).flat_map(group).collect()
}

fn row(text: &mut String, id: usize, structure: &str, task: &str, value: &str, unit: &str) {
    writeln!(text, "M-{id:05},{structure},{task},,,=,{value},{unit}").unwrap();
}

fn split(folder: &Path, text: &str, sites: &str) -> (bool, String) {
    let file = folder.join("data.csv");
    fs::write(&file, text).unwrap();
    let out = folder.join("parts");
    let words = ["split", "--data", file.to_str().unwrap(), "--sites", sites, "--out", out.to_str().unwrap()];
    let output = output(&Programs::find().unwrap().site, &words).unwrap();
    let printed = String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).into_owned();
    (output.status.success(), printed)
}

#[test]
fn a_task_that_cannot_be_measured_is_left_out_with_its_reason() {
    let folder = tempfile::tempdir().unwrap();
    let mut text = format!("{}\n", support::HEADER);
    for (number, structure) in structures(120, 5).iter().enumerate() {
        let value = format!("{:.2}", (number as f64 / 7.0).sin());
        row(&mut text, number, structure, "Solubility,Solubility", &value, "log mol/L");
        // Enough results for the programme's quorum, but all negative ones have one framework: they stay together.
        let class = if number < 5 { "Negative" } else { "Positive" };
        let copies = if number < 5 { 6 } else { 1 };
        for _ in 0..copies {
            row(&mut text, number, structure, "Brain_penetration,Total_BBB", class, class);
        }
    }
    let (done, printed) = split(folder.path(), &text, "4");
    assert!(done, "{printed}");
    // With the split's own seed the one framework goes to a site.
    let reason =
        "Brain_penetration/Total_BBB is left out: the held-out benchmark has 0 negative results, 3 needed";
    assert!(printed.contains(reason), "{printed}");
    assert!(!printed.contains("Brain_penetration/Total_BBB: output"), "{printed}");
    assert!(printed.contains("Solubility/Solubility: output"), "{printed}");
}

#[test]
fn a_file_whose_only_task_has_a_constant_value_is_refused_with_the_reason() {
    let folder = tempfile::tempdir().unwrap();
    let mut text = format!("{}\n", support::HEADER);
    for (number, structure) in structures(120, 2).iter().enumerate() {
        row(&mut text, number, structure, "Solubility,Solubility", "-3.0", "log mol/L");
    }
    let (done, printed) = split(folder.path(), &text, "4");
    assert!(!done, "{printed}");
    assert!(printed.contains("all its values in the shared sample are equal"), "{printed}");
}

#[test]
fn a_file_too_small_for_a_sample_is_refused_with_the_reason() {
    let folder = tempfile::tempdir().unwrap();
    let mut text = format!("{}\n", support::HEADER);
    for (number, structure) in structures(14, 1).iter().enumerate() {
        for repeat in 0..4 {
            let value = format!("{}.{repeat}", number % 5);
            row(&mut text, number, structure, "Solubility,Solubility", &value, "log mol/L");
        }
    }
    let (done, printed) = split(folder.path(), &text, "4");
    assert!(!done && printed.contains("uncensored values of it, 5 needed"), "{printed}");
}

#[test]
fn a_site_without_molecules_asks_for_fewer_sites() {
    let folder = tempfile::tempdir().unwrap();
    let mut text = format!("{}\n", support::HEADER);
    // Two large frameworks for the sites, many small ones for benchmark and sample.
    let mut all = structures(45, 2);
    for framework in ["C1CCCCC1", "c1ccc2ccccc2c1"] {
        all.extend((1..150).map(|length| format!("{}{framework}", "C".repeat(length))));
    }
    for (number, structure) in all.iter().enumerate() {
        let value = format!("{:.2}", (number as f64 / 7.0).cos());
        row(&mut text, number, structure, "Solubility,Solubility", &value, "log mol/L");
    }
    let (done, printed) = split(folder.path(), &text, "60");
    assert!(!done && printed.contains("fewer SITES"), "{printed}");
}
