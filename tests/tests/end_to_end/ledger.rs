//! The ledger over its life: contacts are erased, its key is changed, old copies are refused.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "the lints spare test functions, but not what they call"
)]

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;
use std::time::Duration;

use konclave_openapi::openings::{NewErasure, OpeningView};
use konclave_tests::consortium::{Consortium, call, output, wait_until};
use konclave_tests::partner::{ClientKey, PartnerClient};
use konclave_tests::search::Needles;
use serde_json::Value;

use crate::support;

const CONTACT: &str = "Min-ji Kim, m.kim@pharma.example";

fn copy(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    for entry in fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        let target = to.join(entry.file_name());
        if entry.file_type().unwrap().is_dir() {
            copy(&entry.path(), &target)
        } else {
            assert!(fs::copy(entry.path(), target).is_ok());
        }
    }
}

fn files_with_the_contact(folder: &Path) -> usize {
    let mut needles = Needles::new();
    needles.add_text("the contact", CONTACT);
    let found = needles.search_folder(folder).unwrap().found;
    found.iter().map(|place| &place.file).collect::<BTreeSet<_>>().len()
}

/// Registers a partner system with the person who answers for it.
fn add_partner_with_contact(consortium: &Consortium, folder: &Path) {
    let key = ClientKey::generate("partner", folder).unwrap();
    let (dir, public) = (consortium.gateway_folder(), key.public_file());
    let words = [
        "client",
        "add",
        "--dir",
        dir.to_str().unwrap(),
        "--client-id",
        "partner",
        "--organisation",
        "Partner Inc",
        "--role",
        "model-developer",
        "--public-key",
        public.to_str().unwrap(),
        "--contact",
        CONTACT,
    ];
    call(&consortium.programs.gateway, &words).unwrap();
}

fn contact_of_the_partner(auditor: &PartnerClient) -> konclave_ledger::Hash {
    let entries = auditor.entries(Some("client.registered")).unwrap();
    let leaves: Vec<Value> = entries.iter().map(|entry| serde_json::from_str(&entry.leaf).unwrap()).collect();
    let leaf = leaves.iter().find(|leaf| leaf["record"]["client"] == "partner").unwrap();
    assert_eq!(leaf["commitments"][0], leaf["record"]["contact"]);
    leaf["commitments"][0].as_str().unwrap().parse().unwrap()
}

#[test]
fn an_erased_contact_is_gone_from_every_file_and_stays_gone_when_a_backup_comes_back() {
    let (mut consortium, folder) = support::consortium(2, |plan| plan);
    let (_developer, auditor) = support::partners(&consortium);
    let operator = consortium.add_client("operator", "Operator", "operator").unwrap();
    add_partner_with_contact(&consortium, folder.path());
    consortium.start_gateway().unwrap();
    let gateway = consortium.gateway_folder();
    assert_eq!(files_with_the_contact(&gateway), 1, "in its opening and nowhere else");
    let commitment = contact_of_the_partner(&auditor);
    let path = format!("/v1/ledger/openings/{commitment}");
    let opening: OpeningView = auditor.get(&path).unwrap();
    assert_eq!(opening.value.as_deref(), Some(CONTACT));
    let backup = folder.path().join("backup-of-openings");
    copy(&gateway.join("openings"), &backup);

    let asked = NewErasure { commitment, ground: "request of the data subject, case 17".to_owned() };
    let refused = auditor.post::<_, OpeningView>("/v1/ledger/erasures", "erase-0", &asked);
    assert!(refused.unwrap_err().to_string().contains("erase-opening"), "an auditor erases nothing");
    let nameless = NewErasure { ground: " ".to_owned(), ..asked.clone() };
    let refused = operator.post::<_, OpeningView>("/v1/ledger/erasures", "erase-1", &nameless);
    assert!(refused.unwrap_err().to_string().contains("ground"));
    let erased: OpeningView = operator.post("/v1/ledger/erasures", "erase-2", &asked).unwrap();
    assert_eq!((erased.value, erased.salt), (None, None));
    let again: OpeningView = operator.post("/v1/ledger/erasures", "erase-3", &asked).unwrap();
    assert_eq!(again.erased_by, erased.erased_by, "asked again, nothing is added");
    assert_eq!(files_with_the_contact(&gateway), 0);
    assert_eq!(auditor.entries(Some("opening.erased")).unwrap().len(), 1);

    // A backup from before brings the file back; the ledger says that it must not be there.
    consortium.kill_gateway();
    copy(&backup, &gateway.join("openings"));
    assert_eq!(files_with_the_contact(&gateway), 1);
    consortium.start_gateway().unwrap();
    assert_eq!(files_with_the_contact(&gateway), 0);
    let opening: OpeningView = auditor.get(&path).unwrap();
    assert_eq!(opening.erased_by, erased.erased_by);

    let export = folder.path().join("export");
    auditor.export_ledger(&export).unwrap();
    call(&consortium.programs.audit, &["verify".as_ref(), export.as_os_str()]).unwrap();
}

