//! Tags and verdicts: whether the opened sums are what the sites uploaded, and what the sites said of them.

use std::collections::BTreeSet;
use std::io::BufReader;

use konclave_crypto::SiteId;
use konclave_crypto::messages::{SumVerdict, TagEvidence};
use konclave_crypto::setup::Signatories;
use konclave_crypto::verification::{RecomputedTag, SumAnnouncement, SumCheck, Unverified, recompute};
use konclave_ledger::Hash;
use konclave_ledger::records::{OpenedUpload, SumResult};

use super::checks::{Checked, NotMade, RoundCheck, RoundFault, expect};
use super::job::{Job, Round, Stage, digest, quorum, sites};
use super::opening::announcement;
use super::{Place, Tools};
use crate::folder::AuditError;

/// What `round.tagged` says.
pub(super) struct Tags<'a> {
    pub(super) round: u32,
    pub(super) announcement: &'a Hash,
    pub(super) evidence: &'a Hash,
    pub(super) tagged: &'a [String],
    pub(super) uploads: &'a [OpenedUpload],
    pub(super) missing: &'a [String],
    pub(super) false_tags: &'a [String],
}

pub(super) fn settle(
    job: &mut Job,
    place: &Place<'_>,
    said: &Tags<'_>,
    tools: &mut Tools<'_>,
) -> Result<(), AuditError> {
    let found = job.at(said.round, &[Stage::Opened]).map(|round| round.stage = Stage::Tagged);
    if tools.note(RoundCheck::Order, place, found)?.is_none() {
        return Ok(());
    }
    let Some(round) = &job.round else { return Ok(()) };
    let evidence = listed(round, said).and_then(|()| signed(job, round, said, tools));
    let evidence = tools.note(RoundCheck::Tags, place, evidence)?;
    let sums = round.opening.as_ref().map_or(0, |opening| opening.batches.len());
    let group = if round.scoring { sums } else { 0 };
    for sum in std::iter::once(None).chain((0..group).map(Some)) {
        let checked = match &evidence {
            Some(evidence) => check_sum(job, round, sum, evidence, tools),
            None => Err(NotMade::RestsOn { check: RoundCheck::Tags }.into()),
        };
        tools.note(RoundCheck::Sum, place, checked)?;
    }
    Ok(())
}

/// What the entry's own lists show: there is a tag of each agreed site, or it is said why not.
fn listed(round: &Round, said: &Tags<'_>) -> Checked {
    expect(*said.announcement == round.opening()?.announcement, "the announcement", "that of the opening")?;
    let computed: Vec<&String> = said.uploads.iter().map(|upload| &upload.site).collect();
    let mut all: Vec<&String> =
        said.tagged.iter().chain(said.missing).chain(computed.iter().copied()).collect();
    all.sort();
    expect(all.iter().copied().eq(&round.agreed), "who tagged, or did not", "each agreed site, once")?;
    let untrue = said.false_tags.iter().all(|site| !said.tagged.contains(site));
    expect(untrue, "a site with a false tag", "left out of those that tagged")?;
    expect(
        !round.scoring || computed.is_empty(),
        "whose tag is computed",
        "nobody: it would tell two sites of a batch of three the third's update",
    )
}

/// What a sum is checked against.
struct Evidence {
    announcement: SumAnnouncement,
    tags: TagEvidence,
    computed: Vec<RecomputedTag>,
    /// Whose tags there are not.
    missing: BTreeSet<SiteId>,
}

/// The tags and, for sites that sent none, what it takes to compute them.
fn signed(job: &Job, round: &Round, said: &Tags<'_>, tools: &Tools<'_>) -> Checked<Evidence> {
    let announcement = announcement(round)?;
    if said.tagged.is_empty() && said.uploads.is_empty() {
        return Err(NotMade::Pending.into());
    }
    let (roster, context, set) = (job.roster()?, round.context()?, round.set()?);
    let tags: TagEvidence = tools.blobs.json("the tags", said.evidence)?;
    expect(tags.announcement == announcement, "what the tags are for", "the opened sums")?;
    let senders = tags.tags.iter().map(|tag| tag.site.as_str());
    expect(senders.eq(said.tagged.iter().map(String::as_str)), "who sent tags", "the sites named")?;
    let opened = tags.uploads.iter().map(|upload| (upload.site.as_str(), upload.body));
    let named = said.uploads.iter().map(|upload| (upload.site.as_str(), digest(&upload.body)));
    expect(opened.eq(named), "whose tags are computed", "the sites named, from the bodies named")?;
    if let Some(tag) = tags.tags.iter().find(|tag| {
        tag.context != context.digest() || tag.announcement != announcement.digest() || !tag.verify(roster)
    }) {
        return Err(Unverified::Tag { site: tag.site.clone() }.into());
    }
    let mut computed = Vec::with_capacity(tags.uploads.len());
    for upload in &tags.uploads {
        let body = BufReader::new(tools.blobs.open("a masked upload", &Hash(upload.body.0))?);
        computed.push(recompute(context, set, &announcement, &upload.site, &upload.opened, body)?);
    }
    let missing = sites(said.missing).unwrap_or_default();
    Ok(Evidence { announcement, tags, computed, missing })
}

