//! Fewer page faults where a large buffer is written for the first time.
//!
//! A new buffer of 250 MB is 61,000 pages of 4 KiB, each of which the system clears and maps at its first write: for few
//! streams that takes as long as the masks. Asked in time, Linux maps 2 MiB at once instead.

/// Bytes from which asking is worth it.
const LARGE: usize = 8 << 20;

/// A buffer of zeros that nobody has written yet, on large pages if the system has them.
pub(crate) fn zeros(bytes: usize) -> Vec<u8> {
    let fresh = vec![0; bytes];
    if bytes >= LARGE {
        advise(&fresh);
    }
    fresh
}

#[cfg(target_os = "linux")]
#[expect(unsafe_code, reason = "madvise(2)")]
fn advise(buffer: &[u8]) {
    let page = rustix::param::page_size();
    let start = buffer.as_ptr().align_offset(page);
    let Some(inside) = buffer.get(start..) else { return };
    let length = inside.len() / page * page;
    // Without large pages everything is the same, only slower.
    // SAFETY: the range is whole pages inside one allocation that outlives the call, and this advice changes neither
    // their content nor who may read or write them.
    let _ = unsafe {
        rustix::mm::madvise(inside.as_ptr().cast_mut().cast(), length, rustix::mm::Advice::LinuxHugepage)
    };
}

#[cfg(not(target_os = "linux"))]
fn advise(_: &[u8]) {}

#[cfg(test)]
mod tests {
    #[test]
    fn large_buffers_are_zeros_too() {
        for bytes in [0, 1, 4096, super::LARGE - 1, super::LARGE, super::LARGE + 12_345] {
            let fresh = super::zeros(bytes);
            assert_eq!(fresh.len(), bytes);
            assert!(fresh.iter().all(|byte| *byte == 0));
        }
    }
}
