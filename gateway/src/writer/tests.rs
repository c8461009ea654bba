use std::sync::Mutex;
use std::time::Duration;
use std::{io, path::Path};

use konclave_crypto::UnixSeconds;
use konclave_ledger::records::Record;
use konclave_ledger::storage::{FileStorage, Storage};
use konclave_ledger::{LedgerOptions, SigningKey};

use super::*;

/// Files whose syncs fail from some moment on, as on a disk that goes away.
struct Failing {
    files: FileStorage,
    fails: Arc<AtomicBool>,
    panics: Arc<AtomicBool>,
    /// Locked, it keeps the disk busy.
    busy: Arc<Mutex<()>>,
}

impl Failing {
    fn check(&self) -> io::Result<()> {
        drop(self.busy.lock().unwrap());
        assert!(!self.panics.load(Ordering::SeqCst), "a fault of the storage's own");
        if self.fails.load(Ordering::SeqCst) { Err(io::Error::other("the disk is gone")) } else { Ok(()) }
    }
}

impl Storage for Failing {
    fn read(&self, path: &str) -> io::Result<Option<Vec<u8>>> {
        self.files.read(path)
    }
    fn list(&self, folder: &str) -> io::Result<Vec<String>> {
        self.files.list(folder)
    }
    fn write(&mut self, path: &str, bytes: &[u8]) -> io::Result<()> {
        self.files.write(path, bytes)
    }
    fn sync_file(&mut self, path: &str) -> io::Result<()> {
        self.files.sync_file(path)
    }
    fn sync_names(&mut self) -> io::Result<()> {
        self.check()?;
        self.files.sync_names()
    }
    fn rename(&mut self, from: &str, to: &str) -> io::Result<()> {
        self.files.rename(from, to)
    }
    fn remove(&mut self, path: &str) -> io::Result<()> {
        self.files.remove(path)
    }
}

struct Bench {
    handle: LedgerHandle,
    state: Arc<RwLock<State>>,
    fails: Arc<AtomicBool>,
    panics: Arc<AtomicBool>,
    busy: Arc<Mutex<()>>,
    stopped: Arc<Mutex<Option<String>>>,
}

fn bench(folder: &Path) -> Bench {
    let (fails, panics, busy): (Arc<AtomicBool>, Arc<AtomicBool>, Arc<Mutex<()>>) = Default::default();
    let stopped: Arc<Mutex<Option<String>>> = Arc::default();
    let storage = Failing {
        files: FileStorage::new(folder).unwrap(),
        fails: Arc::clone(&fails),
        panics: Arc::clone(&panics),
        busy: Arc::clone(&busy),
    };
    let options = LedgerOptions {
        origin: "konclave.example/test".parse().unwrap(),
        signer: Box::new(SigningKey::from_seed(&[1; 32])),
        software: "test/1".to_owned(),
        index: false,
        reserve_bytes: 0,
        seen: None,
    };
    let state = Arc::new(RwLock::new(State::default()));
    let noted = Arc::clone(&stopped);
    let handle = LedgerHandle::start(Writer {
        ledger: Ledger::open_on(Box::new(storage), options).unwrap(),
        state: Arc::clone(&state),
        changes: watch::channel(0).0,
        clock: Clock::set_to(UnixSeconds(1_800_000_000)),
        on_stop: Box::new(move |message| *noted.lock().unwrap() = Some(message.to_owned())),
    });
    Bench { handle: handle.unwrap(), state, fails, panics, busy, stopped }
}

fn entry(size: u64) -> Vec<Entry> {
    let record = Record::LedgerExported { by: "auditor".to_owned(), size, format: None, filter: None };
    vec![Entry::new("ledger", "test", record)]
}

