//! `config check`: reads everything that `serve` would read.

use std::io::Write;

use clap::Args;
use konclave_policies::rounds::RoundPolicy;

use super::{CliError, Dir};
use crate::auth::clients::Clients;
use crate::config::{Config, Overrides};
use crate::core::{Clock, OpenError};
use crate::enrolment;
use crate::serve::{Deployment, ServeError};

/// Arguments of `config check`.
#[derive(Debug, Args)]
pub struct Check {
    #[command(flatten)]
    dir: Dir,
}

impl Check {
    /// Reads and checks configuration, keys, certificates, policies and the operator's records; the ledger is left
    /// alone, so that this can run beside a gateway.
    ///
    /// # Errors
    /// The first thing that is wrong.
    pub fn run(&self, out: &mut impl Write) -> Result<(), CliError> {
        let config = Config::load(self.dir.folder(), &Overrides::default())?;
        let settings = config.settings.clone();
        let folder = config.folder.clone();
        let deployment = Deployment::read(config, Clock::System, None)?;
        let core = &deployment.core;
        let now = core.clock.now();
        let open = |error: OpenError| CliError::Serve(ServeError::Open(error));
        core.root.verify(&core.certificate, now).map_err(|error| open(error.into()))?;
        if core.certificate.membership.identity_key != core.identity.public() {
            return Err(open(OpenError::OtherIdentity));
        }
        let policy = RoundPolicy::parse("policies/rounds.toml", &core.rounds_policy)
            .map_err(|error| open(error.into()))?;
        let members = enrolment::read_all(&folder.enrolments())?.len();
        let clients = Clients::new(folder.clients()).all()?.len();
        writeln!(
            out,
            "ok: listens on {}, reached at {}, ledger {}\n\
             rounds policy {}, {members} members, {clients} clients",
            settings.listen,
            settings.public_url,
            settings.origin,
            policy.digest()
        )?;
        Ok(())
    }
}
