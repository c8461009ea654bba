//! One small round with one site missing, played once: its messages are what the targets change.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::OnceLock;

use konclave_crypto::aggregator::{Agreeing, Collecting, Unmasking};
use konclave_crypto::messages::{
    AgreementProposal, AgreementSignature, Manifest, UnmaskingRequest, UnmaskingResponse,
};
use konclave_crypto::setup::{KemCiphertext, Roster, advertise};
use konclave_crypto::site::{AwaitAgreement, AwaitUnmasking};
use konclave_crypto::{
    IdentityKey, Mode, OpenedSum, RoundContext, SignedContext, SiteId, VerifiedContext, body_root,
};
use rand_chacha::ChaCha20Rng;
use rand_core::SeedableRng;
use serde::Serialize;

use crate::support::{Consortium, job, site, upload_all};

/// A round of four sites, of which the last never uploads.
pub struct Fixture {
    pub consortium: Consortium,
    pub context: RoundContext,
    pub signed_context: SignedContext,
    pub verified: VerifiedContext,
    pub manifests: BTreeMap<SiteId, Manifest>,
    pub bodies: BTreeMap<SiteId, Vec<u8>>,
    pub await_agreement: Vec<u8>,
    pub proposal: AgreementProposal,
    pub agreements: Vec<AgreementSignature>,
    pub await_unmasking: Vec<u8>,
    pub request: UnmaskingRequest,
    pub responses: Vec<UnmaskingResponse>,
    pub set_up: Vec<Vec<u8>>,
    pub ciphertext: KemCiphertext,
}

/// The site whose steps and messages are changed.
pub fn victim() -> SiteId {
    site(0)
}

pub fn fixture() -> &'static Fixture {
    static MADE: OnceLock<Fixture> = OnceLock::new();
    MADE.get_or_init(Fixture::new)
}

impl Fixture {
    fn new() -> Self {
        let mut consortium = Consortium::new(4, 77);
        let context = consortium.context(Mode::Full);
        let missing = BTreeSet::from([site(3)]);
        let uploaded = upload_all(&mut consortium, &context, &missing);
        let verified = uploaded.context;
        let manifests: BTreeMap<SiteId, Manifest> =
            uploaded.waiting.iter().map(|(id, state)| (id.clone(), state.manifest().clone())).collect();
        let await_agreement = uploaded.waiting[&victim()].to_secret_bytes().to_vec();
        let mut agreeing = uploaded.collecting.close().unwrap();
        let proposal = agreeing.proposal().clone();
        let (mut agreements, mut states) = (Vec::new(), BTreeMap::new());
        for (id, state) in uploaded.waiting {
            let agreed = state.agree(&consortium.roster, &verified, &proposal, consortium.key(&id));
            let (state, signature) = agreed.unwrap();
            agreeing.accept(signature.clone()).unwrap();
            agreements.push(signature);
            states.insert(id, state);
        }
        let unmasking = agreeing.close().unwrap();
        let request = unmasking.request_for(&victim()).unwrap();
        let await_unmasking = states[&victim()].to_secret_bytes().to_vec();
        let answer = |(id, state): (SiteId, AwaitUnmasking)| {
            let request = unmasking.request_for(&id).unwrap();
            state.unmask(&consortium.roster, &verified, &request, consortium.key(&id)).unwrap().1
        };
        let responses = states.into_iter().map(answer).collect();
        let (set_up, ciphertext) = set_up(&consortium);
        Self {
            signed_context: consortium.signed(context.clone()),
            consortium,
            context,
            verified,
            manifests,
            bodies: uploaded.bodies,
            await_agreement,
            proposal,
            agreements,
            await_unmasking,
            request,
            responses,
            set_up,
            ciphertext,
        }
    }

    pub fn roster(&self) -> &Roster {
        &self.consortium.roster
    }

    pub fn key(&self) -> &IdentityKey {
        self.consortium.key(&victim())
    }

    /// The gateway's phase before any upload.
    pub fn collecting(&self) -> Collecting {
        Collecting::new(self.context.clone(), self.roster().clone()).unwrap()
    }

    /// The phase with all uploads taken.
    pub fn agreeing(&self) -> Agreeing {
        let mut collecting = self.collecting();
        for (id, manifest) in &self.manifests {
            let body = &self.bodies[id];
            collecting.accept_manifest(id, manifest.clone()).unwrap();
            collecting.accept_body(id, body_root(body.as_slice()).unwrap(), body.len() as u64).unwrap();
        }
        collecting.close().unwrap()
    }

    /// The phase with all signatures taken.
    pub fn unmasking(&self) -> Unmasking {
        let mut agreeing = self.agreeing();
        self.agreements.iter().for_each(|signature| agreeing.accept(signature.clone()).unwrap());
        agreeing.close().unwrap()
    }

    pub fn await_agreement(&self) -> AwaitAgreement {
        AwaitAgreement::from_secret_bytes(&self.await_agreement).unwrap()
    }

    pub fn await_unmasking(&self) -> AwaitUnmasking {
        AwaitUnmasking::from_secret_bytes(&self.await_unmasking).unwrap()
    }
}

/// The stored states of a set-up, and a ciphertext of it.
fn set_up(consortium: &Consortium) -> (Vec<Vec<u8>>, KemCiphertext) {
    let mut rng = ChaCha20Rng::from_seed([78; 32]);
    let mut states = Vec::new();
    let (mut waiting, mut advertisements) = (Vec::new(), Vec::new());
    for member in consortium.members.values() {
        let (state, message) = advertise(&job(), &member.key, &member.certificate, &mut rng);
        states.push(state.to_secret_bytes().to_vec());
        waiting.push(state);
        advertisements.push(message);
    }
    let roster = Roster::new(job(), advertisements, &consortium.root(), crate::support::NOW).unwrap();
    let mut first = None;
    for (state, member) in waiting.into_iter().zip(consortium.members.values()) {
        let (state, messages) = state.encapsulate(&roster, &member.key, &mut rng).unwrap();
        states.push(state.to_secret_bytes().to_vec());
        first = first.or(messages.into_iter().next());
    }
    states.push(consortium.chains[&victim()].to_secret_bytes().to_vec());
    (states, first.unwrap())
}

fn json<T: Serialize>(message: &T) -> Vec<u8> {
    serde_json::to_vec(message).unwrap()
}

/// One of each message, as it travels.
pub fn messages() -> Vec<Vec<u8>> {
    let made = fixture();
    let sum = OpenedSum { sites: vec![victim()], coordinates: vec![-3, 4], weight: 2 };
    vec![
        json(&made.signed_context),
        json(&made.roster().advertisements()[0]),
        json(&made.ciphertext),
        json(&made.manifests[&victim()]),
        json(&made.proposal),
        json(&made.agreements[0]),
        json(&made.request),
        json(&made.responses[0]),
        json(&sum),
        json(&made.consortium.root()),
    ]
}

/// One of each stored state.
pub fn states() -> Vec<Vec<u8>> {
    let made = fixture();
    let mut states = made.set_up.clone();
    states.push(made.await_agreement.clone());
    states.push(made.await_unmasking.clone());
    states
}
