//! How each record changes the state.

use std::str::FromStr;
use std::sync::Arc;

use konclave_crypto::{JobId, MembershipCertificate, RoundNumber, SiteId, UnixSeconds};
use konclave_ledger::Leaf;
use konclave_ledger::records::Record;
use konclave_policies::rounds::RoundPolicy;
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

use super::members::TLS_OVERLAP;
use super::{
    ClientState, DepositState, EvaluationState, FoldError, IdempotentRequest, JobState, ModelState,
    SiteState, State, to_digest,
};
use crate::core::IdempotencyKey;

/// Where a record stands, for errors and for the state's back references.
pub(super) struct Place {
    pub(super) index: u64,
    pub(super) action: &'static str,
    pub(super) time: String,
    /// Who did it.
    pub(super) actor: String,
}

impl Place {
    pub(super) fn parse<T: FromStr>(&self, field: &'static str, text: &str) -> Result<T, FoldError> {
        text.parse().map_err(|_| FoldError::Field { index: self.index, action: self.action, field })
    }

    pub(super) fn json<T: serde::de::DeserializeOwned>(
        &self,
        field: &'static str,
        value: serde_json::Value,
    ) -> Result<T, FoldError> {
        serde_json::from_value(value).map_err(|_| FoldError::Field {
            index: self.index,
            action: self.action,
            field,
        })
    }

    pub(super) fn sites(&self, field: &'static str, names: &[String]) -> Result<Vec<SiteId>, FoldError> {
        names.iter().map(|name| self.parse(field, name)).collect()
    }

    pub(super) fn round(&self, number: u32) -> Result<RoundNumber, FoldError> {
        RoundNumber::new(number).map_err(|_| FoldError::Field {
            index: self.index,
            action: self.action,
            field: "round",
        })
    }

    pub(super) fn unknown(&self, what: &'static str, id: impl ToString) -> FoldError {
        FoldError::Unknown { index: self.index, action: self.action, what, id: id.to_string() }
    }

    /// When the entry was made; of a trial, which has no time yet, the beginning of all.
    pub(super) fn seconds(&self) -> Result<UnixSeconds, FoldError> {
        if self.time.is_empty() {
            return Ok(UnixSeconds(0));
        }
        let wrong = FoldError::Field { index: self.index, action: self.action, field: "time" };
        let time = OffsetDateTime::parse(&self.time, &Rfc3339).ok();
        time.and_then(|time| u64::try_from(time.unix_timestamp()).ok()).map(UnixSeconds).ok_or(wrong)
    }

    pub(super) fn job<'a>(&self, state: &'a mut State, job: &str) -> Result<&'a mut JobState, FoldError> {
        let id: JobId = self.parse("job", job)?;
        state.jobs.get_mut(&id).ok_or_else(|| self.unknown("job", job))
    }

    /// A record that belongs to another part of the fold: this software's own fault.
    pub(super) fn misplaced(&self, record: &Record) -> FoldError {
        FoldError::Unknown {
            index: self.index,
            action: self.action,
            what: "action",
            id: record.action().to_owned(),
        }
    }
}

impl State {
    /// Folds one entry in. Nothing is changed on an error.
    ///
    /// # Errors
    /// [`FoldError`].
    pub fn apply(&mut self, index: u64, leaf: &Leaf) -> Result<(), FoldError> {
        if index != self.size {
            return Err(FoldError::OutOfOrder { index, size: self.size });
        }
        let record = Record::parse(&leaf.action, &leaf.record)
            .map_err(|source| FoldError::Record { index, source })?;
        let (time, actor) = (leaf.time.clone(), leaf.actor.clone());
        let place = Place { index, action: record.action(), time, actor };
        self.fold(&place, record)?;
        for commitment in &leaf.commitments {
            self.commitments.entry(*commitment).or_insert(index);
        }
        if let Some(request) = IdempotencyKey::parse(&leaf.request_id) {
            self.idempotency
                .entry(request.key)
                .or_insert(IdempotentRequest { body: request.body, entry: index });
        }
        self.size = index + 1;
        Ok(())
    }

