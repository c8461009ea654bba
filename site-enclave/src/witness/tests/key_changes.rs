//! The log's key changes on the consortium root's authority, and not otherwise.

use konclave_ledger::rotation::{ChangeReason, KeyChange};
use konclave_ledger::statements;

use super::*;

const FIRST: [u8; 32] = [9; 32];
const SECOND: [u8; 32] = [10; 32];
const THIRD: [u8; 32] = [11; 32];

fn key(seed: &[u8; 32]) -> VerifierKey {
    log_key(Tree::origin(), &SigningKey::from_seed(seed))
}

fn change(old: &[u8; 32], new: &[u8; 32], reason: ChangeReason, trusted: &Tree) -> KeyChange {
    let head = trusted.head();
    KeyChange {
        origin: Tree::origin(),
        old_vkey: key(old).to_string(),
        new_vkey: key(new).to_string(),
        reason,
        trusted_size: head.size,
        trusted_root: head.root,
        made_at: 1_767_225_600,
    }
}

fn recorded(change: &KeyChange, authority: &[u8; 32]) -> KeyChangeView {
    KeyChangeView {
        entry: 6,
        old_vkey: change.old_vkey.clone(),
        new_vkey: change.new_vkey.clone(),
        authorisation: statements::sign(authority, change).unwrap(),
    }
}

/// The change from the first key to the second, after five entries.
fn scheduled() -> KeyChange {
    change(&FIRST, &SECOND, ChangeReason::Scheduled, &Tree::of(5, 0))
}

/// A ledger that a key signs, and the changes that it shows.
fn signed_by(seed: &[u8; 32], count: u8, changes: Vec<KeyChangeView>) -> Tree {
    let mut tree = Tree::of(count, 0);
    tree.signer = SigningKey::from_seed(seed);
    tree.changes = changes;
    tree
}

/// A site that has seen so many entries under the first key.
async fn having_seen(count: u8) -> (tempfile::TempDir, SiteFolder) {
    let keep = tempfile::tempdir().unwrap();
    let folder = SiteFolder::new(keep.path());
    open(&folder, Disk::default()).look(&Tree::of(count, 0)).await.unwrap();
    (keep, folder)
}

#[tokio::test]
async fn a_change_that_the_root_authorised_is_followed_and_remembered() {
    // The trusted head is smaller than, the same as, or larger than what was seen.
    for seen in [3, 5, 7] {
        let (_keep, folder) = having_seen(seen).await;
        let tree = signed_by(&SECOND, 8, vec![recorded(&scheduled(), &ROOT)]);
        assert_eq!(open(&folder, Disk::default()).look(&tree).await.unwrap(), Look::Cosigned(8));
        // Without being told of the change again.
        let mut witness = open(&folder, Disk::default());
        assert_eq!(witness.look(&signed_by(&SECOND, 9, vec![])).await.unwrap(), Look::Cosigned(9));
        assert_eq!(*witness.keys.current(), key(&SECOND));
        assert!(!folder.alarm().exists());
    }
}

#[tokio::test]
async fn several_changes_are_followed_as_far_as_the_head_needs() {
    let second = change(&SECOND, &THIRD, ChangeReason::Lost, &Tree::of(9, 0));
    let changes = vec![recorded(&scheduled(), &ROOT), recorded(&second, &ROOT)];
    let (_keep, folder) = having_seen(5).await;
    let mut witness = open(&folder, Disk::default());
    // A head from between the two.
    witness.look(&signed_by(&SECOND, 8, changes.clone())).await.unwrap();
    assert_eq!(*witness.keys.current(), key(&SECOND));
    witness.look(&signed_by(&THIRD, 12, changes.clone())).await.unwrap();
    let (_keep, folder) = having_seen(5).await;
    let mut witness = open(&folder, Disk::default());
    witness.look(&signed_by(&THIRD, 12, changes)).await.unwrap();
    assert_eq!(open(&folder, Disk::default()).keys.current(), &key(&THIRD));
}

