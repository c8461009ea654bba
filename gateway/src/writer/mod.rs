//! The one writer of the ledger: a thread of its own, because the ledger is synchronous and waits for the disk.
//!
//! Commands queue up; the writer takes what has gathered (at most 256 entries) and appends it with one wait for the
//! disk (group commit). Once durable, the entries are applied to the fold and the commands are answered, so that
//! whoever is answered also reads the new state. A full queue pushes back, and so does a full disk (`full_disk.rs`).
//! After a storage failure that leaves open what is stored, nothing more is written: the process is to end and to read
//! the truth back at its next start.

mod full_disk;

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, TrySendError, sync_channel};
use std::sync::{Arc, PoisonError, RwLock, RwLockReadGuard};

use konclave_ledger::note::SignedNote;
use konclave_ledger::{
    AppendError, CosignError, EntryDraft, Ledger, ReserveState, StatementFileError, Timestamp,
};
use tokio::sync::oneshot;
use tokio::sync::watch;

use crate::core::{Caller, Clock, Entry, Held, digest_of};
use crate::projections::{State, to_hash};

/// The most entries appended with one wait for the disk.
const BATCH: usize = 256;
/// Commands that may wait; beyond it they are refused.
const QUEUE: usize = 1024;

/// Why the writer did not take a command. Nothing was appended.
#[derive(Debug, Clone, thiserror::Error)]
pub enum WriterError {
    /// Too many commands wait.
    #[error("the ledger's queue is full")]
    Busy,
    /// The writer has stopped: the gateway is going down.
    #[error("the ledger's writer has stopped")]
    Stopped,
    /// The disk is full, or has only the room that is kept back.
    #[error("the ledger's disk is full")]
    DiskFull,
    /// The ledger refused the entries.
    #[error("the ledger refused the entries: {reason}")]
    Refused {
        /// Why.
        reason: String,
    },
}

/// Called once when the ledger's state can no longer be known; ends the process.
pub type OnStop = Box<dyn Fn(&str) + Send>;

/// The queue of the writer, and the ledger for reading. Cloning shares both.
#[derive(Clone)]
pub struct LedgerHandle {
    queue: SyncSender<Command>,
    ledger: Arc<RwLock<Ledger>>,
    ended: Arc<AtomicBool>,
}

/// The head that a line was added to, as a note with its lines so far.
type Cosigned = Result<Option<SignedNote>, CosignError>;

enum Command {
    Append(Pending),
    Cosign { size: u64, line: String, answer: oneshot::Sender<Cosigned> },
}

/// What the writer thread works with.
pub(crate) struct Writer {
    pub(crate) ledger: Ledger,
    pub(crate) state: Arc<RwLock<State>>,
    pub(crate) changes: watch::Sender<u64>,
    pub(crate) clock: Clock,
    pub(crate) on_stop: OnStop,
}

impl LedgerHandle {
    /// Starts the writer's thread. It ends when the last handle is dropped.
    pub(crate) fn start(writer: Writer) -> std::io::Result<Self> {
        let (queue, commands) = sync_channel(QUEUE);
        let ledger = Arc::new(RwLock::new(writer.ledger));
        let ended = Arc::new(AtomicBool::new(false));
        let thread = Thread {
            ledger: Arc::clone(&ledger),
            state: writer.state,
            changes: writer.changes,
            clock: writer.clock,
            full: AtomicBool::new(false),
            end: End { ended: Arc::clone(&ended), on_stop: writer.on_stop },
        };
        std::thread::Builder::new().name("ledger-writer".to_owned()).spawn(move || thread.run(&commands))?;
        Ok(Self { queue, ledger, ended })
    }

    /// Whether entries can still be appended. Once they cannot, the process is about to end.
    #[must_use]
    pub fn is_writable(&self) -> bool {
        !self.ended.load(Ordering::SeqCst)
    }

