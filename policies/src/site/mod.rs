//! A site's own policy, and what the site answers to a job.
//!
//! The effective policy of a site is the strictest of the consortium's and its own, key by key
//! ([`effective`]); a job that breaks it is refused by the name of the rule ([`check_job`]).

mod job_check;
mod privacy_check;

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};

pub use job_check::{JobTerms, Refusal, Rule, check_job};
pub use privacy_check::{check_planned, check_privacy, check_spending};

use crate::rounds::{
    LIMITS, LimitKey, PRIVACY_LIMITS, PRIVACY_TABLE, PolicyError, PolicyProblem, RoundPolicy, Tighter,
};
use crate::strict_toml::{Placed, StrictTable};

/// How a site answers a job that keeps to its effective policy.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum ConsentMode {
    /// It consents.
    Auto,
    /// It refuses.
    Never,
}

/// A site's policy as its file says it, each key with its line, so that an error can point there.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SitePolicy {
    file: String,
    consent: ConsentMode,
    allowed_purposes: Option<Placed<BTreeSet<String>>>,
    tasks: Option<BTreeSet<String>>,
    limits: BTreeMap<&'static str, Placed<u64>>,
    noise_required: bool,
    privacy: BTreeMap<&'static str, Placed<u64>>,
}

/// The strictest of a consortium's and a site's policy.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct EffectivePolicy {
    /// The limits, with the site's where it is stricter. Its digest is still that of the consortium's
    /// file, which round contexts name.
    pub rounds: RoundPolicy,
    /// How the site answers a job that keeps to them.
    pub consent: ConsentMode,
    /// Whether the site takes part only where sums have noise.
    pub noise_required: bool,
    /// The only tasks the site trains on; none means any.
    pub tasks: Option<BTreeSet<String>>,
}

impl SitePolicy {
    /// The text of the site policy that is built in: consent to what the consortium allows.
    pub const EMBEDDED: &'static str = include_str!("../../site/default.toml");

    /// Reads a site policy; `file` is only the name that errors give it.
    ///
    /// # Errors
    /// The first fault of the file, with line and key. Whether a key is looser than the consortium's
    /// is known only beside the consortium's policy: see [`effective`].
    pub fn parse(file: &str, text: &str) -> Result<Self, PolicyError> {
        let mut table = StrictTable::parse(file, text)?;
        let expected = "\"auto\" or \"never\"";
        let consent = table.string("consent", expected)?;
        let consent = match consent.value.as_str() {
            "auto" => ConsentMode::Auto,
            "never" => ConsentMode::Never,
            other => {
                let problem = PolicyProblem::NotAllowed {
                    expected: expected.to_owned(),
                    found: format!("\"{other}\""),
                };
                return Err(table.error("consent", consent.line, problem));
            }
        };
        let allowed_purposes = table.optional_names("allowed_purposes")?;
        let tasks = table.optional_names("tasks")?.map(|placed| placed.value);
        let limits = read_limits(&mut table, LIMITS)?;
        let (mut noise_required, mut privacy) = (false, BTreeMap::new());
        if let Some(mut own) = table.optional_table(PRIVACY_TABLE)? {
            // Whoever asks for so much noise does not mean that none will do as well.
            noise_required = own.optional_flag("required")?.unwrap_or(true);
            privacy = read_limits(&mut own, PRIVACY_LIMITS)?;
            own.finish()?;
        }
        table.finish()?;
        let file = file.to_owned();
        Ok(Self { file, consent, allowed_purposes, tasks, limits, noise_required, privacy })
    }

    /// The built-in policy: consent to every job the consortium's policy allows.
    ///
    /// # Errors
    /// Only if the built-in file is at fault, which this crate's tests exclude.
    pub fn embedded() -> Result<Self, PolicyError> {
        Self::parse("policies/site/default.toml", Self::EMBEDDED)
    }

    /// The policy of a site that has none: refuse every job.
    pub fn refuse_all() -> Self {
        Self {
            file: "(no site policy)".to_owned(),
            consent: ConsentMode::Never,
            allowed_purposes: None,
            tasks: None,
            limits: BTreeMap::new(),
            noise_required: false,
            privacy: BTreeMap::new(),
        }
    }

    fn looser(
        &self,
        key: &str,
        line: usize,
        found: String,
        consortium: String,
        allowed: String,
    ) -> PolicyError {
        PolicyError {
            file: self.file.clone(),
            line,
            key: key.to_owned(),
            problem: Box::new(PolicyProblem::Looser { found, consortium, allowed }),
        }
    }

    /// Sets each limit that the site's policy has; `prefix` is the path of the table they stand in.
    fn tighten<P>(
        &self,
        limits: &[LimitKey<P>],
        own: &BTreeMap<&'static str, Placed<u64>>,
        prefix: &str,
        common: &mut P,
    ) -> Result<(), PolicyError> {
        for limit in limits {
            let Some(own) = own.get(limit.name) else { continue };
            let there = (limit.read)(common);
            let (is_looser, allowed) = match limit.tighter {
                Tighter::Higher => (own.value < there, format!("{there} or more")),
                Tighter::Lower => (own.value > there, format!("{there} or less")),
                Tighter::Fixed => (own.value != there, format!("{there}")),
            };
            if is_looser {
                let key = format!("{prefix}{}", limit.name);
                return Err(self.looser(&key, own.line, own.to_string(), there.to_string(), allowed));
            }
            (limit.write)(common, own.value);
        }
        Ok(())
    }
}

/// The limits of a table that a site may set.
fn read_limits<P>(
    table: &mut StrictTable<'_>,
    limits: &[LimitKey<P>],
) -> Result<BTreeMap<&'static str, Placed<u64>>, PolicyError> {
    let mut found = BTreeMap::new();
    for limit in limits.iter().filter(|limit| limit.tighter != Tighter::Fixed) {
        if let Some(value) = table.optional_integer(limit.name, &limit.allowed)? {
            found.insert(limit.name, value);
        }
    }
    Ok(found)
}

/// The strictest of both policies.
///
/// # Errors
/// [`PolicyProblem::Looser`] for the first key by which the site would allow what the consortium does
/// not. The site's administrator must change the named line; until then the site has no policy and
/// refuses all.
pub fn effective(consortium: &RoundPolicy, site: &SitePolicy) -> Result<EffectivePolicy, PolicyError> {
    let mut rounds = consortium.clone();
    site.tighten(LIMITS, &site.limits, "", &mut rounds)?;
    // Where sums are exact there is nothing to tighten; whether the site takes part then is for `check_privacy`.
    if let Some(rules) = &mut rounds.privacy {
        site.tighten(PRIVACY_LIMITS, &site.privacy, &format!("{PRIVACY_TABLE}."), rules)?;
    }
    if let Some(own) = &site.allowed_purposes {
        let approved = &consortium.approved_purposes;
        if let Some(extra) = own.value.difference(approved).next() {
            let common = Vec::from_iter(approved.iter().map(String::as_str)).join(", ");
            let found = format!("\"{extra}\"");
            return Err(site.looser(
                "allowed_purposes",
                own.line,
                found,
                common.clone(),
                format!("some of {common}"),
            ));
        }
        rounds.approved_purposes.clone_from(&own.value);
    }
    let (consent, noise_required, tasks) = (site.consent, site.noise_required, site.tasks.clone());
    Ok(EffectivePolicy { rounds, consent, noise_required, tasks })
}
