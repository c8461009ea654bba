//! Fuzz targets of the ledger crate: one function for each kind of outside bytes. The tests of the crate run them too.

#[path = "../../tests/support/mod.rs"]
pub mod support;
pub mod targets;