#[test]
fn an_older_copy_of_the_ledger_is_refused_at_the_start() {
    let (mut consortium, folder) = support::consortium(2, |plan| plan);
    let (_developer, _auditor) = support::partners(&consortium);
    consortium.start_gateway().unwrap();
    consortium.kill_gateway();
    let (ledger, backup) = (consortium.gateway_folder().join("ledger"), folder.path().join("backup"));
    copy(&ledger, &backup);
    consortium.add_client("late", "Late Inc", "model-developer").unwrap();
    consortium.start_gateway().unwrap();
    consortium.kill_gateway();
    fs::remove_dir_all(&ledger).unwrap();
    copy(&backup, &ledger);
    let refused = consortium.start_gateway().unwrap_err().to_string();
    assert!(refused.contains("ledger-head.seen"), "{refused}");
}

#[test]
fn the_ledgers_key_changes_under_the_root_and_members_and_auditors_follow() {
    let (mut consortium, folder) = support::consortium(2, |plan| plan);
    let (_developer, auditor) = support::partners(&consortium);
    let dir = consortium.gateway_folder();
    let rotate = ["ledger", "rotate-key", "--dir", dir.to_str().unwrap(), "--reason", "scheduled"];
    let early = output(&consortium.programs.gateway, &rotate).unwrap();
    assert!(String::from_utf8_lossy(&early.stderr).contains("has not begun"), "{early:?}");
    consortium.start_gateway().unwrap();
    consortium.start_members().unwrap();
    let members = consortium.members().count();
    let cosigned = |what: &str, consortium: &mut Consortium| {
        let ready = || Ok((auditor.checkpoint()?.witnesses.len() >= members).then_some(()));
        wait_until(what, Duration::from_secs(60), ready, || consortium.gateway_log(20)).unwrap();
    };
    let settled = || Ok((auditor.deposits()?.len() >= members).then_some(()));
    wait_until("deposits", Duration::from_secs(60), settled, String::new).unwrap();
    cosigned("cosignatures under the first key", &mut consortium);
    let before = folder.path().join("before");
    auditor.export_ledger(&before).unwrap();

    let running = output(&consortium.programs.gateway, &rotate).unwrap();
    assert!(String::from_utf8_lossy(&running.stderr).contains("in use by another process"), "{running:?}");
    consortium.kill_gateway();
    let said = call(&consortium.programs.gateway, &rotate).unwrap();
    let new_key = said.lines().next().unwrap().rsplit(' ').next().unwrap().to_owned();
    let twice = output(&consortium.programs.gateway, &rotate).unwrap();
    assert!(String::from_utf8_lossy(&twice.stderr).contains("laid out already"), "{twice:?}");
    consortium.start_gateway().unwrap();
    assert!(!dir.join("keys/ledger-next.key").exists());
    assert_eq!(auditor.entries(Some("ledger.key-rotated")).unwrap().len(), 1);

    // One more entry, so that the head is signed with the new key alone.
    consortium.add_client("late", "Late Inc", "model-developer").unwrap();
    let registered = || Ok(auditor.entries(Some("client.registered"))?.get(2).map(|_| ()));
    wait_until("the late client", Duration::from_secs(30), registered, String::new).unwrap();
    cosigned("cosignatures under the second key", &mut consortium);
    consortium.expect_running().unwrap();
    let after = folder.path().join("after");
    auditor.export_ledger(&after).unwrap();
    let with_key = ["verify", after.to_str().unwrap(), "--key", &new_key];
    call(&consortium.programs.audit, &with_key).unwrap();
    call(&consortium.programs.audit, &["diff", before.to_str().unwrap(), after.to_str().unwrap()]).unwrap();
}
