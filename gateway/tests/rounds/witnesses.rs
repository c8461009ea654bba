//! The ledger's witnesses: they meet under one head while the ledger grows, their absence and return are recorded once
//! each, what each cosigned is there for the others, and the log's keys can be followed.

use axum::http::{Method, StatusCode};
use konclave_crypto::SiteId;
use konclave_ledger::checkpoint::log_key;
use konclave_ledger::rotation::{ChangeReason, KeyChange};
use konclave_ledger::witness::{AddCheckpoint, WitnessState, verify_cosignature};
use konclave_ledger::{Checkpoint, PublicKey, SigningKey, Timestamp, VerifierKey, statements};
use konclave_openapi::deposits::Deposit;
use konclave_openapi::ledger::{CheckpointView, NewCosignature};
use konclave_openapi::problem::Problem;
use konclave_openapi::witnesses::{LogKeysView, WitnessesView};
use konclave_policies::rounds::RoundPolicy;

use crate::ledger::deposit;
use crate::world::{World, auditor, developer, member, site, witness};

/// A policy that asks for three witnesses and waits ten minutes for them.
pub fn three_wanted() -> String {
    format!("{}\n[witnesses]\nquorum = 3\npatience_seconds = 600\n", RoundPolicy::EMBEDDED)
}

/// One entry more.
async fn grow(world: &World, records: u64) {
    let _: Deposit = world.post(&member(&site(1)), "/v1/deposits", &deposit(world, records)).await;
}

/// A site as a witness, as the specification has it.
pub struct Watcher {
    id: SiteId,
    state: WitnessState,
}

impl Watcher {
    pub fn new(world: &World, index: usize) -> Self {
        let origin = world.app().ledger().ledger().verifier_key().name().clone();
        Self { id: site(index), state: WitnessState::new(origin) }
    }

    /// What it is asked to cosign.
    async fn asked(&self, world: &World) -> AddCheckpoint {
        let path = format!("/v1/ledger/add-checkpoint?old={}", self.state.head().size);
        let (status, body) = world.send(&member(&self.id), Method::GET, &path, Vec::new(), true).await;
        assert_eq!(status, StatusCode::OK, "{}", String::from_utf8_lossy(&body));
        String::from_utf8(body).unwrap().parse().unwrap()
    }

    /// Checks and cosigns what it is asked; gives the size.
    pub async fn come(&mut self, world: &World) -> u64 {
        let request = self.asked(world).await;
        self.cosign(world, &request).await
    }

    async fn cosign(&mut self, world: &World, request: &AddCheckpoint) -> u64 {
        let log = world.app().ledger().ledger().verifier_key();
        self.state = self.state.add_checkpoint(request, &log).unwrap();
        let (size, now) =
            (self.state.head().size, Timestamp::from_unix_seconds(world.clock.now().get()).unwrap());
        let line = self.state.cosign(&witness(&self.id), now).line().to_string();
        let _: CheckpointView =
            world.post(&member(&self.id), "/v1/ledger/cosignatures", &NewCosignature { size, line }).await;
        size
    }
}

async fn view(world: &World) -> WitnessesView {
    world.get(&member(&site(5)), "/v1/ledger/witnesses").await
}

/// What the ledger's last word on the quorum is, and how many words there were.
fn said(world: &World) -> (Option<bool>, usize) {
    let last = world.app().state().witness_status.as_ref().map(|status| status.quorum);
    let ledger = world.app().ledger().ledger();
    let filter = konclave_ledger::Filter { action: Some("witness.status".into()), ..Default::default() };
    (last, ledger.query(&filter, None, 100).unwrap().len())
}

async fn records(world: &World) -> bool {
    world.app().record_witness_status().await.unwrap()
}

