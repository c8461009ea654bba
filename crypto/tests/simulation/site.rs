//! An honest site as the site enclave drives it: state and messages on disk before anything is sent, decisions in a
//! journal beside it that an older copy of the disk does not take back.

use std::collections::BTreeMap;
use std::rc::Rc;

use konclave_crypto::messages::{
    AgreementProposal, AgreementSignature, Manifest, UnmaskingRequest, UnmaskingResponse,
};
use konclave_crypto::setup::PairwiseChains;
use konclave_crypto::site::{AwaitAgreement, AwaitUnmasking, mask};
use konclave_crypto::{Digest, RoundNumber, SignedContext, SiteFloor, SiteId, VerifiedContext, quantise};
use rand_chacha::ChaCha20Rng;
use rand_core::{Rng, SeedableRng};

use crate::keys::Keys;
use crate::letter::Letter;
use crate::scenario::{CrashPoint, Scenario};
use crate::support::{NOW, plain_lanes};

/// How many older copies of its disk a site keeps for [`Site::roll_back`].
const COPIES: usize = 12;

/// Why an honest site takes no part in a round although it could be reached.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Excuse {
    /// The journal knows a decision that the disk does not.
    Journal,
    /// Shares were given for an update of this model before.
    SpentModel,
    /// Its chains have moved past the round.
    ChainsPassed,
}

/// What became of a letter at a site.
#[derive(Debug)]
pub enum Outcome {
    Sent(Vec<Letter>),
    /// Nothing was done, for the reason given.
    Refused(String),
    Excused(Excuse),
    Crashed,
}

/// Everything that survives a crash, and that a restored copy takes back.
#[derive(Clone)]
struct DiskState {
    chains: Vec<u8>,
    round: Option<RoundFiles>,
}

#[derive(Clone)]
struct RoundFiles {
    context: SignedContext,
    await_agreement: Option<Vec<u8>>,
    await_unmasking: Option<Vec<u8>>,
    /// The upload as it was or will be sent; `None` if power failed before the decision to send it.
    upload: Option<(Manifest, Vec<u8>)>,
    agreed: Option<AgreementSignature>,
    unmasked: Option<UnmaskingResponse>,
}

/// What the site decided, once and for good.
#[derive(Default)]
struct Journal {
    masked: BTreeMap<RoundNumber, Digest>,
    agreed: BTreeMap<RoundNumber, Digest>,
    unmasked: BTreeMap<RoundNumber, Digest>,
    spent: BTreeMap<RoundNumber, Digest>,
    closed: BTreeMap<RoundNumber, ()>,
}

pub struct Site {
    position: usize,
    id: SiteId,
    keys: Rc<Keys>,
    floor: SiteFloor,
    rng: ChaCha20Rng,
    disk: DiskState,
    journal: Journal,
    copies: Vec<DiskState>,
    /// Down until the next poll.
    pub down: bool,
    pub armed: Option<CrashPoint>,
    /// The plain lanes of the updates it masked, by context: for the observer only.
    pub plain: BTreeMap<Digest, Vec<i64>>,
}

fn digest_of<T: serde::Serialize>(message: &T) -> Digest {
    Digest::of(&serde_json::to_vec(message).unwrap())
}

impl Site {
    pub fn new(position: usize, keys: &Rc<Keys>, scenario: &Scenario) -> Self {
        let mut bytes = [0; 32];
        bytes[..8].copy_from_slice(&scenario.seed.to_le_bytes());
        bytes[8..16].copy_from_slice(&(position as u64).to_le_bytes());
        Self {
            position,
            id: keys.sites[position].clone(),
            keys: Rc::clone(keys),
            floor: scenario.floor(),
            rng: ChaCha20Rng::from_seed(bytes),
            disk: DiskState { chains: keys.chains[position].clone(), round: None },
            journal: Journal::default(),
            copies: Vec::new(),
            down: false,
            armed: None,
            plain: BTreeMap::new(),
        }
    }

    /// Everything of the current round that was or should have been sent.
    pub fn outbox(&self) -> Vec<Letter> {
        let Some(files) = &self.disk.round else { return Vec::new() };
        let mut letters = Vec::new();
        if let Some((manifest, body)) = &files.upload {
            letters.extend(self.upload_letters(manifest, body));
        }
        letters.extend(files.agreed.clone().map(Letter::Agreement));
        letters.extend(files.unmasked.clone().map(Letter::Response));
        letters
    }

    fn upload_letters(&self, manifest: &Manifest, body: &[u8]) -> [Letter; 2] {
        let context = manifest.signed.header.context;
        [
            Letter::Manifest { from: self.id.clone(), manifest: manifest.clone() },
            Letter::Body { from: self.id.clone(), context, body: body.to_vec() },
        ]
    }

    /// Replaces the disk by a copy from `writes` writes ago, as a restored backup does.
    pub fn roll_back(&mut self, writes: usize) {
        let keep = self.copies.len().saturating_sub(writes);
        if let Some(copy) = self.copies.get(keep).cloned() {
            self.copies.truncate(keep);
            self.disk = copy;
        }
    }

