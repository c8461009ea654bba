//! The configuration: `gateway.toml`, then the environment (`KONCLAVE_...`), then flags.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use figment::Figment;
use figment::providers::{Env, Format, Serialized, Toml};
use serde::{Deserialize, Serialize};

use crate::folder::Folder;

/// The configuration of one gateway.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Config {
    /// The deployment's folder.
    pub folder: Folder,
    /// What `gateway.toml` says.
    pub settings: Settings,
}

/// What can be set. Every key but the first three has a default.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Settings {
    /// Where to listen; port 0 takes any free one.
    pub listen: SocketAddr,
    /// How clients reach the gateway: `https://HOST:PORT`. Also the issuer and audience of tokens.
    pub public_url: String,
    /// The ledger's origin line.
    pub origin: String,
    /// Bounds on what clients may send.
    #[serde(default)]
    pub limits: Limits,
    /// Times after which the gateway stops waiting.
    #[serde(default)]
    pub timeouts: Timeouts,
    /// What members are given.
    #[serde(default)]
    pub enrolment: Enrolment,
}

/// Bounds on what clients may send.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Limits {
    /// Bytes of a blob.
    pub blob_bytes: u64,
    /// Bytes that the open uploads of one organisation may have together.
    pub open_upload_bytes: u64,
    /// Bytes of a protocol message (key advertisement, ciphertexts, manifest, signature, shares).
    pub message_bytes: u64,
    /// Open connections. A quarter of them is kept for clients with a certificate in force.
    pub connections: u32,
    /// Open connections from one address (of IPv6: from one /64 network) without a client certificate, and with one
    /// certificate. Each has the same part of the requests.
    pub connections_per_address: u32,
    /// Requests under way. At most half of them come without a client certificate.
    pub requests: u32,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            blob_bytes: 4 << 30,
            open_upload_bytes: 64 << 30,
            message_bytes: 16 << 20,
            connections: 512,
            connections_per_address: 64,
            requests: 1024,
        }
    }
}

/// What members are given.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Enrolment {
    /// Days for which a member's TLS certificate is good, at enrolment and at each renewal.
    pub tls_days: u32,
}

impl Default for Enrolment {
    fn default() -> Self {
        Self { tls_days: 90 }
    }
}

/// Times after which the gateway stops waiting, in seconds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Timeouts {
    /// Without a byte of a request's body.
    pub body_idle_seconds: u32,
    /// For all of a body that is read whole before it is looked at (all but blobs and masked updates).
    pub body_seconds: u32,
    /// For the first request of a connection, or the headers of one.
    pub header_seconds: u32,
    /// Without a client taking the next part of an answer.
    pub answer_seconds: u32,
    /// For requests under way when the gateway is told to stop.
    pub shutdown_seconds: u32,
}

impl Default for Timeouts {
    fn default() -> Self {
        Self {
            body_idle_seconds: 30,
            body_seconds: 120,
            header_seconds: 15,
            answer_seconds: 60,
            shutdown_seconds: 10,
        }
    }
}

impl Timeouts {
    /// See [`Timeouts::body_idle_seconds`].
    #[must_use]
    pub fn body_idle(&self) -> Duration {
        Duration::from_secs(self.body_idle_seconds.into())
    }

    /// See [`Timeouts::body_seconds`].
    #[must_use]
    pub fn body(&self) -> Duration {
        Duration::from_secs(self.body_seconds.into())
    }

    /// See [`Timeouts::header_seconds`].
    #[must_use]
    pub fn header(&self) -> Duration {
        Duration::from_secs(self.header_seconds.into())
    }

    /// See [`Timeouts::answer_seconds`].
    #[must_use]
    pub fn answer(&self) -> Duration {
        Duration::from_secs(self.answer_seconds.into())
    }

    /// See [`Timeouts::shutdown_seconds`].
    #[must_use]
    pub fn shutdown(&self) -> Duration {
        Duration::from_secs(self.shutdown_seconds.into())
    }
}

