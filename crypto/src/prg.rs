//! Mask streams: AES-256 in counter mode (NIST SP 800-38A) read as u32 lanes, and their fused addition.
//!
//! Lane `j` of a stream is the little-endian word at byte `4 j` of the key stream for a zero initial counter block
//! (128 bits, big-endian). Each key serves one mask in one context, so no key stream is used twice. Lanes are added
//! modulo 2^32; as 2^b divides that, one reduction to b bits at the end is enough.

use aes::Aes256;
use aes::cipher::{KeyIvInit, StreamCipher, StreamCipherSeek};
use ctr::Ctr128BE;
use rayon::prelude::*;
use zeroize::Zeroize;

use crate::ids::SiteId;
use crate::secret::Secret;

/// Lanes handled at once for all streams: 16 KiB of sums and 16 KiB of key stream stay in the first-level cache.
/// A multiple of eight, so that packed chunks start on a byte.
pub(crate) const CHUNK_LANES: usize = 4096;
/// Lanes times streams below which threads cost more than they bring.
const PARALLEL_LANES: usize = 1 << 19;

/// Whether a stream is added to or taken from a vector.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Sign {
    Add,
    Subtract,
}

impl Sign {
    /// The sign with which `site` applies the mask it shares with `peer`: the two ends use opposite ones.
    pub(crate) fn of_pair(site: &SiteId, peer: &SiteId) -> Self {
        if peer > site { Self::Add } else { Self::Subtract }
    }

    pub(crate) fn opposite(self) -> Self {
        match self {
            Self::Add => Self::Subtract,
            Self::Subtract => Self::Add,
        }
    }
}

/// One mask: a key and a sign. Not `Clone`, erased on drop.
pub(crate) struct MaskStream {
    key: Secret<32>,
    sign: Sign,
}

impl MaskStream {
    pub(crate) fn new(key: Secret<32>, sign: Sign) -> Self {
        Self { key, sign }
    }

    /// Applies the stream to lanes that start at lane `first` of the vector.
    fn apply(&self, first: u64, lanes: &mut [u32], key_stream: &mut [u8; CHUNK_LANES * 4]) {
        let mut cipher = Ctr128BE::<Aes256>::new(self.key.expose().into(), &[0; 16].into());
        cipher.seek(first * 4);
        key_stream.fill(0);
        let used = key_stream.get_mut(..lanes.len() * 4).unwrap_or_default();
        cipher.apply_keystream(used);
        let (words, _) = key_stream.as_chunks::<4>();
        let words = words.iter().map(|word| u32::from_le_bytes(*word));
        match self.sign {
            Sign::Add => lanes.iter_mut().zip(words).for_each(|(lane, word)| *lane = lane.wrapping_add(word)),
            Sign::Subtract => {
                lanes.iter_mut().zip(words).for_each(|(lane, word)| *lane = lane.wrapping_sub(word));
            }
        }
    }
}

/// Applies all streams to a run of lanes that starts at lane `first` (a multiple of four) of the vector, chunk by
/// chunk, so that each chunk is read and written once however many streams there are.
pub(crate) fn apply_streams(streams: &[MaskStream], first: u64, lanes: &mut [u32]) {
    let chunk = |(index, chunk): (usize, &mut [u32])| {
        let mut key_stream = [0; CHUNK_LANES * 4];
        let start = first + (index * CHUNK_LANES) as u64;
        for stream in streams {
            stream.apply(start, chunk, &mut key_stream);
        }
        key_stream.zeroize();
    };
    if lanes.len().saturating_mul(streams.len()) < PARALLEL_LANES {
        lanes.chunks_mut(CHUNK_LANES).enumerate().for_each(chunk);
    } else {
        lanes.par_chunks_mut(CHUNK_LANES).enumerate().for_each(chunk);
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::encoding::lane_mask;
    use crate::text::from_hex;
    use crate::vectors;

    fn stream(key: u8, sign: Sign) -> MaskStream {
        MaskStream::new(Secret::copy_from(&[key; 32]), sign)
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(32))]

        #[test]
        fn opposite_signs_cancel(
            lanes in proptest::collection::vec(any::<u32>(), 0..3 * CHUNK_LANES),
            key in any::<u8>(),
        ) {
            let mut masked = lanes.clone();
            apply_streams(&[stream(key, Sign::Add)], 0, &mut masked);
            prop_assert!(lanes.len() < 8 || masked != lanes);
            apply_streams(&[stream(key, Sign::Subtract)], 0, &mut masked);
            prop_assert_eq!(masked, lanes);
        }
    }

    #[test]
    fn known_answers() {
        let file = vectors::load(include_str!("../vectors/prg.json"));
        let lanes = |case: &serde_json::Value| -> Vec<u32> {
            let expected: Vec<u32> = serde_json::from_value(case["lanes"].clone()).unwrap();
            let mut found = vec![0; expected.len()];
            let key = Secret::copy_from(&vectors::bytes(&case["key"]));
            let first = case["first"].as_u64().unwrap();
            apply_streams(&[MaskStream::new(key, Sign::Add)], first, &mut found);
            let mask = lane_mask(case["bits"].as_u64().unwrap() as u8);
            found.iter().map(|lane| lane & mask).collect()
        };
        for case in vectors::cases(&file, "positive") {
            assert_eq!(serde_json::json!(lanes(&case)), case["lanes"], "{}", case["what"]);
        }
        for case in vectors::cases(&file, "negative") {
            assert_ne!(serde_json::json!(lanes(&case)), case["lanes"], "{}", case["why"]);
        }
    }

    #[test]
    fn the_cipher_is_aes_256_ctr_of_nist_sp_800_38a() {
        // Appendix F.5.5, first two blocks.
        let key = from_hex::<32>("603deb1015ca71be2b73aef0857d77811f352c073b6108d72d9810a30914dff4").unwrap();
        let counter = from_hex::<16>("f0f1f2f3f4f5f6f7f8f9fafbfcfdfeff").unwrap();
        let mut text =
            from_hex::<32>("6bc1bee22e409f96e93d7e117393172aae2d8a571e03ac9c9eb76fac45af8e51").unwrap();
        Ctr128BE::<Aes256>::new(&key.into(), &counter.into()).apply_keystream(&mut text);
        assert_eq!(
            text,
            from_hex("601ec313775789a5b7a7f504bbf3d228f443e3ca4d62b59aca84e990cacaf5c5").unwrap()
        );
    }

    #[test]
    fn any_run_equals_the_same_part_of_the_whole() {
        let streams = [stream(1, Sign::Add), stream(2, Sign::Subtract), stream(3, Sign::Add)];
        let mut whole = vec![0; 3 * CHUNK_LANES + 5];
        apply_streams(&streams, 0, &mut whole);
        for (first, len) in [(0, 1), (4, 11), (CHUNK_LANES, CHUNK_LANES + 3), (2 * CHUNK_LANES - 4, 20)] {
            let mut part = vec![0; len];
            apply_streams(&streams, first as u64, &mut part);
            assert_eq!(part, whole[first..first + len]);
        }
    }

    #[test]
    fn threads_do_not_change_the_result() {
        let streams = [stream(1, Sign::Add), stream(2, Sign::Subtract)];
        let mut together = vec![7; PARALLEL_LANES / 2 + 100];
        apply_streams(&streams, 0, &mut together);
        let mut apart = vec![7; PARALLEL_LANES / 2 + 100];
        for (index, part) in apart.chunks_mut(1 << 16).enumerate() {
            apply_streams(&streams, (index << 16) as u64, part);
        }
        assert_eq!(together, apart);
    }
}
