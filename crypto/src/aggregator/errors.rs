//! What can go wrong on the gateway's side, and who is to blame.

use std::collections::BTreeSet;
use std::io;

use crate::ids::SiteId;
use crate::round::HeaderFault;

/// Which opened value is meant.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Opened {
    /// The set of shares and seeds in the answer.
    #[error("the list of opened values")]
    List,
    /// A share of a self-mask seed.
    #[error("the share of the self mask of `{dealer}`")]
    SelfMaskShare {
        /// Who dealt it.
        dealer: SiteId,
    },
    /// A share of a pairwise seed.
    #[error("the share of the pairwise mask of `{owner}` with `{peer}`")]
    PairSeedShare {
        /// Who dealt it.
        owner: SiteId,
        /// The other end of the pair.
        peer: SiteId,
    },
    /// The answering site's own pairwise seed.
    #[error("its own pairwise seed with `{peer}`")]
    OwnPairSeed {
        /// The other end of the pair.
        peer: SiteId,
    },
}

/// One message was refused; the phase is as it was before. The sender is at fault and may send a correct one.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Rejection {
    /// The sender is not in the roster.
    #[error("`{site}` is not in the roster of this job")]
    UnknownSite {
        /// The sender.
        site: SiteId,
    },
    /// The message names another sender than the connection it came on.
    #[error("`{from}` sent a manifest of `{claimed}`")]
    Sender {
        /// Who sent it.
        from: SiteId,
        /// Who is named in it.
        claimed: SiteId,
    },
    /// The message belongs to another round.
    #[error("the message of `{site}` belongs to another round context")]
    Context {
        /// The sender.
        site: SiteId,
    },
    /// The manifest header does not hold.
    #[error("the manifest of `{site}` was refused: {fault}")]
    Header {
        /// The sender.
        site: SiteId,
        /// What is wrong.
        fault: HeaderFault,
    },
    /// The sealed shares are not one of the right size for each other site, ascending.
    #[error(
        "the sealed shares of `{site}` are not one bundle of the right size for each other site, ascending"
    )]
    Sealed {
        /// The sender.
        site: SiteId,
    },
    /// The body is not the one the manifest commits to.
    #[error("the body of `{site}` does not match its manifest")]
    Body {
        /// The sender.
        site: SiteId,
    },
    /// The site sent a different message of this kind before.
    #[error("`{site}` sent a different message of this kind before; the first one stands")]
    Changed {
        /// The sender.
        site: SiteId,
    },
    /// The site has not uploaded in this round, so it has no part in its later steps.
    #[error("`{site}` is not among the uploads of this round")]
    NotUploaded {
        /// The sender.
        site: SiteId,
    },
    /// The signature is over another set than the proposed one.
    #[error("`{site}` signed another set than the proposed one")]
    AgreedSet {
        /// The sender.
        site: SiteId,
    },
    /// The message's signature does not hold.
    #[error("the signature of `{site}` does not hold")]
    Signature {
        /// The named sender.
        site: SiteId,
    },
    /// The tag is for another opening, or not a vector over the round's ring.
    #[error("the tag of `{site}` is not for the announced opening, or not made of ring elements")]
    Tag {
        /// The sender.
        site: SiteId,
    },
    /// An opened value is missing, not asked for, or does not match the commitment to it.
    #[error("`{site}` opened something that does not match its commitment: {opened}")]
    Opened {
        /// The sender.
        site: SiteId,
        /// Which value.
        opened: Opened,
    },
}

impl Rejection {
    /// The site at fault: the sender.
    #[must_use]
    pub fn culprits(&self) -> BTreeSet<SiteId> {
        let site = match self {
            Self::Sender { from, .. } => from,
            Self::UnknownSite { site }
            | Self::Context { site }
            | Self::Header { site, .. }
            | Self::Sealed { site }
            | Self::Body { site }
            | Self::Changed { site }
            | Self::NotUploaded { site }
            | Self::AgreedSet { site }
            | Self::Signature { site }
            | Self::Tag { site }
            | Self::Opened { site, .. } => site,
        };
        BTreeSet::from([site.clone()])
    }
}

