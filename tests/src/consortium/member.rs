//! One site or evaluator: its folder, its file of measurements, its process.

use std::fs;
use std::path::{Path, PathBuf};

use super::process::Process;
use konclave_openapi::sites::Enrolment;

use super::programs::{Programs, call};
use crate::error::HarnessError;
use crate::partner;

/// What a member does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Part {
    /// Trains on its own data.
    Site,
    /// Scores models on the benchmark.
    Evaluator,
}

impl Part {
    fn word(self) -> &'static str {
        match self {
            Self::Site => "site",
            Self::Evaluator => "evaluator",
        }
    }
}

/// A member of the consortium.
#[derive(Debug)]
pub struct Member {
    /// Its pseudonym.
    pub site: String,
    /// The legal entity behind it.
    pub legal_entity: String,
    /// What it does.
    pub part: Part,
    /// Its folder.
    pub folder: PathBuf,
    log: PathBuf,
    process: Option<Process>,
}

impl Member {
    /// Makes the member's keys and lets the gateway's operator enrol it: the three commands a data owner and an
    /// operator would run, in order.
    ///
    /// # Errors
    /// The commands'.
    pub fn enrol(
        programs: &Programs,
        consortium: &Path,
        site: &str,
        legal_entity: &str,
        part: Part,
    ) -> Result<Self, HarnessError> {
        let folder = consortium.join(site);
        let gateway = consortium.join("gateway");
        let (dir, request, enrolment) = (
            text(&folder),
            text(&folder.join("enrolment-request.json")),
            text(&folder.join("enrolment.json")),
        );
        let words =
            ["init", "--dir", &dir, "--site", site, "--legal-entity", legal_entity, "--role", part.word()];
        call(&programs.site, &words)?;
        call(
            &programs.gateway,
            &[
                "enrol",
                "--dir",
                &text(&gateway),
                "--request",
                &request,
                "--out",
                &enrolment,
                "--role",
                part.word(),
            ],
        )?;
        call(&programs.site, &["join", "--dir", &dir, "--enrolment", &enrolment])?;
        Ok(Self {
            site: site.to_owned(),
            legal_entity: legal_entity.to_owned(),
            part,
            log: consortium.join("logs").join(format!("{site}.log")),
            folder,
            process: None,
        })
    }

    /// Puts a file of measurements where the member looks for its data.
    ///
    /// # Errors
    /// The file system's.
    pub fn give_data(&self, file: &Path) -> Result<(), HarnessError> {
        let folder = self.folder.join("data");
        fs::create_dir_all(&folder).map_err(HarnessError::file("create", &folder))?;
        let target = folder.join("measurements.csv");
        fs::copy(file, &target).map_err(HarnessError::file("copy", file))?;
        Ok(())
    }

    /// Starts its process, if it does not run.
    ///
    /// # Errors
    /// If it cannot be started.
    pub fn start(&mut self, programs: &Programs) -> Result<(), HarnessError> {
        if self.process.is_none() {
            let word = if self.part == Part::Site { "run" } else { "evaluate" };
            let arguments = [word.to_owned(), "--dir".to_owned(), text(&self.folder)];
            self.process = Some(Process::start(&self.site, &programs.site, &arguments, &self.log)?);
        }
        Ok(())
    }

    /// kill -9.
    pub fn kill(&mut self) {
        if let Some(process) = self.process.take() {
            process.kill();
        }
    }

    /// A connection with this member's client certificate, without the enclave's own checks: tests send what an
    /// enclave never would.
    ///
    /// # Errors
    /// If its keys or its enrolment cannot be read.
    pub fn connect(&self) -> Result<reqwest::blocking::Client, HarnessError> {
        let enrolled: Enrolment = read_json(&self.folder.join("membership.json"))?;
        partner::http_client(enrolled.tls_ca.as_bytes(), Some(&self.identity_pem()?))
    }

    /// Its TLS client certificate and key, PEM.
    ///
    /// # Errors
    /// If its keys or its enrolment cannot be read.
    pub fn identity_pem(&self) -> Result<String, HarnessError> {
        let enrolled: Enrolment = read_json(&self.folder.join("membership.json"))?;
        let key = self.folder.join("keys/tls.key");
        let key = fs::read_to_string(&key).map_err(HarnessError::file("read", &key))?;
        Ok(format!("{}\n{key}", enrolled.tls_certificate))
    }

    /// Checks that it did not end by itself.
    ///
    /// # Errors
    /// [`HarnessError::EndedEarly`].
    pub fn expect_running(&mut self) -> Result<(), HarnessError> {
        self.process.as_mut().map_or(Ok(()), Process::expect_running)
    }

    /// All that its process has printed.
    #[must_use]
    pub fn log_text(&self) -> String {
        String::from_utf8_lossy(&fs::read(&self.log).unwrap_or_default()).into_owned()
    }
}

/// A JSON file.
pub(crate) fn read_json<T: for<'de> serde::Deserialize<'de>>(path: &Path) -> Result<T, HarnessError> {
    let bytes = fs::read(path).map_err(HarnessError::file("read", path))?;
    serde_json::from_slice(&bytes)
        .map_err(|error| HarnessError::unexpected(path.display().to_string(), error))
}

/// A path as a command line's word.
pub(crate) fn text(path: &Path) -> String {
    path.display().to_string()
}
