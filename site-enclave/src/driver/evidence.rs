//! What was opened in a round: what the ledger says of it, and the evidence that the gateway gives.
//!
//! The ledger's entries are the same for all; the documents beside them prove themselves by signatures and digests.

use konclave_crypto::messages::{AgreementEvidence, TagEvidence};
use konclave_crypto::setup::Roster;
use konclave_crypto::verification::{AgreedSet, AnnouncedSum, AnnouncedTotal, SumAnnouncement};
use konclave_crypto::{Digest, JobId, RoundNumber, SiteId, VerifiedContext};
use konclave_ledger::records::{OpenedBatch, OpenedTotal, Record};
use konclave_openapi::rounds::Round;
use serde::de::DeserializeOwned;

use super::error::{StepError, blob_folder};
use super::history::ProvenLedger;
use super::member::Member;

/// Most bytes of the evidence of one round: signed headers and tags of every site.
const EVIDENCE_LIMIT: u64 = 64 << 20;

/// What the ledger says was opened in a round.
#[derive(Debug)]
pub(super) struct OpenedEntry {
    pub(super) context: Digest,
    pub(super) announcement: Digest,
    pub(super) batches: Vec<OpenedBatch>,
    pub(super) total: OpenedTotal,
    pub(super) before: Digest,
    pub(super) after: Digest,
    pub(super) scoring: bool,
}

/// What the ledger says of the tags of an opened sum.
#[derive(Debug)]
pub(super) struct TaggedEntry {
    pub(super) evidence: Digest,
    /// Whether any tag came, or what it takes to compute one.
    pub(super) any: bool,
    /// Whose tag is missing for good.
    pub(super) missing: Vec<String>,
}

impl ProvenLedger<'_> {
    /// What the ledger says was opened.
    pub(super) async fn opened(&self, job: &JobId, round: RoundNumber) -> Result<OpenedEntry, StepError> {
        match self.entry(job, round, "round.opened", |_| true).await? {
            Some((
                _,
                Record::RoundOpened {
                    context,
                    batches,
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
                batches,
                total,
                before: Digest(parameters_before.0),
                after: Digest(parameters_after.0),
                scoring: coalitions.is_some(),
            }),
            Some(_) | None => Err(StepError::NoEvidence { round, what: "a ledger entry of the opening" }),
        }
    }

    /// What the ledger says of the tags.
    pub(super) async fn tagged(&self, job: &JobId, round: RoundNumber) -> Result<TaggedEntry, StepError> {
        match self.entry(job, round, "round.tagged", |_| true).await? {
            Some((_, Record::RoundTagged { evidence, tagged, uploads, missing, .. })) => Ok(TaggedEntry {
                evidence: Digest(evidence.0),
                any: !(tagged.is_empty() && uploads.is_empty()),
                missing,
            }),
            Some(_) | None => Err(StepError::NoEvidence { round, what: "a ledger entry of the tags" }),
        }
    }
}

impl OpenedEntry {
    /// The announcement that the entry tells in other words, if it has the digest that the sites tagged.
    pub(super) fn announcement(&self, agreed: &AgreedSet) -> Option<SumAnnouncement> {
        let sum = |batch: &OpenedBatch| -> Option<AnnouncedSum> {
            let sites: Vec<SiteId> =
                batch.sites.iter().map(|site| site.parse().ok()).collect::<Option<_>>()?;
            Some(AnnouncedSum { sites, coordinates: Digest(batch.sum.0), weight: batch.weight })
        };
        let announcement = SumAnnouncement {
            context: self.context,
            agreed_digest: agreed.digest(),
            sums: self.batches.iter().map(sum).collect::<Option<_>>()?,
            total: AnnouncedTotal { coordinates: Digest(self.total.sum.0), weight: self.total.weight },
        };
        (announcement.digest() == self.announcement).then_some(announcement)
    }
}

/// The agreed set of a round, shown by a quorum's signatures.
pub(super) async fn agreed_set(
    member: &Member,
    view: &Round,
    roster: &Roster,
    context: &VerifiedContext,
) -> Result<AgreedSet, StepError> {
    let round = context.context().round;
    let missing = StepError::NoEvidence { round, what: "the signatures on the agreed set" };
    let digest = view.agreement_evidence.ok_or(missing)?;
    let evidence: AgreementEvidence = document(member, round, "evidence of the agreed set", digest).await?;
    evidence.verify(roster, context).map_err(|source| StepError::Evidence { round, source })
}

/// The tags of a round, for the announcement that the ledger proves.
pub(super) async fn tags(
    member: &Member,
    round: RoundNumber,
    digest: Digest,
    announcement: Digest,
) -> Result<TagEvidence, StepError> {
    let evidence: TagEvidence = document(member, round, "tags", digest).await?;
    if evidence.announcement.digest() == announcement {
        Ok(evidence)
    } else {
        Err(StepError::NoEvidence { round, what: "tags for the sum in the ledger" })
    }
}

async fn document<T: DeserializeOwned>(
    member: &Member,
    round: RoundNumber,
    what: &'static str,
    digest: Digest,
) -> Result<T, StepError> {
    let blobs = blob_folder(&member.disk, &member.folder)?;
    let path = member.client.fetch_blob(digest, &blobs, EVIDENCE_LIMIT).await?;
    let bytes = member.disk.read(&path)?.unwrap_or_default();
    serde_json::from_slice(&bytes).map_err(|source| StepError::Unreadable { round, what, source })
}
