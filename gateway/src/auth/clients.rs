//! Partner clients: one JSON record each in the deployment's `clients` folder.
//!
//! The folder is read at every token request, so that a client added while the gateway runs is there at once, and a
//! removed one gets no further token.

use std::io;
use std::path::{Path, PathBuf};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use konclave_crypto::Digest;
use konclave_ledger::Hash;
use konclave_policies::authorization::Role;
use serde::{Deserialize, Serialize};
use x509_parser::prelude::FromDer;
use x509_parser::x509::SubjectPublicKeyInfo;

use crate::folder::{Access, replace};

/// Id of a partner client: 1 to 63 of a-z, 0-9, '-', '_' and '.', starting with a letter or digit.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct ClientId(String);

/// Text that is not a client id. Whoever wrote it corrects it.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("a client id is 1 to 63 of a-z, 0-9, '-', '_' and '.', starting with a letter or digit")]
pub struct ClientIdError;

impl ClientId {
    /// The id as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl TryFrom<String> for ClientId {
    type Error = ClientIdError;

    fn try_from(text: String) -> Result<Self, ClientIdError> {
        let start = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit();
        let ok = text.len() <= 63
            && text.bytes().next().is_some_and(start)
            && text.bytes().all(|byte| start(byte) || b"-_.".contains(&byte));
        if ok { Ok(Self(text)) } else { Err(ClientIdError) }
    }
}

impl std::str::FromStr for ClientId {
    type Err = ClientIdError;

    fn from_str(text: &str) -> Result<Self, ClientIdError> {
        Self::try_from(text.to_owned())
    }
}

impl From<ClientId> for String {
    fn from(id: ClientId) -> Self {
        id.0
    }
}

impl std::fmt::Display for ClientId {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.0)
    }
}

/// An Ed25519 public key read from a PEM `PUBLIC KEY` block (RFC 8410), the form that other tools write.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct ClientKey {
    key: [u8; 32],
    pem: String,
}

/// Why a public key was not taken. Whoever registers the client corrects the file.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ClientKeyError {
    /// The file holds a private key.
    #[error(
        "this is a private key; it stays with the client. Make the public one: openssl pkey -in FILE -pubout"
    )]
    Private,
    /// No PEM block of the right kind.
    #[error("no `-----BEGIN PUBLIC KEY-----` block found; make a key: openssl genpkey -algorithm ed25519")]
    NotPem,
    /// Another kind of key.
    #[error("the public key is not an Ed25519 key; make one: openssl genpkey -algorithm ed25519")]
    NotEd25519,
}

impl ClientKey {
    /// Reads a PEM file's text.
    ///
    /// # Errors
    /// [`ClientKeyError`].
    pub fn from_pem(text: &str) -> Result<Self, ClientKeyError> {
        if text.contains("PRIVATE KEY-----") {
            return Err(ClientKeyError::Private);
        }
        let (_, pem) =
            x509_parser::pem::parse_x509_pem(text.as_bytes()).map_err(|_| ClientKeyError::NotPem)?;
        if pem.label != "PUBLIC KEY" {
            return Err(ClientKeyError::NotPem);
        }
        let (rest, spki) =
            SubjectPublicKeyInfo::from_der(&pem.contents).map_err(|_| ClientKeyError::NotEd25519)?;
        let ed25519 = spki.algorithm.algorithm.to_id_string() == "1.3.101.112";
        let key = <[u8; 32]>::try_from(spki.subject_public_key.data.as_ref());
        match key {
            Ok(key) if ed25519 && rest.is_empty() => Ok(Self { key, pem: canonical_pem(&pem.contents) }),
            Ok(_) | Err(_) => Err(ClientKeyError::NotEd25519),
        }
    }

    /// The 32 bytes of the key.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8; 32] {
        &self.key
    }

    /// The digest of the key, whatever text it came in.
    #[must_use]
    pub fn digest(&self) -> Digest {
        Digest::of(&self.key)
    }

    /// As PEM.
    #[must_use]
    pub fn pem(&self) -> &str {
        &self.pem
    }
}

/// One text for one key: what stands around it in a file, or how its lines are broken, is not the key's.
fn canonical_pem(der: &[u8]) -> String {
    format!("-----BEGIN PUBLIC KEY-----\n{}\n-----END PUBLIC KEY-----", STANDARD.encode(der))
}

impl TryFrom<String> for ClientKey {
    type Error = ClientKeyError;

    fn try_from(text: String) -> Result<Self, ClientKeyError> {
        Self::from_pem(&text)
    }
}

impl From<ClientKey> for String {
    fn from(key: ClientKey) -> Self {
        key.pem
    }
}

