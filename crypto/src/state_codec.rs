//! s
/// Why stored secret bytes were refused: the store is damaged, or holds another state.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum StateError {
    /// Written by another version, or bytes of another state.
    #[error("these bytes are not this kind of stored state, or are of another version")]
    Kind,
    /// Truncated, extended or altered.
    #[error("the stored state is damaged; set the job up again")]
    Damaged,
}
