//! s
use crate::setup::KemPublicKey;
pub(crate) const PUBLIC_KEY_BYTES: usize = 32 + 1184;
pub(crate) fn check_public_key(_k: &KemPublicKey) -> Result<(), ()> { todo!() }
