//! C2SP signed notes: the text, its signature lines, key identifiers and verifier keys ("vkeys").
//!
//! Two signature types exist here: plain Ed25519 by the log (0x01) and timestamped witness cosignatures (0x04).

use std::fmt;
use std::str::FromStr;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;

use crate::hash::{Hash, decode_hex, write_hex};
use crate::keys::{PublicKey, SigningKey};
use crate::origin::Origin;

/// Longest note that is read at all, in bytes; room for some hundred cosignatures.
pub const MAX_NOTE_BYTES: usize = 64 * 1024;

/// What a key signs (the signature type byte of the signed-note specification).
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum SignatureType {
    /// 0x01: Ed25519 over the note's text; the log itself.
    Log,
    /// 0x04: tlog-cosignature v1; a witness.
    Cosignature,
}

impl SignatureType {
    const fn byte(self) -> u8 {
        match self {
            Self::Log => 0x01,
            Self::Cosignature => 0x04,
        }
    }
}

/// The first four bytes of SHA-256(name, newline, type, public key): an identifier, not a commitment.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct KeyId(pub [u8; 4]);

/// A named public key with its purpose. Text form (vkey): `name+hex key id+base64(type, key)`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct VerifierKey {
    name: Origin,
    signature_type: SignatureType,
    key: PublicKey,
}

/// One line under a note: who signed and the signature, not yet checked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SignatureLine {
    /// The key's name.
    pub name: Origin,
    /// The key's identifier.
    pub key_id: KeyId,
    /// Signature bytes; 64 for the log, 72 for a witness (8-byte time first).
    pub signature: Vec<u8>,
}

/// A note taken apart; nothing about it has been verified.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SignedNote {
    /// The signed text with its final newline.
    pub text: String,
    /// The signature lines in the order they stand.
    pub signatures: Vec<SignatureLine>,
}

/// Why bytes are not a signed note, a signature line or a verifier key.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum NoteError {
    /// Longer than [`MAX_NOTE_BYTES`].
    #[error("the note has {bytes} bytes; at most {MAX_NOTE_BYTES} are read")]
    TooLong {
        /// Its length.
        bytes: usize,
    },
    /// Not UTF-8, or with control characters other than newline.
    #[error("the note is not UTF-8 text free of control characters")]
    NotText,
    /// No blank line between text and signatures, or no final newline.
    #[error("the note has no blank line between text and signatures, or does not end with a newline")]
    Unseparated,
    /// A signature line of another form than `— name base64`.
    #[error("signature line {line} is not of the form '— name base64'")]
    BadSignatureLine {
        /// Counted from 1.
        line: usize,
    },
    /// Not `name+key id+base64`, or the key id does not belong to name and key.
    #[error("not a verifier key: expected name+hex key id+base64 of an Ed25519 key of type 1 or 4")]
    BadVerifierKey,
}

impl VerifierKey {
    /// Names `key` for `signature_type`.
    #[must_use]
    pub const fn new(name: Origin, signature_type: SignatureType, key: PublicKey) -> Self {
        Self { name, signature_type, key }
    }

    /// The key's name.
    #[must_use]
    pub const fn name(&self) -> &Origin {
        &self.name
    }

    /// What the key signs.
    #[must_use]
    pub const fn signature_type(&self) -> SignatureType {
        self.signature_type
    }

    /// The Ed25519 public key.
    #[must_use]
    pub const fn public(&self) -> &PublicKey {
        &self.key
    }

    /// The key id that signature lines carry.
    #[must_use]
    pub fn key_id(&self) -> KeyId {
        let name = self.name.as_str().as_bytes();
        let Hash([a, b, c, d, ..]) =
            Hash::of_parts(&[name, b"\n", &[self.signature_type.byte()], &self.key.0]);
        KeyId([a, b, c, d])
    }

    /// Whether a line claims to be by this key (same name and id); the signature may still be wrong.
    #[must_use]
    pub fn claims(&self, line: &SignatureLine) -> bool {
        self.name == line.name && self.key_id() == line.key_id
    }

    /// Signs a note text as the log; the line is deterministic.
    #[must_use]
    pub fn sign_note(&self, signer: &SigningKey, text: &str) -> SignatureLine {
        let signature = signer.sign(text.as_bytes()).to_vec();
        SignatureLine { name: self.name.clone(), key_id: self.key_id(), signature }
    }
}

impl fmt::Display for KeyId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write_hex(&self.0, f)
    }
}

impl fmt::Display for VerifierKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut material = vec![self.signature_type.byte()];
        material.extend(self.key.0);
        write!(f, "{}+{}+{}", self.name, self.key_id(), STANDARD.encode(material))
    }
}

impl FromStr for VerifierKey {
    type Err = NoteError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let (name, rest) = text.split_once('+').ok_or(NoteError::BadVerifierKey)?;
        let (id, material) = rest.split_once('+').ok_or(NoteError::BadVerifierKey)?;
        let name = name.parse().map_err(|_| NoteError::BadVerifierKey)?;
        let id = KeyId(decode_hex(id).ok_or(NoteError::BadVerifierKey)?);
        let material = STANDARD.decode(material).map_err(|_| NoteError::BadVerifierKey)?;
        let (kind, key) = material.split_first().ok_or(NoteError::BadVerifierKey)?;
        let signature_type = match kind {
            0x01 => SignatureType::Log,
            0x04 => SignatureType::Cosignature,
            _ => return Err(NoteError::BadVerifierKey),
        };
        let key = PublicKey(key.try_into().map_err(|_| NoteError::BadVerifierKey)?);
        let parsed = Self { name, signature_type, key };
        if parsed.key_id() == id { Ok(parsed) } else { Err(NoteError::BadVerifierKey) }
    }
}

