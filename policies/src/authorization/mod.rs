//! May this principal do this to that? Cedar policies decide; this module is the only one that
//! knows Cedar.
//!
//! Nothing is allowed unless a policy permits it; a policy or request that cannot be evaluated is a
//! deny (Cedar alone would skip such a policy, which could drop a `forbid`). Policies are validated
//! strictly against the schema before any is used.

mod engine;
mod loading;
mod vocabulary;

pub use engine::Authorizer;
pub use loading::LoadError;
pub use vocabulary::{Action, Decision, Principal, Resource, ResourceKind, Role, UnknownWord};
