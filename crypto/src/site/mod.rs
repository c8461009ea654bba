//! A site's side of a round: mask, agree, unmask.
//!
//! ```text
//! mask -> AwaitAgreement --agree--> AwaitUnmasking --unmask--> RoundClosed
//!  |            ^             |            ^              |
//!  v            |             v            |              v
//! Manifest   Agreement    Agreement    Unmasking      Unmasking
//! and body   Proposal     Signature    Request        Response
//! ```
//!
//! Each step takes the state by value: a site signs one agreed set and answers for that set alone. A step that
//! refuses a message hands the state back unchanged in [`Refused`]. A driver stores the next state's bytes durably
//! **before** it sends the message that came with it, and after a restart sends the stored message again.

mod agree;
mod mask;
mod state;
mod unmask;

use std::fmt;

pub use agree::AgreeError;
pub use mask::{MaskError, mask};
pub use state::{AwaitAgreement, AwaitUnmasking, RoundClosed};
pub use unmask::UnmaskError;

/// A message was refused; the state is as it was before.
pub struct Refused<S, E> {
    /// The unchanged state.
    pub state: S,
    /// Why the message was refused.
    pub error: E,
}

impl<S, E> Refused<S, E> {
    pub(crate) fn new(state: S, error: E) -> Self {
        Self { state, error }
    }
}

impl<S, E: fmt::Debug> fmt::Debug for Refused<S, E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Refused").field("error", &self.error).finish_non_exhaustive()
    }
}

impl<S, E: fmt::Display> fmt::Display for Refused<S, E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.error.fmt(f)
    }
}

impl<S, E: std::error::Error + 'static> std::error::Error for Refused<S, E> {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        Some(&self.error)
    }
}
