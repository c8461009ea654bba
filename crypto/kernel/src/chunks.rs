//! Whole vectors, chunk by chunk: each chunk is read and written once however many streams and bodies there are.

use std::borrow::Borrow;

use rayon::prelude::*;

use crate::packing::{add_packed, pack_into};
use crate::streams::MaskStream;

/// Lanes handled at once: 16 KiB, so that a chunk and what is added to it stay in the first-level cache.
/// A multiple of eight, so that packed chunks start on a byte, and of four, so that they start on an AES block.
pub const CHUNK_LANES: usize = 4096;

/// Lanes times streams below which threads cost more than they bring.
const PARALLEL_LANES: usize = 1 << 19;

/// Bytes of a packed chunk; at least one.
fn chunk_bytes(bits: u8) -> usize {
    (CHUNK_LANES / 8 * usize::from(bits)).max(1)
}

fn apply_to_chunk<S: Borrow<MaskStream>>(streams: &[S], first: u64, chunk: &mut [u32]) {
    for stream in streams {
        stream.borrow().apply(first, chunk);
    }
}

/// The first lane of a chunk.
fn start(first: u64, index: usize) -> u64 {
    first + (index * CHUNK_LANES) as u64
}

fn worth_threads(lanes: usize, streams: usize) -> bool {
    lanes > CHUNK_LANES && lanes.saturating_mul(streams) >= PARALLEL_LANES
}

/// Applies all streams to a run of lanes that starts at lane `first` of the vector.
pub fn apply<S: Borrow<MaskStream> + Sync>(streams: &[S], first: u64, lanes: &mut [u32]) {
    let chunk = |(index, chunk): (usize, &mut [u32])| apply_to_chunk(streams, start(first, index), chunk);
    if worth_threads(lanes.len(), streams.len()) {
        lanes.par_chunks_mut(CHUNK_LANES).enumerate().for_each(chunk);
    } else {
        lanes.chunks_mut(CHUNK_LANES).enumerate().for_each(chunk);
    }
}

/// Applies all streams to a vector in place and packs it to `bits` bits a lane (1 to 32).
#[must_use]
pub fn mask<S: Borrow<MaskStream> + Sync>(streams: &[S], lanes: &mut [u32], bits: u8) -> Vec<u8> {
    let mut body = crate::pages::zeros(crate::packed_bytes(lanes.len(), bits));
    let chunk = |(index, (chunk, body)): (usize, (&mut [u32], &mut [u8]))| {
        apply_to_chunk(streams, start(0, index), chunk);
        pack_into(chunk, bits, body);
    };
    if worth_threads(lanes.len(), streams.len()) {
        let bodies = body.par_chunks_mut(chunk_bytes(bits));
        lanes.par_chunks_mut(CHUNK_LANES).zip(bodies).enumerate().for_each(chunk);
    } else {
        let bodies = body.chunks_mut(chunk_bytes(bits));
        lanes.chunks_mut(CHUNK_LANES).zip(bodies).enumerate().for_each(chunk);
    }
    body
}

/// Adds up the same run of several packed bodies and applies all streams: the opened lanes, from lane `first` on.
///
/// What was in `lanes` is overwritten.
///
/// # Panics
/// Unless each body holds exactly the [`packed_bytes`](crate::packed_bytes) of the run: a short one must not count as
/// zeros.
pub fn open<S: Borrow<MaskStream> + Sync, B: AsRef<[u8]> + Sync>(
    bodies: &[B],
    bits: u8,
    streams: &[S],
    first: u64,
    lanes: &mut [u32],
) {
    let expected = crate::packed_bytes(lanes.len(), bits);
    assert!(
        bodies.iter().all(|body| body.as_ref().len() == expected),
        "a body has not the length of its run"
    );
    let chunk = |(index, chunk): (usize, &mut [u32])| {
        chunk.fill(0);
        for body in bodies {
            let body = body.as_ref().get(index * chunk_bytes(bits)..).unwrap_or_default();
            let used = body.len().min(crate::packed_bytes(chunk.len(), bits));
            add_packed(body.get(..used).unwrap_or_default(), bits, chunk);
        }
        apply_to_chunk(streams, start(first, index), chunk);
    };
    if worth_threads(lanes.len(), streams.len() + bodies.len()) {
        lanes.par_chunks_mut(CHUNK_LANES).enumerate().for_each(chunk);
    } else {
        lanes.chunks_mut(CHUNK_LANES).enumerate().for_each(chunk);
    }
}
