//! The Ed25519 key of an API client: a PKCS#8 file in PEM (RFC 8410), as `openssl genpkey -algorithm ed25519` writes it.

use std::fmt;

use konclave_ledger::{PublicKey, SigningKey};
use rustls_pki_types::PrivatePkcs8KeyDer;
use rustls_pki_types::pem::PemObject;
use zeroize::Zeroizing;

/// What follows the version in a PKCS#8 file: the algorithm id-Ed25519, and the seed as an octet string in an octet
/// string.
const ALGORITHM: [u8; 11] = [0x30, 0x05, 0x06, 0x03, 0x2b, 0x65, 0x70, 0x04, 0x22, 0x04, 0x20];

/// A client's signing key. The seed is erased when it goes.
pub struct ClientKey(Zeroizing<[u8; 32]>);

/// Text that is no such key.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error(
    "this is no Ed25519 private key in PEM (`-----BEGIN PRIVATE KEY-----`); make one: openssl genpkey -algorithm ed25519"
)]
pub struct ClientKeyError;

impl ClientKey {
    /// Reads a PEM file's text.
    ///
    /// # Errors
    /// [`ClientKeyError`].
    pub fn from_pem(text: &[u8]) -> Result<Self, ClientKeyError> {
        let der = PrivatePkcs8KeyDer::from_pem_slice(text).map_err(|_| ClientKeyError)?;
        let bytes = der.secret_pkcs8_der();
        let (head, rest) = bytes.split_first_chunk::<5>().ok_or(ClientKeyError)?;
        let rest = rest.strip_prefix(ALGORITHM.as_slice()).ok_or(ClientKeyError)?;
        let (seed, rest) = rest.split_first_chunk::<32>().ok_or(ClientKeyError)?;
        let key = Self(Zeroizing::new(*seed));
        let length = u8::try_from(bytes.len().saturating_sub(2)).map_err(|_| ClientKeyError)?;
        let fits = match *head {
            [0x30, said, 0x02, 0x01, 0x00] => said == length && rest.is_empty(),
            // Version 2 holds the public key too, in one of two spellings.
            [0x30, said, 0x02, 0x01, 0x01] => {
                let public = [&[0x81, 0x21, 0x00], &[0xa1, 0x23, 0x03, 0x21, 0x00][..]]
                    .into_iter()
                    .find_map(|tag| rest.strip_prefix(tag));
                said == length && public == Some(key.public().0.as_slice())
            }
            _ => false,
        };
        if fits { Ok(key) } else { Err(ClientKeyError) }
    }

    /// The public half, which the gateway has registered.
    #[must_use]
    pub fn public(&self) -> PublicKey {
        SigningKey::from_seed(&self.0).public()
    }

    /// The seed, for signing statements.
    pub(crate) fn seed(&self) -> &[u8; 32] {
        &self.0
    }
}

impl fmt::Debug for ClientKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "ClientKey(public {}, secret not shown)", self.public())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// RFC 8410, section 10.3: version 1, and version 2 without attributes (as ring writes it).
    const V1: &str = "-----BEGIN PRIVATE KEY-----\nMC4CAQAwBQYDK2VwBCIEINTuctv5E1hK1bbY8fdp+K06/nwoy/HU++CXqI9EdVhC\n-----END PRIVATE KEY-----\n";

    #[test]
    fn reads_what_openssl_writes_and_nothing_else() {
        let key = ClientKey::from_pem(V1.as_bytes()).unwrap();
        let public = "19bf44096984cdfe8541bac167dc3b96c85086aa30b6b6cb0c5c38ad703166e1";
        assert_eq!(key.public().to_string(), public);
        assert!(!format!("{key:?}").contains("1NRy"));
        for bad in [
            String::new(),
            V1.replace("PRIVATE", "PUBLIC"),
            V1.replace("MC4C", "MC8C"),
            V1.replace("2VwB", "2VxB"),
            V1.replace("AQAw", "AQEw"),
            V1.replace(
                "MC4CAQAwBQYDK2VwBCIEINTuctv5E1hK1bbY8fdp+K06/nwoy/HU++CXqI9EdVhC",
                "MC4CAQAwBQYDK2Vw",
            ),
        ] {
            assert_eq!(ClientKey::from_pem(bad.as_bytes()).err(), Some(ClientKeyError), "{bad}");
        }
    }
}
