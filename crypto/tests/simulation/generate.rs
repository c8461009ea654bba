//! Scenarios drawn from a seed.

use std::collections::BTreeSet;

use konclave_crypto::Mode;
use rand_chacha::ChaCha20Rng;
use rand_core::{Rng, SeedableRng};

use crate::random::{draw, happens, one_of, shuffle};
use crate::scenario::{Attack, ContextChange, CrashPoint, Lie, Op, ProposalChange, RequestChange, Scenario};

/// How large rosters may be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Size {
    /// 2 to 12 sites.
    Small,
    /// 13 to 40 sites.
    Medium,
    /// 41 to 200 sites.
    Large,
}

const CRASHES: [CrashPoint; 3] =
    [CrashPoint::BeforeStoring, CrashPoint::BetweenSecretAndJournal, CrashPoint::BeforeSending];
const LIES: [Lie; 16] = [
    Lie::GarbageBody,
    Lie::ShiftedBody,
    Lie::PaddingBits,
    Lie::SelfMaskHash,
    Lie::PairSeedHashes(1),
    Lie::PairSeedHashes(2),
    Lie::PairSeedHashes(usize::MAX),
    Lie::Neighbours,
    Lie::BadSignature,
    Lie::SecondManifest,
    Lie::SealedNoise,
    Lie::ForeignAgreement,
    Lie::FlippedShare,
    Lie::FalseComplaints,
    Lie::SilentAfterUpload,
    Lie::SilentAfterAgreement,
];
const CONTEXTS: [ContextChange; 10] = [
    ContextChange::OtherModel,
    ContextChange::LowThreshold,
    ContextChange::LowMinAgreed,
    ContextChange::OtherBatches,
    ContextChange::SingleBatches,
    ContextChange::OtherWholeBatches,
    ContextChange::SparseGraph,
    ContextChange::NextRoundSameModel,
    ContextChange::OtherRoster,
    ContextChange::Unsigned,
];
const PROPOSALS: [ProposalChange; 8] = [
    // The consistent lie is the strongest one.
    ProposalChange::Consistent,
    ProposalChange::Consistent,
    ProposalChange::Consistent,
    ProposalChange::SmallerSet,
    ProposalChange::AlteredHeader,
    ProposalChange::ColludersSecondHeader,
    ProposalChange::OldHeader,
    ProposalChange::RepeatedHeader,
];
const REQUESTS: [RequestChange; 12] = [
    RequestChange::Consistent,
    RequestChange::Consistent,
    RequestChange::BothKindsInside,
    RequestChange::BothKindsOutside,
    RequestChange::MovedSite,
    RequestChange::MovedSite,
    RequestChange::DroppedSigners,
    RequestChange::RepeatedSigner,
    RequestChange::ForeignSignatures,
    RequestChange::OtherSet,
    RequestChange::AlteredSealed,
    RequestChange::MisdirectedSealed,
];

/// The scenario of a seed.
pub fn scenario(seed: u64, size: Size) -> Scenario {
    let rng = &mut ChaCha20Rng::seed_from_u64(seed);
    let sites = match size {
        Size::Small => 2 + draw(rng, 11),
        Size::Medium => 13 + draw(rng, 28),
        Size::Large => 41 + draw(rng, 160),
    };
    let threshold = sites * 2 / 3 + 1;
    let most = (2 * threshold - sites).saturating_sub(1).min(sites - 1);
    let mut all: Vec<usize> = (0..sites).collect();
    shuffle(&mut all, rng);
    let colluders: BTreeSet<usize> = all.into_iter().take(draw(rng, most + 1)).collect();
    let mut plan = Plan { sites, colluders, hostile: happens(rng, 500), rng, ops: Vec::new() };
    let rounds = if size == Size::Small { 1 + draw(plan.rng, 4) } else { 1 + draw(plan.rng, 2) };
    for _ in 0..rounds {
        plan.round();
    }
    let Plan { colluders, hostile, ops, .. } = plan;
    let batch = if sites < 6 { 2 } else { 2 + u16::try_from(draw(rng, 3)).unwrap() };
    let (whole_batches, sparse) = (happens(rng, 250), happens(rng, 500));
    Scenario { seed, sites, batch, whole_batches, sparse, colluders, hostile_gateway: hostile, ops }
}

struct Plan<'a> {
    sites: usize,
    colluders: BTreeSet<usize>,
    hostile: bool,
    rng: &'a mut ChaCha20Rng,
    ops: Vec<Op>,
}

