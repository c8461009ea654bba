//! Dealing of seed shares, committed to by one Merkle root per dealer.
//!
//! A dealer shares its self-mask seed (slot 0) and the seed of each pair with a neighbour (slots 1 and up, ascending by
//! neighbour). The shares of one receiver make one bundle. The root is a tree over bundles in roster order, and each
//! bundle is itself a tree over its slots, so a receiver checks a whole bundle with one short path, and can later
//! open a single share without showing the others.

use rand_core::CryptoRng;
use zeroize::Zeroizing;

use crate::digest::Digest;
use crate::ids::SiteId;
use crate::merkle;
use crate::messages::{SCALAR_BYTES, SeedBytes, Share};
use crate::round::Round;
use crate::seed::Seed;
use crate::shamir;
use crate::state_codec::{StateError, StateReader, StateWriter};
use crate::transcript::Transcript;

/// Who deals what to whom in one round.
pub(crate) struct DealingPlan {
    context: Digest,
    dealer: SiteId,
    neighbours: Vec<SiteId>,
    receivers: Vec<SiteId>,
}

impl DealingPlan {
    pub(crate) fn new(round: &Round<'_>, dealer: &SiteId) -> Self {
        Self {
            context: round.digest,
            dealer: dealer.clone(),
            neighbours: round.context.neighbours(dealer).into_iter().collect(),
            receivers: round.roster.sites().cloned().collect(),
        }
    }

    /// Seeds that the dealer shares.
    pub(crate) fn slots(&self) -> usize {
        self.neighbours.len() + 1
    }

    /// The slot of the dealer's self-mask seed.
    pub(crate) const SELF_SLOT: usize = 0;

    /// The slot of the seed shared with a neighbour.
    pub(crate) fn pair_slot(&self, peer: &SiteId) -> Option<usize> {
        self.neighbours.binary_search(peer).ok().map(|index| index + 1)
    }

    fn position(&self, receiver: &SiteId) -> Option<usize> {
        self.receivers.binary_search(receiver).ok()
    }

    /// Bytes of a receiver's bundle before sealing.
    pub(crate) fn bundle_bytes(&self, receiver: &SiteId) -> usize {
        let upper = self.position(receiver).map_or(0, |at| merkle::path_len(at, self.receivers.len()));
        (self.slots() + upper) * 32
    }

    fn share_hash(&self, receiver: &SiteId, slot: usize, value: &[u8; SCALAR_BYTES]) -> Digest {
        Transcript::new("share")
            .digest(&self.context)
            .text(self.dealer.as_str())
            .text(receiver.as_str())
            .number(slot as u64)
            .bytes(value)
            .hash()
    }

    fn bundle_hashes(&self, receiver: &SiteId, shares: &[Seed]) -> Vec<Digest> {
        shares
            .iter()
            .enumerate()
            .map(|(slot, share)| self.share_hash(receiver, slot, share.expose()))
            .collect()
    }

    /// Deals all seeds, given in slot order; returns the root and each receiver's bundle.
    pub(crate) fn deal<R: CryptoRng + ?Sized>(
        &self,
        seeds: &[&Seed],
        threshold: u16,
        rng: &mut R,
    ) -> (Digest, Vec<(SiteId, ShareBundle)>) {
        let mut by_receiver: Vec<Vec<Seed>> = self.receivers.iter().map(|_| Vec::new()).collect();
        for seed in seeds {
            let shares = shamir::deal(seed, threshold, self.receivers.len(), rng);
            for (bundle, share) in by_receiver.iter_mut().zip(shares) {
                bundle.push(share);
            }
        }
        let roots: Vec<Digest> = self
            .receivers
            .iter()
            .zip(&by_receiver)
            .map(|(receiver, shares)| merkle::root(&self.bundle_hashes(receiver, shares)))
            .collect();
        let bundles = by_receiver
            .into_iter()
            .enumerate()
            .map(|(at, shares)| ShareBundle { shares, upper: merkle::path(&roots, at) })
            .zip(&self.receivers)
            .map(|(bundle, receiver)| (receiver.clone(), bundle))
            .collect();
        (merkle::root(&roots), bundles)
    }

    /// Parses an opened bundle and checks it against the dealer's root; `None` if it is not what was committed to.
    pub(crate) fn parse_bundle(&self, receiver: &SiteId, root: &Digest, bytes: &[u8]) -> Option<ShareBundle> {
        if bytes.len() != self.bundle_bytes(receiver) {
            return None;
        }
        let (fields, _) = bytes.as_chunks::<32>();
        let (shares, upper) = fields.split_at_checked(self.slots())?;
        let bundle = ShareBundle {
            shares: shares.iter().map(Seed::from_bytes).collect::<Option<_>>()?,
            upper: upper.iter().copied().map(Digest).collect(),
        };
        let hashes = self.bundle_hashes(receiver, &bundle.shares);
        let position = self.position(receiver)?;
        let mut siblings = bundle.upper.iter();
        let led =
            merkle::root_from_path(&merkle::root(&hashes), position, self.receivers.len(), &mut siblings);
        (led == Some(*root)).then_some(bundle)
    }

    /// One share of a bundle with its whole path, for the gateway.
    pub(crate) fn open_share(&self, receiver: &SiteId, bundle: &ShareBundle, slot: usize) -> Option<Share> {
        let value = bundle.shares.get(slot)?.open();
        let mut path = merkle::path(&self.bundle_hashes(receiver, &bundle.shares), slot);
        path.extend_from_slice(&bundle.upper);
        Some(Share { value, path })
    }

    /// Checks an opened share against the dealer's root and parses its value.
    pub(crate) fn check_share(
        &self,
        receiver: &SiteId,
        slot: usize,
        share: &Share,
        root: &Digest,
    ) -> Option<Seed> {
        let Share { value: SeedBytes(value), path } = share;
        let mut siblings = path.iter();
        let hash = self.share_hash(receiver, slot, value);
        let bundle = merkle::root_from_path(&hash, slot, self.slots(), &mut siblings)?;
        let position = self.position(receiver)?;
        let led = merkle::root_from_path(&bundle, position, self.receivers.len(), &mut siblings)?;
        if led == *root && siblings.next().is_none() { Seed::from_bytes(value) } else { None }
    }
}

/// All shares that one dealer gave to one receiver, with the path of the bundle. Erased on drop.
pub(crate) struct ShareBundle {
    shares: Vec<Seed>,
    upper: Vec<Digest>,
}

impl ShareBundle {
    /// The plaintext that is sealed.
    pub(crate) fn to_bytes(&self) -> Zeroizing<Vec<u8>> {
        let mut bytes = Zeroizing::new(Vec::with_capacity((self.shares.len() + self.upper.len()) * 32));
        for share in &self.shares {
            bytes.extend_from_slice(share.expose());
        }
        for sibling in &self.upper {
            bytes.extend_from_slice(sibling.as_bytes());
        }
        bytes
    }

    pub(crate) fn write(&self, writer: &mut StateWriter) {
        writer.list(self.shares.iter(), |writer, share| writer.fixed(share.expose()));
        writer.list(self.upper.iter(), |writer, sibling| writer.fixed(sibling.as_bytes()));
    }

    pub(crate) fn read(reader: &mut StateReader<'_>) -> Result<Self, StateError> {
        Ok(Self {
            shares: reader
                .list(|reader| reader.fixed().and_then(|b| Seed::from_bytes(b).ok_or(StateError::Damaged)))?,
            upper: reader.list(StateReader::digest)?,
        })
    }
}
