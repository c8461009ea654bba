//! The zip archive: its records, and the archive that libtorch gets instead.
//!
//! Two readers of one zip file can see two sets of records: by overlapping ranges, names that differ in case only, or
//! a second directory. The archive is therefore read once, here, and written anew.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::io::{Cursor, Read, Write};

use zip::write::SimpleFileOptions;
use zip::{CompressionMethod, ZipArchive, ZipWriter};

use super::{ArchiveError, MAX_TEXT_BYTES};
use crate::trainer::model::ModelError;

/// Most records of an archive.
const MAX_RECORDS: usize = 20_000;

/// Longest path of a record.
const MAX_PATH_BYTES: usize = 512;

/// Format versions of files that `torch.jit.save` writes. Older ones are read by other code in libtorch.
const VERSIONS: std::ops::RangeInclusive<u32> = 3..=10;

/// The name of the rewritten archive's top folder.
const TOP: &str = "model";

/// The records that matter, by their path without the archive's own name.
pub(super) struct Records<'a>(BTreeMap<String, Cow<'a, [u8]>>);

impl<'a> Records<'a> {
    /// Reads the directory and all records. Every record lies inside the file and shares no byte with another. Code may be
    /// compressed, as `torch.jit.save` does it, up to 4 MiB in all; what else libtorch needs is stored as it is, so that
    /// the sizes add up to no more than the file's.
    pub(super) fn read(file: &'a [u8]) -> Result<Self, ModelError> {
        let mut archive = ZipArchive::new(Cursor::new(file)).map_err(|_| ModelError::NotTorchScript)?;
        if archive.len() > MAX_RECORDS {
            return Err(refused("", "there are more than 20000 records"));
        }
        let (mut records, mut top, mut ranges) = (BTreeMap::new(), None, Vec::new());
        let mut code_left = MAX_TEXT_BYTES as u64;
        for index in 0..archive.len() {
            let record = archive.by_index_raw(index).map_err(|_| ModelError::NotTorchScript)?;
            let whole = std::str::from_utf8(record.name_raw()).map_err(|_| ModelError::NotTorchScript)?;
            let (folder, path) = whole.split_once('/').ok_or(ModelError::NotTorchScript)?;
            let path = checked_path(path)?;
            if *top.get_or_insert_with(|| folder.to_owned()) != folder {
                return Err(refused(&path, "it lies outside the archive's only folder"));
            }
            let stored = record.compression() == CompressionMethod::Stored;
            if record.encrypted() || !(stored || record.compression() == CompressionMethod::Deflated) {
                return Err(refused(&path, "it is encrypted or compressed in an unusual way"));
            }
            if !stored && is_needed(&path) && !is_code(&path) {
                return Err(refused(&path, "it is compressed: only code may be"));
            }
            let bytes = record
                .data_start()
                .and_then(|start| Some((start, start.checked_add(record.compressed_size())?)))
                .and_then(|(start, end)| Some(usize::try_from(start).ok()?..usize::try_from(end).ok()?))
                .filter(|_| !stored || record.size() == record.compressed_size())
                .and_then(|range| Some((file.get(range.clone())?, range)));
            let Some((bytes, range)) = bytes else {
                return Err(refused(&path, "it does not lie within the file"));
            };
            drop(record);
            if !range.is_empty() {
                ranges.push((range.start, range.end, path.clone()));
            }
            if !is_needed(&path) {
                continue;
            }
            let mut record = archive.by_index(index).map_err(|_| ModelError::NotTorchScript)?;
            // The reader checks the sum at the end: a damaged model is not trained on.
            let checksum = |_| refused(&path, "its checksum is wrong");
            let bytes = if stored {
                std::io::copy(&mut record, &mut std::io::sink()).map_err(checksum)?;
                Cow::Borrowed(bytes)
            } else {
                let mut text = Vec::new();
                (&mut record).take(code_left + 1).read_to_end(&mut text).map_err(checksum)?;
                code_left = code_left
                    .checked_sub(text.len() as u64)
                    .ok_or_else(|| refused("code", "the code is larger than 4 MiB"))?;
                Cow::Owned(text)
            };
            if records.insert(path.to_ascii_lowercase(), (path.clone(), bytes)).is_some() {
                return Err(refused(
                    &path,
                    "there are two of this name (upper and lower case are the same here)",
                ));
            }
        }
        ranges.sort();
        for pair in ranges.windows(2) {
            if let [(_, end, _), (start, _, path)] = pair
                && start < end
            {
                return Err(refused(path, "it overlaps another record"));
            }
        }
        let records = Self(records.into_values().collect());
        records.check_headers()?;
        Ok(records)
    }

