//! The layout of a state file: a kind, a version, parts with their lengths, and a digest over all of it.
//!
//! ```text
//! "KONCLAVE" | kind: u8 | version: u8 | parts: u8 | (length: u64 little-endian | bytes) x parts | SHA-256
//! ```
//! A file of another kind or version, a short or long one, or one with a flipped bit is refused as a whole: a site
//! that is not sure what it promised must not go on.

use ring::digest;
use zeroize::Zeroizing;

const MAGIC: &[u8; 8] = b"KONCLAVE";
const VERSION: u8 = 1;
const DIGEST_LENGTH: usize = 32;

/// What a state file holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub(crate) enum RecordKind {
    /// Decapsulation keys and the key advertisement sent with them.
    Advertised = 1,
    /// Shared secrets so far and the ciphertexts sent.
    Encapsulated = 2,
    /// The pairwise chains.
    Chains = 3,
    /// Mask secrets, the context and the manifest sent.
    Masked = 4,
    /// The agreed set and its signature.
    Agreed = 5,
    /// The unmasking response sent.
    Unmasked = 6,
    /// The witness's last head.
    Head = 7,
    /// The tag sent.
    Tagged = 8,
    /// The changes of the ledger's key that the witness has followed.
    LogKeys = 9,
}

/// Why a state file cannot be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum RecordError {
    /// Not a state file, or cut short.
    #[error("it is not a complete state file")]
    Malformed,
    /// Of another kind than its name says.
    #[error("it holds another kind of state ({found}) than its name says ({expected})")]
    Kind {
        /// The kind wanted.
        expected: u8,
        /// The kind found.
        found: u8,
    },
    /// Written by another version of this program.
    #[error("it has layout version {0}, this program reads version {VERSION}")]
    Version(u8),
    /// Its digest does not match.
    #[error("its bytes do not match its digest: the disk or a hand changed it")]
    Digest,
}

/// Writes a record.
pub(crate) fn encode(kind: RecordKind, parts: &[&[u8]]) -> Zeroizing<Vec<u8>> {
    let length = parts.iter().map(|part| part.len() + 8).sum::<usize>() + MAGIC.len() + 3 + DIGEST_LENGTH;
    // Sized once: a buffer that grows leaves copies of secrets behind.
    let mut out = Zeroizing::new(Vec::with_capacity(length));
    out.extend_from_slice(MAGIC);
    out.extend_from_slice(&[kind as u8, VERSION, u8::try_from(parts.len()).unwrap_or(u8::MAX)]);
    for part in parts {
        out.extend_from_slice(&(part.len() as u64).to_le_bytes());
        out.extend_from_slice(part);
    }
    let sum = digest::digest(&digest::SHA256, &out);
    out.extend_from_slice(sum.as_ref());
    out
}

/// Reads a record of `N` parts.
///
/// # Errors
/// [`RecordError`].
pub(crate) fn decode<const N: usize>(
    kind: RecordKind,
    bytes: &[u8],
) -> Result<[Zeroizing<Vec<u8>>; N], RecordError> {
    let split = bytes.len().checked_sub(DIGEST_LENGTH).ok_or(RecordError::Malformed)?;
    let (content, sum) = bytes.split_at(split);
    let rest = content.strip_prefix(MAGIC).ok_or(RecordError::Malformed)?;
    let ([found, version, count], mut rest) = rest.split_first_chunk::<3>().ok_or(RecordError::Malformed)?;
    if *version != VERSION {
        return Err(RecordError::Version(*version));
    }
    if digest::digest(&digest::SHA256, content).as_ref() != sum {
        return Err(RecordError::Digest);
    }
    if *found != kind as u8 {
        return Err(RecordError::Kind { expected: kind as u8, found: *found });
    }
    if usize::from(*count) != N {
        return Err(RecordError::Malformed);
    }
    let mut parts = Vec::with_capacity(N);
    for _ in 0..N {
        let (length, after) = rest.split_first_chunk::<8>().ok_or(RecordError::Malformed)?;
        let length = usize::try_from(u64::from_le_bytes(*length)).map_err(|_| RecordError::Malformed)?;
        let (part, after) = after.split_at_checked(length).ok_or(RecordError::Malformed)?;
        parts.push(Zeroizing::new(part.to_vec()));
        rest = after;
    }
    if !rest.is_empty() {
        return Err(RecordError::Malformed);
    }
    parts.try_into().map_err(|_| RecordError::Malformed)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_come_back() {
        let bytes = encode(RecordKind::Agreed, &[b"secret", b"", b"more"]);
        let [a, b, c] = decode::<3>(RecordKind::Agreed, &bytes).unwrap();
        assert_eq!((a.as_slice(), b.as_slice(), c.as_slice()), (&b"secret"[..], &b""[..], &b"more"[..]));
    }

    #[test]
    fn any_flipped_bit_any_cut_and_any_tail_is_refused() {
        let good = encode(RecordKind::Masked, &[b"abc", b"defg"]);
        for index in 0..good.len() {
            for bit in 0..8 {
                let mut bad = good.to_vec();
                bad[index] ^= 1 << bit;
                assert!(decode::<2>(RecordKind::Masked, &bad).is_err(), "bit {bit} of byte {index}");
            }
            assert!(decode::<2>(RecordKind::Masked, &good[..index]).is_err(), "cut at {index}");
        }
        let mut long = good.to_vec();
        long.push(0);
        assert!(decode::<2>(RecordKind::Masked, &long).is_err());
    }

    #[test]
    fn another_kind_or_number_of_parts_is_refused() {
        let bytes = encode(RecordKind::Masked, &[b"abc"]);
        assert_eq!(decode::<1>(RecordKind::Agreed, &bytes), Err(RecordError::Kind { expected: 5, found: 4 }));
        assert_eq!(decode::<2>(RecordKind::Masked, &bytes), Err(RecordError::Malformed));
    }
}