    /// Whether a record could be folded into a copy of this state: checked before it is appended, so that no entry
    /// ever enters the ledger that a replay would stumble over.
    ///
    /// # Errors
    /// [`FoldError`].
    pub fn check(&self, record: &Record) -> Result<(), FoldError> {
        let (time, actor) = (String::new(), String::new());
        let place = Place { index: self.size, action: record.action(), time, actor };
        // Folding needs only the job, member or client that the record is about: a trial on that part of the state.
        self.part_about(&place, record)?.fold(&place, record.clone())
    }

    fn part_about(&self, place: &Place, record: &Record) -> Result<State, FoldError> {
        let mut part = State::default();
        if let Some(job) = job_of(record) {
            let id: JobId = place.parse("job", job)?;
            if let Some(known) = self.jobs.get(&id) {
                part.jobs.insert(id, known.clone());
            }
        }
        if let Record::SiteRevoked { site, .. } | Record::SiteEnrolled { site, .. } = record {
            let id: SiteId = place.parse("site", site)?;
            part.sites.extend(self.sites.get(&id).map(|known| (id, known.clone())));
        }
        if let Record::ClientRevoked { client } = record {
            part.clients.extend(self.clients.get(client).map(|known| (client.clone(), known.clone())));
        }
        Ok(part)
    }

    fn fold(&mut self, place: &Place, record: Record) -> Result<(), FoldError> {
        match record {
            Record::LedgerCreated { gateway, .. } | Record::GatewayCertified { gateway } => {
                self.gateway = Some(place.json("gateway", gateway)?);
            }
            Record::PolicySet { policy, text } => {
                let digest = to_digest(&policy);
                let parsed =
                    RoundPolicy::parse("policy.set", &text).ok().filter(|read| read.digest() == digest);
                let field = FoldError::Field { index: place.index, action: place.action, field: "text" };
                self.policies.insert(digest, Arc::new(parsed.ok_or(field)?));
                self.policy = Some(digest);
            }
            Record::SiteEnrolled { site, witness_vkey, tls_spki, certificate, .. } => {
                let certificate: MembershipCertificate = place.json("certificate", certificate)?;
                let site: SiteId = place.parse("site", &site)?;
                let tls_spki = to_digest(&tls_spki);
                // Only a member that replaces its own key needs the old one for a while. The operator's hand may well have
                // been forced by a theft.
                let until =
                    if place.actor == site.as_str() { place.seconds()?.get() + TLS_OVERLAP } else { 0 };
                let old = self.sites.get(&site);
                let replaced_tls =
                    old.map(|old| old.replaced_by(&tls_spki, UnixSeconds(until))).unwrap_or_default();
                self.tls_spki.insert(tls_spki, site.clone());
                let enrolled = SiteState {
                    site: site.clone(),
                    certificate,
                    witness_vkey,
                    tls_spki,
                    replaced_tls,
                    entry: place.index,
                    revoked: None,
                };
                self.sites.insert(site, enrolled);
            }
            Record::ClientRegistered {
                client,
                organisation,
                roles,
                public_key,
                contact,
                certificate_bound,
            } => {
                let roles = roles.iter().map(|role| place.parse("roles", role)).collect::<Result<_, _>>()?;
                let entry = place.index;
                let registered = ClientState {
                    client: client.clone(),
                    organisation,
                    roles,
                    public_key,
                    contact,
                    certificate_bound,
                    entry,
                };
                self.clients.insert(client, registered);
            }
            Record::DepositRegistered { site, statement, data_class, lines } => {
                self.deposits.push(DepositState {
                    deposit: to_digest(&statement),
                    site: place.parse("site", &site)?,
                    training: data_class == "training",
                    lines,
                    entry: place.index,
                });
            }
            Record::ModelRegistered {
                model,
                name,
                organisation,
                manifest,
                coordinates,
                heads,
                initial_parameters,
                ..
            } => {
                self.models.push(ModelState {
                    model: to_digest(&model),
                    name,
                    organisation,
                    manifest,
                    coordinates,
                    heads,
                    initial_parameters: to_digest(&initial_parameters),
                    entry: place.index,
                });
            }
            Record::EvaluationRecorded {
                evaluator,
                job,
                round,
                parameters,
                coalition,
                benchmark,
                score_micro,
                statement,
            } => {
                place.job(self, &job)?;
                self.evaluations.push(EvaluationState {
                    evaluation: to_digest(&statement),
                    evaluator: place.parse("evaluator", &evaluator)?,
                    job: place.parse("job", &job)?,
                    round: place.round(round)?,
                    parameters: to_digest(&parameters),
                    coalition: place.sites("coalition", &coalition)?,
                    benchmark: to_digest(&benchmark),
                    score_micro,
                    entry: place.index,
                });
            }
            Record::SiteRevoked { site, .. } => {
                let id: SiteId = place.parse("site", &site)?;
                let known = self.sites.get_mut(&id).ok_or_else(|| place.unknown("site", &site))?;
                known.revoked = Some(place.index);
                self.tls_spki.retain(|_, owner| *owner != id);
                self.revoked_tls.insert(known.tls_spki);
                self.revoked_tls.extend(known.replaced_tls.keys());
                self.revoked_keys.insert(known.certificate.membership.identity_key);
            }
            Record::ClientRevoked { client } => {
                let known = self.clients.remove(&client).ok_or_else(|| place.unknown("client", &client))?;
                self.revoked_clients.insert((client, known.public_key));
            }
            Record::LedgerExported { size, .. } => self.exports.push((place.index, size)),
            // The ledger itself follows its keys.
            Record::LedgerKeyRotated { .. } => {}
            audit @ (Record::EntryCorrected { .. }
            | Record::OpeningErased { .. }
            | Record::ReviewRecorded { .. }
            | Record::WitnessStatus { .. }) => self.fold_audit(place, audit)?,
            reserved @ (Record::GroupFormed { .. }
            | Record::ModuleRegistered { .. }
            | Record::UsageRecorded { .. }
            | Record::PolicyProposed { .. }
            | Record::PolicyBalloted { .. }
            | Record::PolicyResolved { .. }) => {
                return Err(FoldError::Reserved { index: place.index, action: reserved.action() });
            }
            job @ (Record::JobRequested { .. }
            | Record::ConsentGiven { .. }
            | Record::ConsentRefused { .. }
            | Record::CohortFixed { .. }
            | Record::RosterFixed { .. }
            | Record::JobStarted { .. }
            | Record::JobAborted { .. }
            | Record::JobFinished { .. }
            | Record::ContributionScored { .. }
            | Record::RewardStated { .. }) => self.fold_job(place, job)?,
            round @ (Record::RoundContext { .. }
            | Record::RoundAgreed { .. }
            | Record::RoundOpened { .. }
            | Record::RoundTagged { .. }
            | Record::RoundVerified { .. }
            | Record::RoundAborted { .. }
            | Record::ParticipationRecorded { .. }) => self.fold_round(place, round)?,
        }
        Ok(())
    }
}

