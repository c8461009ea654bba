//! What this site's updates have cost of its privacy budget, over all jobs, for good.
//!
//! One line a masked update with noise, durable before the update exists: `<context digest> <job> <round> <cost>`, the cost in
//! billionths of rho. The file lies beside the journals and outside the state folder: an old copy of the state does not
//! bring back what was spent. A context counts once, whether or not its round was opened, because this site cannot know
//! what was opened of an update that left it.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use konclave_crypto::privacy::PrivacyCost;
use konclave_crypto::{Digest, JobId, RoundNumber};

use super::disk::{Disk, DiskError};
use super::journal::whole_lines;

/// Why the account cannot be used. The site masks nothing with noise until it can be.
#[derive(Debug, thiserror::Error)]
pub enum SpendingError {
    /// The file cannot be read or written.
    #[error(transparent)]
    Disk(#[from] DiskError),
    /// The file is gone, and with it what was spent.
    #[error(
        "{path}, the account of the privacy budget, is not there, though this site has taken part in jobs: restore it from \
         a copy; if there was never any noise in this site's rounds, make it as an empty file"
    )]
    Missing {
        /// The file.
        path: PathBuf,
    },
    /// A line that this program did not write.
    #[error(
        "line {line} of {path}, the account of the privacy budget, is not one of its lines: a hand or the disk changed it"
    )]
    Malformed {
        /// The file.
        path: PathBuf,
        /// The line, from 1.
        line: usize,
    },
}

/// An update to be charged for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Charge {
    /// The digest of the round's context.
    pub context: Digest,
    /// The job.
    pub job: JobId,
    /// The round.
    pub round: RoundNumber,
    /// What it costs.
    pub cost: PrivacyCost,
}

/// What a job and all jobs come to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Spent {
    /// By the job.
    pub by_job: PrivacyCost,
    /// By all jobs.
    pub by_all: PrivacyCost,
}

/// The account.
#[derive(Debug)]
pub struct Spending {
    disk: Disk,
    path: PathBuf,
    charges: BTreeMap<Digest, Charge>,
}

impl Spending {
    /// Reads the account; begins it if the site is `new`. A last line without its end is a power cut's and is removed: its
    /// update was never made.
    ///
    /// # Errors
    /// [`SpendingError`].
    pub fn open(disk: Disk, path: &Path, new: bool) -> Result<Self, SpendingError> {
        if disk.read(path)?.is_none() {
            if !new {
                return Err(SpendingError::Missing { path: path.to_path_buf() });
            }
            disk.write(path, &[])?;
        }
        Self::repair(disk, path)
    }

    fn repair(disk: Disk, path: &Path) -> Result<Self, SpendingError> {
        let content = disk.read(path)?.ok_or_else(|| SpendingError::Missing { path: path.to_path_buf() })?;
        let whole = whole_lines(&content);
        if whole.len() < content.len() {
            disk.truncate(path, whole.len() as u64)?;
        }
        let charges = read(path, whole)?;
        Ok(Self { disk, path: path.to_path_buf(), charges })
    }

    /// Reads an account that another process may be writing: nothing is repaired.
    ///
    /// # Errors
    /// [`SpendingError`].
    pub fn peek(path: &Path) -> Result<Self, SpendingError> {
        let disk = Disk::default();
        let content = disk.read(path)?.unwrap_or_default();
        let charges = read(path, whole_lines(&content))?;
        Ok(Self { disk, path: path.to_path_buf(), charges })
    }

    /// What all jobs have cost.
    #[must_use]
    pub fn total(&self) -> PrivacyCost {
        self.charges.values().map(|charge| charge.cost).sum()
    }

    /// What one job has cost.
    #[must_use]
    pub fn of(&self, job: &JobId) -> PrivacyCost {
        self.charges.values().filter(|charge| charge.job == *job).map(|charge| charge.cost).sum()
    }

    /// What it comes to with one more charge. A context that was charged for costs nothing more.
    #[must_use]
    pub fn with(&self, charge: &Charge) -> Spent {
        let more = if self.charges.contains_key(&charge.context) { PrivacyCost::NONE } else { charge.cost };
        Spent { by_job: self.of(&charge.job).and(more), by_all: self.total().and(more) }
    }

    /// Charges, once for each context; durable on return.
    ///
    /// # Errors
    /// [`SpendingError::Disk`]; nothing may be masked then.
    pub fn charge(&mut self, charge: Charge) -> Result<(), SpendingError> {
        // An earlier attempt that failed may have left a line, or half of one.
        *self = Self::repair(self.disk.clone(), &self.path)?;
        if !self.charges.contains_key(&charge.context) {
            let Charge { context, job, round, cost } = &charge;
            self.disk.append_line(&self.path, &format!("{context} {job} {round} {}", cost.nano_rho()))?;
            self.charges.insert(charge.context, charge);
        }
        Ok(())
    }
}

