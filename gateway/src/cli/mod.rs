//! The command line: make a deployment, enrol members, register clients, serve.

pub mod check;
pub mod client;
pub mod enrol;
pub mod init;
pub mod ledger;
pub mod revoke;
pub mod tls;
pub mod token;

use std::error::Error;
use std::io::{self, IsTerminal, Write};
use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Args, Parser, Subcommand};
use tracing_subscriber::EnvFilter;

use crate::config::{Config, ConfigError, Overrides};
use crate::folder::Folder;
use crate::openapi::DocumentError;
use crate::serve::ServeError;
use crate::traffic::Recorder;

/// The gateway of a Konclave consortium.
#[derive(Debug, Parser)]
#[command(name = "konclave-gateway", version, about, arg_required_else_help = true)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Make a deployment: consortium root, gateway keys, TLS authority, configuration
    Init(init::Init),
    /// Sign a site's or evaluator's enrolment request
    Enrol(enrol::Enrol),
    /// Manage sites and evaluators
    #[command(subcommand)]
    Site(SiteCommand),
    /// Manage partner clients
    #[command(subcommand)]
    Client(ClientCommand),
    /// Look after the keys of access tokens
    #[command(subcommand)]
    Token(TokenCommand),
    /// Look after the gateway's TLS certificate
    #[command(subcommand)]
    Tls(TlsCommand),
    /// Look after the ledger's key
    #[command(subcommand)]
    Ledger(LedgerCommand),
    /// Run the gateway
    Serve(Serve),
    /// Print the OpenAPI document
    Openapi,
    /// Look at the configuration
    #[command(subcommand)]
    Config(ConfigCommand),
}

#[derive(Debug, Subcommand)]
enum SiteCommand {
    /// End a member's keys for ever, also what it is just sending; a running gateway acts within two seconds
    Revoke(revoke::Site),
}

#[derive(Debug, Subcommand)]
enum ClientCommand {
    /// Register a partner system with its public key; a running gateway takes it in within two seconds
    Add(client::Add),
    /// Sign a TLS client certificate for a registered client, to which its tokens are then bound
    Certify(client::Certify),
    /// End a client's key and tokens for ever
    Revoke(revoke::Client),
}

#[derive(Debug, Subcommand)]
enum TokenCommand {
    /// Make another key that signs access tokens; the one before it still verifies
    Rotate(token::Rotate),
}

#[derive(Debug, Subcommand)]
enum TlsCommand {
    /// Make another certificate over another key; a running gateway does so by itself at the half of its life
    Renew(tls::Renew),
}

#[derive(Debug, Subcommand)]
enum LedgerCommand {
    /// Draw another key for the checkpoints and have the consortium root authorise it; the next start takes it
    RotateKey(ledger::RotateKey),
}

#[derive(Debug, Subcommand)]
enum ConfigCommand {
    /// Read everything that `serve` would read, and say what is wrong
    Check(check::Check),
}

/// The folder of a deployment.
#[derive(Debug, Args)]
pub struct Dir {
    /// The deployment's folder
    #[arg(long, value_name = "DIR", env = "KONCLAVE_GATEWAY_DIR")]
    pub dir: PathBuf,
}

impl Dir {
    fn folder(&self) -> Folder {
        Folder::new(&self.dir)
    }
}

#[derive(Debug, Args)]
struct Serve {
    #[command(flatten)]
    dir: Dir,
    /// Listen here instead of where gateway.toml says; port 0 takes any free one
    #[arg(long, value_name = "ADDRESS:PORT")]
    listen: Option<SocketAddr>,
    /// Record every request as received into this folder, for audits of what members send (credentials are left out)
    #[arg(long, value_name = "FOLDER")]
    record_traffic: Option<PathBuf>,
}

