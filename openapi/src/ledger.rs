//! The ledger's views for programs; the C2SP files themselves are served beside them.

use konclave_ledger::{Hash, IndexState, ReserveState};
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

use crate::witnesses::QuorumView;

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
    /// How far the witnesses are with the ledger as a whole.
    pub quorum: QuorumView,
}

/// One entry.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[schema(example = json!({
    "index": 41, "leaf_hash": "5d41402abc4b2a76b9719d911017c5925d41402abc4b2a76b9719d911017c592",
    "leaf": "{\"action\":\"policy.set\",\"actor\":\"gateway\",\"clock\":\"system\",\"commitments\":[]}", "corrected_by": [57]
}))]
pub struct EntryView {
    /// Its index, from 0.
    pub index: u64,
    /// Its RFC 6962 leaf hash.
    pub leaf_hash: Hash,
    /// The leaf: the stored canonical JSON, as text, so that its hash can be checked.
    pub leaf: String,
    /// The entries that correct it, oldest first; absent if none does.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub corrected_by: Vec<u64>,
    /// With `proofs=true`: the audit path to the page's checkpoint, from the leaf up (RFC 6962).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub proof: Option<Vec<Hash>>,
}

/// One page of entries, oldest first.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct EntryPage {
    /// The entries of this page.
    pub items: Vec<EntryView>,
    /// Pass it as `cursor` to read on; absent on the last page. It stays good while entries come, and over restarts.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub next_cursor: Option<String>,
    /// With `proofs=true`: the signed note (C2SP tlog-checkpoint) that the proofs of this page lead to.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub checkpoint: Option<String>,
}

/// How many witnesses stand behind a receipt.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[schema(example = json!({"required": 2, "enrolled": 3, "witnesses": ["konclave.example/site-1", "konclave.example/site-2"], "met": true}))]
pub struct ReceiptQuorum {
    /// How many must cosign a head before it counts as witnessed; 0 if the consortium asks for none.
    pub required: u64,
    /// How many are enrolled.
    pub enrolled: u64,
    /// Those whose valid cosignature the receipt's checkpoint carries, sorted.
    pub witnesses: Vec<String>,
    /// Whether as many as required cosigned it. Never where none is required: then nobody but the gateway answers for it.
    pub met: bool,
}

/// What shows an entry to somebody who has no access to the ledger.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[schema(example = json!({
    "index": 41, "leaf": "{\"action\":\"policy.set\",\"actor\":\"gateway\",\"clock\":\"system\",\"commitments\":[]}",
    "receipt": "c2sp.org/tlog-proof@v1\nindex 41\n...\n\nkonclave.example/ledger\n57\n...\n\n\u{2014} konclave.example/ledger ...\n",
    "quorum": {"required": 2, "enrolled": 3, "witnesses": ["konclave.example/site-1", "konclave.example/site-2"], "met": true}
}))]
pub struct Receipt {
    /// The entry's index.
    pub index: u64,
    /// The leaf: the stored canonical JSON, as text.
    pub leaf: String,
    /// The receipt (C2SP tlog-proof): the audit path, and the checkpoint with its cosignatures.
    pub receipt: String,
    /// How many witnesses stand behind it.
    pub quorum: ReceiptQuorum,
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
    #[param(value_type = Option<u64>, maximum = 4_294_967_295_u32)]
    pub round: Option<u32>,
    /// Only entries at or after this time (RFC 3339).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub since: Option<String>,
    /// Only entries before this time (RFC 3339).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub until: Option<String>,
    /// Whether to prove that the entries are in the ledger: the page then has a `checkpoint`, each entry a `proof`.
    #[serde(default)]
    #[param(default = false)]
    pub proofs: bool,
}

/// Which entries an export holds: the conditions of the query for entries, all of them if none is given.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, IntoParams, ToSchema)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
#[schema(example = json!({"site": "site-1", "since": "2026-11-01T00:00:00Z"}))]
pub struct ExportQuery {
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
    #[param(value_type = Option<u64>, maximum = 4_294_967_295_u32)]
    pub round: Option<u32>,
    /// Only entries at or after this time (RFC 3339).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub since: Option<String>,
    /// Only entries before this time (RFC 3339).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub until: Option<String>,
}

impl EntryQuery {
    /// The conditions without the page.
    #[must_use]
    pub fn conditions(self) -> ExportQuery {
        let Self { site, actor, action, object, job, round, since, until, .. } = self;
        ExportQuery { site, actor, action, object, job, round, since, until }
    }
}

/// The first line of an NDJSON export: what all of it leads to.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct ExportHead {
    /// The ledger's origin line.
    pub origin: String,
    /// The signed note (C2SP tlog-checkpoint) that every proof leads to, with the cosignatures gathered so far.
    pub checkpoint: String,
    /// What was asked for; empty for all entries below the checkpoint.
    pub filter: ExportQuery,
}

/// A line of an NDJSON export: one entry.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct ExportedEntry {
    /// Its index, from 0.
    pub index: u64,
    /// The leaf: the stored canonical JSON, as text, so that its hash can be checked.
    pub leaf: String,
    /// The audit path to the checkpoint, from the leaf up (RFC 6962).
    pub proof: Vec<Hash>,
}

/// The last line of an NDJSON export. Without it the export was cut short.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct ExportEnd {
    /// How many entries stand above it.
    pub end: u64,
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

/// How the ledger stands.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[schema(example = json!({
    "origin": "konclave.example/ledger", "size": 1204, "writable": true, "index": "ready", "checkpoint_lags": false, "reserve": "held",
    "quorum": {"required": 2, "enrolled": 3, "witnessed": 1201, "witnesses": ["konclave.example/site-1", "konclave.example/site-2"], "stands": true},
    "last_review": {"entry": 980, "time": "2026-10-01T08:00:00.000Z", "reviewer": "auditor-1", "from": 400, "size": 980,
        "root": "5d41402abc4b2a76b9719d911017c5925d41402abc4b2a76b9719d911017c592", "result": "sound",
        "statement": "7d793037a0760186574b0282f2f435e77d793037a0760186574b0282f2f435e7"}
}))]
pub struct LedgerStatus {
    /// The ledger's origin line.
    pub origin: String,
    /// Entries.
    pub size: u64,
    /// Whether entries can be appended; if not, the gateway is about to end.
    pub writable: bool,
    /// Whether queries are answered from the index; without it they are slower and otherwise the same.
    pub index: IndexState,
    /// Whether the published checkpoint is older than the head, because it could not be written.
    pub checkpoint_lags: bool,
    /// Whether disk space is kept back; while it is `missing`, the disk is full and only what is urgent is written.
    pub reserve: ReserveState,
    /// How far the witnesses are.
    pub quorum: QuorumView,
    /// The latest review; absent if there was none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_review: Option<crate::reviews::Review>,
}

/// A schema that can be read.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[schema(example = json!({
    "action": "policy.set", "path": "/v1/ledger/schemas/policy.set",
    "sha256": "5d41402abc4b2a76b9719d911017c5925d41402abc4b2a76b9719d911017c592"
}))]
pub struct SchemaEntry {
    /// The action of the entries it describes.
    pub action: String,
    /// Where it is.
    pub path: String,
    /// SHA-256 of its bytes.
    pub sha256: Hash,
}

/// The schemas of all entries.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct SchemaList {
    /// One for each action, by name.
    pub items: Vec<SchemaEntry>,
}
