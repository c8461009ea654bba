//! The demonstration: a consortium of real processes trains one model, and every promise is checked from outside.
//!
//! It keeps to the public command lines and the public interface, as the people of a consortium would: an operator who
//! enrols members, data owners who run a site each, a model developer with a token, an auditor with a copy of the
//! ledger.

mod audit;
mod baselines;
mod canary;
mod checks;
mod conclusion;
mod ending;
mod evidence;
mod exactness;
mod folder;
mod job;
mod kept;
mod keys;
mod kills;
mod narrator;
mod options;
mod pace;
pub mod quality;
mod results;
mod rounds;
mod run;
mod shares;
mod stage;
mod traffic;

pub use options::Options;
pub use run::{Outcome, run, token};
