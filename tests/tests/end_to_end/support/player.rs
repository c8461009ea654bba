//! A site played by the test itself, over mTLS with the site's own keys: it can say whatever a site's enclave never would.

use std::collections::BTreeMap;
use std::fs;
use std::thread::sleep;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use konclave_crypto::messages::{AgreementEvidence, Manifest, SumTag, TaggingRequest, UnmaskingResponse};
use konclave_crypto::setup::{
    AwaitCiphertexts, AwaitRoster, KeyAdvertisement, PairwiseChains, Roster, advertise,
};
use konclave_crypto::site::{AwaitAgreement, AwaitUnmasking, mask};
use konclave_crypto::verification::{AgreedSet, OwnUpload, tag};
use konclave_crypto::{
    ConsortiumRoot, Digest, JobId, RoundNumber, SiteFloor, SiteId, UnixSeconds, VerifiedContext, body_root,
    quantise,
};
use konclave_ledger::Hash;
use konclave_ledger::statements::{self, ConsentDecision, ConsentStatement};
use konclave_openapi::jobs::{Ciphertexts, Job, RosterView};
use konclave_openapi::problem::Problem;
use konclave_openapi::rounds::Round;
use konclave_openapi::sites::Enrolment;
use konclave_openapi::work::{WorkItem, WorkList};
use konclave_site::keystore::{Disk, SiteKeys};
use konclave_tests::HarnessError;
use konclave_tests::consortium::Consortium;
use konclave_tests::partner::send;
use rand_chacha::ChaCha20Rng;
use rand_chacha::rand_core::SeedableRng;
use reqwest::blocking::{Client, RequestBuilder};
use serde::Serialize;
use serde::de::DeserializeOwned;

use super::known::known;

/// What the sites of the default policy insist on.
const FLOOR: SiteFloor =
    SiteFloor { min_sites: 5, min_agreed: 5, min_batch: 3, scoring_batch_size: Some(3), batch_size: 1 };
/// After so long without what is waited for, the test has failed.
const LIMIT: Duration = Duration::from_secs(90);

pub(crate) struct Player {
    pub(crate) site: SiteId,
    pub(crate) keys: SiteKeys,
    enrolment: Enrolment,
    http: Client,
    url: String,
    job: JobId,
    rng: ChaCha20Rng,
    await_roster: Option<AwaitRoster>,
    await_ciphertexts: Option<AwaitCiphertexts>,
    chains: Option<PairwiseChains>,
    await_agreement: Option<AwaitAgreement>,
    await_unmasking: Option<AwaitUnmasking>,
    bodies: BTreeMap<RoundNumber, Vec<u8>>,
    signed: BTreeMap<RoundNumber, Digest>,
}

fn now() -> UnixSeconds {
    UnixSeconds(SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs())
}

impl Player {
    /// Takes the part of a member that does not run.
    pub(crate) fn new(consortium: &Consortium, site: &str, job: JobId) -> Self {
        let member = consortium.member(site).unwrap();
        let enrolment = fs::read(member.folder.join("enrolment.json")).unwrap();
        let id: SiteId = site.parse().unwrap();
        Self {
            keys: SiteKeys::read(&Disk::default(), &member.folder, &id).unwrap(),
            enrolment: serde_json::from_slice(&enrolment).unwrap(),
            http: member.connect().unwrap(),
            url: consortium.url.clone(),
            site: id,
            job,
            rng: ChaCha20Rng::from_seed([42; 32]),
            await_roster: None,
            await_ciphertexts: None,
            chains: None,
            await_agreement: None,
            await_unmasking: None,
            bodies: BTreeMap::new(),
            signed: BTreeMap::new(),
        }
    }

    fn send(&self, name: &str, request: RequestBuilder) -> Result<Vec<u8>, Box<Problem>> {
        match send(name, request) {
            Ok(answer) => Ok(answer.bytes().unwrap().to_vec()),
            Err(HarnessError::Problem { problem, .. }) => Err(problem),
            Err(error) => panic!("{error}"),
        }
    }

    pub(crate) fn get<T: DeserializeOwned>(&self, path: &str) -> T {
        let bytes = self.send(path, self.http.get(format!("{}{path}", self.url))).unwrap();
        serde_json::from_slice(&bytes).unwrap()
    }

