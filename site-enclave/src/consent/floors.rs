//! The floors that this site sets for every rounds policy, whoever wrote it.
//!
//! A job names its rounds policy by digest, and the gateway shows the text: the digest binds the two to each other, not to
//! what the sites once agreed on. So each site holds floors of its own, written at `join` from the defaults in this
//! program, and a rounds policy below one of them is none for this site. They say how little protection is too little;
//! waiting times and rewards are the consortium's alone.

use std::fmt;

use figment::Figment;
use figment::providers::{Format, Toml};
use konclave_policies::rounds::{PolicyError, RoundPolicy};
use serde::Deserialize;

/// The least protection that a rounds policy must give.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RoundsFloors {
    /// Fewest sites in a job's roster, at least.
    pub min_cohort: u16,
    /// Fewest sites in a round's agreed set, at least.
    pub min_agreed: u16,
    /// Fewest sites whose sum may be opened by itself, at least.
    pub min_batch: u16,
    /// Sites per batch of a scoring round, at least.
    pub scoring_batch_size: u16,
    /// Largest clip bound of a coordinate in millionths, at most.
    pub clip_micro: u32,
    /// Bits per coordinate, at most.
    pub quantisation_bits: u8,
    /// Spare bits of the ring, at least.
    pub guard_bits: u8,
    /// Largest sample weight of one site, at most.
    pub weight_cap: u32,
}

/// A rounds policy that protects too little: whoever wrote the policy is at fault, or the site's floors are too strict
/// for this consortium.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error(
    "{rule} = {found} in the rounds policy, but this site takes part only with {needed} (floors in site.toml)"
)]
pub struct BelowFloor {
    /// The policy's key.
    pub rule: &'static str,
    /// What the policy says.
    pub found: u32,
    /// What the site needs.
    pub needed: Needed,
}

/// A bound.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Needed {
    /// So much or more.
    AtLeast(u32),
    /// So much or less.
    AtMost(u32),
}

impl fmt::Display for Needed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::AtLeast(least) => write!(f, "{least} or more"),
            Self::AtMost(most) => write!(f, "{most} or less"),
        }
    }
}

impl RoundsFloors {
    /// The floors built into this program: the default rounds policy's limits.
    ///
    /// # Errors
    /// Only if the built-in policy is at fault, which tests exclude.
    pub fn embedded() -> Result<Self, PolicyError> {
        let policy = RoundPolicy::embedded()?;
        Ok(Self {
            min_cohort: policy.min_cohort,
            min_agreed: policy.min_agreed,
            min_batch: policy.min_batch,
            scoring_batch_size: policy.scoring_batch_size,
            clip_micro: policy.clip_micro,
            quantisation_bits: policy.quantisation_bits,
            guard_bits: policy.guard_bits,
            weight_cap: policy.weight_cap,
        })
    }

    /// Reads a file of floors: every key, and no other.
    ///
    /// # Errors
    /// The parser's, with the key.
    pub fn parse(text: &str) -> Result<Self, Box<figment::Error>> {
        Figment::new().merge(Toml::string(text)).extract().map_err(Box::new)
    }

    /// The file that `join` writes, every key explained.
    #[must_use]
    pub fn to_toml(&self) -> String {
        format!(
            "\
# The least protection with which this site takes part. A rounds policy below one of these floors is refused, whoever
# recorded it, and the refusal names the key. Written at `join` from the defaults of this program, not from anything
# that the gateway said; loosen a floor only after the consortium has agreed to it outside this system.

min_cohort = {}            # fewest sites in a job's roster, at least
min_agreed = {}            # fewest sites in a round's agreed set, at least
min_batch = {}             # fewest sites whose sum may be opened by itself, at least
scoring_batch_size = {}    # sites per batch of a scoring round, at least
clip_micro = {}       # clip bound of a coordinate in millionths, at most
quantisation_bits = {}    # bits per coordinate, sign included, at most
guard_bits = {}            # spare bits of the ring, at least
weight_cap = {}         # sample weight of one site in a round, at most
",
            self.min_cohort,
            self.min_agreed,
            self.min_batch,
            self.scoring_batch_size,
            self.clip_micro,
            self.quantisation_bits,
            self.guard_bits,
            self.weight_cap,
        )
    }

