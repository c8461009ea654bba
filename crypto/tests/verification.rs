//! Tags over the opened sum: a right one is accepted by everybody, a wrong one by nobody.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test may panic")]

mod support;

use std::collections::{BTreeMap, BTreeSet};
use std::io;

use konclave_crypto::aggregator::{Rejection, Settled, SumSink, Tagging};
use konclave_crypto::batches::scoring_batches;
use konclave_crypto::messages::{
    AgreementEvidence, AgreementProposal, SumTag, TAG_COLUMNS, TagValue, TaggingRequest,
};
use konclave_crypto::verification::{
    AgreedSet, OwnUpload, RecomputedTag, SumAnnouncement, SumCheck, TagError, Unverified, recompute, tag,
};
use konclave_crypto::{Digest, IdentityKey, Mode, RoundContext, SiteId, VerifiedContext};
use proptest::prelude::*;
use support::{Consortium, Uploaded, agree_all, encoding, plain_sum, site, unmask_all, upload_all};

/// The sums of a round as they came out of the opening.
#[derive(Default)]
struct Opened {
    sums: BTreeMap<usize, Vec<i32>>,
    total: Vec<i32>,
}

impl SumSink for Opened {
    fn take(&mut self, sum: usize, coordinates: &[i32]) -> io::Result<()> {
        self.sums.entry(sum).or_default().extend_from_slice(coordinates);
        Ok(())
    }

    fn take_total(&mut self, coordinates: &[i32]) -> io::Result<()> {
        self.total.extend_from_slice(coordinates);
        Ok(())
    }
}

/// A round opened, with everything that verification needs.
struct Round {
    consortium: Consortium,
    context: VerifiedContext,
    proposal: AgreementProposal,
    agreed: AgreedSet,
    signed: BTreeMap<SiteId, Digest>,
    tagging: Tagging,
    bodies: BTreeMap<SiteId, Vec<u8>>,
    plain: BTreeMap<SiteId, Vec<i64>>,
    opened: Opened,
}

fn set(indices: &[usize]) -> BTreeSet<SiteId> {
    indices.iter().copied().map(site).collect()
}

fn context_of(consortium: &Consortium, mode: Mode) -> RoundContext {
    let mut context = consortium.context(mode);
    context.encoding = encoding(&[5, 300], 8, 17);
    context
}

fn open(sites: usize, mode: Mode, lost: &[usize], seed: u8) -> Round {
    let consortium = Consortium::new(sites, seed);
    let context = context_of(&consortium, mode);
    open_in(consortium, &context, lost)
}

fn open_in(mut consortium: Consortium, context: &RoundContext, lost: &[usize]) -> Round {
    let nobody = BTreeSet::new();
    let Uploaded { context, collecting, waiting, bodies, plain } =
        upload_all(&mut consortium, context, &set(lost));
    let mut agreeing = collecting.close().unwrap();
    let proposal = agreeing.proposal().clone();
    let states = agree_all(&consortium, &context, &mut agreeing, waiting, &nobody);
    let signatures: Vec<_> = states.values().map(|state| state.agreement().clone()).collect();
    let signed = signatures.iter().map(|one| (one.site.clone(), one.agreed_digest)).collect();
    let evidence = AgreementEvidence { proposal: proposal.clone(), signatures };
    let agreed = evidence.verify(&consortium.roster, &context).unwrap();
    let mut unmasking = agreeing.close().unwrap();
    unmask_all(&consortium, &context, &mut unmasking, states, &nobody);
    let opening = unmasking.close().unwrap();
    let mut opened = Opened::default();
    let of_agreed = opening.agreed().into_iter().map(|id| (id.clone(), bodies[&id].as_slice())).collect();
    let tagging = opening.open_into(of_agreed, &mut opened).unwrap();
    if opened.sums.len() == 1 {
        opened.total = opened.sums[&0].clone();
    }
    Round { consortium, context, proposal, agreed, signed, tagging, bodies, plain, opened }
}

impl Round {
    fn tag_of(&self, id: &SiteId) -> Result<SumTag, TagError> {
        let request = self.tagging.request_for(id).unwrap();
        let body = self.bodies[id].as_slice();
        let upload =
            OwnUpload { site: id, key: self.consortium.key(id), signed: self.signed.get(id).copied(), body };
        tag(&self.consortium.roster, &self.context, &self.agreed, &request, upload)
    }

    fn all_tags(&self) -> Vec<SumTag> {
        self.agreed.headers().keys().map(|id| self.tag_of(id).unwrap()).collect()
    }