    /// PUTs a message of the job: `path` is what follows `/v1/jobs/{job}/`.
    pub(crate) fn put(&self, path: &str, body: &impl Serialize) -> Result<(), Box<Problem>> {
        let url = format!("{}/v1/jobs/{}/{path}", self.url, self.job);
        self.send(path, self.http.put(url).json(body)).map(drop)
    }

    /// Waits until the gateway asks for something.
    pub(crate) fn until_asked(&self, wanted: impl Fn(&WorkItem) -> bool) {
        let started = Instant::now();
        while !self.get::<WorkList>("/v1/work").items.iter().any(&wanted) {
            assert!(started.elapsed() < LIMIT, "the gateway does not ask for it");
            sleep(Duration::from_millis(50));
        }
    }

    /// Waits until a round is as it should be.
    pub(crate) fn until_round(&self, number: u32, reached: impl Fn(&Round) -> bool) -> Round {
        let (started, path) = (Instant::now(), format!("/v1/jobs/{}/rounds/{number}", self.job));
        loop {
            let answer = self.send(&path, self.http.get(format!("{}{path}", self.url)));
            let round: Option<Round> = answer.ok().map(|bytes| serde_json::from_slice(&bytes).unwrap());
            match round {
                Some(round) if reached(&round) => return round,
                found => assert!(started.elapsed() < LIMIT, "round {number}: {found:?}"),
            }
            sleep(Duration::from_millis(50));
        }
    }

    pub(crate) fn consent(&self) {
        self.until_asked(|item| matches!(item, WorkItem::Consent { .. }));
        let statement = ConsentStatement {
            job: self.job.to_string(),
            site: self.site.to_string(),
            decision: ConsentDecision::Accept,
            rule: "auto".to_owned(),
            detail: String::new(),
            policy: Hash::of(b"site policy"),
            made_at: now().get(),
        };
        let envelope = statements::sign(self.keys.identity.seed(), &statement).unwrap();
        let url = format!("{}/v1/jobs/{}/consents", self.url, self.job);
        let _: Job =
            serde_json::from_slice(&self.send("consent", self.http.post(url).json(&envelope)).unwrap())
                .unwrap();
    }

    /// A key advertisement; its secret is kept.
    pub(crate) fn advertisement(&mut self) -> KeyAdvertisement {
        self.until_asked(|item| matches!(item, WorkItem::AdvertiseKeys { .. }));
        let (state, message) =
            advertise(&self.job, &self.keys.identity, &self.enrolment.certificate, &mut self.rng);
        self.await_roster = Some(state);
        message
    }

    fn root(&self) -> ConsortiumRoot {
        ConsortiumRoot(self.enrolment.consortium_root)
    }

    fn roster(&self) -> Roster {
        let view: RosterView = self.get(&format!("/v1/jobs/{}/roster", self.job));
        Roster::new(self.job.clone(), view.advertisements, &self.root(), now()).unwrap()
    }

    pub(crate) fn exchange_ciphertexts(&mut self) {
        self.until_asked(|item| matches!(item, WorkItem::Encapsulate { .. }));
        let (roster, waiting) = (self.roster(), self.await_roster.take().unwrap());
        let (state, ciphertexts) = waiting.encapsulate(&roster, &self.keys.identity, &mut self.rng).unwrap();
        self.await_ciphertexts = Some(state);
        self.put(&format!("ciphertexts/{}", self.site), &Ciphertexts { ciphertexts }).unwrap();
    }

    fn context(&self, round: RoundNumber) -> (Roster, VerifiedContext) {
        let roster = self.roster();
        let view: Round = self.get(&format!("/v1/jobs/{}/rounds/{round}", self.job));
        let verified = view.context.verify(&self.root(), &roster, now(), &FLOOR).unwrap();
        (roster, verified)
    }

