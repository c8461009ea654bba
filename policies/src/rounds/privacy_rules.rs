//! Noise for the sums, and how much may be learned of a site over all of them.
//!
//! A policy says how strong the noise is, not how much of it there is: the noise of those sites that surely are in a sum and
//! do not collude has `noise_multiplier` times the deviation by which one site can move the sum. What a round costs follows
//! from the multiplier alone, whatever the model's size and however many sites there are.

use konclave_crypto::Encoding;
use konclave_crypto::privacy::{Delta, NoiseTerms, PrivacyCost};
use serde::Serialize;

use super::RoundPolicy;
use super::limits::{LimitKey, Tighter};
use crate::strict_toml::{PolicyError, PolicyProblem, StrictTable};

/// The table's name.
pub(crate) const TABLE: &str = "privacy";

/// The rules of noise and budgets, for a consortium whose sums are not exact.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct PrivacyRules {
    /// Largest L2 norm of a site's update, in millionths; a longer one is scaled down as a whole.
    pub clip_norm_micro: u32,
    /// Deviation of the noise that surely hides an update, in thousandths of the most that one site can move a sum.
    pub noise_multiplier_milli: u32,
    /// How many sites of a sum are taken to know their own noise and to tell the gateway.
    pub colluders: u16,
    /// Most that one job may tell of a site: epsilon, in thousandths.
    pub job_epsilon_milli: u32,
    /// Most that all jobs together may tell of a site: epsilon, in thousandths.
    pub site_epsilon_milli: u32,
    /// The delta that both epsilons are for: `10^-delta_exponent`.
    pub delta_exponent: u8,
}

macro_rules! limit {
    ($field:ident, $allowed:expr, $tighter:ident) => {
        LimitKey {
            name: stringify!($field),
            allowed: $allowed,
            tighter: Tighter::$tighter,
            read: |rules| u64::from(rules.$field),
            // `allowed` keeps every value inside the field's type, which a test checks.
            write: |rules, value| rules.$field = value.try_into().unwrap_or_default(),
        }
    };
}

/// Every key of the table.
pub(crate) const LIMITS: &[LimitKey<PrivacyRules>] = &[
    limit!(clip_norm_micro, 1..=1_000_000_000, Fixed),
    limit!(noise_multiplier_milli, 1..=1_000_000, Higher),
    limit!(colluders, 0..=255, Higher),
    limit!(job_epsilon_milli, 1..=1_000_000_000, Lower),
    limit!(site_epsilon_milli, 1..=1_000_000_000, Lower),
    limit!(delta_exponent, 3..=12, Higher),
];

/// Least variance of a site's noise, in ring units squared. From here on the sum of a few discrete Gaussians is as good as
/// one: what it lacks adds less than [`SLACK`] for up to 2^32 coordinates and 256 sites.
const LEAST_VARIANCE: u64 = 4;
const SLACK: f64 = 1e-11;

