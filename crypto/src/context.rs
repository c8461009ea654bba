//! The round context: everything two sites must agree on before they mask, in one signed value.
//!
//! Its digest enters the derivation of every mask seed and every sealing key. Sites that were shown different models,
//! rosters or parameters therefore derive unrelated masks, and nothing they upload can be opened together.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};

use crate::batches::{scoring_batches, singletons};
use crate::digest::Digest;
use crate::encoding::{Encoding, EncodingError};
use crate::identity::{IdentityKey, Signature};
use crate::ids::{JobId, RoundNumber, SiteId, UnixSeconds};
use crate::mask_graph::{self, MaskGraph};
use crate::membership::{ConsortiumRoot, MemberRole, MembershipCertificate, MembershipError};
use crate::privacy::{NoiseTerms, PrivacyCost, PrivacyError};
use crate::setup::Signatories;
use crate::transcript::Transcript;

/// What a round opens.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
#[serde(rename_all = "kebab-case")]
pub enum Mode {
    /// One sum over all agreed sites.
    Full,
    /// One sum per batch, for contribution scoring.
    Group,
}

impl Mode {
    /// The mode's wire name.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Full => "full",
            Self::Group => "group",
        }
    }
}

/// All public parameters of one round.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
#[serde(deny_unknown_fields)]
pub struct RoundContext {
    /// The job.
    pub job: JobId,
    /// The round of the job.
    pub round: RoundNumber,
    /// Digest of the global model that sites train from.
    pub model: Digest,
    /// Digest of the job's roster.
    pub roster: Digest,
    /// Partition of the roster; only whole batches are ever summed.
    pub batches: Vec<Vec<SiteId>>,
    /// What is opened.
    pub mode: Mode,
    /// Fixed-point encoding of updates.
    pub encoding: Encoding,
    /// Shares needed to recover a seed, and signatures needed to open: more than two thirds of the roster.
    pub threshold: u16,
    /// Fewest sites in an agreed set.
    pub min_agreed: u16,
    /// Fewest sites in a batch that is opened by itself (mode group).
    pub min_batch: u16,
    /// Between which sites pairwise masks are added in mode full; complete in mode group, inside each batch.
    pub mask_graph: MaskGraph,
    /// Digest of the round policy in force.
    pub policy: Digest,
    /// Digest of the training instructions.
    pub training: Digest,
    /// Size of the ledger when the context was written.
    pub ledger_size: u64,
    /// Root of the ledger at that size.
    pub ledger_root: Digest,
    /// Noise that every site adds to its update; none if the sums are exact.
    #[serde(default)]
    pub noise: Option<NoiseTerms>,
}