    /// Checks version and byte order, and that this is an archive of code at all.
    fn check_headers(&self) -> Result<(), ModelError> {
        if self.code().next().is_none() {
            return Err(ModelError::NotTorchScript);
        }
        let text: usize = self.code().map(|(_, code)| code.len()).sum();
        if text > MAX_TEXT_BYTES {
            return Err(refused("code", "the code is larger than 4 MiB"));
        }
        for pickle in ["data.pkl", "constants.pkl"] {
            if self.required(pickle)?.len() > MAX_TEXT_BYTES {
                return Err(refused(pickle, "it is larger than 4 MiB"));
            }
        }
        let version = match (self.get("version"), self.get(".data/version")) {
            (Some(version), None) | (None, Some(version)) => std::str::from_utf8(version).ok(),
            (Some(_), Some(_)) | (None, None) => None,
        };
        if !version.and_then(|text| text.trim().parse().ok()).is_some_and(|number| VERSIONS.contains(&number))
        {
            return Err(refused("version", "it is missing, twice there, or not from 3 to 10"));
        }
        match self.get("byteorder") {
            None | Some(b"little") => Ok(()),
            Some(_) => Err(refused("byteorder", "it is not little")),
        }
    }

    /// A record that every TorchScript file has.
    pub(super) fn required(&self, path: &str) -> Result<&[u8], ModelError> {
        self.get(path).ok_or_else(|| refused(path, "it is missing"))
    }

    fn get(&self, path: &str) -> Option<&[u8]> {
        self.0.get(path).map(AsRef::as_ref)
    }

    /// The code files.
    pub(super) fn code(&self) -> impl Iterator<Item = (&str, &[u8])> {
        self.0.iter().filter(|(path, _)| is_code(path)).map(|(path, code)| (path.as_str(), code.as_ref()))
    }

    /// The records of tensors in a folder, by the rest of their path.
    pub(super) fn folder(&self, folder: &str) -> BTreeMap<&str, &[u8]> {
        self.0.iter().filter_map(|(path, bytes)| Some((path.strip_prefix(folder)?, bytes.as_ref()))).collect()
    }

    /// The archive for libtorch: these records and nothing else.
    pub(super) fn rewritten(&self) -> Result<Vec<u8>, ModelError> {
        let total: usize = self.0.values().map(|bytes| bytes.len() + 4 * MAX_PATH_BYTES).sum();
        let mut writer = ZipWriter::new(Cursor::new(Vec::with_capacity(total)));
        let options = SimpleFileOptions::default().compression_method(CompressionMethod::Stored);
        let written = self.0.iter().try_for_each(|(path, bytes)| {
            writer.start_file(format!("{TOP}/{path}"), options)?;
            Ok(writer.write_all(bytes)?)
        });
        written
            .and_then(|()| writer.finish())
            .map(Cursor::into_inner)
            .map_err(|_: zip::result::ZipError| refused("", "the archive cannot be written anew"))
    }
}

/// Whether libtorch needs the record. It does not need records for debuggers, and `extra` files belong to the program
/// that wrote them.
fn is_needed(path: &str) -> bool {
    let tensor = path.starts_with("data/") || path.starts_with("constants/");
    is_code(path)
        || tensor
        || matches!(path, "data.pkl" | "constants.pkl" | "version" | ".data/version" | "byteorder")
}

fn is_code(path: &str) -> bool {
    path.starts_with("code/") && path.ends_with(".py")
}

fn checked_path(path: &str) -> Result<String, ModelError> {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'/' | b'_' | b'.' | b'-');
    if path.len() <= MAX_PATH_BYTES && path.bytes().all(plain) {
        Ok(path.to_owned())
    } else {
        Err(refused("", "a record's name is too long or has unusual characters"))
    }
}

fn refused(record: &str, rule: &'static str) -> ModelError {
    ArchiveError::Record { record: record.to_owned(), rule }.into()
}
