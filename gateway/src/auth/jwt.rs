//! JSON Web Tokens with Ed25519 and nothing else (RFC 7515, RFC 8037): a `jsonwebtoken` backend on ring.
//!
//! Signatures only: what the claims must say is checked by [`super::assertion`] and [`super::tokens`], with the time
//! as an argument. The algorithm comes from the key, never from the token: `none`, HMAC with a public key as the
//! secret, and every other `alg` are refused before a signature is looked at.

use jsonwebtoken::crypto::{CryptoProvider, JwtSigner, JwtVerifier, KeyUtils};
use jsonwebtoken::errors::{Error as JwtError, ErrorKind, Result as JwtResult};
use jsonwebtoken::signature::{Error as SignatureError, Signer, Verifier};
use jsonwebtoken::{Algorithm, DecodingKey, EncodingKey, Header, Validation};
use ring::signature::{ED25519, Ed25519KeyPair, UnparsedPublicKey};
use serde::Serialize;
use serde::de::DeserializeOwned;

/// The longest token that is looked at, in bytes.
pub const MAX_TOKEN_BYTES: usize = 8 * 1024;

/// Why a token was not taken.
#[derive(Debug, thiserror::Error)]
pub enum TokenError {
    /// It is longer than [`MAX_TOKEN_BYTES`].
    #[error("it is longer than {MAX_TOKEN_BYTES} bytes")]
    TooLong,
    /// It is not signed with EdDSA.
    #[error("it must be signed with alg EdDSA (Ed25519), no other algorithm is taken")]
    Algorithm,
    /// It is not a JWT, or its claims are not those expected.
    #[error("it is not a well-formed JWT: {0}")]
    Malformed(String),
    /// The signature does not verify.
    #[error("its signature does not verify under the registered key")]
    Signature,
    /// It could not be made.
    #[error("the token could not be signed: {0}")]
    Signing(JwtError),
}

/// The header of a token, before its signature was checked: good for finding the key, for nothing else.
///
/// # Errors
/// [`TokenError`].
pub fn unverified_header(token: &str) -> Result<Header, TokenError> {
    if token.len() > MAX_TOKEN_BYTES {
        return Err(TokenError::TooLong);
    }
    let header = jsonwebtoken::decode_header(token).map_err(|error| {
        // An unknown `alg`, `none` included, does not parse at all.
        if matches!(error.kind(), ErrorKind::Json(_)) {
            TokenError::Algorithm
        } else {
            TokenError::Malformed(error.to_string())
        }
    })?;
    if header.alg == Algorithm::EdDSA { Ok(header) } else { Err(TokenError::Algorithm) }
}

/// The claims of a token signed by the Ed25519 key; their content is still to be checked.
///
/// # Errors
/// [`TokenError`].
pub fn verified_claims<T: DeserializeOwned + Clone>(token: &str, key: &[u8; 32]) -> Result<T, TokenError> {
    unverified_header(token)?;
    install();
    let mut validation = Validation::new(Algorithm::EdDSA);
    validation.required_spec_claims.clear();
    validation.validate_exp = false;
    validation.validate_aud = false;
    jsonwebtoken::decode::<T>(token, &DecodingKey::from_ed_der(key), &validation)
        .map(|decoded| decoded.claims)
        .map_err(|error| {
            if matches!(error.kind(), ErrorKind::InvalidSignature) {
                TokenError::Signature
            } else {
                TokenError::Malformed(error.to_string())
            }
        })
}

/// Signs claims with the Ed25519 key of a 32-byte seed.
///
/// # Errors
/// [`TokenError::Signing`].
pub fn signed(
    seed: &[u8; 32],
    typ: &str,
    kid: Option<&str>,
    claims: &impl Serialize,
) -> Result<String, TokenError> {
    install();
    let mut header = Header::new(Algorithm::EdDSA);
    header.typ = Some(typ.to_owned());
    header.kid = kid.map(str::to_owned);
    jsonwebtoken::encode(&header, claims, &EncodingKey::from_ed_der(seed)).map_err(TokenError::Signing)
}

static RING: CryptoProvider = CryptoProvider {
    signer_factory: ring_signer,
    verifier_factory: ring_verifier,
    key_utils: KeyUtils::new_unimplemented(),
};

fn install() {
    // The second and later calls find it installed.
    let _ = RING.install_default();
}

struct RingSigner(Ed25519KeyPair);

/// The key is a 32-byte RFC 8032 seed, not PKCS#8: the gateway keeps its keys as seeds.
fn ring_signer(algorithm: &Algorithm, key: &EncodingKey) -> JwtResult<Box<dyn JwtSigner>> {
    if *algorithm != Algorithm::EdDSA {
        return Err(ErrorKind::InvalidAlgorithm.into());
    }
    let pair = Ed25519KeyPair::from_seed_unchecked(key.as_bytes()).map_err(|_| ErrorKind::InvalidEddsaKey)?;
    Ok(Box::new(RingSigner(pair)))
}

