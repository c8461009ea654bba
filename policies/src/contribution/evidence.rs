//! What a site's evidence weighs under a policy.

use std::collections::BTreeSet;

use konclave_crypto::RoundNumber;

use super::inputs::{DepositEvidence, SiteEvidence};
use super::statement::Evidence;
use crate::rounds::{DataClassWeights, EvidenceWeights};

/// The largest count that a deposit may declare of anything: refused where deposits are taken, and of no weight where
/// they are paid for.
pub const MAX_DEPOSIT_COUNT: u64 = 1_000_000_000_000;

/// rounds x sum over deposits of class weight x (weighted records, structures and scaffolds); none if
/// it leaves u128.
///
/// A product, so that neither data that never trained nor training without deposited data weighs
/// anything; monotone in every count.
pub(super) fn weight(
    site: &SiteEvidence,
    counted: &EvidenceWeights,
    classes: &DataClassWeights,
) -> Option<u128> {
    let size = |deposit: &DepositEvidence| {
        let part = |count: u64, weight: u32| u128::from(count).checked_mul(u128::from(weight));
        part(deposit.records, counted.record)?
            .checked_add(part(deposit.unique_structures, counted.unique_structure)?)?
            .checked_add(part(deposit.scaffolds, counted.scaffold)?)?
            .checked_mul(u128::from(classes.of(deposit.class)))
    };
    let volume = site.deposits.iter().try_fold(0_u128, |sum, deposit| sum.checked_add(size(deposit)?))?;
    volume.checked_mul(u128::try_from(site.rounds.len()).ok()?)
}

/// The evidence of one site or of several taken together, in figures, with its weight; none if a sum
/// does not fit.
pub(super) fn figures<'a>(sites: impl Iterator<Item = (&'a SiteEvidence, u128)>) -> Option<Evidence> {
    let mut rounds = BTreeSet::<RoundNumber>::new();
    let mut tasks = BTreeSet::new();
    let mut sum = Evidence::default();
    let mut total = 0_u128;
    for (site, weight) in sites {
        rounds.extend(&site.rounds);
        for deposit in &site.deposits {
            tasks.insert(deposit.task.as_str());
            sum.records = sum.records.checked_add(deposit.records)?;
            sum.unique_structures = sum.unique_structures.checked_add(deposit.unique_structures)?;
            sum.scaffolds = sum.scaffolds.checked_add(deposit.scaffolds)?;
        }
        total = total.checked_add(weight)?;
    }
    sum.rounds = u32::try_from(rounds.len()).ok()?;
    sum.tasks = u32::try_from(tasks.len()).ok()?;
    sum.weight = total.to_string();
    Some(sum)
}
