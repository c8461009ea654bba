//! `client add`: registers a partner system. `client certify`: gives it a TLS client certificate, to bind its tokens to.

use std::io::{self, Write};
use std::path::PathBuf;

use clap::Args;
use konclave_ledger::Hash;
use konclave_ledger::openings::{Opening, OpeningError, Openings};
use konclave_policies::authorization::Role;
use time::OffsetDateTime;
use zeroize::Zeroizing;

use super::Dir;
use crate::auth::clients::{Client, ClientId, ClientKey, ClientKeyError, Clients};
use crate::config::{Config, ConfigError, Overrides};
use crate::folder::{Access, SecretError, replace};
use crate::revocation::{self, Revoked};
use crate::tls::authority::{AuthorityError, Certified, sign_client};

/// Arguments of `client add`.
#[derive(Debug, Args)]
pub struct Add {
    #[command(flatten)]
    dir: Dir,
    /// The client's id
    #[arg(long, value_name = "ID")]
    client_id: ClientId,
    /// The organisation it acts for
    #[arg(long, value_name = "NAME")]
    organisation: String,
    /// What it may act as; may be given several times
    #[arg(long, value_name = "ROLE", required = true, value_parser = client_role, help = ROLE_HELP)]
    role: Vec<Role>,
    /// Its Ed25519 public key, PEM: openssl genpkey -algorithm ed25519 -out client.key; openssl pkey -in client.key
    /// -pubout -out client.pub
    #[arg(long, value_name = "FILE")]
    public_key: PathBuf,
    /// The person who answers for it, name and address; the ledger holds a commitment only, and this can be erased
    #[arg(long, value_name = "TEXT")]
    contact: Option<String>,
    /// Give it tokens only over connections with its client certificate, and bind them to that certificate (see client certify)
    #[arg(long)]
    certificate_bound: bool,
}

/// Arguments of `client certify`.
#[derive(Debug, Args)]
pub struct Certify {
    #[command(flatten)]
    dir: Dir,
    /// The client's id
    #[arg(long, value_name = "ID")]
    client_id: ClientId,
    /// Its certificate request, PEM: openssl req -new -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -subj /CN=ID
    /// -keyout tls.key -out tls.csr
    #[arg(long, value_name = "FILE")]
    request: PathBuf,
    /// Where the certificate goes, PEM
    #[arg(long, value_name = "FILE")]
    out: PathBuf,
    /// How long it is good for
    #[arg(long, value_name = "DAYS", default_value_t = 90, value_parser = clap::value_parser!(u32).range(1..=825))]
    days: u32,
}

const ROLE_HELP: &str = "What it may act as: model-developer, auditor, operator, council or data-owner; may be given several times";

/// Roles that a certificate proves are no client's.
fn client_role(text: &str) -> Result<Role, String> {
    match text.parse::<Role>().map_err(|error| error.to_string())? {
        Role::Site | Role::Evaluator => {
            Err("sites and evaluators connect with certificates: konclave-gateway enrol".to_owned())
        }
        role @ (Role::Operator | Role::DataOwner | Role::ModelDeveloper | Role::Council | Role::Auditor) => {
            Ok(role)
        }
    }
}