/// Why a context was not accepted. The gateway that signed it is at fault; a site must not train on it.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ContextError {
    /// The gateway's certificate does not hold.
    #[error("the gateway's certificate was refused: {0}")]
    Gateway(#[from] MembershipError),
    /// The signature is not the certified gateway's.
    #[error("the context is not signed by the gateway named in it")]
    Signature,
    /// The context names another job than the roster.
    #[error("the context is for job `{context}`, the roster for `{roster}`")]
    Job {
        /// Job in the context.
        context: JobId,
        /// Job of the roster.
        roster: JobId,
    },
    /// The context names another roster.
    #[error("the context names another roster than the one keys were set up with")]
    Roster,
    /// The batches are not an exact partition of the roster.
    #[error("batches must hold every site of the roster exactly once: {}", .site.as_ref().map_or("an empty batch", SiteId::as_str))]
    Batches {
        /// The site that is missing, repeated or unknown; `None` for an empty batch.
        site: Option<SiteId>,
    },
    /// The threshold is not more than two thirds of the roster, or above it.
    #[error("threshold {threshold} must be above 2/3 of {sites} sites and at most {sites}")]
    Threshold {
        /// Threshold in the context.
        threshold: u16,
        /// Sites in the roster.
        sites: usize,
    },
    /// The smallest agreed set is out of range or below the site's own floor.
    #[error("min_agreed {found} must be from {floor} to {sites}")]
    MinAgreed {
        /// Value in the context.
        found: u16,
        /// Least value allowed.
        floor: u16,
        /// Sites in the roster.
        sites: usize,
    },
    /// A batch that would be opened alone is too small.
    #[error("a batch of {found} sites would be opened by itself; at least {floor} are needed")]
    MinBatch {
        /// Sites in the smallest batch, or `min_batch` itself when that is below the floor.
        found: usize,
        /// Least value allowed.
        floor: u16,
    },
    /// Batches are opened by themselves in a round that is not for scoring.
    #[error("the context opens single batches, but this is not a scoring round of the job")]
    NotScoring,
    /// The batches are not the job's.
    #[error("the batches are not those that the roster and the batch size {batch_size} give")]
    OtherBatches {
        /// Sites in a batch, by the job's policy.
        batch_size: u16,
    },
    /// The mask graph leaves too much to chance, or does not fit the roster or the mode.
    #[error(
        "a mask graph of degree {degree} does not keep {sites} sites together: {}",
        .least.map_or("only the complete graph will do".to_owned(), |least| format!("it needs an even degree from {least}"))
    )]
    MaskGraph {
        /// Degree in the context.
        degree: u16,
        /// Sites in the roster.
        sites: usize,
        /// Least degree with a chance of failure of at most 2^-40; `None` if the graph must be complete.
        least: Option<u16>,
    },
    /// The roster is smaller than the site's own floor.
    #[error(
        "the roster's sites belong to {found} legal entities; this site takes part with at least {floor}"
    )]
    MinSites {
        /// Legal entities in the roster.
        found: usize,
        /// The site's floor.
        floor: u16,
    },
    /// The encoding is not sound for this many sites.
    #[error("the encoding was refused: {0}")]
    Encoding(#[from] EncodingError),
    /// The noise hides nothing, or does not fit the encoding.
    #[error("the terms of noise were refused: {0}")]
    Noise(#[from] PrivacyError),
}

/// Floors that a site sets for itself; a context below any of them is refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SiteFloor {
    /// Fewest legal entities in the roster: the sites of one owner know each other's updates and count once.
    pub min_sites: u16,
    /// Fewest sites in an agreed set.
    pub min_agreed: u16,
    /// Fewest sites in a batch that is opened by itself (mode group).
    pub min_batch: u16,
    /// The batch size of the job's scoring rounds, when this round is one of them: the batches must then be
    /// [`scoring_batches`] of the roster. `None` refuses every round that opens batches by themselves.
    pub scoring_batch_size: Option<u16>,
    /// The batch size of the job's other rounds: 1 for [`singletons`], otherwise the batches must be
    /// [`scoring_batches`] of the roster, the one partition that the job has.
    pub batch_size: u16,
}

/// Least agreed set of any round: one site alone is never opened.
const LEAST_AGREED: u16 = 2;
/// Least batch of mode group: one site alone is never opened.
const LEAST_OPEN_BATCH: u16 = 2;

impl RoundContext {
    pub(crate) fn transcript(&self) -> Transcript {
        let head = Transcript::new("context")
            .text(self.job.as_str())
            .number(self.round.get().into())
            .digest(&self.model)
            .digest(&self.roster)
            .list(self.batches.iter(), |t, batch| t.list(batch.iter(), |t, site| t.text(site.as_str())))
            .text(self.mode.as_str());
        let parameters = self
            .encoding
            .append_to(head)
            .number(self.threshold.into())
            .number(self.min_agreed.into())
            .number(self.min_batch.into());
        let whole = self
            .mask_graph
            .append_to(parameters)
            .digest(&self.policy)
            .digest(&self.training)
            .number(self.ledger_size)
            .digest(&self.ledger_root);
        whole.list(self.noise.iter(), |t, noise| noise.append_to(t))
    }

