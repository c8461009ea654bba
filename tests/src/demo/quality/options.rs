//! The measurement's settings.

use std::path::PathBuf;

use crate::demo::Options;

/// Trains as the demonstration does, with and without the encoding, and compares the models.
#[derive(Debug, Clone, clap::Args)]
pub struct QualityOptions {
    /// A file in the K-MELLODDY standard format, instead of the public data that `make setup` fetched.
    #[arg(long, value_name = "FILE.csv")]
    pub data: Option<PathBuf>,
    /// Sites, each with its own share of the molecules: 4 to 20, as in the demonstration.
    #[arg(long, default_value_t = 6, value_parser = clap::value_parser!(u16).range(4..=20))]
    pub sites: u16,
    /// Rounds of each training: 1 to 200.
    #[arg(long, default_value_t = 10, value_parser = clap::value_parser!(u32).range(1..=200))]
    pub rounds: u32,
    /// How many seeds, from 1 on: 2 to 100. Each is a split and shuffles of its own, those of the demonstration with that
    /// seed; fewer than 2 have no deviation.
    #[arg(long, default_value_t = 5, value_parser = clap::value_parser!(u64).range(2..=100))]
    pub seeds: u64,
    /// Other widths to train with as well: bits of a coordinate, 2 to 24, with commas between them. Coarse ones show
    /// whether the measurement would see a loss.
    #[arg(long, value_name = "BITS,..", value_delimiter = ',', default_values_t = [2],
          value_parser = clap::value_parser!(u8).range(2..=24))]
    pub bits: Vec<u8>,
    /// Where everything goes; what an earlier run left there is removed once this run is through.
    #[arg(long, default_value = "target/quality")]
    pub out: PathBuf,
}

impl QualityOptions {
    /// The seeds.
    pub(super) fn seed_list(&self) -> impl Iterator<Item = u64> + use<> {
        1..=self.seeds
    }

    /// All rounds of all trainings.
    pub(super) fn trainings(&self, arms: usize) -> u64 {
        self.seeds * u64::from(self.rounds) * arms as u64
    }

    /// The demonstration whose data and split these are.
    pub(super) fn demonstration(&self, seed: u64) -> Options {
        Options {
            data: self.data.clone(),
            sites: self.sites,
            rounds: self.rounds,
            seed,
            keep: false,
            out: self.out.clone(),
        }
    }
}
