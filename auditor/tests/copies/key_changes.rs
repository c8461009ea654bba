use super::*;
use consortium::enrolled;
use konclave_audit::{AuditError, Defect, KeySource, Standing, WitnessOptions, witness};
use konclave_ledger::canonical::canonical_json;
use konclave_ledger::checkpoint::log_key;
use konclave_ledger::frontier::Frontier;
use konclave_ledger::note::SignedNote;
use konclave_ledger::rotation::{ChangeReason, KeyChange};
use konclave_ledger::statements::sign;
use konclave_ledger::{Checkpoint, Hash, Leaf, SigningKey, VerifierKey, bundle};

/// The seed of [`consortium::root`].
const ROOT: [u8; 32] = [42; 32];
const NEW: [u8; 32] = [77; 32];

fn new_key() -> VerifierKey {
    log_key(consortium::log_key().name().clone(), &SigningKey::from_seed(&NEW))
}

fn change(trusted_root: Hash) -> KeyChange {
    KeyChange {
        origin: consortium::log_key().name().clone(),
        old_vkey: consortium::log_key().to_string(),
        new_vkey: new_key().to_string(),
        reason: ChangeReason::Scheduled,
        trusted_size: 4,
        trusted_root,
        made_at: at(0).unix_seconds(),
    }
}

fn rotated(seed: &[u8; 32], change: &KeyChange) -> Record {
    let authorisation = serde_json::to_value(sign(seed, change).unwrap()).unwrap();
    let (old_vkey, new_vkey) = (change.old_vkey.clone(), change.new_vkey.clone());
    Record::LedgerKeyRotated { old_vkey, new_vkey, authorisation }
}

/// A copy whose key changes at entry 4, with its head signed by these. Written by hand: a ledger refuses what is wrong.
fn copy(seed: &[u8; 32], changed: impl FnOnce(&mut KeyChange), signers: &[[u8; 32]]) -> TempDir {
    copy_changed(seed, changed, |_| {}, signers)
}

/// The same, with something else in its last entry.
fn copy_changed(
    seed: &[u8; 32],
    changed: impl FnOnce(&mut KeyChange),
    last: impl Fn(&mut Leaf),
    signers: &[[u8; 32]],
) -> TempDir {
    let (_live, ledger) = grown(4);
    let mut change = change(ledger.head().root);
    changed(&mut change);
    let mut entries: Vec<Vec<u8>> = (0..4).map(|index| ledger.leaf_bytes(index).unwrap().unwrap()).collect();
    for seq in 4..7 {
        let mut leaf = Leaf::parse(&entries[3]).unwrap();
        (leaf.seq, leaf.prev) = (seq, Hash::of(entries.last().unwrap()));
        if seq == 4 {
            leaf.action = "ledger.key-rotated".into();
            leaf.record = (&rotated(seed, &change).to_value().unwrap()).try_into().unwrap();
        }
        if seq == 6 {
            last(&mut leaf);
        }
        entries.push(canonical_json(&serde_json::to_value(&leaf).unwrap()).unwrap());
    }
    let folder = tempfile::tempdir().unwrap();
    let (mut frontier, mut whole) = (Frontier::default(), Vec::new());
    for stored in &entries {
        frontier.push(stored);
        bundle::push(&mut whole, stored);
    }
    for (path, bytes) in
        [("tile/0/000.p/7", frontier.partial_tiles()[0].to_bytes()), ("tile/entries/000.p/7", whole)]
    {
        std::fs::create_dir_all(folder.path().join(path).parent().unwrap()).unwrap();
        std::fs::write(folder.path().join(path), bytes).unwrap();
    }
    let origin = consortium::log_key().name().clone();
    sign_head(folder.path(), &Checkpoint { origin, size: 7, root: frontier.root() }, signers);
    folder
}

fn sign_head(folder: &Path, head: &Checkpoint, signers: &[[u8; 32]]) {
    let lines = signers.iter().flat_map(|seed| head.sign(&SigningKey::from_seed(seed)).signatures);
    let note = SignedNote { text: head.text(), signatures: lines.collect() };
    std::fs::write(folder.join("checkpoint"), note.to_string()).unwrap();
}

fn audit_with(folder: &Path, key: Option<VerifierKey>, root_given: bool) -> Result<Report, AuditError> {
    let options = VerifyOptions { key, root: root_given.then(root), ..VerifyOptions::default() };
    verify(&Folder::open(folder).unwrap(), &options, &mut |_, _| {})
}