    /// The context's digest, which every message of the round carries.
    #[must_use]
    pub fn digest(&self) -> Digest {
        self.transcript().hash()
    }

    /// Checks every rule that does not depend on a site's own floors.
    ///
    /// # Errors
    /// [`ContextError`] names the broken rule.
    pub fn validate(&self, roster: &impl Signatories) -> Result<(), ContextError> {
        if self.job != *roster.job() {
            return Err(ContextError::Job { context: self.job.clone(), roster: roster.job().clone() });
        }
        if self.roster != roster.digest() {
            return Err(ContextError::Roster);
        }
        let sites = roster.sites().len();
        self.check_partition(roster)?;
        let threshold = usize::from(self.threshold);
        if threshold * 3 <= sites * 2 || threshold > sites {
            return Err(ContextError::Threshold { threshold: self.threshold, sites });
        }
        if self.min_agreed < LEAST_AGREED || usize::from(self.min_agreed) > sites {
            return Err(ContextError::MinAgreed { found: self.min_agreed, floor: LEAST_AGREED, sites });
        }
        if self.mode == Mode::Group {
            self.check_open_batches(self.min_batch.max(LEAST_OPEN_BATCH))?;
        }
        self.check_mask_graph(sites)?;
        self.encoding.validate(sites)?;
        match &self.noise {
            Some(noise) => {
                noise.validate(&self.encoding, self.fewest_summed(), sites)?;
                let broken = (2 * threshold).saturating_sub(sites);
                let colluders = noise.colluders;
                let few = usize::from(colluders) < broken;
                if few { Ok(()) } else { Err(PrivacyError::Colluders { colluders, broken }.into()) }
            }
            None => Ok(()),
        }
    }

    /// Sites in the smallest sum that may be opened.
    #[must_use]
    pub fn fewest_summed(&self) -> usize {
        match self.mode {
            Mode::Full => self.min_agreed.into(),
            Mode::Group => self.batches.iter().map(Vec::len).min().unwrap_or(0),
        }
    }

    /// What the round costs each of its sites, in terms of zCDP; nothing is promised without noise.
    #[must_use]
    pub fn privacy_cost(&self) -> Option<PrivacyCost> {
        self.noise.map(|noise| noise.cost(self.fewest_summed(), self.encoding.coordinates()))
    }

    fn check_partition(&self, roster: &impl Signatories) -> Result<(), ContextError> {
        let mut seen = BTreeSet::new();
        for batch in &self.batches {
            if batch.is_empty() {
                return Err(ContextError::Batches { site: None });
            }
            for site in batch {
                if roster.identity_key(site).is_none() || !seen.insert(site) {
                    return Err(ContextError::Batches { site: Some(site.clone()) });
                }
            }
        }
        match roster.sites().find(|site| !seen.contains(site)) {
            Some(missing) => Err(ContextError::Batches { site: Some(missing.clone()) }),
            None => Ok(()),
        }
    }

    /// No graph that a hostile gateway could cut: see [`mask_graph`].
    fn check_mask_graph(&self, sites: usize) -> Result<(), ContextError> {
        let MaskGraph::Regular { degree } = self.mask_graph else { return Ok(()) };
        let least = self.least_degree(sites);
        let sound = self.mode == Mode::Full
            && degree.is_multiple_of(2)
            && usize::from(degree) + 1 < sites
            && least.is_some_and(|least| degree >= least);
        if sound { Ok(()) } else { Err(ContextError::MaskGraph { degree, sites, least }) }
    }