impl PrivacyRules {
    pub(super) fn read(mut table: StrictTable<'_>, policy: &RoundPolicy) -> Result<Self, PolicyError> {
        let mut rules = Self {
            clip_norm_micro: 0,
            noise_multiplier_milli: 0,
            colluders: 0,
            job_epsilon_milli: 0,
            site_epsilon_milli: 0,
            delta_exponent: 0,
        };
        for limit in LIMITS {
            let found = table.integer(limit.name, &limit.allowed)?;
            (limit.write)(&mut rules, found.value);
            let conflict = |other: String, rule: &'static str| {
                let problem = PolicyProblem::Conflict { found: found.value, other, rule };
                Err(table.error(limit.name, found.line, problem))
            };
            match limit.name {
                "colluders" if rules.colluders >= policy.min_batch => {
                    let other = format!("min_batch = {}", policy.min_batch);
                    return conflict(
                        other,
                        "somebody's noise must be left in the smallest sum that is opened",
                    );
                }
                "site_epsilon_milli" if rules.site_epsilon_milli < rules.job_epsilon_milli => {
                    let other = format!("privacy.job_epsilon_milli = {}", rules.job_epsilon_milli);
                    return conflict(other, "one job may not tell more of a site than all jobs together");
                }
                _ => {}
            }
        }
        table.finish()?;
        Ok(rules)
    }

    /// The terms for a round's context whose smallest sum has `summed` sites. Whether the encoding's ring holds them is for
    /// [`NoiseTerms::validate`].
    #[must_use]
    pub fn terms(&self, encoding: &Encoding, clip_micro: u32, summed: usize) -> NoiseTerms {
        let steps = (1_u64 << (encoding.quantisation_bits.clamp(2, 24) - 1)) - 1;
        // At most 10^9 * 2^23.
        let clip_norm = u64::from(self.clip_norm_micro) * steps / u64::from(clip_micro.max(1));
        let mut terms =
            NoiseTerms { clip_norm: clip_norm.max(1), site_variance: 0, colluders: self.colluders };
        let multiplier = u128::from(self.noise_multiplier_milli);
        let whole = multiplier * multiplier * u128::from(terms.sensitivity_squared(encoding.coordinates()));
        let noisy = summed.saturating_sub(self.colluders.into()).max(1) as u128;
        let each = whole.div_ceil(noisy * 1_000_000);
        terms.site_variance = u64::try_from(each).unwrap_or(u64::MAX).max(LEAST_VARIANCE);
        terms
    }

    /// The most that one round costs a site.
    #[must_use]
    pub fn round_cost(&self) -> PrivacyCost {
        let multiplier = f64::from(self.noise_multiplier_milli) * 1e-3;
        PrivacyCost::at_least((1.0 / multiplier + SLACK).powi(2) / 2.0)
    }

    /// The most that so many rounds cost a site.
    #[must_use]
    pub fn cost_of(&self, rounds: u32) -> PrivacyCost {
        PrivacyCost::from_nano_rho(self.round_cost().nano_rho().saturating_mul(rounds.into()))
    }

    /// The delta of both budgets.
    #[must_use]
    pub fn delta(&self) -> Delta {
        // `LIMITS` allows what `Delta` does, which a test checks.
        Delta::new(self.delta_exponent).unwrap_or(Delta::MILLIONTH)
    }

    /// How many more rounds a budget allows after `spent`.
    #[must_use]
    pub fn rounds_left(&self, spent: PrivacyCost, scope: Scope) -> u32 {
        let fits = |rounds: u32| self.check(spent.and(self.cost_of(rounds)), scope).is_ok();
        // The largest number that fits: what costs more is never cheaper.
        let (mut low, mut high) = (0, u32::MAX);
        while low < high {
            let middle = high - (high - low) / 2;
            if fits(middle) { low = middle } else { high = middle - 1 }
        }
        low
    }

    /// Whether a budget covers a cost.
    ///
    /// # Errors
    /// [`Overspent`].
    pub fn check(&self, cost: PrivacyCost, scope: Scope) -> Result<(), Overspent> {
        let delta = self.delta();
        let budget_milli = match scope {
            Scope::Job => self.job_epsilon_milli,
            Scope::Site => self.site_epsilon_milli,
        };
        let epsilon_milli = cost.epsilon_milli(delta);
        if epsilon_milli <= budget_milli.into() {
            Ok(())
        } else {
            Err(Overspent { scope, epsilon_milli, budget_milli, delta })
        }
    }
}

/// Whose budget.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Scope {
    /// That of one job.
    Job,
    /// That of a site, over all jobs.
    Site,
}

impl Scope {
    /// The key of the budget.
    #[must_use]
    pub const fn key(self) -> &'static str {
        match self {
            Self::Job => "privacy.job_epsilon_milli",
            Self::Site => "privacy.site_epsilon_milli",
        }
    }
}

/// More than a budget covers. Whoever asks for it must ask for fewer rounds, or for a policy with more noise.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error(
    "epsilon would be {} at delta 10^-{}, and {} is {budget_milli}",
    Milli(*epsilon_milli), delta.exponent(), scope.key()
)]
pub struct Overspent {
    /// Whose budget.
    pub scope: Scope,
    /// What it would come to, in thousandths.
    pub epsilon_milli: u64,
    /// What is allowed, in thousandths.
    pub budget_milli: u32,
    /// At which delta.
    pub delta: Delta,
}

