//! The hybrid key encapsulation: X25519 (RFC 7748) beside ML-KEM-768 (FIPS 203).
//!
//! Both shared secrets enter the key schedule as `ss_mlkem || ss_x25519`; an attacker must break both. The combiner is
//! HKDF over both secrets with the hashes of the public key and the ciphertext as info, see [`crate::key_schedule`].

use curve25519_dalek::montgomery::MontgomeryPoint;
use ml_kem::kem::{Decapsulate, Encapsulate, KeyExport};
use ml_kem::ml_kem_768::{Ciphertext, DecapsulationKey, EncapsulationKey};
use ml_kem::{Key, Seed};
use rand_core::CryptoRng;
use subtle::ConstantTimeEq;
use zeroize::Zeroize;

use crate::secret::Secret;
use crate::setup::KemPublicKey;

const X25519_BYTES: usize = 32;
const ML_KEM_KEY_BYTES: usize = 1184;
const ML_KEM_SEED_BYTES: usize = 64;

/// Bytes of a hybrid public key.
pub(crate) const PUBLIC_KEY_BYTES: usize = X25519_BYTES + ML_KEM_KEY_BYTES;
/// Bytes of a stored decapsulation key: X25519 scalar, then ML-KEM seed.
pub(crate) const SECRET_KEY_BYTES: usize = X25519_BYTES + ML_KEM_SEED_BYTES;

/// A public key or ciphertext is malformed, or makes X25519 non-contributory.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct KemError;

/// `ss_mlkem || ss_x25519`.
pub(crate) type SharedSecret = Secret<64>;

/// The private half. Not `Clone`, erased on drop.
pub(crate) struct KemSecretKey(Secret<SECRET_KEY_BYTES>);

impl KemSecretKey {
    pub(crate) fn generate<R: CryptoRng + ?Sized>(rng: &mut R) -> Self {
        Self(Secret::random(rng))
    }

    pub(crate) fn from_bytes(bytes: &[u8; SECRET_KEY_BYTES]) -> Self {
        Self(Secret::copy_from(bytes))
    }

    pub(crate) fn expose(&self) -> &[u8; SECRET_KEY_BYTES] {
        self.0.expose()
    }

    fn halves(&self) -> (Secret<X25519_BYTES>, DecapsulationKey) {
        let mut scalar = Secret::zeroed();
        let mut seed = Seed::default();
        let (x25519, ml_kem) = self.0.expose().split_at(X25519_BYTES);
        scalar.expose_mut().copy_from_slice(x25519);
        seed.as_mut_slice().copy_from_slice(ml_kem);
        let key = DecapsulationKey::from_seed(seed);
        seed.zeroize();
        (scalar, key)
    }

    pub(crate) fn public(&self) -> KemPublicKey {
        let (scalar, key) = self.halves();
        let mut bytes = [0; PUBLIC_KEY_BYTES];
        let (x25519, ml_kem) = bytes.split_at_mut(X25519_BYTES);
        x25519.copy_from_slice(MontgomeryPoint::mul_base_clamped(*scalar.expose()).as_bytes());
        ml_kem.copy_from_slice(&key.encapsulation_key().to_bytes());
        KemPublicKey::from(bytes)
    }

    /// Recovers the shared secret of a ciphertext.
    ///
    /// ML-KEM rejects implicitly: an altered ciphertext of the right length gives an unrelated secret, which shows as
    /// differing seed commitments later. The caller has checked the sender's signature before.
    pub(crate) fn decapsulate(&self, ciphertext: &[u8]) -> Result<SharedSecret, KemError> {
        let (ephemeral, ml_kem) = split_ciphertext(ciphertext)?;
        let (scalar, key) = self.halves();
        let mut from_ml_kem = key.decapsulate(&ml_kem);
        let shared = combine(&mut from_ml_kem, diffie_hellman(&scalar, ephemeral)?);
        Ok(shared)
    }
}

