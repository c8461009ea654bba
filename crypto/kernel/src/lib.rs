//! The inner loops of secure aggregation: AES-256 key streams added to vectors, packed lanes, and sums of chosen lanes.
//!
//! A **key stream** is AES-256 in counter mode (NIST SP 800-38A) with a counter block of 128 bits, big-endian, that
//! starts at zero. Read as a mask, lane `j` is the little-endian u32 at byte `4 j`; all sums are modulo 2^32. Read as a
//! challenge, bit `c` of lane `j` is bit `c % 8` of byte `16 j + c / 8`, for 128 columns `c`.
//!
//! Each operation has a portable path, on the `aes` and `ctr` crates, and paths for what an x86-64 processor offers
//! ([`Path`]). They give the same results; which one runs is decided once, at run time, and only after a self-test
//! against the portable path ([`Kernel::chosen`]).
//!
//! This is the only crate of Konclave with `unsafe` code: calls of functions that need processor features, loads and
//! stores inside slices whose length was checked, and one advice to the system on a buffer's pages. It knows nothing of the protocol: what the keys are, that none is
//! used twice, and what the lanes mean is its callers' business.
//!
//! All memory accesses and branches depend on lengths, positions and the public challenge, never on keys or lanes.

mod chunks;
mod kernel;
mod packing;
mod pages;
mod portable;
mod streams;
#[cfg(target_arch = "x86_64")]
mod x86;

pub use chunks::{CHUNK_LANES, apply, mask, open};
pub use kernel::{Kernel, Path};
pub use packing::{add_packed, pack, packed_bytes};
pub use streams::{CHALLENGE_COLUMNS, ChallengeStream, MaskStream, Sign};
