#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| konclave_ledger_fuzz::targets::leaf(bytes));
