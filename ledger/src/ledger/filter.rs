//! What to look for among the entries.

use serde::{Deserialize, Serialize};

use crate::leaf::Leaf;

/// All given conditions must hold; an empty filter matches everything.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
pub struct Filter {
    /// The site is exactly this.
    pub site: Option<String>,
    /// The actor is exactly this.
    pub actor: Option<String>,
    /// The action is exactly this.
    pub action: Option<String>,
    /// The object is exactly this.
    pub object: Option<String>,
    /// The record names this job.
    pub job: Option<String>,
    /// The record names this round of a job.
    pub round: Option<u32>,
    /// Taken at or after this moment, in milliseconds since 1970.
    pub since: Option<u64>,
    /// Taken before this moment, in milliseconds since 1970.
    pub until: Option<u64>,
}

impl Filter {
    /// Whether an entry fulfils every condition.
    #[must_use]
    pub fn matches(&self, leaf: &Leaf) -> bool {
        let same =
            |wanted: &Option<String>, found: Option<&str>| wanted.is_none() || wanted.as_deref() == found;
        same(&self.site, leaf.site.as_deref())
            && same(&self.actor, Some(&leaf.actor))
            && same(&self.action, Some(&leaf.action))
            && same(&self.object, Some(&leaf.object))
            && (self.job.is_none() || self.job.as_deref() == leaf.job().as_deref())
            && (self.round.is_none() || self.round == leaf.round())
            && leaf.timestamp().is_ok_and(|time| self.covers(time.unix_millis()))
    }

    /// Whether a moment lies in the time range.
    #[must_use]
    pub fn covers(&self, unix_millis: u64) -> bool {
        self.since.is_none_or(|since| since <= unix_millis)
            && self.until.is_none_or(|until| unix_millis < until)
    }
}