/// Why a client was not registered.
#[derive(Debug, thiserror::Error)]
pub enum ClientError {
    /// A file cannot be read or written.
    #[error("{path}: {source}")]
    File {
        /// The file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// The key is not usable.
    #[error("{path}: {source}")]
    Key {
        /// The file.
        path: PathBuf,
        /// Why.
        source: ClientKeyError,
    },
    /// A member has the id, or the gateway itself.
    #[error(
        "`{id}` is the id of a member or of the gateway; the ledger could not tell them apart: choose another"
    )]
    IdInUse {
        /// The id.
        id: ClientId,
    },
    /// The organisation has no name.
    #[error("--organisation must be 1 to 200 bytes of text")]
    Organisation,
    /// The contact is too long, or cannot be stored.
    #[error("--contact: {0}")]
    Contact(#[from] OpeningError),
    /// No random bytes.
    #[error("the operating system gives no random bytes: {0}")]
    Random(#[from] getrandom::Error),
    /// The key was revoked.
    #[error("this key of `{id}` was revoked; register the client with another one")]
    Revoked {
        /// The client.
        id: ClientId,
    },
    /// No client has the id.
    #[error("no client `{id}` is registered; register it first: konclave-gateway client add")]
    Unknown {
        /// The id.
        id: ClientId,
    },
    /// The certificate cannot be signed.
    #[error(transparent)]
    Authority(#[from] AuthorityError),
    /// The TLS authority's files.
    #[error(transparent)]
    Secret(#[from] SecretError),
    /// The configuration is wrong.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// The output cannot be written.
    #[error("the output cannot be written: {0}")]
    Output(#[from] io::Error),
}

impl Add {
    /// The salt is drawn here and stays with the value: whoever reads the client's record learns nothing of the person.
    fn commit_contact(&self, openings: &Openings) -> Result<Option<Hash>, ClientError> {
        let Some(contact) = self.contact.as_deref().map(str::trim) else { return Ok(None) };
        let mut salt = Zeroizing::new([0; 32]);
        getrandom::fill(salt.as_mut())?;
        let opening = Opening::new(salt, contact)?;
        Ok(Some(openings.put(&opening)?))
    }

    /// Registers the client, or replaces its record.
    ///
    /// # Errors
    /// [`ClientError`].
    pub fn run(&self, out: &mut impl Write) -> Result<(), ClientError> {
        let config = Config::load(self.dir.folder(), &Overrides::default())?;
        let organisation = self.organisation.trim();
        if organisation.is_empty() || organisation.len() > 200 || organisation.chars().any(char::is_control) {
            return Err(ClientError::Organisation);
        }
        let member = config.folder.enrolments().join(format!("{}.json", self.client_id));
        if self.client_id.as_str() == "gateway" || member.exists() {
            return Err(ClientError::IdInUse { id: self.client_id.clone() });
        }
        let path = self.public_key.clone();
        let text = std::fs::read_to_string(&path)
            .map_err(|source| ClientError::File { path: path.clone(), source })?;
        let public_key = ClientKey::from_pem(&text).map_err(|source| ClientError::Key { path, source })?;
        let named = Revoked::Client { client: self.client_id.clone(), public_key: public_key.clone() };
        if named.is_recorded(&config.folder.revocations()) {
            return Err(ClientError::Revoked { id: self.client_id.clone() });
        }
        let revoked = revocation::read_all(&config.folder.revocations());
        let revoked =
            revoked.map_err(|source| ClientError::File { path: config.folder.revocations(), source })?;
        let is_sites = |of: &Revoked| matches!(of, Revoked::Site { site, .. } if site.as_str() == self.client_id.as_str());
        if revoked.iter().any(|known| is_sites(&known.of)) {
            return Err(ClientError::IdInUse { id: self.client_id.clone() });
        }
        let mut roles = self.role.clone();
        roles.sort_unstable();
        roles.dedup();
        let openings = Openings::at(&config.folder.openings());
        // Until the record names the opening, the gateway would take it for one that nobody can ask for.
        let _lock =
            openings.lock().map_err(|source| ClientError::File { path: config.folder.openings(), source })?;
        let client = Client {
            client_id: self.client_id.clone(),
            organisation: organisation.to_owned(),
            roles,
            public_key,
            contact: self.commit_contact(&openings)?,
            certificate_bound: self.certificate_bound,
        };
        let folder = config.folder.clients();
        Clients::new(&folder).put(&client).map_err(|source| ClientError::File { path: folder, source })?;
        let scopes = client.roles.iter().map(|role| role.name()).collect::<Vec<_>>().join(" ");
        writeln!(
            out,
            "registered {} of {} with the scopes: {scopes}\n\
             It gets tokens at {}/oauth/token with a JWT (alg EdDSA) signed by its key: iss = sub = {}, aud = {}, a \
             fresh jti, exp at most 300 s ahead.",
            client.client_id,
            client.organisation,
            config.settings.public_url,
            client.client_id,
            config.settings.public_url,
        )?;
        Ok(())
    }
}

impl Certify {
    /// Signs the request for the client's id.
    ///
    /// # Errors
    /// [`ClientError`].
    pub fn run(&self, out: &mut impl Write) -> Result<(), ClientError> {
        let config = Config::load(self.dir.folder(), &Overrides::default())?;
        let at = |path: &PathBuf, source| ClientError::File { path: path.clone(), source };
        let folder = config.folder.clients();
        let known = Clients::new(&folder).find(&self.client_id).map_err(|source| at(&folder, source))?;
        if known.is_none() {
            return Err(ClientError::Unknown { id: self.client_id.clone() });
        }
        let request = std::fs::read_to_string(&self.request).map_err(|source| at(&self.request, source))?;
        let authority = Certified::read_authority(&config.folder)?;
        let name = self.client_id.as_str();
        let signed = sign_client(&authority, &request, name, OffsetDateTime::now_utc(), self.days)?;
        let text = signed.certificate.as_bytes();
        replace(&self.out, text, Access::Public).map_err(|source| at(&self.out, source))?;
        writeln!(
            out,
            "{} is good for {} days. Tokens that {name} asks for with it are good over its connections only.",
            self.out.display(),
            self.days
        )?;
        Ok(())
    }
}
