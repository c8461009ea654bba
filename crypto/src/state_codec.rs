//! Byte form of secret states: a magic, a kind, a version, then fields behind their lengths. Parsed strictly.

use zeroize::Zeroizing;

use crate::digest::Digest;
use crate::ids::{JobId, RoundNumber, SiteId};
use crate::secret::Secret;

const MAGIC: &[u8; 4] = b"KNVS";
const VERSION: u8 = 1;

/// Why stored secret bytes were refused: the store is damaged, or holds another state.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum StateError {
    /// Written by another version, or bytes of another state.
    #[error("these bytes are not this kind of stored state, or are of another version")]
    Kind,
    /// Truncated, extended or altered.
    #[error("the stored state is damaged; restore it or set the job up again")]
    Damaged,
}

/// Which state the bytes hold.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub(crate) enum StateKind {
    AwaitRoster = 1,
    AwaitCiphertexts = 2,
    PairwiseChains = 3,
    AwaitAgreement = 4,
    AwaitUnmasking = 5,
}

/// Writes a state. Grows by copying into a fresh buffer and erasing the old one.
pub(crate) struct StateWriter(Zeroizing<Vec<u8>>);

impl StateWriter {
    pub(crate) fn new(kind: StateKind) -> Self {
        let mut writer = Self(Zeroizing::new(Vec::with_capacity(1024)));
        writer.append(MAGIC);
        writer.append(&[kind as u8, VERSION]);
        writer
    }

    fn append(&mut self, bytes: &[u8]) {
        let needed = self.0.len() + bytes.len();
        if needed > self.0.capacity() {
            let mut grown = Zeroizing::new(Vec::with_capacity(needed.max(self.0.capacity() * 2)));
            grown.extend_from_slice(&self.0);
            self.0 = grown;
        }
        self.0.extend_from_slice(bytes);
    }

    pub(crate) fn number(&mut self, number: u64) {
        self.append(&number.to_be_bytes());
    }

    pub(crate) fn bytes(&mut self, bytes: &[u8]) {
        self.number(bytes.len() as u64);
        self.append(bytes);
    }

    pub(crate) fn fixed<const N: usize>(&mut self, bytes: &[u8; N]) {
        self.append(bytes);
    }

    pub(crate) fn secret<const N: usize>(&mut self, secret: &Secret<N>) {
        self.append(secret.expose());
    }

    pub(crate) fn text(&mut self, text: &str) {
        self.bytes(text.as_bytes());
    }

    pub(crate) fn list<T>(
        &mut self,
        items: impl ExactSizeIterator<Item = T>,
        mut each: impl FnMut(&mut Self, T),
    ) {
        self.number(items.len() as u64);
        for item in items {
            each(self, item);
        }
    }

    pub(crate) fn finish(self) -> Zeroizing<Vec<u8>> {
        self.0
    }
}

/// Reads a state; every read fails on missing bytes, and [`Self::finish`] on left-over ones.
pub(crate) struct StateReader<'a>(&'a [u8]);

impl<'a> StateReader<'a> {
    pub(crate) fn new(bytes: &'a [u8], kind: StateKind) -> Result<Self, StateError> {
        let header = MAGIC.iter().copied().chain([kind as u8, VERSION]);
        match bytes.split_at_checked(MAGIC.len() + 2) {
            Some((head, rest)) if header.eq(head.iter().copied()) => Ok(Self(rest)),
            Some(_) | None => Err(StateError::Kind),
        }
    }

    fn take(&mut self, length: usize) -> Result<&'a [u8], StateError> {
        let (taken, rest) = self.0.split_at_checked(length).ok_or(StateError::Damaged)?;
        self.0 = rest;
        Ok(taken)
    }

    pub(crate) fn fixed<const N: usize>(&mut self) -> Result<&'a [u8; N], StateError> {
        self.take(N)?.try_into().map_err(|_| StateError::Damaged)
    }

    pub(crate) fn number(&mut self) -> Result<u64, StateError> {
        self.fixed().map(|bytes| u64::from_be_bytes(*bytes))
    }

    fn length(&mut self) -> Result<usize, StateError> {
        usize::try_from(self.number()?).map_err(|_| StateError::Damaged)
    }

    pub(crate) fn bytes(&mut self) -> Result<&'a [u8], StateError> {
        let length = self.length()?;
        self.take(length)
    }

    pub(crate) fn secret<const N: usize>(&mut self) -> Result<Secret<N>, StateError> {
        self.fixed().map(Secret::copy_from)
    }

    pub(crate) fn digest(&mut self) -> Result<Digest, StateError> {
        self.fixed().map(|bytes| Digest(*bytes))
    }

    pub(crate) fn text(&mut self) -> Result<&'a str, StateError> {
        std::str::from_utf8(self.bytes()?).map_err(|_| StateError::Damaged)
    }

    pub(crate) fn site(&mut self) -> Result<SiteId, StateError> {
        self.text()?.parse().map_err(|_| StateError::Damaged)
    }

    pub(crate) fn job(&mut self) -> Result<JobId, StateError> {
        self.text()?.parse().map_err(|_| StateError::Damaged)
    }

    pub(crate) fn round(&mut self) -> Result<RoundNumber, StateError> {
        let number = u32::try_from(self.number()?).map_err(|_| StateError::Damaged)?;
        RoundNumber::new(number).map_err(|_| StateError::Damaged)
    }

    /// Reads a list into any collection. Items that collapse (a repeated key) make the state damaged.
    pub(crate) fn list<T, C: FromIterator<T> + Counted>(
        &mut self,
        mut each: impl FnMut(&mut Self) -> Result<T, StateError>,
    ) -> Result<C, StateError> {
        let length = self.length()?;
        let items = (0..length).map(|_| each(self)).collect::<Result<C, _>>()?;
        if items.count() == length { Ok(items) } else { Err(StateError::Damaged) }
    }

    pub(crate) fn finish(self) -> Result<(), StateError> {
        if self.0.is_empty() { Ok(()) } else { Err(StateError::Damaged) }
    }
}

/// Collections that know how many items they hold.
pub(crate) trait Counted {
    fn count(&self) -> usize;
}

impl<T> Counted for Vec<T> {
    fn count(&self) -> usize {
        self.len()
    }
}

impl<K, V> Counted for std::collections::BTreeMap<K, V> {
    fn count(&self) -> usize {
        self.len()
    }
}

impl<T> Counted for std::collections::BTreeSet<T> {
    fn count(&self) -> usize {
        self.len()
    }
}
