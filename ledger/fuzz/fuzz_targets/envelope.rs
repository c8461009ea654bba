//! DSSE envelopes and stored witness states.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    if let Ok(envelope) = konclave_ledger::Envelope::parse(bytes) {
        assert_eq!(envelope.to_bytes(), bytes);
        let _ = envelope.verify(&konclave_ledger::PublicKey([7; 32]));
    }
    let _ = konclave_ledger::witness::WitnessState::from_bytes(bytes);
});
