//! A site's own policy, and what the site answers to a job.
//!
//! The effective policy of a site is the strictest of the consortium's and its own, key by key
//! ([`effective`]); a job that breaks it is refused by the name of the rule ([`check_job`]).

mod job_check;

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};

pub use job_check::{JobTerms, Refusal, Rule, check_job};

use crate::rounds::{LIMITS, PolicyError, PolicyProblem, RoundPolicy, Tighter};
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
}

/// The strictest of a consortium's and a site's policy.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct EffectivePolicy {
    /// The limits, with the site's where it is stricter. Its digest is still that of the consortium's
    /// file, which round contexts name.
    pub rounds: RoundPolicy,
    /// How the site answers a job that keeps to them.
    pub consent: ConsentMode,
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
        let mut limits = BTreeMap::new();
        for limit in LIMITS.iter().filter(|limit| limit.tighter != Tighter::Fixed) {
            if let Some(found) = table.optional_integer(limit.name, &limit.allowed)? {
                limits.insert(limit.name, found);
            }
        }
        table.finish()?;
        Ok(Self { file: file.to_owned(), consent, allowed_purposes, tasks, limits })
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
        }
    }
}

/// The strictest of both policies.
///
/// # Errors
/// [`PolicyProblem::Looser`] for the first key by which the site would allow what the consortium does
/// not. The site's administrator must change the named line; until then the site has no policy and
/// refuses all.
pub fn effective(consortium: &RoundPolicy, site: &SitePolicy) -> Result<EffectivePolicy, PolicyError> {
    let mut rounds = consortium.clone();
    let looser = |key: &str, line: usize, found: String, consortium: String, allowed: String| PolicyError {
        file: site.file.clone(),
        line,
        key: key.to_owned(),
        problem: Box::new(PolicyProblem::Looser { found, consortium, allowed }),
    };
    for limit in LIMITS {
        let Some(own) = site.limits.get(limit.name) else { continue };
        let common = (limit.read)(consortium);
        let (is_looser, allowed) = match limit.tighter {
            Tighter::Higher => (own.value < common, format!("{common} or more")),
            Tighter::Lower => (own.value > common, format!("{common} or less")),
            Tighter::Fixed => (own.value != common, format!("{common}")),
        };
        if is_looser {
            return Err(looser(limit.name, own.line, own.to_string(), common.to_string(), allowed));
        }
        (limit.write)(&mut rounds, own.value);
    }
    if let Some(own) = &site.allowed_purposes {
        let approved = &consortium.approved_purposes;
        if let Some(extra) = own.value.difference(approved).next() {
            let common = Vec::from_iter(approved.iter().map(String::as_str)).join(", ");
            let found = format!("\"{extra}\"");
            return Err(looser(
                "allowed_purposes",
                own.line,
                found,
                common.clone(),
                format!("some of {common}"),
            ));
        }
        rounds.approved_purposes.clone_from(&own.value);
    }
    Ok(EffectivePolicy { rounds, consent: site.consent, tasks: site.tasks.clone() })
}