    /// Appends entries together and applies them; durable on return. What is held stays so until they are applied,
    /// whether or not anybody still waits for the answer.
    ///
    /// # Errors
    /// [`WriterError`]; nothing was appended.
    pub async fn append(
        &self,
        held: Held,
        caller: Caller,
        entries: Vec<Entry>,
    ) -> Result<Vec<u64>, WriterError> {
        if entries.is_empty() {
            return Ok(Vec::new());
        }
        let (answer, answered) = oneshot::channel();
        self.send(Command::Append(Pending { _held: held, caller, entries, answer }))?;
        answered.await.map_err(|_| WriterError::Stopped)?
    }

    /// Adds a witness's cosignature to one of the latest heads, and gives that head with its lines, unless the ledger has
    /// let go of it since. Under the newest head it is durable on return.
    ///
    /// # Errors
    /// The outer error if the writer did not take it, the inner one if the line is not accepted.
    pub async fn add_cosignature(
        &self,
        size: u64,
        line: String,
    ) -> Result<Result<Option<SignedNote>, CosignError>, WriterError> {
        let (answer, answered) = oneshot::channel();
        self.send(Command::Cosign { size, line, answer })?;
        answered.await.map_err(|_| WriterError::Stopped)
    }

    /// The ledger, for reading. It may wait for the disk: use [`LedgerHandle::read`] on async threads.
    pub fn ledger(&self) -> RwLockReadGuard<'_, Ledger> {
        self.ledger.read().unwrap_or_else(PoisonError::into_inner)
    }

    /// Reads the ledger on a thread that may block.
    ///
    /// # Errors
    /// [`WriterError::Stopped`] if the runtime is shutting down.
    pub async fn read<T: Send + 'static>(
        &self,
        look: impl FnOnce(&Ledger) -> T + Send + 'static,
    ) -> Result<T, WriterError> {
        let handle = self.clone();
        tokio::task::spawn_blocking(move || look(&handle.ledger())).await.map_err(|_| WriterError::Stopped)
    }

    fn send(&self, command: Command) -> Result<(), WriterError> {
        self.queue.try_send(command).map_err(|refused| match refused {
            TrySendError::Full(_) => WriterError::Busy,
            TrySendError::Disconnected(_) => WriterError::Stopped,
        })
    }
}

struct Thread {
    ledger: Arc<RwLock<Ledger>>,
    state: Arc<RwLock<State>>,
    changes: watch::Sender<u64>,
    clock: Clock,
    /// The operator was told that the disk is full.
    full: AtomicBool,
    end: End,
}

/// Tells that the writer's thread has ended, and ends the process if a panic ended it: without its writer the gateway
/// would go on answering as if nothing had happened.
struct End {
    ended: Arc<AtomicBool>,
    on_stop: OnStop,
}

impl End {
    fn stop(&self, message: &str) {
        self.ended.store(true, Ordering::SeqCst);
        (self.on_stop)(message);
    }
}

impl Drop for End {
    fn drop(&mut self) {
        self.ended.store(true, Ordering::SeqCst);
        if std::thread::panicking() {
            (self.on_stop)("the ledger's writer failed");
        }
    }
}

struct Pending {
    /// Dropped with the command: after its entries are applied, or refused.
    _held: Held,
    caller: Caller,
    entries: Vec<Entry>,
    answer: oneshot::Sender<Result<Vec<u64>, WriterError>>,
}

/// The gateway must end: what is stored is not known, or the fold does not follow it.
struct Stop(String);

impl Thread {
    fn run(self, commands: &Receiver<Command>) {
        while let Ok(first) = commands.recv() {
            if let Err(Stop(message)) = self.round(first, commands) {
                tracing::error!(%message, "the ledger's writer stops");
                self.end.stop(&message);
                return;
            }
        }
    }

