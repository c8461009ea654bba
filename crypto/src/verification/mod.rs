//! Verification of opened sums: every site checks that what the gateway opened is the sum of what the sites uploaded.
//!
//! ```text
//! SumAnnouncement --challenge--> alpha in {0,1}^(128 x lanes)
//! site i:    z_i = y_i minus the masks that are open now,  tau_i = alpha z_i mod 2^b, signed
//! everybody: accept X iff sum over U of tau_i = alpha X mod 2^b
//! ```
//!
//! The challenge is drawn from a digest over the context, the agreed set with every body's root, and the opened sums:
//! a gateway must fix a sum before it knows the challenge, and a wrong one passes with probability 2^-128 for each
//! announcement that it tries. The masks between agreed sites cancel in the sum of the tags as they do in the sum of
//! the bodies, so a tag alone says nothing that the body did not.
//!
//! What this does not do: it does not bind a site that colludes with the gateway to the body it uploaded, because such a
//! site can sign any tag. Together they can put another input of that site into the sum, after they have seen the rest of
//! it. Whoever reads the bodies can see that.

mod announcement;
mod challenge;
mod evidence;
mod sum_check;
mod tag;

pub use announcement::{AnnouncedSum, AnnouncedTotal, AnnouncementFault, SumAnnouncement};
pub(crate) use challenge::{Challenge, TagSums};
pub use evidence::{AgreedSet, EvidenceError};
pub use sum_check::{SumCheck, Unverified, VerifiedSum};
pub(crate) use tag::compute;
pub use tag::{OwnUpload, RecomputedTag, TagError, recompute, tag};
