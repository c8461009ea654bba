//! The agreed set of a round, what each site did, and the signatures of the quorum.

use std::collections::BTreeSet;

use konclave_crypto::SiteId;
use konclave_crypto::messages::AgreementEvidence;
use konclave_crypto::verification::AgreedSet;
use konclave_ledger::Hash;

use super::checks::{Checked, RoundCheck, RoundFault, expect};
use super::job::{Job, Round, Stage, digest, sites};
use super::{Place, Tools};

/// What `round.agreed` says; the digest is the entry's new value.
pub(super) struct Agreement<'a> {
    pub(super) round: u32,
    pub(super) agreed: &'a [String],
    pub(super) signed: &'a [String],
    pub(super) evidence: &'a Hash,
    pub(super) digest: Option<Hash>,
}

pub(super) fn agree(
    job: &mut Job,
    place: &Place<'_>,
    said: &Agreement<'_>,
    tools: &mut Tools<'_>,
) -> Result<(), crate::AuditError> {
    let found = job.at(said.round, &[Stage::Begun]).map(|round| {
        round.stage = Stage::Agreed;
        round.agreed = said.agreed.to_vec();
        round.signed = said.signed.to_vec();
        round.agreed_digest = said.digest;
    });
    if tools.note(RoundCheck::Order, place, found)?.is_none() {
        return Ok(());
    }
    let Some(round) = &job.round else { return Ok(()) };
    tools.note(RoundCheck::AgreedSet, place, listed(job, round, said))?;
    let set = signed(job, round, said, tools);
    let set = tools.note(RoundCheck::Agreement, place, set)?;
    if let Some(round) = &mut job.round {
        round.set = set;
    }
    Ok(())
}

/// What the entry's own lists show.
fn listed(job: &Job, round: &Round, said: &Agreement<'_>) -> Checked {
    expect(job.lists(said.agreed)? && job.lists(said.signed)?, "a site of the entry", "one of the roster")?;
    let context = round.context()?.context();
    let agreed: BTreeSet<SiteId> = sites(said.agreed).unwrap_or_default();
    expect(context.agreed_set(&agreed) == agreed, "the agreed set", "made of whole batches")?;
    let (found, least) = (agreed.len(), context.min_agreed);
    if found < usize::from(least) {
        return Err(RoundFault::TooFewAgreed { found, least }.into());
    }
    let (found, threshold) = (said.signed.len(), context.threshold);
    if found < usize::from(threshold) {
        return Err(RoundFault::TooFewSigned { found, threshold }.into());
    }
    Ok(())
}

/// What the proposal and the signatures show.
fn signed(job: &Job, round: &Round, said: &Agreement<'_>, tools: &Tools<'_>) -> Checked<AgreedSet> {
    let (roster, context) = (job.roster()?, round.context()?);
    let what = "the signatures on the agreed set";
    let evidence: AgreementEvidence = tools.blobs.json(what, said.evidence)?;
    let set = evidence.verify(roster, context)?;
    let agreed = evidence.proposal.agreed.iter().map(SiteId::as_str);
    expect(agreed.eq(said.agreed.iter().map(String::as_str)), "the agreed set", "the one that was signed")?;
    expect(
        said.digest.map(|hash| digest(&hash)) == Some(set.digest()),
        "the entry's digest",
        "the signed one",
    )?;
    for site in sites::<Vec<SiteId>>(said.signed).unwrap_or_default() {
        if !evidence.signatures.iter().any(|signature| signature.site == site) {
            return Err(RoundFault::Unsigned(site).into());
        }
    }
    Ok(set)
}

/// What `participation.recorded` says of one site.
pub(super) struct Part<'a> {
    pub(super) round: u32,
    pub(super) site: &'a String,
    pub(super) uploaded: bool,
    pub(super) agreed: bool,
    pub(super) signed: bool,
}

/// Rewards are paid by it.
pub(super) fn took_part(
    job: &mut Job,
    place: &Place<'_>,
    said: &Part<'_>,
    tools: &mut Tools<'_>,
) -> Result<(), crate::AuditError> {
    let opened = [Stage::Opened, Stage::Tagged, Stage::Verified, Stage::Rejected];
    let part = job.at(said.round, &opened).and_then(|round| {
        expect(
            round.agreed.contains(said.site) == said.agreed,
            "whether it is in the sum",
            "what was agreed",
        )?;
        expect(round.signed.contains(said.site) == said.signed, "whether it signed", "what was agreed")?;
        expect(said.uploaded || !(said.agreed || said.signed), "whether it uploaded", "what was agreed")
    });
    tools.note(RoundCheck::Participation, place, part)?;
    Ok(())
}
