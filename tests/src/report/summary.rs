//! What one run of the demonstration found, as written to `summary.json`.
//!
//! Numbers that decide about money (`*_micro`) are decimal strings of integers, as in the ledger; metrics and
//! seconds are ordinary floating-point numbers, because nothing is signed or paid by them.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

/// The version of this layout; raised whenever a field changes its meaning.
pub const LAYOUT: u32 = 2;

/// Everything the report shows.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Summary {
    /// [`LAYOUT`].
    pub layout: u32,
    /// Whether all `checks` passed.
    pub passed: bool,
    /// What the run had to show, each with what was seen.
    pub checks: Vec<Check>,
    /// When and with what it was made.
    pub run: Run,
    /// One entry a task, in the model's output order.
    pub tasks: Vec<TaskResult>,
    /// One entry a site, in the order of site ids.
    pub sites: Vec<SiteShare>,
    /// One entry a round, in order; aborted rounds too.
    pub rounds: Vec<RoundRecord>,
    /// The scoring round's outcome.
    pub rewards: Rewards,
    /// The ledger and how to verify it.
    pub ledger: LedgerFacts,
    /// What the sites sent.
    pub traffic: Traffic,
}

/// One thing that had to hold.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Check {
    /// What had to hold.
    pub name: String,
    /// Whether it did.
    pub passed: bool,
    /// What was seen.
    pub detail: String,
}

/// The circumstances of the run.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Run {
    /// When it ended (RFC 3339, UTC).
    pub finished_at: String,
    /// The gateway's software version.
    pub software: String,
    /// The job's id.
    pub job: String,
    /// Where the molecules came from.
    pub data: String,
    /// The seed of split, shuffles and canary, and of which site is killed first where it has the choice.
    pub seed: u64,
    /// Seconds from the first process to the last check.
    pub seconds: f64,
    /// Processor cores of the machine.
    pub cores: usize,
    /// What trained, in the words of the sites' logs (`CPU, 1 thread`, `CUDA device 0 of 1`).
    pub device: String,
    /// Passes over the local data in each round.
    pub local_epochs: u32,
    /// How far hardware attests what code runs: `none` in the demonstration.
    pub attestation: String,
}

/// How the three ways of training compare on one task, on the same held-out molecules.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct TaskResult {
    /// The catalogue's key, `Test/Test_Type`.
    pub task: String,
    /// `RMSE` (in the label's own unit; lower is better) or `AUROC` (higher is better).
    pub metric: String,
    /// Whether a higher metric is better.
    pub higher_is_better: bool,
    /// The federated model after the last round.
    pub federated: f64,
    /// The mean of `local` over the sites that have the task.
    pub local_mean: f64,
    /// Each site's own model; only sites with labels of the task.
    pub local: BTreeMap<String, f64>,
    /// One model trained on all sites' data put together.
    pub pooled: f64,
    /// Held-out molecules with a label.
    pub molecules: u64,
    /// The federated model's metric after each opened round.
    pub curve: Vec<CurvePoint>,
    /// Whether `federated` is better than `local_mean`.
    pub federated_beats_local: bool,
}

/// The federated model's metric after one round.
#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
pub struct CurvePoint {
    /// The round's number.
    pub round: u32,
    /// The metric.
    pub value: f64,
}

/// What one site brought.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct SiteShare {
    /// Its pseudonym.
    pub site: String,
    /// The legal entity behind it.
    pub legal_entity: String,
    /// Rows of its file, without a planted one.
    pub rows: u64,
    /// Labels by task; a task that is missing here is missing at the site.
    pub labels: BTreeMap<String, u64>,
}

/// One round.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct RoundRecord {
    /// Its number, from 1.
    pub round: u32,
    /// `opened`, or `aborted` with the reason in `detail`.
    pub outcome: String,
    /// What happened, in words.
    pub detail: String,
    /// Whether it was opened batch by batch for scoring.
    pub scoring: bool,
    /// Each site's part.
    pub sites: BTreeMap<String, Part>,
    /// Whether the opened set was exactly the set that a quorum of sites signed.
    pub set_as_signed: bool,
    /// Whether the opened sum, applied to the model before, gives the model after, bit for bit; `null` in a scoring
    /// round, whose sums only the evaluator may read, and where nothing was opened.
    pub step_as_opened: Option<bool>,
}

/// One site's part in one round.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Part {
    /// Uploaded, signed, in the sum.
    Summed,
    /// Killed right after its upload; its update is in the sum all the same.
    KilledAfterUpload,
    /// Killed before its upload; not in the sum.
    KilledBeforeUpload,
    /// Not in the sum for another reason.
    Absent,
}

/// The contribution table and the reward statement of the scoring round.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Rewards {
    /// The scoring round.
    pub round: u32,
    /// The name of the unit that all amounts are in millionths of.
    pub currency: String,
    /// What was to be shared out (micro-units).
    pub budget_micro: String,
    /// What the lines and the returned part add up to (micro-units).
    pub total_micro: String,
    /// What goes back because nothing earned it (micro-units).
    pub returned_micro: String,
    /// Whether the shares of a batch's value are split by evidence, to be settled over later seasons.
    pub provisional: bool,
    /// One line a site.
    pub lines: Vec<RewardLine>,
}

/// One site's line.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct RewardLine {
    /// The site.
    pub site: String,
    /// The contribution score the reward was made from (an estimate for drawing; the ledger has the exact ratio).
    pub contribution: f64,
    /// Its reward (micro-units).
    pub reward_micro: String,
    /// Why, in words.
    pub reasons: Vec<String>,
}

/// The ledger at the end of the run.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct LedgerFacts {
    /// Its origin line.
    pub origin: String,
    /// Entries.
    pub size: u64,
    /// The tree's root (hex).
    pub root: String,
    /// The checkpoint with its signatures (a C2SP signed note).
    pub checkpoint: String,
    /// The members whose cosignatures on it are valid, as `konclave-audit` found.
    pub witnesses: Vec<String>,
    /// The members enrolled as witnesses.
    pub enrolled: u64,
    /// The exported folder.
    pub folder: String,
    /// The command that verifies it, with the ledger's key as members pinned it at their enrolment.
    pub verify: String,
    /// What that command printed.
    pub verified: String,
}

/// What the sites sent, and that nothing of theirs was readable in it.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Traffic {
    /// Model parameters in one update (the weight that rides with them is one more).
    pub parameters: u64,
    /// Bytes of one masked update.
    pub masked_bytes: u64,
    /// `masked_bytes / parameters`.
    pub bytes_per_parameter: f64,
    /// All that one site sends in a round, manifest and shares included, over `parameters`: the mean.
    pub round_bytes_per_parameter: f64,
    /// The planted structure.
    pub canary: String,
    /// Bytes of recorded requests that were searched.
    pub searched_traffic: u64,
    /// Bytes of the gateway's data folder that were searched.
    pub searched_gateway: u64,
    /// Places where the canary or its fingerprint was found; must be empty.
    pub found: Vec<String>,
}