    /// Masks the known update of a round, and changes what is about to be sent; the header is signed after that.
    pub(crate) fn masked(
        &mut self,
        number: u32,
        lie: impl FnOnce(&mut Manifest, &mut Vec<u8>),
    ) -> (Manifest, Vec<u8>) {
        let round = RoundNumber::new(number).unwrap();
        self.until_asked(|item| matches!(item, WorkItem::Upload { round: asked, .. } if *asked == round));
        let (roster, context) = self.context(round);
        if let Some(waiting) = self.await_ciphertexts.take() {
            let incoming: Ciphertexts = self.get(&format!("/v1/jobs/{}/ciphertexts/{}", self.job, self.site));
            self.chains = Some(waiting.finish(&roster, incoming.ciphertexts).unwrap());
        }
        let chains = self.chains.as_mut().unwrap();
        chains.advance_to(round).unwrap();
        let encoding = &context.context().encoding;
        let coordinates = usize::try_from(encoding.coordinates()).unwrap();
        let update = known(self.site.as_str(), &context.context().model, coordinates);
        let ring = quantise(&update.delta, update.weight, encoding, &mut self.rng).unwrap().ring;
        let key = &self.keys.identity;
        let (state, mut manifest, mut body) =
            mask(chains, &roster, &context, key, ring, &mut self.rng).unwrap();
        lie(&mut manifest, &mut body);
        manifest.signed.header.body_root = body_root(body.as_slice()).unwrap();
        manifest.signed = manifest.signed.header.sign(key);
        self.await_agreement = Some(state);
        self.bodies.insert(round, body.clone());
        (manifest, body)
    }

    pub(crate) fn send_manifest(&self, number: u32, manifest: &Manifest) -> Result<(), Box<Problem>> {
        self.put(&format!("rounds/{number}/manifests/{}", self.site), manifest)
    }

    pub(crate) fn send_body(&self, number: u32, body: Vec<u8>) -> Result<(), Box<Problem>> {
        let url = format!("{}/v1/jobs/{}/rounds/{number}/uploads/{}?offset=0", self.url, self.job, self.site);
        let request = self.http.put(url).header("content-type", "application/octet-stream").body(body);
        self.send("upload", request).map(drop)
    }

    pub(crate) fn agree(&mut self, number: u32) {
        let round = RoundNumber::new(number).unwrap();
        self.until_asked(|item| matches!(item, WorkItem::Agree { round: asked, .. } if *asked == round));
        let (roster, context) = self.context(round);
        let proposal = self.get(&format!("/v1/jobs/{}/rounds/{round}/agreement", self.job));
        let waiting = self.await_agreement.take().unwrap();
        let (state, signature) = waiting.agree(&roster, &context, &proposal, &self.keys.identity).unwrap();
        self.await_unmasking = Some(state);
        self.signed.insert(round, signature.agreed_digest);
        self.put(&format!("rounds/{round}/agreement/{}", self.site), &signature).unwrap();
    }

    /// The honest answer to the request for shares.
    pub(crate) fn shares(&mut self, number: u32) -> UnmaskingResponse {
        let round = RoundNumber::new(number).unwrap();
        self.until_asked(|item| matches!(item, WorkItem::Unmask { round: asked, .. } if *asked == round));
        let (roster, context) = self.context(round);
        let request = self.get(&format!("/v1/jobs/{}/rounds/{round}/unmasking/{}", self.job, self.site));
        let waiting = self.await_unmasking.take().unwrap();
        waiting.unmask(&roster, &context, &request, &self.keys.identity).unwrap().1
    }

    /// The honest tag of what was opened.
    pub(crate) fn tag(&self, number: u32) -> SumTag {
        let round = RoundNumber::new(number).unwrap();
        self.until_asked(|item| matches!(item, WorkItem::Tag { round: asked, .. } if *asked == round));
        let (roster, context) = self.context(round);
        let view: Round = self.get(&format!("/v1/jobs/{}/rounds/{round}", self.job));
        let evidence: AgreementEvidence =
            self.get(&format!("/v1/blobs/{}", view.agreement_evidence.unwrap()));
        let agreed: AgreedSet = evidence.verify(&roster, &context).unwrap();
        let request: TaggingRequest =
            self.get(&format!("/v1/jobs/{}/rounds/{round}/tags/{}", self.job, self.site));
        let upload = OwnUpload {
            site: &self.site,
            key: &self.keys.identity,
            signed: self.signed.get(&round).copied(),
            body: self.bodies[&round].as_slice(),
        };
        tag(&roster, &context, &agreed, &request, upload).unwrap()
    }
}