    fn recomputed(&self, id: &SiteId) -> RecomputedTag {
        let opened = &self.tagging.opened()[id];
        let body = self.bodies[id].as_slice();
        recompute(&self.context, &self.agreed, self.tagging.announcement(), id, opened, body).unwrap()
    }

    fn check_total(
        &self,
        total: &[i32],
        tags: &[SumTag],
        recomputed: &[RecomputedTag],
    ) -> Result<(), Unverified> {
        let announcement = self.tagging.announcement();
        let roster = &self.consortium.roster;
        let mut check =
            SumCheck::of_total(roster, &self.context, &self.agreed, announcement, tags, recomputed)?;
        // In parts, as they come over the wire.
        total.chunks(7).for_each(|part| check.take(part));
        check.finish().map(|sum| assert_eq!(sum.weight, announcement.total.weight))
    }

    /// The gateway announces something else than it opened. `change` gets the digest of the coordinates held now.
    fn announcing(&self, change: impl FnOnce(&mut SumAnnouncement, Digest)) -> Tagging {
        let mut announcement = self.tagging.announcement().clone();
        change(&mut announcement, Digest::of(&self.total_bytes()));
        let (context, roster) = (self.context.context().clone(), self.consortium.roster.clone());
        Tagging::resume(context, roster, &self.proposal, announcement, self.tagging.opened().clone()).unwrap()
    }

    fn total_bytes(&self) -> Vec<u8> {
        self.opened.total.iter().flat_map(|value| value.to_le_bytes()).collect()
    }

    fn settle(self) -> Settled {
        let total = self.total_bytes();
        let bodies = self.bodies;
        self.tagging.settle(total.as_slice(), |id| Ok(io::Cursor::new(bodies[id].clone()))).unwrap()
    }
}

fn with_value(tag: &SumTag, value: TagValue, key: &IdentityKey) -> SumTag {
    SumTag::sign(tag.context, tag.site.clone(), tag.announcement, value, key)
}

/// What a lying site can sign: another value for the right opening.
fn forged(round: &Round, id: &SiteId) -> SumTag {
    let honest = round.tag_of(id).unwrap();
    let mut value = *honest.value.as_bytes();
    value[0] ^= 1;
    with_value(&honest, TagValue::from(value), round.consortium.key(id))
}

#[test]
fn everybody_accepts_the_sum_of_what_was_uploaded() {
    for (mode, lost) in [(Mode::Full, vec![]), (Mode::Full, vec![2, 5]), (Mode::Group, vec![])] {
        let round = open(7, mode, &lost, 1);
        let agreed: Vec<SiteId> = round.agreed.headers().keys().cloned().collect();
        let expected = plain_sum(&round.plain, &agreed);
        assert_eq!(round.opened.total, expected.coordinates);
        assert_eq!(round.tagging.announcement().total.weight, expected.weight);
        let tags = round.all_tags();
        round.check_total(&round.opened.total, &tags, &[]).unwrap();
        for (index, sum) in &round.opened.sums {
            let announcement = round.tagging.announcement();
            let roster = &round.consortium.roster;
            let mut check =
                SumCheck::of_sum(*index, roster, &round.context, &round.agreed, announcement, &tags, &[])
                    .unwrap();
            check.take(sum);
            check.finish().unwrap();
        }
    }
}

#[test]
fn one_changed_word_of_the_sum_is_rejected_by_every_site() {
    // The gateway adds one to one coordinate, announces that sum, and asks for tags under its challenge.
    for (coordinate, change) in [(0, 1), (304, 1), (17, -1), (100, 1 << 16)] {
        let mut round = open(5, Mode::Full, &[1], 2);
        round.opened.total[coordinate] += change;
        round.tagging = round.announcing(|announcement, coordinates| {
            announcement.total.coordinates = coordinates;
            announcement.sums[0].coordinates = coordinates;
        });
        let tags = round.all_tags();
        assert_eq!(round.check_total(&round.opened.total, &tags, &[]), Err(Unverified::Wrong));
    }
}

#[test]
fn a_changed_weight_is_rejected() {
    let mut round = open(5, Mode::Full, &[], 3);
    round.tagging = round.announcing(|announcement, _| {
        announcement.total.weight += 1;
        announcement.sums[0].weight += 1;
    });
    let tags = round.all_tags();
    assert_eq!(round.check_total(&round.opened.total, &tags, &[]), Err(Unverified::Wrong));
}

