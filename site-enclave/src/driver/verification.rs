//! A round's last steps: tag the opened sum, check it against all tags, and say what was found.
//!
//! A site trains on no model that it has not checked: that the opened sum is the sum of what the sites uploaded, and that
//! the model after it is the model before, moved by that sum. What was opened is what the ledger says, which is the same
//! for all; everything else that a check needs proves itself by signatures and digests.

use std::fs::File;
use std::io::{self, BufReader, Read};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use konclave_crypto::encoding::ServerStep;
use konclave_crypto::messages::{AgreementEvidence, SumTag, SumVerdict, TagEvidence};
use konclave_crypto::setup::Roster;
use konclave_crypto::verification::{AgreedSet, OwnUpload, SumCheck, Unverified, recompute, tag};
use konclave_crypto::{Digest, JobId, RoundNumber, VerifiedContext};
use konclave_ledger::records::{OpenedTotal, Record};
use konclave_openapi::rounds::Round;
use ring::digest::{Context, SHA256};
use serde::de::DeserializeOwned;

use super::error::{StepError, blob_folder, blocking};
use super::learner::Learner;
use super::session::Session;
use super::site::Site;
use crate::keystore::JobStore;

/// Most bytes of the evidence of one round: signed headers and tags of every site.
const EVIDENCE_LIMIT: u64 = 64 << 20;
/// Coordinates read at once.
const READ_AT_ONCE: usize = 1 << 17;

/// What the ledger says was opened in a round.
struct OpenedEntry {
    context: Digest,
    announcement: Digest,
    total: OpenedTotal,
    before: Digest,
    after: Digest,
    scoring: bool,
}

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
        let entry = self.opened_entry(job, round).await?;
        let view = self.member.client.round(job, round).await?;
        let agreed = self.agreed_set(round, &view, &roster, &context).await?;
        let request = self.member.client.tagging(job, round, self.member.site()).await?;
        if request.announcement.digest() != entry.announcement || context.digest() != entry.context {
            let what = "an announcement that the ledger holds";
            return Err(StepError::NoEvidence { round, what });
        }
        let (member, body) = (Arc::clone(&self.member), masked.body);
        let tagging = move || -> Result<SumTag, StepError> {
            let file = open_file(&body)?;
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
        let entry = self.opened_entry(job, round).await?;
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
            let entry = self.opened_entry(&job, round).await?;
            if store.has_verified(round, entry.after) {
                break;
            }
            unchecked.push((round, entry.scoring));
            next = self.standing(&job, round, initial).await?.came_of;
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
        let entry = self.opened_entry(&job, round).await?;
        let view = self.member.client.round(&job, round).await?;
        let context = self.verify(session, roster, round, &view.context)?;
        if context.digest() != entry.context {
            return Err(StepError::ContextField { round, field: "digest" });
        }
        let standing = self.standing(&job, round, session.manifest.initial_parameters).await?;
        let agreed = self.agreed_set(round, &view, roster, &context).await?;
        let tags = view.verification.as_ref().and_then(|verification| verification.tags);
        let tags = tags.ok_or(StepError::NoEvidence { round, what: "the tags" })?;
        let evidence: TagEvidence = self.document(round, "tags", tags).await?;
        if evidence.announcement.digest() != entry.announcement {
            return Err(StepError::NoEvidence { round, what: "tags for the sum in the ledger" });
        }
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
            let checked = check_files(&roster, &context, &agreed, &evidence, &total, &bodies);
            for body in &bodies {
                forget(body);
            }
            let right = match checked? {
                Ok(()) => moved(&context, &before, &total, entry.total.weight, rate)? == Some(entry.after),
                Err(source @ Unverified::Missing { .. }) => {
                    return Err(StepError::Unverified { round, source });
                }
                Err(reason) => {
                    tracing::error!(job = %told, "round {round}: {reason}");
                    false
                }
            };
            forget(&total);
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

    /// What the ledger says was opened.
    async fn opened_entry(&self, job: &JobId, round: RoundNumber) -> Result<OpenedEntry, StepError> {
        match self.proven(job, round, "round.opened", |_| true).await? {
            Some((
                _,
                Record::RoundOpened {
                    context,
                    total,
                    announcement,
                    parameters_before,
                    parameters_after,
                    coalitions,
                    ..
                },
            )) => Ok(OpenedEntry {
                context: Digest(context.0),
                announcement: Digest(announcement.0),
                total,
                before: Digest(parameters_before.0),
                after: Digest(parameters_after.0),
                scoring: coalitions.is_some(),
            }),
            Some(_) | None => Err(StepError::NoEvidence { round, what: "a ledger entry of the opening" }),
        }
    }

    async fn agreed_set(
        &self,
        round: RoundNumber,
        view: &Round,
        roster: &Roster,
        context: &VerifiedContext,
    ) -> Result<AgreedSet, StepError> {
        let missing = StepError::NoEvidence { round, what: "the signatures on the agreed set" };
        let digest = view.agreement_evidence.ok_or(missing)?;
        let evidence: AgreementEvidence = self.document(round, "evidence of the agreed set", digest).await?;
        evidence.verify(roster, context).map_err(|source| StepError::Evidence { round, source })
    }

    async fn document<T: DeserializeOwned>(
        &self,
        round: RoundNumber,
        what: &'static str,
        digest: Digest,
    ) -> Result<T, StepError> {
        let blobs = blob_folder(&self.member.disk, &self.member.folder)?;
        let path = self.member.client.fetch_blob(digest, &blobs, EVIDENCE_LIMIT).await?;
        let bytes = self.member.disk.read(&path)?.unwrap_or_default();
        serde_json::from_slice(&bytes).map_err(|source| StepError::Unreadable { round, what, source })
    }
}

