//! Real files under an emulated power supply: what was written, what was synced, and the folders that a power cut can
//! leave of it.
//!
//! Every operation goes to a real folder through [`FileStorage`]. Beside it stands a journal of what a disk would have
//! to keep: contents that were synced, and names in folders that were synced, as far as `FileStorage` really does sync
//! them. The rules are POSIX's, which promise less than usual file systems keep: syncing a file says nothing of its
//! name, syncing a folder nothing of the folder's own name, and each folder's changes reach the disk on their own.

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard};

use konclave_ledger::storage::{FileStorage, Storage};

use super::chance::Chance;

const SECTOR: usize = 512;

/// What a power cut leaves of what was not synced.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Cut {
    /// Nothing.
    Strict,
    /// Whatever the system happened to write of its own accord: in each folder some of the later changes of names, and
    /// of each unsynced content nothing, all, a length without the bytes, or some of its sectors.
    Nasty,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Node {
    File(u64),
    Folder(u64),
}

#[derive(Debug, Clone)]
enum NameChange {
    Add(String, Node),
    Remove(String),
    Rename(String, String),
}

#[derive(Debug, Clone, Default)]
struct Content {
    seen: Vec<u8>,
    durable: Vec<u8>,
    synced: bool,
}

type Names = BTreeMap<String, Node>;

#[derive(Debug, Default)]
struct Disk {
    last_id: u64,
    files: BTreeMap<String, u64>,
    folders: BTreeMap<String, u64>,
    contents: BTreeMap<u64, Content>,
    durable: BTreeMap<u64, Names>,
    pending: BTreeMap<u64, Vec<NameChange>>,
    /// Operations until the power fails.
    left: Option<usize>,
    off: bool,
}

/// Storage in a real folder whose power can fail.
#[derive(Debug)]
pub struct PowerStorage {
    files: FileStorage,
    disk: Arc<Mutex<Disk>>,
    chance: Chance,
}

/// The disk under a [`PowerStorage`], which outlives the process that uses it.
#[derive(Debug, Clone)]
pub struct PoweredDisk {
    root: PathBuf,
    disk: Arc<Mutex<Disk>>,
}

impl PoweredDisk {
    /// A disk on which everything in the folder is durable.
    pub fn new(root: &Path) -> Self {
        let copied = Self::copied(root);
        copied.lock().settle();
        copied
    }

    /// A disk on which nothing in the folder is durable, as after a copy.
    pub fn copied(root: &Path) -> Self {
        let mut disk = Disk::default();
        disk.folders.insert(String::new(), 0);
        disk.durable.insert(0, Names::new());
        let files = FileStorage::new(root).unwrap();
        disk.find_folders(root);
        for path in files.list("").unwrap() {
            let id = disk.fresh();
            let bytes = files.read(&path).unwrap().unwrap();
            disk.contents.insert(id, Content { seen: bytes, ..Content::default() });
            disk.change(&path, |name| NameChange::Add(name, Node::File(id)));
            disk.files.insert(path, id);
        }
        Self { root: root.to_path_buf(), disk: Arc::new(Mutex::new(disk)) }
    }

    /// What a process uses; the power fails after `operations`, or not at all.
    pub fn start(&self, operations: Option<usize>, chance: Chance) -> PowerStorage {
        self.lock().left = operations;
        PowerStorage { files: FileStorage::new(&self.root).unwrap(), disk: Arc::clone(&self.disk), chance }
    }

    /// For when it was the process that stopped, not the machine: the system keeps what was written.
    pub fn restore_power(&self) {
        self.lock().off = false;
    }

    pub fn is_off(&self) -> bool {
        self.lock().off
    }

    /// Writes into an empty folder what the power cut leaves.
    pub fn leave(&self, target: &Path, cut: Cut, chance: &mut Chance) {
        self.lock().leave(0, target, cut, chance);
    }

    fn lock(&self) -> MutexGuard<'_, Disk> {
        self.disk.lock().unwrap()
    }
}

impl Disk {
    const fn fresh(&mut self) -> u64 {
        self.last_id += 1;
        self.last_id
    }

