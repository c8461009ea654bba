//! The consortium's policy for jobs and rounds: a TOML file that every round context names by digest.
//!
//! `policies/rounds/default.toml` explains every key; it is also built in, see
//! [`RoundPolicy::embedded`].

mod differencing;
mod limits;
mod privacy_rules;
mod reward_rules;
mod witness_rules;

use std::collections::BTreeSet;

use konclave_crypto::privacy::NoiseTerms;
use konclave_crypto::{Digest, Encoding};
use serde::Serialize;

pub use differencing::almost_equal;
pub(crate) use limits::{LIMITS, LimitKey, Tighter};
pub(crate) use privacy_rules::{LIMITS as PRIVACY_LIMITS, TABLE as PRIVACY_TABLE};
pub use privacy_rules::{Overspent, PrivacyRules, Scope};
pub use reward_rules::{DataClass, DataClassWeights, EvidenceWeights, RewardRules};
pub use witness_rules::WitnessRules;

use crate::quorum;
use crate::strict_toml::{Placed, StrictTable};
pub use crate::strict_toml::{PolicyError, PolicyProblem};

/// Under which limits jobs and rounds run, and how their budget is paid out.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct RoundPolicy {
    /// Fewest sites in a job's roster.
    pub min_cohort: u16,
    /// Fewest sites in a round's agreed set.
    pub min_agreed: u16,
    /// Fewest sites whose sum may be opened by itself.
    pub min_batch: u16,
    /// Sites in a batch of a scoring round; at least `min_batch`.
    pub scoring_batch_size: u16,
    /// Sites in a batch of an ordinary round: 1, or `scoring_batch_size` for the job's one partition.
    pub batch_size: u16,
    /// Largest roster between all of whose sites masks are added; above it the mask graph is regular.
    pub complete_graph_sites: u16,
    /// Largest clip bound of a tensor's coordinates, in millionths.
    pub clip_micro: u32,
    /// Most bits of a quantised coordinate (q), sign included.
    pub quantisation_bits: u8,
    /// Fewest spare bits of the ring above q + ceil(log2 n).
    pub guard_bits: u8,
    /// Largest sample weight one site may claim in a round.
    pub weight_cap: u32,
    /// How long a proposed job waits for consent, in seconds.
    pub consent_seconds: u32,
    /// How long the key set-up of a job may take, in seconds.
    pub setup_seconds: u32,
    /// How long a round waits for training and uploads, in seconds.
    pub upload_seconds: u32,
    /// How long a round waits for agreement signatures, in seconds.
    pub agree_seconds: u32,
    /// How long a round waits for unmasking responses, in seconds.
    pub unmask_seconds: u32,
    /// How long an evaluation may take, in seconds.
    pub evaluation_seconds: u32,
    /// The purposes for which a job may be proposed.
    pub approved_purposes: BTreeSet<String>,
    /// How a job's budget is paid out.
    pub reward: RewardRules,
    /// What a record of each class weighs as evidence.
    pub data_class_weights: DataClassWeights,
    /// The noise in every sum, and the budgets of what sums tell; without it sums are exact.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub privacy: Option<PrivacyRules>,
    /// What is asked of the ledger's witnesses.
    pub witnesses: WitnessRules,
    digest: Digest,
}

impl RoundPolicy {
    /// The text of the policy that is built in.
    pub const EMBEDDED: &'static str = include_str!("../../rounds/default.toml");

    /// Reads a policy; `file` is only the name that errors give it.
    ///
    /// # Errors
    /// The first fault of the file, with line and key.
    pub fn parse(file: &str, text: &str) -> Result<Self, PolicyError> {
        let mut table = StrictTable::parse(file, text)?;
        let mut policy = Self::blank(Digest::of(text.as_bytes()));
        let mut weight_cap = None;
        for limit in LIMITS {
            let found = table.integer(limit.name, &limit.allowed)?;
            (limit.write)(&mut policy, found.value);
            if limit.name == "weight_cap" && found.value > 1 {
                weight_cap = Some(found.clone());
            }
            policy.check_pairs(&table, limit.name, &found)?;
        }
        policy.approved_purposes = table.names("approved_purposes")?.value;
        policy.reward = read_reward(table.table("reward")?)?;
        policy.data_class_weights = read_class_weights(table.table("data_class_weights")?)?;
        if let Some(rules) = table.optional_table(PRIVACY_TABLE)? {
            if let Some(Placed { value: found, line }) = weight_cap {
                let (other, rule) = (format!("[{PRIVACY_TABLE}]"), WEIGHTS_WITH_NOISE);
                return Err(table.error("weight_cap", line, PolicyProblem::Conflict { found, other, rule }));
            }
            policy.privacy = Some(PrivacyRules::read(rules, &policy)?);
        }
        if let Some(rules) = table.optional_table(witness_rules::TABLE)? {
            policy.witnesses = WitnessRules::read(rules)?;
        }
        table.finish()?;
        Ok(policy)
    }

    /// The built-in policy, for a consortium of 6 to 20 sites.
    ///
    /// # Errors
    /// Only if the built-in file is at fault, which this crate's tests exclude.
    pub fn embedded() -> Result<Self, PolicyError> {
        Self::parse("policies/rounds/default.toml", Self::EMBEDDED)
    }

    /// SHA-256 of the file's bytes: what round contexts and ledger entries name.
    pub fn digest(&self) -> Digest {
        self.digest
    }