#[tokio::test]
async fn three_of_five_witnesses_meet_under_one_head_while_entries_keep_coming() {
    let mut world = World::with_policy(5, &three_wanted()).await;
    let mut watchers: Vec<Watcher> = (1..=5).map(|index| Watcher::new(&world, index)).collect();
    for turn in 0..4 {
        let mut met = Vec::new();
        for (offset, index) in [0, 2, 1].into_iter().enumerate() {
            grow(&world, 100 + 10 * turn + offset as u64).await;
            world.clock.advance_seconds(2);
            let index = (index + usize::try_from(turn).unwrap()) % 5;
            met.push(watchers[index].come(&world).await);
        }
        assert!(met.iter().all(|size| *size == met[0]), "{met:?}");
        let shown = view(&world).await;
        assert_eq!((shown.quorum.required, shown.quorum.enrolled, shown.quorum.witnessed), (3, 6, met[0]));
        assert_eq!(shown.quorum.witnesses.len(), 3);
        assert!(shown.quorum.stands);
        let note = shown.note.unwrap();
        let log = world.app().ledger().ledger().verifier_key();
        let (head, note) = Checkpoint::verify(note.as_bytes(), &log).unwrap();
        assert_eq!((head.size, note.signatures.len()), (met[0], 4));
        if turn == 1 {
            world.restart().await;
            assert_eq!(view(&world).await.quorum.witnessed, met[0]);
        }
    }
    // A head that nobody cosigns is given up after a few seconds, one whose quorum stays away after a minute, for all.
    let asked = watchers[0].asked(&world).await;
    grow(&world, 500).await;
    world.clock.advance_seconds(6);
    let first = watchers[4].come(&world).await;
    assert!(first > Checkpoint::parse_text(&asked.checkpoint.text).unwrap().size);
    grow(&world, 501).await;
    world.clock.advance_seconds(59);
    assert_eq!(watchers[0].come(&world).await, first);
    world.clock.advance_seconds(61);
    let later = watchers[1].come(&world).await;
    assert!(later > first);
    assert_eq!(watchers[0].come(&world).await, later);
}

#[tokio::test]
async fn a_flood_of_entries_keeps_no_witnesses_from_meeting_under_one_head() {
    let world = World::with_policy(5, &three_wanted()).await;
    let mut watchers: Vec<Watcher> = (1..=3).map(|index| Watcher::new(&world, index)).collect();
    let (mut met, mut records) = (Vec::new(), 1_000);
    for watcher in &mut watchers {
        // More heads than the ledger keeps open, between the question and the answer of each.
        let request = watcher.asked(&world).await;
        for _ in 0..70 {
            records += 1;
            grow(&world, records).await;
        }
        world.clock.advance_seconds(20);
        met.push(watcher.cosign(&world, &request).await);
    }
    assert!(met.iter().all(|size| *size == met[0]), "{met:?}");
    let quorum = view(&world).await.quorum;
    assert_eq!((quorum.witnessed, quorum.witnesses.len()), (met[0], 3));
}

#[tokio::test]
async fn a_head_that_too_few_can_still_cosign_is_not_waited_for() {
    let world = World::with_policy(5, &three_wanted()).await;
    let mut watchers: Vec<Watcher> = (1..=5).map(|index| Watcher::new(&world, index)).collect();
    let candidate = watchers[0].come(&world).await;
    let log = world.app().ledger().ledger().verifier_key();
    let mut given = Vec::new();
    for (records, watcher) in (100..).zip(&mut watchers[1..]) {
        grow(&world, records).await;
        // It saw a newer head in a round's context.
        let newest: CheckpointView = world.get(&auditor(), "/v1/ledger/checkpoint").await;
        let proof =
            konclave_ledger::ConsistencyProof { old_size: 0, new_size: newest.size, hashes: Vec::new() };
        watcher.state = watcher.state.advance(newest.note.as_bytes(), &log, &proof).unwrap();
        given.push(watcher.come(&world).await);
    }
    assert!(given.iter().all(|size| *size > candidate), "{given:?}");
    grow(&world, 200).await;
    // Six are enrolled, four of them have seen more: the head of the last one is the one to meet under.
    for watcher in &mut watchers[..2] {
        assert_eq!(watcher.come(&world).await, given[3]);
    }
    assert_eq!(view(&world).await.quorum.witnessed, given[3]);
}

