//! The gateway as the coordinator drives it: a message is stored before it is acknowledged, and after a crash the phase
//! is rebuilt from the stored messages.

use std::collections::{BTreeMap, BTreeSet};
use std::rc::Rc;

use konclave_crypto::aggregator::{Abort, Agreeing, Collecting, Rejection, Unmasking};
use konclave_crypto::batches::{scoring_batches, singletons};
use konclave_crypto::messages::{AgreementSignature, Manifest, UnmaskingResponse};
use konclave_crypto::{
    Digest, MaskGraph, Mode, OpenedSum, RoundContext, RoundNumber, SignedContext, SiteId, body_root,
};
use rand_chacha::ChaCha20Rng;
use rand_core::SeedableRng;

use crate::keys::Keys;
use crate::letter::Letter;
use crate::random::shuffle;
use crate::scenario::Scenario;

/// What survives a crash of the gateway.
#[derive(Default)]
struct Stored {
    manifests: Vec<(SiteId, Manifest)>,
    bodies: BTreeMap<SiteId, Vec<u8>>,
    uploads_closed: bool,
    agreements: Vec<AgreementSignature>,
    agreement_closed: bool,
    responses: Vec<UnmaskingResponse>,
}

enum Phase {
    Collecting(Collecting),
    Agreeing(Agreeing),
    Unmasking(Unmasking),
}

/// How a round ended.
#[derive(Debug)]
pub enum Ending {
    Opened { sums: Vec<OpenedSum>, agreed: Vec<SiteId> },
    Aborted(Abort),
}

pub struct Gateway {
    keys: Rc<Keys>,
    batch: u16,
    whole_batches: bool,
    sparse: bool,
    pub signed: Option<SignedContext>,
    stored: Stored,
    phase: Option<Phase>,
    next: u32,
    models: u32,
    /// `Some(stored)`: dies at the next message, after or before it is stored.
    pub armed: Option<bool>,
    pub crashes: u64,
}

impl Gateway {
    pub fn new(keys: &Rc<Keys>, scenario: &Scenario) -> Self {
        Self {
            keys: Rc::clone(keys),
            batch: scenario.batch,
            whole_batches: scenario.whole_batches,
            sparse: scenario.sparse,
            signed: None,
            stored: Stored::default(),
            phase: None,
            next: 1,
            models: 0,
            armed: None,
            crashes: 0,
        }
    }

    pub fn context(&self) -> Option<Digest> {
        self.signed.as_ref().map(|signed| signed.context.digest())
    }

    /// Whether a round is under way.
    pub fn busy(&self) -> bool {
        self.phase.is_some()
    }

    pub fn new_context(&self, mode: Mode, round: RoundNumber, model: u32) -> RoundContext {
        let batches = match mode {
            Mode::Full if !self.whole_batches => singletons(self.keys.roster()),
            Mode::Full | Mode::Group => scoring_batches(self.keys.roster(), self.batch),
        };
        let mut context = RoundContext {
            round,
            model: Digest::of(format!("model {model}").as_bytes()),
            batches,
            mode,
            encoding: crate::support::encoding(&[2, 3], 8, 17),
            min_batch: self.batch,
            ..self.keys.consortium.context(mode)
        };
        if let Some(degree) = context.least_degree(self.keys.sites.len()).filter(|_| self.sparse) {
            context.mask_graph = MaskGraph::Regular { degree };
        }
        context
    }

    pub fn begin(&mut self, mode: Mode, same_model: bool) {
        if !same_model || self.models == 0 {
            self.models += 1;
        }
        let round = RoundNumber::new(self.next).unwrap();
        self.next += 1;
        let context = self.new_context(mode, round, self.models);
        self.signed = Some(self.keys.consortium.signed(context.clone()));
        self.stored = Stored::default();
        self.phase = Some(Phase::Collecting(Collecting::new(context, self.keys.roster().clone()).unwrap()));
    }

