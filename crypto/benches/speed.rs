//! `make bench`: masking, unmasking and tags against the floors of this processor, in one table.
//!
//! The floor of masking is the time in which the fastest kernel makes the key streams that it needs, in a buffer that
//! stays in the first-level cache; that of unmasking adds one read of each upload at the speed of memory. Floors and
//! measured pieces take turns, and of each the shortest time of many counts, so that load by others hits both alike.
//! `docs/performance.md` says what the columns are. Settings: `BENCH=full` adds 10^8 coordinates, `BENCH=profile` shows only
//! where the time goes.

#![allow(missing_docs, reason = "a benchmark has no interface")]
#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::cast_possible_truncation,
    reason = "a benchmark may panic, and chooses its numbers"
)]

#[path = "../tests/support/mod.rs"]
mod support;

use std::collections::{BTreeMap, BTreeSet};
use std::fs::{self, File};
use std::hint::black_box;
use std::io::{self, BufReader};
use std::path::{Path as FilePath, PathBuf};
use std::time::{Duration, Instant};

use konclave_crypto::aggregator::{Collecting, SumSink};
use konclave_crypto::{Mode, RingVector, body_root};
use konclave_mask_kernel::{
    CHALLENGE_COLUMNS, CHUNK_LANES, ChallengeStream, Kernel, MaskStream, Sign, apply, mask, open, pack,
    packed_bytes,
};
use rustix::time::{ClockId, clock_gettime};
use serde_json::json;
use support::{Consortium, Upload, agree_all, encoding, site, unmask_all, upload_all};

/// Bits of a packed lane.
const BITS: u8 = 20;
/// Packed bytes of all bodies that the unmasking reads at once; as the opening does it.
const HELD_BYTES: usize = 8 << 20;
/// Most bytes of uploads kept in memory; beyond that, uploads share them. More than any cache holds.
const POOL_BYTES: usize = 1 << 30;

/// Processor time of this thread: waiting for a busy machine does not count, nor does what other threads do.
fn seconds(run: impl FnOnce()) -> f64 {
    let now = || {
        let spent = clock_gettime(ClockId::ThreadCPUTime);
        Duration::new(spent.tv_sec as u64, spent.tv_nsec as u32)
    };
    let start = now();
    run();
    (now() - start).as_secs_f64()
}

fn wall_seconds(run: impl FnOnce()) -> f64 {
    let start = Instant::now();
    run();
    start.elapsed().as_secs_f64()
}

fn streams(count: usize) -> Vec<MaskStream> {
    (0..count)
        .map(|index| {
            let mut key = [7; 32];
            key[..8].copy_from_slice(&(index as u64).to_le_bytes());
            MaskStream::new(&key, if index % 2 == 0 { Sign::Add } else { Sign::Subtract })
        })
        .collect()
}

/// Speeds of the machine, each the best that was seen.
struct Floor {
    key_stream: f64,
    read: f64,
    stream: Vec<MaskStream>,
    memory: Vec<u64>,
}

impl Floor {
    fn new() -> Self {
        Self { key_stream: 0.0, read: 0.0, stream: streams(1), memory: vec![1; 16 << 20] }
    }

    fn sample(&mut self) {
        let mut lanes = [0_u32; CHUNK_LANES / 2];
        let rounds = 256;
        for _ in 0..8 {
            let took = seconds(|| {
                for _ in 0..rounds {
                    self.stream[0].apply(0, black_box(&mut lanes));
                }
            });
            self.key_stream = self.key_stream.max(f64::from(rounds) * size_of_val(&lanes) as f64 / took);
        }
        let part = self.memory.len() / 8;
        for part in self.memory.chunks(part) {
            let took = seconds(|| {
                black_box(part.iter().fold(0_u64, |sum, word| sum.wrapping_add(*word)));
            });
            self.read = self.read.max(size_of_val(part) as f64 / took);
        }
    }

    fn mask(&self, n: usize, d: usize) -> f64 {
        (n * 4 * d) as f64 / self.key_stream
    }