    /// Rewrites the upload of the current round and the state that goes with it, as a liar does.
    pub fn forge_upload(&mut self, change: impl FnOnce(&mut AwaitAgreement, &mut Manifest, &mut Vec<u8>)) {
        let Some(files) = &mut self.disk.round else { return };
        let (Some(bytes), Some((manifest, body))) = (&mut files.await_agreement, &mut files.upload) else {
            return;
        };
        let mut state = AwaitAgreement::from_secret_bytes(bytes).unwrap();
        change(&mut state, manifest, body);
        *bytes = state.to_secret_bytes().to_vec();
    }

    fn write(&mut self, change: impl FnOnce(&mut DiskState)) {
        if self.copies.len() == COPIES {
            self.copies.remove(0);
        }
        if self.keys.sites.len() <= 32 {
            self.copies.push(self.disk.clone());
        }
        change(&mut self.disk);
    }

    /// Power fails here if a test armed it.
    fn dies(&mut self, at: CrashPoint) -> bool {
        let dies = self.armed == Some(at);
        if dies {
            self.armed = None;
            self.down = true;
        }
        dies
    }

    pub fn receive(&mut self, letter: &Letter) -> Outcome {
        match letter {
            Letter::Context(signed) => self.on_context(signed),
            Letter::Proposal(proposal) => self.on_proposal(proposal),
            Letter::Request(request) => self.on_request(request),
            Letter::Manifest { .. } | Letter::Body { .. } | Letter::Agreement(_) | Letter::Response(_) => {
                Outcome::Refused("not for a site".into())
            }
        }
    }

    fn verify(&self, signed: &SignedContext) -> Result<VerifiedContext, String> {
        let root = self.keys.consortium.root();
        signed.verify(&root, self.keys.roster(), NOW, &self.floor).map_err(|error| error.to_string())
    }

    fn on_context(&mut self, signed: &SignedContext) -> Outcome {
        let verified = match self.verify(signed) {
            Ok(verified) => verified,
            Err(error) => return Outcome::Refused(error),
        };
        let round = signed.context.round;
        if self.journal.closed.contains_key(&round) {
            return Outcome::Refused("the round is closed".into());
        }
        if let Some(files) = &self.disk.round
            && files.upload.is_some()
        {
            let current = files.context.context.round;
            if current == round && files.context.context == signed.context {
                return Outcome::Sent(self.outbox());
            }
            if current >= round {
                return Outcome::Refused("another context of this round was masked for".into());
            }
        }
        if self.journal.spent.values().any(|model| *model == signed.context.model) {
            return Outcome::Excused(Excuse::SpentModel);
        }
        if self.journal.masked.contains_key(&round) {
            return Outcome::Excused(Excuse::Journal);
        }
        let mut chains = PairwiseChains::from_secret_bytes(&self.disk.chains).unwrap();
        if chains.advance_to(round).is_err() {
            return Outcome::Excused(Excuse::ChainsPassed);
        }
        self.close_rounds_before(round);
        let bytes = chains.to_secret_bytes().to_vec();
        self.write(|disk| disk.chains = bytes);

        let encoding = &signed.context.encoding;
        let length = encoding.coordinates();
        let delta: Vec<f32> =
            (0..length).map(|_| self.rng.next_u32() as f32 / u32::MAX as f32 * 3.0 - 1.5).collect();
        let weight = self.rng.next_u32() % encoding.weight_cap + 1;
        let ring = quantise(&delta, weight, encoding, &mut self.rng).unwrap().ring;
        let plain = plain_lanes(&ring, encoding.ring_bits);
        let keys = Rc::clone(&self.keys);
        let key = keys.key(self.position);
        let masked = mask(&chains, keys.roster(), &verified, key, ring, &mut self.rng);
        let (state, manifest, body) = match masked {
            Ok(masked) => masked,
            Err(error) => return Outcome::Refused(error.to_string()),
        };
        if self.dies(CrashPoint::BeforeStoring) {
            return Outcome::Crashed;
        }
        let files = RoundFiles {
            context: signed.clone(),
            await_agreement: Some(state.to_secret_bytes().to_vec()),
            await_unmasking: None,
            upload: None,
            agreed: None,
            unmasked: None,
        };
        self.write(|disk| disk.round = Some(files));
        if self.dies(CrashPoint::BetweenSecretAndJournal) {
            return Outcome::Crashed;
        }
        self.journal.masked.insert(round, digest_of(&manifest));
        self.plain.insert(verified.digest(), plain);
        if let Some(next) = round.next() {
            chains.advance_to(next).unwrap();
        }
        let (bytes, upload) = (chains.to_secret_bytes().to_vec(), (manifest.clone(), body.clone()));
        self.write(|disk| {
            disk.chains = bytes;
            if let Some(files) = &mut disk.round {
                files.upload = Some(upload);
            }
        });
        if self.dies(CrashPoint::BeforeSending) {
            return Outcome::Crashed;
        }
        Outcome::Sent(self.upload_letters(&manifest, &body).into())
    }

