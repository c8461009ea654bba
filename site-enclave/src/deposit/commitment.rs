//! Salted commitments to files and rows.
//!
//! A row's commitment is HMAC-SHA256 under the site's salt over its place and its fields; the rows' root is the RFC 6962
//! root over these commitments, in file and row order, so that one row can be opened with a path and no other.

use std::path::{Path, PathBuf};

use konclave_crypto::Digest;
use konclave_ledger::Hash;
use konclave_ledger::statements::FileCommitment;
use konclave_ledger::tree::{Edge, leaf_hash};
use ring::digest::{Context, SHA256};
use ring::hmac;

/// What is committed to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Committed {
    /// The digest of the files' digests.
    pub data: Digest,
    /// Each file.
    pub files: Vec<FileCommitment>,
    /// The root over all rows.
    pub rows: Hash,
}

/// Why files cannot be committed to.
#[derive(Debug, thiserror::Error)]
pub enum CommitError {
    /// A file cannot be read.
    #[error("cannot read {path}: {source}")]
    Read {
        /// The file.
        path: PathBuf,
        /// The reader's reason.
        source: csv::Error,
    },
    /// A file cannot be opened.
    #[error("cannot open {path}: {source}")]
    Open {
        /// The file.
        path: PathBuf,
        /// The system's reason.
        source: std::io::Error,
    },
}

/// Commits to the files' bytes and rows. The first line of each is its header.
///
/// # Errors
/// [`CommitError`].
pub fn commit(files: &[PathBuf], salt: &[u8; 32]) -> Result<Committed, CommitError> {
    let key = hmac::Key::new(hmac::HMAC_SHA256, salt);
    let mut data = Context::new(&SHA256);
    let mut rows = Edge::default();
    let mut committed = Vec::with_capacity(files.len());
    for (place, path) in files.iter().enumerate() {
        let content =
            std::fs::read(path).map_err(|source| CommitError::Open { path: path.clone(), source })?;
        let digest = Digest::of(&content);
        data.update(digest.as_bytes());
        let count = commit_rows(&key, place as u64, path, &content, &mut rows)?;
        let mut tag = hmac::Context::with_key(&key);
        tag.update(b"konclave/v1/deposit-file");
        tag.update(digest.as_bytes());
        committed.push(FileCommitment { commitment: hash(tag.sign().as_ref()), rows: count });
    }
    let mut digest = [0; 32];
    digest.copy_from_slice(data.finish().as_ref());
    Ok(Committed { data: Digest(digest), files: committed, rows: rows.root() })
}

fn commit_rows(
    key: &hmac::Key,
    file: u64,
    path: &Path,
    content: &[u8],
    rows: &mut Edge,
) -> Result<u64, CommitError> {
    let mut reader = csv::ReaderBuilder::new().flexible(true).from_reader(content);
    let mut record = csv::ByteRecord::new();
    let mut row = 0_u64;
    let failed = |source| CommitError::Read { path: path.to_path_buf(), source };
    while reader.read_byte_record(&mut record).map_err(failed)? {
        let mut tag = hmac::Context::with_key(key);
        tag.update(b"konclave/v1/deposit-row");
        tag.update(&file.to_le_bytes());
        tag.update(&row.to_le_bytes());
        for field in &record {
            tag.update(&(field.len() as u64).to_le_bytes());
            tag.update(field);
        }
        rows.push(leaf_hash(tag.sign().as_ref()));
        row += 1;
    }
    Ok(row)
}

fn hash(bytes: &[u8]) -> Hash {
    let mut out = [0; 32];
    out.copy_from_slice(bytes);
    Hash(out)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn files(texts: &[&str]) -> (tempfile::TempDir, Vec<PathBuf>) {
        let folder = tempfile::tempdir().unwrap();
        let paths = texts.iter().enumerate().map(|(index, text)| {
            let path = folder.path().join(format!("{index}.csv"));
            std::fs::write(&path, text).unwrap();
            path
        });
        let paths = paths.collect();
        (folder, paths)
    }

    #[test]
    fn any_changed_field_moved_row_or_other_salt_changes_the_root() {
        let base = ["smiles,value\nCCO,1\nCCN,2\n", "smiles,value\nCCC,3\n"];
        let (_keep, paths) = files(&base);
        let committed = commit(&paths, &[1; 32]).unwrap();
        assert_eq!(committed.files.iter().map(|file| file.rows).collect::<Vec<_>>(), [2, 1]);
        assert_eq!(commit(&paths, &[1; 32]).unwrap(), committed);
        let salted = commit(&paths, &[2; 32]).unwrap();
        assert_eq!(salted.data, committed.data);
        assert_ne!(salted.rows, committed.rows);
        assert_ne!(salted.files, committed.files);
        for other in [
            ["smiles,value\nCCO,1\nCCN,3\n", base[1]],
            ["smiles,value\nCCN,2\nCCO,1\n", base[1]],
            ["smiles,value\nCCO1,\nCCN,2\n", base[1]],
            ["smiles,value\nCCO,1\n", "smiles,value\nCCN,2\nCCC,3\n"],
        ] {
            let (_keep, paths) = files(&other);
            let changed = commit(&paths, &[1; 32]).unwrap();
            assert_ne!(changed.rows, committed.rows, "{other:?}");
            assert_ne!(changed.data, committed.data, "{other:?}");
        }
    }
}
