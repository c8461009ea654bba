//! One running process: its log, its end by kill -9, and a wait with a time limit.

use std::fs::{self, File, OpenOptions};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::thread::sleep;
use std::time::{Duration, Instant};

use super::programs::last_lines;
use crate::error::HarnessError;

/// How often a condition is looked at.
const POLL: Duration = Duration::from_millis(20);

/// Ends the process when this program ends in whatever way: the kernel sends the signal, so a panic, Ctrl-C or
/// kill -9 of this program leaves nothing running. The tool replaces itself by the program, whose id stays.
const DIES_WITH_PARENT: [&str; 4] = ["setpriv", "--pdeathsig", "KILL", "--"];

/// A process that is killed when this value is dropped.
#[derive(Debug)]
pub struct Process {
    name: String,
    child: Child,
    log: PathBuf,
    /// Where this process's part of the log begins: a restarted one writes on in the same file.
    begins: u64,
}

impl Process {
    /// Starts a program; both its output streams are appended to `log`.
    ///
    /// # Errors
    /// If the log cannot be opened or the program not be started.
    pub fn start(name: &str, program: &Path, arguments: &[String], log: &Path) -> Result<Self, HarnessError> {
        let file = open_log(log)?;
        let begins = fs::metadata(log).map_err(HarnessError::file("read", log))?.len();
        let errors = file.try_clone().map_err(HarnessError::file("open", log))?;
        let [tool, rest @ ..] = DIES_WITH_PARENT;
        let mut command = Command::new(tool);
        command.args(rest).arg(program).args(arguments);
        command.stdin(Stdio::null()).stdout(file).stderr(errors);
        let child = command
            .spawn()
            .map_err(|source| HarnessError::Start { program: program.to_path_buf(), source })?;
        Ok(Self { name: name.to_owned(), child, log: log.to_path_buf(), begins })
    }

    /// Its id.
    #[must_use]
    pub fn id(&self) -> u32 {
        self.child.id()
    }

    /// How it ended, if it has.
    ///
    /// # Errors
    /// The operating system's.
    pub fn ended(&mut self) -> Result<Option<ExitStatus>, HarnessError> {
        self.child.try_wait().map_err(HarnessError::file("watch", &self.name))
    }

    /// What it has printed so far.
    #[must_use]
    pub fn printed(&self) -> String {
        let all = fs::read(&self.log).unwrap_or_default();
        let from = usize::try_from(self.begins).unwrap_or_default();
        String::from_utf8_lossy(all.get(from..).unwrap_or_default()).into_owned()
    }

    /// Waits for a line that begins with `prefix` and gives the rest of that line.
    ///
    /// # Errors
    /// If the process ends or the time is over before; both show the end of the log.
    pub fn wait_for_line(&mut self, prefix: &str, limit: Duration) -> Result<String, HarnessError> {
        let started = Instant::now();
        loop {
            let printed = self.printed();
            // Only whole lines: the last one may still be being written.
            let whole = printed.rfind('\n').and_then(|end| printed.get(..end)).unwrap_or_default();
            if let Some(rest) = whole.lines().find_map(|line| line.strip_prefix(prefix)) {
                return Ok(rest.trim().to_owned());
            }
            self.expect_running()?;
            if started.elapsed() > limit {
                let what = format!("the line \"{prefix}..\" from {}", self.name);
                return Err(HarnessError::TimedOut { what, waited: limit, seen: last_lines(&printed, 25) });
            }
            sleep(POLL);
        }
    }

    /// Checks that it still runs.
    ///
    /// # Errors
    /// [`HarnessError::EndedEarly`] with the end of its log.
    pub fn expect_running(&mut self) -> Result<(), HarnessError> {
        let Some(status) = self.ended()? else { return Ok(()) };
        Err(HarnessError::EndedEarly {
            process: self.name.clone(),
            status: status.to_string(),
            log: self.log.clone(),
            tail: last_lines(&self.printed(), 25),
        })
    }

    /// kill -9: no handler runs, nothing is flushed. Returns once the process is gone.
    pub fn kill(mut self) {
        self.end();
    }

    fn end(&mut self) {
        // Both fail only if it has ended already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        self.end();
    }
}

fn open_log(log: &Path) -> Result<File, HarnessError> {
    if let Some(folder) = log.parent() {
        fs::create_dir_all(folder).map_err(HarnessError::file("create", folder))?;
    }
    OpenOptions::new().create(true).append(true).open(log).map_err(HarnessError::file("open", log))
}

/// Looks until a condition gives a value.
///
/// # Errors
/// The condition's own, or [`HarnessError::TimedOut`] with what `seen` says.
pub fn wait_until<T>(
    what: &str,
    limit: Duration,
    mut look: impl FnMut() -> Result<Option<T>, HarnessError>,
    seen: impl FnOnce() -> String,
) -> Result<T, HarnessError> {
    let started = Instant::now();
    loop {
        if let Some(value) = look()? {
            return Ok(value);
        }
        if started.elapsed() > limit {
            return Err(HarnessError::TimedOut { what: what.to_owned(), waited: limit, seen: seen() });
        }
        sleep(POLL);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shell(script: &str) -> (Process, tempfile::TempDir) {
        let folder = tempfile::tempdir().unwrap();
        let arguments = ["-c".to_owned(), script.to_owned()];
        let log = folder.path().join("logs/sh.log");
        (Process::start("sh", Path::new("/bin/sh"), &arguments, &log).unwrap(), folder)
    }

    #[test]
    fn a_line_is_waited_for_and_read() {
        let (mut process, _folder) = shell("echo noise; echo 'listening on https://x:1'; sleep 60");
        assert_eq!(process.wait_for_line("listening on ", Duration::from_secs(10)).unwrap(), "https://x:1");
    }

    #[test]
    fn an_early_end_is_told_with_the_log() {
        let (mut process, _folder) = shell("echo 'error: no such folder' >&2; exit 3");
        let error = process.wait_for_line("listening on ", Duration::from_secs(10)).unwrap_err();
        assert!(error.to_string().contains("no such folder"), "{error}");
    }

    #[test]
    fn what_is_dropped_is_dead() {
        let (mut process, folder) = shell("echo pid $$; sleep 60");
        let pid = process.wait_for_line("pid ", Duration::from_secs(10)).unwrap();
        drop(process);
        assert!(!Path::new("/proc").join(pid).exists());
        drop(folder);
    }
}
