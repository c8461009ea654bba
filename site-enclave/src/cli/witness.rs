//! `konclave-site witness`: this site's ledger head to show to others, and theirs to compare with it.

use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;
use std::time::SystemTime;

use konclave_ledger::Checkpoint;
use konclave_ledger::note::SignedNote;
use konclave_ledger::proof::ConsistencyProof;
use konclave_ledger::rotation::StolenKey;
use serde::Serialize;

use super::{CommandError, print};
use crate::client::{ClientError, EgressLog, GatewayClient};
use crate::clock;
use crate::config::{ConfigFlags, Enrolled, EnrolmentError, SiteConfig, SiteFolder};
use crate::driver::SiteError;
use crate::keystore::{Disk, DiskError, SiteKeys};
use crate::witness::{
    Alarm, Comparison, KnownKeys, OtherWitnesses, SeenHead, SignedHead, WitnessFault, compare_heads,
    read_note,
};

/// What `witness` does.
#[derive(Debug, clap::Subcommand)]
pub enum WitnessCommand {
    /// Print the last ledger head that this site cosigned, as a signed note to give to other sites.
    #[command(after_help = "\
Example: hand this site's head to another one, over a channel that the gateway's operator does not control.
  konclave-site witness show --dir /srv/site > site-a.note
  gpg --sign site-a.note          # or mail it, or read the root aloud

The note has three parts: the ledger's name, size and root; the ledger's signature; this site's cosignature.")]
    Show(WitnessArguments),
    /// Compare other sites' notes with this site's head, and with each other.
    #[command(after_help = "\
Example: compare what two other sites sent.
  konclave-site witness compare --dir /srv/site site-b.note site-c.note

Heads of one size are compared by themselves. For heads of different sizes the gateway is asked for the proof that the larger
extends the smaller; with --offline it is not, and such notes stay uncompared.

Exit code 0: all notes are on this site's history. 1: some could not be read or compared. 2: a contradiction: two heads that
the ledger's key signed belong to two histories. It is written to state/ALARM as evidence, and the site's service stops.")]
    Compare(CompareArguments),
    /// Show the head, the alarm, the quorum, and how far and how old the other witnesses' heads are.
    #[command(after_help = "\
Example:
  konclave-site witness status --dir /srv/site
  konclave-site witness status --dir /srv/site --json

A witness whose head stays old while this site's grows is either away, or shown another ledger by the gateway, which cannot
show its cosignature here then. Ask that site for its note, and compare: konclave-site witness compare.")]
    Status(WitnessStatusArguments),
}

/// What `witness show` takes.
#[derive(Debug, clap::Args)]
pub struct WitnessArguments {
    /// The site's folder.
    #[arg(long, value_name = "FOLDER", env = "KONCLAVE_SITE_DIR")]
    pub dir: PathBuf,
}

/// What `witness status` takes.
#[derive(Debug, clap::Args)]
pub struct WitnessStatusArguments {
    /// The site's folder.
    #[arg(long, value_name = "FOLDER", env = "KONCLAVE_SITE_DIR")]
    pub dir: PathBuf,
    /// As JSON.
    #[arg(long)]
    pub json: bool,
}

/// What `witness compare` takes.
#[derive(Debug, clap::Args)]
pub struct CompareArguments {
    /// The site's folder.
    #[arg(long, value_name = "FOLDER", env = "KONCLAVE_SITE_DIR")]
    pub dir: PathBuf,
    /// Do not ask the gateway for proofs.
    #[arg(long)]
    pub offline: bool,
    /// Notes of other sites.
    #[arg(required = true, value_name = "FILE")]
    pub notes: Vec<PathBuf>,
}

/// How a comparison ended; the worst of all notes is the command's exit code.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Verdict {
    Agrees = 0,
    NotCompared = 1,
    Contradicts = 2,
}

/// A head to compare: whose, and as it came.
struct Shown {
    name: String,
    head: Checkpoint,
    note: String,
    /// The key, if it was declared stolen.
    stolen: Option<StolenKey>,
}

