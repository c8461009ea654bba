//! Scenarios that failed once, made small and kept. So far each was a fault of the simulated drivers around the crate.

use std::collections::BTreeSet;

use konclave_crypto::Mode;

use crate::scenario::{Attack, ContextChange, CrashPoint, Op, Scenario};

pub fn scenarios() -> Vec<Scenario> {
    let calm = |sites, hostile_gateway, ops| Scenario {
        seed: 3,
        sites,
        batch: 2,
        whole_batches: false,
        sparse: false,
        colluders: BTreeSet::new(),
        hostile_gateway,
        ops,
    };
    let begin = |same_model| Op::Begin { mode: Mode::Full, same_model };
    let calm_run = || Op::Run { order: 0, deliveries: usize::MAX, drop: 0, duplicate: 0 };
    let run =
        |drop| Op::Run { order: 13_532_351_918_424_458_790, deliveries: usize::MAX, drop, duplicate: 0 };
    vec![
        // A site whose disk is older than its upload sits the round out, and the round goes on without it.
        calm(
            10,
            false,
            vec![begin(false), run(0), Op::CloseUploads, Op::RollBack { site: 9, writes: 6 }, Op::Finish],
        ),
        // A site that dies with its upload stored and unsent sends it when it is up again, however late.
        calm(
            2,
            false,
            vec![begin(true), Op::ArmSite { site: 1, at: CrashPoint::BeforeSending }, run(20), Op::Finish],
        ),
        // A site that dies before it signs, and is not needed for the quorum, gives its shares all the same: it decides on
        // the set when it is up again, whichever of proposal and request arrives first.
        Scenario {
            seed: 20_261_128_141_828_866,
            ..calm(
                9,
                false,
                vec![
                    begin(false),
                    calm_run(),
                    Op::ArmSite { site: 3, at: CrashPoint::BeforeStoring },
                    Op::CloseUploads,
                    calm_run(),
                    Op::CloseAgreement,
                    calm_run(),
                    Op::Finish,
                ],
            )
        },
        // Whoever masked for the next round in a hostile gateway's context masks for no other context of that round.
        calm(
            2,
            true,
            vec![
                begin(true),
                Op::Attack(Attack::Context {
                    change: ContextChange::NextRoundSameModel,
                    to: BTreeSet::from([0, 1]),
                }),
                Op::Finish,
                begin(false),
                Op::Finish,
            ],
        ),
    ]
}