    /// Takes what has gathered, appends it in one go, then the cosignatures.
    fn round(&self, first: Command, commands: &Receiver<Command>) -> Result<(), Stop> {
        let (mut appends, mut cosignatures, mut size) = (Vec::new(), Vec::new(), 0);
        let mut next = Some(first);
        while let Some(command) = next {
            match command {
                Command::Append(pending) => {
                    size += pending.entries.len();
                    appends.push(pending);
                }
                Command::Cosign { size, line, answer } => cosignatures.push((size, line, answer)),
            }
            next = if size < BATCH { commands.try_recv().ok() } else { None };
        }
        self.append(appends)?;
        for (size, line, answer) in cosignatures {
            let added = {
                let mut ledger = self.write();
                ledger.add_cosignature_to(size, &line).map(|_| ledger.recent_note(size).cloned())
            };
            let stop = matches!(added, Err(CosignError::Poisoned))
                .then(|| Stop("the ledger is poisoned".to_owned()));
            // A client that went away does not need its answer.
            let _ = answer.send(added);
            if let Some(stop) = stop {
                return Err(stop);
            }
            self.notify();
        }
        Ok(())
    }

    /// Appends all commands together; if one of them is refused, each by itself, so that nobody suffers for another.
    fn append(&self, pending: Vec<Pending>) -> Result<(), Stop> {
        let mut drafted = Vec::new();
        for command in pending {
            if !command.is_urgent() && !self.has_room() {
                self.tell_full(true);
                let _ = command.answer.send(Err(WriterError::DiskFull));
                continue;
            }
            match self.drafts(&command)? {
                Ok(drafts) => drafted.push((command, drafts)),
                Err(refused) => drop(command.answer.send(Err(refused))),
            }
        }
        if drafted.is_empty() {
            return Ok(());
        }
        let all: Vec<EntryDraft> = drafted.iter().flat_map(|(_, drafts)| drafts.clone()).collect();
        let refused = match self.store(all)? {
            Ok(indexes) => {
                let mut indexes = indexes.into_iter();
                for (command, drafts) in drafted {
                    let own = indexes.by_ref().take(drafts.len()).collect();
                    let _ = command.answer.send(Ok(own));
                }
                return Ok(());
            }
            Err(refused) => refused,
        };
        let alone = drafted.len() == 1;
        for (command, drafts) in drafted {
            let stored = if alone { Err(refused.clone()) } else { self.store_by_itself(&command, &drafts)? };
            let stored = match stored {
                Err(WriterError::DiskFull) if command.is_urgent() => self.store_from_reserve(&drafts)?,
                stored => stored,
            };
            if matches!(stored, Err(WriterError::DiskFull)) {
                self.tell_full(true);
            }
            let _ = command.answer.send(stored);
        }
        Ok(())
    }

    /// A command whose batch was refused. What an urgent one before it left of the reserve is not for it.
    fn store_by_itself(
        &self,
        command: &Pending,
        drafts: &[EntryDraft],
    ) -> Result<Result<Vec<u64>, WriterError>, Stop> {
        if !command.is_urgent() && !self.has_room() {
            return Ok(Err(WriterError::DiskFull));
        }
        self.store(drafts.to_vec())
    }

