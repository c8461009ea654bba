//! `init`: makes a deployment in an empty folder.

use std::io::{self, Write};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use clap::Args;
use konclave_crypto::{ConsortiumRootKey, IdentityKey, MemberRole, Membership, SiteId, UnixSeconds};
use konclave_policies::rounds::RoundPolicy;
use time::OffsetDateTime;
use zeroize::Zeroizing;

use super::Dir;
use crate::config::{ConfigError, Settings};
use crate::folder::{Access, Folder, make_folder, write_new, write_seed};
use crate::tls::authority::{AuthorityError, Certified, new_authority, new_server};

/// How long the gateway's membership is good for: ten years, in seconds.
const GATEWAY_SECONDS: u64 = 3650 * 86_400;

/// Arguments of `init`.
#[derive(Debug, Args)]
pub struct Init {
    #[command(flatten)]
    dir: Dir,
    /// Where the gateway listens
    #[arg(long, value_name = "ADDRESS:PORT", default_value = "127.0.0.1:8443")]
    listen: SocketAddr,
    /// The ledger's origin line; it cannot be changed later
    #[arg(long, value_name = "NAME", default_value = "konclave.example/ledger")]
    origin: String,
    /// Names and IP addresses the gateway is reached by; the first one is in its URL
    #[arg(long, value_name = "HOST,...", value_delimiter = ',', default_value = "localhost,127.0.0.1")]
    host: Vec<String>,
    /// The legal entity that runs the gateway
    #[arg(long, value_name = "NAME", default_value = "Gateway operator")]
    operator: String,
}

/// Why no deployment was made.
#[derive(Debug, thiserror::Error)]
pub enum InitError {
    /// There is something in the folder.
    #[error("{path} is not empty; take a new folder, or remove what an interrupted `init` left there")]
    NotEmpty {
        /// The folder.
        path: PathBuf,
    },
    /// A file cannot be written.
    #[error("{path} cannot be written: {source}")]
    Write {
        /// The file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// A flag makes no usable configuration.
    #[error(transparent)]
    Settings(#[from] ConfigError),
    /// No host was given.
    #[error("--host needs at least one name or address")]
    NoHost,
    /// A certificate could not be made.
    #[error(transparent)]
    Authority(#[from] AuthorityError),
    /// The system has no randomness to give.
    #[error("the system gives no randomness: {0}")]
    Randomness(#[from] getrandom::Error),
    /// The gateway's own id does not parse, which would be a fault of this program.
    #[error(transparent)]
    Id(#[from] konclave_crypto::IdError),
    /// The gateway's certificate cannot be written as JSON.
    #[error(transparent)]
    Json(#[from] serde_json::Error),
    /// The output cannot be written.
    #[error("the output cannot be written: {0}")]
    Output(#[from] io::Error),
}

impl Init {
    /// Makes the deployment; `gateway.toml` comes last, so that a folder with it is complete.
    ///
    /// # Errors
    /// [`InitError`].
    pub fn run(&self, out: &mut impl Write) -> Result<(), InitError> {
        let first = self.host.first().ok_or(InitError::NoHost)?;
        let host = if first.contains(':') { format!("[{first}]") } else { first.clone() };
        let url = format!("https://{host}:{}", self.listen.port());
        let settings = Settings::new(self.listen, url, self.origin.clone());
        settings.check()?;
        let folder = self.dir.folder();
        require_empty(folder.path())?;
        for path in [
            folder.root_key(),
            folder.identity_key(),
            folder.tls_ca(),
            folder.rounds_policy(),
            folder.enrolments().join("-"),
            folder.clients().join("-"),
        ] {
            let parent = path.parent().unwrap_or(folder.path()).to_owned();
            make_folder(&parent).map_err(|source| InitError::Write { path: parent, source })?;
        }
        let root = write_keys(&folder, &self.operator)?;
        write_tls(&folder, &self.host)?;
        write(folder.rounds_policy(), RoundPolicy::EMBEDDED.as_bytes(), Access::Public)?;
        write(folder.config(), settings.to_toml().as_bytes(), Access::Public)?;
        let dir = folder.path().display();
        writeln!(
            out,
            "made a deployment in {dir}\n\
             consortium root  {root}\n\
             Keep consortium/root.key offline: whoever has it can enrol members. It is needed for `enrol` only.\n\
             next: konclave-gateway enrol --dir {dir} --request FILE --out FILE\n\
             then: konclave-gateway serve --dir {dir}"
        )?;
        Ok(())
    }
}

fn require_empty(path: &Path) -> Result<(), InitError> {
    match std::fs::read_dir(path) {
        Ok(mut entries) => match entries.next() {
            None => Ok(()),
            Some(_) => Err(InitError::NotEmpty { path: path.to_owned() }),
        },
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        Err(source) => Err(InitError::Write { path: path.to_owned(), source }),
    }
}

/// Draws all keys and certifies the gateway; the root's public key, for people.
fn write_keys(folder: &Folder, operator: &str) -> Result<String, InitError> {
    let root = ConsortiumRootKey::from_seed(seed()?);
    let identity = IdentityKey::from_seed(seed()?);
    let now = UnixSeconds(u64::try_from(OffsetDateTime::now_utc().unix_timestamp()).unwrap_or_default());
    let certificate = root.issue(Membership {
        site: "gateway".parse::<SiteId>()?,
        legal_entity: operator.to_owned(),
        role: MemberRole::Gateway,
        identity_key: identity.public(),
        witness_vkey: String::new(),
        serial: 1,
        not_before: now,
        not_after: UnixSeconds(now.get().saturating_add(GATEWAY_SECONDS)),
    });
    let public = root.root().0.to_string();
    write_key(folder.root_key(), root.seed())?;
    write(folder.root_public(), format!("{public}\n").as_bytes(), Access::Public)?;
    write(folder.serial(), b"1\n", Access::Public)?;
    write_key(folder.identity_key(), identity.seed())?;
    let text = serde_json::to_vec_pretty(&certificate)?;
    write(folder.gateway_certificate(), &text, Access::Public)?;
    write_key(folder.ledger_key(), &seed()?)?;
    // Two from the start: partners that cache the published keys learn to look for the kid.
    for number in 1..=2 {
        write_key(folder.keys().join(format!("token-{number}.key")), &seed()?)?;
    }
    Ok(public)
}

fn write_tls(folder: &Folder, hosts: &[String]) -> Result<(), InitError> {
    let now = OffsetDateTime::now_utc();
    let authority = new_authority("konclave TLS authority", now)?;
    let server = new_server(&authority, hosts, now)?;
    write_certified(folder.tls_ca(), folder.tls_ca_key(), &authority)?;
    write_certified(folder.tls_certificate(), folder.tls_key(), &server)
}

fn write_certified(certificate: PathBuf, key: PathBuf, made: &Certified) -> Result<(), InitError> {
    write(key, made.key.as_bytes(), Access::Secret)?;
    write(certificate, made.certificate.as_bytes(), Access::Public)
}

fn write(path: PathBuf, bytes: &[u8], access: Access) -> Result<(), InitError> {
    write_new(&path, bytes, access).map_err(|source| InitError::Write { path, source })
}

fn write_key(path: PathBuf, seed: &Zeroizing<[u8; 32]>) -> Result<(), InitError> {
    write_seed(&path, seed).map_err(|source| InitError::Write { path, source })
}

fn seed() -> Result<Zeroizing<[u8; 32]>, getrandom::Error> {
    let mut seed = Zeroizing::new([0; 32]);
    getrandom::fill(seed.as_mut())?;
    Ok(seed)
}
