//! Private keys of clients.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    if let Ok(key) = konclave_audit::ClientKey::from_pem(bytes) {
        let _ = key.public();
    }
});
