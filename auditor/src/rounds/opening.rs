//! What was opened in a round, and the models that it leads to.

use std::collections::BTreeSet;
use std::fs::File;

use konclave_crypto::encoding::{MoveError, Moved, ServerStep};
use konclave_crypto::verification::{AnnouncedSum, AnnouncedTotal, SumAnnouncement};
use konclave_crypto::{Digest, SiteId};
use konclave_ledger::Hash;
use konclave_ledger::records::{CoalitionParameters, Document, OpenedBatch};

use super::checks::{Checked, NotMade, RoundCheck, RoundFault, expect};
use super::job::{Job, Opening, Round, Stage, digest, sites};
use super::{Place, Tools};
use crate::folder::AuditError;

/// What `round.opened` says.
pub(super) struct Said<'a> {
    pub(super) round: u32,
    pub(super) context: &'a Hash,
    pub(super) opening: Opening,
    pub(super) coalitions: Option<&'a Document>,
}

pub(super) fn open(
    job: &mut Job,
    place: &Place<'_>,
    said: Said<'_>,
    tools: &mut Tools<'_>,
) -> Result<(), AuditError> {
    let Said { round: number, context, opening, coalitions } = said;
    let after = opening.after;
    let found = job.at(number, &[Stage::Agreed]).map(|round| {
        round.stage = Stage::Opened;
        round.opening = Some(opening);
    });
    if tools.note(RoundCheck::Order, place, found)?.is_none() {
        return Ok(());
    }
    job.model = after;
    job.opened = job.opened.saturating_add(1);
    let Some(round) = &job.round else { return Ok(()) };
    tools.note(RoundCheck::Opening, place, consistent(round, context, coalitions.is_some()))?;
    tools.note(RoundCheck::Announcement, place, announced(round))?;
    tools.note(RoundCheck::NextModel, place, next_model(job, round, tools))?;
    if let Some(listed) = coalitions {
        tools.note(RoundCheck::Coalitions, place, coalition_models(job, round, listed, tools))?;
    }
    Ok(())
}

/// The entry against the round's earlier ones.
fn consistent(round: &Round, context: &Hash, scored: bool) -> Checked {
    let Opening { batches, total, before, .. } = round.opening()?;
    expect(*context == round.digest, "the context", "the round's")?;
    expect(*before == round.model, "the model before", "the one that the round starts from")?;
    expect(scored == round.scoring, "whether there are coalitions", "as the round was begun")?;
    let mut summed: Vec<&String> = batches.iter().flat_map(|batch| &batch.sites).collect();
    summed.sort();
    expect(summed.iter().copied().eq(&round.agreed), "the sites in the sums", "the agreed set")?;
    if !round.scoring {
        let whole = matches!(batches.as_slice(), [only] if only.sum == total.sum);
        expect(whole, "what was opened", "one sum, the total")?;
    } else if let Ok(verified) = round.context() {
        let agreed: BTreeSet<SiteId> = sites(&round.agreed).unwrap_or_default();
        let whole =
            verified.context().batches.iter().filter(|batch| batch.iter().all(|site| agreed.contains(site)));
        let opened = batches.iter().map(|batch| sites::<Vec<SiteId>>(&batch.sites).unwrap_or_default());
        expect(opened.eq(whole.cloned()), "what was opened", "the sum of each batch")?;
    }
    let weight = batches.iter().try_fold(0_u64, |sum, batch| sum.checked_add(batch.weight));
    expect(weight == Some(total.weight), "the total's weight", "the sum of the weights")
}

/// The announcement that the entry tells in other words.
pub(super) fn announcement(round: &Round) -> Checked<SumAnnouncement> {
    let Opening { batches, total, .. } = round.opening()?;
    let sum = |batch: &OpenedBatch| {
        let sites: Vec<SiteId> = sites(&batch.sites)?;
        Some(AnnouncedSum { sites, coordinates: digest(&batch.sum), weight: batch.weight })
    };
    let unnamed = NotMade::RestsOn { check: RoundCheck::Agreement };
    let sums: Option<Vec<AnnouncedSum>> = batches.iter().map(sum).collect();
    Ok(SumAnnouncement {
        context: digest(&round.digest),
        agreed_digest: round.agreed_digest.map(|hash| digest(&hash)).ok_or(unnamed)?,
        sums: sums.ok_or(NotMade::RestsOn { check: RoundCheck::Opening })?,
        total: AnnouncedTotal { coordinates: digest(&total.sum), weight: total.weight },
    })
}