    /// What a site is told that asks: the context, then the proposal, then its request.
    pub fn news_for(&self, site: &SiteId) -> Vec<Letter> {
        let context = self.signed.iter().cloned().map(Letter::Context);
        match &self.phase {
            None => Vec::new(),
            Some(Phase::Collecting(_)) => context.collect(),
            Some(Phase::Agreeing(agreeing)) => vec![Letter::Proposal(agreeing.proposal().clone())],
            Some(Phase::Unmasking(unmasking)) => {
                let request = unmasking.request_for(site).map(Letter::Request);
                std::iter::once(Letter::Proposal(unmasking.proposal().clone())).chain(request).collect()
            }
        }
    }

    /// Takes a message; `Ok(false)` if the round or the phase it is for is over.
    pub fn receive(&mut self, letter: &Letter) -> Result<bool, Rejection> {
        if Some(letter.context()) != self.context() {
            return Ok(false);
        }
        let dies = self.armed.take();
        let taken = match (self.phase.as_mut(), letter) {
            (Some(Phase::Collecting(phase)), Letter::Manifest { from, manifest }) => {
                phase.accept_manifest(from, manifest.clone())?;
                true
            }
            (Some(Phase::Collecting(phase)), Letter::Body { from, body, .. }) => {
                phase.accept_body(from, body_root(body.as_slice()).unwrap(), body.len() as u64)?;
                true
            }
            (Some(Phase::Agreeing(phase)), Letter::Agreement(signature)) => {
                phase.accept(signature.clone())?;
                true
            }
            (Some(Phase::Unmasking(phase)), Letter::Response(response)) => {
                phase.accept(response.clone())?;
                true
            }
            _ => false,
        };
        if taken && dies != Some(false) {
            self.store(letter);
        }
        if dies.is_some() {
            self.crash(1);
        }
        Ok(taken)
    }

    fn store(&mut self, letter: &Letter) {
        match letter {
            Letter::Manifest { from, manifest } => {
                if !self.stored.manifests.iter().any(|(site, _)| site == from) {
                    self.stored.manifests.push((from.clone(), manifest.clone()));
                }
            }
            Letter::Body { from, body, .. } => drop(self.stored.bodies.insert(from.clone(), body.clone())),
            Letter::Agreement(signature) => {
                if !self.stored.agreements.contains(signature) {
                    self.stored.agreements.push(signature.clone());
                }
            }
            Letter::Response(response) => {
                if !self.stored.responses.contains(response) {
                    self.stored.responses.push(response.clone());
                }
            }
            Letter::Context(_) | Letter::Proposal(_) | Letter::Request(_) => {}
        }
    }

    /// Dies and comes back: the phase is rebuilt by replaying what was stored, in any order within a phase.
    pub fn crash(&mut self, order: u64) {
        self.crashes += 1;
        self.armed = None;
        let (Some(signed), Some(_)) = (&self.signed, self.phase.take()) else { return };
        let mut rng = ChaCha20Rng::seed_from_u64(order);
        let roster = self.keys.roster().clone();
        let mut collecting = Collecting::new(signed.context.clone(), roster).unwrap();
        let mut uploads: Vec<(SiteId, Option<Manifest>)> = self
            .stored
            .manifests
            .iter()
            .map(|(site, manifest)| (site.clone(), Some(manifest.clone())))
            .chain(self.stored.bodies.keys().map(|site| (site.clone(), None)))
            .collect();
        shuffle(&mut uploads, &mut rng);
        for (site, manifest) in uploads {
            if let Some(manifest) = manifest {
                collecting.accept_manifest(&site, manifest).unwrap();
            } else {
                let body = &self.stored.bodies[&site];
                // A body may be older than the manifest that it turned out not to fit.
                let _ = collecting.accept_body(&site, body_root(body.as_slice()).unwrap(), body.len() as u64);
            }
        }
        if !self.stored.uploads_closed {
            self.phase = Some(Phase::Collecting(collecting));
            return;
        }
        let mut agreeing = collecting.close().unwrap();
        let mut agreements = self.stored.agreements.clone();
        shuffle(&mut agreements, &mut rng);
        agreements.into_iter().for_each(|signature| agreeing.accept(signature).unwrap());
        if !self.stored.agreement_closed {
            self.phase = Some(Phase::Agreeing(agreeing));
            return;
        }
        let mut unmasking = agreeing.close().unwrap();
        let mut responses = self.stored.responses.clone();
        shuffle(&mut responses, &mut rng);
        responses.into_iter().for_each(|response| unmasking.accept(response).unwrap());
        self.phase = Some(Phase::Unmasking(unmasking));
    }

