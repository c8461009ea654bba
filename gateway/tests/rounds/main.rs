//! Whole jobs through the real routes, with the test playing sites and evaluator: sums are exact, restarts change
//! nothing, lost sites are survived, bad messages are refused.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::cast_possible_truncation,
    missing_docs,
    unreachable_pub,
    reason = "a test that cannot go on says so by panicking"
)]

mod attacks;
mod cancelled;
#[path = "../support/conformance.rs"]
mod conformance;
mod corrections;
mod differencing;
mod evaluations;
mod examples;
mod full_disk;
mod hostile_sites;
mod idempotency;
mod ledger;
mod ledger_entries;
mod ledger_exports;
mod ledger_files;
mod life;
mod matrix;
mod noise;
mod observer;
mod operator;
mod privacy;
mod restarts;
mod reviews;
mod revoked;
mod site;
mod tenants;
mod uploads;
mod verification;
mod witnesses;
mod world;
