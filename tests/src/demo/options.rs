//! The demonstration's settings, and what follows from them.

use std::path::PathBuf;

/// The largest seed: seeds travel as JSON numbers, which every reader holds exactly below 2^53.
const LARGEST_SEED: u64 = (1 << 53) - 1;

/// Trains one model over several site enclaves and checks all that is promised about it.
#[derive(Debug, Clone, clap::Args)]
pub struct Options {
    /// A file in the K-MELLODDY standard format, instead of the public data that `make setup` fetched.
    #[arg(long, value_name = "FILE.csv")]
    pub data: Option<PathBuf>,
    /// Site enclaves, each with its own share of the molecules: 4 to 20. Of 3 sites all 3 would have to open a sum, so none
    /// could be killed; above 20 the processes outgrow one machine. With 4 or 5 sites scoring batches are of 2 sites.
    #[arg(long, default_value_t = 6, value_parser = clap::value_parser!(u16).range(4..=20))]
    pub sites: u16,
    /// Rounds that must open: 3 to 200. One is for scoring and one for each of the two kills.
    #[arg(long, default_value_t = 10, value_parser = clap::value_parser!(u32).range(3..=200))]
    pub rounds: u32,
    /// Seeds the split, the shuffles of training, the canary and where it is planted, and which site is killed
    /// first if it has not uploaded by then; the second to be killed is the first to upload. Below 2^53.
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u64).range(0..=LARGEST_SEED))]
    pub seed: u64,
    /// Keep everything running afterwards, until Ctrl-C.
    #[arg(long)]
    pub keep: bool,
    /// Where everything goes; what an earlier run left there is removed once this run has its data.
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

    /// The site that is killed before its upload, if it has not uploaded when it is time.
    pub(super) fn first_victim(&self) -> String {
        format!("site-{}", self.seed.wrapping_mul(5).wrapping_add(1) % u64::from(self.sites) + 1)
    }

    /// The site with the planted structure: another than the first victim.
    pub(super) fn canary_site(&self) -> String {
        format!("site-{}", self.seed.wrapping_mul(5).wrapping_add(2) % u64::from(self.sites) + 1)
    }

    /// What the consortium's rounds policy says for so many sites: one may be missing, and with fewer than six sites
    /// scoring batches are of two, because two batches of three cannot be made.
    pub(super) fn policy(&self) -> Vec<(&'static str, String)> {
        let all_but_one = self.sites - 1;
        if all_but_one >= 5 {
            return Vec::new();
        }
        vec![
            ("min_cohort", all_but_one.to_string()),
            ("min_agreed", all_but_one.to_string()),
            ("min_batch", "2".to_owned()),
            ("scoring_batch_size", "2".to_owned()),
        ]
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
        for sites in 4..=20 {
            for seed in [0, 1, 2, 77, LARGEST_SEED] {
                let options = options(sites, 10, seed);
                assert_ne!(options.first_victim(), options.canary_site());
            }
        }
    }

    #[test]
    fn values_that_cannot_work_are_refused_by_the_command_line() {
        #[derive(clap::Parser)]
        struct Line {
            #[command(flatten)]
            options: Options,
        }
        let parse = |words: &[&str]| {
            <Line as clap::Parser>::try_parse_from([&["demo"], words].concat()).map(|line| line.options)
        };
        for words in [["--sites", "3"], ["--sites", "21"], ["--rounds", "2"], ["--seed", "9007199254740992"]]
        {
            assert!(parse(&words).is_err(), "{words:?}");
        }
        for words in [["--sites", "20"], ["--rounds", "3"], ["--seed", "9007199254740991"]] {
            assert!(parse(&words).is_ok(), "{words:?}");
        }
    }
}