    /// Checks a rounds policy.
    ///
    /// # Errors
    /// [`BelowFloor`] names the first key that is below.
    pub fn check(&self, policy: &RoundPolicy) -> Result<(), BelowFloor> {
        at_least("min_cohort", policy.min_cohort, self.min_cohort)?;
        at_least("min_agreed", policy.min_agreed, self.min_agreed)?;
        at_least("min_batch", policy.min_batch, self.min_batch)?;
        at_least("scoring_batch_size", policy.scoring_batch_size, self.scoring_batch_size)?;
        at_most("clip_micro", policy.clip_micro, self.clip_micro)?;
        at_most("quantisation_bits", policy.quantisation_bits, self.quantisation_bits)?;
        at_least("guard_bits", policy.guard_bits, self.guard_bits)?;
        at_most("weight_cap", policy.weight_cap, self.weight_cap)
    }
}

fn at_least(rule: &'static str, found: impl Into<u32>, least: impl Into<u32>) -> Result<(), BelowFloor> {
    let (found, least) = (found.into(), least.into());
    let needed = Needed::AtLeast(least);
    if found >= least { Ok(()) } else { Err(BelowFloor { rule, found, needed }) }
}

fn at_most(rule: &'static str, found: impl Into<u32>, most: impl Into<u32>) -> Result<(), BelowFloor> {
    let (found, most) = (found.into(), most.into());
    let needed = Needed::AtMost(most);
    if found <= most { Ok(()) } else { Err(BelowFloor { rule, found, needed }) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn policy(from: &str, to: &str) -> RoundPolicy {
        let text = RoundPolicy::EMBEDDED.replacen(from, to, 1);
        assert_ne!(text, RoundPolicy::EMBEDDED, "{from}");
        RoundPolicy::parse("rounds.toml", &text).unwrap()
    }

    #[test]
    fn the_default_policy_meets_the_built_in_floors_which_read_back() {
        let floors = RoundsFloors::embedded().unwrap();
        floors.check(&RoundPolicy::embedded().unwrap()).unwrap();
        assert_eq!(RoundsFloors::parse(&floors.to_toml()).unwrap(), floors);
    }

    #[test]
    fn each_loosened_key_is_refused_by_name_and_tighter_ones_and_other_times_are_not() {
        let floors = RoundsFloors::embedded().unwrap();
        for (from, to, rule) in [
            ("min_agreed = 5", "min_agreed = 4", "min_agreed"),
            ("min_batch = 3", "min_batch = 2", "min_batch"),
            ("clip_micro = 200000", "clip_micro = 200001", "clip_micro"),
            ("quantisation_bits = 15", "quantisation_bits = 16", "quantisation_bits"),
            ("guard_bits = 2", "guard_bits = 1", "guard_bits"),
            ("weight_cap = 8192", "weight_cap = 8193", "weight_cap"),
            ("min_cohort = 5", "min_cohort = 8", ""),
            ("clip_micro = 200000", "clip_micro = 100000", ""),
            ("upload_seconds = 21600", "upload_seconds = 9", ""),
            ("unmask_seconds = 900", "unmask_seconds = 90", ""),
        ] {
            let checked = floors.check(&policy(from, to));
            assert_eq!(checked.map_or_else(|below| below.rule, |()| ""), rule, "{to}");
        }
        let small = RoundPolicy::EMBEDDED
            .replace("min_cohort = 5", "min_cohort = 3")
            .replace("min_agreed = 5", "min_agreed = 3");
        let below = floors.check(&RoundPolicy::parse("rounds.toml", &small).unwrap()).unwrap_err();
        assert_eq!((below.rule, below.found, below.needed), ("min_cohort", 3, Needed::AtLeast(5)));
        let pairs = RoundPolicy::EMBEDDED
            .replace("min_batch = 3", "min_batch = 2")
            .replace("scoring_batch_size = 3", "scoring_batch_size = 2");
        let looser_batch = RoundsFloors { min_batch: 2, ..floors };
        let below = looser_batch.check(&RoundPolicy::parse("rounds.toml", &pairs).unwrap()).unwrap_err();
        assert_eq!(below.rule, "scoring_batch_size");
    }

    #[test]
    fn a_file_of_floors_has_every_key_and_no_other() {
        let text = RoundsFloors::embedded().unwrap().to_toml();
        for bad in [text.replace("min_batch = 3", ""), format!("{text}\nmin_sites = 3\n")] {
            let error = RoundsFloors::parse(&bad).unwrap_err().to_string();
            assert!(error.contains("min_batch") || error.contains("min_sites"), "{error}");
        }
    }
}
