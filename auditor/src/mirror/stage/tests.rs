//! The machine stops after every operation, and takes from the disk what was not made durable.

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::rc::Rc;

use super::*;

/// What a power cut takes of the names that were not made durable.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Cut {
    /// None: the process was killed, the system keeps all it was given.
    Killed,
    /// All of them.
    Everything,
    /// Those in folders below the copy: the system had written the copy's own folder of its own accord.
    Below,
}

/// A name that is not durable yet, and what stood in its place.
#[derive(Debug)]
enum Change {
    Made(PathBuf),
    Renamed { from: PathBuf, to: PathBuf, before: Option<Vec<u8>> },
    Removed { path: PathBuf, before: Vec<u8> },
}

impl Change {
    fn folder(&self) -> &Path {
        let (Self::Made(path) | Self::Renamed { to: path, .. } | Self::Removed { path, .. }) = self;
        folder_of(path)
    }

    fn undo(self) {
        match self {
            Self::Made(path) => drop(fs::remove_dir_all(path)),
            Self::Renamed { from, to, before } => {
                // Its old folder may be gone; then the file is.
                let _ = fs::rename(&to, from);
                match before {
                    Some(bytes) => fs::write(to, bytes).unwrap(),
                    None => drop(fs::remove_file(to)),
                }
            }
            Self::Removed { path, before } => fs::write(path, before).unwrap(),
        }
    }
}

#[derive(Debug, Default)]
struct Log {
    /// Operations until the machine stops.
    left: Cell<usize>,
    changes: RefCell<Vec<Change>>,
}

/// A disk whose machine stops after some operations.
#[derive(Debug)]
struct StoppingDisk(Rc<Log>);

impl StoppingDisk {
    fn step(&self) -> io::Result<()> {
        let left = self.0.left.get().checked_sub(1).ok_or_else(|| io::Error::other("the machine stops"))?;
        self.0.left.set(left);
        Ok(())
    }

    fn note(&self, change: Change) {
        self.0.changes.borrow_mut().push(change);
    }
}

impl Disk for StoppingDisk {
    fn make_folder(&self, path: &Path) -> io::Result<()> {
        self.step()?;
        self.note(Change::Made(path.to_owned()));
        SystemDisk.make_folder(path)
    }
    fn write(&self, path: &Path, bytes: &[u8]) -> io::Result<()> {
        self.step()?;
        SystemDisk.write(path, bytes)
    }
    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        self.step()?;
        let before = fs::read(to).ok();
        self.note(Change::Renamed { from: from.to_owned(), to: to.to_owned(), before });
        SystemDisk.rename(from, to)
    }
    fn sync_folder(&self, path: &Path) -> io::Result<()> {
        self.step()?;
        self.0.changes.borrow_mut().retain(|change| change.folder() != path);
        Ok(())
    }
    fn remove(&self, path: &Path) -> io::Result<()> {
        self.step()?;
        if let Ok(before) = fs::read(path) {
            self.note(Change::Removed { path: path.to_owned(), before });
        }
        SystemDisk.remove(path)
    }
    fn remove_folder(&self, path: &Path) -> io::Result<()> {
        self.step()?;
        SystemDisk.remove_folder(path)
    }
}

const OLD: &str = "tile/0/000.p/5";
const NEW: [&str; 4] = ["tile/0/000.p/9", "tile/entries/x001/000.p/9", "statements/a.json", "witnessed"];

/// A copy of an older head, a folder of files for a newer one, and the folder that holds both.
fn older_copy() -> (tempfile::TempDir, PathBuf) {
    let keep = tempfile::tempdir().unwrap();
    let copy = keep.path().join("copy");
    fs::create_dir_all(copy.join(OLD).parent().unwrap()).unwrap();
    fs::write(copy.join(OLD), OLD).unwrap();
    fs::write(copy.join("checkpoint"), "old").unwrap();
    (keep, copy)
}

/// What a run does once everything is checked: what is missing was fetched.
fn run(stage: &Stage) -> Result<(), AuditError> {
    for path in NEW {
        if stage.both().read(path)?.is_none() {
            stage.put(path, path.as_bytes())?;
        }
    }
    stage.adopt(b"new", &|path| NEW.contains(&path), &|path| path == OLD)
}

fn files(folder: &Path) -> BTreeMap<PathBuf, Vec<u8>> {
    let mut found = BTreeMap::new();
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            found.extend(files(&path));
        } else {
            found.insert(path.clone(), fs::read(path).unwrap());
        }
    }
    found
}

/// Runs until the machine stops; whether it came to the end.
fn run_until(stop: usize, cut: Cut, copy: &Path) -> bool {
    let log = Rc::new(Log { left: Cell::new(stop), ..Log::default() });
    let done = Stage::on(Box::new(StoppingDisk(Rc::clone(&log))), copy).and_then(|stage| run(&stage)).is_ok();
    for change in log.changes.take().into_iter().rev() {
        let lost = match cut {
            Cut::Killed => false,
            Cut::Everything => true,
            Cut::Below => change.folder() != copy,
        };
        if lost {
            change.undo();
        }
    }
    done
}

/// Every file of the copy's checkpoint is there.
fn is_whole(copy: &Path, context: &str) {
    let holds = |path: &str| fs::read(copy.join(path)).is_ok_and(|bytes| bytes == path.as_bytes());
    match fs::read(copy.join("checkpoint")).unwrap().as_slice() {
        b"old" => assert!(holds(OLD), "{context}"),
        b"new" => assert!(NEW.iter().all(|path| holds(path)), "{context}: {:?}", files(copy).keys()),
        other => panic!("{context}: {other:?}"),
    }
}

#[test]
fn a_power_cut_at_any_step_leaves_a_copy_with_all_that_its_checkpoint_names() {
    for cut in [Cut::Killed, Cut::Everything, Cut::Below] {
        let mut stop = 0;
        loop {
            let (_keep, copy) = older_copy();
            let done = run_until(stop, cut, &copy);
            is_whole(&copy, &format!("{cut:?} after {stop} operations"));
            // The next run does the rest, whatever was left.
            run(&Stage::open(&copy).unwrap()).unwrap();
            let expected: BTreeMap<_, _> = NEW
                .iter()
                .map(|path| (copy.join(path), path.as_bytes().to_vec()))
                .chain([(copy.join("checkpoint"), b"new".to_vec())])
                .collect();
            assert_eq!(files(copy.parent().unwrap()), expected, "{cut:?} after {stop} operations");
            if done {
                break;
            }
            stop += 1;
        }
        assert!(stop > 20, "{stop}");
    }
}

#[test]
fn what_a_killed_run_left_is_made_durable_before_a_checkpoint_names_it() {
    let mut stop = 0;
    loop {
        let (_keep, copy) = older_copy();
        // The files are in the copy already, and none of their names is durable: the process was killed.
        let log = Rc::new(Log { left: Cell::new(usize::MAX), ..Log::default() });
        let stage = Stage::on(Box::new(StoppingDisk(Rc::clone(&log))), &copy).unwrap();
        for path in NEW {
            let target = copy.join(path);
            stage.make_folders(folder_of(&target)).unwrap();
            stage.put(path, path.as_bytes()).unwrap();
            stage.disk.rename(&stage.incoming.join(path), &target).unwrap();
        }
        log.left.set(stop);
        let done = run(&stage).is_ok();
        for change in log.changes.take().into_iter().rev().filter(|change| change.folder() != copy) {
            change.undo();
        }
        is_whole(&copy, &format!("after {stop} operations"));
        if done {
            break;
        }
        stop += 1;
    }
}