/// Runs a command.
pub(super) fn witness(command: &WitnessCommand) -> Result<ExitCode, CommandError> {
    match command {
        WitnessCommand::Show(given) => {
            print(&show(&SiteFolder::new(&given.dir))?);
            Ok(ExitCode::SUCCESS)
        }
        WitnessCommand::Status(given) => {
            let status = WitnessStatus::gather(&SiteFolder::new(&given.dir))?;
            if given.json {
                let json = serde_json::to_string_pretty(&status);
                print(&json.map_err(|error| CommandError::Request(error.to_string()))?);
            } else {
                print(&status.in_words(clock::now().get()));
            }
            Ok(ExitCode::SUCCESS)
        }
        WitnessCommand::Compare(given) => {
            let (text, code) = compare(given)?;
            print(&text);
            Ok(ExitCode::from(code))
        }
    }
}

fn faulty(fault: WitnessFault) -> CommandError {
    CommandError::Site(SiteError::Witness(fault))
}

/// The note to show.
fn show(folder: &SiteFolder) -> Result<String, CommandError> {
    let stored = Disk::default().read(&folder.own_note())?;
    let note = stored.and_then(|bytes| SignedNote::parse(&bytes).ok()).map(|note| note.to_string());
    note.ok_or_else(|| CommandError::NothingCosigned(folder.path().to_path_buf()))
}

/// Compares notes; gives the text to print and the exit code.
///
/// # Errors
/// [`CommandError`] if this site's own state cannot be read.
pub fn compare(arguments: &CompareArguments) -> Result<(String, u8), CommandError> {
    let disk = Disk::default();
    let folder = SiteFolder::new(&arguments.dir);
    let site = crate::driver::enrolled_name(&disk, &folder)?;
    let own_keys = SiteKeys::read(&disk, folder.path(), &site)?;
    let enrolled = Enrolled::read(&disk, &folder.enrolment(), &own_keys, clock::now())?;
    let keys = KnownKeys::open(&disk, &folder.log_keys(), enrolled.ledger_key.clone(), &enrolled.root)
        .map_err(faulty)?;
    let seen = SeenHead::read(&disk, &folder.witness_head()).map_err(faulty)?;
    let seen = seen.ok_or_else(|| CommandError::NothingCosigned(folder.path().to_path_buf()))?;
    if seen.is_beyond(&keys) {
        return Err(faulty(WitnessFault::KeysForgotten { path: folder.log_keys() }));
    }
    let own = Shown {
        name: "this site".to_owned(),
        head: seen.head().clone(),
        note: seen.evidence(),
        stolen: None,
    };

    let gateway = if arguments.offline { None } else { Some(Gateway::new(&folder, &own_keys, &enrolled)?) };
    let (mut text, mut worst) = (String::new(), Verdict::Agrees);
    let mut read: Vec<Shown> = vec![own];
    for path in &arguments.notes {
        match read_shown(path, &keys) {
            Err(reason) => {
                worst = worst.max(Verdict::NotCompared);
                let _ = writeln!(text, "{}: left out: {reason}", path.display());
            }
            Ok(shown) => {
                for known in &read {
                    let (verdict, words) = weigh(known, &shown, compare_two(known, &shown, gateway.as_ref()));
                    worst = worst.max(verdict);
                    let _ = writeln!(text, "{words}");
                    if verdict == Verdict::Contradicts {
                        let alarm = Alarm::found_by_hand(words, known.note.clone(), &shown.note);
                        alarm.raise(&disk, &folder.alarm()).map_err(|error| faulty(error.into()))?;
                        let _ = writeln!(text, "{}\n{}", known.note, shown.note);
                        let _ = writeln!(text, "The evidence is in {}", folder.alarm().display());
                    }
                }
                read.push(shown);
            }
        }
    }
    Ok((text, worst as u8))
}

