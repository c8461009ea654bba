//! Draws from a seeded generator.

use rand_chacha::ChaCha20Rng;
use rand_core::Rng;

/// A number below `below`; 0 if that is 0.
pub fn draw(rng: &mut ChaCha20Rng, below: usize) -> usize {
    let below = below.max(1) as u64;
    usize::try_from(rng.next_u64() % below).unwrap()
}

/// Whether something with this chance in a thousand happens.
pub fn happens(rng: &mut ChaCha20Rng, permille: u16) -> bool {
    draw(rng, 1000) < usize::from(permille)
}

pub fn shuffle<T>(items: &mut [T], rng: &mut ChaCha20Rng) {
    for last in (1..items.len()).rev() {
        items.swap(last, draw(rng, last + 1));
    }
}

/// One of the choices.
pub fn one_of<T: Clone>(rng: &mut ChaCha20Rng, choices: &[T]) -> T {
    choices[draw(rng, choices.len())].clone()
}
