//! The gateway's own certificate: another one from the deployment's authority, over another key.
//!
//! Two files change, and the gateway may start or look at any moment: the new key is first put in front of the old one in
//! the key's file, then the certificate is replaced, then the old key goes. At each moment one key of the file fits.

use std::io;
use std::net::IpAddr;
use std::path::PathBuf;

use time::OffsetDateTime;
use x509_parser::extensions::GeneralName;
use x509_parser::prelude::{FromDer, X509Certificate};
use zeroize::Zeroizing;

use super::authority::{AuthorityError, Certified, new_server};
use super::{TlsError, certificates};
use crate::folder::{Access, Folder, SecretError, read_secret, replace};

/// Why the gateway's certificate was not renewed. The old one stays.
#[derive(Debug, thiserror::Error)]
pub enum RenewalError {
    /// The old certificate cannot be read.
    #[error(transparent)]
    Old(#[from] TlsError),
    /// The old certificate names no host.
    #[error("{path} names no host; give the names with --host")]
    NoHost {
        /// The file.
        path: PathBuf,
    },
    /// The authority's key or the old key cannot be read.
    #[error(transparent)]
    Secret(#[from] SecretError),
    /// The new certificate could not be made.
    #[error(transparent)]
    Authority(#[from] AuthorityError),
    /// A file cannot be written.
    #[error("{path}: {source}")]
    Write {
        /// The file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
}

/// The names and the time of a certificate.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Shown {
    /// Host names and IP addresses.
    pub hosts: Vec<String>,
    /// Its first moment.
    pub not_before: OffsetDateTime,
    /// Its last moment.
    pub not_after: OffsetDateTime,
}

impl Shown {
    /// Of the certificate that the gateway shows now.
    ///
    /// # Errors
    /// [`TlsError`].
    pub fn read(folder: &Folder) -> Result<Self, TlsError> {
        let path = folder.tls_certificate();
        let unreadable =
            |detail: &str| TlsError::Certificate { path: path.clone(), detail: detail.to_owned() };
        let chain = certificates(path.clone())?;
        let der = chain.first().ok_or_else(|| unreadable("it holds none"))?;
        let (_, parsed) = X509Certificate::from_der(der).map_err(|_| unreadable("it is no certificate"))?;
        let names = parsed.subject_alternative_name().ok().flatten();
        let names = names.map(|extension| extension.value.general_names.as_slice()).unwrap_or_default();
        Ok(Self {
            hosts: names.iter().filter_map(host).collect(),
            not_before: parsed.validity().not_before.to_datetime(),
            not_after: parsed.validity().not_after.to_datetime(),
        })
    }

    /// Whether half of its life is over.
    #[must_use]
    pub fn is_half_over(&self, now: OffsetDateTime) -> bool {
        now >= self.not_before + (self.not_after - self.not_before) / 2
    }
}

fn host(name: &GeneralName<'_>) -> Option<String> {
    match name {
        GeneralName::DNSName(name) => Some((*name).to_owned()),
        GeneralName::IPAddress(bytes) => {
            let four = <[u8; 4]>::try_from(*bytes).map(IpAddr::from).ok();
            let address = four.or_else(|| <[u8; 16]>::try_from(*bytes).map(IpAddr::from).ok());
            address.map(|address| address.to_string())
        }
        GeneralName::OtherName(..)
        | GeneralName::RFC822Name(_)
        | GeneralName::X400Address(_)
        | GeneralName::DirectoryName(_)
        | GeneralName::EDIPartyName(_)
        | GeneralName::URI(_)
        | GeneralName::RegisteredID(_)
        | GeneralName::Invalid(..) => None,
    }
}

/// Replaces the gateway's certificate and key, for the same hosts unless others are given; what is shown from now on.
///
/// # Errors
/// [`RenewalError`].
pub fn renew_server(folder: &Folder, hosts: &[String], now: OffsetDateTime) -> Result<Shown, RenewalError> {
    let old = Shown::read(folder)?;
    let hosts = if hosts.is_empty() { old.hosts.as_slice() } else { hosts };
    if hosts.is_empty() {
        return Err(RenewalError::NoHost { path: folder.tls_certificate() });
    }
    let new = new_server(&Certified::read_authority(folder)?, hosts, now)?;
    let mut both = Zeroizing::new(new.key.as_bytes().to_vec());
    both.push(b'\n');
    both.extend_from_slice(&read_secret(&folder.tls_key())?);
    write(folder.tls_key(), &both, Access::Secret)?;
    write(folder.tls_certificate(), new.certificate.as_bytes(), Access::Public)?;
    write(folder.tls_key(), new.key.as_bytes(), Access::Secret)?;
    Ok(Shown::read(folder)?)
}

fn write(path: PathBuf, bytes: &[u8], access: Access) -> Result<(), RenewalError> {
    replace(&path, bytes, access).map_err(|source| RenewalError::Write { path, source })
}
