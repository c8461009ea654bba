//! Who may read which blob.

use std::collections::BTreeSet;

use konclave_crypto::{Digest, MemberRole, SiteId};
use konclave_ledger::records::Document;
use konclave_openapi::models::ModelManifest;
use konclave_policies::authorization::Role;

use crate::auth::Principal;
use crate::core::{App, CommandError};
use crate::error::ApiError;
use crate::projections::{JobState, PhaseState, to_digest};

/// The owner mark of a blob that only evaluators may read: the sum of a batch, or the parameters of a coalition of
/// batches. In a batch of three sites, two that put their own updates together would learn the third's from it.
pub const EVALUATORS_ONLY: &str = "only:evaluators";

/// The owner mark of a blob that only sites of its job and evaluators may read: a masked body whose tag they compute.
pub const MEMBERS_ONLY: &str = "only:members";

impl App {
    /// Refuses a blob that this principal must not see, whatever the policies allow: a site reads what it needs for
    /// the jobs it takes part in, and batch sums are for evaluators.
    ///
    /// # Errors
    /// [`ApiError::Forbidden`], or those of the file system.
    pub async fn check_blob_audience(&self, principal: &Principal, digest: &Digest) -> Result<(), ApiError> {
        let refuse = |policy: &str| {
            Err(ApiError::Forbidden {
                principal: principal.id.clone(),
                action: "read-blob".to_owned(),
                resource: format!("blob {digest}"),
                policy_ids: vec![policy.to_owned()],
            })
        };
        let owners = self.blobs().owners(digest)?;
        let evaluator = principal.roles.contains(&Role::Evaluator);
        // First: what a site has no part in is refused in the same words as what is not there.
        if let Some(member) = &principal.member
            && member.role == MemberRole::Site
            && !self.site_needs(&member.site, digest).await?
        {
            return refuse("sites-read-blobs-of-their-jobs-only");
        }
        if owners.contains(EVALUATORS_ONLY) && !evaluator {
            return refuse("batch-sums-for-evaluators-only");
        }
        if owners.contains(MEMBERS_ONLY) && !evaluator && principal.member.is_none() {
            return refuse("masked-bodies-for-members-only");
        }
        Ok(())
    }

    /// Whether a job that the site is asked to take part in, or takes part in, names the blob: the model's file,
    /// parameters to train from, or what it takes to check an opened sum.
    async fn site_needs(&self, site: &SiteId, digest: &Digest) -> Result<bool, ApiError> {
        let manifests: Vec<Document> = {
            let state = self.state();
            let mut models = BTreeSet::new();
            for job in state.jobs.values().filter(|job| takes_part(job, site)) {
                if has_parameters(job, digest) || has_evidence(job, digest) {
                    return Ok(true);
                }
                models.insert(job.request.model);
            }
            let models: Vec<_> = models.iter().filter_map(|model| state.model(model)).collect();
            if models.iter().any(|model| model.initial_parameters == *digest) {
                return Ok(true);
            }
            models.iter().map(|model| model.manifest.clone()).collect()
        };
        for manifest in &manifests {
            let manifest = self.read_document(manifest).await?;
            let manifest: ModelManifest = serde_json::from_value(manifest).map_err(CommandError::from)?;
            if manifest.torchscript == *digest {
                return Ok(true);
            }
        }
        Ok(false)
    }
}

/// In the cohort, or still asked to be: a site that refused, or did not answer in time, has no part in the job.
fn takes_part(job: &JobState, site: &SiteId) -> bool {
    let asked = || {
        let refused = job.consents.get(site).is_some_and(|consent| !consent.accepted);
        matches!(job.phase, PhaseState::Consent { .. }) && job.invited.contains(site) && !refused
    };
    job.cohort.contains(site) || asked()
}

/// What a site reads to check an opened sum.
fn has_evidence(job: &JobState, digest: &Digest) -> bool {
    job.rounds.values().any(|round| {
        let agreed = round.agreed.as_ref().is_some_and(|agreed| agreed.evidence == *digest);
        let opened = round.opened().is_some_and(|opened| {
            let tags = opened.verification.tags();
            to_digest(&opened.total.sum) == *digest
                || tags.is_some_and(|tags| {
                    tags.evidence == *digest
                        || tags.uploads.iter().any(|upload| to_digest(&upload.body) == *digest)
                })
        });
        agreed || opened
    })
}

fn has_parameters(job: &JobState, digest: &Digest) -> bool {
    job.parameters == *digest || job.rounds.values().any(|round| round.parameters_before == *digest)
}
