//! Whether a round opened what the sites signed, and whether the model moved by what was opened.
//!
//! That an opened sum is the plain sum of the sites' updates cannot be seen from outside, which is the point: the test
//! `exact_sums` shows it with updates known in advance. What can be seen is looked at here for every round.

use std::collections::BTreeSet;

use konclave_crypto::{Digest, Mode, OpenedSum, SiteId, apply_sums};
use konclave_ledger::records::Record;
use konclave_openapi::jobs::Job;
use konclave_openapi::rounds::{OpeningView, Round, RoundPhase};

use crate::error::HarnessError;
use crate::partner::PartnerClient;

/// What was found about one round.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Exactness {
    /// Whether the opened set is the set that a quorum of sites signed, by the interface and by both ledger entries.
    pub(super) set_as_signed: bool,
    /// Whether the opened sum, applied to the model before, gives the model after, bit for bit; absent where nothing
    /// was opened, and in a scoring round, whose sums only the evaluator may read.
    pub(super) step_as_opened: Option<bool>,
}

impl Exactness {
    /// Whether nothing that could be looked at was wrong.
    pub(super) fn holds(self) -> bool {
        self.set_as_signed && self.step_as_opened != Some(false)
    }
}

/// Looks at one round as the developer.
pub(super) fn of(
    developer: &PartnerClient,
    job: &Job,
    round: &Round,
    ledger: &[Record],
) -> Result<Exactness, HarnessError> {
    let opened = round.phase == RoundPhase::Opened && round.context.context.mode == Mode::Full;
    let step = opened.then(|| step_as_opened(developer, job, round)).transpose()?;
    Ok(Exactness { set_as_signed: set_as_signed(round, ledger), step_as_opened: step })
}

fn step_as_opened(developer: &PartnerClient, job: &Job, round: &Round) -> Result<bool, HarnessError> {
    let Some(after) = round.parameters_after else { return Ok(false) };
    let sum = |opening: &OpeningView| {
        Ok(OpenedSum {
            sites: opening.sites.clone(),
            coordinates: words(developer, &opening.sum)?.into_iter().map(i32::from_le_bytes).collect(),
            weight: opening.weight,
        })
    };
    let sums: Vec<OpenedSum> = round.openings.iter().map(sum).collect::<Result<_, HarnessError>>()?;
    let floats = |digest| {
        let words = words(developer, digest)?;
        Ok(words.into_iter().map(f32::from_le_bytes).collect::<Vec<_>>())
    };
    let before = floats(&round.parameters_before)?;
    let after: Vec<f32> = floats(&after)?;
    let recomputed =
        apply_sums(&before, &sums, &round.context.context.encoding, job.request.server_rate_micro);
    let bits = |model: &[f32]| model.iter().map(|value| value.to_bits()).collect::<Vec<_>>();
    Ok(recomputed.is_ok_and(|recomputed| bits(&recomputed) == bits(&after)))
}

/// A blob as words of four bytes; its digest is checked.
fn words(developer: &PartnerClient, digest: &Digest) -> Result<Vec<[u8; 4]>, HarnessError> {
    let bytes = developer.get_bytes(&format!("/v1/blobs/{digest}"))?;
    let (words, rest) = bytes.as_chunks::<4>();
    if Digest::of(&bytes) != *digest || !rest.is_empty() {
        return Err(HarnessError::unexpected(format!("blob {digest}"), "other bytes than its name says"));
    }
    Ok(words.to_vec())
}

fn names(sites: &[SiteId]) -> BTreeSet<String> {
    sites.iter().map(ToString::to_string).collect()
}

/// The interface's view of the agreed set, the opened sums and both ledger entries name the same sites and sums.
fn set_as_signed(round: &Round, ledger: &[Record]) -> bool {
    let number = round.round.get();
    let agreed = names(&round.agreed);
    let opened: Vec<SiteId> = round.openings.iter().flat_map(|opening| opening.sites.clone()).collect();
    let threshold = usize::from(round.context.context.threshold);
    let in_ledger = |record: &Record| {
        if let Record::RoundAgreed { job, round: of, agreed: sites, signed, .. } = record
            && (*of == number && *job == round.job.as_str())
        {
            let sites: BTreeSet<String> = sites.iter().cloned().collect();
            return Some(sites == agreed && signed.len() >= threshold);
        }
        if let Record::RoundOpened { job, round: of, batches, .. } = record
            && (*of == number && *job == round.job.as_str())
        {
            let same = batches.len() == round.openings.len()
                && batches.iter().zip(&round.openings).all(|(entry, view)| {
                    let sites: Vec<&str> = view.sites.iter().map(SiteId::as_str).collect();
                    entry.sites == sites && entry.sum.0 == *view.sum.as_bytes() && entry.weight == view.weight
                });
            return Some(same);
        }
        None
    };
    let entries: Vec<bool> = ledger.iter().filter_map(in_ledger).collect();
    round.phase == RoundPhase::Opened
        && opened.len() == agreed.len()
        && names(&opened) == agreed
        && entries == [true, true]
}
