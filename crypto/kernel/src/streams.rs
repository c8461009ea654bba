//! Keys, and what their streams do to runs of lanes.

use std::fmt;

#[cfg(target_arch = "x86_64")]
use zeroize::Zeroize;

use crate::kernel::Kernel;
#[cfg(target_arch = "x86_64")]
use crate::kernel::Path;
use crate::portable;
#[cfg(target_arch = "x86_64")]
use crate::x86;

/// Columns of a challenge: bits of one AES block.
pub const CHALLENGE_COLUMNS: usize = 128;

/// Whether a stream is added to or taken from a vector.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Sign {
    /// Added.
    Add,
    /// Taken off.
    Subtract,
}

impl Sign {
    /// The sign that undoes this one.
    #[must_use]
    pub const fn opposite(self) -> Self {
        match self {
            Self::Add => Self::Subtract,
            Self::Subtract => Self::Add,
        }
    }
}

/// One mask: an expanded key and a sign. Not `Clone`, erased on drop.
pub struct MaskStream {
    cipher: Cipher,
    sign: Sign,
}

impl MaskStream {
    /// Expands a key for the kernel of this process.
    #[must_use]
    pub fn new(key: &[u8; 32], sign: Sign) -> Self {
        Self::with(Kernel::chosen(), key, sign)
    }

    /// Expands a key for a given kernel.
    #[must_use]
    pub fn with(kernel: Kernel, key: &[u8; 32], sign: Sign) -> Self {
        Self { cipher: Cipher::new(kernel, key), sign }
    }

    /// Applies the stream to a run of lanes that starts at lane `first` of the vector.
    pub fn apply(&self, first: u64, lanes: &mut [u32]) {
        let skipped = usize::try_from(first % 4).unwrap_or(0);
        let mut block = u128::from(first / 4);
        let mut rest = lanes;
        if skipped > 0 {
            let (head, tail) = rest.split_at_mut(rest.len().min(4 - skipped));
            let mut whole = [0_u32; 4];
            for (slot, lane) in whole.iter_mut().skip(skipped).zip(&*head) {
                *slot = *lane;
            }
            self.apply_blocks(block, &mut whole);
            for (lane, slot) in head.iter_mut().zip(whole.iter().skip(skipped)) {
                *lane = *slot;
            }
            zeroize::Zeroize::zeroize(&mut whole);
            block += 1;
            rest = tail;
        }
        self.apply_blocks(block, rest);
    }

    /// Applies the stream from the given counter block on.
    pub(crate) fn apply_blocks(&self, block: u128, lanes: &mut [u32]) {
        self.cipher.apply(self.sign, block, lanes);
    }
}

impl fmt::Debug for MaskStream {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("MaskStream").field("sign", &self.sign).finish_non_exhaustive()
    }
}

/// A challenge: 128 bits for each lane, which choose the lanes that enter 128 sums.
pub struct ChallengeStream(Cipher);

impl ChallengeStream {
    /// Expands a key for the kernel of this process.
    #[must_use]
    pub fn new(key: &[u8; 32]) -> Self {
        Self::with(Kernel::chosen(), key)
    }

    /// Expands a key for a given kernel.
    #[must_use]
    pub fn with(kernel: Kernel, key: &[u8; 32]) -> Self {
        Self(Cipher::new(kernel, key))
    }

    /// Adds the lanes of a run that starts at lane `first` to the sums whose bit chooses them, modulo 2^32.
    pub fn accumulate(&self, first: u64, lanes: &[u32], sums: &mut [u32; CHALLENGE_COLUMNS]) {
        self.accumulate_blocks(u128::from(first), lanes, sums);
    }

    pub(crate) fn accumulate_blocks(&self, block: u128, lanes: &[u32], sums: &mut [u32; CHALLENGE_COLUMNS]) {
        self.0.accumulate(block, lanes, sums);
    }
}

impl fmt::Debug for ChallengeStream {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ChallengeStream").finish_non_exhaustive()
    }
}

