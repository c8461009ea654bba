//! Shamir's t-of-n secret sharing over the scalar field of Ristretto255 (Shamir 1979).
//!
//! The dealer's polynomial has the secret as its constant term; site number `k` of the roster (from 0) holds its value
//! at `k + 1`. Fewer than t shares say nothing about the secret.

use std::collections::BTreeMap;

use curve25519_dalek::scalar::Scalar;
use rand_core::CryptoRng;

use crate::seed::Seed;

/// Deals one share to each of `sites` sites, in roster order. `threshold` is at least 1.
pub(crate) fn deal<R: CryptoRng + ?Sized>(
    secret: &Seed,
    threshold: u16,
    sites: usize,
    rng: &mut R,
) -> Vec<Seed> {
    let random: Vec<Seed> = (1..threshold).map(|_| Seed::random(rng)).collect();
    evaluate(secret, &random, sites)
}

/// The values of the polynomial with constant term `secret` and the higher coefficients in ascending order.
fn evaluate(secret: &Seed, higher: &[Seed], sites: usize) -> Vec<Seed> {
    (0..sites)
        .map(|site| {
            let x = point(site);
            // Horner's rule, from the highest coefficient down to the secret.
            let high = higher.iter().rev().fold(Scalar::ZERO, |value, c| value * x + c.scalar());
            Seed::from_scalar(high * x + secret.scalar())
        })
        .collect()
}

/// Interpolates at zero from the shares of distinct sites, keyed by roster index. Returns the dealt secret if there are
/// at least t shares of one dealing, and an unrelated scalar otherwise: the caller compares with the commitment.
pub(crate) fn recover(shares: &BTreeMap<usize, Seed>) -> Seed {
    let points: Vec<Scalar> = shares.keys().map(|site| point(*site)).collect();
    let mut denominators: Vec<Scalar> = points
        .iter()
        .map(|x| points.iter().filter(|other| *other != x).map(|other| other - x).product())
        .collect();
    Scalar::invert_batch_alloc(&mut denominators);
    let all: Scalar = points.iter().product();
    let mut inverse_points = points;
    Scalar::invert_batch_alloc(&mut inverse_points);
    let terms = shares.values().zip(&inverse_points).zip(&denominators);
    Seed::from_scalar(
        terms.map(|((share, inverse_x), weight)| share.scalar() * all * inverse_x * weight).sum(),
    )
}

fn point(site: usize) -> Scalar {
    Scalar::from(site as u64 + 1)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use proptest::sample::subsequence;
    use rand_chacha::ChaCha20Rng;
    use rand_core::SeedableRng;

    use super::*;
    use crate::vectors;

    fn pick(shares: &[Seed], sites: &[usize]) -> BTreeMap<usize, Seed> {
        sites.iter().map(|site| (*site, Seed::from_scalar(*shares[*site].scalar()))).collect()
    }

    fn seeds(list: &serde_json::Value) -> Option<Vec<Seed>> {
        list.as_array().unwrap().iter().map(|hex| Seed::from_bytes(&vectors::bytes(hex))).collect()
    }

    #[test]
    fn known_answers() {
        let file = vectors::load(include_str!("../vectors/shamir.json"));
        for case in vectors::cases(&file, "positive") {
            let shares = evaluate(
                &seeds(&case["secret"]).unwrap()[0],
                &seeds(&case["coefficients"]).unwrap(),
                case["shares"].as_array().unwrap().len(),
            );
            assert!(shares == seeds(&case["shares"]).unwrap());
            let threshold = case["coefficients"].as_array().unwrap().len() + 1;
            let last: Vec<usize> = (shares.len() - threshold..shares.len()).collect();
            assert!(recover(&pick(&shares, &last)) == seeds(&case["secret"]).unwrap()[0]);
        }
        for case in vectors::cases(&file, "negative") {
            let sites: Vec<usize> =
                case["sites"].as_array().unwrap().iter().map(|at| at.as_u64().unwrap() as usize).collect();
            let recovered =
                seeds(&case["shares"]).map(|shares| recover(&sites.iter().copied().zip(shares).collect()));
            let secret = &seeds(&case["secret"]).unwrap()[0];
            assert!(recovered.is_none_or(|found| found != *secret), "{}", case["why"]);
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]

        #[test]
        fn any_t_shares_recover_and_t_minus_1_do_not(
            (sites, threshold, chosen) in (2_usize..=12)
                .prop_flat_map(|n| (Just(n), 2..=n))
                .prop_flat_map(|(n, t)| (Just(n), Just(t), subsequence((0..n).collect::<Vec<_>>(), t))),
            seed in any::<[u8; 32]>(),
        ) {
            let mut rng = ChaCha20Rng::from_seed(seed);
            let secret = Seed::random(&mut rng);
            let shares = deal(&secret, threshold as u16, sites, &mut rng);
            prop_assert!(recover(&pick(&shares, &chosen)) == secret);
            prop_assert!(recover(&pick(&shares, &chosen[1..])) != secret);
            let all: Vec<_> = (0..sites).collect();
            prop_assert!(recover(&pick(&shares, &all)) == secret);
        }
    }

    #[test]
    fn t_minus_1_shares_fit_every_secret() {
        // With the t-1 shares of one dealing, each candidate secret still has a consistent last share.
        let mut rng = ChaCha20Rng::from_seed([1; 32]);
        let shares = deal(&Seed::random(&mut rng), 3, 5, &mut rng);
        for candidate in 0..4_u8 {
            let candidate = Seed::from_scalar(Scalar::from(candidate));
            // Interpolate through (0, candidate), (1, s0), (2, s1) and evaluate at 3.
            let third = *candidate.scalar() - Scalar::from(3_u8) * shares[0].scalar()
                + Scalar::from(3_u8) * shares[1].scalar();
            let mut fitted = pick(&shares, &[0, 1]);
            fitted.insert(2, Seed::from_scalar(third));
            assert!(recover(&fitted) == candidate);
        }
    }
}
