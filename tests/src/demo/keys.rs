//! Keys that change while the rounds go on: a site and the gateway renew their TLS certificates, and a site is revoked.

use std::time::{Duration, Instant};

use konclave_crypto::Digest;
use konclave_openapi::rounds::{Round, RoundPhase};
use konclave_openapi::sites::Site;

use super::checks::check;
use super::evidence::Evidence;
use crate::consortium::{Consortium, call, text, wait_until};
use crate::error::HarnessError;
use crate::partner::{PartnerClient, send};
use crate::report::summary::Check;

/// How long the gateway may take to show its new certificate, or to refuse a revoked site.
const LIMIT: Duration = Duration::from_secs(60);
/// What the gateway's log says once it shows another certificate.
const SHOWN: &str = "shows another TLS certificate";

/// What was changed, and what was seen of it.
#[derive(Debug, Clone, Default)]
pub(super) struct KeyChanges {
    renewed: Option<Renewed>,
    revoked: Option<Revoked>,
}

#[derive(Debug, Clone)]
struct Renewed {
    round: u32,
    site: String,
    before: Digest,
    after: Digest,
}

#[derive(Debug, Clone)]
struct Revoked {
    /// The round under way; none if all were over.
    round: Option<u32>,
    site: String,
    seconds: f64,
}

impl KeyChanges {
    pub(super) fn is_renewed(&self) -> bool {
        self.renewed.is_some()
    }

    pub(super) fn is_revoked(&self) -> bool {
        self.revoked.is_some()
    }

    /// How many members were revoked.
    pub(super) fn revoked(&self) -> usize {
        usize::from(self.is_revoked())
    }

    /// A site's service and the gateway renew their certificates, while the round is open.
    pub(super) fn renew(
        &mut self,
        consortium: &Consortium,
        client: &PartnerClient,
        site: &str,
        round: u32,
    ) -> Result<(), HarnessError> {
        let key = || client.get::<Site>(&format!("/v1/sites/{site}")).map(|known| known.tls_spki);
        let before = key()?;
        call(&consortium.programs.site, &["renew", "--dir", &text(&consortium.member(site)?.folder)])?;
        let shown = || consortium.gateway_log(usize::MAX).matches(SHOWN).count();
        let earlier = shown();
        call(&consortium.programs.gateway, &["tls", "renew", "--dir", &text(&consortium.gateway_folder())])?;
        let look = || Ok((shown() > earlier).then_some(()));
        wait_until("the gateway's new certificate", LIMIT, look, || "see the gateway's log".to_owned())?;
        self.renewed = Some(Renewed { round, site: site.to_owned(), before, after: key()? });
        Ok(())
    }

    /// The operator revokes a site; returns once the gateway refuses it.
    pub(super) fn revoke(
        &mut self,
        consortium: &Consortium,
        site: &str,
        round: Option<u32>,
    ) -> Result<(), HarnessError> {
        let connection = consortium.member(site)?.connect()?;
        let url = format!("{}/v1/sites/{site}", consortium.url);
        let ask = || send("GET /v1/sites", connection.get(&url));
        ask()?;
        let dir = text(&consortium.gateway_folder());
        let words = ["site", "revoke", "--dir", &dir, "--site", site, "--reason", "its key was stolen"];
        call(&consortium.programs.gateway, &words)?;
        let begun = Instant::now();
        let look = || match ask() {
            Ok(_) => Ok(None),
            Err(HarnessError::Problem { problem, .. }) if problem.status == 401 => Ok(Some(())),
            Err(error) => Err(error),
        };
        wait_until("the refusal of a revoked site", LIMIT, look, String::new)?;
        let seconds = begun.elapsed().as_secs_f64();
        self.revoked = Some(Revoked { round, site: site.to_owned(), seconds });
        Ok(())
    }

    /// Both must have happened, and no round been lost by it.
    pub(super) fn checks(&self, evidence: &Evidence) -> [Check; 2] {
        let opened = |number: u32| {
            let of = |round: &&Round| round.round.get() == number;
            let found = evidence.rounds.iter().map(|(round, _)| round).find(of);
            found.is_some_and(|round| round.phase == RoundPhase::Opened)
        };
        let renewed =
            "Certificates of a site and of the gateway were renewed while a round ran, and it opened";
        let renewed = match &self.renewed {
            None => check(renewed, false, "nothing was renewed"),
            Some(Renewed { round, site, before, after }) => check(
                renewed,
                before != after && opened(*round),
                format!("round {round}: {site} went from key {} to {}", short(before), short(after)),
            ),
        };
        let revoked = "A revoked site was refused within a minute, and no round was lost";
        let revoked = match &self.revoked {
            None => check(revoked, false, "nobody was revoked"),
            Some(Revoked { round, site, seconds }) => check(
                revoked,
                *seconds < 60.0 && round.is_none_or(opened),
                format!(
                    "{site} was refused after {seconds:.1} s; {}",
                    round.map_or_else(
                        || "all rounds were open by then".to_owned(),
                        |round| format!("round {round}, which was under way, opened")
                    )
                ),
            ),
        };
        [renewed, revoked]
    }
}

fn short(digest: &Digest) -> String {
    digest.to_string().chars().take(8).collect()
}
