//! kill -9 of the gateway's real process at any moment, while clients write without pause: what was answered stays.
//!
//! Some rounds in every run; `make torture` makes 200.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "the lints spare test functions, but not what they call"
)]

use std::collections::BTreeMap;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use konclave_openapi::corrections::{Correction, NewCorrection};
use konclave_openapi::ledger::{CheckpointView, EntryView};
use konclave_openapi::page::Page;
use konclave_tests::consortium::{Consortium, call};
use konclave_tests::partner::PartnerClient;
use serde_json::Value;

use crate::support;

const WRITERS: usize = 4;

fn rounds() -> u64 {
    std::env::var("KONCLAVE_KILL_ROUNDS").ok().and_then(|text| text.parse().ok()).unwrap_or(6)
}

/// Corrects the first entry's reason again and again, until the gateway is gone; what was answered, by entry.
fn write_until_it_is_gone(
    client: &PartnerClient,
    writer: usize,
    round: u64,
    stop: &AtomicBool,
    answered: &Mutex<BTreeMap<u64, String>>,
) {
    for number in 0.. {
        if stop.load(Ordering::SeqCst) {
            return;
        }
        let is = format!("written by {writer} in round {round}, number {number}");
        let new = NewCorrection {
            entry: 0,
            field: "/reason".to_owned(),
            is: is.clone().into(),
            reason: "written under load".to_owned(),
        };
        let key = format!("kill-{writer}-{round}-{number}");
        match client.post::<_, Correction>("/v1/ledger/corrections", &key, &new) {
            Ok(correction) => drop(answered.lock().unwrap().insert(correction.recorded_in, is)),
            // The connection broke, or the gateway is about to go: nothing was promised.
            Err(_) => std::thread::sleep(Duration::from_millis(5)),
        }
    }
}

/// What the corrections from an entry on say, by entry.
fn corrections_from(auditor: &PartnerClient, index: u64) -> BTreeMap<u64, String> {
    let mut found = BTreeMap::new();
    let mut cursor = index.checked_sub(1).map(|before| before.to_string());
    loop {
        let after = cursor.map_or_else(String::new, |cursor| format!("&cursor={cursor}"));
        let page: Page<EntryView> =
            auditor.get(&format!("/v1/ledger/entries?action=entry.corrected&limit=500{after}")).unwrap();
        for entry in page.items {
            let leaf: Value = serde_json::from_str(&entry.leaf).unwrap();
            found.insert(entry.index, leaf["record"]["is"].as_str().unwrap().to_owned());
        }
        let Some(next) = page.next_cursor else { return found };
        cursor = Some(next);
    }
}

#[test]
fn nothing_the_gateway_answered_is_lost_when_it_is_killed_at_any_moment() {
    let folder = tempfile::tempdir().unwrap();
    let plan = konclave_tests::consortium::Plan::new(&folder.path().join("consortium"), 2);
    let mut consortium = Consortium::found(&plan).unwrap();
    let (_developer, auditor) = support::partners(&consortium);
    let operators: Vec<PartnerClient> = (0..WRITERS)
        .map(|number| consortium.add_client(&format!("operator-{number}"), "Operator", "operator").unwrap())
        .collect();
    let operators: Vec<Mutex<PartnerClient>> = operators.into_iter().map(Mutex::new).collect();
    let answered: Mutex<BTreeMap<u64, String>> = Mutex::default();
    let began = Instant::now();
    // Knuth's MMIX generator: the same delays in every run, other moments all the same.
    let mut seed = 2026_u64;
    let mut checked = 0;
    for round in 0..rounds() {
        consortium.start_gateway().unwrap();
        let stop = AtomicBool::new(false);
        std::thread::scope(|scope| {
            for (writer, client) in operators.iter().enumerate() {
                let (stop, answered) = (&stop, &answered);
                scope.spawn(move || {
                    write_until_it_is_gone(&client.lock().unwrap(), writer, round, stop, answered);
                });
            }
            seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            std::thread::sleep(Duration::from_millis(150 + (seed >> 33) % 700));
            consortium.kill_gateway();
            stop.store(true, Ordering::SeqCst);
        });
        consortium.start_gateway().unwrap();
        let answered = answered.lock().unwrap();
        let head: CheckpointView = auditor.get("/v1/ledger/checkpoint").unwrap();
        let found = corrections_from(&auditor, checked);
        for (index, said) in answered.range(checked..) {
            assert_eq!(
                found.get(index),
                Some(said),
                "entry {index} was answered, the ledger has {}",
                head.size
            );
        }
        checked = head.size;
        consortium.kill_gateway();
    }
    consortium.start_gateway().unwrap();
    let answered = answered.into_inner().unwrap();
    assert!(answered.len() as u64 > rounds(), "the writers were answered {} times", answered.len());
    // All of them once more: nothing was overwritten later.
    let found = corrections_from(&auditor, 0);
    assert!(answered.iter().all(|(index, said)| found.get(index) == Some(said)));
    let export = folder.path().join("export");
    let exported = auditor.export_ledger(&export).unwrap();
    call(&consortium.programs.audit, &["verify".as_ref(), export.as_os_str()]).unwrap();
    println!(
        "{} kills, {} answers, none lost; {} entries; {} s",
        rounds(),
        answered.len(),
        exported.size,
        began.elapsed().as_secs()
    );
}
