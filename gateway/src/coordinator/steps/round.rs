//! A round's way from its context to the agreed set.

use std::collections::BTreeSet;
use std::sync::PoisonError;

use konclave_crypto::aggregator::Abort;
use konclave_crypto::messages::{AgreementEvidence, AgreementSignature};
use konclave_crypto::privacy::PrivacyCost;
use konclave_crypto::{
    Digest, Encoding, MaskGraph, Mode, RoundContext, RoundNumber, SignedContext, SiteId, TensorEncoding,
    UnixSeconds, batches,
};
use konclave_ledger::records::Record;
use konclave_openapi::models::ModelManifest;
use konclave_policies::quorum;
use konclave_policies::rounds::RoundPolicy;

use super::setup::deadline;
use super::{caller, names, object};
use crate::coordinator::CoordinatorError;
use crate::coordinator::decide::some_of;
use crate::core::{App, CommandError, Entry, Held, check_round};
use crate::projections::{JobState, to_digest, to_hash};
use crate::rounds_store::{Kind, RoundKey};

/// Signs the round's context and writes it to the ledger: before that, no site trains.
pub(super) async fn begin(
    app: &App,
    held: &Held,
    job: &JobState,
    policy: &RoundPolicy,
    round: RoundNumber,
    scoring: bool,
) -> Result<(), CoordinatorError> {
    let roster = app.roster(&job.job).await?;
    let encoding = encoding(app, job, policy).await?;
    let sites = u16::try_from(roster.len()).unwrap_or(u16::MAX);
    let head = app.ledger().read(konclave_ledger::Ledger::head).await.map_err(CommandError::from)?;
    let mut context = RoundContext {
        job: job.job.clone(),
        round,
        model: job.parameters,
        roster: roster.digest(),
        batches: match policy.batch_size {
            1 if !scoring => batches::singletons(&roster),
            _ => batches::scoring_batches(&roster, policy.scoring_batch_size),
        },
        mode: if scoring { Mode::Group } else { Mode::Full },
        encoding,
        threshold: quorum::threshold(sites),
        min_agreed: policy.min_agreed,
        min_batch: policy.min_batch,
        mask_graph: MaskGraph::Complete,
        policy: job.policy,
        training: job.request.training_digest(),
        ledger_size: head.size,
        ledger_root: to_digest(&head.root),
        noise: None,
    };
    if sites > policy.complete_graph_sites
        && let Some(degree) = context.least_degree(roster.len())
    {
        context.mask_graph = MaskGraph::Regular { degree };
    }
    context.noise = policy.noise_terms(&context.encoding, context.fewest_summed());
    context.encoding.ring_bits = policy.ring_bits(sites, context.noise.as_ref());
    context.validate(&roster)?;
    let cost = context.privacy_cost();
    // Held until the entry is there: no two jobs spend the same rest of a site's budget.
    let _spending = match cost {
        Some(_) => Some(app.lock("privacy-budgets").await),
        None => None,
    };
    if let Some(cost) = cost {
        check_round(&app.state(), job, policy, cost)?;
    }
    let digest = to_hash(&context.digest());
    let signed = SignedContext::sign(context, app.certificate().clone(), app.identity());
    let document = app.document(serde_json::to_value(&signed).map_err(CommandError::from)?).await?;
    let record = Record::RoundContext {
        job: job.job.to_string(),
        round: round.get(),
        context: digest,
        signed: document,
        scoring,
        parameters: to_hash(&job.parameters),
        deadline: deadline(app.clock().now(), policy.upload_seconds),
        privacy_cost: cost.map(PrivacyCost::nano_rho),
    };
    let reason = if scoring { "a scoring round begins" } else { "a round begins" };
    let entry = Entry::new(round_object(job, round), reason, record).changing(None, Some(digest));
    app.append(held, &caller("begin-round"), vec![entry]).await?;
    Ok(())
}

async fn encoding(app: &App, job: &JobState, policy: &RoundPolicy) -> Result<Encoding, CoordinatorError> {
    let manifest = {
        let state = app.state();
        let model = state.model(&job.request.model);
        let missing = || CoordinatorError::Missing { what: format!("the model {}", job.request.model) };
        model.ok_or_else(missing)?.manifest.clone()
    };
    let manifest: ModelManifest =
        serde_json::from_value(app.read_document(&manifest).await?).map_err(CommandError::from)?;
    let tensor = |tensor: konclave_openapi::models::ParameterTensor| TensorEncoding {
        len: tensor.shape.iter().product(),
        name: tensor.name,
        clip_micro: policy.clip_micro,
    };
    Ok(Encoding {
        tensors: manifest.parameters.into_iter().map(tensor).collect(),
        quantisation_bits: policy.quantisation_bits,
        // Known once the noise is.
        ring_bits: 0,
        weight_cap: policy.weight_cap,
    })
}