/// A registered partner client.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Client {
    /// Its id: `iss` and `sub` of its assertions.
    pub client_id: ClientId,
    /// The organisation it acts for.
    pub organisation: String,
    /// The roles it may ask for; they are its scopes.
    pub roles: Vec<Role>,
    /// The commitment to the person who answers for it; the opening is in the deployment's folder until it is erased.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub contact: Option<Hash>,
    /// Whether its tokens must be bound to a client certificate (RFC 8705).
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub certificate_bound: bool,
    /// The key its assertions are signed with.
    pub public_key: ClientKey,
}

/// The folder of clients.
#[derive(Debug, Clone)]
pub struct Clients {
    folder: PathBuf,
}

impl Clients {
    /// The clients in a folder; nothing is read yet.
    #[must_use]
    pub fn new(folder: impl Into<PathBuf>) -> Self {
        Self { folder: folder.into() }
    }

    /// Finds a client.
    ///
    /// # Errors
    /// If its record cannot be read; a client that is not there is `None`.
    pub fn find(&self, id: &ClientId) -> io::Result<Option<Client>> {
        match std::fs::read(self.path(id)) {
            Ok(text) => parse(&text).map(Some),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// All clients, by id.
    ///
    /// # Errors
    /// If the folder or a record cannot be read.
    pub fn all(&self) -> io::Result<Vec<Client>> {
        let mut clients = Vec::new();
        for path in records(&self.folder)? {
            clients.push(parse(&std::fs::read(path)?)?);
        }
        Ok(clients)
    }

    /// Registers a client, or replaces its record.
    ///
    /// # Errors
    /// Those of the file system.
    pub fn put(&self, client: &Client) -> io::Result<()> {
        let text = serde_json::to_vec_pretty(client).map_err(io::Error::other)?;
        replace(&self.path(&client.client_id), &text, Access::Public)
    }

    fn path(&self, id: &ClientId) -> PathBuf {
        self.folder.join(format!("{id}.json"))
    }
}

fn parse(text: &[u8]) -> io::Result<Client> {
    serde_json::from_slice(text).map_err(io::Error::other)
}

/// The `.json` files of a folder, sorted by name; none if there is no folder.
pub(crate) fn records(folder: &Path) -> io::Result<Vec<PathBuf>> {
    let entries = match std::fs::read_dir(folder) {
        Ok(entries) => entries,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(error),
    };
    let mut paths = Vec::new();
    for entry in entries {
        let path = entry?.path();
        if path.extension().is_some_and(|extension| extension == "json") {
            paths.push(path);
        }
    }
    paths.sort();
    Ok(paths)
}

#[cfg(test)]
mod tests {
    use super::*;

    const ED25519: &str = "-----BEGIN PUBLIC KEY-----\n\
        MCowBQYDK2VwAyEAGb9ECWmEzf6FQbrBZ9w7lshQhqowtrbLDFw4rXAxZuE=\n\
        -----END PUBLIC KEY-----\n";

    /// The example key of RFC 8410, section 10.1.
    #[test]
    fn the_key_of_rfc_8410_is_read() {
        let key = ClientKey::from_pem(ED25519).unwrap();
        assert_eq!(
            hex::encode(key.as_bytes()),
            "19bf44096984cdfe8541bac167dc3b96c85086aa30b6b6cb0c5c38ad703166e1"
        );
    }

    #[test]
    fn other_keys_are_refused_with_advice() {
        let p256 = rcgen::KeyPair::generate().unwrap();
        assert_eq!(ClientKey::from_pem(&p256.public_key_pem()), Err(ClientKeyError::NotEd25519));
        assert_eq!(ClientKey::from_pem(&p256.serialize_pem()), Err(ClientKeyError::Private));
        assert_eq!(ClientKey::from_pem("hello"), Err(ClientKeyError::NotPem));
        assert!(ClientKeyError::Private.to_string().contains("openssl pkey"));
    }

    #[test]
    fn an_id_cannot_leave_the_folder() {
        for text in ["", "../x", "a/b", "A", ".hidden", "-x", &"a".repeat(64)] {
            assert!(text.parse::<ClientId>().is_err(), "{text}");
        }
        assert!("acme-dev_1.x".parse::<ClientId>().is_ok());
    }

    #[test]
    fn a_record_reads_back() {
        let folder = tempfile::tempdir().unwrap();
        let clients = Clients::new(folder.path());
        let client = Client {
            client_id: "acme".parse().unwrap(),
            organisation: "Acme".into(),
            roles: vec![Role::ModelDeveloper],
            public_key: ClientKey::from_pem(ED25519).unwrap(),
            contact: None,
            certificate_bound: true,
        };
        assert_eq!(clients.find(&client.client_id).unwrap(), None);
        clients.put(&client).unwrap();
        assert_eq!(clients.find(&client.client_id).unwrap(), Some(client.clone()));
        assert_eq!(clients.all().unwrap(), [client]);
    }
}
