//! One changed bit in any file of an export must be found, with an index; so must cut, missing and added files.

#![allow(
    missing_docs,
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::wildcard_enum_match_arm,
    reason = "tests stop at the first surprise"
)]

mod consortium;

use std::fs;
use std::path::{Path, PathBuf};

use consortium::{at, consent, consented, created, draft, enrolled, log_key, options, root, witness};
use konclave_audit::{Defect, Folder, Report, VerifyOptions, verify};
use konclave_ledger::witness::WitnessState;
use konclave_ledger::{Hash, Ledger};
use tempfile::TempDir;

const SITES: [&str; 3] = ["site-a", "site-b", "site-c"];

/// An export of `size` entries: keys, enrolments, two statements, three cosignatures.
fn export(size: u64) -> TempDir {
    let live = tempfile::tempdir().unwrap();
    let mut ledger = Ledger::open(live.path(), options(true)).unwrap();
    let mut drafts = vec![created()];
    drafts.extend(SITES.map(enrolled));
    for site in ["site-a", "site-c"] {
        let statement = ledger.put_statement(&consent(site, "job-1")).unwrap();
        drafts.push(consented(site, "job-1", statement));
    }
    let first = drafts.len() as u64;
    drafts.extend((first..size).map(draft));
    ledger.append(drafts, at(0)).unwrap();
    cosign(&mut ledger, &SITES);
    let folder = tempfile::tempdir().unwrap();
    let exported = ledger.export(folder.path()).unwrap();
    assert_eq!(exported.entries, size);
    folder
}

fn cosign(ledger: &mut Ledger, sites: &[&str]) {
    let head = ledger.head();
    let proof = ledger.consistency_proof(0, head.size).unwrap();
    let seen = WitnessState::new(head.origin)
        .advance(ledger.checkpoint_note().as_bytes(), &log_key(), &proof)
        .unwrap();
    for site in sites {
        ledger.add_cosignature(&seen.cosign(&witness(site), at(60)).line().to_string()).unwrap();
    }
}

fn audit(folder: &Path, options: &VerifyOptions) -> Report {
    verify(&Folder::open(folder).unwrap(), options, &mut |_, _| {}).unwrap()
}

fn pinned() -> VerifyOptions {
    VerifyOptions {
        key: Some(log_key()),
        origin: Some(log_key().name().clone()),
        root: Some(root()),
        quorum: 3,
        ..VerifyOptions::default()
    }
}

fn files(folder: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    let mut pending = vec![folder.to_path_buf()];
    while let Some(folder) = pending.pop() {
        for entry in fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() { pending.push(path) } else { found.push(path) }
        }
    }
    found.sort();
    found
}

/// The entries that a file of the export stands for.
fn covered(folder: &Path, file: &Path, size: u64) -> std::ops::Range<u64> {
    let path = file.strip_prefix(folder).unwrap().to_str().unwrap();
    match path.parse::<konclave_ledger::tiles::TilePath>() {
        Ok(tile) => tile.covers(),
        Err(_) if path.starts_with("statements/") => 4..6,
        Err(_) => 0..size,
    }
}

fn check_flips(size: u64, offsets: impl Fn(usize) -> Vec<usize>, options: &VerifyOptions) {
    let folder = export(size);
    assert_eq!(audit(folder.path(), options).findings, []);
    for file in files(folder.path()) {
        let bytes = fs::read(&file).unwrap();
        let range = covered(folder.path(), &file, size);
        for offset in offsets(bytes.len()) {
            let mut flipped = bytes.clone();
            flipped[offset] ^= 1 << ((offset * 5 + offset / 8) % 8);
            fs::write(&file, flipped).unwrap();
            let report = audit(folder.path(), options);
            let first = report.first_bad_index;
            assert!(
                !report.ok && first.is_some_and(|at| range.contains(&at)),
                "{file:?} byte {offset}: {report}"
            );
        }
        fs::write(&file, bytes).unwrap();
    }
    assert!(audit(folder.path(), options).ok);
}

#[test]
fn every_byte_of_a_small_ledger_counts() {
    check_flips(9, |length| (0..length).collect(), &VerifyOptions::default());
}

#[test]
fn bits_anywhere_in_a_ledger_of_several_bundles_count() {
    let scattered = |length: usize| {
        let mut offsets = vec![0, length - 1, length / 2];
        for number in 0..12_u64 {
            let chance = Hash::of(&[number.to_be_bytes(), (length as u64).to_be_bytes()].concat()).0;
            offsets.push(usize::from(u16::from_be_bytes([chance[0], chance[1]])) * 7919 % length);
        }
        offsets
    };
    check_flips(600, scattered, &pinned());
}

#[test]
fn a_changed_entry_is_named_exactly() {
    let folder = export(600);
    let path = folder.path().join("tile/entries/001");
    let bytes = fs::read(&path).unwrap();
    let text = b"because of 300";
    let offset = bytes.windows(text.len()).position(|window| window == text).unwrap();
    let mut changed = bytes.clone();
    changed[offset + 11] = b'9';
    fs::write(&path, changed).unwrap();
    let report = audit(folder.path(), &pinned());
    assert_eq!(report.first_bad_index, Some(300), "{report}");
    assert_eq!(report.findings[1].defect, Defect::Chain);
    assert_eq!(report.findings[1].first_index, 301);
}

