//! `token rotate`: another key for access tokens.

use std::io::{self, Write};
use std::time::{Duration, SystemTime};

use clap::Args;

use super::Dir;
use crate::auth::token_keys::{TokenKeysError, rotate};
use crate::auth::tokens::LIFETIME;

/// Arguments of `token rotate`.
#[derive(Debug, Args)]
pub struct Rotate {
    #[command(flatten)]
    dir: Dir,
    /// Rotate although tokens of the key before the current one may still be in use, which ends them
    #[arg(long)]
    now: bool,
}

/// Why no key was made.
#[derive(Debug, thiserror::Error)]
pub enum RotateError {
    /// The keys.
    #[error(transparent)]
    Keys(#[from] TokenKeysError),
    /// The output cannot be written.
    #[error("the output cannot be written: {0}")]
    Output(#[from] io::Error),
}

impl Rotate {
    /// Makes the key.
    ///
    /// # Errors
    /// [`RotateError`].
    pub fn run(&self, out: &mut impl Write) -> Result<(), RotateError> {
        let lifetime = Duration::from_secs(LIFETIME);
        let made = rotate(&self.dir.folder().keys(), lifetime, SystemTime::now(), self.now)?;
        writeln!(
            out,
            "{} signs access tokens from now on; a running gateway takes it within two seconds. Tokens of the key before \
             it stay good until they expire.",
            made.display()
        )?;
        Ok(())
    }
}
