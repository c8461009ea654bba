//! What lies beside a ledger: documents, sums and models, each named by its SHA-256.

use std::fs::File;
use std::io::{ErrorKind, Read};
use std::path::PathBuf;

use konclave_ledger::Hash;
use konclave_ledger::records::Document;
use serde::de::DeserializeOwned;

use crate::folder::AuditError;
use crate::rounds::{Checked, NotMade, RoundFault};

/// Most bytes of a document: signed headers and tags of every site.
const DOCUMENT_LIMIT: u64 = 64 << 20;

/// A folder of blobs as the auditor has it: as a gateway keeps them (`ab/abcd..`), or side by side. Any of them may be
/// missing.
#[derive(Debug)]
pub(crate) struct Blobs {
    folder: Option<PathBuf>,
}

impl Blobs {
    pub(crate) const fn new(folder: Option<PathBuf>) -> Self {
        Self { folder }
    }

    /// A blob that is too large for memory. Its content is not checked: whoever reads it compares the digest.
    pub(crate) fn open(&self, what: &'static str, digest: &Hash) -> Checked<File> {
        let missing = || NotMade::NoBlob { what, blob: *digest };
        let (folder, name) = (self.folder.as_ref().ok_or_else(missing)?, digest.to_string());
        for path in [folder.join(name.get(..2).unwrap_or_default()).join(&name), folder.join(&name)] {
            match File::open(&path) {
                Ok(file) => return Ok(file),
                Err(error) if matches!(error.kind(), ErrorKind::NotFound | ErrorKind::NotADirectory) => {}
                Err(source) => {
                    return Err(AuditError::Read { path: path.display().to_string(), source }.into());
                }
            }
        }
        Err(missing().into())
    }

    /// A blob that holds JSON.
    pub(crate) fn json<T: DeserializeOwned>(&self, what: &'static str, digest: &Hash) -> Checked<T> {
        let mut bytes = Vec::new();
        let read = self.open(what, digest)?.take(DOCUMENT_LIMIT).read_to_end(&mut bytes);
        read.map_err(|source| AuditError::Read { path: digest.to_string(), source })?;
        if Hash::of(&bytes) != *digest {
            return Err(RoundFault::Altered { what, blob: *digest }.into());
        }
        serde_json::from_slice(&bytes).map_err(|source| RoundFault::Unreadable { what, source }.into())
    }

    /// A document of an entry: inside it, or a blob.
    pub(crate) fn document<T: DeserializeOwned>(
        &self,
        what: &'static str,
        document: &Document,
    ) -> Checked<T> {
        let Some(inline) = &document.inline else { return self.json(what, &document.digest) };
        let again = Document::of(inline.clone()).map(|(again, _)| again.digest);
        if again.ok() != Some(document.digest) {
            return Err(RoundFault::Altered { what, blob: document.digest }.into());
        }
        T::deserialize(inline).map_err(|source| RoundFault::Unreadable { what, source }.into())
    }
}
