//! Split views: what other witnesses were shown, through the gateway and around it.

use konclave_crypto::{IdentityKey, MemberRole, Membership, SiteId, UnixSeconds};
use konclave_openapi::witnesses::{CosignedView, WitnessView};

use super::*;

pub(super) fn site(name: &str) -> SiteId {
    format!("site-{name}").parse().unwrap()
}

pub(super) fn signer_of(name: &str) -> WitnessSigner {
    let seed = Hash::of(name.as_bytes()).0;
    WitnessSigner {
        name: format!("konclave.site/site-{name}").parse().unwrap(),
        key: SigningKey::from_seed(&seed),
    }
}

/// What a gateway says of witness `name`, certified by the root of this seed.
fn told_under(root: [u8; 32], name: &str, note: Option<String>) -> WitnessesView {
    let witness_vkey = signer_of(name).verifier_key().to_string();
    let certificate = ConsortiumRootKey::from_seed(Zeroizing::new(root)).issue(Membership {
        site: site(name),
        legal_entity: "B Pharma".into(),
        role: MemberRole::Site,
        identity_key: IdentityKey::from_seed(Zeroizing::new([8; 32])).public(),
        witness_vkey: witness_vkey.clone(),
        serial: 1,
        not_before: UnixSeconds(0),
        not_after: UnixSeconds(u64::from(u32::MAX)),
    });
    let cosigned = note.map(|note| CosignedView { size: 0, time: String::new(), note });
    let witnesses = vec![WitnessView { site: site(name), witness_vkey, certificate, cosigned }];
    WitnessesView { quorum: no_quorum(), note: None, witnesses }
}

pub(super) fn told(name: &str, note: &SignedNote) -> WitnessesView {
    told_under(ROOT, name, Some(note.to_string()))
}

/// A ledger of so many entries that shows what `b` cosigned.
fn telling(count: u8, note: &SignedNote) -> Tree {
    let mut tree = Tree::of(count, 0);
    tree.told = Some(told("b", note));
    tree
}

fn remembered(folder: &SiteFolder, name: &str) -> Option<OtherWitness> {
    let others = OtherWitnesses::read(&folder.other_witnesses()).unwrap().unwrap_or_default();
    others.witnesses.get(&format!("site-{name}")).cloned().flatten()
}

/// A site that has seen eight entries.
async fn eight_seen() -> (tempfile::TempDir, SiteFolder, Witness) {
    let keep = tempfile::tempdir().unwrap();
    let folder = SiteFolder::new(keep.path());
    let mut witness = open(&folder, Disk::default());
    witness.look(&Tree::of(8, 0)).await.unwrap();
    (keep, folder, witness)
}

/// Both notes in the alarm are signed by the log, and they contradict each other.
fn assert_proves_a_fork(folder: &SiteFolder) {
    let alarm = Alarm::standing(&folder.alarm()).unwrap().unwrap();
    let key = log_key(Tree::origin(), &SigningKey::from_seed(&[9; 32]));
    let head = |note: &str| Checkpoint::verify(note.as_bytes(), &key).unwrap().0;
    let (seen, offered) = (head(&alarm.seen), head(&alarm.offered));
    assert!(seen.size == offered.size && seen.root != offered.root, "{alarm:?}");
}

#[tokio::test]
async fn a_split_view_is_found_in_what_another_witness_cosigned() {
    let (_keep, folder, mut witness) = eight_seen().await;
    let fault = witness.gossip(&telling(8, &Tree::of(8, 1).cosigned_by(&signer_of("b")))).await.unwrap_err();
    assert!(matches!(&fault, WitnessFault::Alarm(alarm) if alarm.what.contains("split view")), "{fault}");
    assert_proves_a_fork(&folder);
}

#[tokio::test]
async fn a_fork_counts_also_where_the_cosignature_under_it_is_garbage() {
    let (_keep, folder, mut witness) = eight_seen().await;
    let mut note = Tree::of(8, 1).cosigned_by(&signer_of("b"));
    note.signatures.last_mut().unwrap().signature[20] ^= 1;
    let fault = witness.gossip(&telling(8, &note)).await.unwrap_err();
    assert!(matches!(fault, WitnessFault::Alarm(_)), "{fault}");
    assert_proves_a_fork(&folder);
}

