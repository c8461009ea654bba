//! The ledger's witnesses: how many cosigned which head, what each cosigned last, and the keys of the log.

use konclave_crypto::{MembershipCertificate, SiteId};
use konclave_ledger::dsse::Envelope;
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

/// How far the witnesses are.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct QuorumView {
    /// How many the rounds policy asks to cosign one head; 0 asks for none.
    pub required: u32,
    /// Witness keys enrolled.
    pub enrolled: u32,
    /// Entries of the newest head that so many cosigned; 0 if there was none.
    pub witnessed: u64,
    /// Who cosigned that head, sorted.
    pub witnesses: Vec<String>,
    /// Whether the quorum stands: none is asked for, or no entry has lacked it for longer than the policy's patience.
    pub stands: bool,
    /// When the oldest entry was recorded that no such head covers (RFC 3339); absent if there is none, or none is asked
    /// for. What the ledger records about the quorum itself does not count.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub missing_since: Option<String>,
}

/// The witnesses, and what each of them vouches for: what a witness compares its own head with.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct WitnessesView {
    /// How far they are together.
    pub quorum: QuorumView,
    /// The newest head that a quorum cosigned, as a signed note with their lines.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub note: Option<String>,
    /// Every enrolled site and evaluator, by id.
    pub witnesses: Vec<WitnessView>,
}

/// One witness.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct WitnessView {
    /// The site.
    pub site: SiteId,
    /// The verification key of its cosignatures (C2SP vkey); its certificate has it too.
    pub witness_vkey: String,
    /// Its certificate under the consortium root, so that a reader need not take the gateway's word for the key.
    pub certificate: MembershipCertificate,
    /// What it cosigned last, as far as this gateway remembers: since its start, and in its newest notes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cosigned: Option<CosignedView>,
}

/// The newest head that one witness cosigned.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct CosignedView {
    /// Entries.
    pub size: u64,
    /// When, by the witness's clock (RFC 3339).
    pub time: String,
    /// The head with the log's signature and this witness's line (C2SP signed note).
    pub note: String,
}

/// Which head the witness has seen.
#[derive(Debug, Clone, Copy, Serialize, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub struct AddCheckpointQuery {
    /// Entries of the last head that the witness has seen; 0 if it has seen none.
    pub old: u64,
}

/// The keys of the log.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct LogKeysView {
    /// The key that signs the newest head (C2SP vkey).
    pub vkey: String,
    /// Every change of it, oldest first.
    pub changes: Vec<KeyChangeView>,
}

/// One change of the log's key.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct KeyChangeView {
    /// The entry that records it.
    pub entry: u64,
    /// The key that ended (C2SP vkey).
    pub old_vkey: String,
    /// The key that followed (C2SP vkey).
    pub new_vkey: String,
    /// The consortium root's authorisation: a `KeyChange` as a signed statement.
    pub authorisation: Envelope,
}
