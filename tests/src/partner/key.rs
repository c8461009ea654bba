//! A partner system's Ed25519 key and the assertions signed with it (RFC 7523, RFC 8037).

use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use ring::rand::{SecureRandom, SystemRandom};
use ring::signature::{Ed25519KeyPair, KeyPair};
use serde_json::{Value, json};

use crate::error::HarnessError;

/// The DER head of an Ed25519 SubjectPublicKeyInfo (RFC 8410, section 4); the 32 key bytes follow.
const SPKI_HEAD: [u8; 12] = [0x30, 0x2a, 0x30, 0x05, 0x06, 0x03, 0x2b, 0x65, 0x70, 0x03, 0x21, 0x00];

/// The key pair of one client.
pub struct ClientKey {
    client: String,
    pair: Ed25519KeyPair,
    public_file: PathBuf,
}

impl ClientKey {
    /// Makes a key pair: `<client>.pk8` (PKCS#8, private) and `<client>.pub.pem` in a folder.
    ///
    /// # Errors
    /// The file system's.
    pub fn generate(client: &str, folder: &Path) -> Result<Self, HarnessError> {
        fs::create_dir_all(folder).map_err(HarnessError::file("create", folder))?;
        let document = Ed25519KeyPair::generate_pkcs8(&SystemRandom::new())
            .map_err(|error| HarnessError::unexpected("the system's randomness", error))?;
        let private = folder.join(format!("{client}.pk8"));
        fs::write(&private, document.as_ref()).map_err(HarnessError::file("write", &private))?;
        let key = Self::load(client, folder)?;
        let mut spki = SPKI_HEAD.to_vec();
        spki.extend_from_slice(key.pair.public_key().as_ref());
        let pem =
            format!("-----BEGIN PUBLIC KEY-----\n{}\n-----END PUBLIC KEY-----\n", STANDARD.encode(spki));
        fs::write(&key.public_file, pem).map_err(HarnessError::file("write", &key.public_file))?;
        Ok(key)
    }

    /// Reads a key pair that was made before.
    ///
    /// # Errors
    /// If the file is not there or is no Ed25519 key.
    pub fn load(client: &str, folder: &Path) -> Result<Self, HarnessError> {
        let private = folder.join(format!("{client}.pk8"));
        let document = fs::read(&private).map_err(HarnessError::file("read", &private))?;
        let pair = Ed25519KeyPair::from_pkcs8(&document)
            .map_err(|error| HarnessError::unexpected(private.display().to_string(), error))?;
        Ok(Self { client: client.to_owned(), pair, public_file: folder.join(format!("{client}.pub.pem")) })
    }

    /// The public key's file (PEM).
    #[must_use]
    pub fn public_file(&self) -> PathBuf {
        self.public_file.clone()
    }

    /// The client's id.
    #[must_use]
    pub fn client(&self) -> &str {
        &self.client
    }

    /// A client assertion for one token request, good for two minutes.
    ///
    /// # Errors
    /// If the system has no randomness.
    pub fn assertion(&self, audience: &str) -> Result<String, HarnessError> {
        let mut nonce = [0; 16];
        SystemRandom::new()
            .fill(&mut nonce)
            .map_err(|error| HarnessError::unexpected("the system's randomness", error))?;
        let now = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |elapsed| elapsed.as_secs());
        Ok(self.sign(&json!({
            "iss": self.client, "sub": self.client, "aud": audience, "jti": hex::encode(nonce),
            "iat": now, "exp": now + Duration::from_secs(120).as_secs(),
        })))
    }

    /// A JWT with any claims: tests send wrong ones.
    #[must_use]
    pub fn sign(&self, claims: &Value) -> String {
        let header = json!({"alg": "EdDSA", "typ": "JWT"});
        let signed = format!(
            "{}.{}",
            URL_SAFE_NO_PAD.encode(header.to_string()),
            URL_SAFE_NO_PAD.encode(claims.to_string())
        );
        let signature = URL_SAFE_NO_PAD.encode(self.pair.sign(signed.as_bytes()));
        format!("{signed}.{signature}")
    }
}
