//! Tile paths, hash tiles and entry bundles.
#![no_main]

use konclave_ledger::bundle;
use konclave_ledger::tiles::{TilePath, decode_hashes, encode_hashes};

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    for entry in bundle::entries(bytes).flatten() {
        assert!(entry.len() <= bytes.len());
    }
    if let Some(hashes) = decode_hashes(bytes) {
        assert_eq!(encode_hashes(&hashes), bytes);
    }
    if let Some(path) = std::str::from_utf8(bytes).ok().and_then(|text| text.parse::<TilePath>().ok()) {
        assert_eq!(path.to_string().as_bytes(), bytes);
    }
});