impl Signer<Vec<u8>> for RingSigner {
    fn try_sign(&self, message: &[u8]) -> Result<Vec<u8>, SignatureError> {
        Ok(self.0.sign(message).as_ref().to_vec())
    }
}

impl JwtSigner for RingSigner {
    fn algorithm(&self) -> Algorithm {
        Algorithm::EdDSA
    }
}

struct RingVerifier(UnparsedPublicKey<Vec<u8>>);

fn ring_verifier(algorithm: &Algorithm, key: &DecodingKey) -> JwtResult<Box<dyn JwtVerifier>> {
    if *algorithm != Algorithm::EdDSA {
        return Err(ErrorKind::InvalidAlgorithm.into());
    }
    Ok(Box::new(RingVerifier(UnparsedPublicKey::new(&ED25519, key.try_get_as_bytes()?.to_vec()))))
}

impl Verifier<Vec<u8>> for RingVerifier {
    fn verify(&self, message: &[u8], signature: &Vec<u8>) -> Result<(), SignatureError> {
        self.0.verify(message, signature).map_err(|_| SignatureError::new())
    }
}

impl JwtVerifier for RingVerifier {
    fn algorithm(&self) -> Algorithm {
        Algorithm::EdDSA
    }
}

#[cfg(test)]
mod tests {
    use base64::Engine as _;
    use base64::engine::general_purpose::URL_SAFE_NO_PAD;
    use ring::signature::KeyPair;
    use serde_json::{Value, json};

    use super::*;

    fn public(seed: &[u8; 32]) -> [u8; 32] {
        Ed25519KeyPair::from_seed_unchecked(seed).unwrap().public_key().as_ref().try_into().unwrap()
    }

    fn with_header(token: &str, header: &Value) -> String {
        let rest = token.split_once('.').unwrap().1;
        format!("{}.{rest}", URL_SAFE_NO_PAD.encode(header.to_string()))
    }

    /// RFC 8037, appendix A.4 and A.5: the example JWS and its key.
    #[test]
    fn rfc_8037_example_verifies() {
        let x = URL_SAFE_NO_PAD.decode("11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo").unwrap();
        let signing_input = b"eyJhbGciOiJFZERTQSJ9.RXhhbXBsZSBvZiBFZDI1NTE5IHNpZ25pbmc";
        let signature = URL_SAFE_NO_PAD
            .decode("hgyY0il_MGCjP0JzlnLWG1PPOt7-09PGcvMg3AIbQR6dWbhijcNR4ki4iylGjg5BhVsPt9g7sVvpAr_MuM0KAg")
            .unwrap();
        let verifier = ring_verifier(&Algorithm::EdDSA, &DecodingKey::from_ed_der(&x)).unwrap();
        assert!(verifier.verify(signing_input, &signature).is_ok());
        assert!(verifier.verify(b"eyJhbGciOiJFZERTQSJ9.other", &signature).is_err());
    }

    #[test]
    fn claims_come_back_only_under_the_right_key() {
        let token = signed(&[1; 32], "JWT", Some("k"), &json!({"a": 1})).unwrap();
        assert_eq!(unverified_header(&token).unwrap().kid.as_deref(), Some("k"));
        assert_eq!(verified_claims::<Value>(&token, &public(&[1; 32])).unwrap(), json!({"a": 1}));
        let error = verified_claims::<Value>(&token, &public(&[2; 32])).unwrap_err();
        assert!(matches!(error, TokenError::Signature), "{error:?}");
    }

    #[test]
    fn other_algorithms_and_none_are_refused() {
        let token = signed(&[1; 32], "JWT", None, &json!({})).unwrap();
        for alg in ["none", "None", "HS256", "ES256", "RS256", "PS512", ""] {
            let forged = with_header(&token, &json!({"typ": "JWT", "alg": alg}));
            let error = verified_claims::<Value>(&forged, &public(&[1; 32])).unwrap_err();
            assert!(matches!(error, TokenError::Algorithm), "{alg}: {error:?}");
        }
        // HMAC keyed with the public key, correctly computed: alg confusion.
        let head = URL_SAFE_NO_PAD.encode(r#"{"alg":"HS256"}"#);
        let body = URL_SAFE_NO_PAD.encode("{}");
        let key = ring::hmac::Key::new(ring::hmac::HMAC_SHA256, &public(&[1; 32]));
        let tag = URL_SAFE_NO_PAD.encode(ring::hmac::sign(&key, format!("{head}.{body}").as_bytes()));
        let error = verified_claims::<Value>(&format!("{head}.{body}.{tag}"), &public(&[1; 32])).unwrap_err();
        assert!(matches!(error, TokenError::Algorithm));
    }

    #[test]
    fn what_is_no_token_is_refused() {
        for text in ["", ".", "..", "a.b.c", "é.é.é", &"a".repeat(MAX_TOKEN_BYTES + 1)] {
            assert!(verified_claims::<Value>(text, &[9; 32]).is_err(), "{text}");
        }
    }
}
