//! Places for exports of entries under way: a few in all, one for each principal.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex, PoisonError};

use crate::error::ApiError;

/// The most exports of entries under way at once: each lasts as long as its reader takes.
pub const MAX_EXPORTS: usize = 8;

/// Seconds after which one that found no place asks again.
const RETRY_AFTER: u32 = 10;

/// Who has an export under way. Cloning shares it.
#[derive(Debug, Clone, Default)]
pub(in crate::core) struct Places(Arc<Mutex<BTreeSet<String>>>);

/// A place among the exports under way; dropping it makes room.
#[derive(Debug)]
#[must_use = "there is room again once this is dropped"]
pub struct ExportPlace {
    places: Places,
    by: String,
}

impl Places {
    /// A place for a principal's export.
    ///
    /// # Errors
    /// [`ApiError::TooManyRequests`] if the principal has one, or all are taken.
    pub(super) fn take(&self, by: &str) -> Result<ExportPlace, ApiError> {
        let mut taken = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if taken.len() >= MAX_EXPORTS || !taken.insert(by.to_owned()) {
            return Err(ApiError::TooManyRequests { retry_after: RETRY_AFTER });
        }
        Ok(ExportPlace { places: self.clone(), by: by.to_owned() })
    }
}

impl Drop for ExportPlace {
    fn drop(&mut self) {
        self.places.0.lock().unwrap_or_else(PoisonError::into_inner).remove(&self.by);
    }
}
