//! Signed notes, checkpoints, cosignatures and the short texts in them, here and in `signed_note` and `tlog_tiles`.

use std::fmt::{Debug, Display};
use std::str::FromStr;

use konclave_ledger::note::{SignatureLine, SignedNote};
use konclave_ledger::witness::verify_cosignature;
use konclave_ledger::{Checkpoint, Hash, Origin, PublicKey, Timestamp, VerifierKey};
use signed_note::{Note, StandardVerifier, VerifierList};

use super::fixture::{Fixture, fixture};
/// `signed_note` reads no more.
const MOST_SIGNATURES: usize = 100;

/// What parses prints back to the same bytes, and `signed_note` reads the same out of it.
pub fn note(bytes: &[u8]) {
    let Ok(note) = SignedNote::parse(bytes) else { return };
    assert_eq!(note.to_string().as_bytes(), bytes);
    if note.signatures.len() > MOST_SIGNATURES {
        return;
    }
    let theirs = Note::from_bytes(bytes).unwrap();
    assert_eq!(theirs.text(), note.text.as_bytes());
    assert_eq!(theirs.to_bytes(), bytes);
    for line in &note.signatures {
        let theirs = signed_note::Signature::from_bytes(line.to_string().as_bytes()).unwrap();
        assert_eq!((theirs.name(), theirs.signature()), (line.name.as_str(), line.signature.as_slice()));
        assert_eq!(theirs.id().to_be_bytes(), line.key_id.0);
    }
}

/// Nobody gets a checkpoint accepted that the log did not sign, and whatever is accepted is to the other crates, too.
pub fn checkpoint(bytes: &[u8]) {
    let text = str::from_utf8(bytes).unwrap_or_default();
    if let Ok(checkpoint) = Checkpoint::parse_text(text) {
        assert_eq!(checkpoint.text(), text);
        let theirs = tlog_tiles::Checkpoint::from_bytes(bytes).unwrap();
        assert_eq!((theirs.origin(), theirs.size()), (checkpoint.origin.as_str(), checkpoint.size));
        assert_eq!((theirs.hash().0, theirs.extension()), (checkpoint.root.0, ""));
    }
    if let Ok(note) = SignedNote::parse(bytes) {
        checkpoint(note.text.as_bytes());
    }
    if let Ok((checkpoint, note)) = Checkpoint::verify(bytes, &fixture().log_key) {
        assert!(fixture().heads.contains(&checkpoint), "signed by nobody: {checkpoint:?}");
        assert_eq!(checkpoint.text(), note.text);
        if note.signatures.len() <= MOST_SIGNATURES {
            let key = StandardVerifier::new(&fixture().log_key.to_string()).unwrap();
            let (verified, _) =
                Note::from_bytes(bytes).unwrap().verify(&VerifierList::new(vec![Box::new(key)])).unwrap();
            assert_eq!(verified.len(), 1);
        }
    }
}

/// A cosignature line counts for one head, one witness and one time only.
pub fn cosignature(bytes: &[u8]) {
    let Ok(line) = str::from_utf8(bytes) else { return };
    let Fixture { heads, cosigned, witness_key, log_key, .. } = fixture();
    for head in heads {
        let Ok(accepted) = verify_cosignature(line, head, witness_key) else { continue };
        assert_eq!(accepted.line().to_string(), line);
        assert_eq!(head, cosigned, "cosigned by nobody");
        assert!(fixture().lines.contains(&line.to_owned()), "signed by nobody: {line}");
        // Not as the log, though the bytes may be a signature.
        assert!(!log_key.claims(accepted.line()));
    }
}

/// Texts with one spelling each.
pub fn texts(bytes: &[u8]) {
    let Ok(text) = str::from_utf8(bytes) else { return };
    round_trip::<SignatureLine>(text);
    round_trip::<VerifierKey>(text);
    round_trip::<Origin>(text);
    round_trip::<Hash>(text);
    round_trip::<PublicKey>(text);
    if let Ok(time) = Timestamp::parse(text) {
        assert_eq!(time.to_string(), text);
        assert_eq!(Timestamp::from_unix_millis(time.unix_millis()), Ok(time));
    }
    if text.parse::<SignatureLine>().is_ok() {
        assert!(signed_note::Signature::from_bytes(bytes).is_ok());
    }
    if let Ok(key) = text.parse::<VerifierKey>()
        && key.signature_type() == konclave_ledger::note::SignatureType::Log
        // `signed_note` decodes the point, which here waits until a signature is checked.
        && let Ok(theirs) = StandardVerifier::new(text)
    {
        use signed_note::Verifier as _;
        assert_eq!((theirs.name(), theirs.key_id().to_be_bytes()), (key.name().as_str(), key.key_id().0));
    }
}

fn round_trip<T: FromStr + Display + Debug + PartialEq>(text: &str)
where
    T::Err: Debug,
{
    if let Ok(value) = text.parse::<T>() {
        assert_eq!(value.to_string(), text);
    }
}
