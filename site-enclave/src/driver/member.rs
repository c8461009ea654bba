//! What both services of a member share: its folder, keys, enrolment and connection.

use std::fs::{File, TryLockError};
use std::path::PathBuf;
use std::sync::Arc;

use konclave_crypto::{MemberRole, SiteId};

use super::error::StepError;
use crate::client::{ClientError, EgressLog, GatewayClient};
use crate::clock;
use crate::config::{Enrolled, EnrolmentError, SiteConfig, SiteFolder};
use crate::consent::PolicyFault;
use crate::keystore::{Disk, DiskError, KeyError, SiteKeys, SpendingError};
use crate::witness::{Alarm, AlarmError, WitnessFault};

/// Why a service does not start or stops.
#[derive(Debug, thiserror::Error)]
pub enum SiteError {
    /// The keys cannot be read.
    #[error(transparent)]
    Keys(#[from] KeyError),
    /// The enrolment does not hold.
    #[error(transparent)]
    Enrolment(#[from] EnrolmentError),
    /// The member has another role.
    #[error("this member is enrolled as {found}, not as {needed}: use `konclave-site {command}`")]
    Role {
        /// Its role.
        found: &'static str,
        /// The role needed.
        needed: &'static str,
        /// The command for its role.
        command: &'static str,
    },
    /// A file operation failed.
    #[error(transparent)]
    Disk(#[from] DiskError),
    /// The account of the privacy budget cannot be used.
    #[error(transparent)]
    Spending(#[from] SpendingError),
    /// The connection cannot be set up.
    #[error(transparent)]
    Client(#[from] ClientError),
    /// There is no policy.
    #[error(transparent)]
    Policy(#[from] PolicyFault),
    /// Another process runs on this folder.
    #[error("another konclave-site runs on this folder (it holds {0})")]
    Locked(PathBuf),
    /// An alarm stands.
    #[error("an alarm stands in {file}: {alarm}\n{}", .alarm.advice)]
    Alarm {
        /// The alarm's file.
        file: PathBuf,
        /// The alarm.
        alarm: Box<Alarm>,
    },
    /// The alarm file cannot be read.
    #[error(transparent)]
    AlarmFile(#[from] AlarmError),
    /// The witness cannot start.
    #[error(transparent)]
    Witness(#[from] WitnessFault),
    /// A step that must not fail did.
    #[error(transparent)]
    Step(#[from] StepError),
}

/// A member that is ready to work. The folder is locked as long as it lives.
#[derive(Debug)]
pub struct Member {
    pub(crate) folder: SiteFolder,
    pub(crate) config: SiteConfig,
    pub(crate) disk: Disk,
    pub(crate) keys: SiteKeys,
    pub(crate) enrolled: Enrolled,
    pub(crate) client: GatewayClient,
    _lock: File,
}

impl Member {
    /// Reads keys and enrolment, takes the folder's lock and sets up the client. With a role, the member must have it.
    ///
    /// # Errors
    /// [`SiteError`]; [`SiteError::Alarm`] while an alarm stands.
    pub fn open(folder: SiteFolder, config: SiteConfig, role: Option<MemberRole>) -> Result<Self, SiteError> {
        let disk = Disk::default();
        disk.create_folder(&folder.state())?;
        let lock = lock(&folder)?;
        if let Some(alarm) = Alarm::standing(&folder.alarm())? {
            return Err(SiteError::Alarm { file: folder.alarm(), alarm: Box::new(alarm) });
        }
        let site = enrolled_name(&disk, &folder)?;
        let keys = SiteKeys::read(&disk, folder.path(), &site)?;
        let enrolled = Enrolled::read(&disk, &folder.enrolment(), &keys, clock::now())?;
        let found = enrolled.certificate.membership.role;
        if let Some(role) = role.filter(|role| *role != found) {
            let command = if found == MemberRole::Evaluator { "evaluate" } else { "run" };
            return Err(SiteError::Role { found: found.as_str(), needed: role.as_str(), command });
        }
        let log = folder.egress_log();
        let egress = EgressLog::open(&log).map_err(|source| ClientError::EgressLog { path: log, source })?;
        let client = GatewayClient::new(&config.endpoint(), &enrolled.tls(&keys)?, Arc::new(egress))?;
        Ok(Self { folder, config, disk, keys, enrolled, client, _lock: lock })
    }

    /// The member's pseudonym.
    #[must_use]
    pub fn site(&self) -> &SiteId {
        self.enrolled.site()
    }
}

/// The name in the enrolment, before the enrolment is checked: it only names the witness key.
pub(crate) fn enrolled_name(disk: &Disk, folder: &SiteFolder) -> Result<SiteId, EnrolmentError> {
    let path = folder.enrolment();
    let bytes = disk.read(&path)?.ok_or_else(|| EnrolmentError::Missing(path.clone()))?;
    let enrolment: konclave_openapi::sites::Enrolment =
        serde_json::from_slice(&bytes).map_err(|source| EnrolmentError::Layout { path, source })?;
    Ok(enrolment.certificate.membership.site)
}

fn lock(folder: &SiteFolder) -> Result<File, SiteError> {
    let path = folder.lock();
    let failed = |source| DiskError { doing: "lock", path: path.clone(), source };
    let file = File::options().create(true).truncate(false).write(true).open(&path).map_err(failed)?;
    match file.try_lock() {
        Ok(()) => Ok(file),
        Err(TryLockError::WouldBlock) => Err(SiteError::Locked(path)),
        Err(TryLockError::Error(source)) => Err(failed(source).into()),
    }
}