#[test]
fn the_newest_key_must_have_signed_and_an_older_one_leads_to_it() {
    let folder = copy(&ROOT, |_| {}, &[NEW]);
    let report = audit_with(folder.path(), None, false).unwrap();
    assert!(
        report.ok && report.key_source == KeySource::FromTheLogItself && report.key_changes == 1,
        "{report}"
    );
    assert_eq!(report.key, Some(new_key().to_string()));
    let report = audit_with(folder.path(), Some(new_key()), false).unwrap();
    assert!(report.ok && report.key_source == KeySource::Given, "{report}");
    let old = Some(consortium::log_key());
    let report = audit_with(folder.path(), old.clone(), true).unwrap();
    assert!(report.ok && report.key_source == KeySource::FollowsFromTheGiven, "{report}");
    assert!(report.to_string().contains("follows from the key given"), "{report}");
    // A root that the log names itself is no authority for a reader who knows only the old key.
    assert!(matches!(audit_with(folder.path(), old.clone(), false), Err(AuditError::KeyReplaced { .. })));
    // The head right after the change carries both signatures: then the old key vouches for the change itself.
    let both = copy(&ROOT, |_| {}, &[consortium::support_log_seed(), NEW]);
    let report = audit_with(both.path(), old, false).unwrap();
    assert!(report.ok && report.key_source == KeySource::FollowsFromTheGiven, "{report}");
    assert!(audit_with(both.path(), None, false).unwrap().ok);

    let by_the_old = copy(&ROOT, |_| {}, &[consortium::support_log_seed()]);
    let report = audit_with(by_the_old.path(), None, false).unwrap();
    assert_eq!(report.findings[0].defect, Defect::Checkpoint, "{report}");
}

#[test]
fn a_key_that_ended_does_not_come_back() {
    let back = KeyChange {
        old_vkey: new_key().to_string(),
        new_vkey: consortium::log_key().to_string(),
        ..change(grown(4).1.head().root)
    };
    let again = |leaf: &mut Leaf| {
        leaf.action = "ledger.key-rotated".into();
        leaf.record = (&rotated(&ROOT, &back).to_value().unwrap()).try_into().unwrap();
    };
    let folder = copy_changed(&ROOT, |_| {}, again, &[consortium::support_log_seed(), NEW]);
    let report = audit_with(folder.path(), None, false).unwrap();
    let finding = &report.findings[0];
    assert!(finding.defect == Defect::KeyChange && finding.first_index == 6, "{report}");
    assert!(finding.detail.contains("was this log's key before"), "{report}");
}

/// A head of another history, of so many entries, by the old key.
fn forged(size: u64) -> SignedNote {
    let (_live, mut other) = open();
    other.append(std::iter::once(created()).chain((101..100 + size).map(draft)).collect(), at(0)).unwrap();
    other.head().sign(&SigningKey::from_seed(&consortium::support_log_seed()))
}

/// What `diff` and `witness` say of a head, over a copy whose old key was stolen at four entries.
fn said_of(note: &SignedNote, reason: ChangeReason, given: &[&str]) -> [(i32, String); 2] {
    let folder = copy(&ROOT, |change| change.reason = reason, &[NEW]);
    let elsewhere = tempfile::tempdir().unwrap();
    let shown = elsewhere.path().join("shown");
    std::fs::write(&shown, note.to_string()).unwrap();
    let diff: [&dyn AsRef<std::ffi::OsStr>; 3] = [&"diff", &shown, &folder.path()];
    let witness: [&dyn AsRef<std::ffi::OsStr>; 4] = [&"witness", &folder.path(), &"--note", &shown];
    [&diff[..], &witness[..]].map(|arguments| {
        let mut arguments = arguments.to_vec();
        arguments.extend(given.iter().map(|text| text as &dyn AsRef<std::ffi::OsStr>));
        let output = run(&arguments);
        (code(&output), text(&output.stdout).to_owned() + text(&output.stderr))
    })
}

