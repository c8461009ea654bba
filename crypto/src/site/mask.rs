//! Step 1: mask an update, deal the shares of its seeds, commit to both.

use std::collections::BTreeMap;

use rand_core::CryptoRng;

use super::AwaitAgreement;
use super::state::Uploaded;
use crate::context::{RoundContext, VerifiedContext};
use crate::dealing::DealingPlan;
use crate::digest::Digest;
use crate::encoding::{Encoding, EncodingError, RingVector, lane_mask, squared_norm};
use crate::identity::IdentityKey;
use crate::ids::{RoundNumber, SiteId};
use crate::merkle::root_of_body;
use crate::messages::{Manifest, ManifestHeader};
use crate::prg::{MaskStream, Sign, pair_sign};
use crate::privacy::{DiscreteGaussian, NoiseTerms, PrivacyError};
use crate::round::Round;
use crate::sealing::{SealBinding, seal};
use crate::secret::Secret;
use crate::seed::Seed;
use crate::setup::{PairwiseChains, Roster};

/// Why nothing was masked. Nothing has left the site.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum MaskError {
    /// The chains were set up with another roster.
    #[error("the context names another roster than this site's keys were set up with")]
    Roster,
    /// The chains stand at another round: already used, or not advanced yet.
    #[error("the context is for round {context}, the chains stand at round {chains}")]
    Round {
        /// Round of the context.
        context: RoundNumber,
        /// Round of the chains.
        chains: RoundNumber,
    },
    /// The identity key is not the one in the roster.
    #[error("the identity key is not the one that the roster lists for `{site}`")]
    Identity {
        /// The site that owns the chains.
        site: SiteId,
    },
    /// The update does not fit the encoding.
    #[error("the update does not fit the context's encoding: {0}")]
    Update(#[from] EncodingError),
    /// There is no noise of the context's variance.
    #[error("the context's noise cannot be made: {0}")]
    Noise(#[from] PrivacyError),
}

/// Masks an update for one round.
///
/// Returns the next state, the manifest and the packed, masked body. Store the state and the body durably, then send
/// manifest and body. After a restart send the stored ones; do not mask again.
///
/// Where the context has terms of noise, a fresh discrete Gaussian is added to each coordinate of `update` first.
///
/// The upload is `y_i = x_i + PRG(b_i) + sum_{j>i} PRG(s_ij) - sum_{j<i} PRG(s_ij) mod 2^b` (Bonawitz et al. 2017,
/// section 4), with a fresh self-mask seed `b_i` and pairwise seeds `s_ij` bound to the context.
///
/// # Errors
/// [`MaskError`] if chains, roster, context, key and update do not belong together.
pub fn mask<R: CryptoRng + ?Sized>(
    chains: &PairwiseChains,
    roster: &Roster,
    context: &VerifiedContext,
    key: &IdentityKey,
    update: impl Into<RingVector>,
    rng: &mut R,
) -> Result<(AwaitAgreement, Manifest, Vec<u8>), MaskError> {
    let round = Round { context: context.context(), digest: context.digest(), roster };
    let site = chains.site();
    let update = update.into();
    check(chains, &round, key, &update)?;

    let self_seed = Seed::random(rng);
    let foreign = || MaskError::Roster;
    let pair_seeds = round
        .context
        .neighbours(site)
        .into_iter()
        .map(|peer| chains.pair_seed(&peer, &round.digest).map(|seed| (peer, seed)).ok_or_else(foreign))
        .collect::<Result<BTreeMap<_, _>, _>>()?;

    let update = with_noise(update, round.context, rng)?;
    let body = mask_body(update, &round, site, &self_seed, &pair_seeds);

    let plan = DealingPlan::new(&round, site);
    let seeds: Vec<&Seed> = std::iter::once(&self_seed).chain(pair_seeds.values()).collect();
    let (share_root, bundles) = plan.deal(&seeds, round.context.threshold, rng);

    let header = ManifestHeader {
        context: round.digest,
        site: site.clone(),
        self_mask_hash: self_seed.self_commitment(&round.digest, site),
        pair_seed_hashes: pair_seeds
            .iter()
            .map(|(peer, seed)| (peer.clone(), seed.pair_commitment(&round.digest, site, peer)))
            .collect(),
        share_root,
        body_root: root_of_body(&body),
        body_bytes: body.len() as u64,
    };

    let (mut sealed, mut own_bundle) = (Vec::new(), None);
    for (receiver, bundle) in bundles {
        if receiver == *site {
            own_bundle = Some(bundle);
            continue;
        }
        let binding =
            SealBinding { context: &round.digest, from: site, to: &receiver, share_root: &share_root };
        let round_key = chains.sealing_key(&receiver, &round.digest).ok_or_else(foreign)?;
        sealed.push(seal(&round_key, &binding, bundle.to_bytes()).ok_or_else(foreign)?);
    }

    let manifest = Manifest { signed: header.sign(key), sealed };
    let state = Uploaded {
        round: round.context.round,
        manifest: manifest.clone(),
        pair_seeds,
        opening_keys: opening_keys(chains, &round.digest, roster).ok_or_else(foreign)?,
        own_bundle: own_bundle.ok_or_else(foreign)?,
    };
    Ok((AwaitAgreement(Box::new(state)), manifest, body))
}

fn check(
    chains: &PairwiseChains,
    round: &Round<'_>,
    key: &IdentityKey,
    update: &RingVector,
) -> Result<(), MaskError> {
    let (site, context) = (chains.site(), round.context);
    if chains.roster() != round.roster.digest() || context.roster != chains.roster() {
        return Err(MaskError::Roster);
    }
    if round.roster.identity_key(site) != Some(&key.public()) {
        return Err(MaskError::Identity { site: site.clone() });
    }
    if chains.round() != context.round {
        return Err(MaskError::Round { context: context.round, chains: chains.round() });
    }
    check_update(update, &context.encoding)?;
    match &context.noise {
        Some(noise) => Ok(check_norm(update, &context.encoding, noise)?),
        None => Ok(()),
    }
}

/// More than the sensitivity would not be hidden by the noise.
fn check_norm(update: &RingVector, encoding: &Encoding, noise: &NoiseTerms) -> Result<(), EncodingError> {
    let allowed = noise.sensitivity_squared(encoding.coordinates());
    let coordinates = update.lanes().split_last().map_or(&[][..], |(_, coordinates)| coordinates);
    if squared_norm(coordinates, update.bits()) > u128::from(allowed) {
        return Err(EncodingError::Norm);
    }
    Ok(())
}

/// An honest site's own range check: an update out of range would make every site's round abort.
fn check_update(update: &RingVector, encoding: &Encoding) -> Result<(), EncodingError> {
    let (found, expected) = (update.len() as u64, encoding.lanes());
    if found != expected || update.bits() != encoding.ring_bits {
        return Err(EncodingError::Length { found, expected });
    }
    let Some((weight, coordinates)) = update.lanes().split_last() else {
        return Err(EncodingError::Size);
    };
    if *weight == 0 || *weight > encoding.weight_cap {
        return Err(EncodingError::Weight { found: *weight, cap: encoding.weight_cap });
    }
    let largest = encoding.quantised_max().unsigned_abs();
    let outside = |lane: &u32| crate::encoding::centred(*lane, encoding.ring_bits).unsigned_abs() > largest;
    // Whole runs first: a search that may stop at any lane is several times slower.
    let any_outside = |run: &[u32]| run.iter().fold(false, |any, lane| any | outside(lane));
    if !coordinates.chunks(1024).any(any_outside) {
        return Ok(());
    }
    let index = coordinates.iter().position(outside).unwrap_or(0) as u64;
    Err(EncodingError::Range { index })
}

/// Adds the context's noise to every coordinate, not to the weight. The noise is nowhere else: a site that stored the masked
/// body sends it again, and never draws anew.
fn with_noise<R: CryptoRng + ?Sized>(
    update: RingVector,
    context: &RoundContext,
    rng: &mut R,
) -> Result<RingVector, MaskError> {
    let Some(noise) = &context.noise else { return Ok(update) };
    let gaussian = DiscreteGaussian::new(noise.site_variance)?;
    let bits = update.bits();
    let mut lanes = update.into_lanes();
    if let Some((_, coordinates)) = lanes.split_last_mut() {
        gaussian.add_noise(coordinates, rng);
        coordinates.iter_mut().for_each(|lane| *lane &= lane_mask(bits));
    }
    Ok(RingVector::from_lanes(lanes, bits)?)
}

fn mask_body(
    update: RingVector,
    round: &Round<'_>,
    site: &SiteId,
    self_seed: &Seed,
    pair_seeds: &BTreeMap<SiteId, Seed>,
) -> Vec<u8> {
    let mut streams = vec![MaskStream::new(self_seed.stream_key(&round.digest), Sign::Add)];
    streams.extend(
        pair_seeds
            .iter()
            .map(|(peer, seed)| MaskStream::new(seed.stream_key(&round.digest), pair_sign(site, peer))),
    );
    // Masked in place, so that no second copy of the plain update comes to be.
    let bits = update.bits();
    let mut lanes = update.into_lanes();
    konclave_mask_kernel::mask(&streams, &mut lanes, bits)
}

fn opening_keys(
    chains: &PairwiseChains,
    context: &Digest,
    roster: &Roster,
) -> Option<BTreeMap<SiteId, Secret<32>>> {
    roster
        .sites()
        .filter(|peer| *peer != chains.site())
        .map(|peer| Some((peer.clone(), chains.opening_key(peer, context)?)))
        .collect()
}

#[cfg(test)]
mod tests {
    use konclave_mask_kernel::apply as apply_streams;

    use super::*;

    /// What a gateway sees of two sites after it has taken off both self masks.
    fn sum_without_self_masks(contexts: [Digest; 2], chain: u8) -> u32 {
        let chain = Secret::copy_from(&[chain; 32]);
        let seed = |context| Seed::from_wide(&crate::key_schedule::pair_seed_bytes(&chain, context));
        let mut lanes = [5, 7];
        for (site, context) in contexts.iter().enumerate() {
            let sign = [Sign::Add, Sign::Subtract][site];
            apply_streams(
                &[MaskStream::new(seed(context).stream_key(context), sign)],
                0,
                &mut lanes[site..=site],
            );
        }
        lanes[0].wrapping_add(lanes[1])
    }

    #[test]
    fn updates_to_two_models_open_to_noise() {
        let (one, other) = (Digest([1; 32]), Digest([2; 32]));
        assert!((0..32).all(|chain| sum_without_self_masks([one, one], chain) == 12));
        let noise: Vec<u32> = (0..32).map(|chain| sum_without_self_masks([one, other], chain)).collect();
        assert!(noise.iter().all(|sum| *sum != 12));
        // Every bit of the sum is set sometimes and clear sometimes.
        assert_eq!(noise.iter().fold(0, |all, sum| all | sum), u32::MAX);
        assert_eq!(noise.iter().fold(u32::MAX, |all, sum| all & sum), 0);
    }

    #[test]
    fn an_update_out_of_range_is_not_masked() {
        let encoding = Encoding {
            tensors: vec![crate::TensorEncoding { name: "x".into(), len: 1, clip_micro: 1 }],
            quantisation_bits: 8,
            ring_bits: 16,
            weight_cap: 9,
        };
        let check = |lanes: &[u32], bits| {
            check_update(&RingVector::from_lanes(lanes.to_vec(), bits).unwrap(), &encoding)
        };
        assert_eq!(check(&[127, 9], 16), Ok(()));
        assert_eq!(check(&[65536 - 127, 1], 16), Ok(()));
        assert_eq!(check(&[128, 1], 16), Err(EncodingError::Range { index: 0 }));
        assert_eq!(check(&[65536 - 128, 1], 16), Err(EncodingError::Range { index: 0 }));
        assert_eq!(check(&[0, 10], 16), Err(EncodingError::Weight { found: 10, cap: 9 }));
        assert_eq!(check(&[0, 0], 16), Err(EncodingError::Weight { found: 0, cap: 9 }));
        assert!(matches!(check(&[0, 0, 1], 16), Err(EncodingError::Length { .. })));
        assert!(matches!(check(&[0, 1], 17), Err(EncodingError::Length { .. })));
    }
}