fn read_shown(path: &Path, keys: &KnownKeys) -> Result<Shown, String> {
    let bytes = read_note(path).map_err(|error| error.to_string())?;
    let SignedHead { head, stolen } = keys.read_head(&bytes).map_err(|error| error.to_string())?;
    let note = String::from_utf8_lossy(&bytes).into_owned();
    Ok(Shown { name: path.display().to_string(), head, note, stolen })
}

/// A contradiction with what a stolen key signed proves nothing against the operator.
fn weigh(one: &Shown, other: &Shown, (verdict, words): (Verdict, String)) -> (Verdict, String) {
    let stolen = [one, other].into_iter().find_map(|shown| Some((&shown.name, shown.stolen.as_ref()?)));
    match stolen.filter(|_| verdict == Verdict::Contradicts) {
        None => (verdict, words),
        Some((name, stolen)) => (
            Verdict::NotCompared,
            format!(
                "{} ({} entries) and {} ({} entries): two histories, but {name} is {stolen}: whoever stole the key can have \
                 signed it, and it proves nothing. Ask the site that it came from whether it cosigned it before the theft",
                one.name, one.head.size, other.name, other.head.size
            ),
        ),
    }
}

fn compare_two(one: &Shown, other: &Shown, gateway: Option<&Gateway>) -> (Verdict, String) {
    let names =
        format!("{} ({} entries) and {} ({} entries)", one.name, one.head.size, other.name, other.head.size);
    match compare_heads(&one.head, &other.head) {
        Comparison::Agree => (Verdict::Agrees, format!("{names}: the same history")),
        Comparison::Fork => (
            Verdict::Contradicts,
            format!("{names}: CONTRADICTION: the ledger's key signed two different ledgers of this size"),
        ),
        Comparison::Unproven { old, new } => {
            let Some(gateway) = gateway else {
                return (
                    Verdict::NotCompared,
                    format!("{names}: of different sizes, not compared without the gateway"),
                );
            };
            match gateway.proof(&old, &new) {
                Err(error) if error.is_temporary() || error.is_of_this_site() => {
                    (Verdict::NotCompared, format!("{names}: not compared: {error}"))
                }
                Err(error) => (
                    Verdict::Contradicts,
                    format!(
                        "{names}: CONTRADICTION: the gateway does not show that the larger extends the smaller: {error}"
                    ),
                ),
                Ok(proof) => match proof.verify(&old.root, &new.root) {
                    Ok(()) => (Verdict::Agrees, format!("{names}: the same history, by the gateway's proof")),
                    Err(error) => (
                        Verdict::Contradicts,
                        format!(
                            "{names}: CONTRADICTION: the gateway cannot show that the larger extends the smaller: {error}"
                        ),
                    ),
                },
            }
        }
    }
}

/// The gateway, asked for proofs.
struct Gateway {
    client: GatewayClient,
    runtime: tokio::runtime::Runtime,
}

impl Gateway {
    fn new(folder: &SiteFolder, keys: &SiteKeys, enrolled: &Enrolled) -> Result<Self, CommandError> {
        let config = SiteConfig::load(folder, &ConfigFlags::default())?;
        let path = folder.egress_log();
        // Beside the service, if it runs: every line is written whole and at the end.
        let egress = EgressLog::open(&path).map_err(|source| ClientError::EgressLog { path, source })?;
        let client = GatewayClient::new(&config.endpoint(), &enrolled.tls(keys)?, Arc::new(egress))?;
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        Ok(Self { client, runtime })
    }

    fn proof(&self, old: &Checkpoint, new: &Checkpoint) -> Result<ConsistencyProof, ClientError> {
        let view = self.runtime.block_on(self.client.consistency(old.size, new.size))?;
        Ok(ConsistencyProof { old_size: old.size, new_size: new.size, hashes: view.path })
    }
}