#[tokio::test]
async fn heads_of_other_sizes_must_be_proven_within_three_tries() {
    // Smaller and larger on another history, and larger than what a rolled back ledger still has.
    for other in [Tree::of(6, 1), Tree::of(12, 1), Tree::of(12, 0)] {
        let (_keep, folder, mut witness) = eight_seen().await;
        let ledger = telling(8, &other.cosigned_by(&signer_of("b")));
        for _ in 0..2 {
            witness.gossip(&ledger).await.unwrap();
            assert!(!folder.alarm().exists());
        }
        let fault = witness.gossip(&ledger).await.unwrap_err();
        assert!(
            matches!(&fault, WitnessFault::Alarm(alarm) if alarm.what.contains("cannot show")),
            "{fault}"
        );
        let alarm = Alarm::standing(&folder.alarm()).unwrap().unwrap();
        assert_eq!(alarm.offered, other.cosigned_by(&signer_of("b")).to_string());
    }
}

#[tokio::test]
async fn a_gateway_that_gives_no_answer_is_waited_for_longer_than_one_that_gives_wrong_ones() {
    let (_keep, folder, mut witness) = eight_seen().await;
    let mut ledger = telling(8, &Tree::of(6, 0).cosigned_by(&signer_of("b")));
    ledger.silent = true;
    for _ in 0..20 {
        witness.gossip(&ledger).await.unwrap();
    }
    assert!(!folder.alarm().exists());
    witness.gossip(&ledger).await.unwrap_err();
    assert!(folder.alarm().exists());
    // A right answer between wrong ones begins the count anew.
    let (_keep, _folder, mut witness) = eight_seen().await;
    let wrong = telling(8, &Tree::of(6, 1).cosigned_by(&signer_of("b")));
    let right = telling(8, &Tree::of(6, 0).cosigned_by(&signer_of("b")));
    for ledger in [&wrong, &wrong, &right, &wrong, &wrong] {
        witness.gossip(ledger).await.unwrap();
    }
    witness.gossip(&wrong).await.unwrap_err();
}

#[tokio::test]
async fn heads_on_one_history_agree_and_are_remembered_over_restarts() {
    let (_keep, folder, mut witness) = eight_seen().await;
    for count in [1, 5, 8, 12] {
        let ledger = telling(12, &Tree::of(count, 0).cosigned_by(&signer_of("b")));
        witness.gossip(&ledger).await.unwrap();
        let shown = remembered(&folder, "b").unwrap();
        assert_eq!((shown.size, shown.root), (count.into(), Tree::of(count, 0).head().root));
        assert_eq!(shown.cosigned.as_deref(), Some("2026-01-01T00:00:00Z"));
        witness = open(&folder, Disk::default());
    }
    // An older head that is shown again does not hide the newer one.
    witness.gossip(&telling(12, &Tree::of(5, 0).cosigned_by(&signer_of("b")))).await.unwrap();
    assert_eq!(remembered(&folder, "b").unwrap().size, 12);
    assert!(!folder.alarm().exists());
}

#[tokio::test]
async fn withheld_notes_and_garbage_are_no_alarm_and_do_not_count_as_shown() {
    let (_keep, folder, mut witness) = eight_seen().await;
    let mut stranger = Tree::of(8, 1);
    stranger.signer = SigningKey::from_seed(&[77; 32]);
    let elsewhere =
        Tree::of(8, 1).cosigned_by(&signer_of("b")).to_string().replace("ledger.example", "other.example");
    let long = format!("{}{}", "a".repeat(70_000), Tree::of(8, 1).note());
    for note in [
        None,
        Some(String::new()),
        Some("garbage\n".to_owned()),
        Some(stranger.cosigned_by(&signer_of("b")).to_string()),
        Some(elsewhere),
        Some(long),
    ] {
        let mut ledger = Tree::of(8, 0);
        ledger.told = Some(told_under(ROOT, "b", note));
        for _ in 0..4 {
            witness.gossip(&ledger).await.unwrap();
        }
        assert_eq!(remembered(&folder, "b"), None);
    }
    assert!(!folder.alarm().exists());
    let others = OtherWitnesses::read(&folder.other_witnesses()).unwrap().unwrap();
    assert_eq!(others.witnesses.get("site-b"), Some(&None), "known, and has shown nothing");
}

