//! How a roster is cut into batches: a function of public facts, which every site computes again.
//!
//! A gateway that could choose the batches of each scoring round would get sums over changing sets of sites; a few such
//! rounds are a system of equations that gives away every single update (So et al. 2023).

use crate::digest::Digest;
use crate::ids::SiteId;
use crate::setup::Signatories;
use crate::transcript::Transcript;

/// Most batches of one roster: exact contribution values need the 2^m coalitions of m batches.
pub const MAX_BATCHES: usize = 10;

/// Every site by itself, in the roster's order: nothing but the sum over all agreed sites is opened.
#[must_use]
pub fn singletons(roster: &impl Signatories) -> Vec<Vec<SiteId>> {
    roster.sites().map(|site| vec![site.clone()]).collect()
}

/// The scoring batches of a job: at least `batch_size` sites each, sizes differing by at most one, at most
/// [`MAX_BATCHES`] of them, each ascending by site.
///
/// Sites are dealt out in the order of SHA-256(label, job, roster, site). The roster's digest covers every site's keys,
/// so nobody knows the batches before all keys are there; whoever advertises last can still try keys, which is why a
/// job has one partition and not one for each round.
#[must_use]
pub fn scoring_batches(roster: &impl Signatories, batch_size: u16) -> Vec<Vec<SiteId>> {
    let size = usize::from(batch_size.max(1));
    let count = (roster.sites().len() / size).clamp(1, MAX_BATCHES);
    let mut order: Vec<(Digest, &SiteId)> = roster.sites().map(|site| (ticket(roster, site), site)).collect();
    order.sort();
    let mut batches = vec![Vec::new(); count];
    for ((_, site), turn) in order.iter().zip((0..count).cycle()) {
        if let Some(batch) = batches.get_mut(turn) {
            batch.push((*site).clone());
        }
    }
    for batch in &mut batches {
        batch.sort();
    }
    batches
}

fn ticket(roster: &impl Signatories, site: &SiteId) -> Digest {
    Transcript::new("scoring-batches")
        .text(roster.job().as_str())
        .digest(&roster.digest())
        .text(site.as_str())
        .hash()
}
