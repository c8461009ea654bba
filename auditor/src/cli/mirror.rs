//! `mirror`.

use std::io::Write;
use std::path::PathBuf;

use clap::Args;
use konclave_crypto::{ConsortiumRoot, IdentityPublicKey};
use konclave_ledger::VerifierKey;

use super::connection::ConnectionArguments;
use super::review::read_key;
use super::{CommandError, SOUND};
use crate::mirror::{MirrorOptions, mirror};
use crate::progress;

/// Copy a gateway's ledger over HTTPS, or bring a copy up to date.
///
/// Fetches what the copy lacks, and checks that the copy is a beginning of the gateway's ledger before anything of it
/// changes. A rollback or a fork leaves the copy as it was, keeps the gateway's checkpoint as evidence beside it, and
/// exits with 2. An interrupted run is continued by the next one. Run `verify` on the copy afterwards.
#[derive(Debug, Args)]
#[command(
    after_help = "Example: konclave-audit mirror https://gateway.example:8443 copy --client qa-audit --key \
                        qa-audit.key --ca ca.pem"
)]
pub(super) struct Arguments {
    /// The gateway, https://HOST[:PORT].
    url: String,
    /// The copy; it is made if it is not there.
    folder: PathBuf,
    /// The id of the API client, whose role must be auditor.
    #[arg(long, value_name = "ID")]
    client: String,
    /// The client's Ed25519 private key (PEM, PKCS#8).
    #[arg(long, value_name = "FILE")]
    key: PathBuf,
    #[command(flatten)]
    connection: ConnectionArguments,
    /// The log's verifier key (vkey), known from elsewhere. Without it, the key that the log itself publishes is used.
    #[arg(long, value_name = "VKEY")]
    log_key: Option<VerifierKey>,
    /// The consortium root's public key (64 hexadecimal characters), known from elsewhere.
    #[arg(long)]
    root: Option<IdentityPublicKey>,
    /// Print nothing if all is well, and no progress.
    #[arg(long)]
    quiet: bool,
}

impl Arguments {
    pub(super) fn run(self, out: &mut dyn Write) -> Result<u8, CommandError> {
        let key = read_key(&self.key)?;
        let mut client = self.connection.client(&self.url, &self.client, key)?;
        let options = MirrorOptions { key: self.log_key, root: self.root.map(ConsortiumRoot) };
        let bar = progress::files(self.quiet);
        let done = mirror(&mut client, &self.folder, &options, &mut |done, total| {
            bar.set_length(total);
            bar.set_position(done);
        })?;
        bar.finish_and_clear();
        if !self.quiet {
            let (before, size) = (done.before, done.size);
            writeln!(
                out,
                "{}: {size} entries, {} new; {} files fetched, {} bytes",
                self.folder.display(),
                size - before,
                done.fetched,
                done.bytes
            )?;
        }
        Ok(SOUND)
    }
}
