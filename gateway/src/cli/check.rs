//! `config check`: reads everything that `serve` would read.

use std::io::Write;

use clap::Args;
use konclave_crypto::privacy::PrivacyCost;
use konclave_policies::rounds::{PrivacyRules, RoundPolicy, Scope};

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

/// What the noise of a policy is worth, in numbers of rounds.
fn explain(rules: &PrivacyRules, out: &mut impl Write) -> std::io::Result<()> {
    let (delta, exponent) = (rules.delta(), rules.delta_exponent);
    let epsilon = |rounds: u32| rules.cost_of(rounds).epsilon_milli(delta) as f64 * 1e-3;
    let (of_job, of_site) =
        [Scope::Job, Scope::Site].map(|scope| rules.rounds_left(PrivacyCost::NONE, scope)).into();
    writeln!(
        out,
        "sums have noise: a round costs each of its sites rho {:.6}, alone epsilon {:.3} at delta 10^-{exponent}",
        rules.round_cost().rho(),
        epsilon(1)
    )?;
    writeln!(
        out,
        "a job may have {of_job} rounds, aborted ones included (epsilon {:.3} of {:.3})",
        epsilon(of_job),
        f64::from(rules.job_epsilon_milli) * 1e-3
    )?;
    writeln!(
        out,
        "a site may take part in {of_site} rounds over all jobs (epsilon {:.3} of {:.3})",
        epsilon(of_site),
        f64::from(rules.site_epsilon_milli) * 1e-3
    )
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
        match &policy.privacy {
            None => writeln!(out, "sums are exact: the rounds policy has no [privacy]")?,
            Some(rules) => explain(rules, out)?,
        }
        Ok(())
    }
}
