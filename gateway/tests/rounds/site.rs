//! A site as the protocol wants it, played by the test: it does what GET /v1/work says.

use std::collections::BTreeMap;

use axum::http::{Method, StatusCode};
use konclave_crypto::messages::{
    AgreementEvidence, Manifest, SumTag, SumVerdict, TagEvidence, TaggingRequest, UnmaskingResponse,
};
use konclave_crypto::setup::{AwaitCiphertexts, AwaitRoster, PairwiseChains, Roster, advertise};
use konclave_crypto::site::{AwaitAgreement, AwaitUnmasking, mask};
use konclave_crypto::verification::{AgreedSet, OwnUpload, SumCheck, Unverified, recompute, tag};
use konclave_crypto::{
    Digest, IdentityKey, JobId, MembershipCertificate, OpenedSum, RoundNumber, SiteFloor, SiteId,
    VerifiedContext, body_root, quantise_within,
};
use konclave_gateway::auth::Principal;
use konclave_ledger::Hash;
use konclave_ledger::statements::{self, ConsentDecision, ConsentStatement, EvaluationStatement, TaskMetric};
use konclave_openapi::evaluations::{Evaluation, NewEvaluation};
use konclave_openapi::jobs::{Ciphertexts, Job, RosterView};
use konclave_openapi::rounds::{Round, UploadOffset};
use konclave_openapi::work::{WorkItem, WorkList};
use rand_chacha::ChaCha20Rng;
use rand_chacha::rand_core::{Rng, SeedableRng};
use serde::de::DeserializeOwned;

use crate::world::{Silent, World, evaluator, member};

const FLOOR: SiteFloor =
    SiteFloor { min_sites: 5, min_agreed: 5, min_batch: 3, scoring_batch_size: Some(3), batch_size: 1 };

pub struct TestSite {
    pub key: IdentityKey,
    pub certificate: MembershipCertificate,
    rng: ChaCha20Rng,
    await_roster: Option<AwaitRoster>,
    await_ciphertexts: Option<AwaitCiphertexts>,
    pub chains: Option<PairwiseChains>,
    await_agreement: Option<AwaitAgreement>,
    await_unmasking: Option<AwaitUnmasking>,
    /// The masked body of every round, and the digest of the set that was signed.
    bodies: BTreeMap<RoundNumber, Vec<u8>>,
    signed: BTreeMap<RoundNumber, Digest>,
    /// The plain lanes of every update, weight last: what no one but the site knows.
    pub plain: BTreeMap<RoundNumber, Vec<i64>>,
}

impl TestSite {
    pub fn new(key: IdentityKey, certificate: MembershipCertificate, seed: u8) -> Self {
        Self {
            key,
            certificate,
            rng: ChaCha20Rng::from_seed([seed; 32]),
            await_roster: None,
            await_ciphertexts: None,
            chains: None,
            await_agreement: None,
            await_unmasking: None,
            bodies: BTreeMap::new(),
            signed: BTreeMap::new(),
            plain: BTreeMap::new(),
        }
    }
}

impl World {
    /// Lets sites, coordinator and evaluator work until nobody has anything left to do.
    pub async fn play(&mut self, job: &JobId, silent: &Silent) {
        loop {
            let mut worked = self.coordinate(job).await;
            for id in self.sites.keys().cloned().collect::<Vec<_>>() {
                let list: WorkList = self.get(&member(&id), "/v1/work").await;
                for item in list.items {
                    worked |= self.work(&id, item, silent).await;
                }
            }
            if !worked {
                return;
            }
        }
    }

    async fn roster(&self, id: &SiteId, job: &JobId) -> Roster {
        let view: RosterView = self.get(&member(id), &format!("/v1/jobs/{job}/roster")).await;
        let root = self.app().consortium_root();
        let roster = Roster::new(job.clone(), view.advertisements, root, self.clock.now()).unwrap();
        assert_eq!(roster.digest(), view.roster);
        roster
    }

    async fn context(&self, id: &SiteId, job: &JobId, round: RoundNumber) -> (Roster, VerifiedContext) {
        let roster = self.roster(id, job).await;
        let view: Round = self.get(&member(id), &format!("/v1/jobs/{job}/rounds/{round}")).await;
        let root = self.app().consortium_root();
        let verified = view.context.verify(root, &roster, self.clock.now(), &FLOOR).unwrap();
        assert_eq!(verified.digest(), view.context_digest);
        (roster, verified)
    }

