//! The wire contract of Konclave: every resource, request and problem that crosses the HTTP interface.
//!
//! The gateway implements it, the site enclave's client speaks it, and the OpenAPI document that partner
//! systems generate their clients from is made from these very types (`openapi.json`, committed beside this
//! crate and compared with the generated one in a test). Protocol messages are the types of
//! [`konclave_crypto`], ledger views those of [`konclave_ledger`]: there is one definition of each.
//!
//! What it is not: it has no HTTP server, no client and no rules about who may do what.

pub mod certificates;
pub mod contributions;
pub mod corrections;
pub mod deposits;
pub mod evaluations;
pub mod examples;
pub mod jobs;
pub mod ledger;
pub mod models;
pub mod openings;
pub mod page;
pub mod problem;
pub mod reviews;
pub mod rounds;
pub mod sites;
pub mod status;
pub mod token;
pub mod uploads;
pub mod witnesses;
pub mod work;

/// The committed OpenAPI document, as served at `/openapi.json`.
pub const OPENAPI_JSON: &str = include_str!("../openapi.json");