#[tokio::test]
async fn a_cosignature_counts_only_under_a_key_that_the_consortium_root_certified() {
    let (_keep, folder, mut witness) = eight_seen().await;
    let note = Tree::of(8, 0).cosigned_by(&signer_of("b"));
    let mut ledger = Tree::of(8, 0);
    ledger.told = Some(told_under([66; 32], "b", Some(note.to_string())));
    witness.gossip(&ledger).await.unwrap();
    assert_eq!(remembered(&folder, "b").unwrap().cosigned, None);
    let mut named = told("b", &Tree::of(8, 0).cosigned_by(&signer_of("c")));
    named.witnesses[0].witness_vkey = signer_of("c").verifier_key().to_string();
    ledger.told = Some(named);
    witness.gossip(&ledger).await.unwrap();
    assert_eq!(remembered(&folder, "b").unwrap().cosigned, None);
    ledger.told = Some(told("b", &note));
    witness.gossip(&ledger).await.unwrap();
    assert!(remembered(&folder, "b").unwrap().cosigned.is_some());
}

#[tokio::test]
async fn a_split_view_is_found_through_the_exchange_folder_without_the_gateway() {
    let shared = tempfile::tempdir().unwrap();
    let (keep_a, keep_b) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let (folder_a, folder_b) = (SiteFolder::new(keep_a.path()), SiteFolder::new(keep_b.path()));
    // Each is shown a history of its own, by a gateway that proves everything and tells nothing of others.
    let (tree_a, tree_b) = (Tree::of(8, 0), Tree::of(8, 1));
    let mut a = open_as(&folder_a, Disk::default(), signer_of("a"));
    let mut b = open_as(&folder_b, Disk::default(), signer_of("b"));
    a.look(&tree_a).await.unwrap();
    b.look(&tree_b).await.unwrap();
    a.gossip(&tree_a).await.unwrap();
    a.exchange(&tree_a, shared.path(), &site("a")).await.unwrap();
    let fault = b.exchange(&tree_b, shared.path(), &site("b")).await.unwrap_err();
    assert!(matches!(&fault, WitnessFault::Alarm(alarm) if alarm.what.contains("split view")), "{fault}");
    assert_proves_a_fork(&folder_b);
    let fault = a.exchange(&tree_a, shared.path(), &site("a")).await.unwrap_err();
    assert!(matches!(fault, WitnessFault::Alarm(_)), "{fault}");
    assert_proves_a_fork(&folder_a);
}

#[tokio::test]
async fn sites_of_one_ledger_agree_through_the_exchange_folder_whatever_else_lies_there() {
    let shared = tempfile::tempdir().unwrap();
    let (keep_a, keep_b) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let (folder_a, folder_b) = (SiteFolder::new(keep_a.path()), SiteFolder::new(keep_b.path()));
    std::fs::write(shared.path().join("site-garbage.note"), "garbage\n").unwrap();
    std::fs::write(shared.path().join("site-long.note"), vec![b'a'; 100_000]).unwrap();
    std::fs::create_dir(shared.path().join("site-folder.note")).unwrap();
    let tree = Tree::of(12, 0);
    open_as(&folder_a, Disk::default(), signer_of("a")).look(&Tree::of(8, 0)).await.unwrap();
    // What is shown outlives a restart.
    let mut a = open_as(&folder_a, Disk::default(), signer_of("a"));
    let mut b = open_as(&folder_b, Disk::default(), signer_of("b"));
    b.look(&tree).await.unwrap();
    for _ in 0..4 {
        a.exchange(&tree, shared.path(), &site("a")).await.unwrap();
        b.exchange(&tree, shared.path(), &site("b")).await.unwrap();
    }
    assert_eq!(remembered(&folder_a, "b").unwrap().size, 12);
    assert_eq!(remembered(&folder_b, "a").unwrap().size, 8);
    let note = SignedNote::parse(&std::fs::read(shared.path().join("site-a.note")).unwrap()).unwrap();
    let own = signer_of("a").verifier_key();
    let line = note.signatures.iter().find(|line| own.claims(line)).unwrap();
    verify_cosignature(&line.to_string(), &Tree::of(8, 0).head(), &own).unwrap();
    // A folder that is gone holds nothing up.
    a.exchange(&tree, &shared.path().join("gone"), &site("a")).await.unwrap();
    assert!(!folder_a.alarm().exists() && !folder_b.alarm().exists());
}

