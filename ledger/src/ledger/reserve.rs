//! Disk space kept back: a file `reserve` of really allocated blocks beside the ledger.
//!
//! A full disk refuses appends ([`AppendError::NotStored`](super::AppendError::NotStored)): nothing of the batch stays,
//! reading goes on, and once there is space again appending works without a restart. What is left to the operator by
//! then is the reserve: [`Ledger::release_reserve`] gives it up, so that the last entries (why the gateway stops, who
//! freed what) can still be written; [`Ledger::spend_reserve`] gives up only as much as a few of them need. It is never
//! given up unasked, since entries of normal work would use it up first. It is taken again by the next open or by
//! [`Ledger::take_reserve`], if there is space for all of it; what is left of it until then stays.
//!
//! A file system that reports the full disk only at fsync (network ones do) leaves unknown what is stored; the ledger
//! is then poisoned as after any failed fsync. One that compresses or copies on write may not keep the space.

use std::fs::{self, File, OpenOptions};
use std::io::{self, ErrorKind, Write};
use std::os::unix::fs::MetadataExt;
use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use super::Ledger;
use super::errors::StorageFailure;

pub(super) const FILE: &str = "reserve";

/// Into how many parts it is given up.
const PARTS: u64 = 16;

/// Whether disk space is kept back.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
pub enum ReserveState {
    /// Not asked for.
    Off,
    /// Allocated.
    Held,
    /// Given up, wholly or in part, or there was no space for it.
    Missing,
}

#[derive(Debug)]
pub(super) struct Reserve {
    path: PathBuf,
    bytes: u64,
    /// What is allocated of it.
    held: u64,
}

impl Reserve {
    /// Allocates the reserve in the ledger's folder. Without space the ledger opens all the same: readers need none.
    pub(super) fn open(path: PathBuf, bytes: u64) -> Option<Self> {
        let mut reserve = Self { path, bytes, held: 0 };
        if bytes == 0 {
            // Kept by an earlier configuration, it would only take space.
            let _ = fs::remove_file(&reserve.path);
            return None;
        }
        let _ = reserve.take();
        Some(reserve)
    }

    /// All of it, or what there was before.
    fn take(&mut self) -> io::Result<()> {
        self.held = 0;
        let file = OpenOptions::new().create(true).truncate(false).write(true).open(&self.path)?;
        let found = file.metadata()?;
        // Blocks have 512 bytes here, whatever the file system's are.
        let before = found.len().min(found.blocks().saturating_mul(512)).min(self.bytes);
        if found.len() != self.bytes || before < self.bytes {
            let allocated = file.set_len(self.bytes).and_then(|()| allocate(&file, self.bytes));
            if let Err(error) = allocated {
                let kept = before > 0 && file.set_len(before).is_ok();
                if kept {
                    self.held = before;
                } else {
                    let _ = fs::remove_file(&self.path);
                }
                return Err(error);
            }
        }
        self.held = self.bytes;
        Ok(())
    }

    /// Gives one part up.
    fn spend(&mut self) -> io::Result<u64> {
        let part = self.bytes.div_ceil(PARTS).min(self.held);
        if part == 0 {
            return Ok(0);
        }
        let left = self.held - part;
        if left == 0 {
            return self.release();
        }
        OpenOptions::new().write(true).open(&self.path)?.set_len(left)?;
        self.held = left;
        Ok(part)
    }

    fn release(&mut self) -> io::Result<u64> {
        match fs::remove_file(&self.path) {
            Err(error) if error.kind() != ErrorKind::NotFound => return Err(error),
            _ => {}
        }
        Ok(std::mem::take(&mut self.held))
    }
}

/// Allocates blocks, or writes zeros where the file system can't.
fn allocate(mut file: &File, bytes: u64) -> io::Result<()> {
    match rustix::fs::fallocate(file, rustix::fs::FallocateFlags::empty(), 0, bytes) {
        Err(rustix::io::Errno::OPNOTSUPP | rustix::io::Errno::NOSYS) => {
            io::copy(&mut io::Read::take(io::repeat(0), bytes), &mut file)?;
            file.flush()
        }
        done => Ok(done?),
    }
}

impl Ledger {
    /// Whether disk space is kept back for the operator's last entries.
    #[must_use]
    pub fn reserve_state(&self) -> ReserveState {
        match &self.reserve {
            None => ReserveState::Off,
            Some(reserve) if reserve.held == reserve.bytes => ReserveState::Held,
            Some(_) => ReserveState::Missing,
        }
    }

    /// Gives the reserve up after a full disk and returns how many bytes that frees.
    ///
    /// # Errors
    /// If the file can't be removed.
    pub fn release_reserve(&mut self) -> Result<u64, StorageFailure> {
        let Some(reserve) = &mut self.reserve else { return Ok(0) };
        reserve.release().map_err(StorageFailure::of("remove", &FILE))
    }

    /// Gives a sixteenth of the reserve up after a full disk, and returns how many bytes that frees: 0 if nothing is
    /// left of it. A batch that needs more asks again.
    ///
    /// # Errors
    /// If the file can't be shortened.
    pub fn spend_reserve(&mut self) -> Result<u64, StorageFailure> {
        let Some(reserve) = &mut self.reserve else { return Ok(0) };
        reserve.spend().map_err(StorageFailure::of("shorten", &FILE))
    }

    /// Allocates the reserve again. Does nothing if it is held, or if none was asked for.
    ///
    /// # Errors
    /// If there is no space for all of it; what there was of it is kept.
    pub fn take_reserve(&mut self) -> Result<(), StorageFailure> {
        let Some(reserve) = &mut self.reserve else { return Ok(()) };
        reserve.take().map_err(StorageFailure::of("allocate", &FILE))
    }
}
