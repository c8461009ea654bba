//! Zero-concentrated differential privacy: what a round costs, and what the costs of many rounds amount to.
//!
//! A mechanism is rho-zCDP if the Renyi divergence of order alpha between its outputs on neighbouring inputs is at most
//! `rho alpha` for every alpha > 1 (Bun and Steinke 2016). Costs of rounds add up, also where a round's input depends
//! on what earlier ones gave out.

use std::iter::Sum;

use serde::{Deserialize, Serialize};

/// A zCDP parameter rho in billionths, rounded up. Sums saturate: a cost that is too large for the type is over every
/// budget.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
#[serde(transparent)]
pub struct PrivacyCost(u64);

impl PrivacyCost {
    /// Nothing spent.
    pub const NONE: Self = Self(0);

    /// A cost of so many billionths.
    #[must_use]
    pub const fn from_nano_rho(nano: u64) -> Self {
        Self(nano)
    }

    /// The cost in billionths of rho.
    #[must_use]
    pub const fn nano_rho(self) -> u64 {
        self.0
    }

    /// The least cost that is not below `rho`. What is no number, or too large, becomes the largest cost.
    #[must_use]
    #[expect(clippy::cast_possible_truncation, reason = "a whole number in the type's range")]
    pub fn at_least(rho: f64) -> Self {
        // Arithmetic in f64 may have been some roundings short.
        let nano = (rho * 1e9 * (1.0 + 1e-12)).ceil();
        if nano >= 0.0 && nano < u64::MAX as f64 { Self(nano as u64) } else { Self(u64::MAX) }
    }

    /// rho.
    #[must_use]
    pub fn rho(self) -> f64 {
        if self.0 == u64::MAX { f64::INFINITY } else { self.0 as f64 * 1e-9 }
    }

    /// This cost and another.
    #[must_use]
    pub const fn and(self, other: Self) -> Self {
        Self(self.0.saturating_add(other.0))
    }

    /// The epsilon of (epsilon, delta)-differential privacy.
    ///
    /// The least value of `rho a + ln(1 - 1/a) - ln(a delta) / (a - 1)` over `a > 1` (Canonne, Kamath and Steinke 2020,
    /// proposition 12). Every `a` gives a sound bound, so that a search which stops early costs tightness alone.
    #[must_use]
    pub fn epsilon(self, delta: Delta) -> f64 {
        let rho = self.rho();
        if rho == 0.0 {
            return 0.0;
        }
        if !rho.is_finite() {
            return f64::INFINITY;
        }
        // In terms of t = ln(a - 1): one valley.
        let bound = |t: f64| {
            let a = 1.0 + t.exp();
            rho * a + (t.exp() / a).ln() - (a.ln() + delta.ln()) / t.exp()
        };
        let (mut low, mut high) = (-20.0_f64, 40.0_f64);
        let ratio = (5.0_f64.sqrt() - 1.0) / 2.0;
        for _ in 0..200 {
            let (left, right) = (high - ratio * (high - low), low + ratio * (high - low));
            if bound(left) <= bound(right) { high = right } else { low = left }
        }
        bound(f64::midpoint(low, high)).max(0.0)
    }
}

impl PrivacyCost {
    /// [`Self::epsilon`] in thousandths, rounded up; at most 10^12, far above what is worth the name.
    #[must_use]
    #[expect(clippy::cast_possible_truncation, reason = "a whole number in the type's range")]
    pub fn epsilon_milli(self, delta: Delta) -> u64 {
        (self.epsilon(delta) * 1e3).ceil().clamp(0.0, 1e12) as u64
    }
}

impl Sum for PrivacyCost {
    fn sum<I: Iterator<Item = Self>>(costs: I) -> Self {
        costs.fold(Self::NONE, Self::and)
    }
}

/// The delta of (epsilon, delta)-differential privacy, as a power of ten.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
#[serde(try_from = "u8", into = "u8")]
pub struct Delta {
    exponent: u8,
}

