//! Making a review: what `verify` found, as a statement that the reviewer signs.

use std::ops::ControlFlow;

use konclave_ledger::dsse::DsseError;
use konclave_ledger::records::{Record, ReviewResult};
use konclave_ledger::statements::{ReviewStatement, Statement, StatementError, sign};
use konclave_ledger::{Envelope, Leaf, Timestamp};

use crate::client_key::ClientKey;
use crate::clients::Clients;
use crate::entries::{self, Flaws};
use crate::folder::{AuditError, Folder};
use crate::log_keys::has_action;
use crate::report::Report;
use crate::subtrees::TileFiles;

/// Where the reviewed period begins.
#[derive(Debug, Clone)]
pub enum Since {
    /// At this entry.
    Entry(u64),
    /// Where an earlier review ended.
    Review(Box<ReviewStatement>),
}

/// What the reviewer says beside what was found.
#[derive(Debug, Clone)]
pub struct Reviewer {
    /// The id of the API client.
    pub id: String,
    /// Where the period begins.
    pub since: Since,
    /// Remarks, perhaps none.
    pub remarks: String,
    /// When the review is made.
    pub made_at: Timestamp,
}

/// Why there is no review.
#[derive(Debug, thiserror::Error)]
pub enum ReviewError {
    /// Files that can't be read.
    #[error(transparent)]
    Audit(#[from] AuditError),
    /// Without a checkpoint there is no size and no root to sign.
    #[error(
        "the ledger has no readable checkpoint, so that there is no head to review; run `konclave-audit verify`"
    )]
    NoHead,
    /// The period begins behind the head.
    #[error("the period begins at entry {from}, but the ledger has {size} entries")]
    Period {
        /// Where it begins.
        from: u64,
        /// How many entries there are.
        size: u64,
    },
    /// The earlier review is of another log.
    #[error("the earlier review is of the log {found}")]
    OtherLog {
        /// Which.
        found: String,
    },
    /// What was reviewed before is not a beginning of this ledger.
    #[error(
        "the {size} entries that {reviewer} reviewed before are not a beginning of this ledger: its history was \
         changed, or it is an older copy"
    )]
    OtherHistory {
        /// Who reviewed.
        reviewer: String,
        /// How many entries.
        size: u64,
    },
    /// The file is no review.
    #[error("the earlier review can't be read: {0}")]
    Earlier(#[from] DsseError),
    /// The statement can't be written or read.
    #[error("the review can't be written or read: {0}")]
    Statement(#[from] StatementError),
}

impl ReviewError {
    /// Whether the ledger is not what it should be, rather than the command.
    #[must_use]
    pub const fn is_tampering(&self) -> bool {
        match self {
            Self::Audit(error) => error.is_tampering(),
            Self::OtherHistory { .. } => true,
            Self::NoHead
            | Self::Period { .. }
            | Self::OtherLog { .. }
            | Self::Earlier(_)
            | Self::Statement(_) => false,
        }
    }
}

/// Reads an earlier review. Its signature is not checked: that it is of this history is.
///
/// # Errors
/// [`ReviewError`] if the file is no review.
pub fn earlier_review(bytes: &[u8]) -> Result<ReviewStatement, ReviewError> {
    let envelope = Envelope::parse(bytes)?;
    if envelope.payload_type != ReviewStatement::PAYLOAD_TYPE {
        let (expected, found) = (ReviewStatement::PAYLOAD_TYPE.to_owned(), envelope.payload_type);
        return Err(DsseError::WrongType { expected, found }.into());
    }
    Ok(serde_json::from_slice(&envelope.unverified_payload()?).map_err(StatementError::from)?)
}

/// The review that `report`, made of `folder` just now, comes to. It says `sound` only if nothing is wrong.
///
/// # Errors
/// [`ReviewError`].
pub fn review(folder: &Folder, report: &Report, reviewer: &Reviewer) -> Result<ReviewStatement, ReviewError> {
    let (Some(origin), Some(root), size) = (report.origin.clone(), report.root, report.size) else {
        return Err(ReviewError::NoHead);
    };
    let from = match &reviewer.since {
        Since::Entry(from) => *from,
        Since::Review(earlier) => {
            follows(folder, &origin, size, earlier)?;
            earlier.size
        }
    };
    if from > size {
        return Err(ReviewError::Period { from, size });
    }
    let mut findings: Vec<String> = report.findings.iter().map(ToString::to_string).collect();
    if report.findings_left_out > 0 {
        findings.push(format!("and {} findings more", report.findings_left_out));
    }
    let result = match (report.ok, reviewer.remarks.is_empty()) {
        (false, _) => ReviewResult::Findings,
        (true, true) => ReviewResult::Sound,
        (true, false) => ReviewResult::Remarks,
    };
    let mut witnesses: Vec<String> =
        report.cosignatures.iter().map(|cosigned| cosigned.witness.clone()).collect();
    witnesses.sort();
    Ok(ReviewStatement {
        reviewer: reviewer.id.clone(),
        origin,
        from,
        size,
        root,
        result,
        entries_checked: report.entries_checked,
        statements_checked: report.statements_checked,
        witnesses,
        findings,
        remarks: reviewer.remarks.clone(),
        made_at: reviewer.made_at.unix_seconds(),
    })
}

/// Signs a review with the reviewer's key.
///
/// # Errors
/// [`ReviewError::Statement`].
pub fn sign_review(review: &ReviewStatement, key: &ClientKey) -> Result<Envelope, ReviewError> {
    Ok(sign(key.seed(), review)?)
}

fn follows(folder: &Folder, origin: &str, size: u64, earlier: &ReviewStatement) -> Result<(), ReviewError> {
    if earlier.origin != origin {
        return Err(ReviewError::OtherLog { found: earlier.origin.clone() });
    }
    let root = match TileFiles::new(folder, size).root_at(earlier.size) {
        _ if earlier.size > size => None,
        Ok(root) => Some(root),
        Err(AuditError::NoEntry { .. }) => None,
        Err(error) => return Err(error.into()),
    };
    if root == Some(earlier.root) {
        return Ok(());
    }
    Err(ReviewError::OtherHistory { reviewer: earlier.reviewer.clone(), size: earlier.size })
}

/// Whether the log has registered this client with this key; `None` if it does not know the client.
pub(crate) fn is_registered(
    folder: &Folder,
    size: u64,
    client: &str,
    key: &ClientKey,
) -> Result<Option<bool>, AuditError> {
    let mut clients = Clients::default();
    entries::each(folder, 0..size, size, &mut Flaws::default(), |entry, _| {
        if has_action(entry.stored, "client.registered") || has_action(entry.stored, "client.revoked") {
            let record = Leaf::parse(entry.stored).ok().map(|leaf| Record::parse(&leaf.action, &leaf.record));
            if let Some(Ok(record)) = record {
                clients.note(&record);
            }
        }
        Ok::<_, AuditError>(ControlFlow::Continue(()))
    })?;
    Ok(clients.key(client).map(|known| *known == key.public()))
}
