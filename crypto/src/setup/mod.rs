//! Key set-up, once per job and roster: advertise, encapsulate, finish.
//!
//! ```text
//! advertise -> AwaitRoster --encapsulate--> AwaitCiphertexts --finish--> PairwiseChains
//!    |              ^            |                 ^
//!    v              |            v                 |
//! KeyAdvertisement  Roster       KemCiphertext ----+  (to every later site; from every earlier one)
//! ```

mod chains;
mod roster;
mod signatories;
mod states;

pub use chains::{ChainError, PairwiseChains};
pub use roster::{KemPublicKey, KeyAdvertisement, MAX_SITES, Roster, RosterError};
pub use signatories::{ListedRoster, Signatories};
pub use states::{AwaitCiphertexts, AwaitRoster, KemCiphertext, SetupError, advertise};