/// What a site's owner can see of the ledger without asking anyone.
#[derive(Debug, Serialize)]
pub(super) struct WitnessStatus {
    alarm: Option<Alarm>,
    #[serde(rename = "ledger_head")]
    head: Option<Checkpoint>,
    /// When the head was stored (RFC 3339).
    checked: Option<String>,
    /// The key that signs the heads, as far as this site has followed it.
    log_key: Option<String>,
    #[serde(flatten)]
    others: OtherWitnesses,
}

impl WitnessStatus {
    pub(super) fn gather(folder: &SiteFolder) -> Result<Self, CommandError> {
        let disk = Disk::default();
        let alarm = Alarm::standing(&folder.alarm()).map_err(|error| CommandError::Site(error.into()))?;
        let seen = SeenHead::read(&disk, &folder.witness_head()).map_err(faulty)?;
        let others = OtherWitnesses::read(&folder.other_witnesses())?.unwrap_or_default();
        Ok(Self {
            alarm,
            head: seen.map(|seen| seen.head().clone()),
            checked: changed(&folder.witness_head())?
                .map(|time| clock::rfc3339(konclave_crypto::UnixSeconds(time))),
            log_key: log_key(&disk, folder)?,
            others,
        })
    }

    /// The lines about the head, the quorum and the others; ages are from `now`, in seconds since 1970.
    pub(super) fn in_words(&self, now: u64) -> String {
        let mut text = String::new();
        // Writing to a String cannot fail.
        let mut line = |words: String| {
            let _ = writeln!(text, "{words}");
        };
        if let Some(alarm) = &self.alarm {
            line(format!("ALARM: {alarm}\n{}", alarm.advice));
        }
        match &self.head {
            None => line("no ledger head checked yet".to_owned()),
            Some(head) => {
                let when = self.checked.as_deref().unwrap_or("an unknown time");
                line(format!(
                    "last ledger head checked: {} entries, root {} ({}), stored {when}",
                    head.size, head.root, head.origin
                ));
            }
        }
        if let Some(key) = &self.log_key {
            line(format!("ledger key: {key}"));
        }
        match (&self.others.quorum, &self.others.asked) {
            (Some(quorum), Some(asked)) if quorum.required == 0 => {
                line(format!("quorum: none is asked for (by the gateway, {asked})"));
            }
            (Some(quorum), Some(asked)) => {
                let stands = if quorum.stands { "stands" } else { "MISSING" };
                let since =
                    quorum.missing_since.as_ref().map(|time| format!(", entries since {time} lack it"));
                line(format!(
                    "quorum: {stands}, {} of {} witnesses asked for, {} entries witnessed{} (by the gateway, {asked})",
                    quorum.required,
                    quorum.enrolled,
                    quorum.witnessed,
                    since.unwrap_or_default()
                ));
            }
            _ => line("quorum: the gateway has not been asked yet".to_owned()),
        }
        if let Some(stolen) = &self.others.stolen {
            line(format!("STOLEN KEY: {stolen}"));
        }
        line("other witnesses:".to_owned());
        for (site, shown) in &self.others.witnesses {
            line(match shown {
                None => format!("  {site:<24} has shown nothing"),
                Some(shown) => {
                    let age =
                        shown.cosigned.as_deref().and_then(unix_seconds).map(|time| now.saturating_sub(time));
                    let age = age.map_or("without a certified cosignature".to_owned(), |age| {
                        format!("cosigned {} ago", duration(age))
                    });
                    format!("  {site:<24} {:>10} entries, {age}, through {}", shown.size, shown.through)
                }
            });
        }
        text
    }
}

/// The key of the log, if the site is joined.
fn log_key(disk: &Disk, folder: &SiteFolder) -> Result<Option<String>, CommandError> {
    let Some(bytes) = disk.read(&folder.enrolment())? else { return Ok(None) };
    let layout = |source| EnrolmentError::Layout { path: folder.enrolment(), source };
    let enrolment: konclave_openapi::sites::Enrolment = serde_json::from_slice(&bytes).map_err(layout)?;
    let Ok(first) = enrolment.ledger_key.parse() else { return Ok(None) };
    let root = konclave_crypto::ConsortiumRoot(enrolment.consortium_root);
    let keys = KnownKeys::open(disk, &folder.log_keys(), first, &root).map_err(faulty)?;
    Ok(Some(keys.current().to_string()))
}

