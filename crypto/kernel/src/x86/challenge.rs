//! Sums of the lanes that a challenge chooses, for 128 columns at once.

use std::arch::x86_64::*;

use super::TILE_LANES;
use crate::streams::CHALLENGE_COLUMNS;

/// A run of lanes on its way.
pub(super) struct Tile {
    /// The challenge's AES blocks; with AVX2 then the bits of two blocks each, interleaved.
    pub(super) blocks: [[u32; 4]; TILE_LANES],
    /// For two lanes `a`, `b` each: 0, `a`, `b`, `a + b`.
    pub(super) subsets: [[u32; 4]; TILE_LANES / 2],
}

impl Tile {
    pub(super) fn empty() -> Self {
        Self { blocks: [[0; 4]; TILE_LANES], subsets: [[0; 4]; TILE_LANES / 2] }
    }
}

/// Two lanes at a time: their two bits of a column pick one of the four sums of a subset, by a shuffle.
///
/// # Safety
/// Needs AVX2 and PCLMULQDQ.
#[target_feature(enable = "avx2,pclmulqdq")]
pub(super) unsafe fn accumulate_avx2(tile: &mut Tile, lanes: &[u32], sums: &mut [u32; CHALLENGE_COLUMNS]) {
    let Tile { blocks, subsets } = tile;
    // An odd last lane has a zero beside it, so its partner's bits do not matter.
    let (pairs, last) = lanes.as_chunks::<2>();
    let last = last.first().map(|lane| [*lane, 0]);
    let pairs = pairs.iter().copied().chain(last);
    let (blocks, _) = blocks.as_chunks_mut::<2>();
    let mut count = 0;
    for (([a, b], subset), [one, other]) in pairs.zip(&mut *subsets).zip(&mut *blocks) {
        *subset = [0, a, b, a.wrapping_add(b)];
        // SAFETY: both blocks have sixteen bytes.
        unsafe {
            let (x, y) = (_mm_loadu_si128(one.as_ptr().cast()), _mm_loadu_si128(other.as_ptr().cast()));
            // A carry-less square moves bit i to bit 2i.
            let even = |half| {
                if half { _mm_clmulepi64_si128::<0x11>(x, x) } else { _mm_clmulepi64_si128::<0>(x, x) }
            };
            let odd = |half| {
                if half { _mm_clmulepi64_si128::<0x11>(y, y) } else { _mm_clmulepi64_si128::<0>(y, y) }
            };
            for (half, slot) in [(false, one), (true, other)] {
                let odd = odd(half);
                let both = _mm_or_si128(even(half), _mm_add_epi64(odd, odd));
                _mm_storeu_si128(slot.as_mut_ptr().cast(), both);
            }
        }
        count += 1;
    }
    let (subsets, blocks) =
        (subsets.get(..count).unwrap_or_default(), blocks.get(..count).unwrap_or_default());
    let (low, high) = sums.split_at_mut(CHALLENGE_COLUMNS / 2);
    // SAFETY: the features are the caller's promise.
    unsafe {
        add_columns::<0>(subsets, blocks, low);
        add_columns::<1>(subsets, blocks, high);
    }
}

/// Columns `64 * HALF ..` of the sums, in eight registers over the whole tile.
///
/// # Safety
/// Needs AVX2; `sums` has 64 columns.
#[target_feature(enable = "avx2")]
unsafe fn add_columns<const HALF: usize>(subsets: &[[u32; 4]], blocks: &[[[u32; 4]; 2]], sums: &mut [u32]) {
    let (sums, _) = sums.as_chunks_mut::<8>();
    // SAFETY: each load and store of lanes takes a whole array of 16 or 32 bytes.
    unsafe {
        let near = _mm256_setr_epi32(0, 2, 4, 6, 8, 10, 12, 14);
        let far = _mm256_setr_epi32(16, 18, 20, 22, 24, 26, 28, 30);
        let mut held = [_mm256_setzero_si256(); 8];
        for (subset, [low, high]) in subsets.iter().zip(blocks) {
            let subset = _mm256_broadcastsi128_si256(_mm_loadu_si128(subset.as_ptr().cast()));
            let subset = _mm256_castsi256_ps(subset);
            let words = if HALF == 0 { low } else { high };
            for (word, held) in words.iter().zip(held.as_chunks_mut::<2>().0) {
                let word = _mm256_set1_epi32(word.cast_signed());
                for (held, place) in held.iter_mut().zip([near, far]) {
                    let chosen = _mm256_permutevar_ps(subset, _mm256_srlv_epi32(word, place));
                    *held = _mm256_add_epi32(*held, _mm256_castps_si256(chosen));
                }
            }
        }
        for (sums, held) in sums.iter_mut().zip(held) {
            let sum = _mm256_add_epi32(_mm256_loadu_si256(sums.as_ptr().cast()), held);
            _mm256_storeu_si256(sums.as_mut_ptr().cast(), sum);
        }
    }
}

/// One lane at a time, added where its block's bits, as write masks, say so.
///
/// # Safety
/// Needs AVX-512 F.
#[target_feature(enable = "avx512f")]
pub(super) unsafe fn accumulate_avx512(
    blocks: &[[u32; 4]; TILE_LANES],
    lanes: &[u32],
    sums: &mut [u32; CHALLENGE_COLUMNS],
) {
    let (sums, _) = sums.as_chunks_mut::<16>();
    // SAFETY: each load and store takes a whole array of sixteen sums.
    unsafe {
        let mut held = [_mm512_setzero_si512(); 8];
        for (lane, block) in lanes.iter().zip(blocks) {
            let lane = _mm512_set1_epi32(lane.cast_signed());
            for (word, held) in block.iter().zip(held.as_chunks_mut::<2>().0) {
                let [near, far] = held;
                let [a, b, c, d] = word.to_le_bytes();
                *near = _mm512_mask_add_epi32(*near, u16::from_le_bytes([a, b]), *near, lane);
                *far = _mm512_mask_add_epi32(*far, u16::from_le_bytes([c, d]), *far, lane);
            }
        }
        for (sums, held) in sums.iter_mut().zip(held) {
            let sum = _mm512_add_epi32(_mm512_loadu_si512(sums.as_ptr().cast()), held);
            _mm512_storeu_si512(sums.as_mut_ptr().cast(), sum);
        }
    }
}
