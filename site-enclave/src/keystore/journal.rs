//! What this site has decided in a job, once and for good.
//!
//! One short line a decision, appended and made durable before the decision leaves the site:
//! `masked 3 <digest>`. The journal holds no secret and lies outside the state folder on purpose: restore an old
//! copy of the state folder and the journal still knows what was sent, so that the site refuses to decide again.

use std::collections::BTreeMap;
use std::fmt;
use std::path::{Path, PathBuf};

use konclave_crypto::Digest;

use super::disk::{Disk, DiskError};

/// What can be decided once.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Decision {
    /// Which KEM key stands for this site in the job.
    Advertised,
    /// Which ciphertexts were sent to the roster.
    Encapsulated,
    /// Which masked update was made in a round.
    Masked,
    /// Which set was agreed to in a round.
    Agreed,
    /// For an update of which model shares are given in a round: none is masked for that model again.
    Spent,
    /// Which answer to the unmasking request was given in a round.
    Unmasked,
    /// Which tag was made for the opened sum of a round.
    Tagged,
    /// Which model after a round this site checked: it is the model before, moved by the sum of what was uploaded.
    Verified,
    /// That the opened sum of a round, or the model after it, is wrong.
    Rejected,
    /// That a round is over for this site: its secrets are erased and it takes no further part.
    Closed,
}

impl Decision {
    const ALL: [Self; 10] = [
        Self::Advertised,
        Self::Encapsulated,
        Self::Masked,
        Self::Agreed,
        Self::Spent,
        Self::Unmasked,
        Self::Tagged,
        Self::Verified,
        Self::Rejected,
        Self::Closed,
    ];

    const fn word(self) -> &'static str {
        match self {
            Self::Advertised => "advertised",
            Self::Encapsulated => "encapsulated",
            Self::Masked => "masked",
            Self::Agreed => "agreed",
            Self::Spent => "spent",
            Self::Unmasked => "unmasked",
            Self::Tagged => "tagged",
            Self::Verified => "verified",
            Self::Rejected => "rejected",
            Self::Closed => "closed",
        }
    }
}

impl fmt::Display for Decision {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.word())
    }
}

/// Why a decision cannot be made or looked up.
#[derive(Debug, thiserror::Error)]
pub enum JournalError {
    /// The journal cannot be read or written.
    #[error(transparent)]
    Disk(#[from] DiskError),
    /// A line that this program did not write.
    #[error("line {line} of the journal {path} is not one of its lines: a hand or the disk changed it")]
    Malformed {
        /// The journal.
        path: PathBuf,
        /// The line, from 1.
        line: usize,
    },
    /// The same thing was decided otherwise before.
    #[error(
        "this site already {decision} in round {round} with digest {before}, so it will not do so again with \
         {now}; if the site's folder was restored from a copy, leave this job"
    )]
    AlreadyDecided {
        /// What.
        decision: Decision,
        /// The round; 0 is the key set-up.
        round: u32,
        /// The digest then.
        before: Digest,
        /// The digest now.
        now: Digest,
    },
}

/// The journal of one job.
#[derive(Debug)]
pub struct Journal {
    disk: Disk,
    path: PathBuf,
    decided: BTreeMap<(Decision, u32), Digest>,
}

impl Journal {
    /// Reads a job's journal, or begins it. A last line without its end is a power cut's and is removed.
    ///
    /// # Errors
    /// [`JournalError::Disk`] or [`JournalError::Malformed`].
    pub fn open(disk: Disk, path: &Path) -> Result<Self, JournalError> {
        let content = disk.read(path)?.unwrap_or_default();
        let whole = whole_lines(&content);
        if whole.len() < content.len() {
            disk.truncate(path, whole.len() as u64)?;
        }
        let decided = read(path, whole)?;
        Ok(Self { disk, path: path.to_path_buf(), decided })
    }

    /// Reads a journal that another process may be writing: nothing is repaired.
    ///
    /// # Errors
    /// [`JournalError::Disk`] or [`JournalError::Malformed`].
    pub fn peek(path: &Path) -> Result<Self, JournalError> {
        let disk = Disk::default();
        let content = disk.read(path)?.unwrap_or_default();
        let decided = read(path, whole_lines(&content))?;
        Ok(Self { disk, path: path.to_path_buf(), decided })
    }

    /// What was decided, if it was.
    #[must_use]
    pub fn decided(&self, decision: Decision, round: u32) -> Option<Digest> {
        self.decided.get(&(decision, round)).copied()
    }

