//! The fuzz targets on their seeds, whole and changed a little, and on what they once found: a smoke test of what
//! `make fuzz` runs for long.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::cast_possible_truncation,
    clippy::wildcard_enum_match_arm,
    unreachable_pub,
    missing_docs,
    reason = "a test may panic"
)]

mod support;
#[path = "../fuzz/src/targets/mod.rs"]
mod targets;

use std::path::{Path, PathBuf};

use proptest::prelude::*;

#[test]
fn every_target_takes_its_seeds() {
    for (name, target) in targets::ALL {
        let seeds = targets::seeds(name);
        assert!(!seeds.is_empty(), "{name}");
        seeds.iter().for_each(|seed| target(seed));
    }
}

/// `fuzz/regressions/TARGET/` holds inputs that were findings once.
#[test]
fn no_finding_comes_back() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz/regressions");
    let mut replayed = 0;
    for (name, target) in targets::ALL {
        let Ok(files) = std::fs::read_dir(folder.join(name)) else { continue };
        for file in files {
            target(&std::fs::read(file.unwrap().path()).unwrap());
            replayed += 1;
        }
    }
    assert!(replayed > 0, "nothing in {}", folder.display());
}

/// `make fuzz` starts from these: FUZZ_CORPUS/TARGET/seed-NUMBER.
#[test]
#[ignore = "writes files"]
fn write_seeds() {
    let folder = PathBuf::from(std::env::var_os("FUZZ_CORPUS").expect("FUZZ_CORPUS"));
    for (name, _) in targets::ALL {
        let folder = folder.join(name);
        std::fs::create_dir_all(&folder).unwrap();
        for (number, seed) in targets::seeds(name).iter().enumerate() {
            std::fs::write(folder.join(format!("seed-{number}")), seed).unwrap();
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 60, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn targets_take_changed_seeds(
        which in any::<prop::sample::Index>(),
        edits in proptest::collection::vec((any::<prop::sample::Index>(), any::<u8>(), 0..5_u8), 0..8),
    ) {
        for (name, target) in targets::ALL {
            let seeds = targets::seeds(name);
            let mut bytes = which.get(&seeds).clone();
            for (at, value, edit) in &edits {
                if bytes.is_empty() { break }
                let at = at.index(bytes.len());
                match edit {
                    0 => bytes[at] = *value,
                    1 => bytes[at] ^= value,
                    2 => bytes.insert(at, *value),
                    3 => { bytes.remove(at); }
                    _ => bytes.truncate(at),
                }
            }
            target(&bytes);
        }
    }
}