#[tokio::test]
async fn who_has_seen_more_gets_the_newest_head_and_who_has_seen_too_much_is_told() {
    let world = World::with_policy(5, &three_wanted()).await;
    let (mut early, mut late) = (Watcher::new(&world, 1), Watcher::new(&world, 2));
    let candidate = early.come(&world).await;
    for records in 100..103 {
        grow(&world, records).await;
    }
    let size = world.app().ledger().ledger().head().size;
    let log = world.app().ledger().ledger().verifier_key();
    // One that saw a newer head elsewhere, such as in a round's context.
    let newest: CheckpointView = world.get(&auditor(), "/v1/ledger/checkpoint").await;
    let proof = konclave_ledger::ConsistencyProof { old_size: 0, new_size: size, hashes: Vec::new() };
    late.state = late.state.advance(newest.note.as_bytes(), &log, &proof).unwrap();
    assert_eq!(late.come(&world).await, size);
    assert_eq!(Watcher::new(&world, 3).come(&world).await, candidate);
    let path = format!("/v1/ledger/add-checkpoint?old={}", size + 1);
    for (path, status, kind) in [
        (path.as_str(), 422, "/problems/rejected"),
        ("/v1/ledger/add-checkpoint", 400, "/problems/invalid-request"),
        ("/v1/ledger/add-checkpoint?old=-1", 400, "/problems/invalid-request"),
        ("/v1/ledger/add-checkpoint?old=1&new=2", 400, "/problems/invalid-request"),
    ] {
        let (found, body) = world.send(&member(&site(1)), Method::GET, path, Vec::new(), true).await;
        let problem: Problem = serde_json::from_slice(&body).unwrap();
        assert_eq!((found.as_u16(), problem.kind.as_str()), (status, kind), "{path}");
    }
}

#[tokio::test]
async fn what_each_witness_cosigned_last_is_there_for_the_others() {
    let mut world = World::with_policy(5, &three_wanted()).await;
    let (mut one, mut two) = (Watcher::new(&world, 1), Watcher::new(&world, 2));
    one.come(&world).await;
    world.clock.advance_seconds(61);
    grow(&world, 100).await;
    two.come(&world).await;
    let log = world.app().ledger().ledger().verifier_key();
    for restarted in [false, true] {
        let shown = view(&world).await;
        let names: Vec<String> = shown.witnesses.iter().map(|witness| witness.site.to_string()).collect();
        assert_eq!(names, ["benchmark", "site-1", "site-2", "site-3", "site-4", "site-5"]);
        for watcher in [&one, &two] {
            let shown = shown.witnesses.iter().find(|shown| shown.site == watcher.id).unwrap();
            let root = world.app().consortium_root();
            root.verify(&shown.certificate, world.clock.now()).unwrap();
            assert_eq!(shown.certificate.membership.witness_vkey, shown.witness_vkey);
            let Some(cosigned) = &shown.cosigned else {
                // Kept in memory, and in the newest head's note, which only the second one cosigned.
                assert!(restarted && watcher.id == site(1));
                continue;
            };
            let (head, note) = Checkpoint::verify(cosigned.note.as_bytes(), &log).unwrap();
            assert_eq!((&head, cosigned.size), (watcher.state.head(), watcher.state.head().size));
            let [_, line] = note.signatures.as_slice() else { panic!("the log's line and the witness's") };
            let key: VerifierKey = shown.witness_vkey.parse().unwrap();
            let found = verify_cosignature(&line.to_string(), &head, &key).unwrap();
            let time = Timestamp::from_unix_seconds(found.unix_seconds()).unwrap();
            assert_eq!(cosigned.time, time.to_string());
        }
        let silent = shown.witnesses.iter().find(|shown| shown.site == site(3)).unwrap();
        assert!(silent.cosigned.is_none());
        world.restart().await;
    }
    let (status, _) = world.send(&developer(), Method::GET, "/v1/ledger/witnesses", Vec::new(), true).await;
    assert_eq!(status, StatusCode::OK, "partners see it too");
}