    fn unmask(&self, streams: usize, uploads: usize, d: usize) -> f64 {
        (streams * 4 * d) as f64 / self.key_stream + (uploads * d) as f64 * f64::from(BITS) / 8.0 / self.read
    }
}

/// The shortest of several runs that take turns with the floor's. Long runs are repeated less.
fn best(floor: &mut Floor, mut run: impl FnMut() -> f64) -> f64 {
    let (mut shortest, mut spent, mut runs) = (f64::MAX, 0.0, 0);
    while runs < 3 || (spent < 0.3 && runs < 50) {
        floor.sample();
        let took = run();
        shortest = shortest.min(took);
        spent += took;
        runs += 1;
    }
    shortest
}

fn measure_mask(floor: &mut Floor, n: usize, d: usize) -> f64 {
    let streams = streams(n);
    let mut lanes = vec![1_u32; d];
    best(floor, || seconds(|| drop(black_box(mask(&streams, &mut lanes, BITS)))))
}

/// Adds up uploads that lie in memory and takes off the streams, block by block.
fn measure_unmask(floor: &mut Floor, streams: &[MaskStream], uploads: usize, d: usize) -> f64 {
    let lanes_of_all = HELD_BYTES / (uploads * CHUNK_LANES * usize::from(BITS) / 8) * CHUNK_LANES;
    let block = lanes_of_all.clamp(CHUNK_LANES, 64 * CHUNK_LANES);
    let block_bytes = block / 8 * usize::from(BITS);
    let noise: Vec<u32> = (0..block as u32).map(|lane| lane.wrapping_mul(0x9e37_79b1)).collect();
    let packed = pack(&noise, BITS);
    let distinct = (d.div_ceil(block) * uploads).min((POOL_BYTES / block_bytes).max(uploads));
    let pool = vec![packed; distinct];
    let mut sums = vec![0_u32; block];
    best(floor, || {
        seconds(|| {
            let mut next = 0;
            for first in (0..d).step_by(block) {
                if next + uploads > pool.len() {
                    next = 0;
                }
                let lanes = &mut sums[..block.min(d - first)];
                let bytes = packed_bytes(lanes.len(), BITS);
                let bodies: Vec<&[u8]> =
                    pool[next..next + uploads].iter().map(|body| &body[..bytes]).collect();
                next += uploads;
                open(&bodies, BITS, streams, first as u64, black_box(lanes));
            }
        })
    })
}

/// A tag: one upload unpacked, its opened masks taken off, the challenged sums of what is left.
fn measure_tag(floor: &mut Floor, dropped: usize, d: usize) -> f64 {
    let (streams, challenge) = (streams(1 + dropped), ChallengeStream::new(&[9; 32]));
    let block = 64 * CHUNK_LANES;
    let body = pack(&vec![5; block], BITS);
    let mut lanes = vec![0_u32; block];
    best(floor, || {
        seconds(|| {
            let mut sums = [0; CHALLENGE_COLUMNS];
            for first in (0..d).step_by(block) {
                let lanes = &mut lanes[..block.min(d - first)];
                open(&[&body[..packed_bytes(lanes.len(), BITS)]], BITS, &streams, first as u64, lanes);
                challenge.accumulate(first as u64, lanes, &mut sums);
            }
            black_box(sums);
        })
    })
}

fn row(floor: &mut Floor, n: usize, d: usize, dropped: usize) -> serde_json::Value {
    let (uploads, opened) = (n - dropped, (dropped + 1) * (n - dropped));
    let mask = measure_mask(floor, n, d);
    let unmask = measure_unmask(floor, &streams(opened), uploads, d);
    let tag = measure_tag(floor, dropped, d);
    let (mask_floor, unmask_floor) = (floor.mask(n, d), floor.unmask(opened, uploads, d));
    println!(
        "{n:>4} {:>6} {dropped:>7} | {:>9.3} {:>9.3} {:>5.2} | {:>9.3} {:>9.3} {:>5.2} | {:>9.3} {:>6.2} | {:>6.2}",
        format!("1e{}", d.ilog10()),
        mask * 1e3,
        mask_floor * 1e3,
        mask / mask_floor,
        unmask * 1e3,
        unmask_floor * 1e3,
        unmask / unmask_floor,
        tag * 1e3,
        tag / mask,
        f64::from(BITS) / 8.0,
    );
    json!({
        "sites": n, "coordinates": d, "dropped": dropped, "mask_s": mask, "mask_floor_s": mask_floor,
        "unmask_s": unmask, "unmask_floor_s": unmask_floor, "tag_s": tag,
        "bytes_per_parameter": f64::from(BITS) / 8.0,
    })
}

