//! Reading of packed upload bodies: block by block, hashed on the way, checked against the header at the end.

use std::io::{ErrorKind, Read};

use crate::encoding::{PackingError, check_packed, packed_bytes};
use crate::merkle::BodyHasher;
use crate::messages::ManifestHeader;
use crate::prg::CHUNK_LANES;

/// Lanes of one body that are held at once.
pub(crate) const BLOCK_LANES: usize = 64 * CHUNK_LANES;

/// Packed bytes of all bodies together that are held at once, about: few enough to stay in a processor's cache, many
/// enough to be worth threads.
const HELD_BYTES: usize = 8 * 1024 * 1024;

/// Bytes read at a time.
const READ_BYTES: usize = 16 * 1024;

/// Lanes of each of several bodies that are held at once: fewer the more bodies there are, so that memory grows neither
/// with n nor with d.
pub(crate) fn block_lanes(bodies: usize, bits: u8) -> usize {
    let chunk_of_all = bodies.max(1).saturating_mul(block_bytes(CHUNK_LANES, bits)).max(1);
    (HELD_BYTES / chunk_of_all * CHUNK_LANES).clamp(CHUNK_LANES, BLOCK_LANES)
}

/// What is wrong with a stored body.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum BodyFault {
    /// It is not the one that its manifest commits to: the store changed it.
    #[error("differs from the one that its manifest commits to")]
    Changed,
    /// It could not be read.
    #[error("could not be read: {kind}")]
    Read {
        /// What the store said.
        kind: ErrorKind,
    },
    /// It matches its manifest but is not packed ring elements: its sender is at fault.
    #[error("is not packed correctly")]
    Format,
}

/// One body on its way in.
pub(crate) struct BodyReader<'a, B> {
    header: &'a ManifestHeader,
    reader: B,
    hasher: BodyHasher,
}

impl<'a, B: Read> BodyReader<'a, B> {
    pub(crate) fn new(header: &'a ManifestHeader, reader: B) -> Self {
        Self { header, reader, hasher: BodyHasher::new() }
    }

    pub(crate) fn header(&self) -> &ManifestHeader {
        self.header
    }

    /// Reads the next `lanes` packed lanes into `buffer`.
    pub(crate) fn next_block(
        &mut self,
        lanes: usize,
        bits: u8,
        buffer: &mut Vec<u8>,
    ) -> Result<(), BodyFault> {
        buffer.resize(block_bytes(lanes, bits), 0);
        // Hashed while it is in the first-level cache.
        for part in buffer.chunks_mut(READ_BYTES) {
            self.reader.read_exact(part).map_err(|error| {
                let kind = error.kind();
                if kind == ErrorKind::UnexpectedEof { BodyFault::Changed } else { BodyFault::Read { kind } }
            })?;
            self.hasher.update(part);
        }
        check_packed(buffer, lanes, bits).map_err(|_: PackingError| BodyFault::Format)
    }

    /// The body must end here and be the one that was committed to.
    pub(crate) fn finish(self) -> Result<(), BodyFault> {
        let Self { header, reader, hasher } = self;
        let mut rest = Vec::new();
        let left =
            reader.take(1).read_to_end(&mut rest).map_err(|error| BodyFault::Read { kind: error.kind() })?;
        if left == 0 && hasher.bytes() == header.body_bytes && hasher.finish() == header.body_root {
            Ok(())
        } else {
            Err(BodyFault::Changed)
        }
    }
}

/// The blocks of a vector, `block_lanes` each but for the last: the position of each one's first lane and its number of lanes.
pub(crate) fn blocks(lanes: u64, block_lanes: usize) -> impl Iterator<Item = (u64, usize)> {
    let block = block_lanes.max(1) as u64;
    (0..lanes.div_ceil(block)).map(move |index| {
        let first = index * block;
        (first, usize::try_from((lanes - first).min(block)).unwrap_or(block_lanes))
    })
}

/// Packed bytes of a block.
pub(crate) fn block_bytes(lanes: usize, bits: u8) -> usize {
    usize::try_from(packed_bytes(lanes as u64, bits)).unwrap_or(0)
}
