//! Masking and opening against the floor of the pseudo-random generator, measured in the same run.
//!
//! `cargo bench -p konclave-crypto --bench masking`; `KONCLAVE_BENCH_COORDINATES=1000000` for another size.
//! The floor of a step is the time in which the chosen kernel alone makes the key streams that it needs.

#![allow(missing_docs, reason = "criterion's macros make undocumented items")]
#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "a benchmark may panic")]

#[path = "../tests/support/mod.rs"]
mod support;

use std::collections::BTreeSet;
use std::hint::black_box;
use std::time::{Duration, Instant};

use criterion::{BatchSize, Criterion, Throughput, criterion_group, criterion_main};
use konclave_crypto::aggregator::Opening;
use konclave_crypto::{Mode, RoundContext, VerifiedContext};
use konclave_mask_kernel::{MaskStream, Sign};
use support::{Consortium, Uploaded, agree_all, encoding, open, site, unmask_all, upload_all};

/// Key-stream bytes per second of one core, in lanes that stay in the first-level cache. Meaningful only in an
/// optimised build.
fn key_stream_speed() -> f64 {
    let mut lanes = [0_u32; 4096];
    let stream = MaskStream::new(&[7; 32], Sign::Add);
    let rounds = 1024_u32;
    let took = best(8, || {
        let start = Instant::now();
        for _ in 0..rounds {
            stream.apply(0, black_box(&mut lanes));
        }
        start.elapsed()
    });
    f64::from(rounds) * size_of_val(&lanes) as f64 / took.as_secs_f64()
}

struct Prepared {
    consortium: Consortium,
    context: RoundContext,
    verified: VerifiedContext,
}

fn prepare(sites: usize, coordinates: u64) -> Prepared {
    let consortium = Consortium::new(sites, 1);
    let mut context = consortium.context(Mode::Full);
    context.encoding = encoding(&[coordinates], 12, 20);
    let verified = consortium.verified(&context);
    Prepared { consortium, context, verified }
}

/// A round up to the point of opening, with the bodies.
fn ready_to_open(
    prepared: &mut Prepared,
) -> (Opening, std::collections::BTreeMap<konclave_crypto::SiteId, Vec<u8>>) {
    let Prepared { consortium, context, .. } = prepared;
    let nobody = BTreeSet::new();
    let Uploaded { context: verified, collecting, waiting, bodies, .. } =
        upload_all(consortium, context, &nobody);
    let mut agreeing = collecting.close().unwrap();
    let signed = agree_all(consortium, &verified, &mut agreeing, waiting, &nobody);
    let mut unmasking = agreeing.close().unwrap();
    unmask_all(consortium, &verified, &mut unmasking, signed, &nobody);
    (unmasking.close().unwrap(), bodies)
}

fn best(runs: usize, mut run: impl FnMut() -> Duration) -> Duration {
    (0..runs).map(|_| run()).min().unwrap_or_default()
}

fn masking(criterion: &mut Criterion) {
    let coordinates: u64 = std::env::var("KONCLAVE_BENCH_COORDINATES")
        .ok()
        .and_then(|text| text.parse().ok())
        .unwrap_or(200_000);
    let speed = key_stream_speed();
    println!("key stream on one core: {:.2} GB/s", speed / 1e9);

    for sites in [6, 16] {
        let mut prepared = prepare(sites, coordinates);
        let floor = (sites as u64 * 4 * coordinates) as f64 / speed;

        let masked = best(5, || {
            let update = prepared.consortium.update(&prepared.context.encoding).0;
            let start = Instant::now();
            black_box(prepared.consortium.upload(&site(0), &prepared.verified, update));
            start.elapsed()
        });
        let opened = best(3, || {
            let (opening, bodies) = ready_to_open(&mut prepared);
            let start = Instant::now();
            black_box(open(opening, &bodies).unwrap());
            start.elapsed()
        });
        for (step, took) in [("mask", masked), ("open", opened)] {
            println!(
                "{step} n={sites} d={coordinates}: {:.2} ms, {:.2} x the one-core floor of {sites} streams",
                took.as_secs_f64() * 1e3,
                took.as_secs_f64() / floor
            );
        }

        let mut group = criterion.benchmark_group(format!("n={sites} d={coordinates}"));
        group.sample_size(10).throughput(Throughput::Elements(coordinates));
        group.bench_function("mask", |bencher| {
            bencher.iter_batched(
                || prepare_update(&prepared.context),
                |(mut consortium, update)| consortium.upload(&site(0), &prepared.verified, update),
                BatchSize::PerIteration,
            );
        });
        let mut twin = prepare(sites, coordinates);
        group.bench_function("open", |bencher| {
            bencher.iter_batched(
                || ready_to_open(&mut twin),
                |(opening, bodies)| open(opening, &bodies).unwrap(),
                BatchSize::PerIteration,
            );
        });
        group.finish();
    }
}

/// A fresh copy of the same consortium (fixed seed) and an update for its first site.
fn prepare_update(context: &RoundContext) -> (Consortium, konclave_crypto::RingVector) {
    let mut consortium = Consortium::new(context.batches.len(), 1);
    let update = consortium.update(&context.encoding).0;
    (consortium, update)
}

criterion_group!(benches, masking);
criterion_main!(benches);
