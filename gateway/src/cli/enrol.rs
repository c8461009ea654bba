//! `enrol`: signs a member's request with the consortium root and the TLS authority.

use std::io::{self, Write};
use std::path::PathBuf;

use clap::{Args, ValueEnum};
use konclave_crypto::{
    ConsortiumRootKey, IdentityPublicKey, MemberRole, Membership, MembershipError, SiteId, UnixSeconds,
};
use konclave_ledger::note::{SignatureType, VerifierKey};
use konclave_ledger::{Origin, SigningKey};
use konclave_openapi::sites::{Enrolment, EnrolmentRequest};
use time::OffsetDateTime;

use super::Dir;
use crate::config::{Config, ConfigError, Overrides};
use crate::enrolment::{self, EnrolmentRecord};
use crate::folder::{Access, Folder, SecretError, read_seed, replace};
use crate::revocation::{self, Revoked};
use crate::serve::{ServeError, consortium_root};
use crate::tls::authority::{AuthorityError, Certified, sign_client};

/// The longest enrolment request, in bytes.
const MAX_REQUEST_BYTES: u64 = 64 << 10;

/// Arguments of `enrol`.
#[derive(Debug, Args)]
pub struct Enrol {
    #[command(flatten)]
    dir: Dir,
    /// The member's enrolment-request.json
    #[arg(long, value_name = "FILE")]
    request: PathBuf,
    /// Where to write the enrolment that goes back to the member
    #[arg(long, value_name = "FILE")]
    out: PathBuf,
    /// What the member is to be, as agreed with it; a request for something else is refused
    #[arg(long, value_enum, default_value_t = Role::Site)]
    role: Role,
    /// How many days the membership is good for
    #[arg(long, default_value_t = 365, value_parser = clap::value_parser!(u32).range(1..=3650))]
    days: u32,
    /// How many days the TLS certificate is good for; a running member renews it in half that time [default: `enrolment.tls_days` of gateway.toml]
    #[arg(long, value_parser = clap::value_parser!(u32).range(1..=3650))]
    tls_days: Option<u32>,
    /// Replace the keys or the legal entity of a member that is enrolled already
    #[arg(long)]
    renew: bool,
}

/// What a member can be.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Role {
    /// Trains on its own data
    Site,
    /// Measures models on benchmark data; reads every model
    Evaluator,
}

impl From<Role> for MemberRole {
    fn from(role: Role) -> Self {
        match role {
            Role::Site => Self::Site,
            Role::Evaluator => Self::Evaluator,
        }
    }
}