/// The tags, those computed from bodies included, against the total.
fn check_files(
    roster: &Roster,
    context: &VerifiedContext,
    agreed: &AgreedSet,
    evidence: &TagEvidence,
    total: &Path,
    bodies: &[PathBuf],
) -> Result<Result<(), Unverified>, StepError> {
    let announcement = &evidence.announcement;
    let mut recomputed = Vec::with_capacity(bodies.len());
    for (upload, body) in evidence.uploads.iter().zip(bodies) {
        let body = BufReader::with_capacity(1 << 16, open_file(body)?);
        match recompute(context, agreed, announcement, &upload.site, &upload.opened, body) {
            Ok(tag) => recomputed.push(tag),
            Err(reason) => {
                tracing::error!("what was given to compute the tag of {} is refused: {reason}", upload.site);
                return Ok(Err(Unverified::Tag { site: upload.site.clone() }));
            }
        }
    }
    let check = SumCheck::of_total(roster, context, agreed, announcement, &evidence.tags, &recomputed);
    let mut check = match check {
        Ok(check) => check,
        Err(reason) => return Ok(Err(reason)),
    };
    let mut file = open_file(total)?;
    let mut bytes = vec![0; READ_AT_ONCE * 4];
    loop {
        let count = fill(&mut file, &mut bytes).map_err(|source| unreadable(total, source))?;
        let read = bytes.get(..count).unwrap_or_default();
        let coordinates: Vec<i32> =
            read.as_chunks::<4>().0.iter().map(|word| i32::from_le_bytes(*word)).collect();
        check.take(&coordinates);
        if count < bytes.len() {
            return Ok(check.finish().map(|_| ()));
        }
    }
}

/// The digest of the parameters that a total leads to; nothing if it leads out of the finite numbers.
fn moved(
    context: &VerifiedContext,
    before: &Path,
    total: &Path,
    weight: u64,
    rate: u32,
) -> Result<Option<Digest>, StepError> {
    let Ok(step) = ServerStep::new(&context.context().encoding, weight, rate) else { return Ok(None) };
    let (mut before_file, mut total_file) = (open_file(before)?, open_file(total)?);
    let (mut parameters, mut sums) = (vec![0; READ_AT_ONCE * 4], vec![0; READ_AT_ONCE * 4]);
    let mut hash = Context::new(&SHA256);
    let mut first = 0;
    loop {
        let count = fill(&mut before_file, &mut parameters).map_err(|source| unreadable(before, source))?;
        let summed = fill(&mut total_file, &mut sums).map_err(|source| unreadable(total, source))?;
        if count != summed {
            return Ok(None);
        }
        let words = |bytes: &[u8]| bytes.get(..count).unwrap_or_default().as_chunks::<4>().0.to_vec();
        let mut model: Vec<f32> = words(&parameters).into_iter().map(f32::from_le_bytes).collect();
        let totals: Vec<i64> =
            words(&sums).into_iter().map(|word| i64::from(i32::from_le_bytes(word))).collect();
        if step.apply(first, &mut model, &totals).is_err() {
            return Ok(None);
        }
        model.iter().for_each(|value| hash.update(&value.to_le_bytes()));
        first += model.len() as u64;
        if count < parameters.len() {
            break;
        }
    }
    let mut digest = [0; 32];
    digest.copy_from_slice(hash.finish().as_ref());
    Ok(Some(Digest(digest)))
}

/// Reads until the buffer is full or the file ends.
fn fill(file: &mut File, buffer: &mut [u8]) -> io::Result<usize> {
    let mut filled = 0;
    while let Some(rest) = buffer.get_mut(filled..).filter(|rest| !rest.is_empty()) {
        match file.read(rest) {
            Ok(0) => break,
            Ok(count) => filled += count,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(filled)
}

fn open_file(path: &Path) -> Result<File, StepError> {
    File::open(path).map_err(|source| unreadable(path, source))
}

fn unreadable(path: &Path, source: io::Error) -> StepError {
    crate::keystore::DiskError { doing: "read", path: path.to_path_buf(), source }.into()
}

/// Removes what is not needed again; a file that stays is removed with the cache.
fn forget(path: &Path) {
    if let Err(error) = std::fs::remove_file(path) {
        tracing::debug!("{} stays: {error}", path.display());
    }
}
