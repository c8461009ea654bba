//! The gateway's side of a round: collect, agree, unmask, open, and gather the tags that verify what was opened.
//!
//! ```text
//! Collecting --close--> Agreeing --close--> Unmasking --close--> Opening --open_into--> Tagging --settle--> Settled
//!   accept_manifest       accept              accept                                     accept
//!   accept_body
//! ```
//!
//! A phase changes only by messages it accepts: the same message again is no error, a different one in its place is a
//! [`Rejection`], and a rejected message leaves the phase as it was. A gateway that stores each message before it
//! acknowledges it can rebuild any phase by replaying the messages in any order within the phase.

mod agreeing;
mod collecting;
mod errors;
mod opening;
mod tagging;
mod unmasking;

pub use agreeing::Agreeing;
pub use collecting::Collecting;
pub use errors::{Abort, Opened, Rejection};
pub(crate) use opening::hash_coordinates;
pub use opening::{Opening, SumSink};
pub use tagging::{Settled, Tagging};
pub use unmasking::Unmasking;

use std::collections::BTreeSet;

use crate::context::{ContextError, RoundContext};
use crate::digest::Digest;
use crate::ids::SiteId;
use crate::round::Round;
use crate::setup::Roster;

/// The public facts of the round, carried from phase to phase.
struct Facts {
    context: RoundContext,
    digest: Digest,
    roster: Roster,
}

impl Facts {
    fn new(context: RoundContext, roster: Roster) -> Result<Self, ContextError> {
        context.validate(&roster)?;
        Ok(Self { digest: context.digest(), context, roster })
    }

    fn round(&self) -> Round<'_> {
        Round { context: &self.context, digest: self.digest, roster: &self.roster }
    }

    fn threshold(&self) -> usize {
        self.context.threshold.into()
    }

    /// The number of colluding sites that breaks the protocol's promise, `2t - n`: this many cannot all be lying.
    fn colluding(&self) -> usize {
        (2 * self.threshold()).saturating_sub(self.roster.len()).max(1)
    }

    /// The message of `site` for `context` may count at all: it uploaded, and means this round.
    fn check_sender(
        &self,
        site: &SiteId,
        context: Digest,
        uploaded: &BTreeSet<SiteId>,
    ) -> Result<(), Rejection> {
        if self.roster.index_of(site).is_none() {
            return Err(Rejection::UnknownSite { site: site.clone() });
        }
        if context != self.digest {
            return Err(Rejection::Context { site: site.clone() });
        }
        if !uploaded.contains(site) {
            return Err(Rejection::NotUploaded { site: site.clone() });
        }
        Ok(())
    }
}
