//! Key expansion (FIPS 197, section 5.2) with AES-NI, in constant time.

use std::arch::x86_64::*;

use super::Rounds;

/// # Safety
/// Needs AES-NI.
#[target_feature(enable = "aes,sse2")]
pub(crate) unsafe fn expand_key(key: &[u8; 32], rounds: &mut Rounds) {
    // SAFETY: the key has two blocks, and so have the first two round keys; every store goes to a whole round key.
    unsafe {
        let mut even = _mm_loadu_si128(key.as_ptr().cast());
        let mut odd = _mm_loadu_si128(key.as_ptr().add(16).cast());
        let mut slots = rounds.iter_mut();
        let mut put = |key: __m128i| {
            if let Some(slot) = slots.next() {
                _mm_storeu_si128(slot.as_mut_ptr().cast(), key);
            }
        };
        put(even);
        put(odd);
        /// Two round keys: RotWord, SubWord and the round constant for the first, SubWord for the second.
        macro_rules! next {
            ($($constant:literal)*) => {$(
                even = fold(even, _mm_shuffle_epi32::<0xff>(_mm_aeskeygenassist_si128::<$constant>(odd)));
                put(even);
                odd = fold(odd, _mm_shuffle_epi32::<0xaa>(_mm_aeskeygenassist_si128::<0>(even)));
                // There is no slot for the sixteenth.
                put(odd);
            )*};
        }
        next!(0x01 0x02 0x04 0x08 0x10 0x20 0x40);
    }
}

/// Each word of a round key is the word before it and the word eight back, added: here for four words at once.
#[target_feature(enable = "sse2")]
fn fold(key: __m128i, word: __m128i) -> __m128i {
    let key = _mm_xor_si128(key, _mm_slli_si128::<4>(key));
    let key = _mm_xor_si128(key, _mm_slli_si128::<8>(key));
    _mm_xor_si128(key, word)
}
