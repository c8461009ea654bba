//! The portable path, and what the others are compared with.

use aes::Aes256;
use aes::cipher::{InnerIvInit, KeyInit, StreamCipher, StreamCipherCoreWrapper};
use ctr::{CtrCore, flavors::Ctr128BE};
use zeroize::Zeroize;

use crate::streams::{CHALLENGE_COLUMNS, Sign};

pub(crate) type Cipher = Aes256;

/// Lanes whose key stream is made at once.
const RUN_LANES: usize = 1024;

pub(crate) fn cipher(key: &[u8; 32]) -> Cipher {
    Aes256::new(key.into())
}

fn stream(cipher: &Cipher, block: u128) -> StreamCipherCoreWrapper<CtrCore<Aes256, Ctr128BE>> {
    let core = CtrCore::inner_iv_init(cipher.clone(), &block.to_be_bytes().into());
    StreamCipherCoreWrapper::from_core(core)
}

pub(crate) fn apply(cipher: &Cipher, sign: Sign, block: u128, lanes: &mut [u32]) {
    let mut stream = stream(cipher, block);
    let mut bytes = [0_u8; RUN_LANES * 4];
    for run in lanes.chunks_mut(RUN_LANES) {
        let (used, _) = bytes.split_at_mut(run.len() * 4);
        used.fill(0);
        stream.apply_keystream(used);
        let words = used.as_chunks::<4>().0.iter().map(|word| u32::from_le_bytes(*word));
        match sign {
            Sign::Add => run.iter_mut().zip(words).for_each(|(lane, word)| *lane = lane.wrapping_add(word)),
            Sign::Subtract => {
                run.iter_mut().zip(words).for_each(|(lane, word)| *lane = lane.wrapping_sub(word));
            }
        }
    }
    bytes.zeroize();
}

pub(crate) fn accumulate(cipher: &Cipher, block: u128, lanes: &[u32], sums: &mut [u32; CHALLENGE_COLUMNS]) {
    let mut stream = stream(cipher, block);
    let mut bytes = [0_u8; RUN_LANES * 16];
    for run in lanes.chunks(RUN_LANES) {
        let (used, _) = bytes.split_at_mut(run.len() * 16);
        used.fill(0);
        stream.apply_keystream(used);
        for (lane, chosen) in run.iter().zip(used.as_chunks::<16>().0) {
            for (byte, sums) in chosen.iter().zip(sums.as_chunks_mut::<8>().0) {
                for (bit, sum) in sums.iter_mut().enumerate() {
                    *sum = sum.wrapping_add(lane & 0_u32.wrapping_sub(u32::from(byte >> bit & 1)));
                }
            }
        }
    }
}
