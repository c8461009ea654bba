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
//! [`Learner`] and [`Examiner`] are the seams to the learning half, so that a test can run a site with known vectors.

mod error;
mod evaluate;
mod learner;
mod member;
mod opening;
mod session;
mod setup;
mod site;
mod upload;
mod work;

pub use error::StepError;
pub use evaluate::Evaluator;
pub use learner::{
    Examiner, Learner, LearnerFault, Scores, TorchExaminer, TorchLearner, hyperparameters_of, tasks_of,
};
pub use member::{Member, SiteError};
pub use session::{Session, StoredAnswer};
pub use site::Site;
