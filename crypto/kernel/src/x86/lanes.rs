//! Unpacking of b-bit elements with AVX2, added to lanes: eight elements, `b` bytes, at a time.

use std::arch::x86_64::*;

/// Bytes that one load reads.
const WINDOW: usize = 16;

/// Adds whole groups of eight elements of `bits` bits (1 to 32), as far as no load reaches beyond `packed`; says how
/// many lanes that were.
///
/// # Safety
/// Needs AVX2.
#[target_feature(enable = "avx2")]
pub(crate) unsafe fn add_packed(packed: &[u8], bits: u8, lanes: &mut [u32]) -> usize {
    let (groups, _) = lanes.as_chunks_mut::<8>();
    // SAFETY: passed on to the caller.
    let done = unsafe {
        match bits {
            1..=25 => add_narrow(packed, usize::from(bits), groups),
            26..=32 => add_wide(packed, usize::from(bits), groups),
            0 | 33.. => 0,
        }
    };
    done * 8
}

/// How many groups of `bits` bytes can be read with windows that start up to `last` bytes into a group.
fn readable(packed: usize, bits: usize, last: usize) -> usize {
    packed.checked_sub(last + WINDOW).map_or(0, |beyond| beyond / bits + 1)
}

/// Up to 25 bits: an element lies within the four bytes from its first one on, whatever bit it starts at.
///
/// # Safety
/// Needs AVX2; `bits` is 1 to 25.
#[target_feature(enable = "avx2")]
unsafe fn add_narrow(packed: &[u8], bits: usize, groups: &mut [[u32; 8]]) -> usize {
    // Elements 0 to 3 come from a window at the start of the group, 4 to 7 from one at the byte where element 4 starts.
    let second = 4 * bits / 8;
    let (mut order, mut shifts) = ([0_u8; 32], [0_i32; 8]);
    for (index, (order, shift)) in order.as_chunks_mut::<4>().0.iter_mut().zip(&mut shifts).enumerate() {
        let bit = index * bits - 8 * if index < 4 { 0 } else { second };
        *shift = i32::from(low_byte(bit % 8));
        *order = std::array::from_fn(|byte| low_byte(bit / 8 + byte));
    }
    let count = readable(packed.len(), bits, second).min(groups.len());
    // SAFETY: group `g` starts at byte `g * bits`; `readable` says that both windows end within `packed`.
    // The tables and a group of lanes have 32 bytes each.
    unsafe {
        let order = _mm256_loadu_si256(order.as_ptr().cast());
        let shifts = _mm256_loadu_si256(shifts.as_ptr().cast());
        let mask = _mm256_set1_epi32((u32::MAX >> (32 - bits)).cast_signed());
        for (index, group) in groups.iter_mut().take(count).enumerate() {
            let at = packed.as_ptr().add(index * bits);
            let low = _mm_loadu_si128(at.cast());
            let high = _mm_loadu_si128(at.add(second).cast());
            let bytes = _mm256_shuffle_epi8(_mm256_set_m128i(high, low), order);
            let elements = _mm256_and_si256(_mm256_srlv_epi32(bytes, shifts), mask);
            let sum = _mm256_add_epi32(_mm256_loadu_si256(group.as_ptr().cast()), elements);
            _mm256_storeu_si256(group.as_mut_ptr().cast(), sum);
        }
    }
    count
}

/// 26 to 32 bits: an element may touch five bytes, so it is shifted within eight.
///
/// # Safety
/// Needs AVX2; `bits` is 26 to 32.
#[target_feature(enable = "avx2")]
unsafe fn add_wide(packed: &[u8], bits: usize, groups: &mut [[u32; 8]]) -> usize {
    // Each pair of elements comes from a window at the byte where its first one starts.
    let window = |pair: usize| 2 * pair * bits / 8;
    let (mut order, mut shifts) = ([[0_u8; 8]; 8], [0_u64; 8]);
    for (index, (order, shift)) in order.iter_mut().zip(&mut shifts).enumerate() {
        let bit = index * bits - 8 * window(index / 2);
        *shift = (bit % 8) as u64;
        *order = std::array::from_fn(|byte| low_byte(bit / 8 + byte));
    }
    let count = readable(packed.len(), bits, window(3)).min(groups.len());
    // SAFETY: group `g` starts at byte `g * bits`; `readable` says that all windows end within `packed`. The tables have
    // 64 bytes each, of which pair `p` takes 16 from byte `16 p` on, and a group of lanes has 32.
    unsafe {
        // Pairs 0 and 2 in one register, 1 and 3 in the other: then the low halves of their elements, taken from
        // one and the other, come out in order.
        let both = |table: *const u8, pair: usize| {
            let low = _mm_loadu_si128(table.add(16 * pair).cast());
            _mm256_set_m128i(_mm_loadu_si128(table.add(16 * (pair + 2)).cast()), low)
        };
        let order: [__m256i; 2] = [both(order.as_ptr().cast(), 0), both(order.as_ptr().cast(), 1)];
        let shifts: [__m256i; 2] = [both(shifts.as_ptr().cast(), 0), both(shifts.as_ptr().cast(), 1)];
        let mask = _mm256_set1_epi32((u32::MAX >> (32 - bits)).cast_signed());
        for (index, group) in groups.iter_mut().take(count).enumerate() {
            let at = packed.as_ptr().add(index * bits);
            let bytes = |pair: usize| _mm_loadu_si128(at.add(window(pair)).cast());
            let even = _mm256_set_m128i(bytes(2), bytes(0));
            let odd = _mm256_set_m128i(bytes(3), bytes(1));
            let even = _mm256_srlv_epi64(_mm256_shuffle_epi8(even, order[0]), shifts[0]);
            let odd = _mm256_srlv_epi64(_mm256_shuffle_epi8(odd, order[1]), shifts[1]);
            let words =
                _mm256_shuffle_ps::<0b10_00_10_00>(_mm256_castsi256_ps(even), _mm256_castsi256_ps(odd));
            let elements = _mm256_and_si256(_mm256_castps_si256(words), mask);
            let sum = _mm256_add_epi32(_mm256_loadu_si256(group.as_ptr().cast()), elements);
            _mm256_storeu_si256(group.as_mut_ptr().cast(), sum);
        }
    }
    count
}

#[expect(clippy::cast_possible_truncation, reason = "a place in a window or in a byte")]
const fn low_byte(place: usize) -> u8 {
    place as u8
}
