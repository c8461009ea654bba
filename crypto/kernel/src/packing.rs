//! Packing of b-bit ring elements, least significant bit first: element `j` occupies bits `j*b .. (j+1)*b`, where bit
//! `k` is bit `k % 8` of byte `k / 8`. Eight elements take exactly `b` bytes.

use crate::kernel::Kernel;
#[cfg(target_arch = "x86_64")]
use crate::kernel::Path;
#[cfg(target_arch = "x86_64")]
use crate::x86;

/// Bytes of `lanes` packed elements of `bits` bits.
#[must_use]
pub const fn packed_bytes(lanes: usize, bits: u8) -> usize {
    lanes / 8 * bits as usize + (lanes % 8 * bits as usize).div_ceil(8)
}

/// The bits of a lane that belong to an element of 1 to 32 bits.
const fn lane_mask(bits: u8) -> u32 {
    u32::MAX >> (32 - bits as u32)
}

/// Packs elements of `bits` bits (1 to 32; of any other width there are none). Bits of a lane above `bits` are dropped.
#[must_use]
pub fn pack(lanes: &[u32], bits: u8) -> Vec<u8> {
    let mut packed = vec![0; packed_bytes(lanes.len(), bits)];
    pack_into(lanes, bits, &mut packed);
    packed
}

/// Packs into a slice of [`packed_bytes`] bytes. If it is shorter, what does not fit is left out.
pub(crate) fn pack_into(lanes: &[u32], bits: u8, packed: &mut [u8]) {
    /// One instance for each width, so that all shifts are constants.
    macro_rules! by_width {
        ($($bits:literal)*) => {
            match bits {
                $($bits => pack_groups::<$bits>(lanes, packed),)*
                0 | 33.. => return,
            }
        };
    }
    let (bytes, done) =
        by_width!(1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17 18 19 20 21 22 23 24 25 26 27 28 29 30 31 32);
    let (rest, tail) = (lanes.get(done..).unwrap_or_default(), packed.get_mut(bytes..).unwrap_or_default());
    let (mut pending, mut held) = (0_u64, 0);
    let mut tail = tail.iter_mut();
    for lane in rest {
        pending |= u64::from(lane & lane_mask(bits)) << held;
        held += u32::from(bits);
        while held >= 8 {
            tail.by_ref().take(1).for_each(|byte| *byte = low_byte(pending));
            pending >>= 8;
            held -= 8;
        }
    }
    if held > 0 {
        tail.by_ref().take(1).for_each(|byte| *byte = low_byte(pending));
    }
}

#[expect(clippy::cast_possible_truncation, reason = "the low byte is what is asked for")]
const fn low_byte(pending: u64) -> u8 {
    pending as u8
}

/// Packs groups of eight lanes; says how many bytes and lanes that were.
fn pack_groups<const BITS: usize>(lanes: &[u32], packed: &mut [u8]) -> (usize, usize) {
    let (groups, _) = lanes.as_chunks::<8>();
    let (slots, _) = packed.as_chunks_mut::<BITS>();
    let mut done = 0;
    for (group, slot) in groups.iter().zip(slots) {
        pack_group::<BITS>(group, slot);
        done += 1;
    }
    (done * BITS, done * 8)
}

/// Eight lanes to `BITS` bytes, two lanes at a time.
#[inline(always)]
fn pack_group<const BITS: usize>(group: &[u32; 8], slot: &mut [u8; BITS]) {
    let mask = u64::from(u32::MAX) >> (32 - BITS);
    let width = 2 * BITS;
    let (pairs, _) = group.as_chunks::<2>();
    let (mut pending, mut held, mut at) = (0_u64, 0, 0);
    for [low, high] in pairs {
        let pair = u64::from(*low) & mask | (u64::from(*high) & mask) << BITS;
        pending |= pair << held;
        held += width;
        if held >= 64 {
            if let Some(word) = slot.get_mut(at..at + 8) {
                word.copy_from_slice(&pending.to_le_bytes());
            }
            at += 8;
            held -= 64;
            pending = if held == 0 { 0 } else { pair >> (width - held) };
        }
    }
    for (byte, value) in slot.iter_mut().skip(at).zip(pending.to_le_bytes()) {
        *byte = value;
    }
}

