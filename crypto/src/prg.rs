//! Mask streams: AES-256 in counter mode (NIST SP 800-38A) read as u32 lanes, and their fused addition.
//!
//! Lane `j` of a stream is the little-endian word at byte `4 j` of the key stream for a zero initial counter block
//! (128 bits, big-endian). Each key serves one mask in one context, so no key stream is used twice. Lanes are added
//! modulo 2^32; as 2^b divides that, one reduction to b bits at the end is enough. The kernel crate does the work.

use std::borrow::Borrow;

use konclave_mask_kernel as kernel;
pub(crate) use konclave_mask_kernel::{CHUNK_LANES, Sign};

use crate::ids::SiteId;
use crate::secret::Secret;

/// The sign with which `site` applies the mask it shares with `peer`: the two ends use opposite ones.
pub(crate) fn pair_sign(site: &SiteId, peer: &SiteId) -> Sign {
    if peer > site { Sign::Add } else { Sign::Subtract }
}

/// One mask: a key, which it uses up, and a sign. Not `Clone`, erased on drop.
pub(crate) struct MaskStream(kernel::MaskStream);

impl MaskStream {
    pub(crate) fn new(key: Secret<32>, sign: Sign) -> Self {
        Self(kernel::MaskStream::new(key.expose(), sign))
    }
}

impl Borrow<kernel::MaskStream> for MaskStream {
    fn borrow(&self) -> &kernel::MaskStream {
        &self.0
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use konclave_mask_kernel::apply as apply_streams;

    use super::*;
    use crate::encoding::lane_mask;
    use crate::vectors;

    /// Lanes enough to be worth threads.
    const PARALLEL_LANES: usize = 1 << 19;

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
