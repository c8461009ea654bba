//! Scoring rounds: the sums of batches, the models of their coalitions, and what the evaluator is asked.

use konclave_crypto::aggregator::SumSink;
use konclave_crypto::messages::TagEvidence;
use konclave_crypto::verification::SumAnnouncement;
use konclave_crypto::{Digest, OpenedSum, SiteId, apply_sums};
use konclave_ledger::Hash;
use konclave_ledger::records::{CoalitionParameters, OpenedBatch, OpenedUpload, Record};
use konclave_openapi::work::WorkItem;

use super::{Gateway, Stage, little_endian};

/// Opened sums, held in memory.
#[derive(Default)]
pub(super) struct OpenedInMemory {
    pub(super) sums: Vec<Vec<i32>>,
    pub(super) total: Vec<i32>,
}

impl SumSink for OpenedInMemory {
    fn take(&mut self, sum: usize, coordinates: &[i32]) -> std::io::Result<()> {
        if self.sums.len() <= sum {
            self.sums.resize(sum + 1, Vec::new());
        }
        self.sums[sum].extend_from_slice(coordinates);
        Ok(())
    }

    fn take_total(&mut self, coordinates: &[i32]) -> std::io::Result<()> {
        self.total.extend_from_slice(coordinates);
        Ok(())
    }
}

/// The model that some of a round's batches lead to.
pub(super) struct Coalition {
    bits: u16,
    batches: Vec<Vec<SiteId>>,
    parameters: Digest,
}

impl Coalition {
    pub(super) fn listed(&self) -> CoalitionParameters {
        CoalitionParameters { coalition: self.bits, parameters: Hash(*self.parameters.as_bytes()) }
    }
}

impl Gateway {
    /// The sums as the ledger gets them, kept as blobs.
    pub(super) fn recorded_batches(
        &mut self,
        announcement: &SumAnnouncement,
        sums: &[Vec<i32>],
    ) -> Vec<OpenedBatch> {
        let mut batches = Vec::new();
        for (announced, sum) in announcement.sums.iter().zip(sums) {
            let mut sum = sum.clone();
            if self.records_other_sums {
                sum[0] += 1;
            }
            let kept = self.keep(little_endian(&sum));
            let sites = announced.sites.iter().map(ToString::to_string).collect();
            batches.push(OpenedBatch { sites, sum: Hash(*kept.as_bytes()), weight: announced.weight });
        }
        batches
    }

    /// The models of all coalitions.
    pub(super) fn coalitions(
        &mut self,
        model: &[f32],
        sums: &[Vec<i32>],
        announcement: &SumAnnouncement,
    ) -> Vec<Coalition> {
        let encoding = self.last().signed.context.encoding.clone();
        let mut coalitions = vec![Coalition { bits: 0, batches: Vec::new(), parameters: self.parameters }];
        for bits in 1..1_u16 << sums.len() {
            let chosen: Vec<OpenedSum> = announcement
                .sums
                .iter()
                .zip(sums)
                .enumerate()
                .filter(|(place, _)| bits >> place & 1 == 1)
                .map(|(_, (announced, sum))| OpenedSum {
                    sites: announced.sites.clone(),
                    coordinates: sum.clone(),
                    weight: announced.weight,
                })
                .collect();
            let whole = chosen.len() == sums.len();
            let rate = self.request.server_rate_micro + u32::from(self.wrong_coalitions && !whole);
            let moved = apply_sums(model, &chosen, &encoding, rate).unwrap();
            let parameters = self.keep(moved.iter().flat_map(|value| value.to_le_bytes()).collect());
            let batches = chosen.into_iter().map(|sum| sum.sites).collect();
            coalitions.push(Coalition { bits, batches, parameters });
        }
        coalitions
    }

    /// What the ledger says of the last round's tags.
    pub(super) fn tagged_record(&self, evidence: &TagEvidence) -> Record {
        let last = self.rounds.last().unwrap();
        let lost = |site: &&SiteId| self.loses_tags_of.contains(*site);
        let (denies, scoring) = (self.denies_lost_tags, last.scoring);
        Record::RoundTagged {
            job: self.job.to_string(),
            round: last.number.get(),
            announcement: Hash(*evidence.announcement.digest().as_bytes()),
            evidence: Hash::of(&serde_json::to_vec(evidence).unwrap()),
            tagged: named(last.bodies.keys().filter(|site| denies || !lost(site))),
            uploads: evidence
                .uploads
                .iter()
                .map(|upload| OpenedUpload {
                    site: upload.site.to_string(),
                    body: Hash(*upload.body.as_bytes()),
                })
                .collect(),
            missing: named(last.bodies.keys().filter(|site| scoring && !denies && lost(site))),
            false_tags: Vec::new(),
            deadline: 0,
        }
    }

    /// The first question about the first scoring round that the evaluator has not answered.
    pub(super) fn next_evaluation(&self) -> Option<WorkItem> {
        let round =
            self.rounds.first().filter(|round| matches!(round.stage, Stage::Checking | Stage::Opened))?;
        let asked =
            round.coalitions.iter().map(|coalition| (coalition.parameters, coalition.batches.clone()));
        let after = round.after.map(|after| (after, Vec::new()));
        let answered =
            |model: &Digest| self.evaluations_seen.iter().any(|seen| seen.model.0 == *model.as_bytes());
        let (parameters, coalition) = asked.chain(after).find(|(parameters, _)| !answered(parameters))?;
        // All batches together are the global model.
        let coalition = if Some(parameters) == round.after { Vec::new() } else { coalition };
        Some(WorkItem::Evaluate { job: self.job.clone(), round: round.number, parameters, coalition })
    }
}

fn named<'a>(sites: impl Iterator<Item = &'a SiteId>) -> Vec<String> {
    sites.map(ToString::to_string).collect()
}
