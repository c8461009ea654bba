//! `tls renew`: another certificate for the gateway.

use std::io::{self, Write};

use clap::Args;
use time::OffsetDateTime;

use super::Dir;
use crate::tls::renewal::{RenewalError, renew_server};

/// Arguments of `tls renew`.
#[derive(Debug, Args)]
pub struct Renew {
    #[command(flatten)]
    dir: Dir,
    /// A host name or IP address by which clients reach the gateway, repeatable [default: those of the present certificate]
    #[arg(long, value_name = "NAME")]
    host: Vec<String>,
}

/// Why the certificate was not renewed.
#[derive(Debug, thiserror::Error)]
pub enum RenewError {
    /// The certificate or its files.
    #[error(transparent)]
    Renewal(#[from] RenewalError),
    /// The output cannot be written.
    #[error("the output cannot be written: {0}")]
    Output(#[from] io::Error),
}

impl Renew {
    /// Makes the certificate.
    ///
    /// # Errors
    /// [`RenewError`].
    pub fn run(&self, out: &mut impl Write) -> Result<(), RenewError> {
        let shown = renew_server(&self.dir.folder(), &self.host, OffsetDateTime::now_utc())?;
        writeln!(
            out,
            "the gateway's certificate for {} is good until {}; a running gateway shows it within two seconds, and no \
             connection breaks",
            shown.hosts.join(", "),
            shown.not_after.date()
        )?;
        Ok(())
    }
}