#[tokio::test]
async fn a_missing_quorum_and_its_return_are_recorded_once_each() {
    let mut world = World::with_policy(5, &three_wanted()).await;
    grow(&world, 100).await;
    world.clock.advance_seconds(600);
    assert!(!records(&world).await && view(&world).await.quorum.stands);
    world.clock.advance_seconds(1);
    assert!(!view(&world).await.quorum.stands);
    assert!(records(&world).await);
    assert_eq!(said(&world), (Some(false), 1));
    // It is said once, blocks nothing, and a restart neither forgets nor takes it back.
    for _ in 0..3 {
        world.clock.advance_seconds(100_000);
        assert!(!records(&world).await);
        world.restart().await;
        assert!(!records(&world).await);
    }
    grow(&world, 101).await;
    let quorum = view(&world).await.quorum;
    assert!(!quorum.stands && quorum.missing_since.is_some());
    let mut watchers: Vec<Watcher> = (1..=3).map(|index| Watcher::new(&world, index)).collect();
    for watcher in &mut watchers[..2] {
        watcher.come(&world).await;
        assert!(!records(&world).await, "two are not three");
    }
    let size = watchers[2].come(&world).await;
    assert!(records(&world).await);
    assert_eq!(said(&world), (Some(true), 2));
    let quorum = view(&world).await.quorum;
    assert_eq!((quorum.stands, quorum.witnessed, quorum.missing_since), (true, size, None));
    // The entry about it is itself not missed, however quiet it gets.
    for _ in 0..3 {
        world.clock.advance_seconds(100_000);
        assert!(!records(&world).await);
    }
    assert!(view(&world).await.quorum.stands);
    // Until something happens that nobody witnesses.
    grow(&world, 102).await;
    world.clock.advance_seconds(601);
    assert!(records(&world).await);
    assert_eq!(said(&world), (Some(false), 3));
    world.restart().await;
    for watcher in &mut watchers {
        watcher.come(&world).await;
    }
    assert!(records(&world).await && !records(&world).await);
    assert_eq!(said(&world), (Some(true), 4));
}

#[tokio::test]
async fn nobody_is_late_before_the_gateway_was_there_to_ask() {
    let mut world = World::with_policy(5, &three_wanted()).await;
    grow(&world, 100).await;
    world.clock.advance_seconds(100_000);
    world.restart().await;
    assert!(!records(&world).await);
    world.clock.advance_seconds(600);
    assert!(!records(&world).await);
    world.clock.advance_seconds(1);
    assert!(records(&world).await);
}

#[tokio::test]
async fn a_policy_that_asks_for_none_records_nothing_and_a_later_one_is_followed() {
    let mut world = World::new(5).await;
    grow(&world, 100).await;
    world.clock.advance_seconds(100_000);
    assert!(!records(&world).await);
    let quorum = view(&world).await.quorum;
    assert_eq!((quorum.required, quorum.stands, quorum.missing_since), (0, true, None));
    let mut watcher = Watcher::new(&world, 1);
    watcher.come(&world).await;
    assert_eq!(view(&world).await.quorum.witnessed, 0);
    world.change_policy(&three_wanted()).await;
    let head: CheckpointView = world.get(&auditor(), "/v1/ledger/checkpoint").await;
    assert_eq!((head.quorum.required, head.quorum.stands), (3, true));
    for index in 1..=3 {
        Watcher::new(&world, index).come(&world).await;
    }
    assert_eq!(view(&world).await.quorum.witnessed, head.size);
}

#[tokio::test]
async fn the_changes_of_the_logs_key_can_be_followed() {
    let mut world = World::with_policy(5, &three_wanted()).await;
    let old = world.app().ledger().ledger().verifier_key();
    let keys: LogKeysView = world.get(&member(&site(1)), "/v1/ledger/keys").await;
    assert!(keys.vkey == old.to_string() && keys.changes.is_empty());
    let head = world.app().ledger().ledger().head();
    let new = log_key(old.name().clone(), &SigningKey::from_seed(&[77; 32]));
    let change = KeyChange {
        origin: old.name().clone(),
        old_vkey: old.to_string(),
        new_vkey: new.to_string(),
        reason: ChangeReason::Scheduled,
        trusted_size: head.size,
        trusted_root: head.root,
        made_at: world.clock.now().get(),
    };
    let authorised = statements::sign(world.root_seed(), &change).unwrap();
    world.change_ledger_key([77; 32], &authorised).await;
    let keys: LogKeysView = world.get(&member(&site(1)), "/v1/ledger/keys").await;
    assert_eq!(keys.vkey, new.to_string());
    let [told] = keys.changes.as_slice() else { panic!("{keys:?}") };
    assert_eq!((told.entry, &told.old_vkey, &told.new_vkey), (head.size, &old.to_string(), &new.to_string()));
    let root = PublicKey(*world.app().consortium_root().0.as_bytes());
    assert_eq!(KeyChange::verify(&told.authorisation, &root, &old).unwrap(), (change, new));
    // And the witnesses go on under it.
    for index in 1..=3 {
        Watcher::new(&world, index).come(&world).await;
    }
    assert_eq!(view(&world).await.quorum.witnesses.len(), 3);
}
