//! A copy of a gateway's ledger over HTTPS: incremental, resumable, and never worse than the copy before.
//!
//! ```text
//! checkpoint -> right edge of the tree -> full tiles, each by its parent -> is the old head a beginning? -> entries,
//! each by its tile -> statements, each by its digest -> the log's signature -> adopted, the checkpoint last
//! ```
//! Nothing of the copy changes before all of this holds. A head of fewer entries or of another history is refused and
//! kept as evidence.

mod client;
mod disk;
mod stage;
mod token;

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use konclave_crypto::ConsortiumRoot;
use konclave_ledger::note::{MAX_NOTE_BYTES, SignedNote};
use konclave_ledger::tiles::{TILE_WIDTH, TileKind, TilePath, decode_hashes};
use konclave_ledger::tree::{leaf_hash, root_of};
use konclave_ledger::{Checkpoint, Hash, Leaf, VerifierKey, bundle, dsse};

use self::stage::Stage;
use crate::folder::{AuditError, Folder};
use crate::log_keys::{LogIdentity, Theft, is_signed_by};
use crate::show::head;
use crate::subtrees::TileFiles;
use crate::witnessed;

pub use self::client::{ClientError, Connection, GatewayClient};

/// Largest bundle: 256 entries with 16-bit lengths.
const MAX_BUNDLE_BYTES: u64 = TILE_WIDTH * (2 + 65_535);
/// Highest level of tiles.
const LEVELS: u8 = 8;

/// What the reader knows of the log.
#[derive(Debug, Clone, Default)]
pub struct MirrorOptions {
    /// The log's key.
    pub key: Option<VerifierKey>,
    /// The consortium root.
    pub root: Option<ConsortiumRoot>,
}

/// What a run did.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mirrored {
    /// Entries before.
    pub before: u64,
    /// Entries now.
    pub size: u64,
    /// Files that were fetched.
    pub fetched: u64,
    /// Their bytes.
    pub bytes: u64,
}

/// Why the copy stays as it was.
#[derive(Debug, thiserror::Error)]
pub enum MirrorError {
    /// Files that can't be read or written.
    #[error(transparent)]
    Audit(#[from] AuditError),
    /// The gateway can't be reached or refuses. Run it again: what was fetched is kept.
    #[error(transparent)]
    Client(#[from] ClientError),
    /// What the gateway gave is not the ledger that it promised.
    #[error("REFUSED: {reason}. The copy is as it was; what the gateway offered is in {}", evidence.display())]
    Refused {
        /// What is wrong.
        reason: Refusal,
        /// The offered checkpoint.
        evidence: PathBuf,
    },
}

/// What is wrong with what the gateway gave.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// Not a signed note with a checkpoint.
    #[error("the gateway's checkpoint can't be read")]
    Checkpoint,
    /// Another log's.
    #[error("the gateway's checkpoint is of another log than this copy")]
    OtherLog,
    /// Not signed with the log's key.
    #[error("the checkpoint is not signed with the log's key")]
    NotSigned,
    /// Another head than the copy's history allows, under a key that was declared stolen: not the operator's word.
    #[error("STOLEN KEY: the head of {offered} entries that is offered is {theft}")]
    StolenKey {
        /// Entries in the offered checkpoint.
        offered: u64,
        /// The key.
        theft: Theft,
    },
    /// Fewer entries than the copy has.
    #[error("ROLLBACK: the gateway shows {offered} entries, this copy has {have}")]
    Rollback {
        /// Entries in the copy.
        have: u64,
        /// Entries in the offered checkpoint.
        offered: u64,
    },
    /// Another history.
    #[error(
        "FORK: the copy's {have} entries are not a beginning of what the gateway shows; both heads are signed: {signed}"
    )]
    Fork {
        /// Entries in the copy.
        have: u64,
        /// Whether the log's key signed the offered head: then the two heads together prove it.
        signed: bool,
    },
    /// A tile or bundle is missing or does not fit.
    #[error("{path} does not fit the checkpoint")]
    File {
        /// Which.
        path: String,
    },
    /// A statement is missing or altered.
    #[error("the gateway does not give the statement {digest} that entry {entry} names")]
    Statement {
        /// Its digest.
        digest: Hash,
        /// The entry.
        entry: u64,
    },
}

impl MirrorError {
    /// Whether the gateway's ledger is not what it should be.
    #[must_use]
    pub const fn is_tampering(&self) -> bool {
        match self {
            Self::Audit(error) => error.is_tampering(),
            Self::Client(_) => false,
            Self::Refused { .. } => true,
        }
    }
}