/// When a file was last changed, in seconds since 1970.
fn changed(path: &Path) -> Result<Option<u64>, DiskError> {
    match std::fs::metadata(path).and_then(|found| found.modified()) {
        Ok(time) => Ok(time.duration_since(SystemTime::UNIX_EPOCH).ok().map(|since| since.as_secs())),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(None),
        Err(source) => Err(DiskError { doing: "read", path: path.to_path_buf(), source }),
    }
}

fn unix_seconds(text: &str) -> Option<u64> {
    let format = &time::format_description::well_known::Rfc3339;
    u64::try_from(time::OffsetDateTime::parse(text, format).ok()?.unix_timestamp()).ok()
}

fn duration(seconds: u64) -> String {
    match seconds {
        0..120 => format!("{seconds} s"),
        120..7_200 => format!("{} min", seconds / 60),
        7_200..172_800 => format!("{} h", seconds / 3_600),
        _ => format!("{} days", seconds / 86_400),
    }
}

#[cfg(test)]
mod tests {
    use konclave_ledger::checkpoint::log_key;
    use konclave_ledger::{Hash, SigningKey};

    use super::*;
    use crate::cli::join::tests::{enrol, initialised, try_join};
    use crate::witness::Witness;
    use crate::witness::tests::Tree;

    /// A joined site that has seen so many entries.
    async fn having_seen(tree: &Tree) -> tempfile::TempDir {
        let keep = tempfile::tempdir().unwrap();
        try_join(keep.path(), &enrol(&initialised(keep.path()), 1)).unwrap();
        let (disk, folder) = (Disk::default(), SiteFolder::new(keep.path()));
        let keys = SiteKeys::read(&disk, keep.path(), &"site-a".parse().unwrap()).unwrap();
        let enrolled = Enrolled::read(&disk, &folder.enrolment(), &keys, clock::now()).unwrap();
        let mut witness =
            Witness::open(disk, &folder, keys.witness, enrolled.ledger_key.clone(), enrolled.root).unwrap();
        witness.look(tree).await.unwrap();
        keep
    }

    fn compared(dir: &Path, notes: &[(&str, String)]) -> (String, u8) {
        let write = |(name, note): &(&str, String)| {
            let path = dir.join(name);
            std::fs::write(&path, note).unwrap();
            path
        };
        let notes = notes.iter().map(write).collect();
        compare(&CompareArguments { dir: dir.to_path_buf(), offline: true, notes }).unwrap()
    }

    #[tokio::test]
    async fn notes_compared_by_hand_show_a_split_view_and_leave_the_evidence() {
        let keep = having_seen(&Tree::of(8, 0)).await;
        let folder = SiteFolder::new(keep.path());
        let same = ("same.note", Tree::of(8, 0).note().to_string());
        let smaller = ("smaller.note", Tree::of(6, 0).note().to_string());
        let garbage = ("garbage.note", "garbage".to_owned());
        assert_eq!(compared(keep.path(), std::slice::from_ref(&same)).1, 0);
        let (text, code) = compared(keep.path(), &[same.clone(), smaller.clone()]);
        assert!(code == 1 && text.contains("of different sizes"), "{text}");
        let (text, code) = compared(keep.path(), &[garbage.clone(), same.clone()]);
        assert!(code == 1 && text.contains("left out") && text.contains("the same history"), "{text}");
        assert!(!folder.alarm().exists());

        let fork = ("fork.note", Tree::of(8, 1).note().to_string());
        let (text, code) = compared(keep.path(), &[garbage, same, fork.clone()]);
        assert!(code == 2 && text.contains("CONTRADICTION") && text.contains(&fork.1), "{text}");
        let alarm = Alarm::standing(&folder.alarm()).unwrap().unwrap();
        let key = log_key("ledger.example".parse().unwrap(), &SigningKey::from_seed(&[9; 32]));
        let heads =
            [alarm.seen, alarm.offered].map(|note| Checkpoint::verify(note.as_bytes(), &key).unwrap().0);
        assert!(heads[0].size == heads[1].size && heads[0].root != heads[1].root);
        // Also where this site's own head is of another size: the others contradict each other.
        std::fs::remove_file(folder.alarm()).unwrap();
        let other = ("other.note", Tree::of(6, 1).note().to_string());
        assert_eq!(compared(keep.path(), &[smaller, other]).1, 2);
        assert!(folder.alarm().exists());
    }