fn read(path: &Path, lines: &[u8]) -> Result<BTreeMap<Digest, Charge>, SpendingError> {
    let malformed = |line| SpendingError::Malformed { path: path.to_path_buf(), line };
    let text = std::str::from_utf8(lines).map_err(|_| malformed(1))?;
    let mut charges = BTreeMap::new();
    for (index, line) in text.lines().enumerate() {
        let charge = parse(line).ok_or_else(|| malformed(index + 1))?;
        let before = charges.insert(charge.context, charge.clone());
        if before.is_some_and(|before| before != charge) {
            return Err(malformed(index + 1));
        }
    }
    Ok(charges)
}

fn parse(line: &str) -> Option<Charge> {
    let words: Vec<&str> = line.split(' ').collect();
    let [context, job, round, cost] = words.as_slice() else { return None };
    let cost = PrivacyCost::from_nano_rho(cost.parse().ok()?);
    Some(Charge { context: context.parse().ok()?, job: job.parse().ok()?, round: round.parse().ok()?, cost })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn charge(context: u8, job: &str, nano: u64) -> Charge {
        Charge {
            context: Digest::of(&[context]),
            job: job.parse().unwrap(),
            round: RoundNumber::FIRST,
            cost: PrivacyCost::from_nano_rho(nano),
        }
    }

    #[test]
    fn charges_add_up_over_jobs_and_restarts_and_a_context_counts_once() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("spent");
        let mut spending = Spending::open(Disk::default(), &path, true).unwrap();
        spending.charge(charge(1, "job-1", 10)).unwrap();
        spending.charge(charge(1, "job-1", 10)).unwrap();
        spending.charge(charge(2, "job-2", 5)).unwrap();
        let spending = Spending::open(Disk::default(), &path, false).unwrap();
        let nano = PrivacyCost::from_nano_rho;
        assert_eq!((spending.of(&"job-1".parse().unwrap()), spending.total()), (nano(10), nano(15)));
        assert_eq!(spending.with(&charge(3, "job-1", 7)), Spent { by_job: nano(17), by_all: nano(22) });
        assert_eq!(spending.with(&charge(2, "job-2", 5)), Spent { by_job: nano(5), by_all: nano(15) });
    }

    #[test]
    fn a_power_cut_loses_no_charge_that_was_made() {
        let folder = tempfile::tempdir().unwrap();
        for steps in 0.. {
            let path = folder.path().join(format!("spent-{steps}"));
            Spending::open(Disk::default(), &path, true).unwrap().charge(charge(1, "job-1", 10)).unwrap();
            let mut dying = Spending::open(Disk::losing_power_after(steps), &path, false).unwrap();
            let charged = dying.charge(charge(2, "job-1", 10)).is_ok();
            let mut after = Spending::open(Disk::default(), &path, false).unwrap();
            assert!(after.total() >= PrivacyCost::from_nano_rho(if charged { 20 } else { 10 }));
            // The same update again, after the restart.
            after.charge(charge(2, "job-1", 10)).unwrap();
            assert_eq!(Spending::open(Disk::default(), &path, false).unwrap().total().nano_rho(), 20);
            if charged {
                break;
            }
        }
    }

    #[test]
    fn what_a_failed_charge_left_does_not_damage_the_next() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("spent");
        let mut spending = Spending::open(Disk::default(), &path, true).unwrap();
        spending.charge(charge(1, "job-1", 10)).unwrap();
        let good = std::fs::read_to_string(&path).unwrap();
        // Half a line, as a full disk leaves it.
        std::fs::write(&path, format!("{good}{}", &good[..30])).unwrap();
        spending.charge(charge(2, "job-1", 10)).unwrap();
        assert_eq!(Spending::open(Disk::default(), &path, false).unwrap().total().nano_rho(), 20);
        // A whole line of which the failed attempt knew nothing.
        let third = format!("{} job-1 1 10\n", Digest::of(&[3]));
        let whole = std::fs::read_to_string(&path).unwrap() + &third;
        std::fs::write(&path, &whole).unwrap();
        spending.charge(charge(3, "job-1", 10)).unwrap();
        assert_eq!(std::fs::read_to_string(&path).unwrap(), whole);
        assert_eq!(spending.total().nano_rho(), 30);
    }

    #[test]
    fn an_account_that_is_gone_is_not_begun_anew() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("spent");
        let gone = Spending::open(Disk::default(), &path, false);
        assert!(matches!(gone, Err(SpendingError::Missing { .. })));
        let mut spending = Spending::open(Disk::default(), &path, true).unwrap();
        std::fs::remove_file(&path).unwrap();
        assert!(matches!(spending.charge(charge(1, "job-1", 1)), Err(SpendingError::Missing { .. })));
    }

    #[test]
    fn lines_of_another_hand_are_refused() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("spent");
        Spending::open(Disk::default(), &path, true).unwrap().charge(charge(1, "job-1", 10)).unwrap();
        let good = std::fs::read_to_string(&path).unwrap();
        for bad in [
            good.replace(" 10", " -10"),
            good.replace(" 10", ""),
            good.replace("job-1 ", ""),
            format!("{good}{}", good.replace(" 10", " 11")),
            "\n".to_owned(),
        ] {
            std::fs::write(&path, bad).unwrap();
            let refused = Spending::open(Disk::default(), &path, false);
            assert!(matches!(refused, Err(SpendingError::Malformed { .. })));
            assert!(matches!(Spending::peek(&path), Err(SpendingError::Malformed { .. })));
        }
    }
}
