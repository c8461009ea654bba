//! The offline commands as a person runs them: the program, files in and files out.

#![expect(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test stops at the first surprise")]

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::fs;
use std::path::Path;
use std::process::{Command, Output};

use serde_json::Value;

const HEADER: &str = "Chemical ID,Chemical Name,SMILES_Structure_Parent,SMILES_Salt,Test,Test_Type,Test_Subject,\
    Measurement_Type,Measurement_Condition,Measurement_Relation,Measurement_Value,Measurement_Unit";

fn site(folder: &Path, words: &[&str]) -> Output {
    // No LD_LIBRARY_PATH: the program must find libtorch by itself.
    Command::new(env!("CARGO_BIN_EXE_konclave-site"))
        .args(words)
        .current_dir(folder)
        .env_remove("LD_LIBRARY_PATH")
        .output()
        .unwrap()
}

fn succeed(folder: &Path, words: &[&str]) -> String {
    let output = site(folder, words);
    assert!(output.status.success(), "{words:?}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}

fn fail(folder: &Path, words: &[&str]) -> String {
    let output = site(folder, words);
    assert!(!output.status.success(), "{words:?} succeeded");
    String::from_utf8(output.stderr).unwrap()
}

fn json(path: &Path) -> Value {
    serde_json::from_slice(&fs::read(path).unwrap()).unwrap()
}

/// Aromatic rings with chains of many lengths and positions: many frameworks, two tasks, a few bad rows.
fn write_data(folder: &Path) {
    let rings = [
        "c1ccccc1",
        "c1ccncc1",
        "c1ccc2ccccc2c1",
        "C1CCCCC1",
        "c1ccsc1",
        "c1ccoc1",
        "C1CCNCC1",
        "c1cnc2ccccc2c1",
    ];
    let mut text = format!("{HEADER}\n");
    for (kind, ring) in rings.iter().enumerate() {
        for linker in 0..8 {
            for tail in 1..5 {
                let (start, middle) = ("C".repeat(tail), "C".repeat(linker + 1));
                let linked = format!("O{start}{ring}{middle}{}", rings[(kind + linker) % 8]);
                let value = kind as f64 - 0.3 * linker as f64;
                writeln!(
                    text,
                    "M{kind}{linker}{tail},,{linked},,Solubility,Solubility,,,,,{value},log mol/L"
                )
                .unwrap();
                let class = if kind % 2 == 0 { "Positive" } else { "Negative" };
                writeln!(text, "M{kind}{linker}{tail},,{linked},,Brain_penetration,Total_BBB,,,,,,{class}")
                    .unwrap();
            }
        }
    }
    writeln!(text, "X1,,CCO,,Toxicity,Ames,,,,,,Positive").unwrap();
    writeln!(text, "X2,,C1CC,,Solubility,Solubility,,,,,1,log mol/L").unwrap();
    writeln!(text, "X3,,CCO,,Solubility,Solubility,,,,,,log mol/L").unwrap();
    fs::write(folder.join("data.csv"), text).unwrap();
}

fn structures(path: &Path) -> BTreeSet<String> {
    let mut reader = csv::Reader::from_path(path).unwrap();
    reader.records().map(|record| record.unwrap()[2].to_owned()).collect()
}

#[test]
fn data_are_checked_with_every_rejected_row() {
    let folder = tempfile::tempdir().unwrap();
    write_data(folder.path());
    let said = succeed(folder.path(), &["check-data", "data.csv", "--json", "report.json"]);
    assert!(said.contains("2 rejected") && said.contains("below quorum"), "{said}");
    let report = json(&folder.path().join("report.json"));
    let rejected = report["files"][0]["rejected"].as_array().unwrap();
    assert_eq!(rejected.len(), 2);
    assert!(rejected[0]["reason"].as_str().unwrap().contains("not valid SMILES"), "{rejected:?}");
    assert!(rejected[1]["reason"].as_str().unwrap().contains("no value"), "{rejected:?}");
    assert_eq!(rejected[0]["row"].as_u64().unwrap() + 1, rejected[1]["row"].as_u64().unwrap());
}

#[test]
fn a_split_trains_and_scores() {
    let folder = tempfile::tempdir().unwrap();
    write_data(folder.path());
    let words = [
        "split",
        "--data",
        "data.csv",
        "--sites",
        "3",
        "--seed",
        "4",
        "--out",
        "parts",
        "--benchmark-share",
        "0.2",
    ];
    let said = succeed(folder.path(), &words);
    assert!(said.contains("Toxicity/Ames is left out"), "{said}");
    let parts = folder.path().join("parts");
    let benchmark = structures(&parts.join("benchmark.csv"));
    let sample = structures(&parts.join("sample.csv"));
    let mut sites = BTreeSet::new();
    for site in 1..=3 {
        let own = structures(&parts.join(format!("sites/site-{site}.csv")));
        assert!(
            !own.is_empty()
                && own.is_disjoint(&benchmark)
                && own.is_disjoint(&sample)
                && own.is_disjoint(&sites)
        );
        sites.extend(own);
    }
    assert!(!benchmark.is_empty() && benchmark.is_disjoint(&sample));
    let split = json(&parts.join("split.json"));
    assert!(split["rows_withheld"].as_u64().unwrap() > 0, "{split}");
    let lacking = fs::read_to_string(parts.join("sites/site-2.csv")).unwrap();
    assert!(!lacking.contains("Total_BBB"), "the second site lacks the first task");

    let model = Path::new(env!("CARGO_MANIFEST_DIR")).join("models/baseline-ecfp4-mlp.pt");
    let model = model.to_str().unwrap();
    let words = ["model", "inspect", model, "--manifest", "manifest.json", "--parameters", "initial.f32"];
    succeed(folder.path(), &words);
    let manifest = json(&folder.path().join("manifest.json"));
    let coordinates = manifest["coordinates"].as_u64().unwrap();
    assert_eq!(fs::metadata(folder.path().join("initial.f32")).unwrap().len(), 4 * coordinates);

    let common = ["--model", model, "--tasks", "parts/tasks.json"];
    let mut words =
        vec!["train", "--parameters", "initial.f32", "--epochs", "20", "--seed", "3", "--out", "new.f32"];
    words.extend(common.iter().chain(&[
        "--data",
        "parts/sites/site-1.csv",
        "--data",
        "parts/sites/site-3.csv",
    ]));
    let said = succeed(folder.path(), &words);
    assert!(said.contains("training on"), "{said}");
    let first = fs::read(folder.path().join("new.f32")).unwrap();
    succeed(folder.path(), &words);
    assert_eq!(first, fs::read(folder.path().join("new.f32")).unwrap(), "the same seed gives the same bytes");

    let mut utility = Vec::new();
    for parameters in ["initial.f32", "new.f32"] {
        let mut words = vec![
            "score",
            "--parameters",
            parameters,
            "--data",
            "parts/sites/site-1.csv",
            "--json",
            "score.json",
        ];
        words.extend(common);
        succeed(folder.path(), &words);
        utility.push(json(&folder.path().join("score.json"))["utility_micro"].as_i64().unwrap());
    }
    assert!(utility[1] > utility[0] + 200_000, "{utility:?}");
}

#[test]
fn the_same_seed_splits_the_same_way() {
    let folder = tempfile::tempdir().unwrap();
    write_data(folder.path());
    let files = |out: &str, seed: &str| {
        succeed(
            folder.path(),
            &["split", "--data", "data.csv", "--sites", "3", "--seed", seed, "--out", out],
        );
        fs::read(folder.path().join(out).join("benchmark.csv")).unwrap()
    };
    assert_eq!(files("a", "1"), files("b", "1"));
    assert_ne!(files("a", "1"), files("c", "2"));
}

#[test]
fn errors_say_what_to_do() {
    let folder = tempfile::tempdir().unwrap();
    write_data(folder.path());
    fs::write(folder.path().join("other.csv"), "smiles,target\nCCO,1\n").unwrap();
    fs::write(folder.path().join("model.pt"), "not a model").unwrap();
    assert!(fail(folder.path(), &["check-data", "absent.csv"]).contains("absent.csv"));
    assert!(fail(folder.path(), &["check-data", "other.csv"]).contains("Test_Type"));
    assert!(fail(folder.path(), &["model", "inspect", "model.pt"]).contains("torch.jit.script"));
    let split = ["split", "--data", "data.csv", "--sites", "1", "--out", "x"];
    assert!(fail(folder.path(), &split).contains("2..=64"));
}
