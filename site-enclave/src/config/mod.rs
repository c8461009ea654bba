//! How this site is configured: `site.toml`, then `KONCLAVE_SITE_*` in the environment, then flags.

mod enrolment;
mod folder;
mod request;
mod template;
mod tls_certificate;

use std::path::{Path, PathBuf};
use std::time::Duration;

use figment::Figment;
use figment::providers::{Env, Format, Serialized, Toml};
use serde::{Deserialize, Serialize};

pub use enrolment::{Asked, Enrolled, EnrolmentError};
pub use folder::SiteFolder;
pub use request::{enrolment_request, renewal_request};
pub use template::site_toml;
pub use tls_certificate::TlsCertificate;

use crate::client::{Endpoint, RetryPolicy};

/// The prefix of environment variables.
const ENVIRONMENT: &str = "KONCLAVE_SITE_";
const KEYS: [&str; 11] = [
    "gateway_url",
    "data",
    "policy",
    "floors",
    "rounds_policy",
    "poll_seconds",
    "witness_seconds",
    "connect_timeout_seconds",
    "idle_timeout_seconds",
    "attempts",
    EXCHANGE_FOLDER,
];
/// `[witness] exchange_folder` as the environment writes it.
const EXCHANGE_FOLDER: &str = "witness_exchange_folder";

/// The settings of a site.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SiteConfig {
    /// The gateway, `https://HOST:PORT`.
    pub gateway_url: String,
    /// The measurements: file names or patterns with `*` in the last part, relative to the site's folder.
    pub data: Vec<String>,
    /// The site's policy, relative to the site's folder; without it the site refuses every job.
    #[serde(default)]
    pub policy: Option<PathBuf>,
    /// The site's floors for rounds policies, relative to the site's folder; without it those built into this program.
    #[serde(default)]
    pub floors: Option<PathBuf>,
    /// The consortium's rounds policy that this site accepts; without it, the one that the ledger names.
    #[serde(default)]
    pub rounds_policy: Option<PathBuf>,
    /// How long the gateway may hold a request for work, 1 to 30 seconds.
    pub poll_seconds: u8,
    /// How often the ledger's checkpoint is looked at, at least; 1 to 3600 seconds.
    pub witness_seconds: u16,
    /// How long a connection may take to open.
    pub connect_timeout_seconds: u16,
    /// How long an open exchange may be silent; above `poll_seconds`.
    pub idle_timeout_seconds: u16,
    /// How often a request is sent before the site goes back to asking for work.
    pub attempts: u32,
    /// Ways to compare the ledger with other sites.
    #[serde(default)]
    pub witness: WitnessConfig,
}

/// How this site compares the ledger's heads with other sites, besides asking the gateway.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct WitnessConfig {
    /// A folder that the sites share, relative to the site's folder; without it only the gateway is asked.
    #[serde(default)]
    pub exchange_folder: Option<PathBuf>,
}

/// Settings given as flags; they win over all else.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, clap::Args)]
pub struct ConfigFlags {
    /// The gateway, https://HOST:PORT.
    #[arg(long, value_name = "URL")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub gateway_url: Option<String>,
    /// A file with measurements (repeatable); replaces the list in site.toml.
    #[arg(long, value_name = "FILE")]
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub data: Vec<String>,
    /// The site's policy.
    #[arg(long, value_name = "FILE")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub policy: Option<PathBuf>,
    /// How long the gateway may hold a request for work.
    #[arg(long, value_name = "SECONDS")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub poll_seconds: Option<u8>,
    /// How often the ledger's checkpoint is looked at, at least.
    #[arg(long, value_name = "SECONDS")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub witness_seconds: Option<u16>,
}

/// Why the configuration cannot be used. Each names the key and where it stands.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// No `site.toml`.
    #[error("{0} is missing: run `konclave-site join --dir DIR --enrolment FILE` first")]
    Missing(PathBuf),
    /// Not TOML, a key of the wrong type, an unknown key or a missing one.
    #[error("the configuration is not usable: {0}")]
    Unreadable(Box<figment::Error>),
    /// A value outside its range.
    #[error("{key} = {value}: {rule}")]
    Range {
        /// The key.
        key: &'static str,
        /// Its value.
        value: String,
        /// What it must be.
        rule: &'static str,
    },
    /// A pattern that matches nothing.
    #[error("data = \"{pattern}\": there is no such file in {folder}")]
    NoData {
        /// The pattern.
        pattern: String,
        /// Where was looked.
        folder: PathBuf,
    },
    /// A folder of data cannot be listed.
    #[error("data = \"{pattern}\": cannot list {folder}: {source}")]
    Data {
        /// The pattern.
        pattern: String,
        /// Where was looked.
        folder: PathBuf,
        /// The system's reason.
        source: std::io::Error,
    },
}

