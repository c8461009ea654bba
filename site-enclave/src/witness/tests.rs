mod gossip;
mod key_changes;

use std::sync::Mutex;

use konclave_crypto::ConsortiumRootKey;
use konclave_ledger::checkpoint::log_key;
use konclave_ledger::cosignature::witness_key;
use konclave_ledger::tree::{Edge, leaf_hash, node_hash};
use konclave_ledger::witness::verify_cosignature;
use konclave_ledger::{Origin, SigningKey};
use konclave_openapi::problem::{Problem, ProblemType};
use konclave_openapi::witnesses::QuorumView;
use zeroize::Zeroizing;

use super::*;

/// A ledger in memory that can be told to lie.
pub(crate) struct Tree {
    leaves: Vec<Hash>,
    signer: SigningKey,
    lines: Mutex<Vec<String>>,
    /// What it says about other witnesses.
    told: Option<WitnessesView>,
    changes: Vec<KeyChangeView>,
    /// Cannot be reached when it is asked for proofs.
    silent: bool,
    /// Says that it has fewer entries than the witness has seen, as an honest gateway must.
    admits: bool,
    /// Answers so many questions for another size than was asked.
    mistaken: Mutex<u32>,
}

fn refused() -> ClientError {
    let problem = Box::new(Problem::new(ProblemType::Rejected, "more than there is", "r"));
    ClientError::Problem { method: "GET", path: "/".into(), problem, retry_after: None }
}

fn unreachable() -> ClientError {
    ClientError::Connection { method: "GET", path: "/".into(), reason: "nobody is there".into() }
}

impl Tree {
    pub(crate) fn of(count: u8, variant: u8) -> Self {
        let leaves =
            (0..count).map(|index| leaf_hash(&[index, if index < 3 { 0 } else { variant }])).collect();
        Self {
            leaves,
            signer: SigningKey::from_seed(&[9; 32]),
            lines: Mutex::default(),
            told: None,
            changes: Vec::new(),
            silent: false,
            admits: false,
            mistaken: Mutex::default(),
        }
    }

    fn origin() -> Origin {
        "ledger.example".parse().unwrap()
    }

    pub(crate) fn head(&self) -> Checkpoint {
        let mut edge = Edge::default();
        self.leaves.iter().for_each(|leaf| edge.push(*leaf));
        Checkpoint { origin: Self::origin(), size: edge.size(), root: edge.root() }
    }

    fn root(leaves: &[Hash]) -> Hash {
        let mut edge = Edge::default();
        leaves.iter().for_each(|leaf| edge.push(*leaf));
        edge.root()
    }

    /// The head as the log signs it.
    pub(crate) fn note(&self) -> SignedNote {
        self.head().sign(&self.signer)
    }

    /// The head with a witness's line, who was shown nothing else.
    pub(crate) fn cosigned_by(&self, witness: &WitnessSigner) -> SignedNote {
        let mut note = self.note();
        let log = log_key(Self::origin(), &self.signer);
        let proof = ConsistencyProof { old_size: 0, new_size: self.head().size, hashes: Vec::new() };
        let state = konclave_ledger::witness::WitnessState::new(Self::origin());
        let state = state.advance(note.to_string().as_bytes(), &log, &proof).unwrap();
        let cosignature = state.cosign(witness, Timestamp::from_unix_seconds(1_767_225_600).unwrap());
        note.signatures.push(cosignature.line().clone());
        note
    }

    /// RFC 6962 section 2.1.2, SUBPROOF.
    fn subproof(old: usize, leaves: &[Hash], complete: bool) -> Vec<Hash> {
        if old == leaves.len() {
            return if complete { Vec::new() } else { vec![Self::root(leaves)] };
        }
        let split = leaves.len().next_power_of_two() / 2;
        let (left, right) = leaves.split_at(split);
        let (mut proof, sibling) = if old <= split {
            (Self::subproof(old, left, complete), Self::root(right))
        } else {
            (Self::subproof(old - split, right, false), Self::root(left))
        };
        proof.push(sibling);
        proof
    }
}

