//! Counter mode fused with the addition: the key stream never leaves the registers, but for the end of a run.

use zeroize::Zeroize;

use super::Rounds;
use super::blocks::Blocks;
use crate::streams::Sign;

/// Registers in flight. An AES round takes three or four cycles and up to two can start in one, so eight keep the
/// units busy.
const REGISTERS: usize = 8;
/// Lanes of an AES block.
const BLOCK_LANES: usize = 4;
/// Lanes of eight of the widest registers.
const MOST_LANES: usize = REGISTERS * 4 * BLOCK_LANES;

/// Byte `15 - i` to byte `i`: counters are added to as little-endian and encrypted as big-endian integers.
const REVERSED: [u8; 16] = [15, 14, 13, 12, 11, 10, 9, 8, 7, 6, 5, 4, 3, 2, 1, 0];

/// Adds or subtracts the key stream from block `block` on.
///
/// # Safety
/// Needs the features of `V`, and the low half of the counter must not wrap before the last lane's block.
#[inline(always)]
pub(super) unsafe fn apply_run<V: Blocks>(rounds: &Rounds, sign: Sign, block: u128, lanes: &mut [u32]) {
    // SAFETY: passed on to the caller.
    unsafe {
        match sign {
            Sign::Add => run::<V, false>(rounds, block, lanes),
            Sign::Subtract => run::<V, true>(rounds, block, lanes),
        }
    }
}

/// # Safety
/// As for [`apply_run`].
#[inline(always)]
unsafe fn run<V: Blocks, const SUBTRACT: bool>(rounds: &Rounds, block: u128, lanes: &mut [u32]) {
    let group_lanes = REGISTERS * V::BLOCKS * BLOCK_LANES;
    let mut groups = lanes.chunks_exact_mut(group_lanes);
    // SAFETY: the features are the caller's promise. Loads and stores take `group_lanes` lanes, a register's worth
    // for each of the `REGISTERS` registers, from slices of exactly that length, and from the array of the start values,
    // which has one block more than a register.
    unsafe {
        let order = V::repeat(&REVERSED);
        let mut base = counters::<V>(block);
        // What the registers' counters are beyond that of the first, and the step to the next group.
        let offsets: [V; REGISTERS] = std::array::from_fn(|index| halves::<V>(index * V::BLOCKS));
        let step = halves::<V>(REGISTERS * V::BLOCKS);
        for group in groups.by_ref() {
            let blocks = encrypt(rounds, base, &offsets, order);
            base = base.add_halves(step);
            let mut at = group.as_mut_ptr();
            for stream in blocks {
                let lanes = V::load(at);
                let lanes = if SUBTRACT { lanes.subtract_lanes(stream) } else { lanes.add_lanes(stream) };
                lanes.store(at);
                at = at.add(V::BLOCKS * BLOCK_LANES);
            }
        }
        let rest = groups.into_remainder();
        if !rest.is_empty() {
            let mut stream = [0_u32; MOST_LANES];
            let mut at = stream.as_mut_ptr();
            for block in encrypt(rounds, base, &offsets, order) {
                block.store(at);
                at = at.add(V::BLOCKS * BLOCK_LANES);
            }
            // By reference: a copy of the words would not be erased.
            for (lane, word) in rest.iter_mut().zip(&stream) {
                *lane = if SUBTRACT { lane.wrapping_sub(*word) } else { lane.wrapping_add(*word) };
            }
            stream.zeroize();
        }
    }
}

/// The key stream of `REGISTERS` registers from counter `base` on.
///
/// # Safety
/// Needs the features of `V`.
#[inline(always)]
unsafe fn encrypt<V: Blocks>(rounds: &Rounds, base: V, offsets: &[V; REGISTERS], order: V) -> [V; REGISTERS] {
    let [first, middle @ .., last] = rounds;
    let mut blocks = [base; REGISTERS];
    // SAFETY: the features are the caller's promise.
    unsafe {
        let key = V::repeat(first);
        for (block, offset) in blocks.iter_mut().zip(offsets) {
            *block = base.add_halves(*offset).shuffle(order).xor(key);
        }
        for key in middle {
            let key = V::repeat(key);
            for block in &mut blocks {
                *block = block.round(key);
            }
        }
        let key = V::repeat(last);
        for block in &mut blocks {
            *block = block.last_round(key);
        }
    }
    blocks
}

/// The counters `block`, `block + 1`, .. as little-endian integers of 128 bits.
///
/// # Safety
/// Needs the features of `V`.
#[inline(always)]
unsafe fn counters<V: Blocks>(block: u128) -> V {
    let mut bytes = [[0_u8; 16]; 4];
    for (slot, index) in bytes.iter_mut().zip(0_u128..) {
        *slot = block.wrapping_add(index).to_le_bytes();
    }
    // SAFETY: the features are the caller's promise; four blocks are there, a register has four at most.
    unsafe { V::load(bytes.as_ptr().cast()) }
}

/// The same number in the low half of every block, zero in the high ones.
///
/// # Safety
/// Needs the features of `V`.
#[inline(always)]
unsafe fn halves<V: Blocks>(number: usize) -> V {
    // SAFETY: the features are the caller's promise.
    unsafe { V::repeat(&(number as u128).to_le_bytes()) }
}
