//! tlog-proof receipts and single signature lines.
#![no_main]

use konclave_ledger::note::{SignatureLine, VerifierKey};
use konclave_ledger::tlog_proof::TlogProof;

libfuzzer_sys::fuzz_target!(|text: &str| {
    if let Ok(receipt) = text.parse::<TlogProof>() {
        assert_eq!(receipt.to_string(), text);
    }
    if let Ok(line) = text.parse::<SignatureLine>() {
        assert_eq!(line.to_string(), text);
    }
    if let Ok(key) = text.parse::<VerifierKey>() {
        assert_eq!(key.to_string(), text);
    }
});
