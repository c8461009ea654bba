//! A way around the gateway: a folder that the sites share, a network drive or a synchronised one. Each site puts its
//! newest cosigned note there as `<site>.note` and reads the others'.
//!
//! Whoever else can write there may put anything into it. So only plain files of bounded size with a site's name are read,
//! nothing is followed, and what is no head of this ledger is left alone.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use konclave_crypto::SiteId;
use konclave_ledger::Hash;
use konclave_ledger::note::MAX_NOTE_BYTES;
use rustix::fs::OFlags;

use super::gossip::Compared;
use super::{LedgerView, Source, Witness, WitnessFault};

/// The ending of a note's name.
const ENDING: &str = ".note";
/// The most entries of the folder that are looked at, besides those of certified sites.
const MOST_FILES: usize = 2048;

/// Why a note cannot be read.
#[derive(Debug, thiserror::Error)]
pub enum ReadError {
    /// The system's reason.
    #[error("{path}: {source}")]
    File {
        /// The file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// A link, a folder, a pipe.
    #[error("{0} is not a plain file")]
    NotAFile(PathBuf),
    /// Longer than any note.
    #[error("{0} is longer than {MAX_NOTE_BYTES} bytes, which no note is")]
    TooLong(PathBuf),
}

/// Reads a file that may be anybody's: a plain one, no link, no longer than a note.
///
/// # Errors
/// [`ReadError`].
pub fn read_note(path: &Path) -> Result<Vec<u8>, ReadError> {
    let failed = |source| ReadError::File { path: path.to_path_buf(), source };
    // Not to be led elsewhere by a link, and not to wait for who never writes into a pipe.
    let flags = OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
    let flags = i32::try_from(flags.bits()).unwrap_or_default();
    let is_link = fs::symlink_metadata(path).map_err(failed)?.is_symlink();
    if is_link {
        return Err(ReadError::NotAFile(path.to_path_buf()));
    }
    let file = OpenOptions::new().read(true).custom_flags(flags).open(path).map_err(failed)?;
    if !file.metadata().map_err(failed)?.is_file() {
        return Err(ReadError::NotAFile(path.to_path_buf()));
    }
    let mut bytes = Vec::new();
    file.take(MAX_NOTE_BYTES as u64 + 1).read_to_end(&mut bytes).map_err(failed)?;
    if bytes.len() > MAX_NOTE_BYTES { Err(ReadError::TooLong(path.to_path_buf())) } else { Ok(bytes) }
}

/// Puts a note into the folder under the site's name, at once and whole.
fn publish(folder: &Path, site: &SiteId, note: &str) -> io::Result<()> {
    let temporary = folder.join(format!(".{site}{ENDING}.tmp"));
    match fs::remove_file(&temporary) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        Ok(()) | Err(_) => {}
    }
    // A new file: a link that somebody put there is not written through. Others are to read it.
    let mut file = OpenOptions::new().write(true).create_new(true).mode(0o644).open(&temporary)?;
    file.write_all(note.as_bytes())?;
    file.sync_all()?;
    fs::rename(&temporary, folder.join(format!("{site}{ENDING}")))?;
    // Some shares cannot sync a folder; then the name is lost in a power cut, and written again after it.
    let _ = File::open(folder).and_then(|folder| folder.sync_all());
    Ok(())
}

/// The notes of other sites in the folder, by the site's name. Those of `certified` sites are looked for by name: they are
/// found however many files lie there.
fn notes_of_others(
    folder: &Path,
    own: &SiteId,
    certified: &BTreeSet<String>,
) -> io::Result<BTreeMap<SiteId, PathBuf>> {
    let mut notes = BTreeMap::new();
    for site in certified.iter().filter_map(|site| site.parse::<SiteId>().ok()).filter(|site| site != own) {
        let path = folder.join(format!("{site}{ENDING}"));
        if fs::symlink_metadata(&path).is_ok() {
            notes.insert(site, path);
        }
    }
    for entry in fs::read_dir(folder)?.take(MOST_FILES) {
        let path = entry?.path();
        let name = path.file_name().and_then(|name| name.to_str()).and_then(|name| name.strip_suffix(ENDING));
        let Some(site) = name.and_then(|name| name.parse::<SiteId>().ok()) else { continue };
        if site != *own {
            notes.insert(site, path);
        }
    }
    Ok(notes)
}

