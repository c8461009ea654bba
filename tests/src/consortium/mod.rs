//! A whole consortium in a folder, made and run with the real command lines.
//!
//! ```text
//! FOLDER/gateway/     the gateway's data folder        FOLDER/logs/      what every process printed
//! FOLDER/site-1/ ..   a site enclave's folder each      FOLDER/clients/   partner systems' private keys
//! FOLDER/evaluator/   the evaluator's folder            FOLDER/traffic/   requests as the gateway received them
//! ```

mod member;
mod policy;
mod process;
mod programs;

use std::collections::BTreeMap;
use std::fs;
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::time::Duration;

pub use member::{Member, Part};
pub use policy::set_keys;
pub use process::{Process, wait_until};
pub use programs::{Programs, call, output};

pub(crate) use member::{read_json, text};
pub(crate) use programs::{last_lines, named_from_here};

use crate::error::HarnessError;
use crate::partner::{ClientKey, PartnerClient};

/// The evaluator's pseudonym.
pub const EVALUATOR: &str = "evaluator";
/// How long a gateway may take to start, replaying its ledger.
const START_LIMIT: Duration = Duration::from_secs(60);
/// How often a port that somebody else has for a moment is tried, a second apart.
const PORT_TRIES: u32 = 30;

/// What to make.
#[derive(Debug, Clone)]
pub struct Plan {
    /// The consortium's folder; made if it is not there, and must be empty.
    pub folder: PathBuf,
    /// The sites: pseudonym and legal entity.
    pub sites: Vec<(String, String)>,
    /// Changed keys of the gateway's `policies/rounds.toml`.
    pub rounds_policy: Vec<(&'static str, String)>,
}

impl Plan {
    /// `count` sites named `site-1` onwards, each of another company, with short waits for loopback.
    #[must_use]
    pub fn new(folder: &Path, count: usize) -> Self {
        let sites =
            (1..=count).map(|number| (format!("site-{number}"), format!("Company {number} Ltd"))).collect();
        Self { folder: folder.to_path_buf(), sites, rounds_policy: Vec::new() }
    }

    /// The same plan with another value of a policy key.
    #[must_use]
    pub fn with_policy(mut self, key: &'static str, value: impl ToString) -> Self {
        self.rounds_policy.push((key, value.to_string()));
        self
    }

    /// The changed keys against which every site holds a floor of its own.
    fn floors(&self) -> Vec<(&'static str, String)> {
        const FLOORS: [&str; 4] = ["min_cohort", "min_agreed", "min_batch", "scoring_batch_size"];
        self.rounds_policy.iter().filter(|(key, _)| FLOORS.contains(key)).cloned().collect()
    }
}

/// A consortium and its processes, which end when it is dropped.
#[derive(Debug)]
pub struct Consortium {
    /// The programs it runs.
    pub programs: Programs,
    /// Its folder.
    pub folder: PathBuf,
    /// How clients reach the gateway; also the issuer of its tokens.
    pub url: String,
    gateway: Option<Process>,
    members: BTreeMap<String, Member>,
}

impl Consortium {
    /// Makes keys, certificates and folders. Starts nothing.
    ///
    /// # Errors
    /// The commands' and the file system's.
    pub fn found(plan: &Plan) -> Result<Self, HarnessError> {
        let programs = Programs::find()?;
        fs::create_dir_all(&plan.folder).map_err(HarnessError::file("create", &plan.folder))?;
        let folder = fs::canonicalize(&plan.folder).map_err(HarnessError::file("find", &plan.folder))?;
        let gateway = folder.join("gateway");
        let listen = free_address()?;
        call(&programs.gateway, &["init", "--dir", &text(&gateway), "--listen", &listen])?;
        set_keys(&gateway.join("policies/rounds.toml"), &plan.rounds_policy)?;
        let mut members = BTreeMap::new();
        for (site, legal_entity) in &plan.sites {
            let member = Member::enrol(&programs, &folder, site, legal_entity, Part::Site)?;
            // What a data owner does who joins a consortium smaller than the programs' own floors allow.
            set_keys(&member.folder.join("floors.toml"), &plan.floors())?;
            members.insert(site.clone(), member);
        }
        let evaluator = Member::enrol(&programs, &folder, EVALUATOR, "The platform", Part::Evaluator)?;
        members.insert(EVALUATOR.to_owned(), evaluator);
        let url = public_url(&gateway.join("gateway.toml"))?;
        Ok(Self { programs, folder, url, gateway: None, members })
    }

    /// The gateway's data folder.
    #[must_use]
    pub fn gateway_folder(&self) -> PathBuf {
        self.folder.join("gateway")
    }

    /// Where requests are recorded.
    #[must_use]
    pub fn traffic_folder(&self) -> PathBuf {
        self.folder.join("traffic")
    }

    /// The CA certificate (PEM) that the gateway's TLS certificate is checked with.
    #[must_use]
    pub fn ca_file(&self) -> PathBuf {
        self.gateway_folder().join("tls/ca.pem")
    }

    /// Starts the gateway, which records every request as received, and waits until it listens.
    ///
    /// # Errors
    /// If it ends or is not ready in time; the end of its log is in the message.
    pub fn start_gateway(&mut self) -> Result<(), HarnessError> {
        let traffic = text(&self.traffic_folder());
        self.serve(&["--record-traffic", &traffic])
    }