/// Adds packed elements of `bits` bits (1 to 32; of any other width there are none) to lanes, modulo 2^32, with the
/// kernel of this process.
///
/// `packed` has [`packed_bytes`] bytes; bits after the last element are not looked at, and missing ones count as zero.
pub fn add_packed(packed: &[u8], bits: u8, lanes: &mut [u32]) {
    add_packed_with(Kernel::chosen(), packed, bits, lanes);
}

/// As [`add_packed`], with a given kernel.
pub(crate) fn add_packed_with(kernel: Kernel, packed: &[u8], bits: u8, lanes: &mut [u32]) {
    if !(1..=32).contains(&bits) {
        return;
    }
    let done = add_groups(kernel, packed, bits, lanes);
    let packed = packed.get(done / 8 * usize::from(bits)..).unwrap_or_default();
    add_portably(packed, bits, lanes.get_mut(done..).unwrap_or_default());
}

/// Adds whole groups of eight lanes with vector instructions, as far as they can be used; says how many lanes.
#[cfg(target_arch = "x86_64")]
fn add_groups(kernel: Kernel, packed: &[u8], bits: u8, lanes: &mut [u32]) -> usize {
    match kernel.path() {
        Path::Portable => 0,
        #[expect(unsafe_code, reason = "needs processor features")]
        // SAFETY: a `Kernel` of one of these paths exists only where AVX2 was detected.
        Path::Vaes512 | Path::Vaes256 | Path::AesNi => unsafe { x86::add_packed(packed, bits, lanes) },
    }
}

#[cfg(not(target_arch = "x86_64"))]
fn add_groups(_: Kernel, _: &[u8], _: u8, _: &mut [u32]) -> usize {
    0
}

fn add_portably(packed: &[u8], bits: u8, lanes: &mut [u32]) {
    let (mask, width) = (u64::from(lane_mask(bits)), u32::from(bits));
    let (words, tail) = packed.as_chunks::<4>();
    let mut last = [0; 4];
    for (slot, byte) in last.iter_mut().zip(tail) {
        *slot = *byte;
    }
    let mut words = words.iter().copied().chain([last]).map(u32::from_le_bytes);
    let (mut pending, mut held) = (0_u64, 0_u32);
    for lane in lanes {
        if held < width {
            pending |= u64::from(words.next().unwrap_or_default()) << held;
            held += 32;
        }
        *lane = lane.wrapping_add(low_word(pending & mask));
        pending >>= width;
        held -= width;
    }
}

#[expect(clippy::cast_possible_truncation, reason = "the low half is what is asked for")]
const fn low_word(pending: u64) -> u32 {
    pending as u32
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// Bit by bit, from the definition.
    fn packed_by_definition(lanes: &[u32], bits: u8) -> Vec<u8> {
        let mut packed = vec![0_u8; (lanes.len() * usize::from(bits)).div_ceil(8)];
        for (index, lane) in lanes.iter().enumerate() {
            for bit in 0..usize::from(bits) {
                let at = index * usize::from(bits) + bit;
                packed[at / 8] |= u8::try_from(lane >> bit & 1).unwrap() << (at % 8);
            }
        }
        packed
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(512))]

        #[test]
        fn packing_follows_the_definition_and_every_kernel_unpacks_it(
            lanes in proptest::collection::vec(any::<u32>(), 0..200),
            start in any::<u32>(),
            offset in 0_usize..8,
            bits in 1_u8..=32,
        ) {
            let packed = packed_by_definition(&lanes, bits);
            prop_assert_eq!(&pack(&lanes, bits), &packed);
            prop_assert_eq!(packed.len(), packed_bytes(lanes.len(), bits));
            // Placed at any alignment.
            let placed = [&vec![0xff; offset][..], &packed].concat();
            for kernel in Kernel::available() {
                let mut sums = vec![start; lanes.len() + 1];
                add_packed_with(kernel, &placed[offset..], bits, &mut sums[..lanes.len()]);
                let expected: Vec<u32> =
                    lanes.iter().map(|lane| start.wrapping_add(lane & lane_mask(bits))).chain([start]).collect();
                prop_assert_eq!(&sums, &expected, "{}", kernel.path());
            }
        }
    }
}