#[tokio::test]
async fn a_key_that_the_root_did_not_authorise_stays_an_alarm() {
    let mut elsewhere = scheduled();
    elsewhere.origin = "other.example".parse().unwrap();
    let cases = [
        ("by the operator", vec![recorded(&scheduled(), &FIRST)]),
        ("none at all", vec![]),
        ("another log's", vec![recorded(&elsewhere, &ROOT)]),
        (
            "to another key",
            vec![recorded(&change(&FIRST, &THIRD, ChangeReason::Lost, &Tree::of(5, 0)), &ROOT)],
        ),
        (
            "from another key",
            vec![recorded(&change(&THIRD, &SECOND, ChangeReason::Lost, &Tree::of(5, 0)), &ROOT)],
        ),
        (
            "trusting another history",
            vec![recorded(&change(&FIRST, &SECOND, ChangeReason::Lost, &Tree::of(5, 1)), &ROOT)],
        ),
        (
            "trusting more than there is",
            vec![recorded(&change(&FIRST, &SECOND, ChangeReason::Lost, &Tree::of(9, 0)), &ROOT)],
        ),
    ];
    for (what, changes) in cases {
        for seen in [4, 7] {
            let (_keep, folder) = having_seen(seen).await;
            let tree = signed_by(&SECOND, 8, changes.clone());
            let fault = open(&folder, Disk::default()).look(&tree).await.unwrap_err();
            assert!(matches!(fault, WitnessFault::Alarm(_)), "{what}: {fault}");
            assert!(tree.lines.lock().unwrap().is_empty(), "{what}");
            let witness = open(&folder, Disk::default());
            assert_eq!((witness.head().size, witness.keys.current()), (seen.into(), &key(&FIRST)), "{what}");
        }
    }
}

#[tokio::test]
async fn a_ledger_that_goes_back_to_a_replaced_key_raises_the_alarm() {
    let (_keep, folder) = having_seen(5).await;
    let changes = vec![recorded(&scheduled(), &ROOT)];
    open(&folder, Disk::default()).look(&signed_by(&SECOND, 8, changes.clone())).await.unwrap();
    // It shows the same change, or denies it.
    for shown in [changes, vec![]] {
        let fault = open(&folder, Disk::default()).look(&signed_by(&FIRST, 9, shown)).await.unwrap_err();
        assert!(matches!(fault, WitnessFault::Alarm(_)), "{fault}");
        assert_eq!(open(&folder, Disk::default()).head().size, 8);
    }
}

#[tokio::test]
async fn heads_seen_under_a_stolen_key_are_told_to_the_owner_once() {
    let stolen = change(&FIRST, &SECOND, ChangeReason::Compromised, &Tree::of(5, 0));
    let changes = vec![recorded(&stolen, &ROOT)];
    let (_keep, folder) = having_seen(7).await;
    let tree = signed_by(&SECOND, 9, changes.clone());
    let fault = open(&folder, Disk::default()).look(&tree).await.unwrap_err();
    assert!(matches!(&fault, WitnessFault::Alarm(alarm) if alarm.what.contains("somebody else")), "{fault}");
    assert!(tree.lines.lock().unwrap().is_empty());
    // The owner has looked: the site goes on with a ledger that extends what it has seen, and with no other.
    std::fs::remove_file(folder.alarm()).unwrap();
    let mut witness = open(&folder, Disk::default());
    let mut without_the_seen = signed_by(&SECOND, 9, vec![]);
    without_the_seen.leaves = Tree::of(9, 1).leaves;
    let fault = witness.look(&without_the_seen).await.unwrap_err();
    assert!(matches!(fault, WitnessFault::Alarm(_)), "{fault}");
    std::fs::remove_file(folder.alarm()).unwrap();
    assert_eq!(witness.look(&signed_by(&SECOND, 9, vec![])).await.unwrap(), Look::Cosigned(9));
    // Who has seen nothing beyond the trusted head is not troubled.
    let (_keep, folder) = having_seen(5).await;
    open(&folder, Disk::default()).look(&signed_by(&SECOND, 9, changes)).await.unwrap();
    assert!(!folder.alarm().exists());
}