/// Fixes the set of uploads that the sites are asked to agree on. From here on it never changes.
pub(super) async fn close_uploads(
    app: &App,
    held: &Held,
    job: &JobState,
    policy: &RoundPolicy,
    key: &RoundKey,
) -> Result<(), CoordinatorError> {
    let live = app.live_round(key).await?;
    let closes = UnixSeconds(deadline(app.clock().now(), policy.agree_seconds));
    let closed = app
        .blocking(move |app| {
            let mut live = live.lock().unwrap_or_else(PoisonError::into_inner);
            Ok(live.close_uploads(app.rounds(), closes)?)
        })
        .await?;
    match closed {
        Ok(()) => app.notify(),
        Err(fault) => abort_for(app, held, job, key.round, &fault).await?,
    }
    Ok(())
}

/// Writes the agreed set to the ledger, then opens the unmasking.
pub(super) async fn close_agreement(
    app: &App,
    held: &Held,
    job: &JobState,
    policy: &RoundPolicy,
    key: &RoundKey,
) -> Result<(), CoordinatorError> {
    let round = key.round;
    let live = app.live_round(key).await?;
    let (proposal, signed) = {
        let live = live.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(proposal) = live.proposal().cloned() else { return Ok(()) };
        (proposal, live.signed_by())
    };
    let stored = {
        let key = key.clone();
        app.blocking(move |app| Ok(app.rounds().all::<AgreementSignature>(&Kind::Agreement(&key))?)).await?
    };
    let signatures = stored.into_values().collect();
    let evidence = AgreementEvidence { proposal: proposal.clone(), signatures };
    let evidence = serde_json::to_vec(&evidence).map_err(CommandError::from)?;
    let digest = Digest::of(&evidence);
    app.store_blob(&digest, evidence).await?;
    let record = Record::RoundAgreed {
        job: job.job.to_string(),
        round: round.get(),
        agreed: names(&proposal.agreed),
        signed: names(&signed),
        evidence: to_hash(&digest),
        deadline: deadline(app.clock().now(), policy.unmask_seconds),
    };
    let reason = format!("{} sites signed the set of {}", signed.len(), proposal.agreed.len());
    let entry = Entry::new(round_object(job, round), reason, record)
        .changing(None, Some(to_hash(&proposal.agreed_digest())));
    app.append(held, &caller("close-agreement"), vec![entry]).await?;
    let closed = live.lock().unwrap_or_else(PoisonError::into_inner).close_agreement();
    match closed {
        Ok(()) => app.notify(),
        Err(fault) => abort_for(app, held, job, round, &fault).await?,
    }
    Ok(())
}

/// Ends a round for a fault that the protocol found.
pub(super) async fn abort_for(
    app: &App,
    held: &Held,
    job: &JobState,
    round: RoundNumber,
    fault: &Abort,
) -> Result<(), CoordinatorError> {
    let (reason, culprits) = blame(fault);
    abort(app, held, job, round, reason, culprits).await
}

/// What is told of a fault, and who is named for it. A sum out of range is the work of one of its sites: nobody knows
/// which, and the others must not stand in the ledger as culprits.
fn blame(fault: &Abort) -> (String, BTreeSet<SiteId>) {
    let (culprits, suspects) = (fault.culprits(), fault.suspects());
    let reason = if culprits.is_empty() && !suspects.is_empty() {
        format!("{fault}; at fault is at least one of {}", some_of(&suspects))
    } else {
        fault.to_string()
    };
    (reason, culprits)
}

/// Ends a round with nothing opened, and deletes what came of it.
pub(super) async fn abort(
    app: &App,
    held: &Held,
    job: &JobState,
    round: RoundNumber,
    reason: String,
    culprits: BTreeSet<SiteId>,
) -> Result<(), CoordinatorError> {
    let record = Record::RoundAborted {
        job: job.job.to_string(),
        round: round.get(),
        reason: reason.clone(),
        culprits: names(&culprits),
    };
    let entry = Entry::new(round_object(job, round), reason, record);
    app.append(held, &caller("abort-round"), vec![entry]).await?;
    close(app, RoundKey { job: job.job.clone(), round }).await
}

/// Forgets a round that the ledger says is over.
pub(super) async fn close(app: &App, key: RoundKey) -> Result<(), CoordinatorError> {
    app.live().forget(&key);
    app.blocking(move |app| Ok(app.rounds().close_round(&key)?)).await
}

pub(super) fn round_object(job: &JobState, round: RoundNumber) -> String {
    format!("{}/rounds/{round}", object(job))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_sum_out_of_range_names_no_culprit_but_says_it_is_one_of_its_sites() {
        let batch: BTreeSet<SiteId> = ["site-a", "site-b"].map(|name| name.parse().unwrap()).into();
        let (reason, culprits) = blame(&Abort::OutOfRange { batch, coordinate: 7 });
        assert!(reason.ends_with("at least one of site-a, site-b"), "{reason}");
        assert!(culprits.is_empty());
        let dealer: SiteId = "site-a".parse().unwrap();
        assert_eq!(blame(&Abort::BadDealing { dealer: dealer.clone() }).1, BTreeSet::from([dealer]));
    }
}