    /// The least degree of a regular mask graph in mode full, for this threshold and smallest agreed set; `None` if only
    /// the complete graph will do.
    #[must_use]
    pub fn least_degree(&self, sites: usize) -> Option<u16> {
        if self.mode == Mode::Group {
            return None;
        }
        // Single sites are agreed on as they upload, and t must; whole batches may be fewer than upload.
        let single = self.batches.iter().all(|batch| batch.len() == 1);
        let fewest = if single { self.min_agreed.max(self.threshold) } else { self.min_agreed };
        let dropouts = sites.saturating_sub(fewest.into());
        mask_graph::least_degree(sites, self.threshold.into(), dropouts)
    }

    fn check_open_batches(&self, floor: u16) -> Result<(), ContextError> {
        match self.batches.iter().map(Vec::len).min() {
            Some(found) if found < usize::from(floor) => Err(ContextError::MinBatch { found, floor }),
            Some(_) | None => Ok(()),
        }
    }

    fn check_floor(&self, roster: &impl Signatories, floor: &SiteFloor) -> Result<(), ContextError> {
        let (sites, entities) = (roster.sites().len(), roster.legal_entities());
        if entities < usize::from(floor.min_sites) {
            return Err(ContextError::MinSites { found: entities, floor: floor.min_sites });
        }
        if self.min_agreed < floor.min_agreed {
            return Err(ContextError::MinAgreed { found: self.min_agreed, floor: floor.min_agreed, sites });
        }
        if self.mode == Mode::Group {
            if self.min_batch < floor.min_batch {
                return Err(ContextError::MinBatch { found: self.min_batch.into(), floor: floor.min_batch });
            }
            self.check_open_batches(floor.min_batch)?;
        }
        let batch_size = match self.mode {
            Mode::Full => floor.batch_size,
            Mode::Group => floor.scoring_batch_size.ok_or(ContextError::NotScoring)?,
        };
        let partition = match batch_size {
            1 => singletons(roster),
            size => scoring_batches(roster, size),
        };
        if self.batches == partition { Ok(()) } else { Err(ContextError::OtherBatches { batch_size }) }
    }

    /// The batch that holds `site`.
    #[must_use]
    pub fn batch_of(&self, site: &SiteId) -> Option<&[SiteId]> {
        self.batches.iter().find(|batch| batch.contains(site)).map(Vec::as_slice)
    }

    /// The sites with which `site` shares a pairwise mask: its neighbours in the mask graph over the roster (mode full)
    /// or all of the site's own batch (mode group).
    ///
    /// Everything else in this crate asks this function.
    #[must_use]
    pub fn neighbours(&self, site: &SiteId) -> BTreeSet<SiteId> {
        let all = self.batches.iter().flatten();
        match (self.mode, self.mask_graph) {
            (Mode::Group, _) => {
                self.batch_of(site).into_iter().flatten().filter(|other| *other != site).cloned().collect()
            }
            (Mode::Full, MaskGraph::Complete) => all.filter(|other| *other != site).cloned().collect(),
            (Mode::Full, MaskGraph::Regular { degree }) => {
                let circle = mask_graph::circle(&self.job, &self.roster, all);
                mask_graph::around(&circle, site, degree).cloned().collect()
            }
        }
    }

    /// The sites to which `site` deals shares of its seeds: every other site of the roster, in both modes.
    #[must_use]
    pub fn share_holders(&self, site: &SiteId) -> BTreeSet<SiteId> {
        self.batches.iter().flatten().filter(|other| *other != site).cloned().collect()
    }

    /// The agreed set that the uploads `uploaded` allow: the union of the batches that uploaded completely.
    #[must_use]
    pub fn agreed_set(&self, uploaded: &BTreeSet<SiteId>) -> BTreeSet<SiteId> {
        let complete = |batch: &&Vec<SiteId>| batch.iter().all(|site| uploaded.contains(site));
        self.batches.iter().filter(complete).flatten().cloned().collect()
    }