#[tokio::test]
async fn what_a_stolen_key_signed_after_the_theft_is_no_evidence() {
    for (reason, alarmed) in [(ChangeReason::Compromised, false), (ChangeReason::Scheduled, true)] {
        let (_keep, folder) = having_seen(5).await;
        let changes = vec![recorded(&change(&FIRST, &SECOND, reason, &Tree::of(5, 0)), &ROOT)];
        let mut witness = open(&folder, Disk::default());
        let tree = signed_by(&SECOND, 8, changes);
        witness.look(&tree).await.unwrap();
        let shared = tempfile::tempdir().unwrap();
        std::fs::write(shared.path().join("site-b.note"), Tree::of(8, 1).note().to_string()).unwrap();
        let compared = witness.exchange(&tree, shared.path(), &"site-a".parse().unwrap()).await;
        assert_eq!(compared.is_err(), alarmed, "{reason:?}");
        assert_eq!(folder.alarm().exists(), alarmed, "{reason:?}");
        // It is told, by its name.
        let told = OtherWitnesses::read(&folder.other_witnesses()).unwrap().unwrap_or_default().stolen;
        assert_eq!(told.is_some_and(|what| what.contains("declared stolen at 5 entries")), !alarmed);
    }
}

#[tokio::test]
async fn a_fork_that_a_stolen_key_dates_back_counts_only_where_a_certified_witness_cosigned_it() {
    use super::gossip::{signer_of, site, told};
    let stolen = change(&FIRST, &SECOND, ChangeReason::Compromised, &Tree::of(5, 0));
    let cases = [
        ("dated back, and cosigned by nobody", Tree::of(5, 1).note(), false),
        ("cosigned before the theft", Tree::of(5, 1).cosigned_by(&signer_of("b")), true),
        ("cosigned by one whom the thief led astray", Tree::of(7, 1).cosigned_by(&signer_of("b")), false),
        ("before the theft, on this history", Tree::of(4, 0).note(), false),
        ("after it, on this history", Tree::of(7, 0).note(), false),
    ];
    for (what, note, alarmed) in cases {
        let (_keep, folder) = having_seen(5).await;
        let mut witness = open(&folder, Disk::default());
        let mut tree = signed_by(&SECOND, 8, vec![recorded(&stolen, &ROOT)]);
        witness.look(&tree).await.unwrap();
        tree.told = Some(told("b", &note));
        let mut compared = Vec::new();
        for _ in 0..4 {
            compared.push(witness.gossip(&tree).await.is_err());
        }
        assert_eq!(compared.contains(&true), alarmed, "{what}");
        assert_eq!(folder.alarm().exists(), alarmed, "{what}");
        let others = OtherWitnesses::read(&folder.other_witnesses()).unwrap().unwrap();
        let shown = others.witnesses.get(site("b").as_str()).cloned().flatten();
        assert_eq!(shown.is_some(), alarmed || what.ends_with("on this history"), "{what}");
    }
}

#[tokio::test]
async fn a_head_that_a_thief_shows_in_the_gateways_place_is_refused_and_not_laid_at_the_operators_door() {
    let stolen = change(&FIRST, &SECOND, ChangeReason::Compromised, &Tree::of(5, 0));
    let changes = vec![recorded(&stolen, &ROOT)];
    let (_keep, folder) = having_seen(5).await;
    open(&folder, Disk::default()).look(&signed_by(&SECOND, 8, changes.clone())).await.unwrap();
    for shown in [changes, vec![]] {
        let thief = signed_by(&FIRST, 9, shown);
        let fault = open(&folder, Disk::default()).look(&thief).await.unwrap_err();
        let WitnessFault::Alarm(alarm) = fault else { panic!("{fault}") };
        assert!(alarm.what.contains("declared stolen at 5 entries"), "{alarm}");
        assert!(alarm.advice.contains("no evidence against the operator"), "{}", alarm.advice);
        assert!(thief.lines.lock().unwrap().is_empty());
        assert_eq!(open(&folder, Disk::default()).head().size, 8);
    }
}