/// An expanded AES-256 key in the form that a path needs, in one place on the heap: moving it copies no key byte.
enum Cipher {
    #[cfg(target_arch = "x86_64")]
    Rounds(Path, Box<RoundKeys>),
    Portable(Box<portable::Cipher>),
}

impl Cipher {
    #[cfg(target_arch = "x86_64")]
    fn new(kernel: Kernel, key: &[u8; 32]) -> Self {
        match kernel.path() {
            Path::Portable => Self::Portable(Box::new(portable::cipher(key))),
            path @ (Path::Vaes512 | Path::Vaes256 | Path::AesNi) => {
                let mut rounds = Box::new(RoundKeys([[0; 16]; 15]));
                #[expect(unsafe_code, reason = "needs processor features")]
                // SAFETY: a `Kernel` of one of these paths exists only where AES-NI and AVX2 were detected.
                unsafe {
                    x86::expand_key(key, &mut rounds.0);
                }
                Self::Rounds(path, rounds)
            }
        }
    }

    #[cfg(not(target_arch = "x86_64"))]
    fn new(_: Kernel, key: &[u8; 32]) -> Self {
        Self::Portable(Box::new(portable::cipher(key)))
    }

    fn apply(&self, sign: Sign, block: u128, lanes: &mut [u32]) {
        match self {
            #[cfg(target_arch = "x86_64")]
            #[expect(unsafe_code, reason = "needs processor features")]
            // SAFETY: `Rounds` comes only from a `Kernel` of its path, so the path's features were detected.
            Self::Rounds(path, rounds) => unsafe { x86::apply(*path, &rounds.0, sign, block, lanes) },
            Self::Portable(cipher) => portable::apply(cipher, sign, block, lanes),
        }
    }

    fn accumulate(&self, block: u128, lanes: &[u32], sums: &mut [u32; CHALLENGE_COLUMNS]) {
        match self {
            #[cfg(target_arch = "x86_64")]
            #[expect(unsafe_code, reason = "needs processor features")]
            // SAFETY: as for `apply`.
            Self::Rounds(path, rounds) => unsafe { x86::accumulate(*path, &rounds.0, block, lanes, sums) },
            Self::Portable(cipher) => portable::accumulate(cipher, block, lanes, sums),
        }
    }
}

/// The fifteen round keys of AES-256. Erased on drop.
#[cfg(target_arch = "x86_64")]
struct RoundKeys([[u8; 16]; 15]);

#[cfg(target_arch = "x86_64")]
impl Drop for RoundKeys {
    fn drop(&mut self) {
        self.0.zeroize();
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::CHUNK_LANES;

    /// Counter blocks around which something could carry wrongly.
    fn block() -> impl Strategy<Value = u128> {
        let carries =
            prop_oneof![Just(8), Just(16), Just(32), Just(33), Just(63), Just(64), Just(65), Just(96)];
        prop_oneof![
            0_u128..5,
            (carries, 0_u128..600).prop_map(|(bit, before)| (1_u128 << bit).wrapping_sub(before)),
            (0_u128..600).prop_map(|before| 0_u128.wrapping_sub(before)),
            any::<u128>(),
        ]
    }

    fn sign() -> impl Strategy<Value = Sign> {
        prop_oneof![Just(Sign::Add), Just(Sign::Subtract)]
    }

    fn length() -> impl Strategy<Value = usize> {
        prop_oneof![0_usize..600, CHUNK_LANES - 3..CHUNK_LANES + 4, 0..3 * CHUNK_LANES]
    }

    /// A vector whose lanes differ and use all bits.
    fn lanes(len: usize, start: u32) -> Vec<u32> {
        (0..len)
            .scan(start, |lane, _| {
                *lane = lane.wrapping_mul(0x9e37_79b1).wrapping_add(0x7f4a_7c15);
                Some(*lane)
            })
            .collect()
    }

    fn kernels() -> impl Iterator<Item = Kernel> {
        Kernel::available().filter(|kernel| *kernel != Kernel::PORTABLE)
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(300))]