#[test]
fn a_sum_of_two_batches_exchanged_is_rejected_though_the_total_is_right() {
    let mut round = open(6, Mode::Group, &[], 4);
    round.tagging = round.announcing(|announcement, _| {
        let first = announcement.sums[0].coordinates;
        announcement.sums[0].coordinates = announcement.sums[1].coordinates;
        announcement.sums[1].coordinates = first;
    });
    let tags = round.all_tags();
    let (roster, announcement) = (&round.consortium.roster, round.tagging.announcement());
    let mut check =
        SumCheck::of_sum(0, roster, &round.context, &round.agreed, announcement, &tags, &[]).unwrap();
    check.take(&round.opened.sums[&1]);
    assert_eq!(check.finish(), Err(Unverified::Wrong));
    round.check_total(&round.opened.total, &tags, &[]).unwrap();
}

#[test]
fn other_coordinates_than_the_announced_ones_are_rejected() {
    let round = open(4, Mode::Full, &[], 5);
    let tags = round.all_tags();
    let total = &round.opened.total;
    let mut other = total.clone();
    other[3] += 1;
    let longer: Vec<i32> = total.iter().copied().chain([0]).collect();
    for wrong in [&other[..], &total[..total.len() - 1], &longer] {
        assert_eq!(round.check_total(wrong, &tags, &[]), Err(Unverified::Coordinates));
    }
}

#[test]
fn a_result_without_all_tags_is_pending_and_a_recomputed_tag_stands_in() {
    let round = open(5, Mode::Full, &[4], 6);
    let mut tags = round.all_tags();
    let silent = tags.remove(2).site;
    let pending = Unverified::Missing { sites: BTreeSet::from([silent.clone()]) };
    assert_eq!(round.check_total(&round.opened.total, &tags, &[]), Err(pending));
    round.check_total(&round.opened.total, &tags, &[round.recomputed(&silent)]).unwrap();
}

#[test]
fn tags_of_another_round_site_or_signer_do_not_count() {
    let round = open(4, Mode::Full, &[], 7);
    let tags = round.all_tags();
    let refused = |change: &dyn Fn(&mut Vec<SumTag>)| {
        let mut changed = tags.clone();
        change(&mut changed);
        round.check_total(&round.opened.total, &changed, &[]).unwrap_err()
    };
    let bad = Unverified::Tag { site: site(0) };
    assert_eq!(refused(&|tags| tags[0].context = Digest([1; 32])), bad);
    assert_eq!(refused(&|tags| tags[0].announcement = Digest([1; 32])), bad);
    assert_eq!(refused(&|tags| tags[0].value = tags[1].value.clone()), bad);
    assert_eq!(refused(&|tags| tags.push(tags[0].clone())), bad);
    // An element of 2^b or more, rightly signed.
    let value = TagValue::from([0xff; TAG_COLUMNS * 4]);
    let wide = with_value(&tags[0], value, round.consortium.key(&site(0)));
    assert_eq!(refused(&|tags| tags[0] = wide.clone()), bad);
}

#[test]
fn a_site_tags_nothing_but_what_the_set_it_signed_opens() {
    let mut round = open(5, Mode::Full, &[3], 8);
    let id = site(0);
    assert!(round.tagging.request_for(&site(3)).is_none());
    // The gateway showed this site another set.
    let honest = round.signed.insert(id.clone(), Digest([9; 32])).unwrap();
    assert_eq!(round.tag_of(&id), Err(TagError::OtherSet));
    round.signed.insert(id.clone(), honest);
    // Another key, another announcement, other seeds, another body.
    let mut request = round.tagging.request_for(&id).unwrap();
    let with = |request: &TaggingRequest, body: &[u8], key: &SiteId| {
        let (signed, key) = (round.signed.get(&id).copied(), round.consortium.key(key));
        let upload = OwnUpload { site: &id, key, signed, body };
        tag(&round.consortium.roster, &round.context, &round.agreed, request, upload)
    };
    let body = round.bodies[&id].clone();
    assert_eq!(with(&request, &body, &site(1)), Err(TagError::Identity { site: id.clone() }));
    let mut damaged = body.clone();
    damaged[0] ^= 1;
    assert!(matches!(with(&request, &damaged, &id), Err(TagError::Body { .. })));
    assert!(matches!(with(&request, &body[1..], &id), Err(TagError::Body { .. })));
    let kept = request.opened.pair_seeds.clone();
    request.opened.pair_seeds.clear();
    assert_eq!(with(&request, &body, &id), Err(TagError::Seeds { site: id.clone() }));
    request.opened.pair_seeds = kept;
    request.opened.self_seed.0[0] ^= 1;
    assert_eq!(with(&request, &body, &id), Err(TagError::Seeds { site: id.clone() }));
    request.opened.self_seed.0[0] ^= 1;
    request.announcement.sums[0].sites.pop();
    assert!(matches!(with(&request, &body, &id), Err(TagError::Announcement(_))));
}

