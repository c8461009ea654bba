//! When which site is killed: one before its upload, another right after its own.

use std::collections::BTreeMap;

use super::options::Timetable;
use crate::report::summary::Part;

/// A kill that was done.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Kill {
    /// In which round (its number).
    pub(super) round: u32,
    /// Which site.
    pub(super) site: String,
    /// At which moment.
    pub(super) part: Part,
}

/// What is seen of a round that is under way.
#[derive(Debug, Clone, Copy)]
pub(super) struct Seen<'a> {
    /// Its number.
    pub(super) round: u32,
    /// How many rounds will be open once it is.
    pub(super) ordinal: u32,
    /// The sites of the job.
    pub(super) sites: &'a [String],
    /// Those whose upload is complete.
    pub(super) uploaded: &'a [String],
    /// Whether uploads are still taken.
    pub(super) uploading: bool,
}

/// The two kills, and who is down because of them.
#[derive(Debug)]
pub(super) struct Kills {
    timetable: Timetable,
    preferred: String,
    done: Vec<Kill>,
    down: BTreeMap<u32, String>,
}

impl Kills {
    pub(super) fn new(timetable: Timetable, preferred: String) -> Self {
        Self { timetable, preferred, done: Vec::new(), down: BTreeMap::new() }
    }

    /// Who is to be killed now, and at which moment of its round that is.
    ///
    /// A moment that went by between two looks comes again in the next round: each kill is due from its round on. One
    /// site in a round at most, so that the others are always enough.
    pub(super) fn due(&self, seen: Seen<'_>) -> Option<(String, Part)> {
        if self.down.contains_key(&seen.round) {
            return None;
        }
        if seen.ordinal >= self.timetable.killed_before && !self.is_done(Part::KilledBeforeUpload) {
            let may_go = |site: &&String| seen.uploading && !seen.uploaded.contains(site);
            let preferred = seen.sites.iter().filter(may_go).find(|site| **site == self.preferred);
            if let Some(site) = preferred.or_else(|| seen.sites.iter().find(may_go)) {
                return Some((site.clone(), Part::KilledBeforeUpload));
            }
        }
        if seen.ordinal >= self.timetable.killed_after && !self.is_done(Part::KilledAfterUpload) {
            let fresh = |site: &&String| !self.done.iter().any(|kill| kill.site == **site);
            let victim = seen.uploaded.iter().find(fresh);
            let others_follow = seen.uploading && seen.uploaded.len() < seen.sites.len();
            // The site that was killed before is taken only where no other can upload any more.
            let any = || seen.uploaded.first().filter(|_| !others_follow);
            return victim.or_else(any).map(|site| (site.clone(), Part::KilledAfterUpload));
        }
        None
    }

    /// Writes down a kill. `uploaded` is what is known after it: if the upload was complete after all, it was a kill
    /// after the upload, and the other one is still due.
    pub(super) fn record(&mut self, round: u32, site: &str, uploaded: bool) -> Part {
        let part = if uploaded { Part::KilledAfterUpload } else { Part::KilledBeforeUpload };
        self.down.insert(round, site.to_owned());
        self.done.push(Kill { round, site: site.to_owned(), part });
        part
    }

    /// The sites that were killed in rounds before `round` and are still down; they count as up from here on.
    pub(super) fn take_down_before(&mut self, round: u32) -> Vec<String> {
        let later = self.down.split_off(&round);
        std::mem::replace(&mut self.down, later).into_values().collect()
    }

    /// Whether a killed site is not up again.
    pub(super) fn is_one_down(&self) -> bool {
        !self.down.is_empty()
    }

    /// All that was done.
    pub(super) fn into_done(self) -> Vec<Kill> {
        self.done
    }

    fn is_done(&self, part: Part) -> bool {
        self.done.iter().any(|kill| kill.part == part)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(numbers: &[u32]) -> Vec<String> {
        numbers.iter().map(|number| format!("site-{number}")).collect()
    }

    fn kills() -> Kills {
        Kills::new(Timetable { scoring: 1, killed_before: 2, killed_after: 4 }, "site-3".to_owned())
    }

    fn due(kills: &Kills, ordinal: u32, uploaded: &[u32], uploading: bool) -> Option<(String, Part)> {
        let (sites, uploaded) = (names(&[1, 2, 3, 4]), names(uploaded));
        kills.due(Seen { round: ordinal, ordinal, sites: &sites, uploaded: &uploaded, uploading })
    }

    fn before(number: u32) -> Option<(String, Part)> {
        Some((format!("site-{number}"), Part::KilledBeforeUpload))
    }

    fn after(number: u32) -> Option<(String, Part)> {
        Some((format!("site-{number}"), Part::KilledAfterUpload))
    }

    #[test]
    fn the_preferred_site_goes_first_unless_it_has_uploaded() {
        assert_eq!(due(&kills(), 1, &[], true), None);
        assert_eq!(due(&kills(), 2, &[1], true), before(3));
        assert_eq!(due(&kills(), 2, &[3, 1], true), before(2));
    }

    #[test]
    fn a_missed_moment_comes_again() {
        assert_eq!(due(&kills(), 2, &[1, 2, 3, 4], true), None);
        assert_eq!(due(&kills(), 2, &[1], false), None);
        assert_eq!(due(&kills(), 3, &[], true), before(3));
    }

    #[test]
    fn the_second_site_is_another_one_where_there_is_one() {
        let mut kills = kills();
        assert_eq!(kills.record(2, "site-3", false), Part::KilledBeforeUpload);
        assert_eq!(kills.take_down_before(3), ["site-3"]);
        assert_eq!(due(&kills, 3, &[1], true), None);
        assert_eq!(due(&kills, 4, &[], true), None);
        assert_eq!(due(&kills, 4, &[3], true), None, "another one will follow");
        assert_eq!(due(&kills, 5, &[3, 2], true), after(2));
        assert_eq!(due(&kills, 5, &[3], false), after(3));
    }

    #[test]
    fn one_site_a_round_and_each_kill_once() {
        let mut kills = kills();
        kills.record(4, "site-3", false);
        assert_eq!(due(&kills, 4, &[1], true), None, "one is down already");
        assert!(kills.take_down_before(4).is_empty());
        kills.record(5, "site-1", true);
        assert_eq!(due(&kills, 6, &[1], true), None);
        assert_eq!(kills.into_done().len(), 2);
    }

    #[test]
    fn a_kill_that_came_too_late_counts_as_the_other_one() {
        let mut kills = kills();
        assert_eq!(kills.record(2, "site-3", true), Part::KilledAfterUpload);
        assert_eq!(due(&kills, 3, &[], true), before(3), "the first is still due");
    }
}
