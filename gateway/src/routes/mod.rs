//! The operations, one file for each tag. A handler is its OpenAPI attribute and a short function.

mod answers;
pub mod blobs;
pub mod contributions;
pub mod deposits;
pub mod docs;
pub mod evaluations;
pub mod health;
pub mod jobs;
pub mod ledger;
pub mod ledger_files;
pub mod models;
pub mod openings;
mod paging;
pub mod problems;
pub mod rounds;
mod seats;
pub mod setup;
pub mod sites;
pub mod status;
pub mod token;
pub mod uploads;
mod views;
pub mod work;
