//! What travels in the simulation.

use std::rc::Rc;

use konclave_crypto::messages::{
    AgreementProposal, AgreementSignature, Manifest, UnmaskingRequest, UnmaskingResponse,
};
use konclave_crypto::{Digest, SignedContext, SiteId};

/// A message with its addressee.
#[derive(Debug, Clone)]
pub struct Envelope {
    pub to: Address,
    pub letter: Rc<Letter>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Address {
    Gateway,
    /// A roster position.
    Site(usize),
}

/// Every message of a round.
#[derive(Debug, Clone, PartialEq)]
pub enum Letter {
    Context(SignedContext),
    Proposal(AgreementProposal),
    Request(UnmaskingRequest),
    Manifest { from: SiteId, manifest: Manifest },
    Body { from: SiteId, context: Digest, body: Vec<u8> },
    Agreement(AgreementSignature),
    Response(UnmaskingResponse),
}

impl Letter {
    /// The round context that the message belongs to.
    pub fn context(&self) -> Digest {
        match self {
            Self::Context(signed) => signed.context.digest(),
            Self::Proposal(proposal) => proposal.context,
            Self::Request(request) => request.context,
            Self::Manifest { manifest, .. } => manifest.signed.header.context,
            Self::Body { context, .. } => *context,
            Self::Agreement(signature) => signature.context,
            Self::Response(response) => response.context,
        }
    }

    /// What kind of message it is, for counts and reports.
    pub fn kind(&self) -> &'static str {
        match self {
            Self::Context(_) => "context",
            Self::Proposal(_) => "proposal",
            Self::Request(_) => "request",
            Self::Manifest { .. } => "manifest",
            Self::Body { .. } => "body",
            Self::Agreement(_) => "agreement",
            Self::Response(_) => "response",
        }
    }
}
