//! Signed statements beside the entries: `statements/<digest>.json`, durable before an entry can name them.

use super::Ledger;
use super::errors::{Damage, ReadError, StatementFileError, StorageFailure};
use crate::dsse::{Envelope, MAX_ENVELOPE_BYTES};
use crate::hash::Hash;

const NEW_STATEMENT: &str = "statement.tmp";

/// The file of a statement.
pub(super) fn statement_path(digest: &Hash) -> String {
    format!("statements/{digest}.json")
}

impl Ledger {
    /// Stores a statement durably and returns its digest, by which an entry names it. Storing it again is harmless.
    ///
    /// # Errors
    /// [`StatementFileError`]. The signature is not checked here: the caller knows whose it must be.
    pub fn put_statement(&mut self, statement: &Envelope) -> Result<Hash, StatementFileError> {
        if self.poisoned {
            return Err(StatementFileError::Poisoned);
        }
        let bytes = statement.to_bytes();
        if bytes.len() > MAX_ENVELOPE_BYTES {
            return Err(StatementFileError::TooLarge { bytes: bytes.len() });
        }
        let digest = Hash::of(&bytes);
        let path = statement_path(&digest);
        // Written whole under another name first: the digest may already be in use by an entry, whose statement must
        // not be cut short for a moment. Stored again even if it is there, since what an earlier process wrote and
        // could not make durable reads back well too.
        let written = self.storage.write(NEW_STATEMENT, &bytes);
        written.map_err(StorageFailure::of("write", &path)).map_err(StatementFileError::NotStored)?;
        let durable = self.storage.sync_file(NEW_STATEMENT);
        if durable.is_ok() {
            self.holds(NEW_STATEMENT, &bytes).map_err(StatementFileError::NotStored)?;
        }
        let durable = durable.and_then(|()| self.storage.rename(NEW_STATEMENT, &path));
        durable.and_then(|()| self.storage.sync_names()).map_err(|error| {
            self.poisoned = true;
            StatementFileError::Ambiguous(StorageFailure::of("make durable", &path)(error))
        })?;
        Ok(digest)
    }

    /// The statements that entries name, in order of their digests.
    pub fn statement_digests(&self) -> impl Iterator<Item = &Hash> {
        self.statements.keys()
    }

    /// The statements that the first `size` entries name, in order of their digests.
    pub fn statement_digests_before(&self, size: u64) -> impl Iterator<Item = &Hash> {
        self.statements.iter().filter(move |(_, first)| **first < size).map(|(digest, _)| digest)
    }

    /// The statement with this digest, or `None` if there is none (a damaged one that no entry names counts as none:
    /// it can be stored again).
    ///
    /// # Errors
    /// [`ReadError`] if it can't be read, or if an entry names it and it is missing or damaged.
    pub fn get_statement(&self, digest: &Hash) -> Result<Option<Envelope>, ReadError> {
        self.readable()?;
        let path = statement_path(digest);
        let bytes = self.storage.read(&path).map_err(StorageFailure::of("read", &path))?;
        let found = bytes.is_some();
        let intact = bytes.filter(|bytes| Hash::of(bytes) == *digest).map(|bytes| Envelope::parse(&bytes));
        match (intact, self.statements.get(digest)) {
            (Some(Ok(statement)), _) => Ok(Some(statement)),
            (_, None) => Ok(None),
            (_, Some(first)) => {
                let what = if found { "it does not have the digest it is named by" } else { "it is missing" };
                Err(Damage { file: path, first_index: *first, what: what.to_owned() }.into())
            }
        }
    }

    /// Whether an intact statement with this digest is stored.
    pub(super) fn has_statement(&self, digest: &Hash) -> Result<bool, StorageFailure> {
        let path = statement_path(digest);
        let found = self.storage.read(&path).map_err(StorageFailure::of("read", &path))?;
        Ok(found.is_some_and(|bytes| Hash::of(&bytes) == *digest))
    }
}
