//! Who may read what, beyond what the policies can say of a blob or of an entry by its kind and owner alone.

mod blobs;
mod entries;

pub use blobs::{EVALUATORS_ONLY, MEMBERS_ONLY};
pub use entries::{EntryAudience, EntryReader, subject};