/// Why a member was not enrolled.
#[derive(Debug, thiserror::Error)]
pub enum EnrolError {
    /// A file cannot be read or written.
    #[error("{path}: {source}")]
    File {
        /// The file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// The request is not one.
    #[error("{path} is not an enrolment request: {detail}; ask the member to run `konclave-site init` again")]
    Malformed {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        detail: String,
    },
    /// The request was changed or is signed by another key.
    #[error(
        "the request is not signed by the identity key in it: it was changed on its way; ask for it again"
    )]
    Signature,
    /// The name or the role is not a member's.
    #[error("a member enrols as `site` or `evaluator`, and not under the name `gateway`")]
    Role,
    /// The request is for another role.
    #[error("{site} asks to be {asked}, not {wanted}; if that was agreed, enrol it with --role {asked}")]
    OtherRole {
        /// Who asks.
        site: SiteId,
        /// For what.
        asked: &'static str,
        /// What was said on the command line.
        wanted: &'static str,
    },
    /// The member has another role.
    #[error(
        "{site} is enrolled as {role}; a member does not change its role: it enrols anew under another name"
    )]
    RoleChange {
        /// The member.
        site: SiteId,
        /// Its role.
        role: &'static str,
    },
    /// The member is enrolled with other keys.
    #[error(
        "{site} is enrolled already, with other keys or for another legal entity; with --renew this request replaces it"
    )]
    Enrolled {
        /// The member.
        site: SiteId,
    },
    /// The identity key was revoked.
    #[error(
        "this key of `{site}` was revoked; the member draws other keys: konclave-site init in a new folder"
    )]
    Revoked {
        /// The member.
        site: SiteId,
    },
    /// Another member has a key of the request.
    #[error("the keys in this request are those of {other}; every member makes its own")]
    KeyInUse {
        /// The member that has it.
        other: SiteId,
    },
    /// The root key is another consortium's.
    #[error("consortium/root.key does not belong to consortium/root.pub; bring the right key")]
    OtherRoot,
    /// The new certificate does not verify, which would be a fault of this program.
    #[error("the new certificate does not verify: {0}")]
    Certificate(#[from] MembershipError),
    /// A client has or had the id.
    #[error("`{site}` is the id of a client, or was; the ledger could not tell them apart: choose another")]
    IdInUse {
        /// The id.
        site: SiteId,
    },
    /// The configuration is wrong.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// A key of the deployment cannot be read.
    #[error(transparent)]
    Secret(#[from] SecretError),
    /// A file of the deployment is damaged.
    #[error(transparent)]
    Deployment(#[from] ServeError),
    /// The TLS certificate could not be made.
    #[error(transparent)]
    Authority(#[from] AuthorityError),
    /// The configured origin is not usable.
    #[error(transparent)]
    Origin(#[from] konclave_ledger::OriginError),
    /// The enrolment cannot be written as JSON.
    #[error(transparent)]
    Json(#[from] serde_json::Error),
    /// The output cannot be written.
    #[error("the output cannot be written: {0}")]
    Output(#[from] io::Error),
}

impl Enrol {
    /// Signs the request and writes the enrolment; a running gateway takes the member in within two seconds.
    ///
    /// # Errors
    /// [`EnrolError`]; a serial number may be used up.
    pub fn run(&self, out: &mut impl Write) -> Result<(), EnrolError> {
        let config = Config::load(self.dir.folder(), &Overrides::default())?;
        let folder = &config.folder;
        let request = self.read_request()?;
        let replaces = self.check_known(folder, &request)?;
        let root = ConsortiumRootKey::from_seed(read_seed(&folder.root_key())?);
        if root.root() != consortium_root(folder)? {
            return Err(EnrolError::OtherRoot);
        }
        let now = OffsetDateTime::now_utc();
        let tls = sign_client(
            &Certified::read_authority(folder)?,
            &request.tls_request,
            request.site.as_str(),
            now,
            self.tls_days.unwrap_or(config.settings.enrolment.tls_days),
        )?;
        let others = file(folder.enrolments(), enrolment::read_all)?.into_iter();
        let mut others = others.filter(|known| known.certificate.membership.site != request.site);
        if let Some(other) = others.find(|known| known.tls_spki == tls.spki) {
            return Err(EnrolError::KeyInUse { other: other.certificate.membership.site });
        }
        let start = UnixSeconds(u64::try_from(now.unix_timestamp()).unwrap_or_default());
        let certificate = root.issue(Membership {
            site: request.site.clone(),
            legal_entity: request.legal_entity.clone(),
            role: request.role,
            identity_key: request.identity_key,
            witness_vkey: request.witness_vkey.clone(),
            serial: next_serial(folder)?,
            not_before: start,
            not_after: UnixSeconds(start.get().saturating_add(u64::from(self.days) * 86_400)),
        });
        root.root().verify(&certificate, start)?;
        let enrolment = Enrolment {
            certificate: certificate.clone(),
            tls_certificate: tls.certificate,
            tls_ca: file(folder.tls_ca(), |path| std::fs::read_to_string(path))?,
            consortium_root: root.root().0,
            gateway_url: config.settings.public_url.clone(),
            ledger_key: ledger_key(&config)?.to_string(),
        };
        let record = EnrolmentRecord {
            certificate,
            witness_vkey: request.witness_vkey.clone(),
            tls_spki: tls.spki,
            replaces,
        };
        let text = serde_json::to_vec_pretty(&enrolment)?;
        file(self.out.clone(), |path| replace(path, &text, Access::Public))?;
        file(folder.enrolments(), |path| enrolment::put(path, &record))?;
        writeln!(
            out,
            "enrolled {} ({}, {}) for {} days\n\
             fingerprint  {}\n\
             Compare the fingerprint with the one the member sees (by telephone, not by the same mail).\n\
             Send {} back to the member: konclave-site join --enrolment FILE",
            request.site,
            request.legal_entity,
            request.role.as_str(),
            self.days,
            request.fingerprint(),
            self.out.display()
        )?;
        Ok(())
    }

    fn read_request(&self) -> Result<EnrolmentRequest, EnrolError> {
        let malformed = |detail: String| EnrolError::Malformed { path: self.request.clone(), detail };
        let length = file(self.request.clone(), |path| std::fs::metadata(path))?.len();
        if length > MAX_REQUEST_BYTES {
            return Err(malformed(format!("it has {length} bytes")));
        }
        let text = file(self.request.clone(), |path| std::fs::read(path))?;
        let request: EnrolmentRequest =
            serde_json::from_slice(&text).map_err(|error| malformed(error.to_string()))?;
        if !request.is_signed() {
            return Err(EnrolError::Signature);
        }
        let wanted = MemberRole::from(self.role);
        if request.role != wanted && request.role != MemberRole::Gateway {
            let (asked, wanted) = (request.role.as_str(), wanted.as_str());
            return Err(EnrolError::OtherRole { site: request.site, asked, wanted });
        }
        if request.role == MemberRole::Gateway || request.site.as_str() == "gateway" {
            return Err(EnrolError::Role);
        }
        let entity = &request.legal_entity;
        if entity.trim().is_empty() || entity.len() > 200 || entity.chars().any(char::is_control) {
            return Err(malformed("legal_entity must be 1 to 200 bytes of text".to_owned()));
        }
        let witness = request
            .witness_vkey
            .parse::<VerifierKey>()
            .map_err(|error| malformed(format!("witness_vkey: {error}")))?;
        if witness.signature_type() != SignatureType::Cosignature {
            return Err(malformed("witness_vkey is not a key of cosignatures".to_owned()));
        }
        Ok(request)
    }

    /// The identity keys of the record that this request replaces.
    fn check_known(
        &self,
        folder: &Folder,
        request: &EnrolmentRequest,
    ) -> Result<Vec<IdentityPublicKey>, EnrolError> {
        for revoked in file(folder.revocations(), revocation::read_all)? {
            if revoked.of.identity_keys().contains(&request.identity_key) {
                return Err(EnrolError::Revoked { site: request.site.clone() });
            }
            if matches!(&revoked.of, Revoked::Client { client, .. } if client.as_str() == request.site.as_str())
            {
                return Err(EnrolError::IdInUse { site: request.site.clone() });
            }
        }
        let client = folder.clients().join(format!("{}.json", request.site));
        if client.exists() {
            return Err(EnrolError::IdInUse { site: request.site.clone() });
        }
        let mut replaces = Vec::new();
        for known in file(folder.enrolments(), enrolment::read_all)? {
            let membership = &known.certificate.membership;
            let same_key = membership.identity_key == request.identity_key;
            if membership.site != request.site {
                let name = |vkey: &str| vkey.split_once('+').map(|(name, _)| name.to_owned());
                // Cosignatures are counted by the name of their key.
                if same_key || name(&known.witness_vkey) == name(&request.witness_vkey) {
                    return Err(EnrolError::KeyInUse { other: membership.site.clone() });
                }
            } else if !self.renew && (!same_key || membership.legal_entity != request.legal_entity) {
                return Err(EnrolError::Enrolled { site: membership.site.clone() });
            } else if membership.role != request.role {
                let (site, role) = (membership.site.clone(), membership.role.as_str());
                return Err(EnrolError::RoleChange { site, role });
            } else {
                replaces.clone_from(&known.replaces);
                replaces.extend((!same_key).then_some(membership.identity_key));
            }
        }
        Ok(replaces)
    }
}

fn file<T>(path: PathBuf, act: impl FnOnce(&std::path::Path) -> io::Result<T>) -> Result<T, EnrolError> {
    act(&path).map_err(|source| EnrolError::File { path, source })
}

/// The next serial number; noted before it is used, so that none is used twice.
fn next_serial(folder: &Folder) -> Result<u64, EnrolError> {
    let path = folder.serial();
    let text = file(path.clone(), |path| std::fs::read_to_string(path))?;
    let last: u64 = text
        .trim()
        .parse()
        .map_err(|_| ServeError::Damaged { path: path.clone(), detail: "it holds no number".to_owned() })?;
    let next = last.saturating_add(1);
    file(path, |path| replace(path, format!("{next}\n").as_bytes(), Access::Public))?;
    Ok(next)
}

/// The verification key of the ledger's checkpoints.
fn ledger_key(config: &Config) -> Result<VerifierKey, EnrolError> {
    let origin: Origin = config.settings.origin.parse()?;
    let seed = read_seed(&config.folder.ledger_key())?;
    Ok(VerifierKey::new(origin, SignatureType::Log, SigningKey::from_seed(&seed).public()))
}