/// Stopped on the way: by a failure, or because the offer is refused.
enum Stop {
    Refuse(Refusal),
    Fail(MirrorError),
}

impl<E: Into<MirrorError>> From<E> for Stop {
    fn from(error: E) -> Self {
        Self::Fail(error.into())
    }
}

/// Brings the copy in `folder` to the gateway's head, or makes one. `progress` is called with files done and their total.
///
/// # Errors
/// [`MirrorError`]; the copy is then as it was.
pub fn mirror(
    client: &mut GatewayClient,
    folder: &Path,
    options: &MirrorOptions,
    progress: &mut dyn FnMut(u64, u64),
) -> Result<Mirrored, MirrorError> {
    let stage = Stage::open(folder)?;
    let before = if folder.join("checkpoint").exists() { known_head(folder)? } else { None };
    let offered = client.get("checkpoint", MAX_NOTE_BYTES as u64)?.unwrap_or_default();
    let refused = |reason| {
        let evidence = stage.keep_evidence(&offered)?;
        stage.discard()?;
        Err(MirrorError::Refused { reason, evidence })
    };
    let Some((new, note)) = parse(&offered) else { return refused(Refusal::Checkpoint) };
    let run = Run {
        client,
        stage: &stage,
        both: stage.both(),
        old: before.as_ref().map(|(head, _)| head),
        new: &new,
        note: &note,
        options,
        done: Mirrored {
            before: before.as_ref().map_or(0, |(head, _)| head.size),
            size: new.size,
            fetched: 0,
            bytes: 0,
        },
        steps: 0,
        progress,
    };
    match run.all() {
        Ok((done, statements)) => {
            let belongs = |path: &str| match path.parse::<TilePath>() {
                Ok(tile) => TilePath::in_log(tile.kind(), tile.index(), new.size) == Some(tile),
                Err(_) => path == witnessed::FILE || statements.contains(path),
            };
            stage.adopt(&offered, &belongs, &|path| is_superseded(path, new.size))?;
            Ok(done)
        }
        Err(Stop::Refuse(reason)) => refused(reason),
        Err(Stop::Fail(error)) => Err(error),
    }
}

fn parse(bytes: &[u8]) -> Option<(Checkpoint, SignedNote)> {
    let note = SignedNote::parse(bytes).ok()?;
    Some((Checkpoint::parse_text(&note.text).ok()?, note))
}

fn known_head(folder: &Path) -> Result<Option<(Checkpoint, SignedNote)>, AuditError> {
    let folder = Folder::open(folder)?;
    // A copy without a readable head could hide a rollback: better ask than begin anew.
    Ok(Some(head(&folder)?.ok_or_else(|| AuditError::NoCheckpoint { path: folder.shown() })?))
}

/// Whether a file is a partial tile of an older size, in whose place the log has a wider one.
fn is_superseded(path: &str, size: u64) -> bool {
    let Ok(tile) = path.parse::<TilePath>() else { return false };
    let now = TilePath::in_log(tile.kind(), tile.index(), size);
    now.is_some_and(|now| now.width() > tile.width())
}

/// The partial tile of a kind; `None` if it ends with a full one.
fn last(kind: TileKind, size: u64) -> Option<TilePath> {
    TilePath::in_log(kind, full_tiles(kind, size), size)
}

/// How many full tiles a kind has.
const fn full_tiles(kind: TileKind, size: u64) -> u64 {
    let level = match kind {
        TileKind::Entries => 0,
        TileKind::Hashes { level } => level,
    };
    match size.checked_shr(8 * (level as u32 + 1)) {
        Some(full) => full,
        None => 0,
    }
}

struct Run<'a> {
    client: &'a mut GatewayClient,
    stage: &'a Stage,
    both: Folder,
    old: Option<&'a Checkpoint>,
    new: &'a Checkpoint,
    note: &'a SignedNote,
    options: &'a MirrorOptions,
    done: Mirrored,
    steps: u64,
    progress: &'a mut dyn FnMut(u64, u64),
}

