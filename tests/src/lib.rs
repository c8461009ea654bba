//! Konclave end to end, over real processes.
//!
//! - [`consortium`] makes a whole consortium in a folder with the real command lines, starts its processes on
//!   loopback, kills and restarts any of them, and ends them all when it is dropped.
//! - [`partner`] is a partner system's client: `private_key_jwt`, blobs, models, jobs, rounds, ledger exports.
//! - [`search`] looks for byte strings in everything that a gateway has received or keeps.
//! - [`demo`] is the demonstration behind `make demo`, and [`report`] what it writes.
//!
//! It is the only crate that may use all others, and none uses it. It holds no rule of the product: what it
//! checks, it checks from outside, through files, commands and the public interface.

pub mod consortium;
pub mod demo;
pub mod error;
pub mod partner;
pub mod report;
pub mod search;

pub use error::HarnessError;
