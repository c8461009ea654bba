//! A round's last steps: tag the opened sum, check it against all tags, and say what was found.
//!
//! A site trains on no model that it has not checked: that the opened sum is the sum of what the sites uploaded, and that
//! the model after it is the model before, moved by that sum. What was opened is what the ledger says, which is the same
//! for all; everything else that a check needs proves itself by signatures and digests.

use std::io::BufReader;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use konclave_crypto::messages::{SumTag, SumVerdict, TagEvidence};
use konclave_crypto::setup::Roster;
use konclave_crypto::verification::{AgreedSet, OwnUpload, SumCheck, Unverified, tag};
use konclave_crypto::{Digest, JobId, RoundNumber, VerifiedContext};

use super::error::{StepError, blob_folder, blocking};
use super::learner::Learner;
use super::session::Session;
use super::site::Site;
use super::{evidence, sums};
use crate::keystore::JobStore;

impl<L: Learner> Site<L> {
    /// Sends this site's tag of an opened sum; makes it first, once.
    pub(super) async fn tag(&self, job: &JobId, round: RoundNumber) -> Result<(), StepError> {
        let mut store = self.store(job)?;
        let tag = match store.tagged(round)? {
            Some(tag) => tag,
            None => match self.make_tag(job, round, &mut store).await? {
                Some(tag) => tag,
                None => return Ok(()),
            },
        };
        Ok(self.member.client.send_tag(job, round, self.member.site(), &tag).await?)
    }

    async fn make_tag(
        &self,
        job: &JobId,
        round: RoundNumber,
        store: &mut JobStore,
    ) -> Result<Option<SumTag>, StepError> {
        let Some(masked) = store.masked(round)? else {
            tracing::info!("round {round}: this site made no update, so it has nothing to tag");
            return Ok(None);
        };
        let signed = store.agreed(round)?.map(|agreed| agreed.signature.agreed_digest);
        let (roster, context) = self.context_of(job, round, store, &masked).await?;
        let entry = self.ledger().opened(job, round).await?;
        let view = self.member.client.round(job, round).await?;
        let agreed = evidence::agreed_set(&self.member, &view, &roster, &context).await?;
        let request = self.member.client.tagging(job, round, self.member.site()).await?;
        if request.announcement.digest() != entry.announcement || context.digest() != entry.context {
            let what = "an announcement that the ledger holds";
            return Err(StepError::NoEvidence { round, what });
        }
        let (member, body) = (Arc::clone(&self.member), masked.body);
        let tagging = move || -> Result<SumTag, StepError> {
            let file = sums::open_file(&body)?;
            let (site, key) = (member.site(), &member.keys.identity);
            let upload = OwnUpload { site, key, signed, body: BufReader::with_capacity(1 << 16, file) };
            tag(&roster, &context, &agreed, &request, upload)
                .map_err(|source| StepError::Tag { round, source })
        };
        let tag = blocking("tagging", tagging).await??;
        store.store_tagged(round, &tag)?;
        tracing::info!("round {round}: tagged the opened sum");
        Ok(Some(tag))
    }

    /// Checks an opened sum and says what was found; checks once, says it however often.
    pub(super) async fn verify_sum(&self, job: &JobId, round: RoundNumber) -> Result<(), StepError> {
        let mut store = self.store(job)?;
        let shared = self.session(job).await?;
        let mut session = shared.lock().await;
        let roster = session.roster(&self.member, job, &mut store).await?;
        let accepted = match store.verdict(round) {
            Some(accepted) => accepted,
            None => self.check_sum(&session, &roster, round, &mut store).await?,
        };
        let entry = self.ledger().opened(job, round).await?;
        let (site, key) = (self.member.site(), &self.member.keys.identity);
        let verdict = SumVerdict::sign(entry.context, site.clone(), entry.announcement, accepted, key);
        Ok(self.member.client.send_verdict(job, round, site, &verdict).await?)
    }