#[test]
fn a_false_tag_is_found_and_its_author_named() {
    let mut round = open(6, Mode::Full, &[5], 9);
    let liar = site(2);
    for id in [0, 1, 3].map(site) {
        let tag = round.tag_of(&id).unwrap();
        round.tagging.accept(tag).unwrap();
    }
    let false_tag = forged(&round, &liar);
    round.tagging.accept(false_tag.clone()).unwrap();
    assert_eq!(
        round.tagging.accept(round.tag_of(&liar).unwrap()),
        Err(Rejection::Changed { site: liar.clone() })
    );
    assert_eq!(round.tagging.missing(), set(&[4]));
    let settled = round.settle();
    assert_eq!(settled.false_tags, BTreeSet::from([liar.clone()]));
    assert_eq!(settled.to_recompute, BTreeSet::from([liar, site(4)]));
    assert_eq!(settled.tags.len(), 3);
}

#[test]
fn the_gateway_takes_tags_of_agreed_sites_for_its_announcement_only() {
    let mut round = open(5, Mode::Full, &[4], 10);
    let good = round.tag_of(&site(0)).unwrap();
    let mut other = good.clone();
    other.announcement = Digest([1; 32]);
    assert_eq!(round.tagging.accept(other), Err(Rejection::Tag { site: site(0) }));
    let mut stranger = good.clone();
    stranger.site = site(4);
    assert_eq!(round.tagging.accept(stranger), Err(Rejection::NotUploaded { site: site(4) }));
    let mut unsigned = good.clone();
    unsigned.site = site(1);
    assert_eq!(round.tagging.accept(unsigned), Err(Rejection::Signature { site: site(1) }));
    round.tagging.accept(good.clone()).unwrap();
    round.tagging.accept(good).unwrap();
    assert!(round.tagging.request_for(&site(4)).is_none());
}

#[test]
fn a_total_that_the_store_changed_is_the_gateways_own_fault() {
    let mut round = open(4, Mode::Full, &[], 11);
    for tag in round.all_tags() {
        round.tagging.accept(tag).unwrap();
    }
    let mut total = round.total_bytes();
    total[5] ^= 1;
    let bodies = round.bodies;
    let settled = round.tagging.settle(total.as_slice(), |id| Ok(io::Cursor::new(bodies[id].clone())));
    assert_eq!(settled.unwrap_err(), konclave_crypto::aggregator::Abort::TotalChanged);
}

#[test]
fn evidence_without_a_quorum_shows_no_agreed_set() {
    let mut consortium = Consortium::new(6, 12);
    let context = context_of(&consortium, Mode::Full);
    let Uploaded { context, collecting, waiting, .. } =
        upload_all(&mut consortium, &context, &BTreeSet::new());
    let mut agreeing = collecting.close().unwrap();
    let proposal = agreeing.proposal().clone();
    let states = agree_all(&consortium, &context, &mut agreeing, waiting, &BTreeSet::new());
    let signatures: Vec<_> = states.values().map(|state| state.agreement().clone()).collect();
    let full = AgreementEvidence { proposal, signatures };
    assert!(full.verify(&consortium.roster, &context).is_ok());
    let mut few = full.clone();
    few.signatures.truncate(4);
    assert!(few.verify(&consortium.roster, &context).is_err());
    let mut repeated = few.clone();
    repeated.signatures.push(repeated.signatures[0].clone());
    assert!(repeated.verify(&consortium.roster, &context).is_err());
    let mut smaller = full;
    smaller.proposal.agreed.pop();
    assert!(smaller.verify(&consortium.roster, &context).is_err());
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 24, ..ProptestConfig::default() })]

    #[test]
    fn tags_add_up_for_any_shape(
        sites in 3_usize..9,
        group in any::<bool>(),
        lost in proptest::collection::btree_set(0_usize..9, 0..2),
        tensors in proptest::collection::vec(1_u64..70, 1..3),
        ring_bits in 16_u8..=32,
        seed in any::<u8>(),
    ) {
        let consortium = Consortium::new(sites, seed);
        let mut context = consortium.context(if group { Mode::Group } else { Mode::Full });
        context.encoding = encoding(&tensors, 8, ring_bits);
        context.batches = if group { scoring_batches(&consortium.roster, 2) } else { context.batches };
        let lost: Vec<usize> = lost.into_iter().filter(|index| *index < sites && !group && sites > 6).collect();
        let round = open_in(consortium, &context, &lost);
        let tags = round.all_tags();
        prop_assert_eq!(round.check_total(&round.opened.total, &tags, &[]), Ok(()));
        for tag in &tags {
            let recomputed = round.recomputed(&tag.site);
            prop_assert_eq!(&tag.value, recomputed.value());
        }
    }
}
