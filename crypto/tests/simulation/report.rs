//! Counts of what a simulation went through.

use std::collections::BTreeMap;
use std::fmt;

#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Report {
    pub scenarios: u64,
    pub rounds: u64,
    pub opened: u64,
    pub deliveries: u64,
    pub drops: u64,
    pub duplicates: u64,
    pub site_crashes: u64,
    pub gateway_crashes: u64,
    pub roll_backs: u64,
    pub rejections: u64,
    /// Refusals of sites by reason, names and digests left out.
    pub refusals: BTreeMap<String, u64>,
    pub aborts: BTreeMap<String, u64>,
    pub attacks: BTreeMap<String, u64>,
    pub lies: BTreeMap<String, u64>,
}

impl Report {
    pub fn refuse(&mut self, why: &str) {
        let name = |text: &str| {
            let quoted = text.split('`').enumerate().map(|(at, part)| if at % 2 == 1 { "_" } else { part });
            quoted.collect::<String>().replace(|c: char| c.is_ascii_digit(), "")
        };
        *self.refusals.entry(name(why)).or_default() += 1;
    }

    pub fn add(&mut self, other: &Self) {
        self.scenarios += 1;
        for (total, more) in [
            (&mut self.rounds, other.rounds),
            (&mut self.opened, other.opened),
            (&mut self.deliveries, other.deliveries),
            (&mut self.drops, other.drops),
            (&mut self.duplicates, other.duplicates),
            (&mut self.site_crashes, other.site_crashes),
            (&mut self.gateway_crashes, other.gateway_crashes),
            (&mut self.roll_backs, other.roll_backs),
            (&mut self.rejections, other.rejections),
        ] {
            *total += more;
        }
        for (total, more) in [
            (&mut self.refusals, &other.refusals),
            (&mut self.aborts, &other.aborts),
            (&mut self.attacks, &other.attacks),
            (&mut self.lies, &other.lies),
        ] {
            for (name, count) in more {
                *total.entry(name.clone()).or_default() += count;
            }
        }
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { scenarios, rounds, opened, deliveries, drops, duplicates, .. } = self;
        let Self { site_crashes, gateway_crashes, roll_backs, rejections, .. } = self;
        writeln!(f, "{scenarios} scenarios, {rounds} rounds, {opened} opened")?;
        writeln!(f, "network: {deliveries} deliveries, {drops} drops, {duplicates} duplicates")?;
        writeln!(
            f,
            "crashes: {site_crashes} of sites, {gateway_crashes} of gateways, {roll_backs} roll-backs"
        )?;
        writeln!(f, "refused by gateways: {rejections}")?;
        for (what, counts) in [
            ("refused by sites", &self.refusals),
            ("aborts", &self.aborts),
            ("attacks", &self.attacks),
            ("lies", &self.lies),
        ] {
            let total: u64 = counts.values().sum();
            let each: Vec<String> = counts.iter().map(|(name, count)| format!("{name} {count}")).collect();
            writeln!(f, "{what}: {total} ({})", each.join(", "))?;
        }
        Ok(())
    }
}
