//! Consent: whether this site takes part in a job, decided by policy files and signed.
//!
//! A rounds policy counts only if the ledger holds it and it keeps to this site's own floors ([`RoundsFloors`]), which
//! nothing that the gateway says can lower. The effective policy is the strictest of the consortium's rounds policy and the site's own. A refusal names its rule
//! and is a decision like any other: the site signs it and does not count as a dropout. The same terms are checked
//! again in every round, against what its signed context says.

mod floors;
mod policy;
mod terms;

use konclave_crypto::SiteId;
use konclave_crypto::privacy::PrivacyCost;
use konclave_ledger::Hash;
use konclave_ledger::dsse::Envelope;
use konclave_ledger::statements::{self, ConsentDecision, ConsentStatement, StatementError};
use konclave_openapi::jobs::Job;
use konclave_policies::rounds::RoundPolicy;
use konclave_policies::site::{SitePolicy, check_job, check_planned, check_privacy, effective};

pub use floors::{BelowFloor, Needed, RoundsFloors};
pub use policy::{PolicyFault, RoundPolicies, read_floors, read_site_policy};
pub use terms::{at_consent, in_round};

use crate::clock;
use crate::keystore::SiteKeys;

/// The most rounds of a job that this site takes part in: its key chains are never moved further than such a job can get.
pub const MOST_ROUNDS: u32 = 10_000;

/// A site's answer to a job.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Answer {
    /// Whether it takes part.
    pub decision: ConsentDecision,
    /// The rule that decided.
    pub rule: String,
    /// In words, with the digests that the answer is for.
    pub detail: String,
}

impl Answer {
    /// A refusal.
    #[must_use]
    pub fn refuse(rule: &str, detail: impl Into<String>) -> Self {
        Self { decision: ConsentDecision::Refuse, rule: rule.to_owned(), detail: detail.into() }
    }
}

/// Decides by policy, and by what this site's updates have cost of its privacy budget so far; the model is looked at only
/// if this accepts.
#[must_use]
pub fn decide(
    job: &Job,
    site: &SiteId,
    rounds: &RoundPolicy,
    own: &SitePolicy,
    spent: PrivacyCost,
) -> Answer {
    let request = &job.request;
    if !request.invited.is_empty() && !request.invited.contains(site) {
        return Answer::refuse("invited", "this site is not among the invited");
    }
    if !(1..=MOST_ROUNDS).contains(&request.rounds) {
        let detail = format!("{} rounds asked; 1 to {MOST_ROUNDS} allowed", request.rounds);
        return Answer::refuse("rounds", detail);
    }
    let policy = match effective(rounds, own) {
        Ok(policy) => policy,
        // A site whose own policy is at fault has none, and a site without a policy refuses all.
        Err(error) => return Answer::refuse("policy", error.to_string()),
    };
    let checked = check_job(&policy, &at_consent(job, rounds))
        .and_then(|()| check_privacy(&policy, rounds))
        .and_then(|()| check_planned(&policy, request.rounds, spent));
    if let Err(refusal) = checked {
        return Answer::refuse(refusal.rule.name(), refusal.detail);
    }
    Answer {
        decision: ConsentDecision::Accept,
        rule: "consent".to_owned(),
        detail: format!(
            "purpose {}, {} rounds, model {}, training {}",
            request.purpose,
            request.rounds,
            request.model,
            request.training_digest()
        ),
    }
}

/// Signs an answer.
///
/// # Errors
/// [`StatementError`] if it cannot be written.
pub fn sign(answer: &Answer, job: &Job, site: &SiteId, keys: &SiteKeys) -> Result<Envelope, StatementError> {
    let statement = ConsentStatement {
        job: job.job.to_string(),
        site: site.to_string(),
        decision: answer.decision,
        rule: answer.rule.clone(),
        detail: answer.detail.clone(),
        policy: Hash(*job.policy.as_bytes()),
        made_at: clock::now().get(),
    };
    statements::sign(keys.identity.seed(), &statement)
}

#[cfg(test)]
mod tests;