    fn close_rounds_before(&mut self, round: RoundNumber) {
        if let Some(files) = &self.disk.round
            && files.context.context.round < round
        {
            self.journal.closed.insert(files.context.context.round, ());
            self.write(|disk| disk.round = None);
        }
    }

    /// What to say of a message for a round that the disk knows nothing of: an older copy forgot what the journal knows.
    fn no_upload(&self) -> Outcome {
        let uploaded = self.disk.round.as_ref().filter(|files| files.upload.is_some());
        let known = uploaded.map(|files| files.context.context.round);
        match self.journal.masked.last_key_value() {
            Some((round, _)) if known != Some(*round) => Outcome::Excused(Excuse::Journal),
            _ => Outcome::Refused("no upload in that round".into()),
        }
    }

    /// The files of the round that a message belongs to, if this site uploaded in it.
    fn files_for(&self, context: Digest) -> Option<(RoundFiles, VerifiedContext)> {
        let files = self.disk.round.clone().filter(|files| files.upload.is_some())?;
        let verified = self.verify(&files.context).ok()?;
        let open = !self.journal.closed.contains_key(&files.context.context.round);
        (verified.digest() == context && open).then_some((files, verified))
    }

    fn on_proposal(&mut self, proposal: &AgreementProposal) -> Outcome {
        let Some((files, verified)) = self.files_for(proposal.context) else {
            return self.no_upload();
        };
        if let Some(agreed) = files.agreed {
            return Outcome::Sent(vec![Letter::Agreement(agreed)]);
        }
        let Some(bytes) = &files.await_agreement else { return Outcome::Excused(Excuse::Journal) };
        let state = AwaitAgreement::from_secret_bytes(bytes).unwrap();
        let keys = Rc::clone(&self.keys);
        let agreed = state.agree(keys.roster(), &verified, proposal, keys.key(self.position));
        let (state, signature) = match agreed {
            Ok(agreed) => agreed,
            Err(refused) => return Outcome::Refused(refused.error.to_string()),
        };
        let (round, now) = (verified.context().round, digest_of(&signature));
        if self.journal.agreed.get(&round).is_some_and(|before| *before != now) {
            return Outcome::Excused(Excuse::Journal);
        }
        if self.dies(CrashPoint::BeforeStoring) {
            return Outcome::Crashed;
        }
        let bytes = state.to_secret_bytes().to_vec();
        self.write(|disk| {
            if let Some(files) = &mut disk.round {
                files.await_unmasking = Some(bytes);
            }
        });
        if self.dies(CrashPoint::BetweenSecretAndJournal) {
            return Outcome::Crashed;
        }
        self.journal.agreed.insert(round, now);
        let stored = signature.clone();
        self.write(|disk| {
            if let Some(files) = &mut disk.round {
                files.agreed = Some(stored);
                files.await_agreement = None;
            }
        });
        if self.dies(CrashPoint::BeforeSending) {
            return Outcome::Crashed;
        }
        Outcome::Sent(vec![Letter::Agreement(signature)])
    }

    fn on_request(&mut self, request: &UnmaskingRequest) -> Outcome {
        let Some((files, verified)) = self.files_for(request.context) else {
            return self.no_upload();
        };
        if let Some(response) = files.unmasked {
            return Outcome::Sent(vec![Letter::Response(response)]);
        }
        if files.agreed.is_none() {
            return Outcome::Refused("no set was signed".into());
        }
        let Some(bytes) = &files.await_unmasking else { return Outcome::Excused(Excuse::Journal) };
        let state = AwaitUnmasking::from_secret_bytes(bytes).unwrap();
        let keys = Rc::clone(&self.keys);
        let answer = state.unmask(keys.roster(), &verified, request, keys.key(self.position));
        let (_, response) = match answer {
            Ok(answer) => answer,
            Err(refused) => return Outcome::Refused(refused.error.to_string()),
        };
        let (round, model) = (verified.context().round, verified.context().model);
        if self.journal.spent.iter().any(|(other, spent)| *other != round && *spent == model) {
            return Outcome::Excused(Excuse::SpentModel);
        }
        let now = digest_of(&response);
        if self.journal.unmasked.get(&round).is_some_and(|before| *before != now) {
            return Outcome::Excused(Excuse::Journal);
        }
        if self.dies(CrashPoint::BeforeStoring) {
            return Outcome::Crashed;
        }
        self.journal.spent.insert(round, model);
        if self.dies(CrashPoint::BetweenSecretAndJournal) {
            return Outcome::Crashed;
        }
        self.journal.unmasked.insert(round, now);
        let stored = response.clone();
        self.write(|disk| {
            if let Some(files) = &mut disk.round {
                files.unmasked = Some(stored);
                files.await_unmasking = None;
            }
        });
        if self.dies(CrashPoint::BeforeSending) {
            return Outcome::Crashed;
        }
        Outcome::Sent(vec![Letter::Response(response)])
    }
}