/// Thousandths as a decimal number.
struct Milli(u64);

impl std::fmt::Display for Milli {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}.{:03}", self.0 / 1000, self.0 % 1000)
    }
}

#[cfg(test)]
mod tests {
    use konclave_crypto::TensorEncoding;
    use proptest::prelude::*;

    use super::*;

    const RULES: PrivacyRules = PrivacyRules {
        clip_norm_micro: 1_000_000,
        noise_multiplier_milli: 2_000,
        colluders: 1,
        job_epsilon_milli: 6_000,
        site_epsilon_milli: 8_000,
        delta_exponent: 6,
    };

    fn encoding(coordinates: u64, bits: u8) -> Encoding {
        let tensor = TensorEncoding { name: "x".into(), len: coordinates, clip_micro: 200_000 };
        Encoding { tensors: vec![tensor], quantisation_bits: bits, ring_bits: 32, weight_cap: 1 }
    }

    #[test]
    fn every_allowed_value_fits_its_field() {
        let mut rules = RULES;
        for limit in LIMITS {
            for value in [*limit.allowed.start(), *limit.allowed.end()] {
                (limit.write)(&mut rules, value);
                assert_eq!((limit.read)(&rules), value, "{}", limit.name);
            }
        }
        for exponent in 3..=12 {
            assert_eq!(PrivacyRules { delta_exponent: exponent, ..RULES }.delta().exponent(), exponent);
        }
    }

    #[test]
    fn noise_is_calibrated_for_those_that_surely_add_it() {
        // 16 bits: 32767 steps to 0.2, so a norm of 1 is 163,835 steps.
        let terms = RULES.terms(&encoding(1_000, 16), 200_000, 5);
        assert_eq!((terms.clip_norm, terms.colluders), (163_835, 1));
        // 4 Delta^2 over four sites.
        assert_eq!(terms.site_variance, terms.sensitivity_squared(1_000));
        // A scoring batch of three has two: each adds twice as much.
        assert_eq!(RULES.terms(&encoding(1_000, 16), 200_000, 3).site_variance, 2 * terms.site_variance);
    }

    #[test]
    fn the_budget_says_how_many_rounds_there_are() {
        // rho = 1/8 a round.
        assert_eq!(RULES.round_cost(), PrivacyCost::at_least(0.125 + 1e-11));
        let left = RULES.rounds_left(PrivacyCost::NONE, Scope::Job);
        assert!(RULES.check(RULES.cost_of(left), Scope::Job).is_ok());
        let over = RULES.check(RULES.cost_of(left + 1), Scope::Job).unwrap_err();
        assert_eq!((over.scope, over.budget_milli), (Scope::Job, 6_000));
        assert!(
            over.to_string().ends_with("at delta 10^-6, and privacy.job_epsilon_milli is 6000"),
            "{over}"
        );
        assert_eq!(RULES.rounds_left(RULES.cost_of(2), Scope::Job), left - 2);
        assert_eq!(RULES.rounds_left(RULES.cost_of(1_000), Scope::Job), 0);
        // A site has more to spend than a job.
        assert!(RULES.rounds_left(PrivacyCost::NONE, Scope::Site) > left);
    }

    proptest! {
        /// What is planned for is never less than what a context costs.
        #[test]
        fn no_round_costs_more_than_planned(
            clip_norm_micro in 1_u32..=1_000_000,
            noise_multiplier_milli in 1_u32..=10_000,
            colluders in 0_u16..3,
            coordinates in 1_u64..=1 << 32,
            bits in 13_u8..=20,
            summed in 3_usize..=256,
        ) {
            let rules = PrivacyRules { clip_norm_micro, noise_multiplier_milli, colluders, ..RULES };
            let encoding = encoding(coordinates, bits);
            let terms = rules.terms(&encoding, 200_000, summed);
            prop_assume!(terms.clip_norm <= konclave_crypto::privacy::MAX_CLIP_NORM);
            prop_assume!(terms.site_variance <= konclave_crypto::privacy::MAX_VARIANCE);
            prop_assert!(terms.cost(summed, coordinates) <= rules.round_cost());
        }
    }
}