    #[test]
    fn a_contradiction_under_a_stolen_key_is_no_evidence() {
        let shown = |variant, stolen| Shown {
            name: "a.note".to_owned(),
            head: Tree::of(8, variant).head(),
            note: Tree::of(8, variant).note().to_string(),
            stolen,
        };
        let (own, fork) = (shown(0, None), shown(1, None));
        assert_eq!(weigh(&own, &fork, compare_two(&own, &fork, None)).0, Verdict::Contradicts);
        let stolen = StolenKey { key: "the key".to_owned(), trusted_size: 5 };
        let fork = shown(1, Some(stolen.clone()));
        let (verdict, words) = weigh(&own, &fork, compare_two(&own, &fork, None));
        assert!(verdict == Verdict::NotCompared && words.contains("declared stolen at 5 entries"), "{words}");
        let same = shown(0, Some(stolen));
        assert_eq!(weigh(&own, &same, compare_two(&own, &same, None)).0, Verdict::Agrees);
    }

    #[tokio::test]
    async fn the_head_is_shown_as_it_was_cosigned() {
        let tree = Tree::of(8, 0);
        let keep = having_seen(&tree).await;
        let note = show(&SiteFolder::new(keep.path())).unwrap();
        let key = log_key("ledger.example".parse().unwrap(), &SigningKey::from_seed(&[9; 32]));
        let (head, note) = Checkpoint::verify(note.as_bytes(), &key).unwrap();
        assert_eq!((head, note.signatures.len()), (tree.head(), 2));
        let empty = tempfile::tempdir().unwrap();
        assert!(matches!(show(&SiteFolder::new(empty.path())), Err(CommandError::NothingCosigned(_))));
    }

    #[tokio::test]
    async fn the_status_tells_head_key_quorum_and_the_ages_of_the_others() {
        let tree = Tree::of(8, 0);
        let keep = having_seen(&tree).await;
        let folder = SiteFolder::new(keep.path());
        let others = serde_json::json!({
            "asked": "2026-01-01T00:00:00Z",
            "quorum": {"required": 3, "enrolled": 5, "witnessed": 4, "witnesses": [], "stands": false,
                       "missing_since": "2025-12-31T00:00:00.000Z"},
            "witnesses": {
                "site-b": {"size": 7, "root": Hash::ZERO, "through": "the gateway",
                           "cosigned": "2026-01-01T00:00:00Z", "first_shown": "2026-01-01T00:00:00Z"},
                "site-c": null
            }
        });
        std::fs::write(folder.other_witnesses(), others.to_string()).unwrap();
        let text = WitnessStatus::gather(&folder).unwrap().in_words(1_767_225_600 + 3 * 3_600);
        for part in [
            "8 entries",
            &tree.head().root.to_string(),
            "ledger key: ledger.example+",
            "quorum: MISSING, 3 of 5 witnesses asked for, 4 entries witnessed, entries since 2025-12-31",
            "7 entries, cosigned 3 h ago, through the gateway",
            "has shown nothing",
        ] {
            assert!(text.contains(part), "{part}: {text}");
        }
    }
}