/// A delta outside 10^-3 to 10^-12.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a delta of 10^-{exponent} is outside 10^-3 to 10^-12")]
pub struct DeltaError {
    /// The exponent.
    pub exponent: u8,
}

impl Delta {
    /// `10^-6`.
    pub const MILLIONTH: Self = Self { exponent: 6 };

    /// `10^-exponent`, for 3 to 12.
    ///
    /// # Errors
    /// [`DeltaError`] for another exponent.
    pub fn new(exponent: u8) -> Result<Self, DeltaError> {
        if (3..=12).contains(&exponent) { Ok(Self { exponent }) } else { Err(DeltaError { exponent }) }
    }

    /// The exponent, without its sign.
    #[must_use]
    pub const fn exponent(self) -> u8 {
        self.exponent
    }

    fn ln(self) -> f64 {
        -f64::from(self.exponent) * std::f64::consts::LN_10
    }
}

impl TryFrom<u8> for Delta {
    type Error = DeltaError;

    fn try_from(exponent: u8) -> Result<Self, DeltaError> {
        Self::new(exponent)
    }
}

impl From<Delta> for u8 {
    fn from(delta: Delta) -> Self {
        delta.exponent
    }
}

/// The zCDP parameter of a sum to which `noisy` parties each added discrete Gaussian noise of parameter `variance` in each
/// of `coordinates`, where one party can change the sum by at most `sensitivity_squared` in squared L2 norm.
///
/// The sum of discrete Gaussians is almost, but not quite, one. With
/// `tau = 10 sum_{k=1}^{noisy-1} exp(-2 pi^2 v k / (k + 1))` the cost is at most
/// `(sensitivity / sqrt(noisy v) + tau sqrt(coordinates))^2 / 2` (Kairouz, Liu and Steinke 2021, theorem 1 and
/// proposition 14). At v = 4 tau is already below 10^-14.
#[must_use]
pub fn sum_of_discrete_gaussians(
    noisy: u64,
    variance: u64,
    sensitivity_squared: u64,
    coordinates: u64,
) -> PrivacyCost {
    if noisy == 0 || variance == 0 {
        return PrivacyCost::at_least(f64::INFINITY);
    }
    let v = variance as f64;
    let exponent = -2.0 * std::f64::consts::PI.powi(2) * v;
    // The terms decrease; from the second on they are at most the second.
    let tau = match noisy {
        1 => 0.0,
        2 => 10.0 * (exponent / 2.0).exp(),
        _ => 10.0 * ((exponent / 2.0).exp() + (noisy - 2) as f64 * (exponent * 2.0 / 3.0).exp()),
    };
    let scale = (sensitivity_squared as f64 / (noisy as f64 * v)).sqrt();
    PrivacyCost::at_least((scale + tau * (coordinates as f64).sqrt()).powi(2) / 2.0)
}

#[cfg(test)]
mod tests {
    use serde_json::Value;

    use super::*;
    use crate::vectors;

    fn cases(kind: &str, what: &str) -> Vec<Value> {
        let file = vectors::load(include_str!("../../vectors/privacy/accounting.json"));
        let found: Vec<_> =
            vectors::cases(&file, kind).into_iter().filter(|case| case["what"] == what).collect();
        assert!(!found.is_empty());
        found
    }

    fn epsilon(case: &Value) -> f64 {
        let delta = Delta::new(case["delta_exponent"].as_u64().unwrap() as u8).unwrap();
        let round = PrivacyCost::from_nano_rho(case["nano_rho"].as_u64().unwrap());
        let rounds = case["rounds"].as_u64().unwrap() as usize;
        std::iter::repeat_n(round, rounds).sum::<PrivacyCost>().epsilon(delta)
    }

