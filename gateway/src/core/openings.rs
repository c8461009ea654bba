//! Erasing what commitments stand for.
//!
//! The entry comes first, then the file: whatever stops the gateway in between, the next start reads the entry and
//! erases what is still there. So a folder restored from a backup loses again what was erased after the backup was made.

use konclave_ledger::Hash;
use konclave_ledger::openings::{OpeningError, Openings};
use konclave_ledger::records::Record;
use konclave_openapi::openings::{NewErasure, OpeningView};

use super::{App, Caller, CommandError, Entry};
use crate::error::ApiError;
use crate::projections::State;

const MAX_GROUND_BYTES: usize = 500;

impl App {
    fn openings(&self) -> Openings {
        Openings::at(&self.config().folder.openings())
    }

    /// What a commitment stands for, or that it is erased.
    ///
    /// # Errors
    /// [`ApiError`]: no entry carries the commitment, or the opening is not here.
    pub async fn opening(&self, commitment: Hash) -> Result<OpeningView, ApiError> {
        let (entry, erased_by) = {
            let state = self.state();
            (state.commitments.get(&commitment).copied(), state.erased.get(&commitment).copied())
        };
        let missing = || ApiError::not_found(format!("opening of {commitment}"));
        let entry = entry.ok_or_else(missing)?;
        if erased_by.is_some() {
            return Ok(OpeningView { commitment, entry, value: None, salt: None, erased_by });
        }
        let openings = self.openings();
        let found = tokio::task::spawn_blocking(move || openings.get(&commitment)).await;
        let opening = found.map_err(ApiError::internal)?.map_err(ApiError::internal)?.ok_or_else(missing)?;
        Ok(OpeningView {
            commitment,
            entry,
            value: Some(opening.value().to_owned()),
            salt: Some(opening.salt_hex().to_string()),
            erased_by: None,
        })
    }

    /// Records the erasure of an opening and erases it. Asked again, it changes nothing.
    ///
    /// # Errors
    /// [`ApiError`]: no entry carries the commitment, or there is no ground.
    pub async fn erase_opening(&self, caller: &Caller, new: NewErasure) -> Result<OpeningView, ApiError> {
        let ground = new.ground.trim();
        if ground.is_empty() || ground.len() > MAX_GROUND_BYTES || ground.contains(char::is_control) {
            let detail = format!("must be 1 to {MAX_GROUND_BYTES} bytes of text without line breaks");
            return Err(ApiError::invalid_field("ground", detail));
        }
        let held = self.lock("openings").await;
        let (entry, erased_by) = {
            let state = self.state();
            (state.commitments.get(&new.commitment).copied(), state.erased.get(&new.commitment).copied())
        };
        let entry = entry.ok_or_else(|| ApiError::not_found(format!("opening of {}", new.commitment)))?;
        if erased_by.is_none() && self.repeated(caller)?.is_none() {
            let record =
                Record::OpeningErased { commitment: new.commitment, entry, ground: ground.to_owned() };
            let object = format!("openings/{}", new.commitment);
            let entry = Entry::new(object, ground, record).changing(Some(new.commitment), None);
            self.append(&held, caller, vec![entry]).await?;
        }
        let openings = self.openings();
        let erased = tokio::task::spawn_blocking(move || openings.erase(&new.commitment)).await;
        erased.map_err(|_| CommandError::CutOff)?.map_err(ApiError::internal)?;
        self.opening(new.commitment).await
    }
}

/// Erases every opening that the ledger says is erased: after a crash, and in a folder restored from a backup.
///
/// # Errors
/// [`OpeningError`] of the first that cannot be erased.
pub(super) fn erase_again(openings: &Openings, state: &State) -> Result<(), OpeningError> {
    state.erased.keys().try_for_each(|commitment| openings.erase(commitment))
}
