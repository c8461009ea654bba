//! Earlier reviews, as a reviewer gives them.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    let _ = konclave_audit::earlier_review(bytes);
});
