//! API clients and the keys that they sign with, by the entries so far.

use std::collections::BTreeMap;

use konclave_ledger::PublicKey;
use konclave_ledger::records::Record;
use rustls_pki_types::SubjectPublicKeyInfoDer;
use rustls_pki_types::pem::PemObject;

/// SubjectPublicKeyInfo of an Ed25519 key (RFC 8410) up to the key itself.
const ED25519_SPKI: [u8; 12] = [0x30, 0x2a, 0x30, 0x05, 0x06, 0x03, 0x2b, 0x65, 0x70, 0x03, 0x21, 0x00];

/// Who may sign what a client signs.
#[derive(Debug, Default)]
pub(crate) struct Clients {
    /// None: registered with a key that is not Ed25519.
    registered: BTreeMap<String, Option<PublicKey>>,
}

impl Clients {
    /// Takes in an entry; most are about something else.
    pub(crate) fn note(&mut self, record: &Record) {
        if let Record::ClientRegistered { client, public_key, .. } = record {
            self.registered.insert(client.clone(), ed25519_key(public_key));
        } else if let Record::ClientRevoked { client } = record {
            self.registered.remove(client);
        }
    }

    /// The key of a client that is registered and not revoked.
    pub(crate) fn key(&self, client: &str) -> Option<&PublicKey> {
        self.registered.get(client)?.as_ref()
    }
}

fn ed25519_key(pem: &str) -> Option<PublicKey> {
    let der = SubjectPublicKeyInfoDer::from_pem_slice(pem.as_bytes()).ok()?;
    let key = der.as_ref().strip_prefix(ED25519_SPKI.as_slice())?;
    Some(PublicKey(key.try_into().ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// RFC 8410, section 10.1.
    const PEM: &str = "-----BEGIN PUBLIC KEY-----\nMCowBQYDK2VwAyEAGb9ECWmEzf6FQbrBZ9w7lshQhqowtrbLDFw4rXAxZuE=\n-----END PUBLIC KEY-----\n";

    #[test]
    fn reads_ed25519_keys_only() {
        let key = "19bf44096984cdfe8541bac167dc3b96c85086aa30b6b6cb0c5c38ad703166e1";
        assert_eq!(ed25519_key(PEM), key.parse().ok());
        for bad in ["", "MCowBQYDK2VwAyEA", &PEM.replace("PUBLIC", "PRIVATE"), &PEM.replace("MCow", "MCox")] {
            assert_eq!(ed25519_key(bad), None, "{bad}");
        }
    }
}