    /// The rounds in which a decision was made, with its digest.
    pub fn rounds_of(&self, decision: Decision) -> impl Iterator<Item = (u32, Digest)> {
        let of = move |((kind, round), digest): (&(Decision, u32), &Digest)| {
            (*kind == decision).then_some((*round, *digest))
        };
        self.decided.iter().filter_map(of)
    }

    /// The last round with any decision.
    #[must_use]
    pub fn last_round(&self) -> u32 {
        self.decided.keys().map(|(_, round)| *round).max().unwrap_or(0)
    }

    /// Decides; durable on return. The same decision again is fine.
    ///
    /// # Errors
    /// [`JournalError::AlreadyDecided`] for another digest than before.
    pub fn decide(&mut self, decision: Decision, round: u32, now: Digest) -> Result<(), JournalError> {
        match self.decided(decision, round) {
            Some(before) if before == now => Ok(()),
            Some(before) => Err(JournalError::AlreadyDecided { decision, round, before, now }),
            None => {
                self.disk.append_line(&self.path, &format!("{decision} {round} {now}"))?;
                self.decided.insert((decision, round), now);
                Ok(())
            }
        }
    }
}

/// Everything up to the last line's end.
pub(super) fn whole_lines(content: &[u8]) -> &[u8] {
    let end = content.iter().rposition(|byte| *byte == b'\n').map_or(0, |end| end + 1);
    content.get(..end).unwrap_or_default()
}

fn read(path: &Path, lines: &[u8]) -> Result<BTreeMap<(Decision, u32), Digest>, JournalError> {
    let malformed = |line| JournalError::Malformed { path: path.to_path_buf(), line };
    let text = std::str::from_utf8(lines).map_err(|_| malformed(1))?;
    let mut decided = BTreeMap::new();
    for (index, line) in text.lines().enumerate() {
        let (key, digest) = parse(line).ok_or_else(|| malformed(index + 1))?;
        if decided.insert(key, digest).is_some() {
            return Err(malformed(index + 1));
        }
    }
    Ok(decided)
}

fn parse(line: &str) -> Option<((Decision, u32), Digest)> {
    let mut words = line.split(' ');
    let word = words.next()?;
    let decision = Decision::ALL.into_iter().find(|decision| decision.word() == word)?;
    let round = words.next()?.parse().ok()?;
    let digest = words.next()?.parse().ok()?;
    words.next().is_none().then_some(((decision, round), digest))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn digest(byte: u8) -> Digest {
        Digest::of(&[byte])
    }

    #[test]
    fn a_decision_stands_over_restarts() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("job");
        let mut journal = Journal::open(Disk::default(), &path).unwrap();
        journal.decide(Decision::Agreed, 3, digest(1)).unwrap();
        journal.decide(Decision::Agreed, 3, digest(1)).unwrap();
        let mut journal = Journal::open(Disk::default(), &path).unwrap();
        assert_eq!(journal.decided(Decision::Agreed, 3), Some(digest(1)));
        assert_eq!(journal.last_round(), 3);
        let error = journal.decide(Decision::Agreed, 3, digest(2)).unwrap_err();
        assert!(matches!(error, JournalError::AlreadyDecided { round: 3, .. }), "{error}");
        journal.decide(Decision::Masked, 3, digest(2)).unwrap();
    }

    #[test]
    fn a_torn_line_counts_as_not_decided() {
        let folder = tempfile::tempdir().unwrap();
        for steps in 0.. {
            let path = folder.path().join(format!("job-{steps}"));
            let mut journal = Journal::open(Disk::default(), &path).unwrap();
            journal.decide(Decision::Masked, 1, digest(1)).unwrap();
            let mut dying = Journal::open(Disk::losing_power_after(steps), &path).unwrap();
            let result = dying.decide(Decision::Masked, 2, digest(2));
            let mut after = Journal::open(Disk::default(), &path).unwrap();
            assert_eq!(after.decided(Decision::Masked, 1), Some(digest(1)));
            if result.is_ok() {
                assert_eq!(after.decided(Decision::Masked, 2), Some(digest(2)));
                break;
            }
            after.decide(Decision::Masked, 3, digest(3)).unwrap();
            Journal::open(Disk::default(), &path).unwrap();
        }
    }

    #[test]
    fn lines_of_another_hand_are_refused() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("job");
        let line = format!("masked 1 {}\n", digest(1));
        for bad in
            ["hello\n".to_owned(), format!("{line}{line}"), line.replace("masked", "maskd"), "\n".to_owned()]
        {
            std::fs::write(&path, bad).unwrap();
            assert!(matches!(Journal::open(Disk::default(), &path), Err(JournalError::Malformed { .. })));
        }
    }
}
