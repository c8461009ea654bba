//! What an entry claims that a member said, against what the member signed.

use konclave_ledger::dsse::Envelope;
use konclave_ledger::records::Record;
use konclave_ledger::statements::{
    ConsentDecision, ConsentStatement, DataClass, DepositStatement, EvaluationStatement, StatementError,
    verify,
};
use konclave_ledger::{Hash, PublicKey};

/// An entry that stands for a member's word: without the signed statement it is the operator's word alone.
pub(crate) struct Claim<'a> {
    record: &'a Record,
    /// Who is said to have signed.
    pub(crate) signer: &'a str,
    /// What is said to be signed.
    pub(crate) statement: Hash,
}

impl<'a> Claim<'a> {
    /// The claim of a record, if it makes one.
    pub(crate) fn of(record: &'a Record) -> Option<Self> {
        let (signer, statement) = if let Record::DepositRegistered { site, statement, .. }
        | Record::ConsentGiven { site, statement, .. }
        | Record::ConsentRefused { site, statement, .. }
        | Record::EvaluationRecorded { evaluator: site, statement, .. } = record
        {
            (site, statement)
        } else {
            return None;
        };
        Some(Self { record, signer, statement: *statement })
    }

    /// Whether an evaluator must have signed, not a site.
    pub(crate) const fn is_evaluation(&self) -> bool {
        matches!(self.record, Record::EvaluationRecorded { .. })
    }

    /// The first field in which the entry says something else than the signed statement; `None` if they agree.
    pub(crate) fn differs(
        &self,
        envelope: &Envelope,
        key: &PublicKey,
    ) -> Result<Option<&'static str>, StatementError> {
        let first = |fields: &[(&'static str, bool)]| {
            fields.iter().find(|(_, agrees)| !agrees).map(|(field, _)| *field)
        };
        if let Record::DepositRegistered { site, data_class, lines, .. } = self.record {
            let said: DepositStatement = verify(envelope, key)?;
            let class = match said.data_class {
                DataClass::Training => "training",
                DataClass::Benchmark => "benchmark",
            };
            let same_lines = said.catalogue_tasks.len() == lines.len()
                && said.catalogue_tasks.iter().zip(lines).all(|(said, line)| {
                    said.task == line.task
                        && said.records == line.records
                        && said.unique_structures == line.unique_structures
                        && said.scaffolds == line.scaffolds
                });
            return Ok(first(&[
                ("site", said.site == *site),
                ("data_class", class == data_class),
                ("lines", same_lines),
            ]));
        }
        if let Record::EvaluationRecorded {
            job, round, parameters, coalition, benchmark, score_micro, ..
        } = self.record
        {
            let said: EvaluationStatement = verify(envelope, key)?;
            let mut members = said.coalition;
            members.sort();
            return Ok(first(&[
                ("job", said.job == *job),
                ("round", said.round == *round),
                ("parameters", said.model == *parameters),
                ("coalition", members == *coalition),
                ("benchmark", said.benchmark == *benchmark),
                ("score_micro", said.utility_micro == *score_micro),
            ]));
        }
        let said: ConsentStatement = verify(envelope, key)?;
        let agrees = |job: &String, site: &String, decision: ConsentDecision| {
            first(&[
                ("job", said.job == *job),
                ("site", said.site == *site),
                ("decision", said.decision == decision),
            ])
        };
        if let Record::ConsentRefused { job, site, rule, .. } = self.record {
            let differs = agrees(job, site, ConsentDecision::Refuse);
            return Ok(differs.or_else(|| (!said.rule.starts_with(rule.as_str())).then_some("rule")));
        }
        if let Record::ConsentGiven { job, site, .. } = self.record {
            return Ok(agrees(job, site, ConsentDecision::Accept));
        }
        Ok(None)
    }
}
