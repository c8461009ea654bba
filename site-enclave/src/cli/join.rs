//! `konclave-site join`: takes what the operator sent back, if every part of it is this site's.

use std::path::PathBuf;

use konclave_openapi::sites::{Enrolment, EnrolmentRequest};
use konclave_policies::site::SitePolicy;
use serde::de::DeserializeOwned;

use super::CommandError;
use crate::clock;
use crate::config::{Asked, Enrolled, EnrolmentError, SiteFolder, site_toml};
use crate::consent::{PolicyFault, RoundsFloors};
use crate::driver::SiteError;
use crate::keystore::{Disk, SiteKeys};

/// What `join` takes.
#[derive(Debug, clap::Args)]
pub struct JoinArguments {
    /// The site's folder.
    #[arg(long, value_name = "FOLDER", env = "KONCLAVE_SITE_DIR")]
    pub dir: PathBuf,
    /// The enrolment that the operator sent back.
    #[arg(long, value_name = "FILE")]
    pub enrolment: PathBuf,
}

/// Checks and pins an enrolment; gives the text to print.
///
/// # Errors
/// [`CommandError`]; nothing is changed then.
pub fn join(arguments: &JoinArguments) -> Result<String, CommandError> {
    let disk = Disk::default();
    let folder = SiteFolder::new(&arguments.dir);
    let request: EnrolmentRequest = read(&disk, &folder.enrolment_request())?;
    let enrolment: Enrolment = read(&disk, &arguments.enrolment)?;
    let keys = SiteKeys::read(&disk, folder.path(), &request.site)?;
    let asked = Asked { site: request.site, legal_entity: request.legal_entity, role: request.role };
    let enrolled = Enrolled::check(enrolment.clone(), &keys, Some(&asked), clock::now())?;
    if folder.enrolment().is_file() {
        let pinned: Enrolment = read(&disk, &folder.enrolment())?;
        if pinned.consortium_root != enrolment.consortium_root {
            return Err(CommandError::OtherRoot {
                pinned: pinned.consortium_root.to_string(),
                offered: enrolment.consortium_root.to_string(),
                file: folder.enrolment(),
            });
        }
    }
    let json =
        serde_json::to_vec_pretty(&enrolment).map_err(|error| CommandError::Request(error.to_string()))?;
    disk.write(&folder.enrolment(), &json)?;
    let kept = folder.config().is_file();
    if !kept {
        disk.write(&folder.config(), site_toml(&enrolled.gateway_url).as_bytes())?;
    }
    if !folder.floors().is_file() {
        // From this program, not from the gateway: what came with the enrolment cannot lower them.
        let floors = RoundsFloors::embedded().map_err(|error| SiteError::from(PolicyFault::from(error)))?;
        disk.write(&folder.floors(), floors.to_toml().as_bytes())?;
    }
    if !folder.policy().is_file() {
        disk.write(&folder.policy(), SitePolicy::EMBEDDED.as_bytes())?;
    }
    let member = &enrolled.certificate.membership;
    Ok(format!(
        "{site} of {entity} is enrolled as {role} until {until}.\n\
         Consortium root, to compare with the other sites: {root}\n\
         Ledger key: {ledger}\n\
         Settings: {config}{kept}\n\
         This site's policy, which decides which jobs it consents to: {policy}\n\
         The least protection it takes part with: {floors}",
        site = member.site,
        entity = member.legal_entity,
        role = member.role.as_str(),
        until = clock::rfc3339(member.not_after),
        root = enrolment.consortium_root,
        ledger = enrolled.ledger_key,
        config = folder.config().display(),
        policy = folder.policy().display(),
        floors = folder.floors().display(),
        kept = if kept { " (kept as it was)" } else { "" },
    ))
}

pub(super) fn read<T: DeserializeOwned>(disk: &Disk, path: &std::path::Path) -> Result<T, CommandError> {
    let bytes = disk.read(path)?.ok_or_else(|| EnrolmentError::Missing(path.to_path_buf()))?;
    serde_json::from_slice(&bytes)
        .map_err(|source| EnrolmentError::Layout { path: path.to_path_buf(), source }.into())
}

#[cfg(test)]
pub(super) mod tests {
    use std::path::Path;

    use konclave_crypto::{ConsortiumRootKey, Membership, UnixSeconds};
    use konclave_ledger::SigningKey;
    use konclave_ledger::checkpoint::log_key;
    use rcgen::{
        BasicConstraints, CertificateParams, CertificateSigningRequestParams, CertifiedIssuer, IsCa, KeyPair,
    };
    use zeroize::Zeroizing;

    use super::*;
    use crate::cli::init::{InitArguments, Role, init};
    use crate::config::{ConfigFlags, SiteConfig};