    /// Does one thing; says whether it did.
    pub async fn work(&mut self, id: &SiteId, item: WorkItem, silent: &Silent) -> bool {
        match item {
            WorkItem::Consent { job } => self.consent(id, &job).await,
            WorkItem::AdvertiseKeys { job } => self.advertise(id, &job).await,
            WorkItem::Encapsulate { job } => self.encapsulate(id, &job).await,
            WorkItem::Upload { job, round } if !silent.upload.contains(id) => {
                self.upload(id, &job, round).await
            }
            WorkItem::Agree { job, round } if !silent.agree.contains(id) => self.agree(id, &job, round).await,
            WorkItem::Unmask { job, round } if !silent.unmask.contains(id) => {
                self.unmask(id, &job, round).await
            }
            WorkItem::Tag { job, round } if !silent.tag.contains(id) => {
                let tag = self.tag(id, &job, round).await;
                self.put(&member(id), &format!("/v1/jobs/{job}/rounds/{round}/tags/{id}"), &tag).await;
            }
            WorkItem::Verify { job, round } if !silent.verify.contains(id) => {
                let verdict = self.verdict(id, &job, round).await;
                self.put(&member(id), &format!("/v1/jobs/{job}/rounds/{round}/verdicts/{id}"), &verdict)
                    .await;
            }
            WorkItem::Upload { .. }
            | WorkItem::Agree { .. }
            | WorkItem::Unmask { .. }
            | WorkItem::Tag { .. }
            | WorkItem::Verify { .. } => return false,
            WorkItem::Evaluate { .. } => panic!("a site is not asked to evaluate"),
        }
        true
    }

    async fn consent(&mut self, id: &SiteId, job: &JobId) {
        let statement = ConsentStatement {
            job: job.to_string(),
            site: id.to_string(),
            decision: ConsentDecision::Accept,
            rule: "auto".to_owned(),
            detail: String::new(),
            policy: Hash::of(b"site policy"),
            made_at: self.clock.now().get(),
        };
        let envelope = statements::sign(self.sites[id].key.seed(), &statement).unwrap();
        let _: Job = self.post(&member(id), &format!("/v1/jobs/{job}/consents"), &envelope).await;
    }

    async fn advertise(&mut self, id: &SiteId, job: &JobId) {
        let site = self.sites.get_mut(id).unwrap();
        let (state, message) = advertise(job, &site.key, &site.certificate, &mut site.rng);
        site.await_roster = Some(state);
        self.put(&member(id), &format!("/v1/jobs/{job}/keys/{id}"), &message).await;
    }

    async fn encapsulate(&mut self, id: &SiteId, job: &JobId) {
        let roster = self.roster(id, job).await;
        let site = self.sites.get_mut(id).unwrap();
        let waiting = site.await_roster.take().unwrap();
        let (state, ciphertexts) = waiting.encapsulate(&roster, &site.key, &mut site.rng).unwrap();
        site.await_ciphertexts = Some(state);
        self.put(&member(id), &format!("/v1/jobs/{job}/ciphertexts/{id}"), &Ciphertexts { ciphertexts })
            .await;
    }

    async fn upload(&mut self, id: &SiteId, job: &JobId, round: RoundNumber) {
        let body = self.mask(id, job, round).await;
        self.send_body(id, job, round, &body).await;
    }

    /// Trains, masks and sends the manifest; gives the body that is to follow.
    pub async fn mask(&mut self, id: &SiteId, job: &JobId, round: RoundNumber) -> Vec<u8> {
        self.mask_and_lie(id, job, round, |_, _| ()).await
    }

    /// The same by a site that changes what it is about to send, and signs that.
    pub async fn mask_and_lie(
        &mut self,
        id: &SiteId,
        job: &JobId,
        round: RoundNumber,
        lie: impl FnOnce(&mut Manifest, &mut Vec<u8>),
    ) -> Vec<u8> {
        let (roster, context) = self.context(id, job, round).await;
        let incoming: Ciphertexts = self.get(&member(id), &format!("/v1/jobs/{job}/ciphertexts/{id}")).await;
        let site = self.sites.get_mut(id).unwrap();
        if let Some(waiting) = site.await_ciphertexts.take() {
            site.chains = Some(waiting.finish(&roster, incoming.ciphertexts).unwrap());
        }
        let chains = site.chains.as_mut().unwrap();
        chains.advance_to(round).unwrap();
        let encoding = context.context().encoding.clone();
        let delta: Vec<f32> = (0..encoding.coordinates())
            .map(|_| (site.rng.next_u32() as f32 / u32::MAX as f32 - 0.5) * 0.5)
            .collect();
        let weight = site.rng.next_u32() % encoding.weight_cap + 1;
        let noise = context.context().noise;
        let ring = quantise_within(&delta, weight, &encoding, noise.as_ref(), &mut site.rng).unwrap().ring;
        let modulus = 1_i64 << encoding.ring_bits;
        let signed = |lane: &u32| {
            let lane = i64::from(*lane);
            if lane >= modulus / 2 { lane - modulus } else { lane }
        };
        site.plain.insert(round, ring.lanes().iter().map(signed).collect());
        let chains = site.chains.as_ref().unwrap();
        let (state, mut manifest, mut body) =
            mask(chains, &roster, &context, &site.key, ring, &mut site.rng).unwrap();
        lie(&mut manifest, &mut body);
        manifest.signed.header.body_root = body_root(body.as_slice()).unwrap();
        manifest.signed = manifest.signed.header.sign(&site.key);
        site.await_agreement = Some(state);
        site.bodies.insert(round, body.clone());
        self.put(&member(id), &format!("/v1/jobs/{job}/rounds/{round}/manifests/{id}"), &manifest).await;
        body
    }

