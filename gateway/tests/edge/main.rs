//! The gateway's edge over real TLS: a deployment made by the real command line, served in this process on port 0,
//! and clients with and without certificates and tokens.

#![expect(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "a test fails by panicking; clippy's own exception covers only code inside #[test] functions"
)]

mod blobs;
mod bound_tokens;
mod capacity;
mod certificates;
mod command_line;
#[path = "../support/conformance.rs"]
mod conformance;
mod deployment;
mod documented;
mod ledger;
mod ledger_key;
mod renewal;
mod resumable;
mod revocation;
mod surroundings;
mod tokens;