impl Run<'_> {
    /// Everything; gives the files of the statements that the new entries name, too.
    fn all(mut self) -> Result<(Mirrored, BTreeSet<String>), Stop> {
        self.right_log()?;
        if self.old == Some(self.new) {
            // Only cosignatures can be new.
            self.signed()?;
            self.witnessed()?;
            return Ok((self.done, BTreeSet::new()));
        }
        self.hash_tiles()?;
        self.extends()?;
        let named = self.entries()?;
        let statements = self.statements(named)?;
        self.signed()?;
        self.witnessed()?;
        Ok((self.done, statements))
    }

    /// The newest head that a quorum cosigned: taken if it is a head of this ledger and no newer than the copy.
    fn witnessed(&mut self) -> Result<(), Stop> {
        let Some(bytes) = self.client.get(witnessed::FILE, MAX_NOTE_BYTES as u64)? else { return Ok(()) };
        let Some((head, _)) = parse(&bytes) else { return Ok(()) };
        let within = head.origin == self.new.origin && head.size <= self.new.size;
        if within && TileFiles::new(&self.both, self.new.size).root_at(head.size)? == head.root {
            self.stage.put(witnessed::FILE, &bytes)?;
        }
        Ok(())
    }

    /// What can be said before anything is fetched.
    fn right_log(&self) -> Result<(), Stop> {
        let Some(old) = self.old else { return Ok(()) };
        if old.origin != self.new.origin {
            return Err(Stop::Refuse(Refusal::OtherLog));
        }
        let (have, offered) = (old.size, self.new.size);
        if offered >= have && (offered > have || old.root == self.new.root) {
            return Ok(());
        }
        if !self.known_signature()? {
            return Err(Stop::Refuse(Refusal::NotSigned));
        }
        Err(Stop::Refuse(if offered < have {
            Refusal::Rollback { have, offered }
        } else {
            Refusal::Fork { have, signed: true }
        }))
    }

    /// Whether a key that is known by now signed the offered head, and is the log's word.
    fn known_signature(&self) -> Result<bool, Stop> {
        let size = self.old.map_or(0, |old| old.size);
        let identity = LogIdentity::read(&self.both, size, self.options.key.clone(), self.options.root)?;
        self.refuse_a_thief(&identity)?;
        let mut keys = identity.known.iter().chain(&identity.given);
        Ok(keys.any(|key| is_signed_by(self.note, key)))
    }

    /// The right edge leads to the root; every full tile is one item of the level above, from the top down.
    fn hash_tiles(&mut self) -> Result<(), Stop> {
        let (old, new) = (self.old.map_or(0, |old| old.size), self.new.size);
        for kind in (0..LEVELS).map(|level| TileKind::Hashes { level }) {
            if let Some(path) = last(kind, new) {
                let bytes = self.fetch(&path.to_string(), 32 * TILE_WIDTH)?;
                self.stage.put(&path.to_string(), &bytes)?;
            }
        }
        match TileFiles::new(&self.both, new).root_at(new) {
            Ok(root) if root == self.new.root => {}
            Ok(_) | Err(AuditError::BrokenTile { .. } | AuditError::NoEntry { .. }) => {
                return Err(refuse_file("the right edge of the tree"));
            }
            Err(error) => return Err(error.into()),
        }
        for level in (0..LEVELS).rev() {
            let kind = TileKind::Hashes { level };
            for index in full_tiles(kind, old)..full_tiles(kind, new) {
                let path = TilePath::full(kind, index);
                let parent = self.item(level + 1, index)?;
                let fits = |bytes: &[u8]| {
                    decode_hashes(bytes)
                        .is_some_and(|hashes| hashes.len() as u64 == TILE_WIDTH && root_of(&hashes) == parent)
                };
                self.obtain(&path.to_string(), 32 * TILE_WIDTH, fits)?;
            }
        }
        Ok(())
    }

    /// An item of a tile that was checked before.
    fn item(&self, level: u8, index: u64) -> Result<Hash, Stop> {
        let path = TilePath::in_log(TileKind::Hashes { level }, index / TILE_WIDTH, self.new.size);
        let path = path.ok_or_else(|| refuse_file("the tree"))?.to_string();
        let bytes = self.both.read(&path)?.unwrap_or_default();
        let item = usize::try_from(index % TILE_WIDTH).ok().and_then(|at| bytes.as_chunks::<32>().0.get(at));
        item.map(|hash| Hash(*hash)).ok_or_else(|| refuse_file(&path))
    }

    /// The old head is a beginning of the new one.
    fn extends(&self) -> Result<(), Stop> {
        let Some(old) = self.old.filter(|old| old.size < self.new.size) else { return Ok(()) };
        if TileFiles::new(&self.both, self.new.size).root_at(old.size)? == old.root {
            return Ok(());
        }
        Err(Stop::Refuse(Refusal::Fork { have: old.size, signed: self.known_signature()? }))
    }

    /// The new entries, each as its tile says; gives the statements that they name.
    fn entries(&mut self) -> Result<BTreeSet<(Hash, u64)>, Stop> {
        let (old, new) = (self.old.map_or(0, |old| old.size), self.new.size);
        let mut named = BTreeSet::new();
        for number in old / TILE_WIDTH..new.div_ceil(TILE_WIDTH) {
            let Some(path) = TilePath::in_log(TileKind::Entries, number, new) else { break };
            let Some(hashes) = TilePath::in_log(TileKind::Hashes { level: 0 }, number, new) else { break };
            let tile = self.both.read(&hashes.to_string())?.unwrap_or_default();
            let bytes = self.obtain(&path.to_string(), MAX_BUNDLE_BYTES, |bytes| fits_tile(bytes, &tile))?;
            for (index, stored) in (path.covers()).zip(bundle::entries(&bytes).flatten()) {
                // What can't be read as an entry was signed nevertheless: the copy keeps it for `verify` to name.
                if let Some(digest) = Leaf::parse(stored).ok().and_then(|leaf| leaf.statement) {
                    named.insert((digest, index));
                }
            }
        }
        Ok(named)
    }

    fn statements(&mut self, named: BTreeSet<(Hash, u64)>) -> Result<BTreeSet<String>, Stop> {
        let mut files = BTreeSet::new();
        for (digest, entry) in named {
            let path = format!("statements/{digest}.json");
            let fits = |bytes: &[u8]| Hash::of(bytes) == digest;
            match self.obtain(&path, dsse::MAX_ENVELOPE_BYTES as u64, fits) {
                Err(Stop::Refuse(Refusal::File { .. })) => {
                    return Err(Stop::Refuse(Refusal::Statement { digest, entry }));
                }
                done => done?,
            };
            files.insert(path);
        }
        Ok(files)
    }

    /// The log's key signed the head: the key that is known, or one that follows from it.
    fn signed(&self) -> Result<(), Stop> {
        let MirrorOptions { key, root } = self.options.clone();
        // Without a given key, the copy's own first entry says it, as it did when the copy was made.
        let identity = LogIdentity::read(&self.both, self.new.size, key, root)?;
        if identity.check(self.new, self.note)?.is_ok() {
            return Ok(());
        }
        self.refuse_a_thief(&identity)?;
        Err(Stop::Refuse(Refusal::NotSigned))
    }

    fn refuse_a_thief(&self, identity: &LogIdentity) -> Result<(), Stop> {
        match identity.theft(self.new, self.note) {
            Some(theft) => Err(Stop::Refuse(Refusal::StolenKey { offered: self.new.size, theft })),
            None => Ok(()),
        }
    }

    /// A file that is there and fits, or is fetched and fits.
    fn obtain(&mut self, path: &str, limit: u64, fits: impl Fn(&[u8]) -> bool) -> Result<Vec<u8>, Stop> {
        self.steps += 1;
        // Two files for each bundle, and a few more.
        let old = self.old.map_or(0, |old| old.size);
        let total = (self.new.size.div_ceil(TILE_WIDTH) - old / TILE_WIDTH) * 2;
        (self.progress)(self.steps, total.max(self.steps));
        if let Some(bytes) = self.both.read(path)?.filter(|bytes| fits(bytes)) {
            return Ok(bytes);
        }
        let bytes = self.fetch(path, limit)?;
        if !fits(&bytes) {
            return Err(refuse_file(path));
        }
        self.stage.put(path, &bytes)?;
        Ok(bytes)
    }

    fn fetch(&mut self, path: &str, limit: u64) -> Result<Vec<u8>, Stop> {
        let bytes = self.client.get(path, limit)?.ok_or_else(|| refuse_file(path))?;
        self.done.fetched += 1;
        self.done.bytes += bytes.len() as u64;
        Ok(bytes)
    }
}

fn refuse_file(path: &str) -> Stop {
    Stop::Refuse(Refusal::File { path: path.to_owned() })
}

/// Whether a bundle holds exactly the entries whose hashes a tile names.
fn fits_tile(bytes: &[u8], tile: &[u8]) -> bool {
    let mut hashes = tile.as_chunks::<32>().0.iter();
    for entry in bundle::entries(bytes) {
        let Ok(stored) = entry else { return false };
        if hashes.next() != Some(&leaf_hash(stored).0) {
            return false;
        }
    }
    hashes.next().is_none()
}
