//! `konclave-site renew`: another TLS certificate now, also while the service runs.

use std::path::PathBuf;
use std::time::{Duration, Instant};

use super::CommandError;
use crate::clock;
use crate::config::{ConfigFlags, SiteConfig, SiteFolder, TlsCertificate};
use crate::driver::{Member, SiteError, renew as renew_now};
use crate::keystore::Disk;

/// How often is looked whether the service has done it.
const LOOK: Duration = Duration::from_millis(200);

/// What `renew` takes.
#[derive(Debug, clap::Args)]
pub struct RenewArguments {
    /// The site's folder.
    #[arg(long, value_name = "FOLDER", env = "KONCLAVE_SITE_DIR")]
    pub dir: PathBuf,
    /// How many seconds to wait for the service, if it runs.
    #[arg(long, value_name = "SECONDS", default_value_t = 60)]
    pub wait: u64,
}

/// Has the running service renew the certificate, or does so itself; gives the text to print.
///
/// # Errors
/// [`CommandError`]; the old certificate stays in use.
pub fn renew(arguments: &RenewArguments) -> Result<String, CommandError> {
    let folder = SiteFolder::new(&arguments.dir);
    let config = SiteConfig::load(&folder, &ConfigFlags::default())?;
    match Member::open(folder.clone(), config, None) {
        Ok(member) => {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
            Ok(in_words(&runtime.block_on(renew_now(&member))?))
        }
        Err(SiteError::Locked(_)) => ask_service(&folder, Duration::from_secs(arguments.wait)),
        Err(error) => Err(error.into()),
    }
}

/// Leaves a wish for the service and waits until it is gone.
fn ask_service(folder: &SiteFolder, wait: Duration) -> Result<String, CommandError> {
    let wish = folder.renewal_wish();
    Disk::default().write(&wish, b"")?;
    let begun = Instant::now();
    while wish.is_file() {
        if begun.elapsed() >= wait {
            return Err(CommandError::NotRenewed { seconds: wait.as_secs() });
        }
        std::thread::sleep(LOOK);
    }
    let enrolment =
        super::join::read::<konclave_openapi::sites::Enrolment>(&Disk::default(), &folder.enrolment())?;
    let certificate = TlsCertificate::parse(&enrolment.tls_certificate).map_err(CommandError::Request)?;
    Ok(in_words(&certificate))
}

fn in_words(certificate: &TlsCertificate) -> String {
    let until = clock::rfc3339(certificate.not_after);
    format!("The TLS certificate is renewed, until {until}. Its key is {}.", certificate.key_digest())
}