    /// The noise that a round's context must name, whose smallest sum has `summed` sites; none if sums are exact.
    #[must_use]
    pub fn noise_terms(&self, encoding: &Encoding, summed: usize) -> Option<NoiseTerms> {
        self.privacy.map(|rules| rules.terms(encoding, self.clip_micro, summed))
    }

    /// The ring that holds the sum of `sites` updates with their noise, in bits: the protocol's rings have 16 to 32.
    #[must_use]
    pub fn ring_bits(&self, sites: u16, noise: Option<&NoiseTerms>) -> u8 {
        let exact = quorum::ring_bits(self.quantisation_bits, sites, self.guard_bits);
        let noisy =
            noise.map_or(0, |noise| noise.ring_bits(self.quantisation_bits, sites.into(), self.guard_bits));
        exact.max(u8::try_from(noisy).unwrap_or(u8::MAX)).max(16)
    }

    fn blank(digest: Digest) -> Self {
        Self {
            min_cohort: 0,
            min_agreed: 0,
            min_batch: 0,
            scoring_batch_size: 0,
            batch_size: 0,
            complete_graph_sites: 0,
            clip_micro: 0,
            quantisation_bits: 0,
            guard_bits: 0,
            weight_cap: 0,
            consent_seconds: 0,
            setup_seconds: 0,
            upload_seconds: 0,
            agree_seconds: 0,
            unmask_seconds: 0,
            evaluation_seconds: 0,
            approved_purposes: BTreeSet::new(),
            reward: RewardRules {
                budget_micro: 0,
                currency: String::new(),
                participation_share_ppm: 0,
                evidence: EvidenceWeights { record: 0, unique_structure: 0, scaffold: 0 },
            },
            data_class_weights: DataClassWeights {
                in_vitro: 0,
                in_vivo: 0,
                in_human: 0,
                pk: 0,
                failed_candidate: 0,
            },
            privacy: None,
            witnesses: WitnessRules::default(),
            digest,
        }
    }

    /// The rules between `key`, just read, and the keys read before it.
    fn check_pairs(
        &self,
        table: &StrictTable<'_>,
        key: &str,
        found: &Placed<u64>,
    ) -> Result<(), PolicyError> {
        let conflict = |other: &str, value: u64, rule: &'static str| {
            let other = format!("{other} = {value}");
            Err(table.error(key, found.line, PolicyProblem::Conflict { found: found.value, other, rule }))
        };
        match key {
            "min_agreed" if self.min_agreed > self.min_cohort => {
                conflict("min_cohort", self.min_cohort.into(), "the smallest cohort could never agree")
            }
            "min_batch" if self.min_batch > self.min_agreed => {
                conflict("min_agreed", self.min_agreed.into(), "a batch is at most the agreed set")
            }
            "scoring_batch_size" if self.scoring_batch_size < self.min_batch => {
                conflict("min_batch", self.min_batch.into(), "scoring batches must not be smaller")
            }
            "batch_size" if self.batch_size != 1 && self.batch_size != self.scoring_batch_size => conflict(
                "scoring_batch_size",
                self.scoring_batch_size.into(),
                "a job has one partition: 1, or the size of a scoring batch",
            ),
            // The weight travels as one more coordinate and must fit the same signed q bits.
            "weight_cap" if u64::from(self.weight_cap) >= 1 << self.quantisation_bits.saturating_sub(1) => {
                conflict(
                    "quantisation_bits",
                    self.quantisation_bits.into(),
                    "the weight must be below 2^(quantisation_bits - 1)",
                )
            }
            _ => Ok(()),
        }
    }
}

/// The sum of weights has no noise of its own: it must tell nothing but how many sites are in the sum.
const WEIGHTS_WITH_NOISE: &str = "where sums have noise every site counts the same, so it must be 1";

fn read_reward(mut table: StrictTable<'_>) -> Result<RewardRules, PolicyError> {
    let budget_micro = table.integer("budget_micro", &(0..=RewardRules::MAX_BUDGET_MICRO))?.value;
    let currency = table.string("currency", "the currency unit's name such as \"KRW\"")?.value;
    let share = table.integer("participation_share_ppm", &(0..=1_000_000))?;
    let mut counted = table.table("evidence")?;
    let evidence = EvidenceWeights {
        record: weight(&mut counted, "record")?,
        unique_structure: weight(&mut counted, "unique_structure")?,
        scaffold: weight(&mut counted, "scaffold")?,
    };
    counted.finish()?;
    table.finish()?;
    Ok(RewardRules { budget_micro, currency, participation_share_ppm: narrow(share.value), evidence })
}

fn read_class_weights(mut table: StrictTable<'_>) -> Result<DataClassWeights, PolicyError> {
    let weights = DataClassWeights {
        in_vitro: weight(&mut table, "in_vitro")?,
        in_vivo: weight(&mut table, "in_vivo")?,
        in_human: weight(&mut table, "in_human")?,
        pk: weight(&mut table, "pk")?,
        failed_candidate: weight(&mut table, "failed_candidate")?,
    };
    table.finish()?;
    Ok(weights)
}

fn weight(table: &mut StrictTable<'_>, key: &str) -> Result<u32, PolicyError> {
    Ok(narrow(table.integer(key, &(0..=1_000_000))?.value))
}

/// A value whose range was checked to stay far below 2^32.
fn narrow(value: u64) -> u32 {
    u32::try_from(value).unwrap_or(u32::MAX)
}
