//! Arguments that several commands share.

use clap::Args;
use konclave_crypto::{ConsortiumRoot, IdentityPublicKey};
use konclave_ledger::{Filter, Timestamp, VerifierKey};

/// Which entries.
#[derive(Debug, Args)]
pub(super) struct FilterArguments {
    /// Entries about this site.
    #[arg(long)]
    site: Option<String>,
    /// Entries that this actor caused.
    #[arg(long)]
    actor: Option<String>,
    /// Entries with this action, such as `round.opened`.
    #[arg(long)]
    action: Option<String>,
    /// Entries about this object, such as `job/admet-1`.
    #[arg(long)]
    object: Option<String>,
    /// Entries whose record names this job.
    #[arg(long)]
    job: Option<String>,
    /// Entries whose record names this round.
    #[arg(long)]
    round: Option<u32>,
    /// Entries taken at or after this moment: 2026-01-31 or 2026-01-31T09:30:00Z (UTC).
    #[arg(long, value_parser = moment)]
    since: Option<Timestamp>,
    /// Entries taken before this moment.
    #[arg(long, value_parser = moment)]
    until: Option<Timestamp>,
}

impl FilterArguments {
    pub(super) fn filter(self) -> Filter {
        let Self { site, actor, action, object, job, round, since, until } = self;
        let (since, until) = (since.map(Timestamp::unix_millis), until.map(Timestamp::unix_millis));
        Filter { site, actor, action, object, job, round, since, until }
    }
}

/// A date, or a time in UTC with or without decimals.
fn moment(text: &str) -> Result<Timestamp, String> {
    let written = match text.strip_suffix('Z') {
        None if text.len() == 10 => format!("{text}T00:00:00.000Z"),
        Some(time) if !time.contains('.') => format!("{time}.000Z"),
        Some(_) | None => text.to_owned(),
    };
    Timestamp::parse(&written).map_err(|_| "expected 2026-01-31 or 2026-01-31T09:30:00Z (UTC)".to_owned())
}

/// What the reader knows of the log from elsewhere.
#[derive(Debug, Args)]
pub(super) struct KeyArguments {
    /// The log's verifier key (vkey), known from elsewhere. Without it, the key that the log itself publishes is used.
    #[arg(long)]
    pub(super) key: Option<VerifierKey>,
    /// The consortium root's public key (64 hexadecimal characters), known from elsewhere. Without it, the root that the
    /// log's first entry names is used.
    #[arg(long)]
    root: Option<IdentityPublicKey>,
}

impl KeyArguments {
    pub(super) fn root(&self) -> Option<ConsortiumRoot> {
        self.root.map(ConsortiumRoot)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn moments_are_dates_or_times_in_utc() {
        let millis = |text| moment(text).unwrap().unix_millis();
        assert_eq!(millis("2026-01-01"), 1_767_225_600_000);
        assert_eq!(millis("2026-01-01T00:00:01Z"), 1_767_225_601_000);
        assert_eq!(millis("2026-01-01T00:00:01.250Z"), 1_767_225_601_250);
        for bad in
            ["", "2026", "2026-13-01", "2026-01-01T00:00:00", "2026-01-01T00:00:00+01:00", "yesterday!"]
        {
            assert!(moment(bad).is_err(), "{bad}");
        }
    }
}