impl SiteConfig {
    /// Reads the configuration of a joined site.
    ///
    /// # Errors
    /// [`ConfigError`].
    pub fn load(folder: &SiteFolder, flags: &ConfigFlags) -> Result<Self, ConfigError> {
        let file = folder.config();
        if !file.is_file() {
            return Err(ConfigError::Missing(file));
        }
        let config: Self = Figment::new()
            .merge(Serialized::defaults(Defaults::default()))
            .merge(Toml::file_exact(file))
            .merge(Env::prefixed(ENVIRONMENT).only(&KEYS).map(|key| {
                if key == EXCHANGE_FOLDER { "witness.exchange_folder".into() } else { key.into() }
            }))
            .merge(Serialized::defaults(flags))
            .extract()
            .map_err(|error| ConfigError::Unreadable(Box::new(error)))?;
        config.check()?;
        Ok(config)
    }

    fn check(&self) -> Result<(), ConfigError> {
        let range = |key, value: String, rule| Err(ConfigError::Range { key, value, rule });
        if !self.gateway_url.starts_with("https://") {
            return range("gateway_url", self.gateway_url.clone(), "must begin with https://");
        }
        if self.data.is_empty() {
            return range("data", "[]".into(), "name at least one file of measurements");
        }
        if !(1..=30).contains(&self.poll_seconds) {
            return range("poll_seconds", self.poll_seconds.to_string(), "must be from 1 to 30");
        }
        if !(1..=3600).contains(&self.witness_seconds) {
            return range("witness_seconds", self.witness_seconds.to_string(), "must be from 1 to 3600");
        }
        if self.connect_timeout_seconds == 0 {
            return range("connect_timeout_seconds", "0".into(), "must be at least 1");
        }
        if self.idle_timeout_seconds <= u16::from(self.poll_seconds) {
            let value = self.idle_timeout_seconds.to_string();
            return range("idle_timeout_seconds", value, "must be above poll_seconds");
        }
        if !(1..=20).contains(&self.attempts) {
            return range("attempts", self.attempts.to_string(), "must be from 1 to 20");
        }
        Ok(())
    }

    /// The files of measurements, sorted.
    ///
    /// # Errors
    /// [`ConfigError::NoData`] for a name or pattern without a file.
    pub fn data_files(&self, folder: &SiteFolder) -> Result<Vec<PathBuf>, ConfigError> {
        let mut files = Vec::new();
        for pattern in &self.data {
            let found = matching(folder.path(), pattern)?;
            if found.is_empty() {
                let folder = folder.path().to_path_buf();
                return Err(ConfigError::NoData { pattern: pattern.clone(), folder });
            }
            files.extend(found);
        }
        files.sort();
        files.dedup();
        Ok(files)
    }

    /// The folder that the sites share for their notes, if there is one.
    #[must_use]
    pub fn exchange_folder(&self, folder: &SiteFolder) -> Option<PathBuf> {
        self.witness.exchange_folder.as_ref().map(|shared| folder.path().join(shared))
    }

    /// Where the gateway is and how long to wait for it.
    #[must_use]
    pub fn endpoint(&self) -> Endpoint {
        Endpoint {
            url: self.gateway_url.clone(),
            connect_timeout: Duration::from_secs(self.connect_timeout_seconds.into()),
            idle_timeout: Duration::from_secs(self.idle_timeout_seconds.into()),
            retry: RetryPolicy { attempts: self.attempts, ..RetryPolicy::default() },
        }
    }
}

/// What holds where nothing is said; `gateway_url` has no default.
#[derive(Debug, Serialize)]
struct Defaults {
    data: Vec<String>,
    poll_seconds: u8,
    witness_seconds: u16,
    connect_timeout_seconds: u16,
    idle_timeout_seconds: u16,
    attempts: u32,
}

impl Default for Defaults {
    fn default() -> Self {
        Self {
            data: vec!["data/*.csv".into()],
            poll_seconds: 20,
            witness_seconds: 5,
            connect_timeout_seconds: 10,
            idle_timeout_seconds: 60,
            attempts: 6,
        }
    }
}