impl fmt::Display for SignatureLine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut bytes = self.key_id.0.to_vec();
        bytes.extend(&self.signature);
        write!(f, "\u{2014} {} {}", self.name, STANDARD.encode(bytes))
    }
}

impl FromStr for SignatureLine {
    type Err = NoteError;

    /// Reads one line without its newline.
    fn from_str(line: &str) -> Result<Self, Self::Err> {
        let malformed = NoteError::BadSignatureLine { line: 1 };
        let rest = line.strip_prefix("\u{2014} ").ok_or_else(|| malformed.clone())?;
        let (name, signature) = rest.split_once(' ').ok_or_else(|| malformed.clone())?;
        let name = name.parse().map_err(|_| malformed.clone())?;
        let bytes = STANDARD.decode(signature).map_err(|_| malformed.clone())?;
        let (id, signature) = bytes.split_first_chunk::<4>().ok_or_else(|| malformed.clone())?;
        if signature.is_empty() {
            return Err(malformed);
        }
        Ok(Self { name, key_id: KeyId(*id), signature: signature.to_vec() })
    }
}

impl SignedNote {
    /// Takes a note apart. The text ends at the last blank line; at least one signature line must follow.
    ///
    /// # Errors
    /// [`NoteError`] saying what is malformed; no signature is checked.
    pub fn parse(bytes: &[u8]) -> Result<Self, NoteError> {
        if bytes.len() > MAX_NOTE_BYTES {
            return Err(NoteError::TooLong { bytes: bytes.len() });
        }
        let note = str::from_utf8(bytes).map_err(|_| NoteError::NotText)?;
        if note.contains(|c: char| c < ' ' && c != '\n') {
            return Err(NoteError::NotText);
        }
        let (text, lines) = note.rsplit_once("\n\n").ok_or(NoteError::Unseparated)?;
        let lines = lines.strip_suffix('\n').ok_or(NoteError::Unseparated)?;
        let signatures = lines
            .split('\n')
            .enumerate()
            .map(|(at, line)| line.parse().map_err(|_| NoteError::BadSignatureLine { line: at + 1 }))
            .collect::<Result<_, _>>()?;
        Ok(Self { text: format!("{text}\n"), signatures })
    }
}

impl fmt::Display for SignedNote {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{}", self.text)?;
        self.signatures.iter().try_for_each(|line| writeln!(f, "{line}"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The example of the signed-note specification, with the key from the Go note package's documentation tests.
    const GO_VKEY: &str = "PeterNeumann+c74f20a3+ARpc2QcUPDhMQegwxbzhKqiBfsVkmqq/LDE4izWy10TW";
    const GO_NOTE: &str = "If you think cryptography is the answer to your problem,\nthen you don't know what your problem is.\n\n\
        \u{2014} PeterNeumann x08go/ZJkuBS9UG/SffcvIAQxVBtiFupLLr8pAcElZInNIuGUgYN1FFYC2pZSNXgKvqfqdngotpRZb6KE6RyyBwJnAM=\n";

    #[test]
    fn verifies_the_note_of_the_go_implementation() {
        let key: VerifierKey = GO_VKEY.parse().unwrap();
        assert_eq!(key.to_string(), GO_VKEY);
        let note = SignedNote::parse(GO_NOTE.as_bytes()).unwrap();
        assert_eq!(note.to_string(), GO_NOTE);
        let [line] = note.signatures.as_slice() else { panic!("one signature") };
        assert!(key.claims(line));
        assert_eq!(key.public().verify(note.text.as_bytes(), &line.signature), Ok(()));
    }

    #[test]
    fn refuses_malformed_notes() {
        let without = |from: &str, to: &str| GO_NOTE.replace(from, to);
        for bad in [
            String::new(),
            without("\n\n", "\n"),
            without("\u{2014}", "-"),
            without("answer", "ans\rwer"),
            without("BwJnAM=\n", "BwJnAM="),
            without("BwJnAM=", "BwJnAN="),
            without("BwJnAM=", "BwJnA==="),
            format!("{GO_NOTE}\n"),
            "a\n\n".to_owned(),
            "a\n\n\n".to_owned(),
            "\n\n\u{2014} a AAA=\n".to_owned(),
        ] {
            assert!(SignedNote::parse(bad.as_bytes()).is_err(), "{bad:?}");
        }
        assert_eq!(SignedNote::parse(&[0xff, b'\n', b'\n']), Err(NoteError::NotText));
        let long = vec![b'a'; MAX_NOTE_BYTES + 1];
        assert_eq!(SignedNote::parse(&long), Err(NoteError::TooLong { bytes: long.len() }));
    }

    #[test]
    fn refuses_verifier_keys_whose_id_does_not_match() {
        for bad in [
            GO_VKEY.replace("c74f", "c74e"),
            GO_VKEY.replace("Peter", "Pieter"),
            GO_VKEY.replace("+ARpc", "+AhpC"),
            GO_VKEY.replace("c74f20a3", "C74F20A3"),
            "a+b".to_owned(),
            String::new(),
        ] {
            assert_eq!(bad.parse::<VerifierKey>(), Err(NoteError::BadVerifierKey), "{bad}");
        }
    }
}
