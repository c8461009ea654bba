//! The encoding of updates costs no model quality: a small, fixed case of what `make quality` measures.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "the lints spare test functions, but not what they call"
)]

use std::fs;
use std::path::{Path, PathBuf};

use konclave_tests::demo::quality::{ArmSummary, QualityOptions, QualitySummary, measure};

/// One row of so many is kept.
const THINNED: usize = 6;
/// How much of the mean score the encoding may cost.
const ALLOWED: f64 = 0.02;
/// An encoding that must be seen to cost much more.
const TOO_COARSE: u8 = 2;

/// A part of the demonstration's public data.
fn thinned(folder: &Path) -> PathBuf {
    let public = Path::new(env!("CARGO_MANIFEST_DIR")).join("../third_party/demo-data/admet.csv");
    let text = fs::read_to_string(&public)
        .unwrap_or_else(|error| panic!("{}: {error}; run `make setup`", public.display()));
    let (header, rows) = text.split_once('\n').unwrap();
    let kept: Vec<&str> = [header].into_iter().chain(rows.lines().step_by(THINNED)).collect();
    let file = folder.join("thinned.csv");
    fs::write(&file, kept.join("\n") + "\n").unwrap();
    file
}

/// How far the mean score of all tasks lies from that of plain averaging.
fn gain(arm: &ArmSummary) -> f64 {
    let line = arm.lines.iter().find(|line| line.task == "all tasks").unwrap();
    line.difference.unwrap().mean
}

fn arm(summary: &QualitySummary, bits: u8) -> &ArmSummary {
    summary.arms.iter().find(|arm| arm.quantisation_bits == Some(bits)).unwrap()
}

#[test]
fn the_default_encoding_costs_no_quality_and_a_far_too_coarse_one_is_seen_to() {
    let folder = tempfile::tempdir().unwrap();
    let options = QualityOptions {
        data: Some(thinned(folder.path())),
        sites: 4,
        rounds: 3,
        seeds: 2,
        bits: vec![TOO_COARSE],
        out: folder.path().join("quality"),
    };
    let (summary, json) = measure(&options).unwrap();
    let default = summary.arms.iter().find(|arm| arm.is_default).unwrap();
    for line in &default.lines {
        println!("{}: {:?} {:?}", line.task, line.values, line.difference);
    }
    let learned = summary.arms[0].lines.iter().find(|line| line.task == "all tasks").unwrap();
    assert!(learned.mean > 0.1, "the model has learned nothing that could be lost: {learned:?}");
    assert!(gain(default).abs() < ALLOWED, "the encoding moves the mean score by {}", gain(default));
    let coarse = gain(arm(&summary, TOO_COARSE));
    assert!(coarse < -5.0 * ALLOWED, "{TOO_COARSE} bits move it by {coarse}: a loss would not be seen");

    let coordinates: u64 = default.rounds.iter().map(|round| round.coordinates).sum();
    let cut: u64 = default.rounds.iter().map(|round| round.clipped + round.saturated).sum();
    assert!(cut * 1_000 < coordinates, "{cut} of {coordinates} coordinates are cut");
    let written: serde_json::Value = serde_json::from_slice(&fs::read(json).unwrap()).unwrap();
    assert_eq!(written["arms"].as_array().unwrap().len(), summary.arms.len());
}
