use super::*;
use konclave_audit::{AuditError, Defect, KeySource};
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
