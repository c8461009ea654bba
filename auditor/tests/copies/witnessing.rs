use super::*;
use consortium::{enrolled, log_key, witness as signer};
use konclave_ledger::witness::WitnessState;

/// A copy of 300 entries, three sites enrolled and two of them witnesses of its head.
fn copy() -> (TempDir, Ledger, TempDir) {
    let (live, mut ledger) = open();
    let status = said(&Record::WitnessStatus {
        required: 2,
        enrolled: 3,
        quorum: true,
        witnessed: 4,
        witnesses: vec!["site-a".into(), "site-b".into()],
    });
    let mut drafts = vec![created()];
    drafts.extend(["site-a", "site-b", "site-c"].map(enrolled));
    drafts.push(status);
    drafts.extend((5..300).map(draft));
    ledger.append(drafts, at(0)).unwrap();
    cosign(&mut ledger, &["site-a", "site-c"]);
    let folder = export(&ledger);
    (folder, ledger, live)
}

fn cosign(ledger: &mut Ledger, sites: &[&str]) {
    let head = ledger.head();
    let proof = ledger.consistency_proof(0, head.size).unwrap();
    let note = ledger.checkpoint_note();
    let seen = WitnessState::new(head.origin).advance(note.as_bytes(), &log_key(), &proof).unwrap();
    for site in sites {
        ledger.add_cosignature(&seen.cosign(&signer(site), at(60)).line().to_string()).unwrap();
    }
}

fn status(folder: &Path, rest: &[&dyn AsRef<std::ffi::OsStr>]) -> (i32, String) {
    let key = log_key().to_string();
    let mut arguments: Vec<&dyn AsRef<std::ffi::OsStr>> = vec![&"witness", &folder, &"--key", &key];
    arguments.extend(rest);
    let output = run(&arguments);
    (code(&output), text(&output.stdout).to_owned() + text(&output.stderr))
}

#[test]
fn says_who_cosigned_and_what_the_log_recorded() {
    let (folder, _ledger, _live) = copy();
    let (code, said) = status(folder.path(), &[&"--quorum", &"2"]);
    assert_eq!(code, 0, "{said}");
    assert!(
        said.starts_with("OK  konclave.example/ledger: 300 entries, cosigned by 2 of 3 witnesses"),
        "{said}"
    );
    assert!(said.contains("konclave.example/site-a of site-a: 2026-01-01T00:01:00.000Z"), "{said}");
    assert!(said.contains("konclave.example/site-b of site-b: has not cosigned"), "{said}");
    assert!(said.contains("entry 4 (2026-01-01T00:00:00.000Z): quorum of 2 of 3 reached"), "{said}");
    let (code, said) = status(folder.path(), &[&"--quorum", &"3"]);
    assert!(code == 2 && said.contains("MISSED: 2 cosignatures, 3 asked for"), "{said}");
    let (_, json) = status(folder.path(), &[&"--json"]);
    let json: serde_json::Value = serde_json::from_str(&json).unwrap();
    assert_eq!(json["witnesses"][0]["cosigned"], at(60).unix_seconds());

    let checkpoint = folder.path().join("checkpoint");
    let note = std::fs::read_to_string(&checkpoint).unwrap();
    std::fs::write(&checkpoint, note.replace("/site-a ", "/site-z ")).unwrap();
    let (code, said) = status(folder.path(), &[]);
    assert!(code == 2 && said.contains("no such witness is enrolled"), "{said}");
}

#[test]
fn heads_that_others_were_shown_are_compared() {
    let (folder, mut ledger, _live) = copy();
    let notes = tempfile::tempdir().unwrap();
    let write = |name: &str, text: &str| {
        let path = notes.path().join(name);
        std::fs::write(&path, text).unwrap();
        path
    };
    let same = write("same", &ledger.checkpoint_note());
    ledger.append((300..400).map(draft).collect(), at(1)).unwrap();
    let ahead = write("ahead", &ledger.checkpoint_note());
    let later = export(&ledger);
    let (code, said) = status(folder.path(), &[&"--note", &same, &ahead]);
    assert!(code == 0 && said.contains("the same head") && said.contains("AHEAD of this copy"), "{said}");
    let (code, said) = status(later.path(), &[&"--note", &same]);
    assert!(code == 0 && said.contains("an earlier head"), "{said}");

    // The same log's key under other histories: of the same size, and shorter.
    for size in [300, 150] {
        let (_live, other) = grown(size);
        let fork = write("fork", &other.checkpoint_note());
        let (code, said) = status(folder.path(), &[&"--note", &fork]);
        assert!(code == 2 && said.contains("FORK") && said.contains(&other.checkpoint_note()), "{said}");
        assert!(said.contains("prove what the operator did"), "{said}");
    }
    let unsigned = write("unsigned", &ledger.checkpoint_note().replace("\n400\n", "\n399\n"));
    let (code, said) = status(later.path(), &[&"--note", &unsigned]);
    assert!(code == 1 && said.contains("not signed by the log"), "{said}");
    let nonsense = write("nonsense", "nonsense");
    assert_eq!(status(later.path(), &[&"--note", &nonsense]).0, 1);
}
