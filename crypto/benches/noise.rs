//! Discrete Gaussian noise for a whole model: `cargo bench -p konclave-crypto --bench noise`.

#![allow(missing_docs, reason = "criterion's macros make undocumented items")]
#![allow(clippy::unwrap_used, reason = "a benchmark may panic")]

use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use konclave_crypto::privacy::DiscreteGaussian;
use rand_chacha::ChaCha20Rng;
use rand_core::SeedableRng;

fn noise(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("noise");
    group.sample_size(10);
    for coordinates in [1_000_000_usize, 10_000_000] {
        group.throughput(Throughput::Elements(coordinates as u64));
        for sigma in [10_u64, 50_000] {
            let gaussian = DiscreteGaussian::new(sigma * sigma).unwrap();
            let mut lanes = vec![0_u32; coordinates];
            let mut rng = ChaCha20Rng::from_seed([1; 32]);
            let name = BenchmarkId::new(format!("sigma={sigma}"), coordinates);
            group.bench_function(name, |bencher| bencher.iter(|| gaussian.add_noise(&mut lanes, &mut rng)));
        }
    }
    group.finish();
}

criterion_group!(benches, noise);
criterion_main!(benches);
