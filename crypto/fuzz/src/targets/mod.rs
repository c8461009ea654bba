//! What each target does with its bytes. A panic is a finding: of the crate, or of an assertion here.

mod fixture;
mod parsers;
mod phases;
mod set_up;

pub use parsers::{messages, packing, states};
pub use phases::{agreeing, collecting, unmasking};
pub use set_up::setup;

/// A target: its name and what it does.
pub type Target = (&'static str, fn(&[u8]));

/// Every target.
pub const ALL: [Target; 7] = [
    ("messages", messages),
    ("packing", packing),
    ("states", states),
    ("setup", setup),
    ("collecting", collecting),
    ("agreeing", agreeing),
    ("unmasking", unmasking),
];

/// Inputs made of real messages, from which mutation starts.
pub fn seeds(target: &str) -> Vec<Vec<u8>> {
    match target {
        "messages" => fixture::messages(),
        "packing" => {
            vec![vec![17, 6, 0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12], vec![32, 1, 0, 255, 255, 255, 127]]
        }
        "states" => fixture::states(),
        "setup" => set_up::seeds(),
        _ => phases::seeds(),
    }
}
