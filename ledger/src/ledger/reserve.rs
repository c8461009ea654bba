//! Disk space kept back: a file `reserve` of really allocated blocks beside the ledger.
//!
//! A full disk refuses appends ([`AppendError::NotStored`](super::AppendError::NotStored)): nothing of the batch stays,
//! reading goes on, and once there is space again appending works without a restart. What is left to the operator by
//! then is the reserve: [`Ledger::release_reserve`] gives it up, so that the last entries (why the gateway stops, who
//! freed what) can still be written. It is never given up unasked, since entries of normal work would use it up first.
//! It is taken again by the next open or by [`Ledger::take_reserve`], if there is space for it.
//!
//! A file system that reports the full disk only at fsync (network ones do) leaves unknown what is stored; the ledger
//! is then poisoned as after any failed fsync. One that compresses or copies on write may not keep the space.

use std::fs::{self, File, OpenOptions};
use std::io::{self, ErrorKind, Write};
use std::os::unix::fs::MetadataExt;
use std::path::PathBuf;

use serde::Serialize;

use super::Ledger;
use super::errors::StorageFailure;

pub(super) const FILE: &str = "reserve";

/// Whether disk space is kept back.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
pub enum ReserveState {
    /// Not asked for.
    Off,
    /// Allocated.
    Held,
    /// Given up, or there was no space for it.
    Missing,
}

#[derive(Debug)]
pub(super) struct Reserve {
    path: PathBuf,
    bytes: u64,
    held: bool,
}

impl Reserve {
    /// Allocates the reserve in the ledger's folder. Without space the ledger opens all the same: readers need none.
    pub(super) fn open(path: PathBuf, bytes: u64) -> Option<Self> {
        let mut reserve = Self { path, bytes, held: false };
        if bytes == 0 {
            // Kept by an earlier configuration, it would only take space.
            let _ = fs::remove_file(&reserve.path);
            return None;
        }
        let _ = reserve.take();
        Some(reserve)
    }

    fn take(&mut self) -> io::Result<()> {
        self.held = false;
        let file = OpenOptions::new().create(true).truncate(false).write(true).open(&self.path)?;
        let found = file.metadata()?;
        // Blocks have 512 bytes here, whatever the file system's are.
        if found.len() != self.bytes || found.blocks().saturating_mul(512) < self.bytes {
            let allocated = file.set_len(self.bytes).and_then(|()| allocate(&file, self.bytes));
            if let Err(error) = allocated {
                let _ = fs::remove_file(&self.path);
                return Err(error);
            }
        }
        self.held = true;
        Ok(())
    }

    fn release(&mut self) -> io::Result<u64> {
        match fs::remove_file(&self.path) {
            Err(error) if error.kind() != ErrorKind::NotFound => return Err(error),
            _ => {}
        }
        let freed = if self.held { self.bytes } else { 0 };
        self.held = false;
        Ok(freed)
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
            Some(reserve) if reserve.held => ReserveState::Held,
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

    /// Allocates the reserve again. Does nothing if it is held, or if none was asked for.
    ///
    /// # Errors
    /// If there is no space for it.
    pub fn take_reserve(&mut self) -> Result<(), StorageFailure> {
        let Some(reserve) = &mut self.reserve else { return Ok(()) };
        reserve.take().map_err(StorageFailure::of("allocate", &FILE))
    }
}