/// Draws a shared secret for the holder of `public`.
pub(crate) fn encapsulate<R: CryptoRng + ?Sized>(
    public: &KemPublicKey,
    rng: &mut R,
) -> Result<(Vec<u8>, SharedSecret), KemError> {
    let (point, key) = split_public(public)?;
    let ephemeral = Secret::random(rng);
    let (ml_kem, mut from_ml_kem) = key.encapsulate_with_rng(rng);
    let shared = combine(&mut from_ml_kem, diffie_hellman(&ephemeral, point)?);
    let mut ciphertext = MontgomeryPoint::mul_base_clamped(*ephemeral.expose()).as_bytes().to_vec();
    ciphertext.extend_from_slice(&ml_kem);
    Ok((ciphertext, shared))
}

/// Refuses keys that no honest site advertises: low-order points and unreduced ML-KEM coefficients.
pub(crate) fn check_public_key(public: &KemPublicKey) -> Result<(), KemError> {
    let (point, _) = split_public(public)?;
    // Every clamped scalar is a multiple of the cofactor, so any of them sends a low-order point to zero.
    diffie_hellman(&Secret::zeroed(), point).map(|_| ())
}

/// Whether `bytes` can be a ciphertext at all.
pub(crate) fn check_ciphertext(bytes: &[u8]) -> Result<(), KemError> {
    let (point, _) = split_ciphertext(bytes)?;
    diffie_hellman(&Secret::zeroed(), point).map(|_| ())
}

fn split_public(public: &KemPublicKey) -> Result<(MontgomeryPoint, EncapsulationKey), KemError> {
    let (point, key) = public.as_bytes().split_first_chunk::<X25519_BYTES>().ok_or(KemError)?;
    let key = <&Key<EncapsulationKey>>::try_from(key).map_err(|_| KemError)?;
    let key = EncapsulationKey::new(key).map_err(|_| KemError)?;
    Ok((MontgomeryPoint(*point), key))
}

fn split_ciphertext(bytes: &[u8]) -> Result<(MontgomeryPoint, Ciphertext), KemError> {
    let (point, ml_kem) = bytes.split_first_chunk::<X25519_BYTES>().ok_or(KemError)?;
    Ok((MontgomeryPoint(*point), Ciphertext::try_from(ml_kem).map_err(|_| KemError)?))
}

/// X25519; the all-zero result of a low-order point is refused (RFC 7748, section 6.1).
fn diffie_hellman(scalar: &Secret<32>, point: MontgomeryPoint) -> Result<Secret<32>, KemError> {
    let mut result = point.mul_clamped(*scalar.expose());
    let shared = Secret::copy_from(result.as_bytes());
    result.zeroize();
    if shared.expose().ct_eq(&[0; 32]).into() { Err(KemError) } else { Ok(shared) }
}

fn combine(from_ml_kem: &mut ml_kem::SharedKey, from_x25519: Secret<32>) -> SharedSecret {
    let mut shared = SharedSecret::zeroed();
    let (first, second) = shared.expose_mut().split_at_mut(32);
    first.copy_from_slice(from_ml_kem);
    second.copy_from_slice(from_x25519.expose());
    from_ml_kem.zeroize();
    shared
}

#[cfg(test)]
mod tests {
    use rand_chacha::ChaCha20Rng;
    use rand_core::SeedableRng;

    use super::*;
    use crate::text::from_hex;

    const CIPHERTEXT_BYTES: usize = X25519_BYTES + 1088;

    /// The points of small order on Curve25519 and its twist, with non-canonical spellings of 0 and 1.
    const LOW_ORDER: [&str; 7] = [
        "0000000000000000000000000000000000000000000000000000000000000000",
        "0100000000000000000000000000000000000000000000000000000000000000",
        "e0eb7a7c3b41b8ae1656e3faf19fc46ada098deb9c32b1fd866205165f49b800",
        "5f9c95bca3508c24b1d0b1559c83ef5b04445cc4581c8e86d8224eddd09f1157",
        "ecffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
        "edffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
        "eeffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
    ];

    fn key(seed: u8) -> KemSecretKey {
        KemSecretKey::generate(&mut ChaCha20Rng::from_seed([seed; 32]))
    }