    /// Starts the gateway without recording: for what would fill the disk twice.
    ///
    /// # Errors
    /// As [`Consortium::start_gateway`].
    pub fn start_gateway_unrecorded(&mut self) -> Result<(), HarnessError> {
        self.serve(&[])
    }

    fn serve(&mut self, more: &[&str]) -> Result<(), HarnessError> {
        if self.gateway.is_some() {
            return Ok(());
        }
        let dir = text(&self.gateway_folder());
        let arguments: Vec<String> =
            [&["serve", "--dir", &dir][..], more].concat().into_iter().map(str::to_owned).collect();
        let log = self.folder.join("logs/gateway.log");
        for _ in 0..PORT_TRIES {
            let mut gateway = Process::start("gateway", &self.programs.gateway, &arguments, &log)?;
            match gateway.wait_for_line("listening on ", START_LIMIT) {
                Ok(_) => {
                    self.gateway = Some(gateway);
                    return Ok(());
                }
                // While no gateway ran, the system may have lent its port to somebody's outgoing connection.
                Err(HarnessError::EndedEarly { tail, .. }) if tail.contains("Address already in use") => {
                    std::thread::sleep(Duration::from_secs(1));
                }
                Err(error) => return Err(error),
            }
        }
        Err(HarnessError::unexpected("the gateway's start", "its port stays in use"))
    }

    /// The id of the gateway's process, if it runs.
    #[must_use]
    pub fn gateway_process(&self) -> Option<u32> {
        self.gateway.as_ref().map(Process::id)
    }

    /// kill -9 of the gateway.
    pub fn kill_gateway(&mut self) {
        if let Some(gateway) = self.gateway.take() {
            gateway.kill();
        }
    }

    /// Starts every member that does not run.
    ///
    /// # Errors
    /// If one cannot be started.
    pub fn start_members(&mut self) -> Result<(), HarnessError> {
        let programs = &self.programs;
        self.members.values_mut().try_for_each(|member| member.start(programs))
    }

    /// Starts one member.
    ///
    /// # Errors
    /// If it cannot be started, or there is none of that name.
    pub fn start_member(&mut self, site: &str) -> Result<(), HarnessError> {
        let programs = self.programs.clone();
        self.member_mut(site)?.start(&programs)
    }

    /// kill -9 of one member.
    ///
    /// # Errors
    /// If there is none of that name.
    pub fn kill_member(&mut self, site: &str) -> Result<(), HarnessError> {
        self.member_mut(site)?.kill();
        Ok(())
    }

    /// One member.
    ///
    /// # Errors
    /// If there is none of that name.
    pub fn member(&self, site: &str) -> Result<&Member, HarnessError> {
        self.members
            .get(site)
            .ok_or_else(|| HarnessError::unexpected("the list of members", format!("no {site} in it")))
    }

    fn member_mut(&mut self, site: &str) -> Result<&mut Member, HarnessError> {
        let unknown = || HarnessError::unexpected("the list of members", format!("no {site} in it"));
        self.members.get_mut(site).ok_or_else(unknown)
    }

    /// All members, the evaluator among them.
    pub fn members(&self) -> impl Iterator<Item = &Member> {
        self.members.values()
    }

    /// Checks that nothing has ended by itself.
    ///
    /// # Errors
    /// [`HarnessError::EndedEarly`] of the first that has.
    pub fn expect_running(&mut self) -> Result<(), HarnessError> {
        if let Some(gateway) = &mut self.gateway {
            gateway.expect_running()?;
        }
        self.members.values_mut().try_for_each(Member::expect_running)
    }

    /// The end of the gateway's log, for messages.
    #[must_use]
    pub fn gateway_log(&self, lines: usize) -> String {
        last_lines(
            &String::from_utf8_lossy(&fs::read(self.folder.join("logs/gateway.log")).unwrap_or_default()),
            lines,
        )
    }

    /// Registers a partner system with a role and gives its client.
    ///
    /// # Errors
    /// The command's and the file system's.
    pub fn add_client(
        &self,
        client: &str,
        organisation: &str,
        role: &str,
    ) -> Result<PartnerClient, HarnessError> {
        let key = ClientKey::generate(client, &self.folder.join("clients"))?;
        let (dir, public) = (text(&self.gateway_folder()), text(&key.public_file()));
        let words = ["client", "add", "--dir", &dir, "--client-id", client, "--organisation", organisation];
        call(&self.programs.gateway, &[&words[..], &["--role", role, "--public-key", &public]].concat())?;
        PartnerClient::new(&self.url, &self.ca_file(), key)
    }
}

/// The address that the gateway gives itself.
pub(crate) fn public_url(settings: &Path) -> Result<String, HarnessError> {
    let text = fs::read_to_string(settings).map_err(HarnessError::file("read", settings))?;
    let value =
        text.lines().filter_map(|line| line.split_once('=')).find(|(key, _)| key.trim() == "public_url");
    value.map(|(_, value)| value.trim().trim_matches('"').to_owned()).ok_or_else(|| {
        HarnessError::unexpected(settings.display().to_string(), "there is no key `public_url`")
    })
}

/// An address on loopback that is free now. The port has to be known before the gateway starts, because it is in
/// every enrolment and must survive a restart.
fn free_address() -> Result<String, HarnessError> {
    let address = TcpListener::bind("127.0.0.1:0").and_then(|listener| listener.local_addr());
    Ok(address.map_err(HarnessError::file("find", "a free port"))?.to_string())
}
