//! The ledger against a `Vec` of drafts: random appends, reopenings, queries, proofs and cosignatures.

#![allow(
    missing_docs,
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::wildcard_enum_match_arm,
    reason = "tests stop at the first surprise"
)]

mod support;

use konclave_ledger::tree::{Edge, leaf_hash};
use konclave_ledger::witness::WitnessState;
use konclave_ledger::{EntryDraft, Filter, IndexState, Ledger};
use proptest::prelude::*;
use support::{at, created, draft, enrolled, log_key, options, witness};

#[derive(Debug, Clone)]
enum Step {
    Append(usize),
    Reopen {
        index: bool,
        delete_index: bool,
    },
    Query {
        site: Option<u64>,
        actor: Option<u64>,
        action: Option<u64>,
        job: Option<u64>,
        round: Option<u64>,
        since: Option<u64>,
        until: Option<u64>,
        page: usize,
    },
    Proof {
        index: u64,
        old: u64,
        size: u64,
    },
    Cosign,
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let maybe = || proptest::option::weighted(0.4, 0..6_u64);
    let moment = || proptest::option::weighted(0.3, 0..20_u64);
    let query = (maybe(), maybe(), maybe(), maybe(), maybe(), moment(), moment(), 1..40_usize).prop_map(
        |(site, actor, action, job, round, since, until, page)| Step::Query {
            site,
            actor,
            action,
            job,
            round,
            since,
            until,
            page,
        },
    );
    let step = prop_oneof![
        4 => prop_oneof![1..4_usize, Just(256), 1..300_usize].prop_map(Step::Append),
        1 => (any::<bool>(), any::<bool>()).prop_map(|(index, delete_index)| Step::Reopen { index, delete_index }),
        3 => query,
        3 => (any::<u64>(), any::<u64>(), any::<u64>()).prop_map(|(index, old, size)| Step::Proof { index, old, size }),
        1 => Just(Step::Cosign),
    ];
    proptest::collection::vec(step, 1..14)
}

/// What is expected of entry `index`.
struct Expected {
    draft: EntryDraft,
    second: u64,
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 24, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn behaves_like_a_vector(steps in steps()) {
        let folder = tempfile::tempdir().unwrap();
        let mut ledger = Ledger::open(folder.path(), options(true)).unwrap();
        let mut model: Vec<Expected> = Vec::new();
        let mut seen = WitnessState::new(ledger.head().origin);
        for draft in [created(), enrolled("site-a")] {
            ledger.append(vec![draft.clone()], at(0)).unwrap();
            model.push(Expected { draft, second: 0 });
        }
        for (second, step) in (1_u64..).zip(steps) {
            match step {
                Step::Append(count) => {
                    let first = model.len() as u64;
                    let drafts: Vec<_> = (first..first + count as u64).map(draft).collect();
                    let indexes = ledger.append(drafts.clone(), at(second)).unwrap();
                    prop_assert_eq!(indexes, (first..first + count as u64).collect::<Vec<_>>());
                    model.extend(drafts.into_iter().map(|draft| Expected { draft, second }));
                }
                Step::Reopen { index, delete_index } => {
                    let note = ledger.checkpoint_note();
                    drop(ledger);
                    if delete_index {
                        let _ = std::fs::remove_dir_all(folder.path().join("index.sled"));
                    }
                    ledger = Ledger::open(folder.path(), options(index)).unwrap();
                    prop_assert_eq!(ledger.checkpoint_note(), note);
                    prop_assert_eq!(ledger.index_state(), if index { IndexState::Ready } else { IndexState::Off });
                }
                Step::Query { site, actor, action, job, round, since, until, page } => {
                    let filter = Filter {
                        site: site.map(|n| format!("site-{n}")),
                        actor: actor.map(|n| format!("actor-{n}")),
                        action: action.map(|n| format!("action.{n}")),
                        object: None,
                        job: job.map(|n| format!("job-{n}")),
                        round: round.map(|n| u32::try_from(n).unwrap()),
                        since: since.map(|s| at(s).unix_millis()),
                        until: until.map(|s| at(s).unix_millis()),
                    };
                    let fits = |expected: &Expected| {
                        let draft = &expected.draft;
                        filter.site.as_ref().is_none_or(|wanted| draft.site.as_ref() == Some(wanted))
                            && filter.actor.as_ref().is_none_or(|wanted| draft.actor == *wanted)
                            && filter.action.as_ref().is_none_or(|wanted| draft.action == *wanted)
                            && job.is_none_or(|wanted| draft.record["job"] == format!("job-{wanted}"))
                            && round.is_none_or(|wanted| draft.record["round"] == wanted)
                            && since.is_none_or(|since| since <= expected.second)
                            && until.is_none_or(|until| expected.second < until)
                    };
                    let wanted: Vec<u64> = (0..).zip(&model).filter(|(_, e)| fits(e)).map(|(at, _)| at).collect();
                    let mut found = Vec::new();
                    loop {
                        let next = ledger.query(&filter, found.last().copied(), page).unwrap();
                        let last = next.len() < page;
                        found.extend(next);
                        if last { break }
                    }
                    prop_assert_eq!(found, wanted);
                }
                Step::Proof { index, old, size } => {
                    let size = 1 + size % model.len() as u64;
                    let (index, old) = (index % size, old % (size + 1));
                    let root = |size: u64| {
                        let mut edge = Edge::default();
                        (0..size).for_each(|at| edge.push(leaf_hash(&ledger.leaf_bytes(at).unwrap().unwrap())));
                        edge.root()
                    };
                    let leaf = leaf_hash(&ledger.leaf_bytes(index).unwrap().unwrap());
                    prop_assert_eq!(ledger.inclusion_proof(index, size).unwrap().verify(&leaf, &root(size)), Ok(()));
                    let proof = ledger.consistency_proof(old, size).unwrap();
                    prop_assert_eq!(proof.verify(&root(old), &root(size)), Ok(()));
                    prop_assert!(ledger.inclusion_proof(size, size).is_err());
                    prop_assert!(ledger.consistency_proof(0, model.len() as u64 + 1).is_err());
                }
                Step::Cosign => {
                    let head = ledger.head();
                    let proof = ledger.consistency_proof(seen.head().size, head.size).unwrap();
                    seen = seen.advance(ledger.checkpoint_note().as_bytes(), &log_key(), &proof).unwrap();
                    let line = seen.cosign(&witness("site-a"), at(second)).line().to_string();
                    prop_assert_eq!(ledger.add_cosignature(&line).unwrap().to_string(), "konclave.example/site-a");
                    prop_assert_eq!(ledger.checkpoint_note().lines().count(), 6);
                }
            }
            prop_assert_eq!(ledger.head().size, model.len() as u64);
        }
        let leaves: Vec<_> = ledger.leaves(0..u64::MAX).map(Result::unwrap).collect();
        prop_assert_eq!(leaves.len(), model.len());
        for (leaf, expected) in leaves.iter().zip(&model) {
            prop_assert_eq!(&leaf.record.to_value(), &expected.draft.record);
            prop_assert_eq!(&leaf.reason, &expected.draft.reason);
            prop_assert_eq!(&leaf.time, &at(expected.second).to_string());
        }
        prop_assert!(ledger.leaf(model.len() as u64).unwrap().is_none());
    }
}
