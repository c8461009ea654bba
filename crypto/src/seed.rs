//! Seeds: the scalars that masks grow from and that are shared among the sites.

use curve25519_dalek::scalar::Scalar;
use rand_core::CryptoRng;
use subtle::ConstantTimeEq;
use zeroize::Zeroize;

use crate::digest::Digest;
use crate::ids::SiteId;
use crate::key_schedule;
use crate::messages::{SCALAR_BYTES, SeedBytes};
use crate::secret::Secret;
use crate::transcript::Transcript;

/// A uniform scalar of the Ristretto255 group (about 252 bits): a mask seed, or one share of it.
/// Not `Clone`, not printed, erased on drop.
///
/// It stays where it is first put: a list that grows, or hands a seed on, copies only where it lies, and so leaves no seed
/// behind in memory that it frees.
pub(crate) struct Seed(Box<Scalar>);

impl Drop for Seed {
    fn drop(&mut self) {
        self.0.zeroize();
    }
}

impl Seed {
    /// Draws a seed.
    pub(crate) fn random<R: CryptoRng + ?Sized>(rng: &mut R) -> Self {
        Self::from_wide(&Secret::random(rng))
    }

    /// Reduces 64 uniform bytes, so that the bias is below 2^-250.
    pub(crate) fn from_wide(bytes: &Secret<64>) -> Self {
        Self::from_scalar(Scalar::from_bytes_mod_order_wide(bytes.expose()))
    }

    pub(crate) fn from_scalar(scalar: Scalar) -> Self {
        Self(Box::new(scalar))
    }

    /// Parses the canonical encoding; `None` for any other.
    pub(crate) fn from_bytes(bytes: &[u8; SCALAR_BYTES]) -> Option<Self> {
        Option::from(Scalar::from_canonical_bytes(*bytes)).map(Self::from_scalar)
    }

    pub(crate) fn scalar(&self) -> &Scalar {
        &self.0
    }

    pub(crate) fn expose(&self) -> &[u8; SCALAR_BYTES] {
        self.0.as_bytes()
    }

    /// The seed as it is opened to the gateway.
    pub(crate) fn open(&self) -> SeedBytes {
        SeedBytes(self.0.to_bytes())
    }

    /// Commitment to a site's self-mask seed.
    pub(crate) fn self_commitment(&self, context: &Digest, site: &SiteId) -> Digest {
        Transcript::new("self-mask-seed").digest(context).text(site.as_str()).bytes(self.expose()).hash()
    }

    /// Commitment to the seed of a pair; the same from both ends.
    pub(crate) fn pair_commitment(&self, context: &Digest, one: &SiteId, other: &SiteId) -> Digest {
        Transcript::new("pair-mask-seed")
            .digest(context)
            .text(one.min(other).as_str())
            .text(one.max(other).as_str())
            .bytes(self.expose())
            .hash()
    }

    /// The AES-256 key of the mask that this seed stands for in a context.
    pub(crate) fn stream_key(&self, context: &Digest) -> Secret<32> {
        key_schedule::mask_stream_key(self.expose(), context)
    }
}

impl PartialEq for Seed {
    fn eq(&self, other: &Self) -> bool {
        self.expose().ct_eq(other.expose()).into()
    }
}

#[cfg(test)]
mod tests {
    use rand_chacha::ChaCha20Rng;
    use rand_core::SeedableRng;

    use super::*;

    #[test]
    fn seeds_are_full_width() {
        // Short seeds have broken other implementations (16 and 32 bits). Over 64 draws every byte must take many
        // values, up to the top one, where the group order leaves four bits and a little.
        assert_eq!(SCALAR_BYTES, 32);
        let mut rng = ChaCha20Rng::from_seed([8; 32]);
        let seeds: Vec<_> = (0..64).map(|_| Seed::random(&mut rng).open()).collect();
        for byte in 0..32 {
            let values: std::collections::BTreeSet<_> = seeds.iter().map(|seed| seed.0[byte]).collect();
            assert!(values.len() >= if byte == 31 { 12 } else { 40 }, "byte {byte}: {} values", values.len());
        }
        let keys = seeds
            .iter()
            .map(|seed| *Seed::from_bytes(&seed.0).unwrap().stream_key(&Digest([0; 32])).expose());
        assert_eq!(keys.collect::<std::collections::BTreeSet<[u8; 32]>>().len(), 64);
    }

    #[test]
    fn seeds_are_not_copied_by_lists_that_grow_or_hand_them_on() {
        let mut rng = ChaCha20Rng::from_seed([9; 32]);
        let mut list = Vec::with_capacity(1);
        let places: Vec<*const u8> = (0..40)
            .map(|_| {
                let seed = Seed::random(&mut rng);
                let place = seed.expose().as_ptr();
                list.push(seed);
                place
            })
            .collect();
        assert!(list.capacity() >= 40);
        let map: std::collections::BTreeMap<usize, Seed> = list.into_iter().enumerate().collect();
        assert!(map.values().map(|seed| seed.expose().as_ptr()).eq(places));
    }

    #[test]
    fn only_canonical_scalars_parse() {
        assert!(Seed::from_bytes(&[0xff; 32]).is_none());
        let largest = (-Scalar::ONE).to_bytes();
        let mut order = largest;
        order[0] += 1;
        assert!(Seed::from_bytes(&order).is_none());
        assert_eq!(Seed::from_bytes(&largest).unwrap().open().0, largest);
    }

    #[test]
    fn commitments_name_the_pair_in_one_order_only() {
        let (a, b): (SiteId, SiteId) = ("a".parse().unwrap(), "b".parse().unwrap());
        let seed = Seed::from_scalar(Scalar::from(7_u8));
        let context = Digest([1; 32]);
        assert_eq!(seed.pair_commitment(&context, &a, &b), seed.pair_commitment(&context, &b, &a));
        assert_ne!(seed.pair_commitment(&context, &a, &b), seed.self_commitment(&context, &a));
        assert_ne!(seed.self_commitment(&context, &a), seed.self_commitment(&Digest([2; 32]), &a));
    }
}