#[tokio::test]
async fn a_site_that_lost_its_file_of_keys_learns_them_again_and_trusts_no_older_one_until_then() {
    let stolen = change(&FIRST, &SECOND, ChangeReason::Compromised, &Tree::of(5, 0));
    let changes = vec![recorded(&stolen, &ROOT)];
    let (_keep, folder) = having_seen(5).await;
    open(&folder, Disk::default()).look(&signed_by(&SECOND, 8, changes.clone())).await.unwrap();
    std::fs::remove_file(folder.log_keys()).unwrap();
    // A thief extends what was seen, and shows no change, or one of his own.
    let forged = vec![recorded(&stolen, &FIRST)];
    for shown in [vec![], forged] {
        let thief = signed_by(&FIRST, 9, shown);
        let fault = open(&folder, Disk::default()).look(&thief).await.unwrap_err();
        assert!(matches!(fault, WitnessFault::KeysForgotten { .. }), "{fault}");
        assert!(thief.lines.lock().unwrap().is_empty() && !folder.alarm().exists());
        // What he signed is compared with nothing either.
        let shared = tempfile::tempdir().unwrap();
        std::fs::write(shared.path().join("site-b.note"), Tree::of(8, 1).note().to_string()).unwrap();
        let mut witness = open(&folder, Disk::default());
        let compared = witness.exchange(&thief, shared.path(), &"site-a".parse().unwrap()).await;
        assert!(matches!(compared, Err(WitnessFault::KeysForgotten { .. })), "{compared:?}");
        assert_eq!((witness.head().size, folder.alarm().exists()), (8, false));
    }
    // The gateway shows the change: no false alarm about the heads that were seen under the new key.
    let mut witness = open(&folder, Disk::default());
    assert_eq!(witness.look(&signed_by(&SECOND, 9, changes)).await.unwrap(), Look::Cosigned(9));
    assert!(!folder.alarm().exists());
    let mut witness = open(&folder, Disk::default());
    assert_eq!(*witness.keys.current(), key(&SECOND));
    assert_eq!(witness.look(&signed_by(&SECOND, 10, vec![])).await.unwrap(), Look::Cosigned(10));
}

#[tokio::test]
async fn a_site_that_enrolled_anew_goes_on_from_a_head_under_the_earlier_key() {
    let (_keep, folder) = having_seen(5).await;
    let opened = || Witness::open(Disk::default(), &folder, signer(), key(&SECOND), root().root()).unwrap();
    let fault = opened().look(&signed_by(&SECOND, 8, vec![])).await.unwrap_err();
    assert!(matches!(fault, WitnessFault::KeysForgotten { .. }), "{fault}");
    let tree = signed_by(&SECOND, 8, vec![recorded(&scheduled(), &ROOT)]);
    assert_eq!(opened().look(&tree).await.unwrap(), Look::Cosigned(8));
    assert_eq!(opened().look(&signed_by(&SECOND, 9, vec![])).await.unwrap(), Look::Cosigned(9));
}

