//! How a roster is cut into batches.

use konclave_crypto::setup::Roster;
use konclave_crypto::{Digest, SiteId};
use konclave_policies::contribution::MAX_BATCHES;

/// Every site by itself: nothing but the sum over all is opened.
pub(crate) fn singletons(roster: &Roster) -> Vec<Vec<SiteId>> {
    roster.sites().map(|site| vec![site.clone()]).collect()
}

/// The scoring batches of a job: at least `batch_size` sites each, sizes differing by at most one, at most
/// [`MAX_BATCHES`] of them.
///
/// Sites are dealt out in the order of SHA-256(label, job, roster digest, site): public randomness that the roster
/// fixes, the same for all scoring rounds of the job. It is not drawn anew each round: sums over changing
/// partitions add up to a system of equations that gives away single updates.
pub(crate) fn scoring_batches(roster: &Roster, batch_size: u16) -> Vec<Vec<SiteId>> {
    let size = usize::from(batch_size.max(1));
    let count = (roster.len() / size).clamp(1, MAX_BATCHES);
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

fn ticket(roster: &Roster, site: &SiteId) -> Digest {
    let text = format!("konclave/v1/scoring-batches\n{}\n{}\n{site}", roster.job(), roster.digest());
    Digest::of(text.as_bytes())
}
