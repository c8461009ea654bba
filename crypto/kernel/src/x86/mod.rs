//! The paths for x86-64. Each function here needs the processor features that its path stands for.

#![expect(unsafe_code, reason = "processor features, and loads and stores by pointer inside checked slices")]

mod blocks;
mod challenge;
mod ctr;
mod key;
mod lanes;

use std::arch::x86_64::{__m128i, __m256i, __m512i};

use zeroize::Zeroize;

pub(crate) use key::expand_key;
pub(crate) use lanes::add_packed;

use crate::kernel::Path;
use crate::streams::{CHALLENGE_COLUMNS, Sign};

/// The round keys of AES-256.
type Rounds = [[u8; 16]; 15];

/// Lanes of a challenge that are worked on at once: 4 KiB of blocks.
const TILE_LANES: usize = 256;

/// Blocks that are left before the low half of the counter wraps; the inner loops count in 64 bits.
fn before_wrap(block: u128) -> usize {
    usize::try_from((1_u128 << 64) - (block & u128::from(u64::MAX))).unwrap_or(usize::MAX)
}

/// Adds or subtracts the key stream from block `block` on.
///
/// # Safety
/// The processor must have the features of `path`; `Portable` counts as AES-NI.
pub(crate) unsafe fn apply(path: Path, rounds: &Rounds, sign: Sign, mut block: u128, lanes: &mut [u32]) {
    let mut rest = lanes;
    while !rest.is_empty() {
        let count = rest.len().min(before_wrap(block).saturating_mul(4));
        let (now, later) = rest.split_at_mut(count);
        // SAFETY: the features are the caller's promise, and `apply_run` is told the width that they allow.
        unsafe {
            match path {
                Path::Vaes512 => apply_vaes512(rounds, sign, block, now),
                Path::Vaes256 => apply_vaes256(rounds, sign, block, now),
                Path::AesNi | Path::Portable => apply_aesni(rounds, sign, block, now),
            }
        }
        block = block.wrapping_add((count / 4) as u128);
        rest = later;
    }
}

/// # Safety
/// Needs AVX-512 F and BW and VAES; no wrap of the counter's low half.
#[target_feature(enable = "avx512f,avx512bw,vaes,avx2,aes")]
unsafe fn apply_vaes512(rounds: &Rounds, sign: Sign, block: u128, lanes: &mut [u32]) {
    // SAFETY: this function has the features that the width needs.
    unsafe { ctr::apply_run::<__m512i>(rounds, sign, block, lanes) }
}

/// # Safety
/// Needs AVX2 and VAES; no wrap of the counter's low half.
#[target_feature(enable = "vaes,avx2,aes")]
unsafe fn apply_vaes256(rounds: &Rounds, sign: Sign, block: u128, lanes: &mut [u32]) {
    // SAFETY: as above.
    unsafe { ctr::apply_run::<__m256i>(rounds, sign, block, lanes) }
}

/// # Safety
/// Needs AVX2 and AES-NI; no wrap of the counter's low half.
#[target_feature(enable = "avx2,aes")]
unsafe fn apply_aesni(rounds: &Rounds, sign: Sign, block: u128, lanes: &mut [u32]) {
    // SAFETY: as above.
    unsafe { ctr::apply_run::<__m128i>(rounds, sign, block, lanes) }
}

/// Adds the lanes that the challenge chooses, from block `block` on, to the sums.
///
/// # Safety
/// The processor must have the features of `path`; `Portable` counts as AES-NI.
pub(crate) unsafe fn accumulate(
    path: Path,
    rounds: &Rounds,
    mut block: u128,
    lanes: &[u32],
    sums: &mut [u32; CHALLENGE_COLUMNS],
) {
    // What is made of the lanes may be secret. The challenge is public.
    let mut tile = challenge::Tile::empty();
    for run in lanes.chunks(TILE_LANES) {
        tile.blocks.fill([0; 4]);
        if let Some(blocks) = tile.blocks.as_flattened_mut().get_mut(..run.len() * 4) {
            // SAFETY: the features are the caller's promise.
            unsafe { apply(path, rounds, Sign::Add, block, blocks) };
        }
        // SAFETY: as above: `Vaes512` stands for AVX-512 F, every path here for AVX2 and PCLMULQDQ.
        unsafe {
            match path {
                Path::Vaes512 => challenge::accumulate_avx512(&tile.blocks, run, sums),
                Path::Vaes256 | Path::AesNi | Path::Portable => {
                    challenge::accumulate_avx2(&mut tile, run, sums)
                }
            }
        }
        block = block.wrapping_add(run.len() as u128);
    }
    tile.subsets.zeroize();
}
