//! A round's beginning: the model it starts from, and the context that the gateway signed.

use konclave_crypto::setup::Signatories;
use konclave_crypto::{ConsortiumRoot, Mode, SignedContext, UnixSeconds, VerifiedContext};
use konclave_ledger::Hash;
use konclave_ledger::records::Document;

use super::checks::{Checked, RoundCheck, RoundFault, expect};
use super::job::{Job, Round, Stage, digest, quorum};
use super::policy::PolicyLimits;
use super::privacy::privacy;
use super::{Place, Tools};

/// What `round.context` says.
pub(super) struct Beginning<'a> {
    pub(super) round: u32,
    pub(super) context: &'a Hash,
    pub(super) signed: &'a Document,
    pub(super) scoring: bool,
    pub(super) parameters: &'a Hash,
    pub(super) privacy_cost: Option<u64>,
}

/// Who may have signed, and when it was written down.
pub(super) struct Signer {
    pub(super) root: Option<ConsortiumRoot>,
    pub(super) time: UnixSeconds,
}

pub(super) fn begin(
    job: &mut Job,
    place: &Place<'_>,
    said: &Beginning<'_>,
    policy: Option<&PolicyLimits>,
    signer: &Signer,
    tools: &mut Tools<'_>,
) -> Result<(), crate::AuditError> {
    tools.note(RoundCheck::Order, place, job.may_begin(said.round))?;
    let starts = expect(*said.parameters == job.model, "the model", "the one that the rounds before led to");
    tools.note(RoundCheck::Model, place, starts)?;
    let context = context(job, place, said, policy, signer, tools);
    let context = tools.note(RoundCheck::Context, place, context)?;
    let round = Round {
        number: said.round,
        stage: Stage::Begun,
        scoring: said.scoring,
        digest: *said.context,
        model: *said.parameters,
        context,
        agreed: Vec::new(),
        signed: Vec::new(),
        agreed_digest: None,
        set: None,
        opening: None,
    };
    tools.note(RoundCheck::Quorum, place, threshold(job, &round))?;
    let cost = privacy(job, &round, said, policy);
    tools.note(RoundCheck::Privacy, place, cost)?;
    job.round = Some(round);
    Ok(())
}

/// The signed context, held against the entry, the job and its policy as each site holds it against its own.
fn context(
    job: &Job,
    place: &Place<'_>,
    said: &Beginning<'_>,
    policy: Option<&PolicyLimits>,
    signer: &Signer,
    tools: &Tools<'_>,
) -> Checked<VerifiedContext> {
    let signed: SignedContext = tools.blobs.document("the signed context", said.signed)?;
    let context = &signed.context;
    expect(context.digest() == digest(said.context), "the entry's context", "the signed one")?;
    expect(context.job.as_str() == place.job, "the context's job", "the entry's")?;
    expect(context.round.get() == said.round, "the context's round", "the entry's")?;
    expect(context.model == digest(said.parameters), "the context's model", "the entry's")?;
    expect((context.mode == Mode::Group) == said.scoring, "the context's mode", "the entry's")?;
    let scored = job.scoring_rounds.contains(&job.opened.saturating_add(1));
    expect(scored == said.scoring, "whether the round is scored", "as the job asks for")?;
    expect(context.policy == digest(&job.policy), "the context's policy", "the job's")?;
    expect(
        context.ledger_size <= place.index,
        "the ledger's size in the context",
        "one from before the entry",
    )?;
    let policy = policy.ok_or(RoundFault::NoPolicy)?;
    expect(policy.allows(&context.encoding), "the encoding of updates", "within the policy's limits")?;
    let floor = policy.floor(!job.scoring_rounds.is_empty());
    let root = signer.root.ok_or(RoundFault::NoRoot)?;
    Ok(signed.verify(&root, job.roster()?, signer.time, &floor)?)
}

fn threshold(job: &Job, round: &Round) -> Checked {
    let (found, sites) = (round.context()?.context().threshold, job.roster()?.sites().len());
    let quorum = quorum(sites);
    if usize::from(found) == quorum {
        Ok(())
    } else {
        Err(RoundFault::Quorum { found, sites, quorum }.into())
    }
}
