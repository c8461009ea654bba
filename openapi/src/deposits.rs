//! Data deposits: signed declarations of the data a member trains or evaluates with.

use konclave_crypto::{Digest, SiteId};
use konclave_ledger::dsse::Envelope;
use konclave_ledger::statements::DepositStatement;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// Registers a deposit: the member's signed statement, metadata and salted commitments only.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct NewDeposit {
    /// A DSSE envelope around a deposit statement, signed with the member's identity key.
    pub statement: Envelope,
}

/// A registered deposit.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct Deposit {
    /// Its id: the digest of the signed statement.
    pub deposit: Digest,
    /// Who deposited.
    pub site: SiteId,
    /// What was stated.
    pub statement: DepositStatement,
    /// The ledger entry.
    pub entry: u64,
}