impl Tree {
    /// RFC 6962 section 2.1.1, PATH.
    fn path(index: usize, leaves: &[Hash]) -> Vec<Hash> {
        if leaves.len() == 1 {
            return Vec::new();
        }
        let (left, right) = leaves.split_at(leaves.len().next_power_of_two() / 2);
        let (mut path, sibling) = if index < left.len() {
            (Self::path(index, left), Self::root(right))
        } else {
            (Self::path(index - left.len(), right), Self::root(left))
        };
        path.push(sibling);
        path
    }
}

impl LedgerView for Tree {
    async fn checkpoint(&self) -> Result<CheckpointView, ClientError> {
        let head = self.head();
        let note = head.sign(&self.signer).to_string();
        let witnesses = Vec::new();
        Ok(CheckpointView {
            origin: head.origin.to_string(),
            size: head.size,
            root: head.root,
            note,
            witnesses,
            quorum: no_quorum(),
        })
    }

    async fn add_checkpoint(&self, old: u64) -> Result<String, ClientError> {
        let head = self.head();
        if self.admits && old > head.size {
            return Err(refused());
        }
        let mut mistaken = self.mistaken.lock().unwrap();
        let old_size = if *mistaken > 0 { old.saturating_sub(1) } else { old };
        *mistaken = mistaken.saturating_sub(1);
        let from = usize::try_from(old_size).unwrap();
        let provable = (1..self.leaves.len()).contains(&from);
        let hashes = if provable { Self::subproof(from, &self.leaves, true) } else { Vec::new() };
        Ok(AddCheckpoint { old_size, hashes, checkpoint: self.note() }.to_string())
    }

    async fn consistency(&self, old: u64, new: u64) -> Result<Vec<Hash>, ClientError> {
        if self.silent {
            return Err(unreachable());
        }
        if new > self.head().size {
            return Err(refused());
        }
        let (old, new) = (usize::try_from(old).unwrap(), usize::try_from(new).unwrap());
        Ok(Self::subproof(old, &self.leaves[..new], true))
    }

    async fn inclusion(&self, index: u64, size: u64) -> Result<Vec<Hash>, ClientError> {
        let (index, size) = (usize::try_from(index).unwrap(), usize::try_from(size).unwrap());
        Ok(Self::path(index, &self.leaves[..size]))
    }

    async fn hand_in(&self, _size: u64, line: String) -> Result<(), ClientError> {
        self.lines.lock().unwrap().push(line);
        Ok(())
    }

    async fn witnesses(&self) -> Result<WitnessesView, ClientError> {
        let nobody = WitnessesView { quorum: no_quorum(), note: None, witnesses: Vec::new() };
        Ok(self.told.clone().unwrap_or(nobody))
    }

    async fn key_changes(&self) -> Result<Vec<KeyChangeView>, ClientError> {
        Ok(self.changes.clone())
    }
}

fn no_quorum() -> QuorumView {
    QuorumView {
        required: 0,
        enrolled: 0,
        witnessed: 0,
        witnesses: Vec::new(),
        stands: true,
        missing_since: None,
    }
}

const ROOT: [u8; 32] = [1; 32];

fn root() -> ConsortiumRootKey {
    ConsortiumRootKey::from_seed(Zeroizing::new(ROOT))
}

fn signer() -> WitnessSigner {
    WitnessSigner { name: "konclave.site/a".parse().unwrap(), key: SigningKey::from_seed(&[3; 32]) }
}

fn open(folder: &SiteFolder, disk: Disk) -> Witness {
    open_as(folder, disk, signer())
}

fn open_as(folder: &SiteFolder, disk: Disk, signer: WitnessSigner) -> Witness {
    let log = log_key(Tree::origin(), &SigningKey::from_seed(&[9; 32]));
    Witness::open(disk, folder, signer, log, root().root()).unwrap()
}

#[tokio::test]
async fn every_head_is_checked_stored_and_cosigned_over_restarts() {
    let keep = tempfile::tempdir().unwrap();
    let folder = SiteFolder::new(keep.path());
    let signer = signer();
    for count in [1, 2, 3, 4, 7, 8, 20] {
        let tree = Tree::of(count, 0);
        let mut witness = open(&folder, Disk::default());
        assert_eq!(witness.look(&tree).await.unwrap(), Look::Cosigned(count.into()));
        let line = tree.lines.lock().unwrap()[0].clone();
        let key = witness_key(signer.name.clone(), &signer.key);
        verify_cosignature(line.trim_end(), &tree.head(), &key).unwrap();
    }
    assert_eq!(open(&folder, Disk::default()).head().size, 20);
}

