//! The demonstration's settings, and what follows from them.

use std::path::PathBuf;

/// Trains one model over several site enclaves and checks all that is promised about it.
#[derive(Debug, Clone, clap::Args)]
pub struct Options {
    /// A file in the K-MELLODDY standard format, instead of the public data that `make setup` fetched.
    #[arg(long, value_name = "FILE.csv")]
    pub data: Option<PathBuf>,
    /// Site enclaves, each with its own share of the molecules.
    #[arg(long, default_value_t = 6, value_parser = clap::value_parser!(u16).range(4..=16))]
    pub sites: u16,
    /// Rounds that must open.
    #[arg(long, default_value_t = 10, value_parser = clap::value_parser!(u32).range(3..=200))]
    pub rounds: u32,
    /// Seeds the split, the shuffles, the canary and the choice of the killed sites.
    #[arg(long, default_value_t = 1)]
    pub seed: u64,
    /// Keep everything running afterwards, until Ctrl-C.
    #[arg(long)]
    pub keep: bool,
    /// Where everything goes; what an earlier run left there is removed.
    #[arg(long, default_value = "target/demo")]
    pub out: PathBuf,
}

/// Which rounds have something special, counted by opened rounds from 1.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Timetable {
    /// A site is killed before its upload.
    pub(super) killed_before: u32,
    /// The round is opened batch by batch.
    pub(super) scoring: u32,
    /// A site is killed right after its upload.
    pub(super) killed_after: u32,
}

impl Options {
    /// An early scoring round, where a batch's update still moves the benchmark score by much more than chance does;
    /// then the two kills, spread over the rest.
    pub(super) fn timetable(&self) -> Timetable {
        let scoring = if self.rounds < 6 { 1 } else { 2 };
        let rest = self.rounds.saturating_sub(scoring);
        let killed_before = scoring + (rest / 4).max(1);
        Timetable { scoring, killed_before, killed_after: killed_before + (rest / 3).max(1) }
    }

    /// The site that is killed before its upload: any one, by the seed.
    pub(super) fn first_victim(&self) -> String {
        format!("site-{}", self.seed.wrapping_mul(5).wrapping_add(1) % u64::from(self.sites) + 1)
    }

    /// The site with the planted structure: another than the first victim.
    pub(super) fn canary_site(&self) -> String {
        format!("site-{}", self.seed.wrapping_mul(5).wrapping_add(2) % u64::from(self.sites) + 1)
    }

    /// What the consortium's rounds policy says for so many sites and for loopback.
    pub(super) fn policy(&self) -> Vec<(&'static str, String)> {
        let all_but_one = self.sites - 1;
        let mut keys = vec![
            ("consent_seconds", "60".to_owned()),
            ("setup_seconds", "60".to_owned()),
            ("upload_seconds", "20".to_owned()),
            ("agree_seconds", "20".to_owned()),
            ("unmask_seconds", "20".to_owned()),
            ("evaluation_seconds", "120".to_owned()),
        ];
        if all_but_one < 5 {
            keys.push(("min_cohort", all_but_one.to_string()));
            keys.push(("min_agreed", all_but_one.to_string()));
            keys.push(("min_batch", "2".to_owned()));
            keys.push(("scoring_batch_size", "2".to_owned()));
        }
        keys
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn options(sites: u16, rounds: u32, seed: u64) -> Options {
        Options { data: None, sites, rounds, seed, keep: false, out: PathBuf::from("x") }
    }

    #[test]
    fn the_special_rounds_differ_and_lie_inside() {
        for rounds in 3..=200 {
            let table = options(6, rounds, 1).timetable();
            assert!(1 <= table.scoring && table.scoring < table.killed_before, "{rounds}: {table:?}");
            assert!(table.killed_before < table.killed_after, "{rounds}: {table:?}");
            assert!(table.killed_after <= rounds, "{rounds}: {table:?}");
        }
    }

    #[test]
    fn victim_and_canary_are_different_sites() {
        for sites in 4..=16 {
            for seed in [0, 1, 2, 77, u64::MAX] {
                let options = options(sites, 10, seed);
                assert_ne!(options.first_victim(), options.canary_site());
            }
        }
    }
}