    /// The command's entries as the ledger takes them, their statements stored and their references known to the fold.
    fn drafts(&self, command: &Pending) -> Result<Result<Vec<EntryDraft>, WriterError>, Stop> {
        let refused = |reason: String| Ok(Err(WriterError::Refused { reason }));
        let policy = {
            let state = self.state.read().unwrap_or_else(PoisonError::into_inner);
            for entry in &command.entries {
                if let Err(error) = state.check(&entry.record) {
                    return refused(error.to_string());
                }
            }
            state.policy.as_ref().map(to_hash)
        };
        let mut drafts = Vec::new();
        for entry in &command.entries {
            let statement =
                match entry.statement.as_ref().map(|envelope| self.write().put_statement(envelope)) {
                    Some(Ok(digest)) => Some(digest),
                    None => None,
                    Some(Err(error @ (StatementFileError::Ambiguous(_) | StatementFileError::Poisoned))) => {
                        return Err(Stop(error.to_string()));
                    }
                    Some(Err(error)) if error.is_disk_full() => return Ok(Err(WriterError::DiskFull)),
                    Some(Err(
                        error @ (StatementFileError::TooLarge { .. } | StatementFileError::NotStored(_)),
                    )) => {
                        return refused(error.to_string());
                    }
                };
            let record = match entry.record.to_value() {
                Ok(record) => record,
                Err(error) => return refused(error.to_string()),
            };
            // What has no digest of its own is what its record says.
            let new = match entry.new.map_or_else(|| digest_of(&record), Ok) {
                Ok(new) => new,
                Err(error) => return refused(error.to_string()),
            };
            drafts.push(EntryDraft {
                actor: command.caller.actor.clone(),
                role: command.caller.role.clone(),
                site: entry.site.clone(),
                action: entry.record.action().to_owned(),
                object: entry.object.clone(),
                old: entry.old,
                new: Some(new),
                reason: entry.reason.clone(),
                request_id: command.caller.ledger_request_id(),
                policy,
                commitments: entry.commitments.clone(),
                statement,
                record,
            });
        }
        Ok(Ok(drafts))
    }

    /// Appends, then applies. The inner error is a refusal: nothing was stored.
    fn store(&self, drafts: Vec<EntryDraft>) -> Result<Result<Vec<u64>, WriterError>, Stop> {
        let refused = |reason: String| Ok(Err(WriterError::Refused { reason }));
        let now = match Timestamp::from_unix_millis(self.clock.unix_millis()) {
            Ok(now) => now,
            Err(error) => return refused(format!("the clock cannot be read: {error}")),
        };
        let appended = self.write().append(drafts, now);
        let indexes = match appended {
            Ok(indexes) => indexes,
            Err(error @ (AppendError::Ambiguous(_) | AppendError::Poisoned)) => {
                return Err(Stop(error.to_string()));
            }
            Err(error) if error.is_disk_full() => return Ok(Err(WriterError::DiskFull)),
            Err(
                error @ (AppendError::Draft { .. }
                | AppendError::StatementMissing { .. }
                | AppendError::NotSigned(_)
                | AppendError::NotStored(_)
                | AppendError::Rotation(_)),
            ) => return refused(error.to_string()),
        };
        let ledger = self.ledger.read().unwrap_or_else(PoisonError::into_inner);
        let mut state = self.state.write().unwrap_or_else(PoisonError::into_inner);
        let policy = state.policy;
        for index in &indexes {
            let leaf = match ledger.leaf(*index) {
                Ok(Some(leaf)) => leaf,
                Ok(None) => return Err(Stop(format!("entry {index} was appended but is not there"))),
                Err(error) => return Err(Stop(error.to_string())),
            };
            state.apply(*index, &leaf).map_err(|error| Stop(error.to_string()))?;
        }
        let asked = (state.policy != policy).then(|| state.witness_rules().quorum);
        let spent = ledger.reserve_state() == ReserveState::Missing;
        drop((ledger, state));
        if let Some(quorum) = asked {
            self.write().require_witnesses(quorum.into());
        }
        self.notify();
        if !spent {
            self.tell_full(false);
        }
        Ok(Ok(indexes))
    }

    fn write(&self) -> std::sync::RwLockWriteGuard<'_, Ledger> {
        self.ledger.write().unwrap_or_else(PoisonError::into_inner)
    }

    fn notify(&self) {
        self.changes.send_modify(|count| *count = count.wrapping_add(1));
    }
}

/// Ends the process with a message: what production gives as [`OnStop`].
#[must_use]
pub fn exit_process() -> OnStop {
    Box::new(|message| {
        tracing::error!(%message, "the ledger cannot be written; the gateway ends so that a restart reads the truth back");
        std::process::exit(74);
    })
}

#[cfg(test)]
mod tests;