#[tokio::test]
async fn a_smaller_ledger_raises_the_alarm_and_is_not_cosigned() {
    let keep = tempfile::tempdir().unwrap();
    let folder = SiteFolder::new(keep.path());
    open(&folder, Disk::default()).look(&Tree::of(8, 0)).await.unwrap();
    let smaller = Tree::of(7, 0);
    let fault = open(&folder, Disk::default()).look(&smaller).await.unwrap_err();
    assert!(matches!(&fault, WitnessFault::Alarm(alarm) if alarm.what.contains("rollback")), "{fault}");
    assert!(smaller.lines.lock().unwrap().is_empty());
    let standing = Alarm::standing(&folder.alarm()).unwrap().unwrap();
    assert!(standing.seen.contains("\n8\n") && standing.offered.contains("\n7\n"), "{standing:?}");
}

#[tokio::test]
async fn a_ledger_that_admits_to_be_smaller_raises_the_alarm_by_its_signed_head() {
    let keep = tempfile::tempdir().unwrap();
    let folder = SiteFolder::new(keep.path());
    open(&folder, Disk::default()).look(&Tree::of(8, 0)).await.unwrap();
    let mut smaller = Tree::of(7, 0);
    smaller.admits = true;
    let fault = open(&folder, Disk::default()).look(&smaller).await.unwrap_err();
    assert!(matches!(&fault, WitnessFault::Alarm(alarm) if alarm.what.contains("rollback")), "{fault}");
    let standing = Alarm::standing(&folder.alarm()).unwrap().unwrap();
    let key = log_key(Tree::origin(), &smaller.signer);
    for (evidence, size) in [(standing.seen, 8), (standing.offered, 7)] {
        assert_eq!(Checkpoint::verify(evidence.as_bytes(), &key).unwrap().0.size, size);
    }
}

#[tokio::test]
async fn an_answer_for_another_size_is_asked_for_again_once_and_is_no_alarm() {
    let keep = tempfile::tempdir().unwrap();
    let folder = SiteFolder::new(keep.path());
    let mut witness = open(&folder, Disk::default());
    witness.look(&Tree::of(5, 0)).await.unwrap();
    let tree = Tree::of(8, 0);
    *tree.mistaken.lock().unwrap() = 1;
    assert_eq!(witness.look(&tree).await.unwrap(), Look::Cosigned(8));
    let tree = Tree::of(9, 0);
    *tree.mistaken.lock().unwrap() = 2;
    let fault = witness.look(&tree).await.unwrap_err();
    assert!(matches!(fault, WitnessFault::Refused(Refusal::Conflict { seen: 8 })), "{fault}");
    assert!(tree.lines.lock().unwrap().is_empty() && !folder.alarm().exists());
}

#[tokio::test]
async fn a_head_stored_by_an_earlier_version_is_read_and_gets_its_signature_with_the_next_look() {
    let keep = tempfile::tempdir().unwrap();
    let folder = SiteFolder::new(keep.path());
    let tree = Tree::of(8, 0);
    open(&folder, Disk::default()).look(&tree).await.unwrap();
    let stored = SeenHead::read(&Disk::default(), &folder.witness_head()).unwrap().unwrap();
    SeenHead { note: None, ..stored.clone() }.store(&Disk::default(), &folder.witness_head()).unwrap();
    let mut witness = open(&folder, Disk::default());
    assert_eq!((witness.head().size, witness.seen.evidence()), (8, tree.head().text()));
    witness.look(&tree).await.unwrap();
    assert_eq!(SeenHead::read(&Disk::default(), &folder.witness_head()).unwrap(), Some(stored));
    let fault = witness.look(&Tree::of(7, 0)).await.unwrap_err();
    assert!(matches!(fault, WitnessFault::Alarm(_)), "{fault}");
}