/// One sum against the tags; `None` is the total.
fn check_sum(
    job: &Job,
    round: &Round,
    sum: Option<usize>,
    evidence: &Evidence,
    tools: &Tools<'_>,
) -> Checked {
    let (roster, context, set) = (job.roster()?, round.context()?, round.set()?);
    let Evidence { announcement, tags, computed, missing } = evidence;
    let check = match sum {
        None => SumCheck::of_total(roster, context, set, announcement, &tags.tags, computed),
        Some(index) => SumCheck::of_sum(index, roster, context, set, announcement, &tags.tags, computed),
    };
    let check = match check {
        Err(Unverified::Missing { sites }) if sites.is_subset(missing) => return Err(NotMade::Pending.into()),
        check => check?,
    };
    let coordinates = match sum.and_then(|index| announcement.sums.get(index)) {
        Some(sum) => sum.coordinates,
        None => announcement.total.coordinates,
    };
    let file = tools.blobs.open("a sum", &Hash(coordinates.0))?;
    let read =
        check.read(file).map_err(|source| AuditError::Read { path: coordinates.to_string(), source })?;
    read?;
    Ok(())
}

/// What `round.verified` says.
pub(super) struct Found<'a> {
    pub(super) round: u32,
    pub(super) announcement: &'a Hash,
    pub(super) result: SumResult,
    pub(super) accepted: &'a [String],
    pub(super) rejected: &'a [String],
    pub(super) evidence: &'a Hash,
}

pub(super) fn verify(
    job: &mut Job,
    place: &Place<'_>,
    said: &Found<'_>,
    tools: &mut Tools<'_>,
) -> Result<(), AuditError> {
    let end = if said.result == SumResult::Rejected { Stage::Rejected } else { Stage::Verified };
    let found = job.at(said.round, &[Stage::Tagged]).map(|round| round.stage = end);
    if tools.note(RoundCheck::Order, place, found)?.is_none() {
        return Ok(());
    }
    let Some(round) = &job.round else { return Ok(()) };
    tools.note(RoundCheck::Result, place, result(job, round, said))?;
    tools.note(RoundCheck::Verdicts, place, verdicts(job, round, said, tools))?;
    Ok(())
}

/// A quorum's word counts; where there is none, one site that found the sum wrong is enough.
fn result(job: &Job, round: &Round, said: &Found<'_>) -> Checked {
    expect(*said.announcement == round.opening()?.announcement, "the announcement", "that of the opening")?;
    let known = job.lists(said.accepted)? && job.lists(said.rejected)?;
    let apart = said.accepted.iter().all(|site| !said.rejected.contains(site));
    expect(known && apart, "a site with a verdict", "one of the roster, once")?;
    let due = if said.accepted.len() >= quorum(job.roster()?.sites().len()) {
        SumResult::Verified
    } else if said.rejected.is_empty() {
        SumResult::Pending
    } else {
        SumResult::Rejected
    };
    expect(said.result == due, "the result", "what the verdicts make it")
}

fn verdicts(job: &Job, round: &Round, said: &Found<'_>, tools: &Tools<'_>) -> Checked {
    let roster = job.roster()?;
    let verdicts: Vec<SumVerdict> = tools.blobs.json("the verdicts", said.evidence)?;
    for verdict in &verdicts {
        let list = if verdict.accepted { said.accepted } else { said.rejected };
        let counts = verdict.context == digest(&round.digest)
            && verdict.announcement == digest(said.announcement)
            && list.iter().any(|site| site == verdict.site.as_str())
            && verdict.verify(roster);
        if !counts {
            return Err(RoundFault::Verdict(verdict.site.clone()).into());
        }
    }
    let said_by: BTreeSet<&SiteId> = verdicts.iter().map(|verdict| &verdict.site).collect();
    let each = said_by.len() == verdicts.len() && verdicts.len() == said.accepted.len() + said.rejected.len();
    expect(each, "who gave a verdict", "each site named, once")
}
