//! The words in which access is asked for and decided: roles, actions, resources, decisions.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// A word that the vocabulary does not hold.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{word}` is not a {vocabulary}; known are: {known}")]
pub struct UnknownWord {
    /// What was being named, such as `role`.
    pub vocabulary: &'static str,
    /// The word that was given.
    pub word: String,
    /// The words that would have been understood, separated by commas.
    pub known: String,
}

/// Declares an enum whose members have one kebab-case name each, the same in Rust, Cedar and JSON.
macro_rules! vocabulary {
    ($(#[$meta:meta])* $what:literal $name:ident { $($(#[$vmeta:meta])* $variant:ident = $word:literal,)+ }) => {
        $(#[$meta])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        #[serde(rename_all = "kebab-case")]
        #[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
        pub enum $name { $($(#[$vmeta])* $variant,)+ }

        impl $name {
            /// Every member, in the order of declaration.
            pub const ALL: &'static [Self] = &[$(Self::$variant,)+];

            /// The name used in policies, tokens and JSON.
            pub fn name(self) -> &'static str {
                match self { $(Self::$variant => $word,)+ }
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(self.name())
            }
        }

        impl FromStr for $name {
            type Err = UnknownWord;

            fn from_str(word: &str) -> Result<Self, UnknownWord> {
                match word {
                    $($word => Ok(Self::$variant),)+
                    _ => Err(UnknownWord {
                        vocabulary: $what,
                        word: word.to_owned(),
                        known: [$($word),+].join(", "),
                    }),
                }
            }
        }
    };
}

vocabulary! {
    /// What a principal is in the consortium. A principal may hold several roles; what it may do is
    /// the union of what each allows, less what a `forbid` takes away.
    "role" Role {
        /// Runs the platform.
        Operator = "operator",
        /// Owns data at a site and decides what it may be used for.
        DataOwner = "data-owner",
        /// Brings baseline models and asks for federated learning.
        ModelDeveloper = "model-developer",
        /// Sits on the consortium's council.
        Council = "council",
        /// Scores models beside the deposited benchmark data.
        Evaluator = "evaluator",
        /// Reads and verifies what was done.
        Auditor = "auditor",
        /// A site enclave acting for its organisation.
        Site = "site",
    }
}

vocabulary! {
    /// An operation of the gateway that needs permission. [`Action::resource_kind`] says what it acts on.
    "action" Action {
        /// Read the deployment's status.
        ReadStatus = "read-status",
        /// Read the catalogue of tests, types and parameters.
        ReadCatalogue = "read-catalogue",
        /// List the enrolled sites.
        ReadSites = "read-sites",
        /// Renew one's own TLS client certificate.
        RenewCertificate = "renew-certificate",
        /// Register a model.
        CreateModel = "create-model",
        /// Read a model's record (not its weights: those are a blob).
        ReadModel = "read-model",
        /// Upload a blob.
        UploadBlob = "upload-blob",
        /// Download a blob, such as the weights of a baseline or global model.
        ReadBlob = "read-blob",
        /// Ask for federated learning.
        CreateJob = "create-job",
        /// Read a job.
        ReadJob = "read-job",
        /// Stop a job.
        CancelJob = "cancel-job",
        /// Consent to a job, or refuse it, for one's own site.
        Consent = "consent",
        /// Take one's own seat in a job's rounds: advertise keys, send ciphertexts, manifest and
        /// upload, sign the agreement, answer the unmasking request.
        TakePartInRound = "take-part-in-round",
        /// Read a round's state and figures.
        ReadRound = "read-round",
        /// Fetch models to score and hand in the scores.
        Evaluate = "evaluate",
        /// Read evaluations.
        ReadEvaluation = "read-evaluation",
        /// Read contribution figures.
        ReadContribution = "read-contribution",
        /// Read a reward statement.
        ReadStatement = "read-statement",
        /// Register a data deposit.
        CreateDeposit = "create-deposit",
        /// Read a data deposit's record.
        ReadDeposit = "read-deposit",
        /// Read ledger entries and proofs.
        ReadLedger = "read-ledger",
        /// Hand in a cosignature on a checkpoint.
        Cosign = "cosign",
        /// Export the whole ledger.
        ExportLedger = "export-ledger",
        /// Read the opening of a commitment in the ledger: a person's name and address.
        ReadOpening = "read-opening",
        /// Erase the opening of a commitment in the ledger.
        EraseOpening = "erase-opening",
        /// Say that an entry is wrong, and what is right.
        CorrectEntry = "correct-entry",
        /// Hand in a signed review of the ledger.
        RecordReview = "record-review",
        /// Read the platform's operating metrics.
        ReadMetrics = "read-metrics",
    }
}

vocabulary! {
    /// What an action is done to.
    "resource kind" ResourceKind {
        /// The deployment as a whole; nobody's property.
        Platform = "platform",
        /// The catalogue or the list of sites; nobody's property.
        Catalogue = "catalogue",
        /// A model; owned by its developer's organisation.
        Model = "model",
        /// A blob; owned by the organisation that uploaded it.
        Blob = "blob",
        /// A job; owned by the organisation that asked for it.
        Job = "job",
        /// One site's place in a job and its rounds; owned by that site's organisation.
        Seat = "seat",
        /// A round; owned by the organisation that owns the job.
        Round = "round",
        /// The scores of a model; owned by the organisation that owns the job.
        Evaluation = "evaluation",
        /// One row of contribution figures is owned by its site's organisation, a whole table by the
        /// organisation that owns the job.
        Contribution = "contribution",
        /// A whole reward statement is owned by the organisation that pays it, one line of it by the
        /// organisation that is paid.
        Statement = "statement",
        /// A data deposit; owned by the depositing organisation.
        Deposit = "deposit",
        /// The ledger, one of its entries (owned only where the entry is private to an organisation)
        /// or a place among its cosignatures (owned by the witness's organisation).
        Ledger = "ledger",
    }
}

impl Action {
    /// The one kind of resource this action is done to. Asked about another kind, it is denied.
    pub fn resource_kind(self) -> ResourceKind {
        match self {
            Self::ReadStatus | Self::ReadMetrics => ResourceKind::Platform,
            Self::ReadCatalogue | Self::ReadSites => ResourceKind::Catalogue,
            Self::CreateModel | Self::ReadModel => ResourceKind::Model,
            Self::UploadBlob | Self::ReadBlob => ResourceKind::Blob,
            Self::CreateJob | Self::ReadJob | Self::CancelJob => ResourceKind::Job,
            Self::Consent | Self::TakePartInRound | Self::RenewCertificate => ResourceKind::Seat,
            Self::ReadRound => ResourceKind::Round,
            Self::Evaluate | Self::ReadEvaluation => ResourceKind::Evaluation,
            Self::ReadContribution => ResourceKind::Contribution,
            Self::ReadStatement => ResourceKind::Statement,
            Self::CreateDeposit | Self::ReadDeposit => ResourceKind::Deposit,
            Self::ReadLedger
            | Self::Cosign
            | Self::ExportLedger
            | Self::CorrectEntry
            | Self::RecordReview
            | Self::ReadOpening
            | Self::EraseOpening => ResourceKind::Ledger,
        }
    }

    /// The resource of this action's kind with the given id and owner.
    pub fn on(self, id: impl Into<String>, owner: Option<&str>) -> Resource {
        Resource { kind: self.resource_kind(), id: id.into(), owner: owner.map(str::to_owned) }
    }
}

/// Who asks, as authentication has established it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Principal {
    /// A site id, client id or person's id.
    pub id: String,
    /// The roles it was enrolled or registered with.
    pub roles: Vec<Role>,
    /// The organisation it acts for.
    pub organisation: String,
}

/// What is asked about.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Resource {
    /// Its kind.
    pub kind: ResourceKind,
    /// Its id within the kind; for something about to be created, the id it would get.
    pub id: String,
    /// The organisation it belongs to; absent where it is nobody's. [`ResourceKind`] says whose
    /// property each kind is.
    pub owner: Option<String>,
}

/// The answer, with its grounds.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Decision {
    /// Whether the action may be done.
    pub allow: bool,
    /// The `@id`s of the deciding policies, sorted: the permits of an allow, the forbids of a deny.
    /// A deny because nothing permits is [`Decision::DEFAULT_DENY`]; one because a policy or the
    /// request could not be evaluated is [`Decision::EVALUATION_ERROR`], followed by the policies
    /// that failed.
    pub policy_ids: Vec<String>,
}

impl Decision {
    /// The policy id of a deny for which no policy was needed: nothing permits the action.
    pub const DEFAULT_DENY: &'static str = "default-deny";
    /// The policy id of a deny because a policy or the request could not be evaluated.
    pub const EVALUATION_ERROR: &'static str = "evaluation-error";
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_the_same_in_json_and_parse_back() {
        for action in Action::ALL {
            assert_eq!(serde_json::to_value(action).unwrap(), action.name());
            assert_eq!(action.name().parse::<Action>().unwrap(), *action);
        }
        for role in Role::ALL {
            assert_eq!(serde_json::to_value(role).unwrap(), role.name());
            assert_eq!(role.name().parse::<Role>().unwrap(), *role);
        }
        for kind in ResourceKind::ALL {
            assert_eq!(serde_json::to_value(kind).unwrap(), kind.name());
            assert_eq!(kind.name().parse::<ResourceKind>().unwrap(), *kind);
        }
    }

    #[test]
    fn an_unknown_role_is_refused_with_the_known_ones() {
        let refused = "data_owner".parse::<Role>().unwrap_err().to_string();
        assert!(
            refused.contains("`data_owner` is not a role") && refused.contains("data-owner"),
            "{refused}"
        );
    }
}
