//! The fuzz targets on their seeds, whole and changed a little: a smoke test of what `make fuzz` runs for long.

#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::cast_possible_truncation,
    unreachable_pub,
    missing_docs,
    reason = "a test may panic"
)]

mod support;
#[path = "../fuzz/src/targets/mod.rs"]
mod targets;

use proptest::prelude::*;

#[test]
fn every_target_takes_its_seeds() {
    for (name, target) in targets::ALL {
        let seeds = targets::seeds(name);
        assert!(!seeds.is_empty(), "{name}");
        seeds.iter().for_each(|seed| target(seed));
    }
}

/// `make fuzz` starts from these: FUZZ_CORPUS/TARGET/seed-NUMBER.
#[test]
#[ignore = "writes files"]
fn write_seeds() {
    let folder = std::path::PathBuf::from(std::env::var_os("FUZZ_CORPUS").expect("FUZZ_CORPUS"));
    for (name, _) in targets::ALL {
        let folder = folder.join(name);
        std::fs::create_dir_all(&folder).unwrap();
        for (number, seed) in targets::seeds(name).iter().enumerate() {
            std::fs::write(folder.join(format!("seed-{number}")), seed).unwrap();
        }
    }
}

fn edits() -> impl Strategy<Value = Vec<u8>> {
    proptest::collection::vec(any::<u8>(), 0..24)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(96))]

    #[test]
    fn phases_take_no_changed_message(edits in edits()) {
        targets::collecting(&edits);
        targets::agreeing(&edits);
        targets::unmasking(&edits);
    }

    #[test]
    fn parsers_take_changed_seeds(which in any::<usize>(), place in any::<usize>(), edits in edits(), cut in any::<bool>()) {
        for (name, target) in [
            ("messages", targets::messages as fn(&[u8])),
            ("states", targets::states),
            ("packing", targets::packing),
            ("setup", targets::setup),
        ] {
            let seeds = targets::seeds(name);
            let mut bytes = seeds[which % seeds.len()].clone();
            let place = place % (bytes.len() + 1);
            if cut {
                bytes.truncate(place);
            }
            bytes.splice(place..place, edits.iter().copied());
            target(&bytes);
            let mut bytes = seeds[which % seeds.len()].clone();
            for (byte, edit) in bytes.iter_mut().skip(place).zip(&edits) {
                *byte ^= edit;
            }
            target(&bytes);
        }
    }
}