/// By the clock on the wall, on one thread and on all.
fn all_cores(n: usize, d: usize) -> serde_json::Value {
    let streams = streams(n);
    let mut lanes = vec![1_u32; d];
    let mut time = |threads: usize| {
        let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
        pool.install(|| {
            let run = |_| wall_seconds(|| drop(black_box(mask(&streams, &mut lanes, BITS))));
            (0..5).map(run).fold(f64::MAX, f64::min)
        })
    };
    let threads = std::thread::available_parallelism().map_or(1, usize::from);
    let (one, all) = (time(1), time(threads));
    println!(
        "mask, n={n} d={d}, wall clock: {:.1} ms on one thread, {:.1} ms on {threads}",
        one * 1e3,
        all * 1e3
    );
    json!({ "sites": n, "coordinates": d, "threads": threads, "one_s": one, "all_s": all })
}

/// Where the time of masking and of opening goes, part by part, each measured by itself.
fn profile(floor: &mut Floor, n: usize, d: usize) -> serde_json::Value {
    let streams = streams(n);
    let mut chunk = vec![1_u32; CHUNK_LANES];
    let in_cache = best(floor, || {
        seconds(|| {
            (0..d).step_by(CHUNK_LANES).for_each(|at| apply(&streams, at as u64, black_box(&mut chunk)))
        })
    });
    let mut lanes = vec![1_u32; d];
    let on_vector = best(floor, || seconds(|| apply(&streams, 0, black_box(&mut lanes))));
    let packing = best(floor, || {
        seconds(|| (0..d).step_by(CHUNK_LANES).for_each(|_| drop(black_box(pack(black_box(&chunk), BITS)))))
    });
    let pages = best(floor, || {
        seconds(|| {
            let mut fresh = vec![0_u8; packed_bytes(d, BITS)];
            fresh.iter_mut().step_by(4096).for_each(|byte| *byte = 1);
            drop(black_box(fresh));
        })
    });
    let mask_all = best(floor, || seconds(|| drop(black_box(mask(&streams, &mut lanes, BITS)))));
    let body = pack(&chunk, BITS);
    let bodies = vec![body.as_slice(); n];
    let none: [MaskStream; 0] = [];
    let unpacking = best(floor, || {
        seconds(|| {
            (0..d).step_by(CHUNK_LANES).for_each(|_| open(&bodies, BITS, &none, 0, black_box(&mut chunk)))
        })
    });
    let open_all = measure_unmask(floor, &streams, n, d);
    let (mask_floor, read_floor) = (floor.mask(n, d), floor.unmask(0, n, d));
    let parts = [
        ("masking", mask_all),
        ("  its floor: key stream", mask_floor),
        ("  streams on a chunk in cache", in_cache),
        ("  the vector's way from and to memory", on_vector - in_cache),
        ("  packing a chunk in cache", packing),
        ("  the new body's pages", pages),
        ("opening, nobody dropped", open_all),
        ("  its floor: key stream and reading", mask_floor + read_floor),
        ("  streams on a chunk in cache", in_cache),
        ("  unpacking and adding in cache", unpacking),
        ("  reading, at the floor's speed", read_floor),
    ];
    println!("n={n} d={d}");
    for (part, took) in parts {
        println!("{part:<40} {:>9.2} ms {:>6.2} x floor of masking", took * 1e3, took / mask_floor);
    }
    let of_opening = |(index, (part, took)): (usize, (&str, f64))| json!({ "of": if index < 6 { "masking" } else { "opening" }, "part": part.trim(), "s": took });
    json!({ "sites": n, "coordinates": d, "parts": parts.into_iter().enumerate().map(of_opening).collect::<Vec<_>>() })
}

