//! `konclave-site init`: keys that never leave the site, and a signed request to be enrolled.

use std::path::PathBuf;

use konclave_crypto::{MemberRole, SiteId};

use super::CommandError;
use crate::config::{Asked, SiteFolder, enrolment_request};
use crate::keystore::{Disk, SiteKeys};

/// What `init` takes.
#[derive(Debug, clap::Args)]
pub struct InitArguments {
    /// The site's folder; made if it is not there.
    #[arg(long, value_name = "FOLDER", env = "KONCLAVE_SITE_DIR")]
    pub dir: PathBuf,
    /// The wanted pseudonym: a-z, 0-9 and '-', 1 to 63 characters.
    #[arg(long, value_name = "ID")]
    pub site: SiteId,
    /// The legal entity behind the site; rewards go to legal entities.
    #[arg(long, value_name = "NAME")]
    pub legal_entity: String,
    /// What it will do.
    #[arg(long, value_enum, default_value_t = Role::Site)]
    pub role: Role,
}

/// The roles that can be asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum Role {
    /// Trains on its own data.
    Site,
    /// Measures models on benchmark data.
    Evaluator,
}

impl From<Role> for MemberRole {
    fn from(role: Role) -> Self {
        match role {
            Role::Site => Self::Site,
            Role::Evaluator => Self::Evaluator,
        }
    }
}

/// Makes keys and the request; gives the text to print.
///
/// # Errors
/// [`CommandError`]; existing keys are never overwritten.
pub fn init(arguments: &InitArguments) -> Result<String, CommandError> {
    let disk = Disk::default();
    let folder = SiteFolder::new(&arguments.dir);
    disk.create_folder(folder.path())?;
    disk.create_folder(&folder.path().join("data"))?;
    let keys = SiteKeys::create(&disk, folder.path(), &arguments.site)?;
    let asked = Asked {
        site: arguments.site.clone(),
        legal_entity: arguments.legal_entity.clone(),
        role: arguments.role.into(),
    };
    let request = enrolment_request(&asked, &keys, &keys.tls.current)?;
    let json =
        serde_json::to_vec_pretty(&request).map_err(|error| CommandError::Request(error.to_string()))?;
    disk.write(&folder.enrolment_request(), &json)?;
    Ok(format!(
        "Keys of {site} are in {keys} (they never leave this machine; keep a copy offline).\n\
         Send {request} to the operator, and read this fingerprint to them over another channel:\n\
         {fingerprint}\n\
         Then: konclave-site join --dir {dir} --enrolment FILE",
        site = arguments.site,
        keys = folder.path().join("keys").display(),
        request = folder.enrolment_request().display(),
        fingerprint = request.fingerprint(),
        dir = arguments.dir.display(),
    ))
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use konclave_openapi::sites::EnrolmentRequest;

    use super::*;

    fn arguments(dir: &std::path::Path) -> InitArguments {
        InitArguments {
            dir: dir.to_path_buf(),
            site: "site-a".parse().unwrap(),
            legal_entity: "A Pharma".into(),
            role: Role::Site,
        }
    }

    #[test]
    fn the_request_is_signed_and_its_fingerprint_printed() {
        let keep = tempfile::tempdir().unwrap();
        let text = init(&arguments(keep.path())).unwrap();
        let bytes = std::fs::read(keep.path().join("enrolment-request.json")).unwrap();
        let mut request: EnrolmentRequest = serde_json::from_slice(&bytes).unwrap();
        assert!(request.is_signed());
        assert!(text.contains(&request.fingerprint().to_string()), "{text}");
        assert!(request.tls_request.contains("CERTIFICATE REQUEST"));
        request.legal_entity = "B Pharma".into();
        assert!(!request.is_signed());
    }

    #[test]
    fn keys_are_private_and_never_made_twice() {
        let keep = tempfile::tempdir().unwrap();
        init(&arguments(keep.path())).unwrap();
        for entry in std::fs::read_dir(keep.path().join("keys")).unwrap() {
            let mode = entry.unwrap().metadata().unwrap().permissions().mode();
            assert_eq!(mode & 0o777, 0o600);
        }
        let before = std::fs::read(keep.path().join("keys/identity.seed")).unwrap();
        assert!(matches!(init(&arguments(keep.path())), Err(CommandError::Keys(_))));
        assert_eq!(std::fs::read(keep.path().join("keys/identity.seed")).unwrap(), before);
    }
}