fn announced(round: &Round) -> Checked {
    let announcement = announcement(round)?;
    let named = digest(&round.opening()?.announcement);
    expect(announcement.digest() == named, "the announcement", "that of the opened sums")?;
    match &round.set {
        Some(set) => Ok(announcement.check(set)?),
        None => Ok(()),
    }
}

/// The model after, from the model before and the total.
fn next_model(job: &Job, round: &Round, tools: &Tools<'_>) -> Checked {
    let Opening { total, after, .. } = round.opening()?;
    let moved = moved(job, round, &[(&total.sum, total.weight)], tools)?;
    expect(moved == digest(after), "the model after", "the model before moved by the sum")
}

/// The list of coalitions, and each model in it.
fn coalition_models(job: &Job, round: &Round, listed: &Document, tools: &Tools<'_>) -> Checked {
    let Opening { batches, before, after, .. } = round.opening()?;
    let listed: Vec<CoalitionParameters> = tools.blobs.document("the list of coalitions", listed)?;
    let numbered = listed.iter().enumerate().all(|(place, entry)| usize::from(entry.coalition) == place);
    expect(
        numbered
            && u32::try_from(batches.len()).ok().and_then(|count| 1_usize.checked_shl(count))
                == Some(listed.len()),
        "the list of coalitions",
        "one of every coalition, in order",
    )?;
    let ends = [listed.first(), listed.last()].map(|entry| entry.map(|entry| entry.parameters));
    expect(
        ends == [Some(*before), Some(*after)],
        "the first or the last coalition",
        "the model before or after",
    )?;
    let whole = listed.len().saturating_sub(1);
    for entry in listed.iter().take(whole).skip(1) {
        let members = batches.iter().enumerate().filter(|(place, _)| entry.coalition >> place & 1 == 1);
        let sums: Vec<(&Hash, u64)> = members.map(|(_, batch)| (&batch.sum, batch.weight)).collect();
        let moved = moved(job, round, &sums, tools)?;
        expect(
            moved == digest(&entry.parameters),
            "the model of a coalition",
            "the model before moved by its sums",
        )?;
    }
    Ok(())
}

/// The digest of the round's model moved by sums, all of them blobs that are what their names say.
fn moved(job: &Job, round: &Round, sums: &[(&Hash, u64)], tools: &Tools<'_>) -> Checked<Digest> {
    let encoding = &round.context()?.context().encoding;
    let before = &round.opening()?.before;
    let weight = sums.iter().fold(0_u64, |all, (_, weight)| all.saturating_add(*weight));
    let rate =
        job.rate.ok_or(RoundFault::Differs { field: "the server's rate", expected: "in the request" })?;
    let step = ServerStep::new(encoding, weight, rate)?;
    let model = tools.blobs.open("the model before", before)?;
    let mut files: Vec<File> = Vec::with_capacity(sums.len());
    for (sum, _) in sums {
        files.push(tools.blobs.open("a sum", sum)?);
    }
    let moved = match step.moved(model, &mut files) {
        Ok(moved) => moved,
        Err(MoveError::Read(source)) => {
            return Err(AuditError::Read { path: before.to_string(), source }.into());
        }
        Err(MoveError::Apply(fault)) => return Err(fault.into()),
    };
    let Moved { before: read, sums: summed, after } = moved;
    if read != digest(before) {
        return Err(RoundFault::Altered { what: "the model before", blob: *before }.into());
    }
    for (found, (named, _)) in summed.iter().zip(sums) {
        if *found != digest(named) {
            return Err(RoundFault::Altered { what: "a sum", blob: **named }.into());
        }
    }
    Ok(after)
}