fn header() {
    println!(
        "{:>4} {:>6} {:>7} | {:>9} {:>9} {:>5} | {:>9} {:>9} {:>5} | {:>9} {:>6} | {:>6}",
        "n",
        "d",
        "dropped",
        "mask ms",
        "floor ms",
        "ratio",
        "open ms",
        "floor ms",
        "ratio",
        "tag ms",
        "/mask",
        "B/par"
    );
}

/// The protocol's own calls, with keys, shares, hashes and range check.
fn whole_calls(floor: &mut Floor, n: usize, d: usize) -> serde_json::Value {
    let mut consortium = Consortium::new(n, 1);
    let mut context = consortium.context(Mode::Full);
    context.encoding = encoding(&[d as u64], 12, BITS);
    let verified = consortium.verified(&context);
    let mask = best(floor, || {
        let update = consortium.update(&context.encoding).0;
        seconds(|| drop(black_box(consortium.upload(&site(0), &verified, update))))
    });
    let nobody = BTreeSet::new();
    let (mut hash, mut opened) = (f64::MAX, f64::MAX);
    for _ in 0..2 {
        let round = upload_all(&mut consortium, &context, &nobody);
        let mut agreeing = round.collecting.close().unwrap();
        let signed = agree_all(&consortium, &round.context, &mut agreeing, round.waiting, &nobody);
        let mut unmasking = agreeing.close().unwrap();
        unmask_all(&consortium, &round.context, &mut unmasking, signed, &nobody);
        let opening = unmasking.close().unwrap();
        let bodies = &round.bodies;
        opened = opened.min(seconds(|| drop(black_box(support::open(opening, bodies).unwrap()))));
        hash = hash.min(seconds(|| {
            bodies.values().for_each(|body| assert!(black_box(body_root(body.as_slice())).is_ok()));
        }));
    }
    let (mask_floor, open_floor) = (floor.mask(n, d), floor.unmask(n, n, d));
    println!(
        "{n:>4} {:>6} | mask() {:>8.2} ms, {:>5.2} x floor | open() {:>8.2} ms, {:>5.2} x floor, of it SHA-256 of the bodies {:.2} ms",
        format!("1e{}", d.ilog10()),
        mask * 1e3,
        mask / mask_floor,
        opened * 1e3,
        opened / open_floor,
        hash * 1e3,
    );
    json!({ "sites": n, "coordinates": d, "mask_s": mask, "open_s": opened, "hash_s": hash })
}

struct Discard;

impl SumSink for Discard {
    fn take(&mut self, _: usize, coordinates: &[i32]) -> io::Result<()> {
        black_box(coordinates);
        Ok(())
    }

    fn take_total(&mut self, _: &[i32]) -> io::Result<()> {
        Ok(())
    }
}

/// Opens uploads that lie in files; says how much memory that took at most.
fn opening_memory(n: usize, d: u64, folder: &FilePath) {
    let mut consortium = Consortium::new(n, 1);
    let mut context = consortium.context(Mode::Full);
    context.encoding = encoding(&[d], 12, BITS);
    let verified = consortium.verified(&context);
    let mut collecting = Collecting::new(context.clone(), consortium.roster.clone()).unwrap();
    let (mut waiting, mut files) = (BTreeMap::new(), BTreeMap::new());
    for id in consortium.sites() {
        let mut lanes: Vec<u32> = (0..d as u32).map(|lane| lane % 2000).collect();
        // The heaviest weight: the range check allows no such coordinates with a lighter one.
        lanes.push(context.encoding.weight_cap);
        let update = RingVector::from_lanes(lanes, BITS).unwrap();
        let Upload { state, manifest, body } = consortium.upload(&id, &verified, update);
        collecting.accept_manifest(&id, manifest).unwrap();
        collecting.accept_body(&id, body_root(body.as_slice()).unwrap(), body.len() as u64).unwrap();
        let path = folder.join(id.as_str());
        fs::write(&path, body).unwrap();
        waiting.insert(id.clone(), state);
        files.insert(id, path);
    }
    let mut agreeing = collecting.close().unwrap();
    let nobody = BTreeSet::new();
    let signed = agree_all(&consortium, &verified, &mut agreeing, waiting, &nobody);
    let mut unmasking = agreeing.close().unwrap();
    unmask_all(&consortium, &verified, &mut unmasking, signed, &nobody);
    let opening = unmasking.close().unwrap();
    let bodies: BTreeMap<_, _> =
        files.iter().map(|(id, path)| (id.clone(), BufReader::new(File::open(path).unwrap()))).collect();
    // Forgets the peak of making the uploads (proc(5), clear_refs).
    fs::write("/proc/self/clear_refs", "5").unwrap();
    let took = wall_seconds(|| drop(black_box(opening.open_into(bodies, &mut Discard).unwrap())));
    let status = fs::read_to_string("/proc/self/status").unwrap();
    let peak = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).unwrap();
    let peak: u64 = peak.split_whitespace().next().unwrap().parse().unwrap();
    println!("{}", json!({ "sites": n, "coordinates": d, "open_s": took, "peak_mib": peak / 1024 }));
}

