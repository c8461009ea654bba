//! `konclave-audit` on a ledger that was exported through the interface: it verifies, and no bit of it can change.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "the lints spare test functions, but not what they call"
)]

use crate::support;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Output;
use std::time::Duration;

use konclave_tests::consortium::{Consortium, output, wait_until};
use konclave_tests::search::Needles;

fn verify(consortium: &Consortium, folder: &Path) -> Output {
    output(&consortium.programs.audit, &["verify".as_ref(), folder.as_os_str()]).unwrap()
}

fn printed(output: &Output) -> String {
    String::from_utf8_lossy(&[output.stdout.as_slice(), &output.stderr].concat()).into_owned()
}

fn files(folder: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    let mut open = vec![folder.to_path_buf()];
    while let Some(folder) = open.pop() {
        for entry in fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() { open.push(path) } else { found.push(path) }
        }
    }
    found.sort();
    found
}

/// A gateway with real witnesses, exported once all have declared their data and cosigned.
fn exported() -> (Consortium, PathBuf, tempfile::TempDir) {
    let (mut consortium, folder) = support::consortium(2, |plan| plan);
    let (_developer, auditor) = support::partners(&consortium);
    consortium.start_gateway().unwrap();
    consortium.start_members().unwrap();
    let members = consortium.members().count();
    let ready = || {
        consortium.expect_running()?;
        let deposits = auditor.deposits()?.len();
        Ok((deposits >= members && auditor.checkpoint()?.witnesses.len() >= members).then_some(()))
    };
    wait_until("deposits and cosignatures", Duration::from_secs(60), ready, String::new).unwrap();
    let export = folder.path().join("export");
    auditor.export_ledger(&export).unwrap();
    (consortium, export, folder)
}

#[test]
fn an_export_verifies_and_one_flipped_bit_in_any_file_is_found() {
    let (consortium, export, _folder) = exported();
    let verified = verify(&consortium, &export);
    assert_eq!(verified.status.code(), Some(0), "{}", printed(&verified));

    let mut flips = 0;
    let mut seed = 12_345_u64;
    for file in files(&export) {
        let original = fs::read(&file).unwrap();
        assert!(!original.is_empty(), "{} is empty", file.display());
        for _ in 0..12 {
            // Knuth's MMIX generator: spread positions, the same in every run.
            seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            let position = usize::try_from(seed >> 16).unwrap() % original.len();
            let bit = u8::try_from(seed >> 8 & 7).unwrap();
            let mut changed = original.clone();
            changed[position] ^= 1 << bit;
            fs::write(&file, &changed).unwrap();
            let verified = verify(&consortium, &export);
            let text = printed(&verified);
            assert_eq!(
                verified.status.code(),
                Some(2),
                "bit {bit} of byte {position} of {}: {text}",
                file.display()
            );
            assert!(text.contains("index") || text.contains("entry"), "it names where: {text}");
            flips += 1;
        }
        fs::write(&file, &original).unwrap();
    }
    assert!(flips >= 12 * 4, "only {flips} bits were tried");
    assert_eq!(verify(&consortium, &export).status.code(), Some(0), "the restored export verifies again");
}

#[test]
fn nothing_of_a_members_measurements_reaches_the_gateway_not_even_when_it_trains_on_them() {
    let (mut consortium, folder) =
        support::consortium(3, |plan| plan.with_policy("min_cohort", 3).with_policy("min_agreed", 3));
    let (developer, auditor) = support::partners(&consortium);
    consortium.start_gateway().unwrap();
    consortium.start_members().unwrap();
    let job = support::job::ask_for_training(&consortium, &developer, folder.path(), 1).job;
    support::job::wait_for_the_end(&consortium, &developer, &job);
    consortium.expect_running().unwrap();

    let mut needles = Needles::new();
    needles
        .add_text("the planted structure", support::CANARY)
        .add_text("the planted row's id", support::CANARY_ID);
    // The search finds it where it is, every site has declared its row and trained on it.
    for site in support::site_names(&consortium) {
        let member = consortium.member(&site).unwrap();
        assert!(!needles.search_folder(&member.folder).unwrap().found.is_empty(), "{site}");
        assert!(member.log_text().contains("round 1: trained on 81 labels"), "{}", member.log_text());
        let deposits = auditor.deposits().unwrap();
        let deposit = deposits.iter().find(|deposit| deposit.site.as_str() == site).unwrap();
        assert_eq!(deposit.statement.files.iter().map(|file| file.rows).sum::<u64>(), 81);
    }
    let recorded = files(&consortium.traffic_folder());
    let bytes: u64 = recorded.iter().map(|file| fs::metadata(file).unwrap().len()).sum();
    assert!(bytes > 3 * 1_000_000, "three masked updates were recorded: {bytes} bytes");
    for folder in [consortium.traffic_folder(), consortium.gateway_folder()] {
        let searched = needles.search_folder(&folder).unwrap();
        assert!(searched.files > 5, "{} was searched", folder.display());
        assert!(searched.found.is_empty(), "{:?}", searched.places());
    }
}

#[test]
fn what_is_no_ledger_is_wrong_usage_and_no_tampering() {
    let (consortium, folder) = support::consortium(2, |plan| plan);
    let nowhere = verify(&consortium, &folder.path().join("nothing-here"));
    assert_eq!(nowhere.status.code(), Some(1), "{}", printed(&nowhere));
}
