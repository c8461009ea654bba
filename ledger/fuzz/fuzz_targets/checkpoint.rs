//! Signed notes and checkpoints: what parses prints back to the same bytes.
#![no_main]

use konclave_ledger::Checkpoint;
use konclave_ledger::note::SignedNote;

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    if let Ok(note) = SignedNote::parse(bytes) {
        assert_eq!(note.to_string().as_bytes(), bytes);
        if let Ok(checkpoint) = Checkpoint::parse_text(&note.text) {
            assert_eq!(checkpoint.text(), note.text);
        }
    }
});
