//! Signed statements: there, unaltered, and signed by the site that the entry names.

use std::collections::HashSet;

use konclave_ledger::dsse::Envelope;
use konclave_ledger::enrolment::EnrolledKeys;
use konclave_ledger::{Hash, Leaf};

use crate::folder::{AuditError, Folder};
use crate::report::{Defect, Report};

/// Remembers which statements entries name: 32 bytes for each, the only memory that grows with the log.
pub(crate) struct StatementCheck<'a> {
    folder: &'a Folder,
    named: HashSet<Hash>,
}

impl<'a> StatementCheck<'a> {
    pub(crate) fn new(folder: &'a Folder) -> Self {
        Self { folder, named: HashSet::new() }
    }

    /// Checks the statement that an entry names, under the keys enrolled up to it.
    pub(crate) fn entry(
        &mut self,
        leaf: &Leaf,
        keys: &EnrolledKeys,
        report: &mut Report,
    ) -> Result<(), AuditError> {
        let Some(digest) = leaf.statement else { return Ok(()) };
        let file = format!("statements/{digest}.json");
        self.named.insert(digest);
        let problem = match self.folder.read(&file)? {
            None => Some("the statement is missing".to_owned()),
            Some(bytes) => problem(&bytes, &digest, leaf, keys),
        };
        match problem {
            None => report.statements_checked += 1,
            Some(detail) => report.add(Defect::Statement, &file, leaf.seq..leaf.seq + 1, detail),
        }
        Ok(())
    }

    /// Whether a file in `statements/` is named by an entry seen so far.
    pub(crate) fn names(&self, path: &str) -> bool {
        let digest = path.strip_prefix("statements/").and_then(|name| name.strip_suffix(".json"));
        digest.and_then(|hex| hex.parse().ok()).is_some_and(|digest| self.named.contains(&digest))
    }
}

fn problem(bytes: &[u8], digest: &Hash, leaf: &Leaf, keys: &EnrolledKeys) -> Option<String> {
    if Hash::of(bytes) != *digest {
        return Some(
            "the statement was altered: it does not have the digest that the entry names".to_owned(),
        );
    }
    let envelope = match Envelope::parse(bytes) {
        Ok(envelope) => envelope,
        Err(error) => return Some(error.to_string()),
    };
    let Some(site) = leaf.site.as_deref() else {
        return Some("the entry names a statement but no site that signed it".to_owned());
    };
    let Some(key) = keys.identity(site) else {
        return Some(format!("the entry's site {site} was not enrolled before"));
    };
    let payload = match envelope.verify(key) {
        Ok(payload) => payload,
        Err(error) => return Some(format!("not signed by {site}: {error}")),
    };
    // A payload that names a site must name this one; otherwise a site's statement could stand in for another's.
    let payload: Option<serde_json::Value> = serde_json::from_slice(&payload).ok();
    let named = payload.as_ref().and_then(|payload| payload.get("site")).and_then(|named| named.as_str());
    named.filter(|named| *named != site).map(|named| format!("signed by {site}, but it speaks of {named}"))
}
