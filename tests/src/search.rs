//! Looks for byte strings in files: the check that nothing secret was sent or kept.
//!
//! All needles are looked for at every byte offset in one pass: a small bitmap over a hash of eight bytes answers
//! most offsets, a table of the needles' first eight bytes the rest. Long vectors are looked for by aligned
//! windows, so any run of twice the window's length is found, wherever it begins.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::fs;
use std::path::{Path, PathBuf};

use crate::error::HarnessError;

/// Bytes that decide whether a needle is compared in full.
const KEY: usize = 8;
/// Different bytes that a window must have to say anything.
const DISTINCT: usize = 6;
/// Bits of the bitmap.
const FILTER_BITS: u32 = 22;

/// What to look for.
#[derive(Default)]
pub struct Needles {
    names: Vec<String>,
    by_key: HashMap<[u8; KEY], Vec<(usize, Vec<u8>)>>,
    filter: Vec<u64>,
}

/// What a search saw.
#[derive(Debug, Default, Clone)]
pub struct Searched {
    /// Files read.
    pub files: u64,
    /// Bytes read.
    pub bytes: u64,
    /// Each needle and file it was found in, at most three places of a needle in a file.
    pub found: Vec<Found>,
}

/// One place.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Found {
    /// The needle's name.
    pub needle: String,
    /// The file.
    pub file: String,
    /// Where in the file.
    pub offset: usize,
}

impl Needles {
    /// Nothing yet.
    #[must_use]
    pub fn new() -> Self {
        Self { filter: vec![0; 1 << (FILTER_BITS - 6)], ..Self::default() }
    }

    /// Adds a byte string of at least eight bytes; shorter ones are refused, because they occur by chance.
    pub fn add(&mut self, name: &str, bytes: &[u8]) -> &mut Self {
        let Some(key) = bytes.first_chunk::<KEY>() else { return self };
        let slot = slot(u64::from_le_bytes(*key));
        if let Some(word) = self.filter.get_mut(slot / 64) {
            *word |= 1 << (slot % 64);
        }
        let name = self.number(name);
        self.by_key.entry(*key).or_default().push((name, bytes.to_vec()));
        self
    }

    /// Adds every aligned window of a vector's bytes that is not trivial (few distinct bytes say nothing).
    pub fn add_windows(&mut self, name: &str, bytes: &[u8], window: usize) -> &mut Self {
        for piece in bytes.chunks_exact(window.max(KEY)) {
            if piece.iter().collect::<BTreeSet<_>>().len() >= DISTINCT {
                self.add(name, piece);
            }
        }
        self
    }

    /// Adds a text as it may be written: as it is, in JSON, in base64 at each of three alignments, in hex.
    pub fn add_text(&mut self, name: &str, text: &str) -> &mut Self {
        self.add(name, text.as_bytes());
        if let Ok(json) = serde_json::to_string(text) {
            self.add(name, json.trim_matches('"').as_bytes());
        }
        self.add_encodings(name, text.as_bytes())
    }

    /// Adds bytes as they are and as base64 (three alignments) and hex would show them.
    pub fn add_encodings(&mut self, name: &str, bytes: &[u8]) -> &mut Self {
        use base64::Engine as _;
        use base64::engine::general_purpose::{STANDARD_NO_PAD, URL_SAFE_NO_PAD};
        self.add(name, bytes);
        self.add(name, hex::encode(bytes).as_bytes());
        for lead in 0..3 {
            let mut shifted = vec![0; lead];
            shifted.extend_from_slice(bytes);
            for engine in [&STANDARD_NO_PAD, &URL_SAFE_NO_PAD] {
                let encoded = engine.encode(&shifted);
                // The first and last characters depend on what stands beside the text.
                let from = if lead == 0 { 0 } else { lead + 1 };
                let inside = encoded.get(from..encoded.len().saturating_sub(2)).unwrap_or_default();
                self.add(name, inside.as_bytes());
            }
        }
        self
    }

    /// How many byte strings are looked for.
    #[must_use]
    pub fn len(&self) -> usize {
        self.by_key.values().map(Vec::len).sum()
    }

    /// Whether nothing is looked for.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.by_key.is_empty()
    }

    /// Searches one byte string, calling back with each needle's name and offset.
    pub fn search_bytes(&self, haystack: &[u8], mut found: impl FnMut(&str, usize)) {
        for (offset, window) in haystack.windows(KEY).enumerate() {
            let Some(key) = window.first_chunk::<KEY>() else { continue };
            let slot = slot(u64::from_le_bytes(*key));
            if self.filter.get(slot / 64).is_none_or(|word| word >> (slot % 64) & 1 == 0) {
                continue;
            }
            for (name, needle) in self.by_key.get(key).into_iter().flatten() {
                if haystack.get(offset..).is_some_and(|rest| rest.starts_with(needle)) {
                    found(self.names.get(*name).map_or("", String::as_str), offset);
                }
            }
        }
    }

    /// Searches every file below a folder, names included.
    ///
    /// # Errors
    /// The file system's.
    pub fn search_folder(&self, folder: &Path) -> Result<Searched, HarnessError> {
        self.search_folder_and_tell(folder, |_, _| ())
    }

    /// The same; `tell` is called with the number of files done and their total.
    ///
    /// # Errors
    /// The file system's.
    pub fn search_folder_and_tell(
        &self,
        folder: &Path,
        tell: impl Fn(u64, u64),
    ) -> Result<Searched, HarnessError> {
        let files = files_below(folder)?;
        let mut searched = Searched::default();
        for (file, done) in files.iter().zip(0..) {
            tell(done, files.len() as u64);
            self.search_file(file, &mut searched)?;
        }
        Ok(searched)
    }

    fn search_file(&self, path: &Path, searched: &mut Searched) -> Result<(), HarnessError> {
        let content = match fs::read(path) {
            // A file of a running gateway may be gone again; what it was renamed to is searched instead.
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(()),
            content => content.map_err(HarnessError::file("read", path))?,
        };
        searched.files += 1;
        searched.bytes += content.len() as u64;
        let file = path.display().to_string();
        let mut in_this_file = BTreeMap::<String, u32>::new();
        for haystack in [content.as_slice(), file.as_bytes()] {
            self.search_bytes(haystack, |needle, offset| {
                let count = in_this_file.entry(needle.to_owned()).or_default();
                *count += 1;
                if *count <= 3 {
                    searched.found.push(Found { needle: needle.to_owned(), file: file.clone(), offset });
                }
            });
        }
        Ok(())
    }

    fn number(&mut self, name: &str) -> usize {
        self.names.iter().position(|known| known == name).unwrap_or_else(|| {
            self.names.push(name.to_owned());
            self.names.len() - 1
        })
    }
}