    /// In two halves, with a restart between them if the world restarts.
    pub async fn send_body(&mut self, id: &SiteId, job: &JobId, round: RoundNumber, body: &[u8]) {
        let path = format!("/v1/jobs/{job}/rounds/{round}/uploads/{id}");
        let half = body.len() / 2;
        for end in [half, body.len()] {
            let offset: UploadOffset = self.get(&member(id), &path).await;
            let from = usize::try_from(offset.offset).unwrap();
            let part = body[from..end].to_vec();
            let at = format!("{path}?offset={from}");
            let (status, answer) = self.send(&member(id), Method::PUT, &at, part, false).await;
            assert_eq!(status, StatusCode::OK, "{}", String::from_utf8_lossy(&answer));
            if self.restarts {
                self.restart().await;
            }
        }
    }

    async fn agree(&mut self, id: &SiteId, job: &JobId, round: RoundNumber) {
        let (roster, context) = self.context(id, job, round).await;
        let proposal = self.get(&member(id), &format!("/v1/jobs/{job}/rounds/{round}/agreement")).await;
        let site = self.sites.get_mut(id).unwrap();
        let waiting = site.await_agreement.take().unwrap();
        let (state, signature) = waiting.agree(&roster, &context, &proposal, &site.key).unwrap();
        site.await_unmasking = Some(state);
        site.signed.insert(round, signature.agreed_digest);
        self.put(&member(id), &format!("/v1/jobs/{job}/rounds/{round}/agreement/{id}"), &signature).await;
    }

    async fn unmask(&mut self, id: &SiteId, job: &JobId, round: RoundNumber) {
        let response = self.shares(id, job, round).await;
        self.put(&member(id), &format!("/v1/jobs/{job}/rounds/{round}/unmasking/{id}"), &response).await;
    }

    /// A site's answer to the request for shares.
    pub async fn shares(&mut self, id: &SiteId, job: &JobId, round: RoundNumber) -> UnmaskingResponse {
        let (roster, context) = self.context(id, job, round).await;
        let request = self.get(&member(id), &format!("/v1/jobs/{job}/rounds/{round}/unmasking/{id}")).await;
        let site = self.sites.get_mut(id).unwrap();
        let waiting = site.await_unmasking.take().unwrap();
        waiting.unmask(&roster, &context, &request, &site.key).unwrap().1
    }

    async fn agreed_set(&self, id: &SiteId, job: &JobId, round: RoundNumber) -> AgreedSet {
        let (roster, context) = self.context(id, job, round).await;
        let view: Round = self.get(&member(id), &format!("/v1/jobs/{job}/rounds/{round}")).await;
        let evidence: AgreementEvidence = self.blob(&member(id), view.agreement_evidence.unwrap()).await;
        evidence.verify(&roster, &context).unwrap()
    }

    async fn blob<T: DeserializeOwned>(&self, principal: &Principal, digest: Digest) -> T {
        self.get(principal, &format!("/v1/blobs/{digest}")).await
    }

    /// The tag that a site makes for what the gateway says it opened.
    pub async fn tag(&self, id: &SiteId, job: &JobId, round: RoundNumber) -> SumTag {
        let (roster, context) = self.context(id, job, round).await;
        let agreed = self.agreed_set(id, job, round).await;
        let request: TaggingRequest =
            self.get(&member(id), &format!("/v1/jobs/{job}/rounds/{round}/tags/{id}")).await;
        let site = &self.sites[id];
        let signed = site.signed.get(&round).copied();
        let body = site.bodies[&round].as_slice();
        let upload = OwnUpload { site: id, key: &site.key, signed, body };
        tag(&roster, &context, &agreed, &request, upload).unwrap()
    }

    /// What a site finds of the opened sum.
    pub async fn verdict(&self, id: &SiteId, job: &JobId, round: RoundNumber) -> SumVerdict {
        let accepted = self.check_sum(id, job, round).await;
        let view: Round = self.get(&member(id), &format!("/v1/jobs/{job}/rounds/{round}")).await;
        let announcement = view.verification.unwrap().announcement;
        SumVerdict::sign(view.context_digest, id.clone(), announcement, accepted.is_ok(), &self.sites[id].key)
    }

