//! Verification of an opened sum: settling the tags, and writing down what the sites found.

use std::collections::BTreeSet;
use std::fs::File;
use std::io;
use std::sync::PoisonError;

use konclave_crypto::aggregator::{Settled, Tagging};
use konclave_crypto::messages::{OpenedUpload, SumVerdict, TagEvidence};
use konclave_crypto::{Digest, SiteId};
use konclave_ledger::records::{OpenedUpload as UploadRecord, Record, SumResult};
use konclave_policies::quorum;
use konclave_policies::rounds::RoundPolicy;

use super::round::round_object;
use super::setup::deadline;
use super::{caller, names};
use crate::coordinator::CoordinatorError;
use crate::core::{App, CommandError, Entry, Held, MEMBERS_ONLY};
use crate::projections::{JobState, OpenedState, RoundState, VerificationState, to_digest, to_hash};
use crate::rounds_store::{Kind, RoundKey};

/// What the tags came to, all of it stored.
struct Tags {
    evidence: Digest,
    tagged: BTreeSet<SiteId>,
    uploads: Vec<(SiteId, Digest)>,
    missing: BTreeSet<SiteId>,
    false_tags: BTreeSet<SiteId>,
}

fn opened_of<'a>(
    job: &'a JobState,
    key: &RoundKey,
) -> Result<(&'a RoundState, &'a OpenedState), CoordinatorError> {
    let known = job.rounds.get(&key.round).and_then(|round| round.opened().map(|opened| (round, opened)));
    known.ok_or_else(|| CoordinatorError::Missing { what: format!("the opened sum of {key}") })
}

/// Closes tagging, and deletes the bodies: from here on everybody can check the sum without the gateway's word.
pub(super) async fn settle_tags(
    app: &App,
    held: &Held,
    job: &JobState,
    policy: &RoundPolicy,
    key: &RoundKey,
) -> Result<(), CoordinatorError> {
    let (round, opened) = opened_of(job, key)?;
    let live = match app.live_round(key).await {
        Ok(live) => Some(live),
        Err(CoordinatorError::Rebuild(error)) => {
            tracing::warn!(%key, %error, "the tags are settled without what was stored of the opening");
            None
        }
        Err(error) => return Err(error),
    };
    let (owned, scoring, total) = (key.clone(), round.scoring, to_digest(&opened.total.sum));
    let agreed = round.agreed.as_ref().map(|agreed| agreed.agreed.clone()).unwrap_or_default();
    let tags = app
        .blocking(move |app| {
            let tagging =
                live.and_then(|live| live.lock().unwrap_or_else(PoisonError::into_inner).close_tagging());
            match tagging {
                Some(tagging) => gather(app, &owned, tagging, scoring, &total),
                None => nothing(app, agreed.into_iter().collect()),
            }
        })
        .await?;
    let upload =
        |(site, body): &(SiteId, Digest)| UploadRecord { site: site.to_string(), body: to_hash(body) };
    let record = Record::RoundTagged {
        job: job.job.to_string(),
        round: key.round.get(),
        announcement: to_hash(&opened.announcement),
        evidence: to_hash(&tags.evidence),
        tagged: names(&tags.tagged),
        uploads: tags.uploads.iter().map(upload).collect(),
        missing: names(&tags.missing),
        false_tags: names(&tags.false_tags),
        deadline: deadline(app.clock().now(), policy.agree_seconds),
    };
    let reason = format!("{} sites sent the tags that verify the sum", tags.tagged.len());
    let entry = Entry::new(round_object(job, key.round), reason, record)
        .changing(None, Some(to_hash(&tags.evidence)));
    app.append(held, &caller("settle-tags"), vec![entry]).await?;
    super::round::close(app, key.clone()).await?;
    app.notify();
    Ok(())
}

