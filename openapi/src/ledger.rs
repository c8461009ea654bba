//! The ledger's views for programs; the C2SP files themselves are served beside them.

use konclave_ledger::Hash;
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

/// The latest checkpoint.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct CheckpointView {
    /// The ledger's origin line.
    pub origin: String,
    /// Entries.
    pub size: u64,
    /// The tree's root hash.
    pub root: Hash,
    /// The signed note (C2SP tlog-checkpoint) with the cosignatures gathered so far.
    pub note: String,
    /// The witnesses that cosigned it.
    pub witnesses: Vec<String>,
}

/// One entry.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct EntryView {
    /// Its index, from 0.
    pub index: u64,
    /// Its RFC 6962 leaf hash.
    pub leaf_hash: Hash,
    /// The leaf: the stored canonical JSON, as text, so that its hash can be checked.
    pub leaf: String,
}

/// Which entries.
#[derive(Debug, Clone, Default, Serialize, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub struct EntryQuery {
    /// The `next_cursor` of the page before.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cursor: Option<String>,
    /// The most entries wanted, 1 to 500; 100 without it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[param(minimum = 1, maximum = 500)]
    pub limit: Option<u16>,
    /// Only entries of this site.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub site: Option<String>,
    /// Only entries of this actor.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub actor: Option<String>,
    /// Only entries with this action.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub action: Option<String>,
    /// Only entries about this object.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub object: Option<String>,
    /// Only entries about this job.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub job: Option<String>,
    /// Only entries about this round of a job.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub round: Option<u32>,
    /// Only entries at or after this time (RFC 3339).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub since: Option<String>,
    /// Only entries before this time (RFC 3339).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub until: Option<String>,
}

/// A proof that an entry is in the tree.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct InclusionProofView {
    /// The entry.
    pub index: u64,
    /// The tree's size.
    pub size: u64,
    /// The tree's root.
    pub root: Hash,
    /// The entry's leaf hash.
    pub leaf_hash: Hash,
    /// The audit path, from the leaf up (RFC 6962).
    pub path: Vec<Hash>,
}

/// Between which heads.
#[derive(Debug, Clone, Serialize, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub struct ConsistencyQuery {
    /// The older size.
    pub old: u64,
    /// The newer size.
    pub new: u64,
}

/// A proof that a head extends an older one.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct ConsistencyProofView {
    /// The older size.
    pub old: u64,
    /// The newer size.
    pub new: u64,
    /// The proof (RFC 6962).
    pub path: Vec<Hash>,
}

/// A witness's cosignature.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct NewCosignature {
    /// The tree size of the cosigned checkpoint.
    pub size: u64,
    /// The signature line (C2SP tlog-cosignature v1).
    pub line: String,
}

/// An export: the files to fetch, fixed at one checkpoint.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct LedgerExport {
    /// Entries in it.
    pub size: u64,
    /// The signed note with cosignatures: store it as `checkpoint`.
    pub note: String,
    /// Paths below `/` to fetch and store under the same names: tiles, entry bundles and statements.
    pub files: Vec<String>,
}
