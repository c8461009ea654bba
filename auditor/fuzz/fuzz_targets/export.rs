//! Exports: never a panic, and what is accepted is what its own checkpoint covers.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    if let Ok(checked) = konclave_audit::check_export(bytes, None, &mut |_| {}) {
        assert!(checked.entries <= checked.size);
        assert!(checked.last.is_none_or(|last| last < checked.size));
    }
});
