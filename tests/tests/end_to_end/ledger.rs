//! The ledger over its life: contacts are erased, its key is changed, old copies are refused, auditors mirror it.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "the lints spare test functions, but not what they call"
)]

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use konclave_openapi::openings::{NewErasure, OpeningView};
use konclave_tests::consortium::{Consortium, call, output, wait_until};
use konclave_tests::partner::{ClientKey, PartnerClient};
use konclave_tests::search::Needles;
use ring::signature::{Ed25519KeyPair, KeyPair};
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

fn holds_files(folder: &Path) -> bool {
    let Ok(mut entries) = fs::read_dir(folder) else { return false };
    entries.any(|entry| {
        let path = entry.unwrap().path();
        path.is_file() || holds_files(&path)
    })
}

/// An auditor with a key file that `konclave-audit` reads.
struct Mirroring {
    program: PathBuf,
    arguments: Vec<String>,
    copy: PathBuf,
}

impl Mirroring {
    fn new(consortium: &Consortium, folder: &Path) -> Self {
        let (key, public) = (folder.join("mirror.key"), folder.join("mirror.pub"));
        let seed = [77; 32];
        let pair = Ed25519KeyPair::from_seed_unchecked(&seed).unwrap();
        let pem = |label: &str, head: &[u8], key: &[u8]| {
            let body = STANDARD.encode([head, key].concat());
            format!("-----BEGIN {label}-----\n{body}\n-----END {label}-----\n")
        };
        // RFC 8410, sections 4 and 7.
        let spki = [0x30, 0x2a, 0x30, 5, 6, 3, 0x2b, 0x65, 0x70, 3, 0x21, 0];
        let pkcs8 = [0x30, 0x2e, 2, 1, 0, 0x30, 5, 6, 3, 0x2b, 0x65, 0x70, 4, 0x22, 4, 0x20];
        fs::write(&public, pem("PUBLIC KEY", &spki, pair.public_key().as_ref())).unwrap();
        fs::write(&key, pem("PRIVATE KEY", &pkcs8, &seed)).unwrap();
        let text = |path: &Path| path.to_str().unwrap().to_owned();
        let (dir, public) = (text(&consortium.gateway_folder()), text(&public));
        let words =
            ["client", "add", "--dir", &dir, "--client-id", "mirror", "--organisation", "Audit Office"];
        let role = ["--role", "auditor", "--public-key", &public];
        call(&consortium.programs.gateway, &[&words[..], &role].concat()).unwrap();
        let copy = folder.join("mirrored");
        let root = fs::read_to_string(consortium.gateway_folder().join("consortium/root.pub")).unwrap();
        let (url, ca, copied, key) =
            (consortium.url.clone(), text(&consortium.ca_file()), text(&copy), text(&key));
        let words = [
            "mirror",
            &url,
            &copied,
            "--client",
            "mirror",
            "--key",
            &key,
            "--ca",
            &ca,
            "--root",
            root.trim(),
        ];
        let arguments = words.map(str::to_owned).to_vec();
        Self { program: consortium.programs.audit.clone(), arguments, copy }
    }

    fn run(&self) -> (Option<i32>, String) {
        let done = output(&self.program, &self.arguments).unwrap();
        let said = [done.stdout, done.stderr].concat();
        (done.status.code(), String::from_utf8(said).unwrap())
    }

    fn succeed(&self) -> String {
        let (code, said) = self.run();
        assert_eq!(code, Some(0), "{said}");
        said
    }

    /// Starts a run and kills it (kill -9) after a time, in the middle or not.
    fn kill_after(&self, time: Duration) {
        let mut run = Command::new(&self.program).args(&self.arguments).arg("--quiet").spawn().unwrap();
        std::thread::sleep(time);
        // It may have come to its end.
        let _ = run.kill();
        run.wait().unwrap();
    }

    fn size(&self) -> u64 {
        let note = fs::read_to_string(self.copy.join("checkpoint")).unwrap_or_default();
        note.lines().nth(1).map_or(0, |size| size.parse().unwrap())
    }

    fn verify(&self) {
        let root = self.arguments.last().unwrap();
        let words = ["verify".as_ref(), self.copy.as_os_str(), "--root".as_ref(), root.as_ref()];
        call(&self.program, &words).unwrap();
    }

    /// The checkpoints that were refused and kept.
    fn evidence(&self) -> usize {
        let beside = fs::read_dir(self.copy.parent().unwrap()).unwrap();
        let name = |entry: std::io::Result<fs::DirEntry>| entry.unwrap().file_name().into_string().unwrap();
        beside.map(name).filter(|name| name.starts_with("mirrored.refused-")).count()
    }
}