    pub(in crate::cli) fn initialised(dir: &Path) -> EnrolmentRequest {
        let arguments = InitArguments {
            dir: dir.to_path_buf(),
            site: "site-a".parse().unwrap(),
            legal_entity: "A Pharma".into(),
            role: Role::Site,
        };
        init(&arguments).unwrap();
        serde_json::from_slice(&std::fs::read(dir.join("enrolment-request.json")).unwrap()).unwrap()
    }

    /// What the operator's `enrol` makes of a request.
    pub(in crate::cli) fn enrol(request: &EnrolmentRequest, root: u8) -> Enrolment {
        let root = ConsortiumRootKey::from_seed(Zeroizing::new([root; 32]));
        let certificate = root.issue(Membership {
            site: request.site.clone(),
            legal_entity: request.legal_entity.clone(),
            role: request.role,
            identity_key: request.identity_key,
            witness_vkey: request.witness_vkey.clone(),
            serial: 1,
            not_before: UnixSeconds(0),
            not_after: UnixSeconds(clock::now().get() + 1_000),
        });
        let mut parameters = CertificateParams::new(Vec::new()).unwrap();
        parameters.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let ca = CertifiedIssuer::self_signed(parameters, KeyPair::generate().unwrap()).unwrap();
        let tls = CertificateSigningRequestParams::from_pem(&request.tls_request).unwrap();
        Enrolment {
            certificate,
            tls_certificate: tls.signed_by(&ca).unwrap().pem(),
            tls_ca: ca.pem(),
            consortium_root: root.root().0,
            gateway_url: "https://localhost:8443".into(),
            ledger_key: log_key("ledger.example".parse().unwrap(), &SigningKey::from_seed(&[9; 32]))
                .to_string(),
        }
    }

    pub(in crate::cli) fn try_join(dir: &Path, enrolment: &Enrolment) -> Result<String, CommandError> {
        let file = dir.join("from-operator.json");
        std::fs::write(&file, serde_json::to_vec(enrolment).unwrap()).unwrap();
        join(&JoinArguments { dir: dir.to_path_buf(), enrolment: file })
    }

    #[test]
    fn a_fitting_enrolment_is_pinned_and_settings_are_written_once() {
        let keep = tempfile::tempdir().unwrap();
        let request = initialised(keep.path());
        let enrolment = enrol(&request, 1);
        let text = try_join(keep.path(), &enrolment).unwrap();
        assert!(text.contains(&enrolment.consortium_root.to_string()), "{text}");
        let folder = SiteFolder::new(keep.path());
        let config = SiteConfig::load(&folder, &ConfigFlags::default()).unwrap();
        assert_eq!(config.gateway_url, "https://localhost:8443");
        let floors = crate::consent::read_floors(&folder, config.floors.as_deref()).unwrap();
        assert_eq!(floors, RoundsFloors::embedded().unwrap());
        assert!(config.floors.is_some());
        std::fs::write(folder.config(), "gateway_url = \"https://other\"\n").unwrap();
        try_join(keep.path(), &enrolment).unwrap();
        let config = SiteConfig::load(&folder, &ConfigFlags::default()).unwrap();
        assert_eq!(config.gateway_url, "https://other");
    }

    #[test]
    fn whatever_is_not_this_site_s_is_refused_and_named() {
        let (keep, other) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let third = tempfile::tempdir().unwrap();
        let request = initialised(keep.path());
        let good = enrol(&request, 1);
        let stranger = enrol(&initialised(other.path()), 1);
        let mut promoted = request.clone();
        promoted.role = konclave_crypto::MemberRole::Evaluator;
        let mut witnessed = request.clone();
        witnessed.witness_vkey = initialised(third.path()).witness_vkey;
        for (bad, part) in [
            (Enrolment { certificate: stranger.certificate.clone(), ..good.clone() }, "identity key"),
            (
                Enrolment { tls_certificate: stranger.tls_certificate.clone(), ..good.clone() },
                "TLS certificate",
            ),
            (enrol(&witnessed, 1), "witness key"),
            (Enrolment { ledger_key: request.witness_vkey.clone(), ..good.clone() }, "ledger key"),
            (Enrolment { ledger_key: "x".into(), ..good.clone() }, "ledger key"),
            (Enrolment { consortium_root: request.identity_key, ..good.clone() }, "does not hold"),
            (enrol(&promoted, 1), "membership"),
        ] {
            let error = try_join(keep.path(), &bad).unwrap_err().to_string();
            assert!(error.contains(part), "{part}: {error}");
            assert!(!keep.path().join("membership.json").exists());
        }
    }

    #[test]
    fn a_joined_site_does_not_change_its_consortium() {
        let keep = tempfile::tempdir().unwrap();
        let request = initialised(keep.path());
        try_join(keep.path(), &enrol(&request, 1)).unwrap();
        let error = try_join(keep.path(), &enrol(&request, 2)).unwrap_err();
        assert!(matches!(error, CommandError::OtherRoot { .. }), "{error}");
    }
}
