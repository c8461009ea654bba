//! `konclave-audit`: checks a copy of Konclave's audit ledger without trusting whoever made it.
//!
//! It needs the files and nothing else: no gateway, no network, no index. It recomputes everything that can be
//! recomputed, names the first bad entry, and says plainly what it had to take on trust. Rounds it recomputes too, as far as
//! it has the documents, sums and models that entries name. What it can't see from files
//! alone: whether others were shown another history. That is what the witnesses' cosignatures are for, and [`witness`] and
//! [`diff`] compare what others were shown.
//!
//! The feature `mirror` (on by default) adds the one part that opens connections: copying from a live gateway, and sending
//! it a review. Without it there is no network code in the program.

mod ahead;
mod amendments;
mod blobs;
mod checkpoint;
mod claims;
pub mod cli;
mod client_key;
mod clients;
mod diff;
mod entries;
mod export;
mod folder;
mod history;
mod key_changes;
mod log_keys;
mod members;
#[cfg(feature = "mirror")]
mod mirror;
mod progress;
mod prove;
mod query;
mod report;
mod review;
mod reviews;
mod rounds;
mod show;
mod statements;
mod subtrees;
mod surplus;
mod text;
mod tiles;
mod verify;
mod witness;
mod witnessed;

pub use client_key::{ClientKey, ClientKeyError};
pub use diff::{Added, ComparedHead, Difference, Older, Verdict, diff};
pub use entries::{EntryFlaw, Flaws};
pub use export::{
    CheckedExport, ExportError, ExportFault, ExportOptions, Exported, FORMAT, Format, LineFault,
    check_export, export,
};
pub use folder::{AuditError, Folder};
pub use log_keys::Theft;
#[cfg(feature = "mirror")]
pub use mirror::{
    ClientError, Connection, GatewayClient, MirrorError, MirrorOptions, Mirrored, Refusal, mirror,
};
pub use prove::prove;
pub use query::{Looked, Match, query};
pub use report::{Cosigned, Defect, Finding, KeySource, Report};
pub use review::{ReviewError, Reviewer, Since, earlier_review, review, sign_review};
pub use rounds::{CheckTally, Gap, NotMade, RoundCheck};
pub use show::show;
pub use verify::{VerifyOptions, verify};
pub use witness::{
    AsOf, ComparedNote, RecordedStatus, Standing, WitnessLine, WitnessOptions, WitnessStatus, witness,
};
