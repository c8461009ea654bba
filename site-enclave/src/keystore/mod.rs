//! The site's keys and all that it must remember: secrets, promises made, messages sent.
//!
//! Two rules, kept here and nowhere else:
//! - A message is durable before it is sent, and sent again byte for byte after a crash. Nothing is drawn anew.
//! - What may be decided only once ([`Decision`]) is written to a journal first. The journal lies outside the state
//!   folder, so that a site whose state was restored from an old copy notices and refuses.
//!
//! A copy of the *whole* folder, restored where no message reached the gateway in between, cannot be told from the
//! original; the driver compares with the gateway's view of the round for the rest (see [`crate::driver`]).
//!
//! ```text
//! keys/identity.seed, witness.seed, tls.key      mode 0600; tls-next.key while the TLS certificate is renewed
//! journal/<job>                                  decisions, append-only
//! privacy-spent                                  what updates with noise have cost, append-only
//! state/jobs/<job>/                              one folder a job, see JobStore
//! state/witness/head                             the last ledger head seen, with the ledger's signature
//! state/witness/log-keys                         the changes of the ledger's key that were followed
//! ```

mod disk;
mod error;
mod job;
mod journal;
mod once;
mod record;
mod round;
mod secrets;
mod spending;
mod tls_key;

pub use disk::{Disk, DiskError, Prepared};
pub use error::StateError;
pub use job::JobStore;
pub use journal::{Decision, Journal, JournalError};
pub use record::RecordError;
pub use round::{AgreedRound, MaskedRound};
pub use secrets::{KeyError, SiteKeys, deposit_salt};
pub use spending::{Charge, Spending, SpendingError, Spent};
pub use tls_key::{TlsKey, TlsKeys};

pub(crate) use record::{RecordKind, decode, encode};

#[cfg(test)]
mod tests;