#[test]
fn what_a_stolen_key_signed_is_a_finding_of_its_own_and_no_fork_by_the_operator() {
    let (root, key) = (root().0.to_string(), new_key().to_string());
    let known = ["--root", root.as_str(), "--key", key.as_str()];
    // Between the trusted head and the change, beyond the change, and dated back before the trusted head.
    for size in [5, 6, 7, 9, 3] {
        let [(diff, diffed), (witness, compared)] = said_of(&forged(size), ChangeReason::Compromised, &known);
        assert!(diff == 2 && diffed.starts_with("STOLEN KEY"), "{size}: {diffed}");
        assert!(witness == 1 && compared.contains("STOLEN KEY: another history"), "{size}: {compared}");
        for said in [&diffed, &compared] {
            assert!(
                said.contains("declared stolen at 4 entries") && !said.contains("FORK"),
                "{size}: {said}"
            );
            assert!(
                !said.contains("what the operator did") && !said.contains("until you give the root"),
                "{said}"
            );
        }
    }
    // A key that ended as planned was the operator's alone: what it signed in its time is the operator's.
    let [(diff, diffed), (witness, compared)] = said_of(&forged(3), ChangeReason::Scheduled, &known);
    assert!(diff == 2 && diffed.starts_with("FORK") && witness == 2, "{diffed}{compared}");
    // On this history it does not matter who signed it.
    let honest = grown(3).1.head().sign(&SigningKey::from_seed(&consortium::support_log_seed()));
    let [(diff, diffed), (witness, compared)] = said_of(&honest, ChangeReason::Compromised, &known);
    assert!((diff, witness) == (0, 0) && diffed.starts_with("EXTENDED"), "{diffed}{compared}");
    // Without the root the theft is the log's own word, and the report says so.
    let [(_, diffed), (_, compared)] = said_of(&forged(5), ChangeReason::Compromised, &[]);
    assert!(
        [&diffed, &compared].iter().all(|said| said.contains("until you give the root")),
        "{diffed}{compared}"
    );
}

#[test]
fn below_the_trusted_head_a_witness_speaks_for_what_a_stolen_key_signed() {
    let (_live, mut ledger) = open();
    ledger.append(vec![created(), enrolled("site-a"), draft(2), draft(3)], at(0)).unwrap();
    let trusted = ledger.head();
    let next = Box::new(SigningKey::from_seed(&NEW));
    let change = KeyChange { reason: ChangeReason::Compromised, ..change(trusted.root) };
    ledger.rotate_key(next, &sign(&ROOT, &change).unwrap(), draft(4), at(1)).unwrap();
    ledger.append(vec![draft(5)], at(2)).unwrap();
    let copy = export(&ledger);
    let (_other, mut other) = open();
    other.append(vec![created(), enrolled("site-a"), draft(7)], at(0)).unwrap();
    let cosigned = |ledger: &mut Ledger| {
        let line = consortium::cosign_line(ledger, "site-a", 5);
        ledger.add_cosignature(&line).unwrap();
        ledger.checkpoint_note()
    };
    let given = VerifyKeys { key: Some(new_key()), root: Some(root()) };
    let standing = |note: String| given.standing(copy.path(), note);
    assert_eq!(standing(other.checkpoint_note()), Standing::StolenKey, "dated back");
    assert_eq!(standing(cosigned(&mut other)), Standing::Fork, "shown to a witness before the theft");
    other.append(vec![draft(8), draft(9)], at(3)).unwrap();
    assert_eq!(standing(cosigned(&mut other)), Standing::StolenKey, "shown to a witness by a thief");
}

/// What a reader knows.
struct VerifyKeys {
    key: Option<VerifierKey>,
    root: Option<konclave_crypto::ConsortiumRoot>,
}

impl VerifyKeys {
    fn standing(&self, folder: &Path, note: String) -> Standing {
        let notes = vec![("note".to_owned(), note.into_bytes())];
        let options =
            WitnessOptions { key: self.key.clone(), root: self.root, notes, ..WitnessOptions::default() };
        witness(&Folder::open(folder).unwrap(), &options).unwrap().notes[0].standing
    }
}

#[test]
fn a_change_that_the_root_did_not_authorise_for_this_history_is_found() {
    let refused = |folder: TempDir, word: &str| {
        let report = audit_with(folder.path(), None, false).unwrap();
        let finding = report.findings.iter().find(|finding| finding.defect == Defect::KeyChange);
        let finding = finding.unwrap_or_else(|| panic!("{word}: {report}"));
        assert!(finding.first_index == 4 && finding.detail.contains(word), "{word}: {report}");
    };
    refused(copy(&[9; 32], |_| {}, &[NEW]), "not authorised");
    refused(copy(&ROOT, |change| change.trusted_root = Hash::of(b"x"), &[NEW]), "another history");
    refused(copy(&ROOT, |change| change.trusted_size = 5, &[NEW]), "another history");
    refused(copy(&ROOT, |change| change.old_vkey = new_key().to_string(), &[NEW]), "replaces the key");
    refused(copy(&ROOT, |change| change.new_vkey = change.old_vkey.clone(), &[NEW]), "not a checkpoint key");
}
