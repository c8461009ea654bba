//! The typed record of each action: what a gateway's state is folded from, and what an auditor replays.
//!
//! A leaf carries an `action` string and a `record` object; [`Record`] is the one mapping between the two. Unknown
//! actions and unknown fields are refused, so that a reader never folds half of an entry. Identifiers are kept as
//! text, because this crate knows no protocol types; times are Unix seconds; amounts are decimal strings; there are
//! no floats. Whatever could outgrow a leaf travels as a [`Document`]: inline while small, else a blob's digest.

use serde::de::value::{BorrowedStrDeserializer, MapDeserializer};
use serde::de::{Error, IntoDeserializer, Visitor};
use serde::{Deserialize, Deserializer, Serialize, forward_to_deserialize_any};
use serde_json::{Map, Value};

use crate::canonical::CanonicalText;
use crate::hash::Hash;

mod document;
mod parts;
#[cfg(feature = "schema")]
pub mod schema;
mod spelling;

pub use document::{Document, MAX_INLINE_BYTES};
pub use parts::{
    CoalitionParameters, DepositLine, OpenedBatch, OpenedTotal, OpenedUpload, ReviewResult, SumResult,
};

/// The largest canonical record, in bytes; leaves room for the other fields of a 16 KiB leaf.
pub const MAX_RECORD_BYTES: usize = 14 * 1024;

