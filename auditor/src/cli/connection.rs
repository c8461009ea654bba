//! How to reach a gateway.

use std::path::PathBuf;
use std::time::Duration;

use clap::Args;

use super::CommandError;
use super::review::read;
use crate::client_key::ClientKey;
use crate::mirror::{Connection, GatewayClient};

/// The pause before the first retry.
const FIRST_PAUSE: Duration = Duration::from_millis(500);

/// How to reach a gateway.
#[derive(Debug, Args)]
pub(super) struct ConnectionArguments {
    /// PEM file of the certificate authorities to trust; without it, those of this machine.
    #[arg(long, value_name = "FILE")]
    ca: Option<PathBuf>,
    /// How often a request is made again when it fails or the gateway is busy.
    #[arg(long, value_name = "N", default_value_t = 5)]
    retries: u32,
}

impl ConnectionArguments {
    pub(super) fn client(
        &self,
        url: &str,
        client: &str,
        key: ClientKey,
    ) -> Result<GatewayClient, CommandError> {
        let ca = self.ca.as_deref().map(read).transpose()?;
        let (url, client) = (url.to_owned(), client.to_owned());
        Ok(GatewayClient::new(
            Connection { url, client, ca, retries: self.retries, pause: FIRST_PAUSE },
            key,
        )?)
    }
}
