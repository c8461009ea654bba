//! The site enclave: what runs beside a data owner's data.
//!
//! The learning half reads measurements in the K-MELLODDY standard format ([`data`]), turns structures into
//! fingerprints ([`features`]), trains TorchScript models on them ([`trainer`]) and measures models ([`evaluator`]);
//! [`offline`] has the commands that work without a gateway. None of these opens a connection: what they produce for
//! others is a vector of parameter changes and a count of labels, which leave the site only masked.
//!
//! The service half takes part in a consortium: [`driver`] does what the gateway waits for, [`client`] is the only module
//! that opens connections, [`keystore`] keeps every promise durable before it is sent, [`consent`] decides by policy,
//! [`witness`] cosigns the ledger, [`deposit`] declares data, [`config`] and [`cli`] are for people.
//!
//! What it does not do: it accepts no connection, and it does not attest its own code to anyone.

pub mod cli;
pub mod client;
mod clock;
pub mod config;
pub mod consent;
pub mod data;
pub mod deposit;
pub mod driver;
pub mod evaluator;
pub mod features;
pub mod keystore;
pub mod offline;
pub mod trainer;
pub mod witness;
