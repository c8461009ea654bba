//! Finding entries by site, actor, action, object, job, round and time.

use super::Ledger;
use super::errors::ReadError;
use super::filter::Filter;

impl Ledger {
    /// Indexes of matching entries in ascending order, at most `limit`, after the cursor `after` (the last index of the
    /// page before). The answer is the same with and without the query index.
    ///
    /// # Errors
    /// [`ReadError`], only when entries must be read because the index is off or lost.
    pub fn query(&self, filter: &Filter, after: Option<u64>, limit: usize) -> Result<Vec<u64>, ReadError> {
        self.readable()?;
        let from = after.map_or(0, |after| after.saturating_add(1));
        if let Some(found) = self.index.find(filter, from, limit) {
            return Ok(found);
        }
        let mut found = Vec::new();
        for leaf in self.leaves(from..u64::MAX) {
            if found.len() >= limit {
                break;
            }
            let leaf = leaf?;
            if filter.matches(&leaf) {
                found.push(leaf.seq);
            }
        }
        Ok(found)
    }
}
