//! Lines of a file that anybody may have written: bounded, and counted for messages.

use std::io::{self, BufRead, Read};

/// Longest line that is read: a leaf of 16 KiB in a JSON string, its proof, or a checkpoint with its cosignatures.
pub(super) const MAX_LINE_BYTES: u64 = 256 * 1024;

/// Reads lines one by one into the same buffer.
pub(super) struct Lines<R> {
    reader: R,
    buffer: Vec<u8>,
    /// The number of the line read last, from 1.
    pub(super) number: u64,
}

/// A line that can't be read.
#[derive(Debug)]
pub(super) enum LineError {
    TooLong,
    Io(io::Error),
}

impl<R: BufRead> Lines<R> {
    pub(super) const fn new(reader: R) -> Self {
        Self { reader, buffer: Vec::new(), number: 0 }
    }

    /// The next line without its end; `None` behind the last one.
    pub(super) fn next(&mut self) -> Result<Option<&[u8]>, LineError> {
        self.buffer.clear();
        let mut limited = (&mut self.reader).take(MAX_LINE_BYTES + 1);
        let read = limited.read_until(b'\n', &mut self.buffer).map_err(LineError::Io)?;
        if read == 0 {
            return Ok(None);
        }
        self.number += 1;
        if read as u64 > MAX_LINE_BYTES {
            return Err(LineError::TooLong);
        }
        Ok(Some(self.buffer.trim_ascii_end()))
    }
}