/// Settles tags and stores the evidence. In a scoring round a missing tag stays missing: from the body and the seeds
/// that it takes to compute it, two sites of a batch of three could compute the third's update.
fn gather(
    app: &App,
    key: &RoundKey,
    tagging: Tagging,
    scoring: bool,
    total: &Digest,
) -> Result<Tags, CoordinatorError> {
    let announcement = tagging.announcement().clone();
    let opened = tagging.opened().clone();
    let agreed: BTreeSet<SiteId> = tagging.agreed().headers().keys().cloned().collect();
    let file = File::open(app.blobs().path(total))?;
    let read_body =
        |site: &SiteId| Ok(io::BufReader::with_capacity(1 << 16, app.rounds().read_body(key, site)?));
    let settled = match tagging.settle(io::BufReader::with_capacity(1 << 16, file), read_body) {
        Ok(settled) => settled,
        Err(fault) => {
            tracing::error!(%key, %fault, "the tags cannot be settled: files of this gateway are damaged");
            return nothing(app, agreed);
        }
    };
    let Settled { tags, to_recompute, false_tags } = settled;
    let (mut uploads, mut missing) = (Vec::new(), BTreeSet::new());
    for site in to_recompute {
        match opened.get(&site).filter(|_| !scoring) {
            Some(opened) => {
                let mut body = app.rounds().read_body(key, &site)?;
                let mut blob = app.blobs().writer()?;
                io::copy(&mut body, &mut blob)?;
                let body = blob.finish()?;
                app.blobs().restrict(&body, MEMBERS_ONLY)?;
                uploads.push(OpenedUpload { site, opened: opened.clone(), body });
            }
            None => {
                missing.insert(site);
            }
        }
    }
    let tagged = tags.iter().map(|tag| tag.site.clone()).collect();
    let bodies: Vec<_> = uploads.iter().map(|upload| (upload.site.clone(), upload.body)).collect();
    let evidence = TagEvidence { announcement, tags, uploads };
    let evidence = app.blobs().put_bytes(&serde_json::to_vec(&evidence).map_err(CommandError::from)?)?;
    if !bodies.is_empty() {
        // It holds the seeds that go with the bodies.
        app.blobs().restrict(&evidence, MEMBERS_ONLY)?;
    }
    Ok(Tags { evidence, tagged, uploads: bodies, missing, false_tags })
}

/// Nothing can be said of the sum: it stays pending.
fn nothing(app: &App, missing: BTreeSet<SiteId>) -> Result<Tags, CoordinatorError> {
    let evidence = app.blobs().put_bytes(b"{}")?;
    let (tagged, false_tags) = (BTreeSet::new(), BTreeSet::new());
    Ok(Tags { evidence, tagged, uploads: Vec::new(), missing, false_tags })
}

/// Writes the sites' verdicts to the ledger. A sum that sites found wrong ends the job.
pub(super) async fn close(
    app: &App,
    held: &Held,
    job: &JobState,
    key: &RoundKey,
) -> Result<(), CoordinatorError> {
    let (_, opened) = opened_of(job, key)?;
    if !matches!(opened.verification, VerificationState::Checking { .. }) {
        return Ok(());
    }
    let owned = key.clone();
    let verdicts =
        app.blocking(move |app| Ok(app.rounds().all::<SumVerdict>(&Kind::Verdict(&owned))?)).await?;
    let (accepted, rejected): (Vec<&SumVerdict>, Vec<&SumVerdict>) =
        verdicts.values().partition(|verdict| verdict.accepted);
    let sites = u16::try_from(job.cohort.len()).unwrap_or(u16::MAX);
    let result = result(accepted.len(), rejected.len(), quorum::threshold(sites).into());
    let said: Vec<&SumVerdict> = verdicts.values().collect();
    let evidence = serde_json::to_vec(&said).map_err(CommandError::from)?;
    let digest = Digest::of(&evidence);
    app.store_blob(&digest, evidence).await?;
    let by = |verdicts: &[&SumVerdict]| names(verdicts.iter().map(|verdict| &verdict.site));
    let record = Record::RoundVerified {
        job: job.job.to_string(),
        round: key.round.get(),
        announcement: to_hash(&opened.announcement),
        result,
        accepted: by(&accepted),
        rejected: by(&rejected),
        evidence: to_hash(&digest),
    };
    let reason = match result {
        SumResult::Verified => format!("{} sites verified the opened sum", accepted.len()),
        SumResult::Pending => "too few sites could verify the opened sum".to_owned(),
        SumResult::Rejected => format!("{} sites found the opened sum wrong", rejected.len()),
    };
    let entry =
        Entry::new(round_object(job, key.round), reason, record).changing(None, Some(to_hash(&digest)));
    app.append(held, &caller("close-verification"), vec![entry]).await?;
    app.live().forget_quorums(key);
    if result == SumResult::Rejected {
        let reason = format!("sites found the sum of round {} wrong", key.round);
        super::setup::abort(app, held, job, reason, BTreeSet::new()).await?;
    }
    app.notify();
    Ok(())
}

/// A quorum's word counts. Where there is none, one site that found the sum wrong is enough to reject it: anybody can
/// check whether it is right.
fn result(accepted: usize, rejected: usize, threshold: usize) -> SumResult {
    if accepted >= threshold {
        SumResult::Verified
    } else if rejected > 0 {
        SumResult::Rejected
    } else {
        SumResult::Pending
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_quorum_verifies_and_without_one_a_single_site_rejects() {
        assert_eq!(result(5, 0, 5), SumResult::Verified);
        assert_eq!(result(5, 1, 5), SumResult::Verified);
        assert_eq!(result(4, 0, 5), SumResult::Pending);
        assert_eq!(result(4, 1, 5), SumResult::Rejected);
        assert_eq!(result(0, 0, 5), SumResult::Pending);
    }
}
