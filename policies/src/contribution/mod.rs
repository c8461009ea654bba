//! What each legal entity's contribution was worth, and what it is paid.
//!
//! Under secure aggregation nobody sees one site's update, so value is measured per batch: the exact
//! Shapley value of each batch over the benchmark scores of all coalitions of batches ([`shapley`]).
//! Inside one partition the sites of a batch cannot be told apart; until enough partitions were
//! scored, a batch's value is split by evidence and every figure says `provisional`.
//!
//! Everything is exact: integers and fractions, no floating point, no randomness. The same inputs
//! give the same [`RewardStatement`], whatever the order of their lists.

mod amount;
mod apportion;
mod evidence;
mod inputs;
mod payout;
mod ratio;
mod reasons;
mod shapley;
mod statement;
mod table;

pub use amount::{Amount, NotAnAmount};
pub use apportion::{ApportionError, Weight, apportion};
pub use evidence::MAX_DEPOSIT_COUNT;
pub use inputs::{CoalitionScore, DepositEvidence, ScoringRound, SiteEvidence, StatementInputs};
pub use payout::reward_statement;
pub use ratio::{NotARatio, Ratio, RatioText};
pub use shapley::{Coalition, MAX_BATCHES, ShapleyError, shapley};
pub use statement::{BatchValue, ContributionRow, Evidence, Reason, RewardLine, RewardStatement};
pub use table::{MAX_SCORE_MICRO, StatementError, contribution_table};
