//! The gateway of a Konclave consortium: the only HTTP server.
//!
//! Sites reach it with their client certificates, partner systems with access tokens, both over TLS 1.3. It hands out
//! what the coordinator decided, relays the messages of secure aggregation, and opens sums that only the agreed set of
//! sites can open. Its state is a fold over the ledger: it can be stopped at any instant and started anew.
//!
//! The edge (`cli`, `config`, `tls`, `auth`, `extract`, `error`, `request`, `router`, `routes`, `openapi`, `documented`,
//! `blobs`, `uploads`, `capacity`, `traffic`) knows HTTP; the core (`core`, `writer`, `projections`, `coordinator`,
//! `rounds_store`) does not.
//!
//! What it is not: it never sees one site's update unmasked, holds no data of a site, and nothing attests the
//! hardware it runs on.

pub mod auth;
pub mod blobs;
pub mod capacity;
pub mod cli;
pub mod config;
pub mod coordinator;
pub mod core;
mod documented;
pub mod enrolment;
pub mod error;
pub mod extract;
pub mod folder;
pub mod idempotency;
pub mod intake;
pub mod listener;
pub mod openapi;
pub mod projections;
pub mod request;
pub mod revocation;
pub mod rounds_store;
pub mod router;
pub mod routes;
pub mod serve;
pub mod tls;
pub mod traffic;
pub mod uploads;
pub mod writer;

/// The software's name and version, as status and ledger entries state it.
pub const SOFTWARE: &str = concat!("konclave-gateway/", env!("CARGO_PKG_VERSION"));
