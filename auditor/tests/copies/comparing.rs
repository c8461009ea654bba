use super::*;
use konclave_audit::{Difference, Older, Verdict, diff};
use konclave_ledger::SigningKey;

fn compare(older: &Path, newer: &Path) -> Difference {
    let key = Some(consortium::log_key());
    diff(&Older::open(older).unwrap(), &Folder::open(newer).unwrap(), key, Some(root())).unwrap()
}

/// Two copies of one log that differ from entry `first` on.
fn forked(first: u64, sizes: [u64; 2]) -> [TempDir; 2] {
    [(0, sizes[0]), (1, sizes[1])].map(|(side, size)| {
        let (_live, mut ledger) = grown(first);
        let next = (first..size).map(|number| draft(number + side * 1000));
        ledger.append(next.collect(), at(1)).unwrap();
        export(&ledger)
    })
}

#[test]
fn what_was_added_is_listed() {
    let (_live, mut ledger) = grown(300);
    let older = export(&ledger);
    assert_eq!(compare(older.path(), older.path()).verdict, Verdict::Same);
    ledger.append((300..302).map(draft).collect(), at(60)).unwrap();
    ledger.append((302..700).map(draft).collect(), at(120)).unwrap();
    let newer = export(&ledger);
    for side in [older.path().to_path_buf(), older.path().join("checkpoint")] {
        let difference = compare(&side, newer.path());
        assert!(difference.is_sound() && difference.verdict == Verdict::Extended, "{difference}");
        let added = difference.added.unwrap();
        assert_eq!((added.entries, added.actions["action.0"], added.actions.len()), (400, 80, 5));
        assert_eq!(added.first_time.as_deref(), Some("2026-01-01T00:01:00.000Z"));
        assert_eq!(added.last_time.as_deref(), Some("2026-01-01T00:02:00.000Z"));
    }
    let output = run(&[&"diff", &older.path(), &newer.path()]);
    assert_eq!(code(&output), 0);
    assert!(text(&output.stdout).starts_with("EXTENDED  konclave.example/ledger: the 300 entries"));
}

#[test]
fn fewer_entries_are_a_rollback() {
    let (_live, mut ledger) = grown(300);
    let older = export(&ledger);
    ledger.append((300..600).map(draft).collect(), at(60)).unwrap();
    let newer = export(&ledger);
    let output = run(&[&"diff", &newer.path(), &older.path()]);
    assert_eq!(code(&output), 2);
    assert!(text(&output.stdout).starts_with("ROLLBACK"), "{}", text(&output.stdout));
    assert!(text(&output.stdout).contains("300 fewer"));
    assert_eq!(compare(newer.path(), older.path()).first_difference, None);
}

#[test]
fn a_fork_names_the_first_entry_and_prints_both_heads() {
    for (first, sizes) in [(300, [600, 600]), (255, [400, 700]), (256, [257, 5_000]), (1, [2, 3])] {
        let [one, other] = forked(first, sizes);
        let difference = compare(one.path(), other.path());
        assert_eq!(difference.verdict, Verdict::Fork, "{first}: {difference}");
        assert_eq!(difference.first_difference, Some(first), "{difference}");
        let notes =
            [&one, &other].map(|side| std::fs::read_to_string(side.path().join("checkpoint")).unwrap());
        let output = run(&[&"diff", &one.path().join("checkpoint"), &other.path()]);
        assert_eq!(code(&output), 2);
        assert!(
            notes.iter().all(|note| text(&output.stdout).contains(note.as_str())),
            "{}",
            text(&output.stdout)
        );
    }
}

#[test]
fn a_head_that_the_log_did_not_sign_proves_nothing_and_damage_is_no_fork() {
    let [one, other] = forked(300, [600, 700]);
    let checkpoint = one.path().join("checkpoint");
    let note = std::fs::read_to_string(&checkpoint).unwrap();
    let stranger = SigningKey::from_seed(&[1; 32]);
    let text_of = format!("{}\n", note.split_once("\n\n").unwrap().0);
    let forged = konclave_ledger::Checkpoint::parse_text(&text_of).unwrap().sign(&stranger).to_string();
    std::fs::write(&checkpoint, forged).unwrap();
    let difference = compare(one.path(), other.path());
    assert_eq!(difference.verdict, Verdict::NotSigned);
    assert!(!difference.is_sound() && difference.older.signed_by.is_none());
    std::fs::write(&checkpoint, note).unwrap();

    let (_live, mut ledger) = grown(300);
    let older = export(&ledger);
    ledger.append((300..700).map(draft).collect(), at(60)).unwrap();
    let newer = export(&ledger);
    replace(&newer.path().join("tile/entries/000"), "because of 7\"", "because of 8\"");
    let tile = newer.path().join("tile/0/001");
    let mut bytes = std::fs::read(&tile).unwrap();
    bytes[32 * 44] ^= 1;
    std::fs::write(&tile, bytes).unwrap();
    assert_eq!(compare(older.path(), newer.path()).verdict, Verdict::Damaged);
    assert_eq!(code(&run(&[&"diff", &older.path(), &newer.path()])), 2);
    assert_eq!(code(&run(&[&"diff", &older.path().join("tile"), &newer.path()])), 1);
}