    /// Checks every sum between the last model that this site has checked and the one after a round.
    pub(super) async fn ensure_verified(
        &self,
        session: &Session,
        roster: &Arc<Roster>,
        round: RoundNumber,
        store: &mut JobStore,
    ) -> Result<(), StepError> {
        let (job, initial) = (roster.job().clone(), session.manifest.initial_parameters);
        let mut unchecked = Vec::new();
        let mut next = Some(round);
        while let Some(round) = next {
            if store.verdict(round) == Some(false) {
                return Err(StepError::WrongSum { round });
            }
            let entry = self.ledger().opened(&job, round).await?;
            if store.has_verified(round, entry.after) {
                break;
            }
            unchecked.push((round, entry.scoring));
            next = self.ledger().standing(&job, round, initial).await?.came_of;
        }
        for (round, scoring) in unchecked.into_iter().rev() {
            match self.check_sum(session, roster, round, store).await {
                Ok(true) => {}
                Ok(false) => return Err(StepError::WrongSum { round }),
                // From what it would take to compute the missing tag, two sites of a batch of three could compute
                // the third's update. The ledger shows that the sum is not verified.
                Err(StepError::Unverified { source: Unverified::Missing { sites }, .. }) if scoring => {
                    tracing::warn!(
                        "round {round}: its sum is not verified, tags of {} sites are missing",
                        sites.len()
                    );
                }
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    /// Checks one opened sum, and the model after it. The answer is in the journal on return.
    async fn check_sum(
        &self,
        session: &Session,
        roster: &Arc<Roster>,
        round: RoundNumber,
        store: &mut JobStore,
    ) -> Result<bool, StepError> {
        let job = roster.job().clone();
        let entry = self.ledger().opened(&job, round).await?;
        let view = self.member.client.round(&job, round).await?;
        let context = self.verify(session, roster, round, &view.context)?;
        if context.digest() != entry.context {
            return Err(StepError::ContextField { round, field: "digest" });
        }
        let standing = self.ledger().standing(&job, round, session.manifest.initial_parameters).await?;
        let agreed = evidence::agreed_set(&self.member, &view, roster, &context).await?;
        let tags = view.verification.as_ref().and_then(|verification| verification.tags);
        let tags = tags.ok_or(StepError::NoEvidence { round, what: "the tags" })?;
        let evidence = evidence::tags(&self.member, round, tags, entry.announcement).await?;
        // What the ledger's entry adds to the announcement that the tags are for: from which model the sum moves on, and
        // how far.
        let consistent = entry.before == standing.model
            && context.context().model == standing.model
            && entry.total.weight == evidence.announcement.total.weight;
        if !consistent {
            tracing::error!(
                %job,
                "round {round}: the ledger's entry starts from another model, or divides by another weight, than the round"
            );
            store.store_verdict(round, false, entry.after)?;
            return Ok(false);
        }
        let coordinates = session.manifest.coordinates;
        let blobs = blob_folder(&self.member.disk, &self.member.folder)?;
        let fetch = |digest, limit| self.member.client.fetch_blob(digest, &blobs, limit);
        let vector = coordinates.saturating_mul(4);
        let total = fetch(Digest(entry.total.sum.0), vector).await?;
        let before = fetch(entry.before, vector).await?;
        let mut bodies = Vec::with_capacity(evidence.uploads.len());
        for upload in &evidence.uploads {
            bodies.push(fetch(upload.body, context.context().encoding.body_bytes()).await?);
        }
        let (rate, roster) = (session.request.server_rate_micro, Arc::clone(roster));
        let (after, told) = (entry.after, job.clone());
        let check = move || -> Result<bool, StepError> {
            let checked = check_total(&roster, &context, &agreed, &evidence, &total, &bodies);
            for body in &bodies {
                sums::forget(body);
            }
            let right = match checked? {
                Ok(()) => {
                    let encoding = &context.context().encoding;
                    let sums = std::slice::from_ref(&total);
                    sums::moved(encoding, &before, sums, entry.total.weight, rate)? == Some(entry.after)
                }
                Err(source @ Unverified::Missing { .. }) => {
                    return Err(StepError::Unverified { round, source });
                }
                Err(reason) => {
                    tracing::error!(job = %told, "round {round}: {reason}");
                    false
                }
            };
            sums::forget(&total);
            Ok(right)
        };
        let right = blocking("checking the opened sum", check).await??;
        store.store_verdict(round, right, after)?;
        if right {
            tracing::info!(
                "round {round}: the opened sum is the sum of what {} sites uploaded",
                view.agreed.len()
            );
        } else {
            tracing::error!(
                %job,
                "round {round}: the opened sum or the model after it is wrong; this site rejects it"
            );
        }
        Ok(right)
    }
}

/// The tags, those computed from bodies included, against the total.
fn check_total(
    roster: &Roster,
    context: &VerifiedContext,
    agreed: &AgreedSet,
    evidence: &TagEvidence,
    total: &Path,
    bodies: &[PathBuf],
) -> Result<Result<(), Unverified>, StepError> {
    let recomputed = match sums::recomputed(context, agreed, evidence, bodies)? {
        Ok(recomputed) => recomputed,
        Err(reason) => return Ok(Err(reason)),
    };
    let announcement = &evidence.announcement;
    match SumCheck::of_total(roster, context, agreed, announcement, &evidence.tags, &recomputed) {
        Ok(check) => Ok(sums::read(check, total)?.map(drop)),
        Err(reason) => Ok(Err(reason)),
    }
}
