//! Registers of one, two or four AES blocks, as the counter-mode loop uses them.

use std::arch::x86_64::*;
use std::convert::identity;

/// A register of AES blocks.
///
/// # Safety
/// Each function needs the processor features of its width: AES-NI and SSSE3 for one block, VAES and AVX2 for two,
/// VAES and AVX-512 F and BW for four. It is inlined into a function that enables them.
pub(super) trait Blocks: Copy {
    /// Blocks in a register.
    const BLOCKS: usize;

    /// The same 16 bytes in every block.
    unsafe fn repeat(block: &[u8; 16]) -> Self;

    /// Adds the halves of each block, modulo 2^64.
    unsafe fn add_halves(self, other: Self) -> Self;

    /// Moves the bytes of each block to where `order` says.
    unsafe fn shuffle(self, order: Self) -> Self;

    unsafe fn xor(self, other: Self) -> Self;

    /// An AES round.
    unsafe fn round(self, key: Self) -> Self;

    /// The last AES round.
    unsafe fn last_round(self, key: Self) -> Self;

    /// Reads a register's worth of lanes, at any alignment.
    unsafe fn load(lanes: *const u32) -> Self;

    /// Writes a register's worth of lanes, at any alignment.
    unsafe fn store(self, lanes: *mut u32);

    unsafe fn add_lanes(self, other: Self) -> Self;

    unsafe fn subtract_lanes(self, other: Self) -> Self;
}

/// Implements [`Blocks`] for a width: only the names of the instructions differ.
macro_rules! blocks {
    (
        $register:ty, $blocks:literal, $repeat:ident, $add64:ident, $shuffle:ident, $xor:ident, $round:ident, $last:ident,
        $load:ident, $store:ident, $add32:ident, $subtract32:ident
    ) => {
        impl Blocks for $register {
            const BLOCKS: usize = $blocks;

            #[inline(always)]
            unsafe fn repeat(block: &[u8; 16]) -> Self {
                // SAFETY: sixteen bytes are there to be read; the caller has the features (see the trait).
                unsafe { $repeat(_mm_loadu_si128(block.as_ptr().cast())) }
            }

            #[inline(always)]
            unsafe fn add_halves(self, other: Self) -> Self {
                // SAFETY: the caller has the features (see the trait).
                unsafe { $add64(self, other) }
            }

            #[inline(always)]
            unsafe fn shuffle(self, order: Self) -> Self {
                // SAFETY: the caller has the features (see the trait).
                unsafe { $shuffle(self, order) }
            }

            #[inline(always)]
            unsafe fn xor(self, other: Self) -> Self {
                // SAFETY: the caller has the features (see the trait).
                unsafe { $xor(self, other) }
            }

            #[inline(always)]
            unsafe fn round(self, key: Self) -> Self {
                // SAFETY: the caller has the features (see the trait).
                unsafe { $round(self, key) }
            }

            #[inline(always)]
            unsafe fn last_round(self, key: Self) -> Self {
                // SAFETY: the caller has the features (see the trait).
                unsafe { $last(self, key) }
            }

            #[inline(always)]
            unsafe fn load(lanes: *const u32) -> Self {
                // SAFETY: the caller has the features and points at a register's worth of lanes (see the trait).
                unsafe { $load(lanes.cast()) }
            }

            #[inline(always)]
            unsafe fn store(self, lanes: *mut u32) {
                // SAFETY: the caller has the features and points at a register's worth of lanes (see the trait).
                unsafe { $store(lanes.cast(), self) }
            }

            #[inline(always)]
            unsafe fn add_lanes(self, other: Self) -> Self {
                // SAFETY: the caller has the features (see the trait).
                unsafe { $add32(self, other) }
            }

            #[inline(always)]
            unsafe fn subtract_lanes(self, other: Self) -> Self {
                // SAFETY: the caller has the features (see the trait).
                unsafe { $subtract32(self, other) }
            }
        }
    };
}

blocks!(
    __m128i,
    1,
    identity,
    _mm_add_epi64,
    _mm_shuffle_epi8,
    _mm_xor_si128,
    _mm_aesenc_si128,
    _mm_aesenclast_si128,
    _mm_loadu_si128,
    _mm_storeu_si128,
    _mm_add_epi32,
    _mm_sub_epi32
);
blocks!(
    __m256i,
    2,
    _mm256_broadcastsi128_si256,
    _mm256_add_epi64,
    _mm256_shuffle_epi8,
    _mm256_xor_si256,
    _mm256_aesenc_epi128,
    _mm256_aesenclast_epi128,
    _mm256_loadu_si256,
    _mm256_storeu_si256,
    _mm256_add_epi32,
    _mm256_sub_epi32
);
blocks!(
    __m512i,
    4,
    _mm512_broadcast_i32x4,
    _mm512_add_epi64,
    _mm512_shuffle_epi8,
    _mm512_xor_si512,
    _mm512_aesenc_epi128,
    _mm512_aesenclast_epi128,
    _mm512_loadu_si512,
    _mm512_storeu_si512,
    _mm512_add_epi32,
    _mm512_sub_epi32
);
