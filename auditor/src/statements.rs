//! Signed statements: there, unaltered, signed by the member that the entry names, and saying what the entry says.

use std::collections::HashSet;

use konclave_crypto::MemberRole;
use konclave_ledger::dsse::Envelope;
use konclave_ledger::enrolment::EnrolledKeys;
use konclave_ledger::records::Record;
use konclave_ledger::{Hash, Leaf};

use crate::claims::Claim;
use crate::clients::Clients;
use crate::folder::{AuditError, Folder};
use crate::members::Members;
use crate::report::{Defect, Report};
use crate::reviews;

/// Who can have said what, by the entries up to the one at hand.
pub(crate) struct Known<'a> {
    pub(crate) keys: &'a EnrolledKeys,
    pub(crate) members: &'a Members,
    pub(crate) clients: &'a Clients,
}

/// Remembers which statements entries name: 32 bytes for each, the only memory that grows with the log.
pub(crate) struct StatementCheck<'a> {
    folder: &'a Folder,
    named: HashSet<Hash>,
}

impl<'a> StatementCheck<'a> {
    pub(crate) fn new(folder: &'a Folder) -> Self {
        Self { folder, named: HashSet::new() }
    }

    /// Checks what an entry claims a member said, and the statement it names for it. `record` is the entry's, if its
    /// action is known.
    pub(crate) fn entry(
        &mut self,
        leaf: &Leaf,
        record: Option<&Record>,
        known: &Known<'_>,
        report: &mut Report,
    ) -> Result<(), AuditError> {
        let here = leaf.seq..leaf.seq + 1;
        if let Some(record @ Record::ReviewRecorded { reviewer, statement, .. }) = record {
            return self.review(leaf, record, (reviewer, statement), known, report);
        }
        let claim = record.and_then(Claim::of);
        if let Some(claim) = &claim
            && (leaf.statement != Some(claim.statement) || leaf.site.as_deref() != Some(claim.signer))
        {
            let detail = format!(
                "{} is said to have stated this, but the entry names no such statement",
                claim.signer
            );
            report.add(Defect::Statement, "the entry", here.clone(), detail);
        }
        let Some(digest) = leaf.statement else { return Ok(()) };
        let file = format!("statements/{digest}.json");
        let first = self.named.insert(digest);
        let problem = match self.folder.read(&file)? {
            _ if claim.is_some() && !first => Some("an earlier entry rests on the same statement".to_owned()),
            None => Some("the statement is missing".to_owned()),
            Some(bytes) => problem(&bytes, &digest, leaf, claim.as_ref(), known),
        };
        match problem {
            None => report.statements_checked += 1,
            Some(detail) => report.add(Defect::Statement, &file, here, detail),
        }
        Ok(())
    }

    /// A review is signed by an API client, not by a member.
    fn review(
        &mut self,
        leaf: &Leaf,
        record: &Record,
        (reviewer, statement): (&str, &Hash),
        known: &Known<'_>,
        report: &mut Report,
    ) -> Result<(), AuditError> {
        let here = leaf.seq..leaf.seq + 1;
        if leaf.statement != Some(*statement) {
            let detail =
                format!("{reviewer} is said to have stated this, but the entry names no such statement");
            report.add(Defect::Statement, "the entry", here, detail);
            return Ok(());
        }
        let file = format!("statements/{statement}.json");
        let first = self.named.insert(*statement);
        let problem = match self.folder.read(&file)? {
            _ if !first => Some("an earlier entry rests on the same statement".to_owned()),
            None => Some("the statement is missing".to_owned()),
            Some(bytes) if Hash::of(&bytes) != *statement => Some(ALTERED.to_owned()),
            Some(bytes) => match Envelope::parse(&bytes) {
                Ok(envelope) => reviews::check(&envelope, known.clients.key(reviewer), leaf, record)
                    .err()
                    .map(|fault| fault.to_string()),
                Err(error) => Some(error.to_string()),
            },
        };
        match problem {
            None => report.statements_checked += 1,
            Some(detail) => report.add(Defect::Statement, &file, here, detail),
        }
        Ok(())
    }

    /// Whether a file in `statements/` is named by an entry seen so far.
    pub(crate) fn names(&self, path: &str) -> bool {
        let digest = path.strip_prefix("statements/").and_then(|name| name.strip_suffix(".json"));
        digest.and_then(|hex| hex.parse().ok()).is_some_and(|digest| self.named.contains(&digest))
    }
}

const ALTERED: &str = "the statement was altered: it does not have the digest that the entry names";

fn problem(
    bytes: &[u8],
    digest: &Hash,
    leaf: &Leaf,
    claim: Option<&Claim<'_>>,
    known: &Known<'_>,
) -> Option<String> {
    if Hash::of(bytes) != *digest {
        return Some(ALTERED.to_owned());
    }
    let envelope = match Envelope::parse(bytes) {
        Ok(envelope) => envelope,
        Err(error) => return Some(error.to_string()),
    };
    let Some(site) = leaf.site.as_deref() else {
        return Some("the entry names a statement but no site that signed it".to_owned());
    };
    let Some(key) = known.keys.identity(site) else {
        return Some(format!("the entry's site {site} was not enrolled before"));
    };
    let payload = match envelope.verify(key) {
        Ok(payload) => payload,
        Err(error) => return Some(format!("not signed by {site}: {error}")),
    };
    if let Some(claim) = claim {
        if claim.is_evaluation() && !known.members.is(site, MemberRole::Evaluator) {
            return Some(format!("{site} is no certified evaluator"));
        }
        return match claim.differs(&envelope, key) {
            Ok(field) => field.map(|field| format!("the entry's {field} is not what {site} signed")),
            Err(error) => Some(error.to_string()),
        };
    }
    // A payload that names a site must name this one; otherwise a site's statement could stand in for another's.
    let payload: Option<serde_json::Value> = serde_json::from_slice(&payload).ok();
    let named = payload.as_ref().and_then(|payload| payload.get("site")).and_then(|named| named.as_str());
    named.filter(|named| *named != site).map(|named| format!("signed by {site}, but it speaks of {named}"))
}
