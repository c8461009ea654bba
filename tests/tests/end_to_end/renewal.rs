//! A site renews its TLS certificate: by itself, beside its running service, and after a kill at any point between.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "the lints spare test functions, but not what they call"
)]

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use konclave_openapi::sites::{EnrolmentRequest, Site};
use konclave_tests::consortium::{Consortium, output, wait_until};

use crate::support;

const SITE: &str = "site-1";

/// Runs `konclave-site renew`; the key that it prints.
fn renew(consortium: &Consortium, folder: &Path) -> String {
    let done = output(&consortium.programs.site, &["renew", "--dir", folder.to_str().unwrap()]).unwrap();
    let said = String::from_utf8(done.stdout).unwrap();
    assert!(done.status.success(), "{said}\n{}", String::from_utf8_lossy(&done.stderr));
    let key = said.trim().rsplit_once(' ').unwrap().1.trim_end_matches('.').to_owned();
    assert_eq!(key.len(), 64, "{said}");
    key
}

/// The key in force by the gateway, asked with whatever the site's folder holds.
fn in_force(consortium: &Consortium) -> String {
    let connection = consortium.member(SITE).unwrap().connect().unwrap();
    let answer = connection.get(format!("{}/v1/sites/{SITE}", consortium.url)).send().unwrap();
    answer.json::<Site>().unwrap().tls_spki.to_string()
}

/// Files of a folder that a renewal changes.
struct Kept(Vec<(PathBuf, Vec<u8>)>);

impl Kept {
    fn of(folder: &Path) -> Self {
        let files = ["membership.json", "keys/tls.key", "enrolment-request.json"];
        Self(files.iter().map(|name| (folder.join(name), fs::read(folder.join(name)).unwrap())).collect())
    }

    fn put_back(&self) {
        self.0.iter().for_each(|(path, bytes)| fs::write(path, bytes).unwrap());
    }
}

#[test]
fn a_renewal_goes_on_wherever_it_was_cut_off() {
    let (mut consortium, _folder) = support::consortium(5, |plan| plan);
    consortium.start_gateway().unwrap();
    let folder = consortium.member(SITE).unwrap().folder.clone();
    let (key, next) = (folder.join("keys/tls.key"), folder.join("keys/tls-next.key"));
    let before = in_force(&consortium);
    let first = Kept::of(&folder);
    let renewed = renew(&consortium, &folder);
    assert_ne!(renewed, before);
    assert_eq!(in_force(&consortium), renewed);
    assert!(!next.exists());
    let request: EnrolmentRequest =
        serde_json::from_slice(&fs::read(folder.join("enrolment-request.json")).unwrap()).unwrap();
    assert!(request.is_signed());

    // Killed before the answer was stored: the gateway knows the new key already, the site has the old one in use.
    let new_key = fs::read(&key).unwrap();
    first.put_back();
    fs::write(&next, &new_key).unwrap();
    assert_eq!(in_force(&consortium), renewed, "the old certificate is good for a while");
    assert_eq!(renew(&consortium, &folder), renewed, "the same request again");
    assert!(!next.exists());
    assert_eq!(fs::read(&key).unwrap(), new_key);

    // Killed after the certificate was stored, before its key took the old one's place.
    let old_key = &first.0[1].1;
    fs::write(&key, old_key).unwrap();
    fs::write(&next, &new_key).unwrap();
    let another = renew(&consortium, &folder);
    assert_ne!(another, renewed);
    assert_eq!(in_force(&consortium), another);
    assert!(!next.exists());
}

#[test]
fn a_running_service_renews_when_asked_and_goes_on() {
    let (mut consortium, temporary) = support::consortium(5, |plan| plan);
    let (developer, auditor) = support::partners(&consortium);
    consortium.start_gateway().unwrap();
    consortium.start_members().unwrap();
    // The evaluator's, too. Then all are at work.
    let deposited = || Ok((auditor.deposits()?.len() > 5).then_some(()));
    wait_until("every member's deposit", Duration::from_secs(120), deposited, String::new).unwrap();
    let job = support::job::ask_for_training(&consortium, &developer, temporary.path(), 1);
    let folder = consortium.member(SITE).unwrap().folder.clone();
    let before = in_force(&consortium);
    let renewed = renew(&consortium, &folder);
    assert_ne!(renewed, before);
    assert_eq!(in_force(&consortium), renewed);
    assert!(consortium.member(SITE).unwrap().log_text().contains("the TLS certificate is renewed"));
    support::job::wait_for_the_end(&consortium, &developer, &job.job);
    let rounds = developer.rounds(&job.job).unwrap();
    assert!(rounds[0].agreed.iter().any(|site| site.as_str() == SITE), "its update is in the sum");
    // A start after a kill takes the new key.
    consortium.kill_member(SITE).unwrap();
    consortium.start_member(SITE).unwrap();
    assert_ne!(renew(&consortium, &folder), renewed);
}
