//! Sealing of shares between two sites: AES-256-GCM under a key that serves one message only.

use ring::aead::{AES_256_GCM, Aad, LessSafeKey, Nonce, UnboundKey};
use zeroize::Zeroizing;

use crate::digest::Digest;
use crate::ids::SiteId;
use crate::key_schedule::message_key;
use crate::messages::SealedShares;
use crate::secret::Secret;
use crate::transcript::Transcript;

/// Bytes that sealing adds: the GCM tag.
pub(crate) const TAG_BYTES: usize = 16;

/// The public facts a sealed message is bound to.
pub(crate) struct SealBinding<'a> {
    pub(crate) context: &'a Digest,
    pub(crate) from: &'a SiteId,
    pub(crate) to: &'a SiteId,
    /// Root over all shares of the dealing, see [`message_key`].
    pub(crate) share_root: &'a Digest,
}

impl SealBinding<'_> {
    fn associated(&self) -> Transcript {
        Transcript::new("sealed-shares").digest(self.context).text(self.from.as_str()).text(self.to.as_str())
    }

    fn key(&self, round_key: &Secret<32>) -> Option<(LessSafeKey, Nonce)> {
        let material = message_key(round_key, self.share_root);
        let (key, nonce) = material.expose().split_first_chunk::<32>()?;
        let key = UnboundKey::new(&AES_256_GCM, key).ok()?;
        Some((LessSafeKey::new(key), Nonce::try_assume_unique_for_key(nonce).ok()?))
    }
}

/// Seals a plaintext; `None` only if it exceeds the cipher's limit of 64 GiB.
pub(crate) fn seal(
    round_key: &Secret<32>,
    binding: &SealBinding<'_>,
    mut plaintext: Zeroizing<Vec<u8>>,
) -> Option<SealedShares> {
    let (key, nonce) = binding.key(round_key)?;
    let associated = binding.associated();
    let tag = key.seal_in_place_separate_tag(nonce, Aad::from(associated.as_bytes()), &mut plaintext).ok()?;
    // What was the plaintext is the ciphertext now.
    let mut sealed = plaintext.to_vec();
    sealed.extend_from_slice(tag.as_ref());
    Some(SealedShares { from: binding.from.clone(), to: binding.to.clone(), sealed })
}

/// Opens what [`seal`] made with the same binding; `None` if anything differs.
pub(crate) fn open(
    round_key: &Secret<32>,
    binding: &SealBinding<'_>,
    sealed: &[u8],
) -> Option<Zeroizing<Vec<u8>>> {
    let (key, nonce) = binding.key(round_key)?;
    let mut buffer = Zeroizing::new(sealed.to_vec());
    let associated = binding.associated();
    let opened = key.open_in_place(nonce, Aad::from(associated.as_bytes()), &mut buffer).ok()?.len();
    buffer.truncate(opened);
    Some(buffer)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_sealed_message_opens_only_under_its_own_binding() {
        let site = |name: &str| name.parse::<SiteId>().unwrap();
        let (a, b, c) = (site("a"), site("b"), site("c"));
        let (context, other) = (Digest([1; 32]), Digest([2; 32]));
        let key = Secret::copy_from(&[3; 32]);
        let binding = SealBinding { context: &context, from: &a, to: &b, share_root: &context };
        let sealed = seal(&key, &binding, Zeroizing::new(b"shares".to_vec())).unwrap().sealed;
        assert_eq!(sealed.len(), 6 + TAG_BYTES);
        assert_eq!(open(&key, &binding, &sealed).unwrap().as_slice(), b"shares");

        assert!(open(&Secret::copy_from(&[4; 32]), &binding, &sealed).is_none());
        assert!(open(&key, &SealBinding { context: &other, ..binding }, &sealed).is_none());
        assert!(open(&key, &SealBinding { share_root: &other, ..binding }, &sealed).is_none());
        assert!(open(&key, &SealBinding { from: &c, ..binding }, &sealed).is_none());
        assert!(open(&key, &SealBinding { from: &b, to: &a, ..binding }, &sealed).is_none());
        for position in 0..sealed.len() {
            let mut flipped = sealed.clone();
            flipped[position] ^= 1;
            assert!(open(&key, &binding, &flipped).is_none(), "byte {position}");
        }
        assert!(open(&key, &binding, &[]).is_none());
    }

    #[test]
    fn another_dealing_uses_another_key_and_nonce() {
        let key = Secret::copy_from(&[3; 32]);
        let first = message_key(&key, &Digest([1; 32]));
        let second = message_key(&key, &Digest([2; 32]));
        assert_ne!(first.expose()[..32], second.expose()[..32]);
    }
}
