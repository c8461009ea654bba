//! Durable appends beside a plain file that takes the same bytes with one fsync for each batch.

use std::fs::{self, File};
use std::io::Write;
use std::path::Path;

use konclave_ledger::Ledger;
use serde_json::{Value, json};

use crate::clock::{median, seconds, wall_seconds};
use crate::entries::{at, drafts, options};
use crate::watched::{Watched, count};

/// Batches measured of each size; the first of them grow the partial tiles, so that these are as wide as they get.
const ROUNDS: [(u64, usize); 3] = [(1, 400), (64, 80), (256, 40)];

pub(crate) fn run(folder: &Path) -> Vec<Value> {
    println!("appending with fsync; medians of batches by the clock on the wall");
    println!(
        "{:>5} | {:>9} {:>9} {:>6} | {:>9} {:>6} | {:>6} {:>9} {:>6} | {:>7} {:>9}",
        "batch",
        "append ms",
        "entries/s",
        "cpu ms",
        "plain ms",
        "ratio",
        "fsyncs",
        "order ms",
        "ratio",
        "B/entry",
        "written B"
    );
    ROUNDS.map(|(batch, rounds)| row(folder, batch, rounds)).into()
}

fn row(folder: &Path, batch: u64, rounds: usize) -> Value {
    let folder = folder.join("appending");
    fs::create_dir_all(&folder).unwrap();
    let (storage, counts) = Watched::new(&folder.join("ledger"), true);
    let mut ledger = Ledger::open_on(Box::new(storage), options(false)).unwrap();
    let mut plain = File::create(folder.join("plain")).unwrap();
    let order = File::create(folder.join("order")).unwrap();
    let syncs = || count(&counts.file_syncs) + count(&counts.folder_syncs);
    let (mut appends, mut plains, mut orders) = (Vec::new(), Vec::new(), Vec::new());
    let mut processor = Vec::new();
    let (mut synced, mut entry_bytes) = (0, 0);
    let written_before = count(&counts.bytes_written);
    for _ in 0..rounds {
        let first = ledger.head().size;
        let entries = drafts(first..first + batch);
        let before = syncs();
        let mut spent = 0.0;
        appends.push(wall_seconds(|| spent = seconds(|| drop(ledger.append(entries, at(first)).unwrap()))));
        processor.push(spent);
        let syncs = syncs() - before;
        synced += syncs;
        let stored: Vec<u8> =
            (first..first + batch).flat_map(|index| ledger.leaf_bytes(index).unwrap().unwrap()).collect();
        entry_bytes += stored.len();
        plains.push(wall_seconds(|| {
            plain.write_all(&stored).unwrap();
            plain.sync_all().unwrap();
        }));
        // As many fsyncs as the commit order takes, each with something to write, and nothing else.
        let piece = &stored[..stored.len() / syncs as usize];
        orders.push(wall_seconds(|| {
            for _ in 0..syncs {
                (&order).write_all(piece).unwrap();
                order.sync_all().unwrap();
            }
        }));
    }
    let (append, plain, order) = (median(appends), median(plains), median(orders));
    let processor = median(processor);
    let entries = batch * rounds as u64;
    let written = (count(&counts.bytes_written) - written_before) / entries;
    let (syncs, bytes) = (synced as f64 / rounds as f64, entry_bytes as u64 / entries);
    println!(
        "{batch:>5} | {:>9.2} {:>9.0} {:>6.2} | {:>9.2} {:>6.2} | {syncs:>6.1} {:>9.2} {:>6.2} | {bytes:>7} {written:>9}",
        append * 1e3,
        batch as f64 / append,
        processor * 1e3,
        plain * 1e3,
        append / plain,
        order * 1e3,
        append / order,
    );
    drop(ledger);
    fs::remove_dir_all(folder).unwrap();
    json!({
        "batch": batch, "append_s": append, "append_processor_s": processor, "plain_s": plain, "fsyncs": syncs, "order_s": order,
        "bytes_per_entry": bytes, "bytes_written_per_entry": written,
    })
}
