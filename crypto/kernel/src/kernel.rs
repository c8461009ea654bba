//! Which path runs.

use std::fmt;
use std::sync::OnceLock;

use crate::packing::{add_packed_with, pack};
use crate::streams::{CHALLENGE_COLUMNS, ChallengeStream, MaskStream, Sign};

/// The environment variable that names a path for this process, for tests and measurements.
const FORCED: &str = "KONCLAVE_MASK_KERNEL";

/// The instructions that a path uses, fastest first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Path {
    /// Four AES blocks to a register: VAES with AVX-512 F and BW.
    Vaes512,
    /// Two AES blocks to a register: VAES with AVX2.
    Vaes256,
    /// One AES block to a register: AES-NI; AVX2 for the rest.
    AesNi,
    /// The `aes` and `ctr` crates (which find AES-NI themselves) and plain Rust.
    Portable,
}

impl Path {
    /// Every path, fastest first.
    pub const ALL: [Self; 4] = [Self::Vaes512, Self::Vaes256, Self::AesNi, Self::Portable];

    /// Its name, as `KONCLAVE_MASK_KERNEL` takes it.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Vaes512 => "vaes-512",
            Self::Vaes256 => "vaes-256",
            Self::AesNi => "aes-ni",
            Self::Portable => "portable",
        }
    }

    #[cfg(target_arch = "x86_64")]
    fn supported(self) -> bool {
        let avx2 = || is_x86_feature_detected!("avx2") && is_x86_feature_detected!("bmi2");
        let aes = || avx2() && is_x86_feature_detected!("aes") && is_x86_feature_detected!("pclmulqdq");
        match self {
            Self::Vaes512 => {
                aes()
                    && is_x86_feature_detected!("vaes")
                    && is_x86_feature_detected!("avx512f")
                    && is_x86_feature_detected!("avx512bw")
            }
            Self::Vaes256 => aes() && is_x86_feature_detected!("vaes"),
            Self::AesNi => aes(),
            Self::Portable => true,
        }
    }

    #[cfg(not(target_arch = "x86_64"))]
    fn supported(self) -> bool {
        self == Self::Portable
    }
}

impl fmt::Display for Path {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// A path that this processor was found to support: it is made only by that check.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Kernel(Path);

impl Kernel {
    /// The portable kernel, which every processor supports.
    pub const PORTABLE: Self = Self(Path::Portable);

    /// The kernel of a path, if this processor supports it.
    #[must_use]
    pub fn of(path: Path) -> Option<Self> {
        path.supported().then_some(Self(path))
    }

    /// The kernels that this processor supports, fastest first; the portable one is the last.
    pub fn available() -> impl Iterator<Item = Self> {
        Path::ALL.into_iter().filter_map(Self::of)
    }

    /// The kernel for this process: the fastest that agrees with the portable one in a short self-test, or the one
    /// that `KONCLAVE_MASK_KERNEL` names if it is supported and agrees. Decided once.
    #[must_use]
    pub fn chosen() -> Self {
        static CHOSEN: OnceLock<Kernel> = OnceLock::new();
        *CHOSEN.get_or_init(|| {
            let named = std::env::var(FORCED).ok();
            let named = Path::ALL.into_iter().find(|path| named.as_deref() == Some(path.name()));
            let named = named.and_then(Self::of);
            named
                .into_iter()
                .chain(Self::available())
                .find(|kernel| kernel.agrees())
                .unwrap_or(Self::PORTABLE)
        })
    }

    /// Its path.
    #[must_use]
    pub const fn path(self) -> Path {
        self.0
    }

    /// Compares this kernel with the portable one: masks of both signs, a challenge, and packed lanes of each width.
    fn agrees(self) -> bool {
        let masked = |kernel: Self| {
            let mut lanes = [3_u32; 333];
            MaskStream::with(kernel, &[0x5a; 32], Sign::Add).apply(5, &mut lanes);
            MaskStream::with(kernel, &[0xa5; 32], Sign::Subtract).apply(u64::from(u32::MAX) * 4, &mut lanes);
            lanes
        };
        let expected = masked(Self::PORTABLE);
        let chosen = |kernel: Self| {
            let mut sums = [7; CHALLENGE_COLUMNS];
            ChallengeStream::with(kernel, &[0x3c; 32]).accumulate(
                u64::from(u32::MAX) - 9,
                &expected,
                &mut sums,
            );
            sums
        };
        let unpacked = |kernel: Self, bits: u8, packed: &[u8]| {
            let mut lanes = expected;
            add_packed_with(kernel, packed, bits, &mut lanes);
            lanes
        };
        masked(self) == expected
            && chosen(self) == chosen(Self::PORTABLE)
            && (1..=32).all(|bits| {
                let packed = pack(&expected, bits);
                unpacked(self, bits, &packed) == unpacked(Self::PORTABLE, bits, &packed)
            })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_available_kernel_agrees() {
        let found: Vec<Kernel> = Kernel::available().collect();
        assert_eq!(found.last(), Some(&Kernel::PORTABLE));
        for kernel in found {
            assert!(kernel.agrees(), "{}", kernel.path());
        }
    }

    #[test]
    fn the_fastest_is_chosen_unless_another_is_named() {
        let chosen = Kernel::chosen();
        match std::env::var(FORCED) {
            Ok(name) => assert_eq!(chosen.path().name(), name),
            Err(_) => assert_eq!(Some(chosen), Kernel::available().next()),
        }
    }
}
