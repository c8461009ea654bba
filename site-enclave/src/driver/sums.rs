//! Opened sums as files: checked against tags, and applied to a model.

use std::fs::File;
use std::io::{self, BufReader};
use std::path::{Path, PathBuf};

use konclave_crypto::encoding::{Encoding, MoveError, ServerStep};
use konclave_crypto::messages::TagEvidence;
use konclave_crypto::verification::{AgreedSet, RecomputedTag, SumCheck, Unverified, VerifiedSum, recompute};
use konclave_crypto::{Digest, VerifiedContext};

use super::error::StepError;
use crate::keystore::DiskError;

/// The tags of those sites that sent none, computed from their bodies.
pub(super) fn recomputed(
    context: &VerifiedContext,
    agreed: &AgreedSet,
    evidence: &TagEvidence,
    bodies: &[PathBuf],
) -> Result<Result<Vec<RecomputedTag>, Unverified>, StepError> {
    let mut recomputed = Vec::with_capacity(bodies.len());
    for (upload, body) in evidence.uploads.iter().zip(bodies) {
        let body = BufReader::with_capacity(1 << 16, open_file(body)?);
        match recompute(context, agreed, &evidence.announcement, &upload.site, &upload.opened, body) {
            Ok(tag) => recomputed.push(tag),
            Err(reason) => {
                tracing::error!("what was given to compute the tag of {} is refused: {reason}", upload.site);
                return Ok(Err(Unverified::Tag { site: upload.site.clone() }));
            }
        }
    }
    Ok(Ok(recomputed))
}

/// Checks a stored sum.
pub(super) fn read(check: SumCheck, sum: &Path) -> Result<Result<VerifiedSum, Unverified>, StepError> {
    check.read(open_file(sum)?).map_err(|source| unreadable(sum, source))
}

/// The digest of the parameters that sums lead to; nothing if they lead out of the finite numbers.
pub(super) fn moved(
    encoding: &Encoding,
    before: &Path,
    sums: &[PathBuf],
    weight: u64,
    rate: u32,
) -> Result<Option<Digest>, StepError> {
    let Ok(step) = ServerStep::new(encoding, weight, rate) else { return Ok(None) };
    let mut files = sums.iter().map(|sum| open_file(sum)).collect::<Result<Vec<_>, _>>()?;
    match step.moved(open_file(before)?, &mut files) {
        Ok(moved) => Ok(Some(moved.after)),
        Err(MoveError::Apply(_)) => Ok(None),
        Err(MoveError::Read(source)) => Err(unreadable(before, source)),
    }
}

/// Opens a file of the cache.
pub(super) fn open_file(path: &Path) -> Result<File, StepError> {
    File::open(path).map_err(|source| unreadable(path, source))
}

fn unreadable(path: &Path, source: io::Error) -> StepError {
    DiskError { doing: "read", path: path.to_path_buf(), source }.into()
}

/// Removes what is not needed again; a file that stays is removed with the cache.
pub(super) fn forget(path: &Path) {
    if let Err(error) = std::fs::remove_file(path) {
        tracing::debug!("{} stays: {error}", path.display());
    }
}
