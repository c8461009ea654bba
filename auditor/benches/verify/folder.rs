//! Makes a large copy of a ledger in seconds: the files of an export, written without a ledger and without waiting for
//! the disk. Every entry is one that the gateway could have written, and the copy verifies.

use std::fs;
use std::path::Path;

use konclave_ledger::checkpoint::log_key;
use konclave_ledger::frontier::{Frontier, HashTile};
use konclave_ledger::tiles::{TILE_WIDTH, TileKind, TilePath};
use konclave_ledger::{Checkpoint, Hash, Ledger, SigningKey, Timestamp, bundle};

use crate::consortium;

/// Writes a copy of `size` entries into an empty folder; gives the bytes of its entries.
pub fn write(folder: &Path, size: u64) -> u64 {
    let signer = SigningKey::from_seed(&consortium::support_log_seed());
    let key = log_key(consortium::log_key().name().clone(), &signer);
    let (mut frontier, mut entries, mut bytes) = (Frontier::default(), Vec::new(), 0);
    for seq in 0..size {
        let stored = if seq == 0 { first() } else { usage(seq, frontier.last_entry(), key.name().as_str()) };
        bytes += stored.len() as u64;
        bundle::push(&mut entries, &stored);
        frontier.push(&stored).iter().for_each(|tile| put_tile(folder, tile));
        if (seq + 1) % TILE_WIDTH == 0 {
            let path = TilePath::full(TileKind::Entries, seq / TILE_WIDTH);
            put(folder, &path.to_string(), &std::mem::take(&mut entries));
        }
    }
    frontier.partial_tiles().iter().for_each(|tile| put_tile(folder, tile));
    if let Some(path) = TilePath::in_log(TileKind::Entries, size / TILE_WIDTH, size) {
        put(folder, &path.to_string(), &entries);
    }
    let head = Checkpoint { origin: key.name().clone(), size, root: frontier.root() };
    put(folder, "checkpoint", head.sign(&signer).to_string().as_bytes());
    bytes
}

/// The first entry, as a ledger writes it.
fn first() -> Vec<u8> {
    let live = tempfile::tempdir().unwrap();
    let mut ledger = Ledger::open(live.path(), consortium::options(false)).unwrap();
    ledger.append(vec![consortium::created()], consortium::at(0)).unwrap();
    ledger.leaf_bytes(0).unwrap().unwrap()
}

/// Somebody used a trained model: an entry of the usual length and kind.
fn usage(seq: u64, prev: Hash, origin: &str) -> Vec<u8> {
    let time = Timestamp::from_unix_millis(1_767_225_600_000 + seq * 950).unwrap();
    let (organisation, job) = (seq % 37, seq % 11);
    let (old, new) = (Hash::of(&seq.to_le_bytes()), Hash::of(&(seq + 1).to_le_bytes()));
    format!(
        "{{\"action\":\"usage.recorded\",\"actor\":\"partner-{organisation}\",\"clock\":\"synchronised\",\"commitments\":[],\
         \"new\":\"{new}\",\"object\":\"job/admet-{job}\",\"old\":\"{old}\",\"origin\":\"{origin}\",\"policy\":\"{old}\",\
         \"prev\":\"{prev}\",\"reason\":\"predictions for project {seq}\",\"record\":{{\"fee_micro\":\"{}\",\
         \"job\":\"admet-{job}\",\"organisation\":\"partner-{organisation}\",\"predictions\":{},\
         \"purpose\":\"lead optimisation\"}},\"request_id\":\"request-{seq}\",\"role\":\"partner\",\"seq\":{seq},\
         \"site\":null,\"software\":\"konclave/0.1.0\",\"statement\":null,\"time\":\"{time}\",\"v\":1}}",
        seq * 100,
        seq % 5000
    )
    .into_bytes()
}

fn put_tile(folder: &Path, tile: &HashTile) {
    put(folder, &tile.path.to_string(), &tile.to_bytes());
}

fn put(folder: &Path, path: &str, bytes: &[u8]) {
    let path = folder.join(path);
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    fs::write(path, bytes).unwrap();
}
