//! Whole rounds: the opened sum is exactly the plain sum of the agreed sites, whoever falls silent and when.

#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::cast_possible_truncation,
    reason = "a test may panic"
)]

mod support;

use std::collections::BTreeSet;

use konclave_crypto::aggregator::Abort;
use konclave_crypto::batches::{scoring_batches, singletons};
use konclave_crypto::{Digest, MaskGraph, Mode, RoundContext, RoundNumber, SiteId};
use proptest::prelude::*;
use support::{Consortium, Losses, encoding, play, site};

#[derive(Debug, Clone)]
struct Scenario {
    sites: usize,
    mode: Mode,
    batch: u16,
    tensors: Vec<u64>,
    quantisation_bits: u8,
    spare_bits: u8,
    round: u32,
    losses: Losses,
}

fn scenario() -> impl Strategy<Value = Scenario> {
    (3_usize..=12, any::<bool>())
        .prop_flat_map(|(sites, group)| {
            let mode = if group { Mode::Group } else { Mode::Full };
            let batch = if group { 2..=3_u16.min(sites as u16) } else { 1..=2 };
            let lost = proptest::collection::vec(prop_oneof![8 => Just(0_u8), 1 => 1..=3_u8], sites);
            let tensors = proptest::collection::vec(1_u64..60, 1..4);
            (Just(sites), Just(mode), batch, tensors, 2_u8..=20, 0_u8..=12, 1_u32..5, lost)
        })
        .prop_map(|(sites, mode, batch, tensors, quantisation_bits, spare_bits, round, lost)| {
            let at = |step: u8| (0..sites).filter(|index| lost[*index] == step).map(site).collect();
            let losses = Losses { before_upload: at(1), after_upload: at(2), before_unmask: at(3) };
            Scenario { sites, mode, batch, tensors, quantisation_bits, spare_bits, round, losses }
        })
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 48, ..ProptestConfig::default() })]

    #[test]
    fn the_opened_sum_is_exactly_the_plain_sum(scenario in scenario(), seed in any::<u8>()) {
        let Scenario { sites, mode, batch, tensors, quantisation_bits, spare_bits, round, losses } = scenario;
        let mut consortium = Consortium::new(sites, seed);
        let mut context = consortium.context(mode);
        let sum_bits = sites.next_power_of_two().trailing_zeros() as u8;
        let ring_bits = (quantisation_bits + sum_bits + 1 + spare_bits).clamp(16, 32);
        context.encoding = encoding(&tensors, quantisation_bits, ring_bits);
        context.batches = match batch {
            1 => singletons(&consortium.roster),
            size => scoring_batches(&consortium.roster, size),
        };
        context.min_batch = batch.max(2);
        context.round = RoundNumber::new(round).unwrap();
        for chains in consortium.chains.values_mut() {
            chains.advance_to(context.round).unwrap();
        }

        let uploads = sites - losses.before_upload.len();
        let complete: usize = context
            .batches
            .iter()
            .filter(|batch| batch.iter().all(|id| !losses.before_upload.contains(id)))
            .map(Vec::len)
            .sum();
        let signers = uploads - losses.after_upload.len();
        let answers = signers - losses.before_unmask.len();
        let threshold = usize::from(context.threshold);

        match play(&mut consortium, &context, &losses) {
            Ok((opened, expected)) => {
                prop_assert!(answers >= threshold && complete >= 2);
                prop_assert_eq!(&opened, &expected);
                // Only whole batches are ever summed.
                for sum in &opened {
                    let summed: BTreeSet<&SiteId> = sum.sites.iter().collect();
                    for batch in &context.batches {
                        let inside = batch.iter().filter(|id| summed.contains(id)).count();
                        prop_assert!(inside == 0 || inside == batch.len());
                    }
                }
            }
            Err(Abort::TooFewUploads { .. }) => prop_assert!(uploads < threshold),
            Err(Abort::TooFewAgreed { .. }) => prop_assert!(complete < 2),
            Err(Abort::NoQuorum { .. }) => prop_assert!(signers < threshold),
            Err(Abort::Unrecoverable { .. }) => prop_assert!(answers < threshold),
            Err(other) => prop_assert!(false, "{other}"),
        }
    }
}

#[test]
fn a_model_larger_than_a_block_opens_exactly() {
    let mut consortium = Consortium::new(3, 1);
    let mut context = consortium.context(Mode::Full);
    // More than one block of 262,144 lanes, and a tail that ends inside a byte.
    context.encoding = encoding(&[262_144, 4_097], 8, 17);
    let losses = Losses { before_unmask: BTreeSet::new(), ..Losses::default() };
    let (opened, expected) = play(&mut consortium, &context, &losses).unwrap();
    assert!(opened == expected);
}

#[test]
fn a_site_lost_after_key_set_up_and_another_after_its_upload() {
    let mut consortium = Consortium::new(9, 2);
    let context = consortium.context(Mode::Full);
    let losses = Losses {
        before_upload: BTreeSet::from([site(2)]),
        after_upload: BTreeSet::from([site(0)]),
        before_unmask: BTreeSet::new(),
    };
    let (opened, expected) = play(&mut consortium, &context, &losses).unwrap();
    assert_eq!(opened, expected);
    assert_eq!(opened[0].sites.len(), 8);
    assert!(opened[0].sites.contains(&site(0)) && !opened[0].sites.contains(&site(2)));
}

#[test]
fn rounds_follow_each_other_on_one_key_set_up() {
    let mut consortium = Consortium::new(4, 3);
    let mut context = consortium.context(Mode::Full);
    for round in 1..=3 {
        context.round = RoundNumber::new(round).unwrap();
        context.mode = if round == 2 { Mode::Group } else { Mode::Full };
        context.batches = scoring_batches(&consortium.roster, 2);
        consortium.chains.values_mut().for_each(|chains| chains.advance_to(context.round).unwrap());
        let (opened, expected) = play(&mut consortium, &context, &Losses::default()).unwrap();
        assert_eq!(opened, expected);
        assert_eq!(opened.len(), if round == 2 { 2 } else { 1 });
    }
}

#[test]
fn a_sparse_mask_graph_opens_exactly_with_sites_lost_anywhere() {
    let mut consortium = Consortium::new(20, 4);
    let mut context = consortium.context(Mode::Full);
    let degree = context.least_degree(20).unwrap();
    context.mask_graph = MaskGraph::Regular { degree };
    for id in consortium.sites() {
        let neighbours = context.neighbours(&id);
        assert_eq!(neighbours.len(), usize::from(degree));
        assert!(neighbours.iter().all(|peer| context.neighbours(peer).contains(&id) && *peer != id));
    }
    // The circle is the job's: no other round has another.
    let next = RoundContext { round: RoundNumber::new(2).unwrap(), ..context.clone() };
    assert_eq!(next.neighbours(&site(7)), context.neighbours(&site(7)));
    let another = RoundContext { roster: Digest::of(b"another roster"), ..context.clone() };
    assert_ne!(another.neighbours(&site(7)), context.neighbours(&site(7)));

    let losses = Losses {
        before_upload: BTreeSet::from([site(2), site(11)]),
        after_upload: BTreeSet::from([site(0), site(19)]),
        before_unmask: BTreeSet::from([site(5)]),
    };
    let (opened, expected) = play(&mut consortium, &context, &losses).unwrap();
    assert_eq!(opened, expected);
    assert_eq!(opened[0].sites.len(), 18);
}
