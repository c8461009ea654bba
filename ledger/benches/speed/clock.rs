//! Processor time for what only computes, wall-clock time for what waits for a disk.

use std::time::{Duration, Instant};

use rustix::time::{ClockId, clock_gettime};

/// Processor time of this thread: waiting for a busy machine does not count.
pub(crate) fn seconds(run: impl FnOnce()) -> f64 {
    let now = || {
        let spent = clock_gettime(ClockId::ThreadCPUTime);
        Duration::new(spent.tv_sec as u64, spent.tv_nsec as u32)
    };
    let start = now();
    run();
    (now() - start).as_secs_f64()
}

pub(crate) fn wall_seconds(run: impl FnOnce()) -> f64 {
    let start = Instant::now();
    run();
    start.elapsed().as_secs_f64()
}

/// The shortest of several runs, by processor time.
pub(crate) fn best(turns: usize, mut run: impl FnMut()) -> f64 {
    (0..turns).map(|_| seconds(&mut run)).fold(f64::MAX, f64::min)
}

pub(crate) fn median(mut times: Vec<f64>) -> f64 {
    times.sort_by(f64::total_cmp);
    times[times.len() / 2]
}