    #[test]
    fn epsilons_are_those_of_two_published_libraries() {
        for case in cases("positive", "conversion") {
            let found = epsilon(&case);
            let opendp = case["opendp"].as_f64().unwrap();
            assert!((found - opendp).abs() <= 1e-6 * opendp, "{found} for {case}");
            // Google's takes the best of a list of orders: a little above the least value over all orders.
            let google = case["dp_accounting_rdp"].as_f64().unwrap();
            assert!(found <= google * (1.0 + 1e-9) && google <= found * 1.001, "{found} for {case}");
            // The exact epsilon of the continuous Gaussian: zCDP must not promise more, and loses little.
            let exact = case["dp_accounting_pld"].as_f64().unwrap();
            assert!(exact <= found && found <= exact * 1.35, "{found} for {case}");
        }
        for case in cases("negative", "conversion") {
            let (found, opendp) = (epsilon(&case), case["opendp"].as_f64().unwrap());
            assert!((found - opendp).abs() > 1e-3 * opendp, "{}: {found}", case["why"]);
        }
    }

    #[test]
    fn the_cost_of_a_sum_covers_its_exact_divergence() {
        let cost = |case: &Value| {
            let number = |name: &str| case[name].as_u64().unwrap();
            let shift = number("shift");
            sum_of_discrete_gaussians(number("noisy"), number("variance"), shift * shift, 1)
        };
        for case in cases("positive", "divergence") {
            for [order, exact] in
                serde_json::from_value::<Vec<[f64; 2]>>(case["divergences"].clone()).unwrap()
            {
                let bound = cost(&case).rho() * order;
                assert!(exact <= bound && bound <= exact * 1.3, "order {order}: {bound} for {case}");
            }
        }
        for case in cases("negative", "divergence") {
            for [order, exact] in
                serde_json::from_value::<Vec<[f64; 2]>>(case["divergences"].clone()).unwrap()
            {
                assert!(cost(&case).rho() * order < exact, "{}: order {order}", case["why"]);
            }
        }
    }

    #[test]
    fn nothing_spent_is_nothing_lost_and_too_much_is_everything() {
        let delta = Delta::new(6).unwrap();
        assert_eq!(PrivacyCost::NONE.epsilon(delta).to_bits(), 0.0_f64.to_bits());
        assert_eq!(PrivacyCost::from_nano_rho(u64::MAX).epsilon(delta).to_bits(), f64::INFINITY.to_bits());
        assert_eq!(PrivacyCost::at_least(f64::NAN).nano_rho(), u64::MAX);
        assert_eq!(PrivacyCost::at_least(-1.0).nano_rho(), u64::MAX);
        assert_eq!(PrivacyCost::at_least(1e300).nano_rho(), u64::MAX);
        assert_eq!(sum_of_discrete_gaussians(0, 9, 1, 1).nano_rho(), u64::MAX);
        let most = PrivacyCost::from_nano_rho(u64::MAX - 1);
        assert_eq!(most.and(most).nano_rho(), u64::MAX);
    }

    #[test]
    fn costs_round_up() {
        assert_eq!(PrivacyCost::at_least(1e-12).nano_rho(), 1);
        assert_eq!(PrivacyCost::at_least(0.5).nano_rho(), 500_000_001);
        // Sensitivity 10, variance 4 * 25: rho = 100 / 200.
        assert_eq!(sum_of_discrete_gaussians(4, 25, 100, 1_000_000).nano_rho(), 500_000_001);
    }

    #[test]
    fn epsilon_grows_with_cost_and_shrinks_with_delta() {
        let epsilons: Vec<f64> = (1..40)
            .map(|step| PrivacyCost::from_nano_rho(1 << step).epsilon(Delta::new(6).unwrap()))
            .collect();
        assert!(epsilons.windows(2).all(|pair| pair[0] < pair[1]), "{epsilons:?}");
        let one = PrivacyCost::from_nano_rho(100_000_000);
        assert!(one.epsilon(Delta::new(5).unwrap()) < one.epsilon(Delta::new(6).unwrap()));
        for bad in [0, 2, 13, 255] {
            assert_eq!(Delta::new(bad), Err(DeltaError { exponent: bad }));
        }
    }
}
