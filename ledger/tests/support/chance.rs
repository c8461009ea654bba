//! Chance that can be repeated: SplitMix64 from a seed.

use konclave_ledger::Hash;

/// A stream of numbers; the same for the same seed and name.
#[derive(Debug, Clone)]
pub struct Chance(u64);

impl Chance {
    pub fn new(name: &str, seed: u64) -> Self {
        let digest = Hash::of(format!("{name} {seed}").as_bytes());
        Self(u64::from_be_bytes(*digest.as_bytes().first_chunk().unwrap()))
    }

    pub fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    /// A number below `end`, which is not 0.
    pub fn below(&mut self, end: usize) -> usize {
        usize::try_from(self.next() % end as u64).unwrap()
    }

    pub fn one_in(&mut self, count: usize) -> bool {
        self.below(count) == 0
    }
}

/// A number from the environment: how much of a test a long run does.
pub fn setting(name: &str, default: u64) -> u64 {
    std::env::var(name).ok().and_then(|text| text.parse().ok()).unwrap_or(default)
}

/// A folder in memory if there is one: the tests that emulate a disk must not wait for a real one.
pub fn quick_folder() -> tempfile::TempDir {
    let memory = std::path::Path::new("/dev/shm");
    if memory.is_dir() { tempfile::tempdir_in(memory).unwrap() } else { tempfile::tempdir().unwrap() }
}