/// Files whose name fits a pattern with at most one `*` in its last part.
fn matching(base: &Path, pattern: &str) -> Result<Vec<PathBuf>, ConfigError> {
    let whole = base.join(pattern);
    let name = whole.file_name().unwrap_or_default().to_string_lossy().into_owned();
    let Some((before, after)) = name.split_once('*') else {
        return Ok(if whole.is_file() { vec![whole] } else { Vec::new() });
    };
    let folder = whole.parent().unwrap_or(base);
    let failed =
        |source| ConfigError::Data { pattern: pattern.to_owned(), folder: folder.to_path_buf(), source };
    let mut found = Vec::new();
    for entry in std::fs::read_dir(folder).map_err(failed)? {
        let path = entry.map_err(failed)?.path();
        let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        let fits =
            name.len() >= before.len() + after.len() && name.starts_with(before) && name.ends_with(after);
        if fits && path.is_file() {
            found.push(path);
        }
    }
    Ok(found)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn folder_with(text: &str) -> (tempfile::TempDir, SiteFolder) {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("site.toml"), text).unwrap();
        let site = SiteFolder::new(folder.path());
        (folder, site)
    }

    #[test]
    fn flags_win_over_the_file_and_defaults_fill_the_rest() {
        let (_keep, folder) =
            folder_with("gateway_url = \"https://g:1\"\npoll_seconds = 7\nwitness_seconds = 9\n");
        let flags = ConfigFlags { witness_seconds: Some(3), ..ConfigFlags::default() };
        let config = SiteConfig::load(&folder, &flags).unwrap();
        assert_eq!((config.poll_seconds, config.witness_seconds, config.attempts), (7, 3, 6));
        assert_eq!(config.data, ["data/*.csv"]);
    }

    #[test]
    fn the_written_template_is_read_back() {
        let (_keep, folder) = folder_with(&site_toml("https://gateway.example:8443"));
        let config = SiteConfig::load(&folder, &ConfigFlags::default()).unwrap();
        assert_eq!(config.gateway_url, "https://gateway.example:8443");
    }

    #[test]
    fn an_exchange_folder_lies_where_it_says() {
        let lines = |folder: &str| {
            format!("gateway_url = \"https://g\"\n[witness]\nexchange_folder = \"{folder}\"\n")
        };
        for (named, place) in
            [("/mnt/notes", "/mnt/notes".into()), ("notes", Path::new("FOLDER").join("notes"))]
        {
            let (keep, folder) = folder_with(&lines(named));
            let config = SiteConfig::load(&folder, &ConfigFlags::default()).unwrap();
            let found = config.exchange_folder(&folder).unwrap();
            let place = place.strip_prefix("FOLDER").map_or(place.clone(), |inner| keep.path().join(inner));
            assert_eq!(found, place);
        }
        let (_keep, folder) = folder_with("gateway_url = \"https://g\"\n");
        assert_eq!(
            SiteConfig::load(&folder, &ConfigFlags::default()).unwrap().exchange_folder(&folder),
            None
        );
    }

    #[test]
    fn errors_name_the_key() {
        for (text, expected) in [
            ("gateway_url = \"https://g\"\npol_seconds = 3\n", "pol_seconds"),
            ("gateway_url = \"https://g\"\npoll_seconds = \"x\"\n", "poll_seconds"),
            ("gateway_url = \"https://g\"\npoll_seconds = 31\n", "poll_seconds = 31"),
            ("gateway_url = \"http://g\"\n", "gateway_url = http://g"),
            ("poll_seconds = 3\n", "gateway_url"),
            ("gateway_url = \"https://g\"\ndata = []\n", "data"),
            ("gateway_url = \"https://g\"\nidle_timeout_seconds = 20\n", "idle_timeout_seconds = 20"),
            ("gateway_url = \"https://g\"\n[witness]\nexchange = \"x\"\n", "exchange"),
        ] {
            let (_keep, folder) = folder_with(text);
            let error = SiteConfig::load(&folder, &ConfigFlags::default()).unwrap_err().to_string();
            assert!(error.contains(expected), "{text:?} gave {error:?}");
        }
    }

    #[test]
    fn patterns_find_files_and_miss_loudly() {
        let (keep, folder) = folder_with("gateway_url = \"https://g\"\ndata = [\"*.csv\", \"one.txt\"]\n");
        let config = SiteConfig::load(&folder, &ConfigFlags::default()).unwrap();
        for name in ["b.csv", "a.csv", "c.tsv"] {
            std::fs::write(keep.path().join(name), "").unwrap();
        }
        assert!(
            matches!(config.data_files(&folder), Err(ConfigError::NoData { pattern, .. }) if pattern == "one.txt")
        );
        std::fs::write(keep.path().join("one.txt"), "").unwrap();
        let names: Vec<_> = config
            .data_files(&folder)
            .unwrap()
            .iter()
            .map(|path| path.file_name().unwrap().to_string_lossy().into_owned())
            .collect();
        assert_eq!(names, ["a.csv", "b.csv", "one.txt"]);
    }
}