macro_rules! records {
    ($($(#[doc = $doc:literal])+ $variant:ident = $action:literal { $($(#[doc = $fdoc:literal])+ $(#[serde($($attr:tt)*)])? $field:ident: $ty:ty,)* })+) => {
        /// What happened: one variant for each action.
        #[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
        #[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
        #[serde(tag = "action", content = "record", deny_unknown_fields)]
        pub enum Record {
            $($(#[doc = $doc])+ #[serde(rename = $action)] $variant {
                $($(#[doc = $fdoc])+ $(#[serde($($attr)*)])? $field: $ty,)*
            },)+
        }

        impl Record {
            /// Every action there is.
            pub const ACTIONS: &'static [&'static str] = &[$($action,)+];

            /// The leaf's `action`.
            #[must_use]
            pub fn action(&self) -> &'static str {
                match self { $(Self::$variant { .. } => $action,)+ }
            }
        }
    };
}

records! {
    /// The first entry: who keeps this ledger.
    LedgerCreated = "ledger.created" {
        /// The ledger's verification key (C2SP vkey).
        vkey: String,
        /// The consortium root's public key, hex.
        root: String,
        /// The gateway's certificate under the consortium root.
        gateway: Value,
    }
    /// The gateway's certificate was renewed.
    GatewayCertified = "gateway.certified" {
        /// The new certificate under the consortium root.
        gateway: Value,
    }
    /// A site or evaluator joined, or its keys were renewed.
    SiteEnrolled = "site.enrolled" {
        /// Its pseudonym.
        site: String,
        /// The legal entity behind it.
        legal_entity: String,
        /// `site` or `evaluator`.
        role: String,
        /// Its Ed25519 identity key, hex: signs its statements.
        identity_key: String,
        /// The verification key of its cosignatures (C2SP vkey).
        witness_vkey: String,
        /// SHA-256 of the SubjectPublicKeyInfo of its TLS client certificate.
        tls_spki: Hash,
        /// Its certificate under the consortium root.
        certificate: Value,
    }
    /// A partner system or auditor got API access.
    ClientRegistered = "client.registered" {
        /// The client's id.
        client: String,
        /// The organisation it acts for.
        organisation: String,
        /// Its roles, kebab-case.
        roles: Vec<String>,
        /// Its public key (PEM), which signs its token requests.
        public_key: String,
        /// The commitment to the person who answers for it, whose name and address can be erased.
        #[serde(default, skip_serializing_if = "Option::is_none")] contact: Option<Hash>,
        /// Whether its tokens must be bound to a client certificate.
        #[serde(default, skip_serializing_if = "std::ops::Not::not")] certificate_bound: bool,
    }
    /// A rounds policy came into force.
    PolicySet = "policy.set" {
        /// SHA-256 of the file's bytes.
        policy: Hash,
        /// The file, so that rewards can be recomputed from the ledger alone.
        text: String,
    }
    /// A member declared data under its signature.
    DepositRegistered = "deposit.registered" {
        /// Who.
        site: String,
        /// The signed statement.
        statement: Hash,
        /// What the data may be used for: `training` or `benchmark`.
        data_class: String,
        /// What it declares, task by task.
        lines: Vec<DepositLine>,
    }
    /// A model developer registered a baseline model.
    ModelRegistered = "model.registered" {
        /// Its id: the digest of the manifest's canonical JSON.
        model: Hash,
        /// A name for people.
        name: String,
        /// The developer's organisation.
        organisation: String,
        /// The manifest.
        manifest: Document,
        /// Length of the flat parameter vector.
        coordinates: u64,
        /// Width of the output.
        heads: u16,
        /// The blob of the TorchScript file.
        torchscript: Hash,
        /// The blob of the initial flat parameter vector.
        initial_parameters: Hash,
    }
    /// A model developer asked for federated learning.
    JobRequested = "job.requested" {
        /// Its id.
        job: String,
        /// Who asked.
        organisation: String,
        /// The whole request, as the wire has it.
        request: Value,
        /// The model.
        model: Hash,
        /// The parameters that the first round starts from.
        initial_parameters: Hash,
        /// The invited sites.
        invited: Vec<String>,
        /// How many rounds must open.
        rounds: u32,
        /// Which opened rounds are scoring rounds.
        scoring_rounds: Vec<u32>,
        /// The reward budget in micro-units, decimal.
        budget_micro: String,
        /// The rounds policy it runs under.
        policy: Hash,
        /// When invitations lapse.
        consent_deadline: u64,
    }
    /// A site takes part.
    ConsentGiven = "consent.given" {
        /// The job.
        job: String,
        /// The site.
        site: String,
        /// Its signed statement.
        statement: Hash,
    }
    /// A site does not take part.
    ConsentRefused = "consent.refused" {
        /// The job.
        job: String,
        /// The site.
        site: String,
        /// Which rule of its policy refuses.
        rule: String,
        /// Its signed statement.
        statement: Hash,
    }
    /// Consent is closed: these sites are to advertise keys.
    CohortFixed = "cohort.fixed" {
        /// The job.
        job: String,
        /// The consenting sites, sorted.
        sites: Vec<String>,
        /// When the job aborts for want of keys.
        deadline: u64,
    }
    /// Every site's keys are here: the roster that all masks depend on.
    RosterFixed = "roster.fixed" {
        /// The job.
        job: String,
        /// The roster's digest.
        roster: Hash,
        /// The sites, sorted.
        sites: Vec<String>,
        /// When the job aborts for want of KEM ciphertexts.
        deadline: u64,
    }
    /// The set-up is complete: rounds run.
    JobStarted = "job.started" {
        /// The job.
        job: String,
    }
    /// The job ended early.
    JobAborted = "job.aborted" {
        /// The job.
        job: String,
        /// Why.
        reason: String,
        /// Who caused it, where known.
        culprits: Vec<String>,
    }
    /// All rounds are done.
    JobFinished = "job.finished" {
        /// The job.
        job: String,
        /// The final parameters.
        parameters: Hash,
    }
    /// A round began.
    RoundContext = "round.context" {
        /// The job.
        job: String,
        /// The round.
        round: u32,
        /// The digest of the context that every mask is bound to.
        context: Hash,
        /// The signed context.
        signed: Document,
        /// Whether each batch is opened by itself.
        scoring: bool,
        /// The parameters that sites train from.
        parameters: Hash,
        /// When uploads close.
        deadline: u64,
        /// What the round costs each site of the roster of its privacy budget, in billionths of rho (zCDP); absent if sums
        /// are exact.
        #[serde(default, skip_serializing_if = "Option::is_none")] privacy_cost: Option<u64>,
    }
    /// A quorum of sites signed one set of uploads.
    RoundAgreed = "round.agreed" {
        /// The job.
        job: String,
        /// The round.
        round: u32,
        /// The agreed set, sorted.
        agreed: Vec<String>,
        /// Who signed it, sorted.
        signed: Vec<String>,
        /// The blob with the proposal, which holds the signed manifest headers, and the agreement signatures.
        evidence: Hash,
        /// When unmasking closes.
        deadline: u64,
    }
    /// The sums were opened and applied.
    RoundOpened = "round.opened" {
        /// The job.
        job: String,
        /// The round.
        round: u32,
        /// The round's context.
        context: Hash,
        /// What was opened.
        batches: Vec<OpenedBatch>,
        /// The sum over all of it.
        total: OpenedTotal,
        /// The digest of the announcement, which sites sign with their tags.
        announcement: Hash,
        /// Until when tags are waited for.
        tag_deadline: u64,
        /// The parameters before.
        parameters_before: Hash,
        /// The parameters after.
        parameters_after: Hash,
        /// In a scoring round, the parameters of every coalition, the empty one first.
        #[serde(default, skip_serializing_if = "Option::is_none")] coalitions: Option<Document>,
        /// When evaluations of it no longer count.
        evaluation_deadline: u64,
    }
    /// The tags that verify an opened sum are settled.
    RoundTagged = "round.tagged" {
        /// The job.
        job: String,
        /// The round.
        round: u32,
        /// What they verify.
        announcement: Hash,
        /// The blob with the tags and, for sites that sent none, what it takes to compute theirs.
        evidence: Hash,
        /// Who sent its tag, sorted.
        tagged: Vec<String>,
        /// Whose tag is to be computed.
        uploads: Vec<OpenedUpload>,
        /// Whose tag is missing and cannot be computed, sorted.
        missing: Vec<String>,
        /// Who sent a false tag, sorted.
        false_tags: Vec<String>,
        /// Until when the sites' verdicts are waited for.
        deadline: u64,
    }
    /// The sites have said what they found.
    RoundVerified = "round.verified" {
        /// The job.
        job: String,
        /// The round.
        round: u32,
        /// What they checked.
        announcement: Hash,
        /// What it comes to.
        result: SumResult,
        /// Who accepts the sum and the model after it, sorted.
        accepted: Vec<String>,
        /// Who found it wrong, sorted.
        rejected: Vec<String>,
        /// The blob with the signed verdicts.
        evidence: Hash,
    }
    /// Nothing was opened in this round.
    RoundAborted = "round.aborted" {
        /// The job.
        job: String,
        /// The round.
        round: u32,
        /// Why.
        reason: String,
        /// Who caused it, where known.
        culprits: Vec<String>,
    }
    /// What one site did in one opened round.
    ParticipationRecorded = "participation.recorded" {
        /// The job.
        job: String,
        /// The round.
        round: u32,
        /// The site.
        site: String,
        /// Its masked upload was complete in time.
        uploaded: bool,
        /// Its update is in an opened sum.
        agreed: bool,
        /// It signed the agreed set.
        signed: bool,
        /// It answered the unmasking.
        unmasked: bool,
        /// Its signed manifest, if it uploaded.
        #[serde(default, skip_serializing_if = "Option::is_none")] manifest: Option<Hash>,
    }
    /// The evaluator scored parameters.
    EvaluationRecorded = "evaluation.recorded" {
        /// The evaluator.
        evaluator: String,
        /// The job.
        job: String,
        /// The round.
        round: u32,
        /// The scored parameters.
        parameters: Hash,
        /// The sites whose updates they contain besides the round's starting parameters, sorted; empty for a global model.
        coalition: Vec<String>,
        /// The benchmark data.
        benchmark: Hash,
        /// The score, x 1e-6; higher is better.
        score_micro: i64,
        /// The signed statement.
        statement: Hash,
    }
    /// The contribution figures of a scoring round.
    ContributionScored = "contribution.scored" {
        /// The job.
        job: String,
        /// The scoring round.
        round: u32,
        /// The rows, one a site.
        rows: Document,
        /// The score of every coalition: what the rows follow from.
        scores: Document,
    }
    /// What each legal entity is paid for a job.
    RewardStated = "reward.stated" {
        /// The job.
        job: String,
        /// The statement.
        statement: Document,
        /// The budget in micro-units, decimal.
        budget_micro: String,
        /// What is paid of it.
        paid_micro: String,
    }
    /// Somebody took a copy of the ledger.
    LedgerExported = "ledger.exported" {
        /// Who.
        by: String,
        /// How many entries the copy was taken from, counted from the first.
        size: u64,
        /// In which form: `files` (checkpoint, tiles and statements) or `ndjson`; absent in older entries, which were all
        /// `files`.
        #[serde(default, skip_serializing_if = "Option::is_none")] format: Option<String>,
        /// Which of them, as the query that asked for them; absent for all.
        #[serde(default, skip_serializing_if = "Option::is_none")] filter: Option<String>,
    }
    /// The key that signs the ledger's checkpoints was replaced, on the authority of the consortium root.
    LedgerKeyRotated = "ledger.key-rotated" {
        /// The verification key until now (C2SP vkey).
        old_vkey: String,
        /// The verification key of every head from this entry on (C2SP vkey).
        new_vkey: String,
        /// The change, signed by the consortium root (DSSE envelope of a [`crate::rotation::KeyChange`]).
        authorisation: Value,
    }
    /// A site's keys are no longer accepted.
    SiteRevoked = "site.revoked" {
        /// The site.
        site: String,
        /// SHA-256 of the SubjectPublicKeyInfo of the certificate that ends.
        tls_spki: Hash,
    }
    /// A partner system lost its API access.
    ClientRevoked = "client.revoked" {
        /// The client's id.
        client: String,
    }
    /// An entry says something wrong; this says what is right. The entry itself stays.
    EntryCorrected = "entry.corrected" {
        /// The entry that is corrected.
        entry: u64,
        /// Which of its fields, as a JSON pointer into the leaf (RFC 6901).
        field: String,
        /// What the field says.
        was: Value,
        /// What it should say.
        is: Value,
    }
    /// The opening of a commitment was erased: nobody can link it to the value any more.
    OpeningErased = "opening.erased" {
        /// The commitment.
        commitment: Hash,
        /// The entry that carries it.
        entry: u64,
        /// The ground for erasing it, such as a data subject's request.
        ground: String,
    }
    /// An auditor reviewed the ledger up to a head, and signed what was found.
    ReviewRecorded = "review.recorded" {
        /// Who reviewed.
        reviewer: String,
        /// The first entry of the reviewed period.
        from: u64,
        /// The size of the reviewed ledger.
        size: u64,
        /// Its root.
        root: Hash,
        /// What was found.
        result: ReviewResult,
        /// The signed review.
        statement: Hash,
    }
    /// The quorum of witnesses was reached again, or has been missing for too long.
    WitnessStatus = "witness.status" {
        /// How many witnesses the policy asks for.
        required: u32,
        /// How many are enrolled.
        enrolled: u32,
        /// Whether the quorum stands.
        quorum: bool,
        /// The size of the newest head that a quorum cosigned; 0 if there was none.
        witnessed: u64,
        /// Who cosigned it, sorted.
        witnesses: Vec<String>,
    }
    /// Sites agreed to train together.
    GroupFormed = "group.formed" {
        /// Its id.
        group: String,
        /// The sites, sorted.
        members: Vec<String>,
        /// What for.
        purpose: String,
    }
    /// A developer registered a module that sites may run.
    ModuleRegistered = "module.registered" {
        /// The digest of its manifest's canonical JSON.
        module: Hash,
        /// A name for people.
        name: String,
        /// The developer's organisation.
        organisation: String,
        /// The manifest.
        manifest: Document,
        /// The blob of the module itself.
        content: Hash,
    }
    /// A trained model was used.
    UsageRecorded = "usage.recorded" {
        /// The job that trained it.
        job: String,
        /// Who used it.
        organisation: String,
        /// What for.
        purpose: String,
        /// Predictions made.
        predictions: u64,
        /// What is paid for it in micro-units, decimal.
        fee_micro: String,
    }
    /// A change of the rounds policy was put to the vote.
    PolicyProposed = "policy.proposed" {
        /// The proposal's id.
        proposal: String,
        /// SHA-256 of the proposed file's bytes.
        policy: Hash,
        /// The proposed file.
        text: String,
        /// When voting ends.
        closes: u64,
    }
    /// A member of the council voted.
    PolicyBalloted = "policy.balloted" {
        /// The proposal.
        proposal: String,
        /// Who voted.
        voter: String,
        /// For it, or against.
        accept: bool,
        /// The signed ballot.
        statement: Hash,
    }
    /// The vote ended.
    PolicyResolved = "policy.resolved" {
        /// The proposal.
        proposal: String,
        /// Whether it was accepted.
        accepted: bool,
        /// Ballots for it.
        votes_for: u32,
        /// Ballots against it.
        votes_against: u32,
    }
}

/// A leaf whose action or record is not known.
#[derive(Debug, thiserror::Error)]
pub enum RecordError {
    /// No record belongs to the action.
    #[error("the action `{action}` is not known")]
    UnknownAction {
        /// The action.
        action: String,
    },
    /// The record lacks a field, has one too many or one of the wrong type.
    #[error("the record of `{action}` is malformed: {source}")]
    Malformed {
        /// The action.
        action: String,
        /// What is wrong.
        source: serde_json::Error,
    },
}

impl Record {
    /// The leaf's `record`.
    ///
    /// # Errors
    /// Those of the JSON encoder; a record of strings, integers and JSON values always encodes.
    pub fn to_value(&self) -> Result<Value, serde_json::Error> {
        match serde_json::to_value(self)? {
            Value::Object(mut members) => Ok(members.remove("record").unwrap_or(Value::Object(Map::new()))),
            other
            @ (Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) | Value::Array(_)) => {
                Ok(other)
            }
        }
    }

    /// Reads a leaf's action and record.
    ///
    /// # Errors
    /// [`RecordError`] for an unknown action, and for missing, unknown or mistyped fields.
    pub fn parse(action: &str, record: &CanonicalText) -> Result<Self, RecordError> {
        if !Self::ACTIONS.contains(&action) {
            return Err(RecordError::UnknownAction { action: action.to_owned() });
        }
        let malformed = |source| RecordError::Malformed { action: action.to_owned(), source };
        let tagged = [("action", Part::Action(action)), ("record", Part::Record(record.as_str()))];
        let tagged = MapDeserializer::new(tagged.into_iter());
        let parsed = Self::deserialize(tagged).map_err(malformed)?;
        // serde takes other spellings too: fields as a list, a name as an object, an absent field as null.
        if spelling::is_written_as(&parsed, record.as_str()) {
            Ok(parsed)
        } else {
            Err(malformed(Error::custom("it is spelled otherwise than it would be written")))
        }
    }
}

/// A member of the object that [`Record`] is read from; borrowed, since every entry of a log is read this way.
enum Part<'a> {
    Action(&'a str),
    Record(&'a str),
}

impl<'de> IntoDeserializer<'de, serde_json::Error> for Part<'de> {
    type Deserializer = Self;

    fn into_deserializer(self) -> Self {
        self
    }
}

impl<'de> Deserializer<'de> for Part<'de> {
    type Error = serde_json::Error;

    fn deserialize_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Self::Error> {
        match self {
            Self::Action(action) => visitor.visit_borrowed_str(action),
            Self::Record(record) => serde_json::Deserializer::from_str(record).deserialize_any(visitor),
        }
    }

    /// The action is the name of a variant.
    fn deserialize_enum<V: Visitor<'de>>(
        self,
        name: &'static str,
        variants: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Self::Error> {
        match self {
            Self::Action(action) => visitor.visit_enum(BorrowedStrDeserializer::new(action)),
            Self::Record(record) => {
                serde_json::Deserializer::from_str(record).deserialize_enum(name, variants, visitor)
            }
        }
    }

    forward_to_deserialize_any! {
        bool i8 i16 i32 i64 i128 u8 u16 u32 u64 u128 f32 f64 char str string bytes byte_buf option unit unit_struct
        newtype_struct seq tuple tuple_struct map struct identifier ignored_any
    }
}

#[cfg(test)]
mod tests;
