//! The peak resident size of a process of its own, for ledgers of two sizes: it must not grow with them.

use std::path::Path;
use std::time::Instant;
use std::{fs, process};

use konclave_ledger::Ledger;
use konclave_ledger::storage::FileStorage;
use serde_json::{Value, json};

use crate::entries::{at, drafts, options};
use crate::watched::Watched;

/// Entries appended at once where it is not the appending that is measured.
const BATCH: u64 = 256;

/// Entries of the largest ledger that is opened with its index, which keeps what it has not flushed in memory.
const MOST_INDEXED: u64 = 100_000;

/// Makes the ledgers, and measures each step on the way.
pub(crate) fn run(ledgers: &[(&Path, u64)]) -> Vec<Value> {
    println!("peak resident memory of a process, MiB");
    println!(
        "{:>9} | {:>10} {:>9} {:>9} {:>12}",
        "entries", "making it", "verifying", "appending", "with index"
    );
    let measure = |&(folder, entries): &(&Path, u64)| {
        if folder.exists() {
            fs::remove_dir_all(folder).unwrap();
        }
        let with_index = entries <= MOST_INDEXED;
        let steps =
            ["make", "verify", "append", "index"].iter().filter(|step| with_index || **step != "index");
        let steps: Vec<Value> = steps
            .map(|step| {
                let program = std::env::current_exe().unwrap();
                let arguments = ["--memory", step, folder.to_str().unwrap(), &entries.to_string()];
                let output = process::Command::new(program).args(arguments).output().unwrap();
                assert!(output.status.success(), "{step}: {}", String::from_utf8_lossy(&output.stderr));
                serde_json::from_slice(&output.stdout).unwrap()
            })
            .collect();
        let peak = |step: usize| {
            let step = steps.get(step)?["peak_kib"].as_f64()?;
            Some(format!("{:.1}", step / 1024.0))
        };
        let [make, verify, append, index] = [0, 1, 2, 3].map(|step| peak(step).unwrap_or_else(|| "-".into()));
        println!("{entries:>9} | {make:>10} {verify:>9} {append:>9} {index:>12}");
        let seconds = steps[0]["s"].as_f64().unwrap();
        println!(
            "{:>9} | made in {seconds:.1} s without fsync, {:.0} entries/s",
            "",
            entries as f64 / seconds
        );
        json!({ "entries": entries, "steps": steps })
    };
    ledgers.iter().map(measure).collect()
}

/// One step in this process.
pub(crate) fn child(step: &str, folder: &Path, entries: u64) {
    let start = Instant::now();
    match step {
        "make" => {
            let mut ledger = open(folder);
            while ledger.head().size < entries {
                let left = entries - ledger.head().size;
                append(&mut ledger, BATCH.min(left));
            }
        }
        "verify" => {
            let files = FileStorage::new(folder).unwrap();
            assert_eq!(Ledger::open_on(Box::new(files), options(false)).unwrap().head().size, entries);
        }
        "append" => {
            let mut ledger = open(folder);
            // Forgets the peak of verifying it (proc(5), clear_refs).
            fs::write("/proc/self/clear_refs", "5").unwrap();
            (0..20).for_each(|_| append(&mut ledger, BATCH));
        }
        "index" => {
            let mut ledger = Ledger::open(folder, options(true)).unwrap();
            (0..4).for_each(|_| append(&mut ledger, BATCH));
        }
        _ => process::exit(2),
    }
    let status = fs::read_to_string("/proc/self/status").unwrap();
    let peak = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).unwrap();
    let peak: u64 = peak.split_whitespace().next().unwrap().parse().unwrap();
    println!("{}", json!({ "step": step, "peak_kib": peak, "s": start.elapsed().as_secs_f64() }));
}

fn open(folder: &Path) -> Ledger {
    Ledger::open_on(Box::new(Watched::new(folder, false).0), options(false)).unwrap()
}

fn append(ledger: &mut Ledger, count: u64) {
    let first = ledger.head().size;
    ledger.append(drafts(first..first + count), at(first)).unwrap();
}
