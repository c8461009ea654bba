//! All that is there before a model developer asks for anything: the consortium, its data, its partner systems.

use std::collections::BTreeSet;
use std::path::Path;

use super::canary::Canary;
use super::narrator::Narrator;
use super::options::Options;
use super::pace::Pace;
use super::shares::Shares;
use crate::consortium::{Consortium, EVALUATOR, Plan, set_keys, wait_until};
use crate::error::HarnessError;
use crate::partner::PartnerClient;

/// A running consortium and its partner systems.
pub(super) struct Stage {
    pub(super) consortium: Consortium,
    pub(super) shares: Shares,
    pub(super) canary: Canary,
    pub(super) developer: PartnerClient,
    pub(super) auditor: PartnerClient,
}

impl Stage {
    /// Keys, certificates, folders and data, as an operator and the data owners set them up; then every process is
    /// started. Returns once all members have declared their data.
    pub(super) fn set(
        options: &Options,
        out: &Path,
        shares: Shares,
        pace: Pace,
        narrator: &Narrator,
    ) -> Result<Self, HarnessError> {
        let mut plan = Plan::new(&out.join("consortium"), usize::from(options.sites));
        plan.rounds_policy = [options.policy(), pace.policy()].concat();
        let consortium = Consortium::found(&plan)?;
        for member in consortium.members() {
            set_keys(&member.folder.join("site.toml"), &[("witness_seconds", "1".to_owned())])?;
        }
        let canary = Canary::new(options);
        narrator.say(format!(
            "A canary structure is planted at {}; it must not turn up anywhere else",
            canary.site
        ));
        for (site, share) in &shares.sites {
            if *site == canary.site {
                canary.plant(&share.file)?;
            }
            consortium.member(site)?.give_data(&share.file)?;
        }
        consortium.member(EVALUATOR)?.give_data(&shares.benchmark)?;
        let developer = consortium.add_client("developer", "Model Developer Inc", "model-developer")?;
        let auditor = consortium.add_client("auditor", "Audit Office", "auditor")?;
        let mut stage = Self { consortium, shares, canary, developer, auditor };
        stage.start(pace, narrator)?;
        Ok(stage)
    }

    fn start(&mut self, pace: Pace, narrator: &Narrator) -> Result<(), HarnessError> {
        let Self { consortium, shares, auditor, .. } = self;
        consortium.start_gateway()?;
        consortium.start_members()?;
        narrator.say(format!(
            "A gateway, {} site enclaves and a benchmark evaluator run as separate processes and talk over mTLS at {}",
            shares.sites.len(),
            consortium.url
        ));
        let members = consortium.members().count();
        let deposited = || {
            consortium.expect_running()?;
            let sites: BTreeSet<_> = auditor.deposits()?.into_iter().map(|deposit| deposit.site).collect();
            narrator.now(format!("{} of {members} members have read and declared their data", sites.len()));
            Ok((sites.len() >= members).then_some(()))
        };
        wait_until("every member's data deposit", pace.deposits(), deposited, || {
            "see the members' logs".to_owned()
        })?;
        narrator.say(format!(
            "{members} signed data deposits are in the ledger: numbers and commitments, no data"
        ));
        Ok(())
    }
}