impl Witness {
    /// Puts this site's newest cosigned note into the exchange folder, and compares the others' with its head. A folder
    /// that cannot be used, or a file in it, is told in the log and holds nothing up.
    ///
    /// # Errors
    /// [`WitnessFault`]; [`WitnessFault::Alarm`] if a note contradicts this site's head.
    pub async fn exchange<V: LedgerView>(
        &mut self,
        ledger: &V,
        folder: &Path,
        site: &SiteId,
    ) -> Result<(), WitnessFault> {
        if let Some(own) = self.own.as_ref().map(ToString::to_string) {
            let there = read_note(&folder.join(format!("{site}{ENDING}"))).ok();
            if there.map(|bytes| Hash::of(&bytes)) != Some(Hash::of(own.as_bytes()))
                && let Err(error) = publish(folder, site, &own)
            {
                tracing::warn!(folder = %folder.display(), "this site's note cannot be put into the exchange folder: {error}");
            }
        }
        let notes = match notes_of_others(folder, site, &self.others.certified) {
            Ok(notes) => notes,
            Err(error) => {
                tracing::warn!(folder = %folder.display(), "the exchange folder cannot be listed: {error}");
                return Ok(());
            }
        };
        for (other, path) in notes {
            let note = match read_note(&path) {
                Ok(note) => note,
                Err(error) => {
                    tracing::warn!("a note in the exchange folder is left out: {error}");
                    continue;
                }
            };
            let key = self.certified.get(other.as_str()).cloned();
            let compared = self.compare(ledger, Source::folder(other.as_str()), &note, key.as_ref()).await?;
            if compared == Compared::Nothing {
                tracing::warn!(file = %path.display(), "a note in the exchange folder is left out");
            }
        }
        self.others.store(&self.disk, &self.folder.other_witnesses())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_plain_files_of_bounded_size_with_a_sites_name_are_read() {
        let keep = tempfile::tempdir().unwrap();
        let folder = keep.path();
        let own: SiteId = "site-a".parse().unwrap();
        publish(folder, &own, "mine\n").unwrap();
        fs::write(folder.join("site-b.note"), "theirs\n").unwrap();
        fs::write(folder.join("secret"), "a secret\n").unwrap();
        fs::write(folder.join("UPPER.note"), "x").unwrap();
        fs::write(folder.join(".site-x.note.tmp"), "x").unwrap();
        fs::write(folder.join("site-long.note"), vec![b'a'; MAX_NOTE_BYTES + 1]).unwrap();
        fs::write(folder.join("site-most.note"), vec![b'a'; MAX_NOTE_BYTES]).unwrap();
        fs::create_dir(folder.join("site-folder.note")).unwrap();
        std::os::unix::fs::symlink(folder.join("secret"), folder.join("site-link.note")).unwrap();
        let pipe = folder.join("site-pipe.note");
        rustix::fs::mknodat(
            rustix::fs::CWD,
            &pipe,
            rustix::fs::FileType::Fifo,
            rustix::fs::Mode::from_raw_mode(0o600),
            0,
        )
        .unwrap();
        let notes = notes_of_others(folder, &own, &BTreeSet::new()).unwrap();
        let read: Vec<(String, Result<Vec<u8>, ReadError>)> =
            notes.iter().map(|(site, path)| (site.to_string(), read_note(path))).collect();
        let found = |site: &str| &read.iter().find(|(name, _)| name == site).unwrap().1;
        assert_eq!(read.len(), 6, "{read:?}");
        assert_eq!(found("site-b").as_ref().unwrap(), b"theirs\n");
        assert_eq!(found("site-most").as_ref().unwrap().len(), MAX_NOTE_BYTES);
        assert!(matches!(found("site-long"), Err(ReadError::TooLong(_))));
        for odd in ["site-folder", "site-link", "site-pipe"] {
            assert!(matches!(found(odd), Err(ReadError::NotAFile(_))), "{odd}");
        }
    }

    #[test]
    fn a_note_is_replaced_whole_and_nothing_is_written_through_a_link() {
        let keep = tempfile::tempdir().unwrap();
        let (folder, victim) = (keep.path().join("shared"), keep.path().join("victim"));
        fs::create_dir(&folder).unwrap();
        fs::write(&victim, "untouched").unwrap();
        let own: SiteId = "site-a".parse().unwrap();
        for name in [".site-a.note.tmp", "site-a.note"] {
            std::os::unix::fs::symlink(&victim, folder.join(name)).unwrap();
        }
        publish(&folder, &own, "first\n").unwrap();
        publish(&folder, &own, "second\n").unwrap();
        assert_eq!(fs::read_to_string(&victim).unwrap(), "untouched");
        assert_eq!(read_note(&folder.join("site-a.note")).unwrap(), b"second\n");
        assert_eq!(fs::read_dir(&folder).unwrap().count(), 1);
    }
}