/// Why a command failed.
#[derive(Debug, thiserror::Error)]
pub enum CliError {
    /// `init` failed.
    #[error(transparent)]
    Init(#[from] init::InitError),
    /// `enrol` failed.
    #[error(transparent)]
    Enrol(#[from] enrol::EnrolError),
    /// `client add` or `client certify` failed.
    #[error(transparent)]
    Client(#[from] client::ClientError),
    /// `site revoke` or `client revoke` failed.
    #[error(transparent)]
    Revoke(#[from] revoke::RevokeError),
    /// `token rotate` failed.
    #[error(transparent)]
    Token(#[from] token::RotateError),
    /// `tls renew` failed.
    #[error(transparent)]
    Tls(#[from] tls::RenewError),
    /// `ledger rotate-key` failed.
    #[error(transparent)]
    RotateKey(#[from] ledger::RotateKeyError),
    /// The gateway did not start or stopped.
    #[error(transparent)]
    Serve(#[from] ServeError),
    /// The configuration is wrong.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// The traffic folder cannot be made.
    #[error("{path}: {source}")]
    Folder {
        /// The folder.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// The OpenAPI document cannot be written.
    #[error("the OpenAPI document cannot be written: {0}")]
    Document(#[from] DocumentError),
    /// The output cannot be written, or threads cannot be started.
    #[error(transparent)]
    Io(#[from] io::Error),
}

/// Runs the command that was given; 0 is success, 1 failure, 2 wrong usage.
pub fn main() -> ExitCode {
    let cli = Cli::parse();
    match run(cli.command) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            let _ = writeln!(io::stderr(), "konclave-gateway: {}", sentence(&error));
            ExitCode::FAILURE
        }
    }
}

fn run(command: Command) -> Result<(), CliError> {
    let out = &mut io::stdout();
    match command {
        Command::Serve(command) => serve(&command),
        Command::Init(init) => Ok(init.run(out)?),
        Command::Enrol(enrol) => Ok(enrol.run(out)?),
        Command::Client(ClientCommand::Add(add)) => Ok(add.run(out)?),
        Command::Client(ClientCommand::Certify(certify)) => Ok(certify.run(out)?),
        Command::Client(ClientCommand::Revoke(revoke)) => Ok(revoke.run(out)?),
        Command::Site(SiteCommand::Revoke(revoke)) => Ok(revoke.run(out)?),
        Command::Token(TokenCommand::Rotate(rotate)) => Ok(rotate.run(out)?),
        Command::Tls(TlsCommand::Renew(renew)) => Ok(renew.run(out)?),
        Command::Ledger(LedgerCommand::RotateKey(rotate)) => Ok(rotate.run(out)?),
        Command::Openapi => Ok(out.write_all(crate::openapi::json()?.as_bytes())?),
        Command::Config(ConfigCommand::Check(check)) => Ok(check.run(out)?),
    }
}

fn serve(command: &Serve) -> Result<(), CliError> {
    start_log();
    let overrides = Overrides { listen: command.listen };
    let config = Config::load(command.dir.folder(), &overrides)?;
    let recorder = command.record_traffic.as_deref().map(Recorder::new).transpose();
    let recorder = recorder.map_err(|source| CliError::Folder {
        path: command.record_traffic.clone().unwrap_or_default(),
        source,
    })?;
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    Ok(runtime.block_on(crate::serve::run(config, recorder))?)
}

fn start_log() {
    let filter = EnvFilter::try_from_default_env().unwrap_or_else(|_| EnvFilter::new("info"));
    // A second subscriber can only come from a test; the first one stays.
    let colours = io::stderr().is_terminal();
    let log = tracing_subscriber::fmt().with_env_filter(filter).with_writer(io::stderr).with_ansi(colours);
    let _ = log.try_init();
}

/// The error and its causes in one line, without repeating what a cause already says.
fn sentence(error: &dyn Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        let more = error.to_string();
        if !text.contains(&more) {
            text = format!("{text}: {more}");
        }
        cause = error.source();
    }
    text
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    #[test]
    fn the_command_line_is_consistent() {
        Cli::command().debug_assert();
    }
}