    #[test]
    fn both_ends_share_the_secret() {
        let mut rng = ChaCha20Rng::from_seed([1; 32]);
        let (ciphertext, sent) = encapsulate(&key(2).public(), &mut rng).unwrap();
        assert_eq!(ciphertext.len(), CIPHERTEXT_BYTES);
        assert!(key(2).decapsulate(&ciphertext).unwrap() == sent);
        assert!(key(3).decapsulate(&ciphertext).unwrap() != sent);
    }

    #[test]
    fn both_halves_matter() {
        let mut rng = ChaCha20Rng::from_seed([1; 32]);
        let (ciphertext, sent) = encapsulate(&key(2).public(), &mut rng).unwrap();
        for position in [0, X25519_BYTES, CIPHERTEXT_BYTES - 1] {
            let mut altered = ciphertext.clone();
            altered[position] ^= 1;
            assert!(key(2).decapsulate(&altered).unwrap() != sent, "byte {position}");
        }
    }

    #[test]
    fn low_order_points_are_refused_in_keys_and_ciphertexts() {
        let mut rng = ChaCha20Rng::from_seed([1; 32]);
        let (ciphertext, _) = encapsulate(&key(2).public(), &mut rng).unwrap();
        for point in LOW_ORDER {
            let point: [u8; 32] = from_hex(point).unwrap();
            let mut public = *key(2).public().as_bytes();
            public[..32].copy_from_slice(&point);
            let public = KemPublicKey::from(public);
            assert_eq!(check_public_key(&public), Err(KemError));
            assert!(encapsulate(&public, &mut rng).is_err());
            let mut ciphertext = ciphertext.clone();
            ciphertext[..32].copy_from_slice(&point);
            assert_eq!(check_ciphertext(&ciphertext), Err(KemError));
            assert!(key(2).decapsulate(&ciphertext).is_err());
        }
        assert_eq!(check_public_key(&key(2).public()), Ok(()));
    }

    #[test]
    fn wrong_lengths_and_unreduced_lattice_keys_are_refused() {
        let mut rng = ChaCha20Rng::from_seed([1; 32]);
        let (ciphertext, _) = encapsulate(&key(2).public(), &mut rng).unwrap();
        assert!(key(2).decapsulate(&ciphertext[1..]).is_err());
        assert!(key(2).decapsulate(&[]).is_err());
        let mut public = *key(2).public().as_bytes();
        public[32..35].copy_from_slice(&[0xff; 3]);
        assert_eq!(check_public_key(&KemPublicKey::from(public)), Err(KemError));
    }

    #[test]
    fn x25519_agrees_with_rfc_7748() {
        let scalar = |hex: &str| Secret::copy_from(&from_hex::<32>(hex).unwrap());
        let point = |hex: &str| MontgomeryPoint(from_hex(hex).unwrap());
        // Section 5.2, first vector.
        let shared = diffie_hellman(
            &scalar("a546e36bf0527c9d3b16154b82465edd62144c0ac1fc5a18506a2244ba449ac4"),
            point("e6db6867583030db3594c1a424b15f7c726624ec26b3353b10a903a6d0ab1c4c"),
        );
        assert!(
            shared.unwrap() == scalar("c3da55379de9c6908e94ea4df28d084f32eccf03491c71f754b4075577a28552")
        );
        // Section 6.1, Bob's side.
        let bob = scalar("5dab087e624a8a4b79e17f8b83800ee66f3bb1292618b6fd1c2f8b27ff88e0eb");
        assert_eq!(
            MontgomeryPoint::mul_base_clamped(*bob.expose()).as_bytes(),
            &from_hex("de9edb7d7b7dc1b4d35b61c2ece435373f8343c85b78674dadfc7e146f882b4f").unwrap()
        );
        let alice = point("8520f0098930a754748b7ddcb43ef75a0dbf3a0d26381af4eba4a98eaa9b4e6a");
        let shared = diffie_hellman(&bob, alice);
        assert!(
            shared.unwrap() == scalar("4a5d9d5ba4ce2de1728e3bf480350f25e07e21c947d19e3376f09b3c1e161742")
        );
    }
}
