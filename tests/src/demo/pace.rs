//! How long things may take: set by the amount of data and the machine, with a wide margin.
//!
//! Measured on two cores with programs built for tests: a site reads about 4,000 rows a second; all sites together
//! train on about 10,000 rows a second, two passes included. What is allowed below is ten times that or more, so
//! that only what does not move at all is given up.

use std::time::Duration;

/// The limits of one run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Pace {
    sites: u64,
    cores: u64,
    training_rows: u64,
    benchmark_rows: u64,
}

impl Pace {
    pub(super) fn new(sites: u16, cores: usize, training_rows: u64, benchmark_rows: u64) -> Self {
        let cores = u64::try_from(cores).unwrap_or(2).clamp(1, 2);
        Self { sites: sites.into(), cores, training_rows, benchmark_rows }
    }

    /// The phases' lengths in the consortium's rounds policy, for loopback.
    pub(super) fn policy(&self) -> Vec<(&'static str, String)> {
        let answer = self.answer_seconds();
        [
            ("consent_seconds", 3 * answer),
            ("setup_seconds", 3 * answer),
            ("upload_seconds", self.upload_seconds()),
            ("agree_seconds", answer),
            ("unmask_seconds", answer),
            ("evaluation_seconds", self.evaluation_seconds()),
        ]
        .map(|(key, seconds)| (key, seconds.to_string()))
        .into()
    }

    /// How long members may take to read their data and declare them.
    pub(super) fn deposits(&self) -> Duration {
        Duration::from_secs(60 + (self.training_rows + self.benchmark_rows) / (200 * self.cores))
    }

    /// How long a job may go without the beginning or the end of a round.
    pub(super) fn standstill(&self) -> Duration {
        // A flowing upload is waited for up to twice as long.
        let round = 2 * self.upload_seconds() + 2 * self.answer_seconds();
        Duration::from_secs(round.max(6 * self.answer_seconds()) + 60)
    }

    /// How long the last evaluations may take: the gateway itself waits no longer.
    pub(super) fn evaluations(&self) -> Duration {
        Duration::from_secs(self.evaluation_seconds() + 30)
    }

    /// Training and upload of a round: what a killed site costs the others.
    fn upload_seconds(&self) -> u64 {
        (self.training_rows / (300 * self.cores)).max(self.answer_seconds())
    }

    /// One signed answer from every site.
    fn answer_seconds(&self) -> u64 {
        (4 * self.sites / self.cores).max(20)
    }

    fn evaluation_seconds(&self) -> u64 {
        (self.benchmark_rows / (15 * self.cores)).max(120)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn more_data_more_sites_and_fewer_cores_get_more_time() {
        let usual = Pace::new(6, 2, 10_700, 3_200);
        assert_eq!((usual.upload_seconds(), usual.answer_seconds()), (20, 20));
        assert!(Pace::new(6, 2, 1_000_000, 3_200).standstill() > Duration::from_secs(3_000));
        assert!(Pace::new(6, 2, 1_000_000, 3_200).deposits() > Duration::from_secs(2_000));
        assert!(Pace::new(6, 2, 10_700, 100_000).evaluations() > usual.evaluations());
        assert!(Pace::new(6, 1, 10_700, 3_200).upload_seconds() > usual.upload_seconds());
        assert!(Pace::new(20, 2, 10_700, 3_200).answer_seconds() > usual.answer_seconds());
        assert_eq!(
            Pace::new(6, 64, 10_700, 3_200),
            usual,
            "the reading of one file does not spread over cores"
        );
    }
}
