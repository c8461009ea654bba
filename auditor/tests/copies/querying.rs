use super::*;
use konclave_ledger::Leaf;

fn copy() -> TempDir {
    let (_live, mut ledger) = grown(300);
    ledger.append((300..600).map(draft).collect(), at(86_400)).unwrap();
    export(&ledger)
}

fn found(folder: &Path, conditions: &[&str]) -> Vec<u64> {
    let mut arguments: Vec<&dyn AsRef<std::ffi::OsStr>> = vec![&"query", &folder, &"--json"];
    arguments.extend(conditions.iter().map(|text| text as &dyn AsRef<std::ffi::OsStr>));
    let output = run(&arguments);
    assert_eq!(code(&output), 0, "{}", text(&output.stderr));
    text(&output.stdout).lines().map(|line| Leaf::parse(line.as_bytes()).unwrap().seq).collect()
}

#[test]
fn each_condition_finds_the_entries_that_fulfil_it() {
    let folder = copy();
    let all = |matches: fn(u64) -> bool| (1..600).filter(|number| matches(*number)).collect::<Vec<u64>>();
    let find = |conditions: &[&str]| found(folder.path(), conditions);
    assert_eq!(find(&["--actor", "actor-1"]), all(|n| n % 3 == 1));
    assert_eq!(find(&["--action", "action.2"]), all(|n| n % 5 == 2));
    assert_eq!(find(&["--object", "object/3"]), all(|n| n % 7 == 3));
    assert_eq!(find(&["--site", "site-2"]), all(|n| n % 4 == 2));
    assert_eq!(find(&["--job", "job-2"]), all(|n| n % 3 == 2));
    assert_eq!(find(&["--round", "1"]), all(|n| n % 2 == 1));
    assert_eq!(find(&["--since", "2026-01-02"]), all(|n| n >= 300));
    assert_eq!(
        find(&["--until", "2026-01-02T00:00:00Z", "--actor", "actor-0"]),
        all(|n| n < 300 && n % 3 == 0)
    );
    assert_eq!(find(&["--job", "job-2", "--round", "1", "--limit", "3"]), [5, 11, 17]);
    assert_eq!(find(&["--limit", "0"]), [0_u64; 0]);
    assert_eq!(find(&["--site", "nowhere"]), [0_u64; 0]);
}

#[test]
fn people_get_a_table_and_are_told_what_was_not_checked() {
    let folder = copy();
    let output = run(&[&"query", &folder.path(), &"--object", &"object/3", &"--limit", &"2"]);
    let lines: Vec<&str> = text(&output.stdout).lines().collect();
    assert_eq!(lines.len(), 3, "{lines:?}");
    assert!(lines[0].contains("entry") && lines[0].ends_with("reason"));
    assert!(
        lines[1].starts_with("       3  2026-01-01T00:00:00.000Z  actor-0")
            && lines[1].ends_with("because of 3")
    );
    assert!(text(&output.stderr).contains("2 of 600 entries") && text(&output.stderr).contains("verify"));
    assert_eq!(code(&run(&[&"query", &folder.path(), &"--since", &"yesterday"])), 1);
}

#[test]
fn an_entry_that_does_not_fit_its_tile_is_not_shown() {
    let folder = copy();
    replace(&folder.path().join("tile/entries/001"), "because of 303", "because of 999");
    let output = run(&[&"query", &folder.path(), &"--object", &"object/2"]);
    assert_eq!(code(&output), 2);
    assert!(text(&output.stderr).contains("entry 303 does not fit its tile"), "{}", text(&output.stderr));
    assert!(
        !text(&output.stdout).contains("because of 999") && text(&output.stdout).contains("because of 310")
    );
    assert_eq!(code(&run(&[&"query", &folder.path(), &"--object", &"object/3"])), 0);

    std::fs::remove_file(folder.path().join("tile/entries/000")).unwrap();
    let output = run(&[&"query", &folder.path(), &"--object", &"object/3"]);
    assert_eq!(code(&output), 2);
    assert!(text(&output.stderr).contains("entries from 0 on are missing"), "{}", text(&output.stderr));
}