    fn change(&mut self, path: &str, change: impl FnOnce(String) -> NameChange) {
        let (folder, name) = path.rsplit_once('/').unwrap_or(("", path));
        let id = self.folders[folder];
        self.pending.entry(id).or_default().push(change(name.to_owned()));
    }

    /// Takes over which folders came and went.
    fn find_folders(&mut self, root: &Path) {
        let mut found = vec![String::new()];
        let mut at = 0;
        while at < found.len() {
            let folder = found[at].clone();
            let mut below: Vec<String> = fs::read_dir(root.join(&folder))
                .unwrap()
                .map(Result::unwrap)
                .filter(|entry| entry.file_type().unwrap().is_dir())
                .map(|entry| format!("{folder}/{}", entry.file_name().to_string_lossy()))
                .map(|path| path.trim_start_matches('/').to_owned())
                .collect();
            found.append(&mut below);
            at += 1;
        }
        let gone: Vec<String> = self.folders.keys().filter(|known| !found.contains(known)).cloned().collect();
        for folder in gone {
            self.change(&folder, NameChange::Remove);
            self.folders.remove(&folder);
        }
        for folder in found {
            if !self.folders.contains_key(&folder) {
                let id = self.fresh();
                self.change(&folder, |name| NameChange::Add(name, Node::Folder(id)));
                self.durable.insert(id, Names::new());
                self.folders.insert(folder, id);
            }
        }
    }

    fn settle(&mut self) {
        let folders: Vec<u64> = self.pending.keys().copied().collect();
        folders.into_iter().for_each(|id| self.sync_folder(id));
        for content in self.contents.values_mut() {
            content.durable = content.seen.clone();
            content.synced = true;
        }
    }

    fn sync_folder(&mut self, id: u64) {
        let changes = self.pending.remove(&id).unwrap_or_default();
        apply(self.durable.get_mut(&id).unwrap(), &changes);
    }

    fn leave(&self, folder: u64, target: &Path, cut: Cut, chance: &mut Chance) {
        let mut names = self.durable[&folder].clone();
        let pending = self.pending.get(&folder).map_or(&[][..], Vec::as_slice);
        if cut == Cut::Nasty {
            apply(&mut names, &pending[..chance.below(pending.len() + 1)]);
        }
        fs::create_dir_all(target).unwrap();
        for (name, node) in names {
            match node {
                Node::Folder(id) => self.leave(id, &target.join(name), cut, chance),
                Node::File(id) => {
                    let content = &self.contents[&id];
                    let bytes = if content.synced || cut == Cut::Strict {
                        content.durable.clone()
                    } else {
                        content.torn(chance)
                    };
                    fs::write(target.join(name), bytes).unwrap();
                }
            }
        }
    }
}

impl Content {
    fn torn(&self, chance: &mut Chance) -> Vec<u8> {
        match chance.below(5) {
            0 => self.durable.clone(),
            1 => self.seen.clone(),
            2 => Vec::new(),
            3 => vec![0; self.seen.len()],
            _ => {
                let length = [self.durable.len(), self.seen.len()][chance.below(2)];
                let mut torn = vec![0; length];
                for (at, sector) in torn.chunks_mut(SECTOR).enumerate() {
                    let source = [&self.seen, &self.durable][chance.below(2)];
                    let source = source.get(at * SECTOR..).unwrap_or_default();
                    sector.iter_mut().zip(source).for_each(|(to, from)| *to = *from);
                }
                torn
            }
        }
    }
}

fn apply(names: &mut Names, changes: &[NameChange]) {
    for change in changes {
        match change {
            NameChange::Add(name, node) => {
                names.insert(name.clone(), *node);
            }
            NameChange::Remove(name) => {
                names.remove(name);
            }
            NameChange::Rename(from, to) => {
                if let Some(node) = names.remove(from) {
                    names.insert(to.clone(), node);
                }
            }
        }
    }
}