/// The job that a record is about.
fn job_of(record: &Record) -> Option<&str> {
    match record {
        Record::ConsentGiven { job, .. }
        | Record::ConsentRefused { job, .. }
        | Record::CohortFixed { job, .. }
        | Record::RosterFixed { job, .. }
        | Record::JobStarted { job }
        | Record::JobAborted { job, .. }
        | Record::JobFinished { job, .. }
        | Record::RoundContext { job, .. }
        | Record::RoundAgreed { job, .. }
        | Record::RoundOpened { job, .. }
        | Record::RoundTagged { job, .. }
        | Record::RoundVerified { job, .. }
        | Record::RoundAborted { job, .. }
        | Record::ParticipationRecorded { job, .. }
        | Record::EvaluationRecorded { job, .. }
        | Record::ContributionScored { job, .. }
        | Record::RewardStated { job, .. }
        | Record::UsageRecorded { job, .. } => Some(job),
        Record::LedgerCreated { .. }
        | Record::GatewayCertified { .. }
        | Record::SiteEnrolled { .. }
        | Record::ClientRegistered { .. }
        | Record::PolicySet { .. }
        | Record::DepositRegistered { .. }
        | Record::ModelRegistered { .. }
        | Record::JobRequested { .. }
        | Record::LedgerExported { .. }
        | Record::LedgerKeyRotated { .. }
        | Record::SiteRevoked { .. }
        | Record::ClientRevoked { .. }
        | Record::EntryCorrected { .. }
        | Record::OpeningErased { .. }
        | Record::ReviewRecorded { .. }
        | Record::WitnessStatus { .. }
        | Record::GroupFormed { .. }
        | Record::ModuleRegistered { .. }
        | Record::PolicyProposed { .. }
        | Record::PolicyBalloted { .. }
        | Record::PolicyResolved { .. } => None,
    }
}
