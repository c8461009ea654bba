//! Reading of packed upload bodies: block by block, hashed on the way, checked against the header at the end.

use std::io::{ErrorKind, Read};

use crate::encoding::{PackingError, packed_bytes, unpack_into};
use crate::merkle::BodyHasher;
use crate::messages::ManifestHeader;
use crate::prg::CHUNK_LANES;

/// Lanes held at once: 1 MiB of sums and at most as much of one body, whatever n and d are.
pub(crate) const BLOCK_LANES: usize = 64 * CHUNK_LANES;

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

    /// Reads the next packed lanes into `buffer` and adds them to `lanes`.
    pub(crate) fn add_block(
        &mut self,
        buffer: &mut [u8],
        lanes: &mut [u32],
        bits: u8,
    ) -> Result<(), BodyFault> {
        self.reader.read_exact(buffer).map_err(|error| {
            let kind = error.kind();
            if kind == ErrorKind::UnexpectedEof { BodyFault::Changed } else { BodyFault::Read { kind } }
        })?;
        self.hasher.update(buffer);
        unpack_into(buffer, lanes, bits, |sum, lane| *sum = sum.wrapping_add(lane))
            .map_err(|_: PackingError| BodyFault::Format)
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

/// The blocks of a vector: the position of each one's first lane and its number of lanes.
pub(crate) fn blocks(lanes: u64) -> impl Iterator<Item = (u64, usize)> {
    let block = BLOCK_LANES as u64;
    (0..lanes.div_ceil(block)).map(move |index| {
        let first = index * block;
        (first, usize::try_from((lanes - first).min(block)).unwrap_or(BLOCK_LANES))
    })
}

/// Packed bytes of a block.
pub(crate) fn block_bytes(lanes: usize, bits: u8) -> usize {
    usize::try_from(packed_bytes(lanes as u64, bits)).unwrap_or(0)
}