#[tokio::test]
async fn a_flooded_exchange_folder_hides_no_certified_witness() {
    let (_keep, folder, mut witness) = eight_seen().await;
    let mut ledger = Tree::of(8, 0);
    ledger.told = Some(told_under(ROOT, "b", None));
    witness.gossip(&ledger).await.unwrap();
    let shared = tempfile::tempdir().unwrap();
    let fork = Tree::of(8, 1).cosigned_by(&signer_of("b")).to_string();
    std::fs::write(shared.path().join("site-b.note"), fork).unwrap();
    // A real note of somebody else under thousands of names.
    let copied = Tree::of(8, 0).cosigned_by(&signer_of("c")).to_string();
    for number in 0..4_000 {
        std::fs::write(shared.path().join(format!("site-x{number}.note")), &copied).unwrap();
    }
    // After a restart too.
    let mut witness = open(&folder, Disk::default());
    let fault = witness.exchange(&ledger, shared.path(), &site("a")).await.unwrap_err();
    assert!(matches!(&fault, WitnessFault::Alarm(alarm) if alarm.what.contains("split view")), "{fault}");
    assert_proves_a_fork(&folder);
}

#[tokio::test]
async fn strangers_push_no_certified_witness_out_of_what_is_remembered() {
    let (_keep, folder, mut witness) = eight_seen().await;
    let shared = tempfile::tempdir().unwrap();
    let copied = Tree::of(8, 0).cosigned_by(&signer_of("c")).to_string();
    for number in 0..1_500 {
        std::fs::write(shared.path().join(format!("site-x{number}.note")), &copied).unwrap();
    }
    witness.exchange(&Tree::of(8, 0), shared.path(), &site("a")).await.unwrap();
    assert!(remembered(&folder, "x1").is_some() || remembered(&folder, "x2").is_some());
    witness.gossip(&telling(8, &Tree::of(5, 0).cosigned_by(&signer_of("b")))).await.unwrap();
    let shown = remembered(&folder, "b").unwrap();
    assert!(shown.size == 5 && shown.cosigned.is_some(), "{shown:?}");
    // Under its name somebody else puts a larger head, which it did not cosign.
    std::fs::write(shared.path().join("site-b.note"), &copied).unwrap();
    witness.exchange(&Tree::of(8, 0), shared.path(), &site("a")).await.unwrap();
    assert_eq!(remembered(&folder, "b"), Some(shown));
}

#[tokio::test]
async fn the_note_to_show_follows_every_cosigned_head() {
    let keep = tempfile::tempdir().unwrap();
    let folder = SiteFolder::new(keep.path());
    for count in [3, 8] {
        let tree = Tree::of(count, 0);
        open(&folder, Disk::default()).look(&tree).await.unwrap();
        let note = std::fs::read(folder.own_note()).unwrap();
        let (head, note) = Checkpoint::verify(&note, &log_key(Tree::origin(), &tree.signer)).unwrap();
        assert_eq!(head, tree.head());
        assert_eq!(note.signatures[1].to_string(), tree.lines.lock().unwrap()[0].trim_end());
    }
}
