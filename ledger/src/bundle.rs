//! Entry bundles (`tile/entries/<N>`): entries behind each other, each after its length as big-endian uint16.

/// Walks the entries of a bundle; stops at the first one whose length does not fit.
#[derive(Debug, Clone)]
pub struct Entries<'a> {
    rest: &'a [u8],
    position: usize,
}

/// A bundle whose lengths don't add up.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the entry at position {position} of the bundle is cut short")]
pub struct BundleError {
    /// Position in the bundle, from 0.
    pub position: usize,
}

/// The entries of a bundle, unchecked beyond their lengths.
#[must_use]
pub const fn entries(bundle: &[u8]) -> Entries<'_> {
    Entries { rest: bundle, position: 0 }
}

/// Adds an entry at the end of a bundle. Leaves are at most 16 KiB, so their length always fits.
pub fn push(bundle: &mut Vec<u8>, entry: &[u8]) {
    let length = u16::try_from(entry.len()).unwrap_or(u16::MAX);
    bundle.extend(length.to_be_bytes());
    bundle.extend_from_slice(entry.get(..usize::from(length)).unwrap_or(entry));
}

impl<'a> Iterator for Entries<'a> {
    type Item = Result<&'a [u8], BundleError>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.rest.is_empty() {
            return None;
        }
        let split = self
            .rest
            .split_first_chunk::<2>()
            .and_then(|(length, rest)| rest.split_at_checked(usize::from(u16::from_be_bytes(*length))));
        let item = split.map(|(entry, _)| entry).ok_or(BundleError { position: self.position });
        self.rest = split.map_or(&[], |(_, rest)| rest);
        self.position += 1;
        Some(item)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_what_was_written() {
        let mut bundle = Vec::new();
        for entry in [b"".as_slice(), b"a", &[7; 300]] {
            push(&mut bundle, entry);
        }
        assert_eq!(bundle[..5], [0, 0, 0, 1, b'a']);
        let read: Vec<_> = entries(&bundle).map(Result::unwrap).collect();
        assert_eq!(read, [b"".as_slice(), b"a", &[7; 300]]);
        assert_eq!(entries(&[]).next(), None);
    }

    #[test]
    fn names_the_entry_that_is_cut() {
        for cut in [&[0, 1, b'a', 0][..], &[0, 1, b'a', 0, 2, b'b']] {
            let read: Vec<_> = entries(cut).collect();
            assert_eq!(read, [Ok(b"a".as_slice()), Err(BundleError { position: 1 })]);
        }
    }
}