impl Plan<'_> {
    fn round(&mut self) {
        let calm = happens(self.rng, 250);
        let mode = if self.sites >= 4 && happens(self.rng, 350) { Mode::Group } else { Mode::Full };
        let same_model = happens(self.rng, 150);
        self.lies();
        self.ops.push(Op::Begin { mode, same_model });
        for close in [Op::CloseUploads, Op::CloseAgreement, Op::CloseUnmasking] {
            for _ in 0..1 + draw(self.rng, 2) {
                if !calm {
                    self.mischief();
                }
                self.run(calm);
                if happens(self.rng, 300) {
                    self.ops.push(Op::Poll);
                }
            }
            if happens(self.rng, 800) {
                self.ops.push(close);
            }
        }
        if happens(self.rng, 900) {
            self.ops.push(Op::Finish);
        }
        if self.hostile && happens(self.rng, 300) {
            // After the round is over, once more.
            self.strike();
            self.run(calm);
        }
    }

    fn lies(&mut self) {
        for site in self.colluders.clone() {
            if happens(self.rng, 350) {
                let lie = one_of(self.rng, &LIES);
                self.ops.push(Op::Lie { site, lie });
            }
        }
    }

    fn run(&mut self, calm: bool) {
        let deliveries = match draw(self.rng, 4) {
            0 => draw(self.rng, 3 * self.sites),
            1 => draw(self.rng, 10 * self.sites),
            _ => usize::MAX,
        };
        let order = self.rng.next_u64();
        let (drop, duplicate) = if calm { (0, 0) } else { self.rates() };
        self.ops.push(Op::Run { order, deliveries, drop, duplicate });
    }

    fn rates(&mut self) -> (u16, u16) {
        (one_of(self.rng, &[0, 0, 20, 100, 300]), one_of(self.rng, &[0, 0, 50, 200]))
    }

    fn mischief(&mut self) {
        for _ in 0..draw(self.rng, 3) {
            let site = draw(self.rng, self.sites);
            let op = match draw(self.rng, 8) {
                0 => Op::CrashGateway { order: self.rng.next_u64() },
                1 => Op::ArmGateway { stored: happens(self.rng, 500) },
                2 | 3 => Op::ArmSite { site, at: one_of(self.rng, &CRASHES) },
                4 => Op::Sleep { site },
                5 => Op::RollBack { site, writes: 1 + draw(self.rng, 8) },
                _ => continue,
            };
            self.ops.push(op);
        }
        if self.hostile {
            for _ in 0..draw(self.rng, 4) {
                self.strike();
                if happens(self.rng, 400) {
                    self.run(true);
                }
            }
        }
    }

    fn some_sites(&mut self) -> BTreeSet<usize> {
        let chance = one_of(self.rng, &[150, 500, 850, 1000]);
        (0..self.sites).filter(|_| happens(self.rng, chance)).collect()
    }

    fn few_sites(&mut self) -> BTreeSet<usize> {
        (0..1 + draw(self.rng, 2)).map(|_| draw(self.rng, self.sites)).collect()
    }

    /// Two views of one round, and between them sites restored from copies older than their first signature.
    fn ask_again(&mut self) {
        let context = draw(self.rng, 4);
        for again in [false, true] {
            if again {
                for site in self.some_sites() {
                    self.ops.push(Op::RollBack { site, writes: 2 });
                }
            }
            let (without, to) = (self.few_sites(), (0..self.sites).collect());
            let change = ProposalChange::Consistent;
            self.ops.push(Op::Attack(Attack::Propose { context, without, change, to }));
            self.run(true);
        }
        let (view, change) = (draw(self.rng, 6), one_of(self.rng, &REQUESTS));
        self.ops.push(Op::Attack(Attack::Demand { view, change, to: (0..self.sites).collect() }));
        self.run(true);
    }

    fn strike(&mut self) {
        if happens(self.rng, 80) {
            self.ask_again();
        }
        let attack = match draw(self.rng, 10) {
            0 | 1 => Attack::Context { change: one_of(self.rng, &CONTEXTS), to: self.some_sites() },
            2..=4 => Attack::Propose {
                context: draw(self.rng, 4),
                without: self.few_sites(),
                change: one_of(self.rng, &PROPOSALS),
                to: self.some_sites(),
            },
            5..=8 => Attack::Demand {
                view: draw(self.rng, 6),
                change: one_of(self.rng, &REQUESTS),
                to: self.some_sites(),
            },
            _ => Attack::Replay { choice: self.rng.next_u64(), count: 1 + draw(self.rng, 8) },
        };
        self.ops.push(Op::Attack(attack));
    }
}