    /// Checks the opened sum as a site does, with what the gateway gives.
    pub async fn check_sum(&self, id: &SiteId, job: &JobId, round: RoundNumber) -> Result<(), Unverified> {
        let (roster, context) = self.context(id, job, round).await;
        let agreed = self.agreed_set(id, job, round).await;
        let view: Round = self.get(&member(id), &format!("/v1/jobs/{job}/rounds/{round}")).await;
        let verification = view.verification.unwrap();
        let evidence: TagEvidence = self.blob(&member(id), verification.tags.unwrap()).await;
        let announcement = &evidence.announcement;
        assert_eq!(announcement.digest(), verification.announcement);
        let mut recomputed = Vec::new();
        for upload in &evidence.uploads {
            let path = format!("/v1/blobs/{}", upload.body);
            let (status, body) = self.send(&member(id), Method::GET, &path, Vec::new(), false).await;
            assert_eq!(status, StatusCode::OK);
            let opened = &upload.opened;
            let tag =
                recompute(&context, &agreed, announcement, &upload.site, opened, body.as_slice()).unwrap();
            recomputed.push(tag);
        }
        let mut check =
            SumCheck::of_total(&roster, &context, &agreed, announcement, &evidence.tags, &recomputed)?;
        let path = format!("/v1/blobs/{}", verification.total);
        let (status, total) = self.send(&member(id), Method::GET, &path, Vec::new(), false).await;
        assert_eq!(status, StatusCode::OK);
        let words = total.chunks_exact(4).map(|word| i32::from_le_bytes(word.try_into().unwrap()));
        check.take(&words.collect::<Vec<i32>>());
        check.finish().map(|_| ())
    }

    /// What must be opened for these sites: the sum of what only they know.
    pub fn plain_sum(&self, sites: &[SiteId], round: u32) -> OpenedSum {
        let round = RoundNumber::new(round).unwrap();
        let lanes = self.sites[&sites[0]].plain[&round].len();
        let sum = |lane: usize| sites.iter().map(|id| self.sites[id].plain[&round][lane]).sum::<i64>();
        let total: Vec<i64> = (0..lanes).map(sum).collect();
        let (weight, coordinates) = total.split_last().unwrap();
        OpenedSum {
            sites: sites.to_vec(),
            coordinates: coordinates.iter().map(|value| i32::try_from(*value).unwrap()).collect(),
            weight: u64::try_from(*weight).unwrap(),
        }
    }

    /// Every opened batch of a round is the plain sum over its sites, bit by bit; gives the sites.
    pub fn check_opening(&self, job: &JobId, round: u32) -> Vec<Vec<SiteId>> {
        let opened = self.opened(job, round);
        let mut batches = Vec::new();
        for batch in &opened.batches {
            let sites: Vec<SiteId> = batch.sites.iter().map(|name| name.parse().unwrap()).collect();
            let expected = self.plain_sum(&sites, round);
            let blob = std::fs::read(self.app().blobs().path(&konclave_crypto::Digest(batch.sum.0))).unwrap();
            let found: Vec<i32> =
                blob.chunks_exact(4).map(|word| i32::from_le_bytes(word.try_into().unwrap())).collect();
            assert_eq!((found, batch.weight), (expected.coordinates, expected.weight));
            batches.push(sites);
        }
        batches
    }

    /// Lets the evaluator score everything it is asked for: the score is the coalition's size.
    pub async fn evaluate(&self) -> usize {
        let list: WorkList = self.get(&evaluator(), "/v1/work").await;
        for item in &list.items {
            let WorkItem::Evaluate { job, round, parameters, coalition } = item else {
                panic!("the evaluator is asked for {item:?}");
            };
            let statement = evaluation(job, *round, *parameters, coalition, self.clock.now().get());
            let statement = statements::sign(self.evaluator.seed(), &statement).unwrap();
            let _: Evaluation =
                self.post(&evaluator(), "/v1/evaluations", &NewEvaluation { statement }).await;
        }
        list.items.len()
    }
}

/// What an evaluator states of parameters: the score is the coalition's size.
pub fn evaluation(
    job: &JobId,
    round: RoundNumber,
    parameters: konclave_crypto::Digest,
    coalition: &[Vec<SiteId>],
    now: u64,
) -> EvaluationStatement {
    let coalition: Vec<String> = coalition.iter().flatten().map(ToString::to_string).collect();
    EvaluationStatement {
        job: job.to_string(),
        round: round.get(),
        model: Hash(parameters.0),
        utility_micro: 1_000_000 * i64::try_from(coalition.len()).unwrap(),
        coalition,
        benchmark: Hash::of(b"benchmark"),
        metrics: vec![TaskMetric {
            task: "Solubility/Solubility".to_owned(),
            metric: "rmse".to_owned(),
            value_micro: 700_000,
            count: 100,
        }],
        made_at: now,
    }
}
