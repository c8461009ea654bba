//! The site enclave: what runs beside a data owner's data.
//!
//! It reads measurements in the K-MELLODDY standard format ([`data`]), turns structures into fingerprints
//! ([`features`]), trains TorchScript models on them ([`trainer`]) and measures models ([`evaluator`]).
//! [`offline`] has the commands that work without a gateway.
//!
//! Nothing in these modules opens a connection: what they produce for others is a vector of parameter changes and
//! a count of labels, which leave the site only masked.

pub mod data;
pub mod evaluator;
pub mod features;
pub mod offline;
pub mod trainer;