        #[test]
        fn masks_equal_the_portable_ones(
            keys in proptest::collection::vec((any::<[u8; 32]>(), sign()), 1..4),
            block in block(),
            len in length(),
            offset in 0_usize..16,
            start in any::<u32>(),
        ) {
            let masked = |kernel| {
                let mut all = lanes(len + offset + 1, start);
                for (key, sign) in &keys {
                    MaskStream::with(kernel, key, *sign).apply_blocks(block, &mut all[offset..offset + len]);
                }
                all
            };
            let expected = masked(Kernel::PORTABLE);
            prop_assert!(len < 8 || expected != lanes(len + offset + 1, start));
            for kernel in kernels() {
                prop_assert_eq!(&masked(kernel), &expected, "{}", kernel.path());
            }
        }

        #[test]
        fn a_run_may_start_at_any_lane(
            key in any::<[u8; 32]>(),
            sign in sign(),
            first in prop_oneof![0_u64..40, any::<u64>().prop_map(|first| first >> 8)],
            len in 0_usize..200,
        ) {
            for kernel in Kernel::available() {
                let stream = MaskStream::with(kernel, &key, sign);
                let skipped = usize::try_from(first % 4).unwrap();
                let mut whole = lanes(len + skipped, 1);
                let mut part = whole[skipped..].to_vec();
                stream.apply_blocks(u128::from(first / 4), &mut whole);
                stream.apply(first, &mut part);
                prop_assert_eq!(&part, &whole[skipped..], "{}", kernel.path());
            }
        }

        #[test]
        fn chosen_sums_equal_the_portable_ones(
            key in any::<[u8; 32]>(),
            block in block(),
            len in 0_usize..1100,
            start in any::<u32>(),
        ) {
            let chosen = |kernel| {
                let mut sums = std::array::from_fn(|column| u32::try_from(column).unwrap());
                ChallengeStream::with(kernel, &key).accumulate_blocks(block, &lanes(len, start), &mut sums);
                sums
            };
            let expected = chosen(Kernel::PORTABLE);
            for kernel in kernels() {
                prop_assert_eq!(chosen(kernel), expected, "{}", kernel.path());
            }
        }
    }

    /// NIST SP 800-38A, appendix F.5.5: AES-256 in counter mode; plaintext and ciphertext added.
    #[test]
    fn every_kernel_gives_the_published_key_stream() {
        const KEY: [u8; 32] = [
            0x60, 0x3d, 0xeb, 0x10, 0x15, 0xca, 0x71, 0xbe, 0x2b, 0x73, 0xae, 0xf0, 0x85, 0x7d, 0x77, 0x81,
            0x1f, 0x35, 0x2c, 0x07, 0x3b, 0x61, 0x08, 0xd7, 0x2d, 0x98, 0x10, 0xa3, 0x09, 0x14, 0xdf, 0xf4,
        ];
        const COUNTER: u128 = 0xf0f1_f2f3_f4f5_f6f7_f8f9_fafb_fcfd_feff;
        const STREAM: [u128; 4] = [
            0x0bdf_7df1_5917_1633_5e9a_8b15_c860_c502,
            0x5a6e_699d_5361_1906_5433_863c_8f65_7b94,
            0x1bc1_2c9c_0161_0d5d_0d8b_d6a3_378e_ca62,
            0x2956_e1c8_6935_36b1_bee9_9c73_a315_76b6,
        ];
        for kernel in Kernel::available() {
            let mut found = [0_u32; 16];
            MaskStream::with(kernel, &KEY, Sign::Add).apply_blocks(COUNTER, &mut found);
            let bytes: Vec<u8> = found.iter().flat_map(|lane| lane.to_le_bytes()).collect();
            let expected: Vec<u8> = STREAM.iter().flat_map(|block| block.to_be_bytes()).collect();
            assert_eq!(bytes, expected, "{}", kernel.path());
        }
    }
}