#[tokio::test]
async fn a_key_that_ended_does_not_come_back() {
    let back = change(&SECOND, &FIRST, ChangeReason::Scheduled, &Tree::of(8, 0));
    let changes = vec![recorded(&scheduled(), &ROOT), recorded(&back, &ROOT)];
    for seen_between in [true, false] {
        let (_keep, folder) = having_seen(5).await;
        let mut witness = open(&folder, Disk::default());
        if seen_between {
            witness.look(&signed_by(&SECOND, 8, changes.clone())).await.unwrap();
        }
        // It may sign what it signed before it ended, and nothing else.
        let tree = signed_by(&FIRST, 12, changes.clone());
        let looked = witness.look(&tree).await;
        assert_eq!(looked.is_err(), seen_between, "{looked:?}");
        if seen_between {
            let WitnessFault::Alarm(alarm) = looked.unwrap_err() else { panic!() };
            assert!(alarm.what.contains("was this log's key before"), "{alarm}");
            assert_eq!(witness.keys.current(), &key(&SECOND));
        }
    }
}

#[tokio::test]
async fn a_crash_between_following_a_key_and_cosigning_loses_neither() {
    let changes = vec![recorded(&scheduled(), &ROOT)];
    for steps in 0.. {
        let (_keep, folder) = having_seen(5).await;
        let tree = signed_by(&SECOND, 8, changes.clone());
        let result = open(&folder, Disk::losing_power_after(steps)).look(&tree).await;
        let witness = open(&folder, Disk::default());
        let sent = !tree.lines.lock().unwrap().is_empty();
        let stored = (witness.head().size, witness.keys.current() == &key(&SECOND));
        assert!([(5, false), (5, true), (8, true)].contains(&stored), "after {steps} steps: {stored:?}");
        assert!(!sent || stored == (8, true), "after {steps} steps");
        // Whatever was lost, the next look goes on.
        let mut witness = witness;
        assert_eq!(witness.look(&tree).await.unwrap(), Look::Cosigned(8), "after {steps} steps");
        assert!(!folder.alarm().exists());
        if result.is_ok() {
            assert!(sent);
            break;
        }
    }
}

#[tokio::test]
async fn a_crash_while_the_owner_is_told_of_a_theft_tells_again() {
    let stolen = change(&FIRST, &SECOND, ChangeReason::Compromised, &Tree::of(5, 0));
    let tree = signed_by(&SECOND, 9, vec![recorded(&stolen, &ROOT)]);
    for steps in 0.. {
        let (_keep, folder) = having_seen(7).await;
        let mut witness = open(&folder, Disk::losing_power_after(steps));
        let fault = witness.look(&tree).await.unwrap_err();
        let told = folder.alarm().exists();
        let followed = open(&folder, Disk::default()).keys.current() == &key(&SECOND);
        assert!(told || !followed, "after {steps} steps");
        if matches!(fault, WitnessFault::Alarm(_)) {
            assert!(told && followed);
            break;
        }
    }
}

#[test]
fn a_damaged_file_of_keys_is_refused_and_a_foreign_change_in_it_is_no_key() {
    let keep = tempfile::tempdir().unwrap();
    let (disk, path) = (Disk::default(), keep.path().join("log-keys"));
    let forged = statements::sign(&FIRST, &scheduled()).unwrap();
    let stored = |envelopes: &[konclave_ledger::Envelope]| {
        let json = serde_json::to_vec(envelopes).unwrap();
        crate::keystore::encode(crate::keystore::RecordKind::LogKeys, &[&json])
    };
    let opened = || KnownKeys::open(&disk, &path, key(&FIRST), &root().root());
    disk.write(&path, &stored(&[forged])).unwrap();
    assert_eq!(opened().unwrap().current(), &key(&FIRST));
    let good = stored(&[statements::sign(&ROOT, &scheduled()).unwrap()]);
    disk.write(&path, &good).unwrap();
    assert_eq!(opened().unwrap().current(), &key(&SECOND));
    // A site that enrolled anew under the second key.
    let anew = KnownKeys::open(&disk, &path, key(&SECOND), &root().root()).unwrap();
    assert_eq!(anew.current(), &key(&SECOND));
    let mut bad = good.to_vec();
    bad[30] ^= 1;
    disk.write(&path, &bad).unwrap();
    assert!(matches!(opened(), Err(WitnessFault::LogKeys { .. })));
}
