//! The service: asks the gateway for work and does it, step by step, each step checked, durable and repeatable.
//!
//! ```text
//! Consent        policy, then a look at the model      -> signed consent or refusal
//! AdvertiseKeys  fresh KEM key                         -> stored, sent
//! Encapsulate    roster checked under the pinned root  -> stored, sent
//! Upload         context checked, trained, masked      -> stored, sent
//! Agree          proposal checked, signed once         -> stored, sent
//! Unmask         request checked, answered once        -> stored, sent
//! ```
//! The gateway's to-do list is a hint: no step trusts it. Where the gateway holds a message of this site that the site
//! does not know of, the site's state is an old copy, and the step is refused rather than repeated with fresh randomness.
//!
//! Nor does any step trust what the gateway says of the past: a round is trained only where the ledger proves its context
//! and the model it starts from ([`HistoryFault`]), and once this site has given shares in a round, it masks no other
//! update of the same model, whatever became of that round. Of two sums over one model, one with and one without a site, the
//! difference is that site's update. An honest gateway aborts a round after shares were given only if too few sites
//! answered, if what was opened is refused, or if it lost messages; then the sites that answered refuse the rounds after
//! it, each saying why, until the job ends or the other sites open a round without them. To go on, ask for a new job.
//!
//! [`Learner`] and [`Examiner`] are the seams to the learning half, so that a test can run a site with known vectors.

mod error;
mod evaluate;
mod evidence;
mod history;
mod learner;
mod member;
mod opening;
mod renewal;
mod session;
mod setup;
mod site;
mod sums;
mod upload;
mod verification;
mod work;

pub use error::StepError;
pub use evaluate::Evaluator;
pub use history::HistoryFault;
pub use learner::{
    Examiner, Learner, LearnerFault, Scores, TorchExaminer, TorchLearner, hyperparameters_of, tasks_of,
};
pub(crate) use member::enrolled_name;
pub use member::{Member, SiteError};
pub use renewal::{RenewalError, renew};
pub use session::{Session, StoredAnswer};
pub use site::Site;
