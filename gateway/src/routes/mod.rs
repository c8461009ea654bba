//! The operations, one file for each tag. A handler is its OpenAPI attribute and a short function.

pub mod blobs;
pub mod docs;
pub mod health;
pub mod problems;
pub mod sites;
pub mod status;
pub mod token;
