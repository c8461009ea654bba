//! Pairwise chains: one ratcheted secret per other site of the roster.

use std::collections::BTreeMap;
use std::fmt;

use zeroize::Zeroizing;

use crate::digest::Digest;
use crate::ids::{JobId, RoundNumber, SiteId};
use crate::key_schedule::{self, PairSecrets};
use crate::secret::Secret;
use crate::seed::Seed;
use crate::state_codec::{StateError, StateKind, StateReader, StateWriter};

/// Why the chains could not be moved: the caller asked for a round that is over.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ChainError {
    /// The keys of an earlier round are erased.
    #[error("round {asked} is over: its keys are erased, the chains stand at round {current}")]
    Erased {
        /// Round the chains stand at.
        current: RoundNumber,
        /// Round asked for.
        asked: RoundNumber,
    },
}

/// Secrets shared with one other site, for the round the chains stand at.
pub(super) struct PairChain {
    chain: Secret<32>,
    outgoing: Secret<32>,
    incoming: Secret<32>,
}

impl PairChain {
    /// The chain of the pair as seen by its lower (encapsulating) or upper end.
    pub(super) fn new(secrets: PairSecrets, lower_end: bool) -> Self {
        let PairSecrets { chain, upward, downward } = secrets;
        let (outgoing, incoming) = if lower_end { (upward, downward) } else { (downward, upward) };
        Self { chain, outgoing, incoming }
    }

    fn advance(&mut self) {
        // Assigning drops, and so erases, the old keys.
        self.chain = key_schedule::next(&self.chain);
        self.outgoing = key_schedule::next(&self.outgoing);
        self.incoming = key_schedule::next(&self.incoming);
    }

    pub(super) fn write(&self, writer: &mut StateWriter) {
        writer.secret(&self.chain);
        writer.secret(&self.outgoing);
        writer.secret(&self.incoming);
    }

    pub(super) fn read(reader: &mut StateReader<'_>) -> Result<Self, StateError> {
        Ok(Self { chain: reader.secret()?, outgoing: reader.secret()?, incoming: reader.secret()? })
    }
}

/// A site's pairwise secrets for one job. Not `Clone`, not printed, erased on drop.
///
/// They move forward only: [`Self::advance_to`] erases the keys of all rounds before.
pub struct PairwiseChains {
    pub(super) job: JobId,
    pub(super) site: SiteId,
    pub(super) roster: Digest,
    pub(super) round: RoundNumber,
    pub(super) peers: BTreeMap<SiteId, PairChain>,
}

impl PairwiseChains {
    /// The job the chains belong to.
    #[must_use]
    pub fn job(&self) -> &JobId {
        &self.job
    }

    /// The site that owns the chains.
    #[must_use]
    pub fn site(&self) -> &SiteId {
        &self.site
    }

    /// Digest of the roster the chains were set up with.
    #[must_use]
    pub fn roster(&self) -> Digest {
        self.roster
    }

    /// The round whose keys the chains hold.
    #[must_use]
    pub fn round(&self) -> RoundNumber {
        self.round
    }

    /// Moves to a round and erases the keys of all earlier ones. Staying at the current round is no error.
    ///
    /// Store [`Self::to_secret_bytes`] afterwards: keys are gone only when the stored copy is replaced too.
    ///
    /// # Errors
    /// [`ChainError::Erased`] for an earlier round; the chains are unchanged then.
    pub fn advance_to(&mut self, round: RoundNumber) -> Result<(), ChainError> {
        if round < self.round {
            return Err(ChainError::Erased { current: self.round, asked: round });
        }
        for _ in self.round.get()..round.get() {
            self.peers.values_mut().for_each(PairChain::advance);
        }
        self.round = round;
        Ok(())
    }

    /// The seed of the mask shared with `peer` in the context.
    pub(crate) fn pair_seed(&self, peer: &SiteId, context: &Digest) -> Option<Seed> {
        let pair = self.peers.get(peer)?;
        Some(Seed::from_wide(&key_schedule::pair_seed_bytes(&pair.chain, context)))
    }

    /// The round's key for sealing to `peer`.
    pub(crate) fn sealing_key(&self, peer: &SiteId, context: &Digest) -> Option<Secret<32>> {
        let pair = self.peers.get(peer)?;
        Some(key_schedule::round_seal_key(&pair.outgoing, context, &self.site, peer))
    }

    /// The round's key for what `peer` seals to this site.
    pub(crate) fn opening_key(&self, peer: &SiteId, context: &Digest) -> Option<Secret<32>> {
        let pair = self.peers.get(peer)?;
        Some(key_schedule::round_seal_key(&pair.incoming, context, peer, &self.site))
    }

    /// The chains as bytes for durable, secret storage.
    #[must_use]
    pub fn to_secret_bytes(&self) -> Zeroizing<Vec<u8>> {
        let mut writer = StateWriter::new(StateKind::PairwiseChains);
        writer.text(self.job.as_str());
        writer.text(self.site.as_str());
        writer.fixed(self.roster.as_bytes());
        writer.number(self.round.get().into());
        writer.list(self.peers.iter(), |writer, (peer, pair)| {
            writer.text(peer.as_str());
            pair.write(writer);
        });
        writer.finish()
    }

    /// Reads stored bytes back.
    ///
    /// # Errors
    /// [`StateError`] if the bytes are another state's or damaged.
    pub fn from_secret_bytes(bytes: &[u8]) -> Result<Self, StateError> {
        let mut reader = StateReader::new(bytes, StateKind::PairwiseChains)?;
        let chains = Self {
            job: reader.job()?,
            site: reader.site()?,
            roster: reader.digest()?,
            round: reader.round()?,
            peers: reader.list(|reader| Ok((reader.site()?, PairChain::read(reader)?)))?,
        };
        reader.finish()?;
        Ok(chains)
    }
}

impl fmt::Debug for PairwiseChains {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PairwiseChains")
            .field("job", &self.job)
            .field("site", &self.site)
            .field("round", &self.round)
            .finish_non_exhaustive()
    }
}
