//! DSSE envelopes (Dead Simple Signing Envelope v1): the form in which a site signs a statement.

use std::fmt;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde::{Deserialize, Serialize};

use crate::hash::Hash;
use crate::keys::{PublicKey, SigningKey};

/// Largest envelope that is read, in bytes.
pub const MAX_ENVELOPE_BYTES: usize = 4 * 1024 * 1024;

/// A signed payload. Field names are those of the DSSE specification; the stored file is its canonical JSON.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
pub struct Envelope {
    /// Standard base64 of the signed payload.
    pub payload: String,
    /// Media type of the payload; part of the signed bytes.
    #[serde(rename = "payloadType")]
    pub payload_type: String,
    /// One or more signatures.
    pub signatures: Vec<EnvelopeSignature>,
}

/// One signature under an envelope.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
pub struct EnvelopeSignature {
    /// Hint which key signed: SHA-256 of the public key in hex. Not authenticated, never used to choose a key.
    pub keyid: String,
    /// Standard base64 of the Ed25519 signature over the pre-authentication encoding.
    pub sig: String,
}

/// Why an envelope is not accepted.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum DsseError {
    /// Not JSON of the right shape, not canonical, or too long.
    #[error("the envelope is not canonical DSSE JSON of at most {MAX_ENVELOPE_BYTES} bytes")]
    Malformed,
    /// The payload isn't standard base64.
    #[error("the envelope's payload is not standard base64")]
    BadPayload,
    /// The payload has another type than the reader expects.
    #[error("the envelope holds {found}, expected {expected}")]
    WrongType {
        /// What the reader wants.
        expected: String,
        /// What the envelope says.
        found: String,
    },
    /// No signature by the key.
    #[error("no signature in the envelope is by the key {key}")]
    BadSignature {
        /// The expected signer.
        key: PublicKey,
    },
}

/// PAE of the DSSE specification: `DSSEv1 len(type) type len(payload) payload`, lengths in ASCII decimal.
#[must_use]
pub fn pre_authentication_encoding(payload_type: &str, payload: &[u8]) -> Vec<u8> {
    let mut out = format!("DSSEv1 {} {payload_type} {} ", payload_type.len(), payload.len()).into_bytes();
    out.extend(payload);
    out
}

/// Signs `payload` with the Ed25519 key of `seed`.
#[must_use]
pub fn sign(seed: &[u8; 32], payload_type: &str, payload: &[u8]) -> Envelope {
    let key = SigningKey::from_seed(seed);
    let signature = key.sign(&pre_authentication_encoding(payload_type, payload));
    Envelope {
        payload: STANDARD.encode(payload),
        payload_type: payload_type.to_owned(),
        signatures: vec![EnvelopeSignature {
            keyid: Hash::of(&key.public().0).to_string(),
            sig: STANDARD.encode(signature),
        }],
    }
}

impl Envelope {
    /// Reads a stored envelope; only the canonical bytes that [`Envelope::to_bytes`] writes are accepted.
    ///
    /// # Errors
    /// [`DsseError::Malformed`].
    pub fn parse(bytes: &[u8]) -> Result<Self, DsseError> {
        if bytes.len() > MAX_ENVELOPE_BYTES {
            return Err(DsseError::Malformed);
        }
        let parsed: Self = serde_json::from_slice(bytes).map_err(|_| DsseError::Malformed)?;
        if parsed.to_bytes() == bytes { Ok(parsed) } else { Err(DsseError::Malformed) }
    }

    /// The RFC 8785 bytes: what is stored and what [`Envelope::digest`] covers.
    #[must_use]
    pub fn to_bytes(&self) -> Vec<u8> {
        #[expect(clippy::expect_used, reason = "strings and lists of strings always encode")]
        serde_json_canonicalizer::to_vec(self).expect("strings encode")
    }

    /// SHA-256 of the canonical JSON; names the statement in an entry and its file in `statements/`.
    #[must_use]
    pub fn digest(&self) -> Hash {
        Hash::of(&self.to_bytes())
    }

    /// Checks that `key` signed, and gives the payload.
    ///
    /// # Errors
    /// [`DsseError::BadPayload`], or [`DsseError::BadSignature`] if no signature is by `key`.
    pub fn verify(&self, key: &PublicKey) -> Result<Vec<u8>, DsseError> {
        let payload = STANDARD.decode(&self.payload).map_err(|_| DsseError::BadPayload)?;
        let signed = pre_authentication_encoding(&self.payload_type, &payload);
        let by_key = |signature: &EnvelopeSignature| {
            STANDARD.decode(&signature.sig).is_ok_and(|bytes| key.verify(&signed, &bytes).is_ok())
        };
        if self.signatures.iter().any(by_key) {
            Ok(payload)
        } else {
            Err(DsseError::BadSignature { key: *key })
        }
    }

    /// The payload without any check; for display only.
    ///
    /// # Errors
    /// [`DsseError::BadPayload`].
    pub fn unverified_payload(&self) -> Result<Vec<u8>, DsseError> {
        STANDARD.decode(&self.payload).map_err(|_| DsseError::BadPayload)
    }
}

impl fmt::Debug for Envelope {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Envelope({} {}, {} signatures)", self.payload_type, self.digest(), self.signatures.len())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn encodes_the_specification_example() {
        let pae = pre_authentication_encoding("http://example.com/HelloWorld", b"hello world");
        assert_eq!(pae, b"DSSEv1 29 http://example.com/HelloWorld 11 hello world");
        assert_eq!(pre_authentication_encoding("", b""), b"DSSEv1 0  0 ");
    }

    #[test]
    fn verifies_only_type_payload_and_key_together() {
        let seed = [5; 32];
        let key = SigningKey::from_seed(&seed).public();
        let envelope = sign(&seed, "application/x", b"payload");
        assert_eq!(Envelope::parse(&envelope.to_bytes()), Ok(envelope.clone()));
        assert_eq!(envelope.verify(&key), Ok(b"payload".to_vec()));
        let other = SigningKey::from_seed(&[6; 32]).public();
        assert_eq!(envelope.verify(&other), Err(DsseError::BadSignature { key: other }));
        let retyped = Envelope { payload_type: "application/y".into(), ..envelope.clone() };
        assert_eq!(retyped.verify(&key), Err(DsseError::BadSignature { key }));
        let changed = Envelope { payload: STANDARD.encode("Payload"), ..envelope.clone() };
        assert_eq!(changed.verify(&key), Err(DsseError::BadSignature { key }));
        let broken = Envelope { payload: "*".into(), ..envelope.clone() };
        assert_eq!(broken.verify(&key), Err(DsseError::BadPayload));
        let unsigned = Envelope { signatures: vec![], ..envelope };
        assert_eq!(unsigned.verify(&key), Err(DsseError::BadSignature { key }));
    }

    #[test]
    fn refuses_other_json() {
        let good = String::from_utf8(sign(&[5; 32], "t", b"p").to_bytes()).unwrap();
        for bad in [
            good.replace(':', ": "),
            good.replace("{\"payload\"", "{\"extra\":1,\"payload\""),
            format!("{good} "),
            "{}".to_owned(),
            String::new(),
        ] {
            assert_eq!(Envelope::parse(bad.as_bytes()), Err(DsseError::Malformed), "{bad}");
        }
    }
}
