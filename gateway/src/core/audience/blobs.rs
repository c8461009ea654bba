//! Who may read which blob, beyond what the policies say of blobs in general.

use konclave_crypto::Digest;
use konclave_policies::authorization::Role;

use super::App;
use crate::auth::Principal;
use crate::error::ApiError;

/// The owner mark of a blob that only evaluators may read: the sum of a batch, or the parameters of a coalition of
/// batches. In a batch of three sites, two that put their own updates together would learn the third's from it.
pub const EVALUATORS_ONLY: &str = "only:evaluators";

impl App {
    /// Refuses a blob that this principal must not see, whatever the policies allow.
    ///
    /// # Errors
    /// [`ApiError::Forbidden`], or those of the file system.
    pub fn check_blob_audience(&self, principal: &Principal, digest: &Digest) -> Result<(), ApiError> {
        let restricted = self.blobs().owners(digest)?.contains(EVALUATORS_ONLY);
        if !restricted || principal.roles.contains(&Role::Evaluator) {
            return Ok(());
        }
        Err(ApiError::Forbidden {
            principal: principal.id.clone(),
            action: "read-blob".to_owned(),
            resource: format!("blob {digest}"),
            policy_ids: vec!["batch-sums-for-evaluators-only".to_owned()],
        })
    }
}
