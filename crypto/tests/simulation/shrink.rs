//! Makes a failing scenario smaller while it fails.

use crate::observer::Violation;
use crate::scenario::{Op, Scenario};

/// The smallest scenario found that still fails, with its failure.
pub fn shrink(
    scenario: Scenario,
    violation: Violation,
    fails: impl Fn(&Scenario) -> Option<Violation>,
) -> (Scenario, Violation) {
    let (mut smallest, mut violation) = (scenario, violation);
    loop {
        let smaller = candidates(&smallest).into_iter().find_map(|candidate| {
            let violation = fails(&candidate)?;
            Some((candidate, violation))
        });
        match smaller {
            Some((candidate, found)) => (smallest, violation) = (candidate, found),
            None => return (smallest, violation),
        }
    }
}

/// Every scenario one step smaller, the largest steps first.
fn candidates(scenario: &Scenario) -> Vec<Scenario> {
    let mut smaller = Vec::new();
    let count = scenario.ops.len();
    let mut run = count / 2;
    while run > 0 {
        for start in (0..count).step_by(run) {
            let mut ops = scenario.ops.clone();
            ops.drain(start..(start + run).min(count));
            smaller.push(Scenario { ops, ..scenario.clone() });
        }
        run /= 2;
    }
    for colluder in &scenario.colluders {
        let mut fewer = scenario.clone();
        fewer.colluders.remove(colluder);
        smaller.push(fewer);
    }
    let threshold = |sites: usize| sites * 2 / 3 + 1;
    for sites in (2..scenario.sites).rev().take(3) {
        if scenario.colluders.len() < 2 * threshold(sites) - sites {
            smaller.push(Scenario { sites, ..scenario.clone() });
        }
    }
    for (at, op) in scenario.ops.iter().enumerate() {
        if let Op::Run { order, deliveries, drop, duplicate } = *op {
            let simpler = [
                (order, usize::MAX, drop, duplicate),
                (order, deliveries, 0, duplicate),
                (order, deliveries, drop, 0),
                (0, deliveries, drop, duplicate),
            ];
            for (order, deliveries, drop, duplicate) in simpler {
                let simple = Op::Run { order, deliveries, drop, duplicate };
                if simple != *op {
                    let mut ops = scenario.ops.clone();
                    ops[at] = simple;
                    smaller.push(Scenario { ops, ..scenario.clone() });
                }
            }
        }
    }
    smaller
}