impl Bench {
    /// What the process was told to end with; a command's answer may be dropped a moment before.
    async fn stopped(&self) -> String {
        for _ in 0..500 {
            let told = self.stopped.lock().unwrap().clone();
            if let Some(message) = told {
                return message;
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        panic!("the process was not told to end");
    }

    /// Appends under an aggregate of its own.
    async fn append(&self, entries: Vec<Entry>) -> Result<Vec<u64>, WriterError> {
        self.handle.append(Held::of(Arc::default()).await, Caller::gateway("test"), entries).await
    }
}

fn deposit() -> Vec<Entry> {
    let statement = konclave_ledger::statements::DepositStatement {
        site: "site-1".to_owned(),
        legal_entity: None,
        data_class: konclave_ledger::statements::DataClass::Training,
        catalogue_tasks: Vec::new(),
        files: Vec::new(),
        row_commitment: konclave_ledger::Hash::ZERO,
        made_at: 0,
    };
    let envelope = konclave_ledger::statements::sign(&[7; 32], &statement).unwrap();
    entry(1).into_iter().map(|entry| entry.stated_in(envelope.clone())).collect()
}

#[tokio::test]
async fn commands_at_once_get_consecutive_entries_and_the_state_follows() {
    let folder = tempfile::tempdir().unwrap();
    let bench = bench(folder.path());
    let append = |size| bench.append(entry(size));
    let answers = futures_util::future::join_all((0..50).map(append)).await;
    let mut indexes: Vec<u64> = answers.into_iter().flat_map(Result::unwrap).collect();
    indexes.sort_unstable();
    assert_eq!(indexes, (0..50).collect::<Vec<_>>());
    let state = bench.state.read().unwrap();
    assert_eq!((state.size, state.exports.len()), (50, 50));
}

#[tokio::test]
async fn a_record_that_the_fold_refuses_is_never_appended_and_hurts_nobody_else() {
    let folder = tempfile::tempdir().unwrap();
    let bench = bench(folder.path());
    let orphan = Record::JobStarted { job: "job-1".to_owned() };
    let bad = bench.append(vec![Entry::new("jobs/job-1", "test", orphan)]);
    let (bad, good) = tokio::join!(bad, bench.append(entry(1)));
    assert!(matches!(bad, Err(WriterError::Refused { reason }) if reason.contains("unknown job")));
    assert_eq!(good.unwrap(), [0]);
    assert_eq!(bench.handle.ledger().head().size, 1);
}

#[tokio::test]
async fn a_disk_that_goes_away_stops_the_writer_and_says_so() {
    let folder = tempfile::tempdir().unwrap();
    let bench = bench(folder.path());
    bench.append(entry(1)).await.unwrap();
    bench.fails.store(true, Ordering::SeqCst);
    let mut answers = Vec::new();
    for size in 2..5 {
        answers.push(bench.append(entry(size)).await);
    }
    assert!(matches!(answers.last(), Some(Err(WriterError::Stopped))), "{answers:?}");
    let message = bench.stopped.lock().unwrap().clone().expect("the process was told to end");
    assert!(message.contains("the disk is gone"), "{message}");
    assert_eq!(bench.state.read().unwrap().size, 1, "nothing that may not be stored is shown");
    assert!(!bench.handle.is_writable());
}

#[tokio::test]
async fn a_statement_that_may_or_may_not_be_stored_stops_the_writer() {
    let folder = tempfile::tempdir().unwrap();
    let bench = bench(folder.path());
    bench.append(deposit()).await.unwrap();
    assert!(bench.handle.is_writable());
    bench.fails.store(true, Ordering::SeqCst);
    let answer = bench.append(deposit()).await;
    assert!(matches!(answer, Err(WriterError::Stopped)), "{answer:?}");
    let message = bench.stopped().await;
    assert!(message.contains("the disk is gone"), "{message}");
    assert!(!bench.handle.is_writable());
}

#[tokio::test]
async fn a_panic_in_the_writer_ends_the_process() {
    let folder = tempfile::tempdir().unwrap();
    let bench = bench(folder.path());
    bench.panics.store(true, Ordering::SeqCst);
    assert!(matches!(bench.append(entry(1)).await, Err(WriterError::Stopped)));
    assert_eq!(bench.stopped().await, "the ledger's writer failed");
    assert!(!bench.handle.is_writable());
}

#[tokio::test]
async fn an_aggregate_stays_held_until_its_entries_are_applied_though_nobody_waits() {
    let folder = tempfile::tempdir().unwrap();
    let bench = bench(folder.path());
    let aggregate: Arc<tokio::sync::Mutex<()>> = Arc::default();
    {
        let _busy = bench.busy.lock().unwrap();
        let held = futures_util::FutureExt::now_or_never(Held::of(Arc::clone(&aggregate))).unwrap();
        let append = bench.handle.append(held, Caller::gateway("test"), entry(1));
        // The client goes away while the disk is busy: its future is dropped.
        assert!(futures_util::FutureExt::now_or_never(append).is_none());
        assert!(aggregate.try_lock().is_err(), "another command could check the state before");
    }
    let _next = aggregate.lock().await;
    assert_eq!(bench.state.read().unwrap().size, 1);
}
