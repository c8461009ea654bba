//! Where everything of a site lies.

use std::path::{Path, PathBuf};

/// The site's folder, `--dir`.
///
/// ```text
/// site.toml                 settings
/// policy.toml               the site's own policy
/// data/                     measurements; they never leave the site
/// keys/                     secrets, mode 0600
/// enrolment-request.json    what the site asked to be enrolled with
/// membership.json           what it was enrolled with, and the keys it pins
/// journal/                  decisions, append-only
/// privacy-spent             what updates with noise have cost, append-only
/// state/                    jobs, rounds, the witness's head, deposits, the egress log
/// cache/                    models and parameters by digest; may be deleted
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SiteFolder(PathBuf);

impl SiteFolder {
    /// The folder at a path; nothing is read.
    #[must_use]
    pub fn new(path: impl Into<PathBuf>) -> Self {
        Self(path.into())
    }

    /// Its path.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.0
    }

    /// The settings.
    #[must_use]
    pub fn config(&self) -> PathBuf {
        self.0.join("site.toml")
    }

    /// The site's own policy, as `join` writes it.
    #[must_use]
    pub fn policy(&self) -> PathBuf {
        self.0.join("policy.toml")
    }

    /// The site's floors for rounds policies, as `join` writes them.
    #[must_use]
    pub fn floors(&self) -> PathBuf {
        self.0.join("floors.toml")
    }

    /// What the site asked to be enrolled with.
    #[must_use]
    pub fn enrolment_request(&self) -> PathBuf {
        self.0.join("enrolment-request.json")
    }

    /// What the site's updates have cost of its privacy budget. Outside the state, like the journals.
    #[must_use]
    pub fn privacy_spent(&self) -> PathBuf {
        self.0.join("privacy-spent")
    }

    /// What it was enrolled with, and the keys it pins.
    #[must_use]
    pub fn enrolment(&self) -> PathBuf {
        self.0.join("membership.json")
    }

    /// State of the service.
    #[must_use]
    pub fn state(&self) -> PathBuf {
        self.0.join("state")
    }

    /// Held by the one running process.
    #[must_use]
    pub fn lock(&self) -> PathBuf {
        self.0.join("state/lock")
    }

    /// There while the site's people want another TLS certificate; the service takes it away once it is there.
    #[must_use]
    pub fn renewal_wish(&self) -> PathBuf {
        self.0.join("state/renew-certificate")
    }

    /// What left the site.
    #[must_use]
    pub fn egress_log(&self) -> PathBuf {
        self.0.join("state/egress.ndjson")
    }

    /// Written when the ledger contradicts itself; the site stops while it is there.
    #[must_use]
    pub fn alarm(&self) -> PathBuf {
        self.0.join("state/ALARM")
    }

    /// The last ledger head that the witness saw.
    #[must_use]
    pub fn witness_head(&self) -> PathBuf {
        self.0.join("state/witness/head")
    }

    /// The last head that this site cosigned, with its cosignature: what it shows to others.
    #[must_use]
    pub fn own_note(&self) -> PathBuf {
        self.0.join("state/witness/own.note")
    }

    /// The changes of the ledger's key that this site has followed since its enrolment.
    #[must_use]
    pub fn log_keys(&self) -> PathBuf {
        self.0.join("state/witness/log-keys")
    }

    /// What the other witnesses showed last.
    #[must_use]
    pub fn other_witnesses(&self) -> PathBuf {
        self.0.join("state/witness/others.json")
    }

    /// Registered deposits and their openings.
    #[must_use]
    pub fn deposits(&self) -> PathBuf {
        self.0.join("state/deposits")
    }

    /// Blobs by digest.
    #[must_use]
    pub fn blobs(&self) -> PathBuf {
        self.0.join("cache/blobs")
    }
}