#[test]
fn cut_missing_and_added_files_are_found() {
    let size = 300;
    let folder = export(size);
    for file in files(folder.path()) {
        let bytes = fs::read(&file).unwrap();
        let range = covered(folder.path(), &file, size);
        let found =
            |report: &Report| report.first_bad_index.is_some_and(|at| range.start <= at && at < range.end);
        fs::remove_file(&file).unwrap();
        let report = audit(folder.path(), &pinned());
        assert!(!report.ok && found(&report), "{file:?} missing: {report}");
        for length in [0, 1, bytes.len() / 2, bytes.len() - 1] {
            fs::write(&file, &bytes[..length]).unwrap();
            let report = audit(folder.path(), &pinned());
            assert!(!report.ok && found(&report), "{file:?} cut to {length}: {report}");
        }
        fs::write(&file, [bytes.as_slice(), b"\n"].concat()).unwrap();
        assert!(!audit(folder.path(), &pinned()).ok, "{file:?} with a byte more");
        fs::write(&file, &bytes).unwrap();
    }
    for added in [
        "note.txt",
        "tile/entries/001",
        "tile/entries/002.p/1",
        "tile/0/000.p/7",
        "tile/2/000.p/1",
        "tile/x",
        "statements/x.json",
        "statements/e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855.json",
    ] {
        let path = folder.path().join(added);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(&path, b"added").unwrap();
        let report = audit(folder.path(), &pinned());
        assert_eq!(
            report.findings.first().map(|finding| finding.defect),
            Some(Defect::Surplus),
            "{added}: {report}"
        );
        assert_eq!(report.findings[0].file, added);
        fs::remove_file(path).unwrap();
    }
    assert!(audit(folder.path(), &pinned()).ok);
}

#[cfg(unix)]
#[test]
fn a_link_in_place_of_a_file_is_found() {
    let folder = export(9);
    let tile = folder.path().join("tile/0/000.p/9");
    let elsewhere = tempfile::NamedTempFile::new().unwrap();
    fs::copy(&tile, elsewhere.path()).unwrap();
    fs::remove_file(&tile).unwrap();
    std::os::unix::fs::symlink(elsewhere.path(), &tile).unwrap();
    let report = audit(folder.path(), &pinned());
    assert_eq!(report.findings[0].defect, Defect::Surplus, "{report}");
}

/// What an operator could do who holds the log's key: everything fits, but it is not what was promised.
#[test]
fn an_operator_who_signs_again_is_found_by_witnesses_and_statements() {
    let genuine = export(9);
    let cosigned = fs::read_to_string(genuine.path().join("checkpoint")).unwrap();

    // A rewritten history with the old cosignatures under the new checkpoint.
    let live = tempfile::tempdir().unwrap();
    let mut rewritten = Ledger::open(live.path(), options(false)).unwrap();
    let mut drafts = vec![created()];
    drafts.extend(SITES.map(enrolled));
    drafts.extend((4..9).map(|number| draft(number + 1)));
    rewritten.append(drafts, at(0)).unwrap();
    let folder = tempfile::tempdir().unwrap();
    rewritten.export(folder.path()).unwrap();
    assert!(audit(folder.path(), &VerifyOptions { quorum: 0, ..pinned() }).ok);
    assert_eq!(audit(folder.path(), &pinned()).findings[0].defect, Defect::Quorum);
    let cosignatures: String = cosigned.lines().skip(5).map(|line| format!("{line}\n")).collect();
    let path = folder.path().join("checkpoint");
    fs::write(&path, fs::read_to_string(&path).unwrap() + &cosignatures).unwrap();
    let report = audit(folder.path(), &pinned());
    assert_eq!(report.findings.iter().filter(|f| f.defect == Defect::Cosignature).count(), 3, "{report}");

    // A statement by one site under the name of another, and one by nobody enrolled.
    for (site, signer) in [("site-a", "site-b"), ("site-z", "site-z")] {
        let live = tempfile::tempdir().unwrap();
        let mut ledger = Ledger::open(live.path(), options(false)).unwrap();
        let statement = ledger.put_statement(&consent(signer, "job-1")).unwrap();
        let drafts = [created(), enrolled("site-a"), enrolled("site-b"), consented(site, "job-1", statement)];
        ledger.append(drafts.to_vec(), at(0)).unwrap();
        let folder = tempfile::tempdir().unwrap();
        ledger.export(folder.path()).unwrap();
        let report = audit(folder.path(), &VerifyOptions::default());
        assert_eq!(report.findings[0].defect, Defect::Statement, "{report}");
        assert_eq!(report.first_bad_index, Some(3));
    }
}

#[test]
fn wrong_key_and_wrong_origin_are_found() {
    let folder = export(9);
    let stranger = konclave_ledger::SigningKey::from_seed(&[1; 32]);
    let key = konclave_ledger::checkpoint::log_key(log_key().name().clone(), &stranger);
    let report = audit(folder.path(), &VerifyOptions { key: Some(key), ..VerifyOptions::default() });
    assert_eq!((report.findings[0].defect, report.first_bad_index), (Defect::Checkpoint, Some(0)));
    let origin = Some("elsewhere".parse().unwrap());
    let report = audit(folder.path(), &VerifyOptions { origin, ..VerifyOptions::default() });
    assert_eq!(report.findings[0].defect, Defect::Checkpoint);
}
