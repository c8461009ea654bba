//! Small files of an upload: JSON under its own SHA-256, so that what a damaged disk gives back is not taken for true.
//!
//! The first line is the digest of all that follows it, in hexadecimal.

use std::io;
use std::path::Path;

use konclave_crypto::Digest;
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::folder::{Access, replace};

/// What a file holds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Found<T> {
    /// What was written.
    Whole(T),
    /// There is no file.
    Nothing,
    /// There is one, but it is not as it was written.
    Damaged,
}

/// Replaces the file in one step; durable on return.
pub(super) fn write<T: Serialize>(path: &Path, value: &T) -> io::Result<()> {
    let json = serde_json::to_vec(value).map_err(io::Error::other)?;
    let mut text = Digest::of(&json).to_string().into_bytes();
    text.push(b'\n');
    text.extend_from_slice(&json);
    replace(path, &text, Access::Secret)
}

/// Reads what [`write`] wrote.
pub(super) fn read<T: DeserializeOwned>(path: &Path) -> io::Result<Found<T>> {
    match std::fs::read(path) {
        Ok(text) => Ok(parse(&text).map_or(Found::Damaged, Found::Whole)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Found::Nothing),
        Err(error) => Err(error),
    }
}

fn parse<T: DeserializeOwned>(text: &[u8]) -> Option<T> {
    let end = text.iter().position(|byte| *byte == b'\n')?;
    let (digest, json) = (text.get(..end)?, text.get(end.saturating_add(1)..)?);
    let digest: Digest = std::str::from_utf8(digest).ok()?.parse().ok()?;
    if Digest::of(json) != digest {
        return None;
    }
    serde_json::from_slice(json).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn any_flipped_bit_is_noticed() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.json");
        assert_eq!(read::<u64>(&path).unwrap(), Found::Nothing);
        write(&path, &1234_u64).unwrap();
        assert_eq!(read(&path).unwrap(), Found::Whole(1234_u64));
        let text = std::fs::read(&path).unwrap();
        for bit in 0..text.len() * 8 {
            let mut flipped = text.clone();
            flipped[bit / 8] ^= 1 << (bit % 8);
            std::fs::write(&path, flipped).unwrap();
            assert_eq!(read::<u64>(&path).unwrap(), Found::Damaged, "bit {bit}");
        }
        for length in 0..text.len() {
            std::fs::write(&path, &text[..length]).unwrap();
            assert_eq!(read::<u64>(&path).unwrap(), Found::Damaged, "cut to {length} bytes");
        }
    }
}