#[tokio::test]
async fn two_histories_raise_the_alarm() {
    for count in [8, 9, 20] {
        let keep = tempfile::tempdir().unwrap();
        let folder = SiteFolder::new(keep.path());
        open(&folder, Disk::default()).look(&Tree::of(8, 0)).await.unwrap();
        let fork = Tree::of(count, 1);
        let fault = open(&folder, Disk::default()).look(&fork).await.unwrap_err();
        assert!(matches!(fault, WitnessFault::Alarm(_)), "{count} entries: {fault}");
        assert!(fork.lines.lock().unwrap().is_empty());
        assert!(folder.alarm().is_file());
        assert_eq!(open(&folder, Disk::default()).head().size, 8);
    }
}

#[tokio::test]
async fn another_key_raises_the_alarm() {
    let keep = tempfile::tempdir().unwrap();
    let folder = SiteFolder::new(keep.path());
    let mut tree = Tree::of(3, 0);
    tree.signer = SigningKey::from_seed(&[8; 32]);
    let fault = open(&folder, Disk::default()).look(&tree).await.unwrap_err();
    assert!(matches!(fault, WitnessFault::Alarm(_)), "{fault}");
}

#[tokio::test]
async fn nothing_is_cosigned_before_its_head_is_durable() {
    for steps in 0.. {
        let keep = tempfile::tempdir().unwrap();
        let folder = SiteFolder::new(keep.path());
        open(&folder, Disk::default()).look(&Tree::of(3, 0)).await.unwrap();
        let tree = Tree::of(6, 0);
        let result = open(&folder, Disk::losing_power_after(steps)).look(&tree).await;
        let stored = open(&folder, Disk::default()).head().size;
        let sent = !tree.lines.lock().unwrap().is_empty();
        assert!(!sent || stored == 6, "after {steps} steps");
        assert!(stored == 3 || stored == 6, "after {steps} steps");
        if result.is_ok() {
            assert!(sent);
            break;
        }
    }
}

#[tokio::test]
async fn heads_named_in_contexts_must_lie_on_the_seen_history() {
    let keep = tempfile::tempdir().unwrap();
    let folder = SiteFolder::new(keep.path());
    let tree = Tree::of(8, 0);
    let mut witness = open(&folder, Disk::default());
    witness.look(&tree).await.unwrap();
    for count in [0, 1, 5, 8] {
        let head = Tree::of(count, 0).head();
        witness.check_head(&tree, head.size, head.root).await.unwrap();
    }
    // A head beyond the last one seen makes the witness look first.
    let grown = Tree::of(12, 0);
    witness.check_head(&grown, 12, grown.head().root).await.unwrap();
    assert_eq!(witness.head().size, 12);
    let fault = witness.check_head(&grown, 6, Tree::of(6, 1).head().root).await.unwrap_err();
    assert!(matches!(fault, WitnessFault::Alarm(_)), "{fault}");
    let wrong = node_hash(&Hash::ZERO, &Hash::ZERO);
    assert!(matches!(witness.check_head(&grown, 0, wrong).await, Err(WitnessFault::Alarm(_))));
}

#[tokio::test]
async fn entries_are_proven_under_the_head_that_was_seen() {
    let keep = tempfile::tempdir().unwrap();
    let folder = SiteFolder::new(keep.path());
    let mut witness = open(&folder, Disk::default());
    let tree = Tree::of(7, 0);
    for index in 0..7 {
        witness.check_entry(&tree, index.into(), &[index, 0]).await.unwrap();
    }
    assert_eq!(witness.head().size, 7);
    for (index, leaf) in [(3, [4, 0]), (4, [3, 0]), (3, [3, 1]), (7, [7, 0])] {
        let fault = witness.check_entry(&tree, index, &leaf).await.unwrap_err();
        assert!(matches!(fault, WitnessFault::Unproven { .. }), "{fault}");
    }
    assert!(!folder.alarm().exists());
    // A newer head is taken only if it extends the one that was seen.
    let fork = Tree::of(12, 1);
    let fault = witness.check_entry(&fork, 9, &[9, 1]).await.unwrap_err();
    assert!(matches!(fault, WitnessFault::Alarm(_)), "{fault}");
}
