//! The consortium's rules, kept as files, and the pure code that decides by them.
//!
//! Three questions are answered here, each in its own module:
//! - [`authorization`]: may this principal do this to that? (Cedar policies, `policies/authorization/`)
//! - [`rounds`], [`site`] and [`quorum`]: under which limits may a job run, and does this site take
//!   part in it? (TOML policies, `policies/rounds/` and `policies/site/`)
//! - [`contribution`]: what was each legal entity's contribution worth, and what is it paid?
//!   (exact arithmetic that an auditor repeats from the ledger)
//!
//! The crate does not authenticate anyone, reads no clock, opens no socket and draws no random
//! number; it reads files only where a function is given a folder. It does not decide whether a
//! declared deposit is true: it computes from what sites have signed.

pub mod authorization;
pub mod contribution;
pub mod quorum;
pub mod rounds;
pub mod site;
mod strict_toml;
