//! Entries: never a panic, and nothing is accepted that a second reading could see differently.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    if let Ok(leaf) = konclave_ledger::Leaf::parse(bytes) {
        let _ = leaf.timestamp();
        let _ = konclave_ledger::enrolment::Enrolment::from_leaf(&leaf);
        let _ = konclave_ledger::enrolment::published_log_key(&leaf);
    }
});