/// Flags that override the file and the environment.
#[derive(Debug, Clone, Default, Serialize)]
pub struct Overrides {
    /// See [`Settings::listen`].
    #[serde(skip_serializing_if = "Option::is_none")]
    pub listen: Option<SocketAddr>,
}

/// Why the configuration was not taken. The operator corrects the file, the variable or the flag.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// There is no file.
    #[error("{path} does not exist; make a deployment with `konclave-gateway init --dir DIR`")]
    Missing {
        /// The file.
        path: PathBuf,
    },
    /// A key is unknown, missing or of the wrong type.
    #[error("the configuration is wrong: {0}")]
    Malformed(#[from] Box<figment::Error>),
    /// A value is outside its range.
    #[error("the configuration is wrong: `{key}` {rule}")]
    Value {
        /// The key.
        key: &'static str,
        /// What it must be.
        rule: &'static str,
    },
}

impl Config {
    /// Reads the configuration of a deployment's folder.
    ///
    /// # Errors
    /// [`ConfigError`] names the key and where it was set.
    pub fn load(folder: Folder, overrides: &Overrides) -> Result<Self, ConfigError> {
        let path = folder.config();
        if !path.is_file() {
            return Err(ConfigError::Missing { path });
        }
        let settings: Settings = Figment::new()
            .merge(Toml::file_exact(path))
            // The folder itself is no key: the command line takes it from there.
            .merge(Env::prefixed("KONCLAVE_GATEWAY_").ignore(&["dir"]).split("__"))
            .merge(Serialized::defaults(overrides))
            .extract()
            .map_err(Box::new)?;
        settings.check()?;
        Ok(Self { folder, settings })
    }
}

impl Settings {
    /// The settings that `init` writes.
    #[must_use]
    pub fn new(listen: SocketAddr, public_url: String, origin: String) -> Self {
        Self {
            listen,
            public_url,
            origin,
            limits: Limits::default(),
            timeouts: Timeouts::default(),
            enrolment: Enrolment::default(),
        }
    }

    /// Checks what types cannot.
    ///
    /// # Errors
    /// [`ConfigError::Value`].
    pub fn check(&self) -> Result<(), ConfigError> {
        let value = |key, rule| Err(ConfigError::Value { key, rule });
        let authority = self.public_url.strip_prefix("https://").unwrap_or_default();
        if authority.is_empty() || authority.contains(['/', '?', '#', ' ']) {
            return value("public_url", "must be https://HOST or https://HOST:PORT, without a path");
        }
        if self.origin.is_empty() || self.origin.contains(|c: char| c.is_whitespace() || c == '+') {
            return value("origin", "must be a name like konclave.example/ledger, without spaces or '+'");
        }
        if self.limits.blob_bytes == 0 {
            return value("limits.blob_bytes", "must be at least 1");
        }
        if self.limits.open_upload_bytes == 0 {
            return value("limits.open_upload_bytes", "must be at least 1");
        }
        if self.limits.message_bytes < 64 << 10 {
            return value("limits.message_bytes", "must be at least 65536, or rounds cannot work");
        }
        let counts = [
            ("limits.connections", self.limits.connections),
            ("limits.connections_per_address", self.limits.connections_per_address),
            ("limits.requests", self.limits.requests),
        ];
        for (key, count) in counts {
            if !(4..=1_000_000).contains(&count) {
                return value(key, "must be 4 to 1000000");
            }
        }
        let timeouts = [
            ("timeouts.body_idle_seconds", self.timeouts.body_idle_seconds),
            ("timeouts.body_seconds", self.timeouts.body_seconds),
            ("timeouts.header_seconds", self.timeouts.header_seconds),
            ("timeouts.answer_seconds", self.timeouts.answer_seconds),
            ("timeouts.shutdown_seconds", self.timeouts.shutdown_seconds),
        ];
        for (key, seconds) in timeouts {
            if !(1..=3600).contains(&seconds) {
                return value(key, "must be 1 to 3600");
            }
        }
        if !(1..=3650).contains(&self.enrolment.tls_days) {
            return value("enrolment.tls_days", "must be 1 to 3650");
        }
        Ok(())
    }