fn child(n: usize, d: u64, folder: &FilePath) -> serde_json::Value {
    let bodies = folder.join("bodies");
    fs::create_dir_all(&bodies).unwrap();
    let output = std::process::Command::new(std::env::current_exe().unwrap())
        .args(["--opening-memory", &n.to_string(), &d.to_string()])
        .arg(&bodies)
        .output()
        .unwrap();
    fs::remove_dir_all(&bodies).unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    serde_json::from_slice(&output.stdout).unwrap()
}

fn main() {
    let arguments: Vec<String> = std::env::args().collect();
    if let Some(at) = arguments.iter().position(|argument| argument == "--opening-memory") {
        let number = |index: usize| arguments[at + index].parse::<u64>().unwrap();
        opening_memory(number(1) as usize, number(2), FilePath::new(&arguments[at + 3]));
        return;
    }
    let setting = std::env::var("BENCH").unwrap_or_default();
    let full = setting == "full";
    let sizes: &[usize] =
        if full { &[100_000, 1_000_000, 10_000_000, 100_000_000] } else { &[100_000, 1_000_000, 10_000_000] };
    let folder = PathBuf::from(std::env::var("BENCH_OUT").unwrap_or_else(|_| "target/bench".into()));
    fs::create_dir_all(&folder).unwrap();
    let one = rayon::ThreadPoolBuilder::new().num_threads(1).build().unwrap();
    let mut floor = Floor::new();
    if setting == "profile" {
        one.install(|| [8, 32].map(|n| profile(&mut floor, n, 10_000_000)));
        return;
    }
    let mut rows = Vec::new();
    println!("kernel: {}; b = {BITS}; one thread", Kernel::chosen().path());
    header();
    for n in [8, 16, 32, 64] {
        for d in sizes {
            for dropped in [0, (n as f64 / 10.0).round() as usize] {
                rows.push(one.install(|| row(&mut floor, n, *d, dropped)));
            }
        }
    }
    println!("key stream {:.2} GB/s, read {:.2} GB/s", floor.key_stream / 1e9, floor.read / 1e9);
    let all_cores = all_cores(32, 10_000_000);
    println!("the protocol's whole calls, one thread, nobody dropped");
    let whole: Vec<_> = [8, 32].map(|n| one.install(|| whole_calls(&mut floor, n, 1_000_000))).into();
    println!("where the time goes, one thread");
    let profile: Vec<_> = [8, 32].map(|n| one.install(|| profile(&mut floor, n, 10_000_000))).into();
    let memory = child(32, if full { 100_000_000 } else { 10_000_000 }, &folder);
    println!("opening uploads from files: {memory}");
    let report = json!({
        "kernel": Kernel::chosen().path().name(), "bits": BITS, "key_stream_bytes_per_s": floor.key_stream,
        "read_bytes_per_s": floor.read, "rows": rows, "all_cores": all_cores, "whole_calls": whole,
        "profile": profile, "opening_memory": memory,
    });
    fs::write(folder.join("speed.json"), serde_json::to_string_pretty(&report).unwrap()).unwrap();
}
