//! Salted commitments to files and rows.
//!
//! Each row has a salt of its own: HMAC-SHA256 under the site's salt over the file's digest and the row's number. The
//! row's commitment is HMAC-SHA256 under that salt over its fields, and the rows' root is the RFC 6962 root over the
//! commitments, in file and row order. Whoever is shown one row, its salt and a path can check it against the root; that
//! salt says nothing of the other rows' salts, so that no other row can be guessed.

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
    for path in files {
        let content =
            std::fs::read(path).map_err(|source| CommitError::Open { path: path.clone(), source })?;
        let digest = Digest::of(&content);
        data.update(digest.as_bytes());
        let count = commit_rows(&key, digest, path, &content, &mut rows)?;
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
    file: Digest,
    path: &Path,
    content: &[u8],
    rows: &mut Edge,
) -> Result<u64, CommitError> {
    let mut reader = csv::ReaderBuilder::new().flexible(true).from_reader(content);
    let mut record = csv::ByteRecord::new();
    let mut row = 0_u64;
    let failed = |source| CommitError::Read { path: path.to_path_buf(), source };
    while reader.read_byte_record(&mut record).map_err(failed)? {
        rows.push(leaf_hash(row_commitment(&row_salt(key, file, row), &record).as_ref()));
        row += 1;
    }
    Ok(row)
}

/// The salt of one row, counted from 0 behind the header: all of the salt that an opening gives away.
fn row_salt(site: &hmac::Key, file: Digest, row: u64) -> hmac::Tag {
    let mut tag = hmac::Context::with_key(site);
    tag.update(b"konclave/v2/deposit-row-salt");
    tag.update(file.as_bytes());
    tag.update(&row.to_le_bytes());
    tag.sign()
}

/// The commitment to a row's fields, each behind its length.
fn row_commitment(salt: &hmac::Tag, fields: &csv::ByteRecord) -> hmac::Tag {
    let mut tag = hmac::Context::with_key(&hmac::Key::new(hmac::HMAC_SHA256, salt.as_ref()));
    tag.update(b"konclave/v2/deposit-row");
    for field in fields {
        tag.update(&(field.len() as u64).to_le_bytes());
        tag.update(field);
    }
    tag.sign()
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

    /// Computed with Python's hmac and hashlib.
    #[test]
    fn known_answer() {
        let text = "smiles,value\nCCO,1\nCCN,2\n";
        let (_keep, paths) = files(&[text]);
        let root = "e561cf627815d02878352591e9d83033af3dd1636f8a4a7bb6616d7757f6bf8e";
        assert_eq!(commit(&paths, &[1; 32]).unwrap().rows.to_string(), root);
        // What an opening of the second row gives away opens that row and makes no other salt.
        let site = hmac::Key::new(hmac::HMAC_SHA256, &[1; 32]);
        let salt = row_salt(&site, Digest::of(text.as_bytes()), 1);
        let hex = |bytes: &[u8]| bytes.iter().map(|byte| format!("{byte:02x}")).collect::<String>();
        assert_eq!(hex(salt.as_ref()), "641345b418651c90f15d0d84ca93c47555002cce657b756c595adabe774aca6d");
        let commitment = row_commitment(&salt, &csv::ByteRecord::from(vec!["CCN", "2"]));
        assert_eq!(
            hex(commitment.as_ref()),
            "276d9e256085392a2b06148fb22e51f113cadd8c3a38975b9e6427e8976bcb88"
        );
    }
}