    /// The sites from which the current phase has what it asks for.
    pub fn answered(&self) -> BTreeSet<SiteId> {
        match &self.phase {
            None => BTreeSet::new(),
            Some(Phase::Collecting(phase)) => phase.uploaded(),
            Some(Phase::Agreeing(phase)) => phase.signed_by(),
            Some(Phase::Unmasking(phase)) => phase.answered_by(),
        }
    }

    /// The uploads left out for contradicting commitments.
    pub fn conflicting(&self) -> BTreeSet<SiteId> {
        match &self.phase {
            Some(Phase::Collecting(phase)) => phase.conflicting(),
            Some(Phase::Agreeing(_) | Phase::Unmasking(_)) | None => BTreeSet::new(),
        }
    }

    pub fn uploaders(&self) -> BTreeSet<SiteId> {
        let proposal = match &self.phase {
            Some(Phase::Agreeing(phase)) => phase.proposal(),
            Some(Phase::Unmasking(phase)) => phase.proposal(),
            Some(Phase::Collecting(_)) | None => return BTreeSet::new(),
        };
        proposal.manifests.iter().map(|signed| signed.header.site.clone()).collect()
    }

    pub fn phase_name(&self) -> &'static str {
        match &self.phase {
            None => "idle",
            Some(Phase::Collecting(_)) => "collecting",
            Some(Phase::Agreeing(_)) => "agreeing",
            Some(Phase::Unmasking(_)) => "unmasking",
        }
    }

    /// Closes the upload window; a round that cannot go on is over.
    pub fn close_uploads(&mut self, force: bool) -> Option<Ending> {
        let Some(Phase::Collecting(collecting)) = self.phase.take() else { return None };
        let enough = collecting.uploaded().len() >= self.keys.threshold();
        if !enough && !force {
            self.phase = Some(Phase::Collecting(collecting));
            return None;
        }
        match collecting.close() {
            Ok(agreeing) => {
                self.stored.uploads_closed = true;
                self.phase = Some(Phase::Agreeing(agreeing));
                None
            }
            Err(abort) => Some(Ending::Aborted(abort)),
        }
    }

    /// Closes the agreement.
    pub fn close_agreement(&mut self, force: bool) -> Option<Ending> {
        match self.phase.take() {
            Some(Phase::Agreeing(agreeing)) if agreeing.quorum() || force => match agreeing.close() {
                Ok(unmasking) => {
                    self.stored.agreement_closed = true;
                    self.phase = Some(Phase::Unmasking(unmasking));
                    None
                }
                Err(abort) => Some(Ending::Aborted(abort)),
            },
            other => {
                self.phase = other;
                None
            }
        }
    }

    /// Opens the sum.
    pub fn close_unmasking(&mut self, force: bool) -> Option<Ending> {
        match self.phase.take() {
            Some(Phase::Unmasking(unmasking)) if unmasking.sufficient() || force => {
                let opened = unmasking.close().and_then(|opening| {
                    let agreed = opening.agreed().to_vec();
                    let body = |id: &SiteId| (id.clone(), self.stored.bodies[id].as_slice());
                    let sums = opening.open(agreed.iter().map(body).collect())?;
                    Ok((sums, agreed))
                });
                Some(match opened {
                    Ok((sums, agreed)) => Ending::Opened { sums, agreed },
                    Err(abort) => Ending::Aborted(abort),
                })
            }
            other => {
                self.phase = other;
                None
            }
        }
    }
}