/// The round is over without a result; nothing of a single site was opened. A new round may follow.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Abort {
    /// Too few complete uploads to open anything.
    #[error("{found} sites uploaded consistently, {needed} are needed")]
    TooFewUploads {
        /// Uploads that count.
        found: usize,
        /// The threshold.
        needed: usize,
        /// Sites left out because their pairwise commitments contradict others'.
        conflicting: BTreeSet<SiteId>,
    },
    /// Too few sites in complete batches.
    #[error("{found} sites are in batches that uploaded completely, {needed} are needed")]
    TooFewAgreed {
        /// Sites in complete batches.
        found: usize,
        /// Least agreed set.
        needed: usize,
        /// Sites left out because their pairwise commitments contradict others'.
        conflicting: BTreeSet<SiteId>,
    },
    /// Too few sites signed the set.
    #[error("{found} sites signed the agreed set, {needed} are needed")]
    NoQuorum {
        /// Signatures.
        found: usize,
        /// The threshold.
        needed: usize,
    },
    /// Not every seed that the sum needs can be recovered.
    #[error("{found} sites opened their part ({needed} are needed), and some seeds cannot be recovered")]
    Unrecoverable {
        /// Answers.
        found: usize,
        /// The threshold.
        needed: usize,
        /// Dealers whose shares some receiver could not open.
        complained_of: BTreeSet<SiteId>,
        /// Those of them that at least `2t - n` receivers complained about, so many that one of these is honest.
        blamed: BTreeSet<SiteId>,
    },
    /// A dealer's shares match its own Merkle root but do not add up to the seed it committed to.
    #[error("the shares that `{dealer}` dealt do not give the seed it committed to")]
    BadDealing {
        /// The dealer.
        dealer: SiteId,
    },
    /// The caller gave bodies of other sites than the agreed ones.
    #[error("the stored bodies are not exactly those of the agreed sites")]
    Bodies,
    /// A stored body could not be read.
    #[error("the stored body of `{site}` could not be read: {kind}")]
    Read {
        /// Whose body.
        site: SiteId,
        /// What the store said.
        kind: io::ErrorKind,
    },
    /// A stored body is not the one that was accepted: the gateway's store changed it.
    #[error("the stored body of `{site}` differs from the one that was accepted")]
    BodyChanged {
        /// Whose body.
        site: SiteId,
    },
    /// A body that matches its manifest is not packed ring elements.
    #[error("the body of `{site}` is not packed correctly")]
    BodyFormat {
        /// The uploader.
        site: SiteId,
    },
    /// What takes the opened sums failed: a fault of this machine.
    #[error("the opened sums could not be stored: {kind}")]
    Sink {
        /// What the store said.
        kind: io::ErrorKind,
    },
    /// The stored total is not the one that was opened: the gateway's store changed it.
    #[error("the stored total differs from the sum that was opened")]
    TotalChanged,
    /// The sum of a batch is out of any honest range: at least one of its sites uploaded garbage.
    #[error("the sum over a batch of {} sites is out of range at coordinate {coordinate}", .batch.len())]
    OutOfRange {
        /// The sites in the sum.
        batch: BTreeSet<SiteId>,
        /// First coordinate out of range; the number of model coordinates stands for the weight.
        coordinate: u64,
    },
}

impl Abort {
    /// The sites that are certainly at fault; empty if that cannot be told, it is nobody's fault or the gateway's own.
    #[must_use]
    pub fn culprits(&self) -> BTreeSet<SiteId> {
        match self {
            Self::Unrecoverable { blamed, .. } => blamed.clone(),
            Self::BadDealing { dealer: site } | Self::BodyFormat { site } => BTreeSet::from([site.clone()]),
            Self::TooFewUploads { .. }
            | Self::TooFewAgreed { .. }
            | Self::OutOfRange { .. }
            | Self::NoQuorum { .. }
            | Self::Bodies
            | Self::Read { .. }
            | Self::Sink { .. }
            | Self::TotalChanged
            | Self::BodyChanged { .. } => BTreeSet::new(),
        }
    }

    /// The sites of which at least one is at fault, where no more can be told: honest ones may be among them.
    #[must_use]
    pub fn suspects(&self) -> BTreeSet<SiteId> {
        match self {
            Self::TooFewUploads { conflicting: sites, .. }
            | Self::TooFewAgreed { conflicting: sites, .. }
            | Self::OutOfRange { batch: sites, .. }
            | Self::Unrecoverable { complained_of: sites, .. } => sites.clone(),
            Self::BadDealing { .. }
            | Self::BodyFormat { .. }
            | Self::NoQuorum { .. }
            | Self::Bodies
            | Self::Read { .. }
            | Self::Sink { .. }
            | Self::TotalChanged
            | Self::BodyChanged { .. } => BTreeSet::new(),
        }
    }
}
