//! A deterministic simulation of whole jobs: honest and lying sites, an honest or hostile gateway, a network that drops,
//! delays, repeats and reorders, and crashes anywhere. The parties run the crate's own phases; an observer that sees
//! everything checks after every message that no promise is broken.
//!
//! A failing scenario is made smaller and printed as a value; it belongs into `pinned.rs`. The long run is
//! `make simulate SECONDS=3600 SEED=1`.

#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::cast_possible_truncation,
    clippy::wildcard_enum_match_arm,
    clippy::panic,
    clippy::large_enum_variant,
    clippy::needless_range_loop,
    unreachable_pub,
    reason = "a test may panic"
)]

mod adversary;
mod colluder;
mod gateway;
mod generate;
mod key_setup;
mod keys;
mod letter;
mod observer;
mod pinned;
mod random;
mod report;
mod scenario;
mod shrink;
mod site;
#[path = "../support/mod.rs"]
mod support;
mod world;

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::time::{Duration, Instant};

use generate::Size;
use observer::Violation;
use report::Report;
use scenario::Scenario;

/// Plays a scenario; a panic anywhere is a violation too.
fn judge(scenario: &Scenario) -> Result<Report, Violation> {
    catch_unwind(AssertUnwindSafe(|| world::play(scenario))).unwrap_or_else(|panic| {
        let text = panic.downcast_ref::<String>().cloned();
        let text = text.or_else(|| panic.downcast_ref::<&str>().map(ToString::to_string));
        Err(format!("a panic: {}", text.unwrap_or_default()))
    })
}

/// Plays a scenario and, if it fails, the smallest like it.
fn must_hold(scenario: Scenario, report: &mut Report) {
    match judge(&scenario) {
        Ok(played) => report.add(&played),
        Err(violation) => {
            let seed = scenario.seed;
            let (smallest, violation) = shrink::shrink(scenario, violation, |smaller| judge(smaller).err());
            panic!("seed {seed}: {violation}\n{smallest:#?}");
        }
    }
}

fn play_seeds(seeds: std::ops::Range<u64>, size: Size) -> Report {
    let mut report = Report::default();
    for seed in seeds {
        must_hold(generate::scenario(seed, size), &mut report);
    }
    println!("{report}");
    report
}

#[test]
fn small_rosters_keep_every_promise() {
    let report = play_seeds(0..250, Size::Small);
    // A simulation in which nothing happens finds nothing.
    assert!(report.opened * 4 > report.rounds, "{report}");
    assert!(report.drops > 1000 && report.duplicates > 1000 && report.site_crashes > 100, "{report}");
    assert!(report.gateway_crashes > 100 && report.attacks.values().sum::<u64>() > 500, "{report}");
}

#[test]
fn medium_rosters_keep_every_promise() {
    let report = play_seeds(0..16, Size::Medium);
    assert!(report.opened > 5, "{report}");
}

#[test]
fn set_up_goes_on_with_nothing_that_was_changed() {
    let mut seen = std::collections::BTreeMap::new();
    for seed in 0..90 {
        let meddling = key_setup::play(seed).unwrap();
        *seen.entry(format!("{meddling:?}")).or_insert(0) += 1;
    }
    assert_eq!(seen.len(), key_setup::MEDDLING.len(), "{seen:?}");
}

#[test]
fn the_same_scenario_plays_out_the_same_way() {
    for seed in 0..5 {
        let scenario = generate::scenario(seed, Size::Small);
        assert_eq!(scenario, generate::scenario(seed, Size::Small));
        assert_eq!(judge(&scenario), judge(&scenario));
    }
}

#[test]
fn scenarios_once_found_to_fail_hold() {
    let mut report = Report::default();
    for scenario in pinned::scenarios() {
        must_hold(scenario, &mut report);
    }
}

/// `make simulate`: fresh seeds of all sizes for `SECONDS`, counted from `SEED`.
#[test]
#[ignore = "runs as long as one asks it to"]
fn long_run() {
    let number = |name: &str, usual: u64| {
        std::env::var(name).ok().map_or(usual, |text| text.parse().expect("a number"))
    };
    let (seconds, first) = (number("SECONDS", 60), number("SEED", 1));
    let (start, mut told) = (Instant::now(), Instant::now());
    let mut report = Report::default();
    let mut seed = first.wrapping_mul(1_000_000_007);
    while start.elapsed() < Duration::from_secs(seconds) {
        let size = match seed % 400 {
            0 => Size::Large,
            1..=12 => Size::Medium,
            _ => Size::Small,
        };
        must_hold(generate::scenario(seed, size), &mut report);
        seed = seed.wrapping_add(1);
        if told.elapsed() > Duration::from_secs(60) {
            told = Instant::now();
            println!("after {} s, seed {seed}:\n{report}", start.elapsed().as_secs());
        }
    }
    println!("{} s, seeds from {first}:\n{report}", start.elapsed().as_secs());
}