/// What a power cut or kill of a mirror leaves, and what a gateway with less of the ledger offers.
#[test]
fn a_mirror_follows_a_gateway_through_kills_and_refuses_one_that_rolled_back() {
    let (mut consortium, folder) = support::consortium(2, |plan| plan);
    let (_developer, auditor) = support::partners(&consortium);
    let mirroring = Mirroring::new(&consortium, folder.path());
    consortium.start_gateway().unwrap();
    consortium.start_members().unwrap();
    let members = consortium.members().count();
    let deposits = || Ok((auditor.deposits()?.len() >= members).then_some(()));
    wait_until("deposits", Duration::from_secs(60), deposits, || consortium.gateway_log(20)).unwrap();

    let said = mirroring.succeed();
    let first = mirroring.size();
    assert!(first > 8 && said.contains(&format!("{first} entries, {first} new")), "{said}");
    mirroring.verify();

    // What is new, and only that: no statement is fetched twice.
    let late = |consortium: &Consortium, count: usize| {
        for number in 0..count {
            let client = format!("late-{}-{number}", auditor.checkpoint().unwrap().size);
            consortium.add_client(&client, "Late Inc", "model-developer").unwrap();
            let known = || {
                let entries = auditor.entries(Some("client.registered"))?;
                Ok(entries.iter().any(|entry| entry.leaf.contains(&client)).then_some(()))
            };
            wait_until(&client, Duration::from_secs(30), known, String::new).unwrap();
        }
    };
    late(&consortium, 1);
    let said = mirroring.succeed();
    let second = mirroring.size();
    assert!(second > first && said.contains(&format!("{} new", second - first)), "{said}");
    mirroring.verify();

    // Killed anywhere, the copy is what it was or what it was to be, and the next run makes it whole.
    late(&consortium, 1);
    let (mut before, mut in_the_middle) = (mirroring.size(), 0);
    let incoming = mirroring.copy.with_file_name("mirrored.incoming");
    for step in 0..80 {
        if step % 4 == 3 {
            // From nothing: the longest way.
            let _ = fs::remove_dir_all(&mirroring.copy);
            let _ = fs::remove_dir_all(&incoming);
            before = 0;
        }
        mirroring.kill_after(Duration::from_millis(3 * step));
        let now = mirroring.size();
        assert!(now >= before, "{now} entries after a kill, {before} before");
        before = now;
        in_the_middle += usize::from(holds_files(&incoming));
    }
    assert!(in_the_middle > 0, "no run was killed in the middle");
    mirroring.succeed();
    mirroring.verify();
    let third = mirroring.size();
    assert!(third > second && !incoming.exists());

    // The operator brings an older ledger back, and the file that would have told the gateway is gone, too.
    consortium.kill_gateway();
    consortium.members().map(|member| member.site.clone()).collect::<Vec<_>>().iter().for_each(|site| {
        consortium.kill_member(site).unwrap();
    });
    let (ledger, backup) = (consortium.gateway_folder().join("ledger"), folder.path().join("older"));
    copy(&ledger, &backup);
    consortium.start_gateway().unwrap();
    late(&consortium, 2);
    mirroring.succeed();
    let newest = mirroring.size();
    assert!(newest > third);
    consortium.kill_gateway();
    fs::remove_dir_all(&ledger).unwrap();
    copy(&backup, &ledger);
    fs::remove_file(consortium.gateway_folder().join("ledger-head.seen")).unwrap();
    for client in fs::read_dir(consortium.gateway_folder().join("clients")).unwrap() {
        let path = client.unwrap().path();
        if path.file_name().unwrap().to_str().unwrap().starts_with("late-") {
            fs::remove_file(path).unwrap();
        }
    }
    consortium.start_gateway().unwrap();
    let (code, said) = mirroring.run();
    assert!(code == Some(2) && said.contains("ROLLBACK"), "{code:?} {said}");
    assert_eq!((mirroring.size(), mirroring.evidence()), (newest, 1));
    mirroring.verify();

    // Grown beyond the copy by other entries, it is a fork.
    late(&consortium, 1);
    while auditor.checkpoint().unwrap().size <= newest {
        late(&consortium, 1);
    }
    let (code, said) = mirroring.run();
    assert!(code == Some(2) && said.contains("FORK"), "{code:?} {said}");
    assert_eq!((mirroring.size(), mirroring.evidence()), (newest, 2));
    mirroring.verify();
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