impl Searched {
    /// The places as text, for messages.
    #[must_use]
    pub fn places(&self) -> Vec<String> {
        self.found
            .iter()
            .map(|place| format!("{} in {} at {}", place.needle, place.file, place.offset))
            .collect()
    }
}

fn files_below(folder: &Path) -> Result<Vec<PathBuf>, HarnessError> {
    let (mut open, mut files) = (vec![folder.to_path_buf()], Vec::new());
    while let Some(folder) = open.pop() {
        let entries = fs::read_dir(&folder)
            .and_then(|entries| entries.collect::<Result<Vec<_>, _>>())
            .map_err(HarnessError::file("list", &folder))?;
        for path in entries.iter().map(fs::DirEntry::path) {
            if path.is_dir() { open.push(path) } else { files.push(path) }
        }
    }
    files.sort();
    Ok(files)
}

fn slot(key: u64) -> usize {
    // Fibonacci hashing: the high bits of the product are well mixed.
    let hash = key.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> (64 - FILTER_BITS);
    usize::try_from(hash).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(needles: &Needles, haystack: &[u8]) -> Vec<(String, usize)> {
        let mut places = Vec::new();
        needles.search_bytes(haystack, |name, offset| places.push((name.to_owned(), offset)));
        places
    }

    #[test]
    fn a_needle_is_found_at_every_offset() {
        let mut needles = Needles::new();
        needles.add("secret", b"CC(=O)Oc1ccccc1");
        for lead in 0..40 {
            let mut haystack = vec![b'x'; lead];
            haystack.extend_from_slice(b"CC(=O)Oc1ccccc1");
            assert_eq!(found(&needles, &haystack), [("secret".to_owned(), lead)]);
            haystack.pop();
            assert!(found(&needles, &haystack).is_empty(), "a cut needle is no match");
        }
    }

    #[test]
    fn a_run_out_of_a_vector_is_found_wherever_it_begins() {
        let vector: Vec<u8> =
            (0..4_000u32).flat_map(|index| index.wrapping_mul(2_654_435_761).to_le_bytes()).collect();
        let mut needles = Needles::new();
        needles.add_windows("vector", &vector, 16);
        for start in [0, 1, 2, 3, 5, 777, 8_191] {
            let mut haystack = vec![0; 100 + start % 7];
            haystack.extend_from_slice(&vector[start..start + 32]);
            assert!(!found(&needles, &haystack).is_empty(), "32 bytes from {start}");
        }
    }

    #[test]
    fn encoded_text_is_found_in_any_alignment() {
        use base64::Engine as _;
        let secret = "CC(C)Cc1ccc(cc1)C(C)C(=O)O";
        let mut needles = Needles::new();
        needles.add_text("canary", secret);
        for lead in ["", "a", "ab", "abc"] {
            let plain = format!("{lead}{secret}, and more");
            for engine in
                [&base64::engine::general_purpose::STANDARD, &base64::engine::general_purpose::URL_SAFE]
            {
                assert!(
                    !found(&needles, engine.encode(&plain).as_bytes()).is_empty(),
                    "base64 after {lead:?}"
                );
            }
            assert!(!found(&needles, hex::encode(&plain).as_bytes()).is_empty(), "hex after {lead:?}");
        }
        assert!(found(&needles, b"nothing of the kind in this text, which is long").is_empty());
    }

    #[test]
    fn many_places_of_one_needle_hide_no_other() {
        let folder = tempfile::tempdir().unwrap();
        fs::write(folder.path().join("file"), "CANARY-00001 ".repeat(50) + "CC(=O)Oc1ccccc1").unwrap();
        let mut needles = Needles::new();
        needles.add("id", b"CANARY-00001").add("structure", b"CC(=O)Oc1ccccc1");
        let found = needles.search_folder(folder.path()).unwrap().found;
        assert_eq!(found.iter().filter(|found| found.needle == "id").count(), 3);
        assert_eq!(found.iter().filter(|found| found.needle == "structure").count(), 1);
    }

    #[test]
    fn zeros_and_short_strings_are_no_needles() {
        let mut needles = Needles::new();
        needles.add("short", b"abc").add_windows("zeros", &[0; 4_096], 16);
        assert!(needles.is_empty());
    }
}
