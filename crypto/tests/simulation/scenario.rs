//! What happens in one simulated job, as a value: printed when it fails, made smaller, and kept.

use std::collections::BTreeSet;

use konclave_crypto::{Mode, SiteFloor};

use crate::support::FLOOR;

/// One job: its parties and the list of what happens to them. The same value always plays out the same way.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Scenario {
    /// Seeds keys, updates and everything that the parties draw.
    pub seed: u64,
    /// Sites in the roster (n).
    pub sites: usize,
    /// Sites in a batch.
    pub batch: u16,
    /// Whether rounds that open one sum do so over whole batches.
    pub whole_batches: bool,
    /// Whether masks are added along a regular graph of the least degree, where that is fewer than all.
    pub sparse: bool,
    /// Roster positions of the sites that work together, and with the gateway if it is hostile: fewer than `2t - n`.
    pub colluders: BTreeSet<usize>,
    /// Whether the gateway pools what it sees with the colluders. An honest gateway judges and is judged.
    pub hostile_gateway: bool,
    /// What happens, in order.
    pub ops: Vec<Op>,
}

impl Scenario {
    /// What every honest site asks of a context.
    pub fn floor(&self) -> SiteFloor {
        let batch_size = if self.whole_batches { self.batch } else { 1 };
        SiteFloor { scoring_batch_size: Some(self.batch), batch_size, ..FLOOR }
    }
}

/// One event.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Op {
    /// The gateway begins a round and tells all sites.
    Begin {
        /// What is opened.
        mode: Mode,
        /// Whether sites train from the model of the last round again.
        same_model: bool,
    },
    /// The network delivers, in an order drawn from `order`; what is left stays under way (a delay).
    Run {
        /// Seed of the order.
        order: u64,
        /// Most deliveries.
        deliveries: usize,
        /// Chance that a letter is lost, in a thousand.
        drop: u16,
        /// Chance that a letter comes twice, in a thousand.
        duplicate: u16,
    },
    /// Every site that is up asks the gateway for what there is, and sends what it has again.
    Poll,
    /// The gateway closes the upload window if it can.
    CloseUploads,
    /// The gateway closes the agreement if it can.
    CloseAgreement,
    /// The gateway opens the sum if it can.
    CloseUnmasking,
    /// The gateway dies and rebuilds its phase from the stored messages, replayed in the order of the seed.
    CrashGateway {
        /// Seed of the order.
        order: u64,
    },
    /// The gateway dies at its next message.
    ArmGateway {
        /// After it stored the message, or before.
        stored: bool,
    },
    /// A site dies at its next step; it is up again at the next [`Op::Poll`].
    ArmSite {
        /// Roster position.
        site: usize,
        /// Where in the step.
        at: CrashPoint,
    },
    /// A site goes down.
    Sleep {
        /// Roster position.
        site: usize,
    },
    /// A site's state is replaced by an older copy; its journal of decisions is not.
    RollBack {
        /// Roster position.
        site: usize,
        /// How many writes back.
        writes: usize,
    },
    /// A colluder breaks the protocol from now on, in this way only.
    Lie {
        /// Roster position of a colluder.
        site: usize,
        /// How.
        lie: Lie,
    },
    /// The hostile gateway strikes.
    Attack(Attack),
    /// The network heals, all sites come up, and the gateway closes phase after phase until the round is over.
    Finish,
}

/// Where in a step a site dies.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CrashPoint {
    /// Before anything is stored.
    BeforeStoring,
    /// After the secret state is stored, before the decision and the message are.
    BetweenSecretAndJournal,
    /// After everything is stored, before anything is sent.
    BeforeSending,
}

/// How a colluder breaks the protocol.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Lie {
    /// A body with noise added to every coordinate.
    GarbageBody,
    /// A body with a little added, so that the sum stays in range.
    ShiftedBody,
    /// A body with bits set behind the last coordinate.
    PaddingBits,
    /// A commitment to another self-mask seed than was shared.
    SelfMaskHash,
    /// Commitments that contradict those of this many other sites.
    PairSeedHashes(usize),
    /// A commitment for a site that is no neighbour, or none for one that is.
    Neighbours,
    /// A manifest under a signature that does not hold.
    BadSignature,
    /// A second, different, validly signed manifest.
    SecondManifest,
    /// Sealed shares that nobody can open.
    SealedNoise,
    /// A signature on a set that nobody proposed.
    ForeignAgreement,
    /// An opened share with a bit flipped.
    FlippedShare,
    /// Complaints about every other dealer.
    FalseComplaints,
    /// Silence after the upload.
    SilentAfterUpload,
    /// Silence after the agreement.
    SilentAfterAgreement,
}

/// A strike of the hostile gateway. Contexts, views and messages are named by their place in what it has collected so
/// far, modulo how many there are, so that every value means something.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Attack {
    /// Shows some sites another context for the current round.
    Context {
        /// What is changed in it.
        change: ContextChange,
        /// Who sees it.
        to: BTreeSet<usize>,
    },
    /// Proposes a view of a context's uploads in which some never came.
    Propose {
        /// Which context.
        context: usize,
        /// Uploads that are hidden.
        without: BTreeSet<usize>,
        /// What else is changed.
        change: ProposalChange,
        /// Who sees it.
        to: BTreeSet<usize>,
    },
    /// Demands shares for a view it proposed.
    Demand {
        /// Which view.
        view: usize,
        /// What is changed in the request.
        change: RequestChange,
        /// Who is asked.
        to: BTreeSet<usize>,
    },
    /// Sends old messages of the gateway again, this round's or another's.
    Replay {
        /// Seed of the choice.
        choice: u64,
        /// How many.
        count: usize,
    },
}

/// What a hostile gateway changes in a context.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ContextChange {
    /// Another model (Pasquini et al. 2022).
    OtherModel,
    /// The threshold down to what the colluders and one site reach.
    LowThreshold,
    /// One site is enough for a sum.
    LowMinAgreed,
    /// Batches of the gateway's choice, in mode group.
    OtherBatches,
    /// Every site by itself, in mode group.
    SingleBatches,
    /// Batches of the gateway's choice, in mode full.
    OtherWholeBatches,
    /// A mask graph that a few dropouts cut.
    SparseGraph,
    /// The next round, for the same model again.
    NextRoundSameModel,
    /// Another roster's digest.
    OtherRoster,
    /// Not signed by the gateway.
    Unsigned,
}

/// What a hostile gateway changes in a proposal.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ProposalChange {
    /// Nothing: the set follows from the uploads shown.
    Consistent,
    /// The set is smaller than the uploads say.
    SmallerSet,
    /// A header with another body root, signature as it was.
    AlteredHeader,
    /// A colluder's second header, validly signed, that contradicts its first.
    ColludersSecondHeader,
    /// A header of another round.
    OldHeader,
    /// Headers out of order, one of them twice.
    RepeatedHeader,
}

/// What a hostile gateway changes in a request to unmask.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RequestChange {
    /// Nothing.
    Consistent,
    /// The pairwise seeds of a site whose self mask is asked for too.
    BothKindsInside,
    /// The self mask of a site whose pairwise seeds are asked for too.
    BothKindsOutside,
    /// A site moved from the list of self masks to that of pairwise seeds.
    MovedSite,
    /// Fewer signatures than the threshold.
    DroppedSigners,
    /// One signature many times.
    RepeatedSigner,
    /// Signatures on another set.
    ForeignSignatures,
    /// The set of another view.
    OtherSet,
    /// Sealed shares of one dealer altered.
    AlteredSealed,
    /// Sealed shares meant for another site.
    MisdirectedSealed,
}
