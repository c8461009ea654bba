//! A storage in memory that keeps what programs see apart from what a power cut leaves, and fails on command.

use std::collections::BTreeMap;
use std::io;
use std::sync::{Arc, Mutex, MutexGuard};

use konclave_ledger::storage::Storage;

/// What goes wrong at the chosen operation.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    /// An error is returned and nothing happened.
    NotDone,
    /// An error is returned, but the operation took effect, durably.
    DoneAnyway,
    /// A write stores only the first half and returns an error; other operations fail as in `NotDone`.
    ShortWithError,
    /// A write stores only the first half and claims success; other operations work.
    ShortAndSilent,
    /// The operation works, and then the machine stops: every later one fails.
    CrashAfter,
    /// The machine stops before the operation.
    CrashBefore,
}

#[derive(Debug, Clone, Default)]
struct Files {
    /// What reads see.
    seen: BTreeMap<String, Vec<u8>>,
    /// What a power cut leaves: names made durable, with the contents made durable.
    durable: BTreeMap<String, Vec<u8>>,
    /// Contents made durable, by name as seen; they count once the name is durable.
    synced: BTreeMap<String, Vec<u8>>,
    operations: Vec<String>,
    fault: Option<(usize, Fault)>,
    crashed: bool,
}

/// What is left after the process or the machine stops.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Loss {
    /// The process was killed: the operating system keeps every write.
    Nothing,
    /// A power cut: only what was synced stays.
    Unsynced,
    /// A power cut after the system wrote the top folder of its own accord, which it may do at any time, before the
    /// folders below: a renamed head can outrun the tiles it stands for.
    UnsyncedBelowTop,
}

/// Cheap to clone: clones share the files.
#[derive(Debug, Clone, Default)]
pub struct FaultyStorage(Arc<Mutex<Files>>);

impl FaultyStorage {
    fn files(&self) -> MutexGuard<'_, Files> {
        self.0.lock().unwrap()
    }

    /// Operations so far that change something.
    pub fn operations(&self) -> Vec<String> {
        self.files().operations.clone()
    }

    /// Makes the operation with this number (counted from the first one ever) fail.
    pub fn fail_at(&self, operation: usize, fault: Fault) {
        self.files().fault = Some((operation, fault));
    }

    /// The storage that a new process finds.
    pub fn after(&self, loss: Loss) -> Self {
        let files = self.files();
        let mut left = if loss == Loss::Nothing { files.seen.clone() } else { files.durable.clone() };
        if loss == Loss::UnsyncedBelowTop {
            left.retain(|path, _| path.contains('/'));
            let top = files.seen.keys().filter(|path| !path.contains('/'));
            left.extend(top.map(|path| (path.clone(), files.synced.get(path).cloned().unwrap_or_default())));
        }
        let fresh = Files { seen: left.clone(), durable: left.clone(), synced: left, ..Files::default() };
        Self(Arc::new(Mutex::new(fresh)))
    }

    /// The operation that the fault hit, if it was reached.
    pub fn failed(&self) -> Option<String> {
        let files = self.files();
        files.fault.and_then(|(at, _)| files.operations.get(at).cloned())
    }

    /// All files as programs see them.
    pub fn contents(&self) -> BTreeMap<String, Vec<u8>> {
        self.files().seen.clone()
    }

    pub fn paths(&self) -> Vec<String> {
        self.files().seen.keys().cloned().collect()
    }

    pub fn replace(&self, path: &str, bytes: Option<Vec<u8>>) {
        let mut files = self.files();
        match bytes {
            Some(bytes) => files.seen.insert(path.into(), bytes),
            None => files.seen.remove(path),
        };
    }

    fn operate(
        &self,
        name: String,
        half: impl FnOnce(&mut Files),
        whole: impl FnOnce(&mut Files),
    ) -> io::Result<()> {
        let mut files = self.files();
        if files.crashed {
            return Err(io::Error::other("the machine has stopped"));
        }
        let number = files.operations.len();
        files.operations.push(name);
        let fault = files.fault.filter(|(at, _)| *at == number).map(|(_, fault)| fault);
        match fault {
            None => whole(&mut files),
            Some(Fault::NotDone) => return Err(io::Error::other("injected: not done")),
            Some(Fault::DoneAnyway) => {
                whole(&mut files);
                files.synced = files.seen.clone();
                files.durable = files.seen.clone();
                return Err(io::Error::other("injected: done anyway"));
            }
            Some(Fault::ShortWithError) => {
                half(&mut files);
                return Err(io::Error::other("injected: short"));
            }
            Some(Fault::ShortAndSilent) => {
                let before = files.seen.clone();
                half(&mut files);
                if files.seen == before {
                    whole(&mut files);
                }
            }
            Some(Fault::CrashAfter) => {
                whole(&mut files);
                files.crashed = true;
            }
            Some(Fault::CrashBefore) => {
                files.crashed = true;
                return Err(io::Error::other("the machine has stopped"));
            }
        }
        Ok(())
    }
}

impl Storage for FaultyStorage {
    fn read(&self, path: &str) -> io::Result<Option<Vec<u8>>> {
        let files = self.files();
        if files.crashed {
            return Err(io::Error::other("the machine has stopped"));
        }
        Ok(files.seen.get(path).cloned())
    }

    fn list(&self, folder: &str) -> io::Result<Vec<String>> {
        let prefix = format!("{folder}/");
        Ok(self
            .files()
            .seen
            .keys()
            .filter(|path| folder.is_empty() || path.starts_with(&prefix))
            .cloned()
            .collect())
    }

    fn write(&mut self, path: &str, bytes: &[u8]) -> io::Result<()> {
        let store = |bytes: &[u8]| {
            let (path, bytes) = (path.to_owned(), bytes.to_vec());
            move |files: &mut Files| {
                files.synced.remove(&path);
                files.seen.insert(path, bytes);
            }
        };
        self.operate(format!("write {path}"), store(&bytes[..bytes.len() / 2]), store(bytes))
    }

    fn sync_file(&mut self, path: &str) -> io::Result<()> {
        let sync = |files: &mut Files| {
            if let Some(bytes) = files.seen.get(path).cloned() {
                if let Some(durable) = files.durable.get_mut(path) {
                    durable.clone_from(&bytes);
                }
                files.synced.insert(path.to_owned(), bytes);
            }
        };
        self.operate(format!("sync {path}"), |_| {}, sync)
    }

    fn sync_names(&mut self) -> io::Result<()> {
        let sync = |files: &mut Files| {
            // A name that is durable while its content is not leaves an empty file.
            let content = |path: &String| files.synced.get(path).cloned().unwrap_or_default();
            files.durable = files.seen.keys().map(|path| (path.clone(), content(path))).collect();
        };
        self.operate("sync names".to_owned(), |_| {}, sync)
    }

    fn rename(&mut self, from: &str, to: &str) -> io::Result<()> {
        let rename = |files: &mut Files| {
            if let Some(bytes) = files.seen.remove(from) {
                files.seen.insert(to.to_owned(), bytes);
                let synced = files.synced.remove(from);
                files.synced.remove(to);
                files.synced.extend(synced.map(|bytes| (to.to_owned(), bytes)));
            }
        };
        self.operate(format!("rename {from} {to}"), |_| {}, rename)
    }

    fn remove(&mut self, path: &str) -> io::Result<()> {
        let remove = |files: &mut Files| {
            files.seen.remove(path);
            files.synced.remove(path);
        };
        self.operate(format!("remove {path}"), |_| {}, remove)
    }
}