    /// The sums that are opened for an agreed set: one in mode full, one per batch in mode group.
    pub(crate) fn opened_groups(&self, agreed: &BTreeSet<SiteId>) -> Vec<BTreeSet<SiteId>> {
        match self.mode {
            Mode::Full => vec![agreed.clone()],
            Mode::Group => self
                .batches
                .iter()
                .map(|batch| batch.iter().cloned().collect::<BTreeSet<_>>())
                .filter(|batch| batch.is_subset(agreed))
                .collect(),
        }
    }

    /// The pairwise masks that stay in the sum of `agreed` because their other end is not in it:
    /// for each site in the set, its neighbours outside.
    pub(crate) fn open_pairs(&self, agreed: &BTreeSet<SiteId>) -> BTreeMap<SiteId, BTreeSet<SiteId>> {
        let outside = |site: &SiteId| self.neighbours(site).difference(agreed).cloned().collect();
        agreed.iter().map(|site| (site.clone(), outside(site))).collect()
    }
}

/// A context with the gateway's signature and certificate, as it is published and written to the ledger.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
#[serde(deny_unknown_fields)]
pub struct SignedContext {
    /// The parameters.
    pub context: RoundContext,
    /// The gateway's certificate.
    pub gateway: MembershipCertificate,
    /// The gateway's signature over the parameters.
    pub signature: Signature,
}

impl SignedContext {
    /// Signs a context with the gateway's key.
    #[must_use]
    pub fn sign(context: RoundContext, gateway: MembershipCertificate, key: &IdentityKey) -> Self {
        let signature = key.sign_transcript(&context.transcript());
        Self { context, gateway, signature }
    }

    /// Checks the chain root, gateway, signature alone: for those who take no part in the round and have no roster.
    ///
    /// # Errors
    /// [`ContextError::Gateway`] or [`ContextError::Signature`].
    pub fn verify_signer(
        &self,
        root: &ConsortiumRoot,
        now: UnixSeconds,
    ) -> Result<&RoundContext, ContextError> {
        root.verify_role(&self.gateway, MemberRole::Gateway, now)?;
        let key = &self.gateway.membership.identity_key;
        if key.verifies_transcript(&self.context.transcript(), &self.signature) {
            Ok(&self.context)
        } else {
            Err(ContextError::Signature)
        }
    }

    /// Checks the chain root, gateway, signature, then every rule of the context and the site's own floors.
    ///
    /// # Errors
    /// [`ContextError`] names the first check that failed.
    pub fn verify(
        &self,
        root: &ConsortiumRoot,
        roster: &impl Signatories,
        now: UnixSeconds,
        floor: &SiteFloor,
    ) -> Result<VerifiedContext, ContextError> {
        self.verify_signer(root, now)?;
        self.context.validate(roster)?;
        self.context.check_floor(roster, floor)?;
        Ok(VerifiedContext { digest: self.context.digest(), context: self.context.clone() })
    }
}

/// A context that passed [`SignedContext::verify`]; there is no other way to make one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct VerifiedContext {
    context: RoundContext,
    digest: Digest,
}

impl VerifiedContext {
    /// The parameters.
    #[must_use]
    pub fn context(&self) -> &RoundContext {
        &self.context
    }

    /// The context's digest.
    #[must_use]
    pub fn digest(&self) -> Digest {
        self.digest
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::vectors;

    #[test]
    fn known_answers() {
        let file = vectors::load(include_str!("../vectors/context.json"));
        let parse = |case: &serde_json::Value| -> Option<RoundContext> {
            serde_json::from_value(case["context"].clone()).ok()
        };
        for case in vectors::cases(&file, "positive") {
            assert_eq!(parse(&case).unwrap().digest().to_string(), case["digest"]);
        }
        for case in vectors::cases(&file, "negative") {
            let digest = parse(&case).map(|context| context.digest().to_string());
            assert_ne!(digest.as_deref(), case["digest"].as_str(), "{}", case["why"]);
            assert_eq!(digest.is_some(), case["parses"], "{}", case["why"]);
        }
    }
}