impl PowerStorage {
    fn disk(&self) -> MutexGuard<'_, Disk> {
        self.disk.lock().unwrap()
    }

    /// Whether the power fails during this operation; an error if it has failed before.
    fn fails_now(&self) -> io::Result<bool> {
        let mut disk = self.disk();
        if disk.off {
            return Err(power_is_off());
        }
        let now = disk.left == Some(0);
        disk.left = disk.left.map(|left| left.saturating_sub(1));
        disk.off = now;
        Ok(now)
    }

    fn store(&mut self, path: &str, bytes: &[u8]) -> io::Result<()> {
        self.files.write(path, bytes)?;
        let found = self.files.read(path)?.unwrap();
        let mut disk = self.disk();
        disk.find_folders(self.files.root());
        let id = match disk.files.get(path) {
            Some(id) => *id,
            None => {
                let id = disk.fresh();
                disk.change(path, |name| NameChange::Add(name, Node::File(id)));
                disk.files.insert(path.to_owned(), id);
                id
            }
        };
        let content = disk.contents.entry(id).or_default();
        content.seen = found;
        content.synced = false;
        Ok(())
    }
}

fn power_is_off() -> io::Error {
    io::Error::other("the power is off")
}

impl Storage for PowerStorage {
    fn read(&self, path: &str) -> io::Result<Option<Vec<u8>>> {
        if self.disk().off { Err(power_is_off()) } else { self.files.read(path) }
    }

    fn list(&self, folder: &str) -> io::Result<Vec<String>> {
        if self.disk().off { Err(power_is_off()) } else { self.files.list(folder) }
    }

    fn write(&mut self, path: &str, bytes: &[u8]) -> io::Result<()> {
        if self.fails_now()? {
            let cut = self.chance.below(bytes.len() + 1);
            self.store(path, &bytes[..cut])?;
            return Err(power_is_off());
        }
        self.store(path, bytes)
    }

    fn sync_file(&mut self, path: &str) -> io::Result<()> {
        if self.fails_now()? {
            return Err(power_is_off());
        }
        self.files.sync_file(path)?;
        let mut disk = self.disk();
        let id = disk.files[path];
        let content = disk.contents.get_mut(&id).unwrap();
        content.durable = content.seen.clone();
        content.synced = true;
        Ok(())
    }

    fn sync_names(&mut self) -> io::Result<()> {
        let root = self.files.root().to_path_buf();
        let folders: Vec<String> = self
            .files
            .unsynced_folders()
            .filter_map(|folder| Some(folder.strip_prefix(&root).ok()?.to_str().unwrap().to_owned()))
            .collect();
        // One folder after the other, so the power can fail between them.
        let reached = if self.fails_now()? { self.chance.below(folders.len() + 1) } else { folders.len() };
        if reached == folders.len() {
            self.files.sync_names()?;
        }
        let mut disk = self.disk();
        for folder in &folders[..reached] {
            let id = disk.folders[folder];
            disk.sync_folder(id);
        }
        if disk.off { Err(power_is_off()) } else { Ok(()) }
    }

    fn rename(&mut self, from: &str, to: &str) -> io::Result<()> {
        let fails = self.fails_now()?;
        if fails && self.chance.one_in(2) {
            return Err(power_is_off());
        }
        self.files.rename(from, to)?;
        let mut disk = self.disk();
        disk.find_folders(self.files.root());
        let id = disk.files.remove(from).unwrap();
        disk.files.insert(to.to_owned(), id);
        let name = |path: &str| {
            path.rsplit_once('/').map_or((String::new(), path.to_owned()), |(folder, name)| {
                (folder.to_owned(), name.to_owned())
            })
        };
        if name(from).0 == name(to).0 {
            disk.change(from, |old| NameChange::Rename(old, name(to).1));
        } else {
            // Two folders: a power cut can leave both names, one or none.
            disk.change(to, |name| NameChange::Add(name, Node::File(id)));
            disk.change(from, NameChange::Remove);
        }
        if fails { Err(power_is_off()) } else { Ok(()) }
    }

    fn remove(&mut self, path: &str) -> io::Result<()> {
        let fails = self.fails_now()?;
        self.files.remove(path)?;
        let mut disk = self.disk();
        if disk.files.remove(path).is_some() {
            disk.change(path, NameChange::Remove);
        }
        disk.find_folders(self.files.root());
        if fails { Err(power_is_off()) } else { Ok(()) }
    }
}