    /// As `gateway.toml`, with every key explained.
    #[must_use]
    pub fn to_toml(&self) -> String {
        let Self { listen, public_url, origin, limits, timeouts, enrolment } = self;
        format!(
            "# Konclave gateway. Every key can be overridden by KONCLAVE_GATEWAY_<KEY>, nested ones with two\n\
             # underscores: KONCLAVE_GATEWAY_LIMITS__BLOB_BYTES. `konclave-gateway config check` reads all of it.\n\
             \n\
             # Where to listen.\n\
             listen = \"{listen}\"\n\
             # How clients reach it; also the issuer and audience of tokens.\n\
             public_url = \"{public_url}\"\n\
             # The ledger's origin line; it cannot be changed once the ledger has entries.\n\
             origin = \"{origin}\"\n\
             \n\
             [limits]\n\
             # Bytes of a blob.\n\
             blob_bytes = {}\n\
             # Bytes that the open uploads of one organisation may have together.\n\
             open_upload_bytes = {}\n\
             # Bytes of a protocol message.\n\
             message_bytes = {}\n\
             # Open connections. A quarter of them is kept for members and clients with a certificate.\n\
             connections = {}\n\
             # Open connections from one address without a client certificate, and with one certificate. Each has the\n\
             # same part of the requests.\n\
             connections_per_address = {}\n\
             # Requests under way. At most half of them come without a client certificate.\n\
             requests = {}\n\
             \n\
             [timeouts]\n\
             # Seconds without a byte of a request's body.\n\
             body_idle_seconds = {}\n\
             # Seconds for all of a body that is read whole: all but blobs and masked updates.\n\
             body_seconds = {}\n\
             # Seconds for a connection's first request and for a request's headers.\n\
             header_seconds = {}\n\
             # Seconds without a client taking the next part of an answer.\n\
             answer_seconds = {}\n\
             # Seconds for requests under way when the gateway is told to stop.\n\
             shutdown_seconds = {}\n\
             \n\
             [enrolment]\n\
             # Days for which a member's TLS certificate is good; a running member renews it at the half of them.\n\
             tls_days = {}\n",
            limits.blob_bytes,
            limits.open_upload_bytes,
            limits.message_bytes,
            limits.connections,
            limits.connections_per_address,
            limits.requests,
            timeouts.body_idle_seconds,
            timeouts.body_seconds,
            timeouts.header_seconds,
            timeouts.answer_seconds,
            timeouts.shutdown_seconds,
            enrolment.tls_days,
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn settings() -> Settings {
        Settings::new(
            "127.0.0.1:8443".parse().unwrap(),
            "https://localhost:8443".into(),
            "konclave.example/ledger".into(),
        )
    }

    fn load(text: &str) -> Result<Config, ConfigError> {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("gateway.toml"), text).unwrap();
        Config::load(Folder::new(folder.path()), &Overrides::default())
    }

    #[test]
    fn what_init_writes_reads_back() {
        assert_eq!(load(&settings().to_toml()).unwrap().settings, settings());
    }

    #[test]
    fn an_unknown_key_is_named() {
        let text = settings().to_toml().replace("blob_bytes", "blob_bites");
        let error = load(&text).unwrap_err().to_string();
        assert!(error.contains("blob_bites"), "{error}");
    }

    #[test]
    fn a_value_outside_its_range_is_named() {
        let text = settings().to_toml().replace("https://localhost:8443", "http://localhost");
        let error = load(&text).unwrap_err().to_string();
        assert!(error.contains("public_url") && error.contains("https://"), "{error}");
        let text = settings().to_toml().replace("body_idle_seconds = 30", "body_idle_seconds = 0");
        assert!(load(&text).unwrap_err().to_string().contains("body_idle_seconds"));
    }

    #[test]
    fn a_missing_file_says_how_to_make_one() {
        let folder = tempfile::tempdir().unwrap();
        let error = Config::load(Folder::new(folder.path()), &Overrides::default()).unwrap_err().to_string();
        assert!(error.contains("init --dir"), "{error}");
    }
}
