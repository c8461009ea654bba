#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| konclave_crypto_fuzz::targets::agreeing(bytes));
