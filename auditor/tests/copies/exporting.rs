use super::*;
use konclave_audit::{ExportFault, KeySource, check_export};
use konclave_ledger::{Hash, InclusionProof, Leaf, tree};
use proptest::prelude::*;

fn export_to(folder: &Path, format: &str, rest: &[&str]) -> (Output, TempDir) {
    let target = tempfile::tempdir().unwrap();
    let file = target.path().join("export");
    let mut arguments: Vec<&dyn AsRef<std::ffi::OsStr>> =
        vec![&"export", &folder, &"--format", &format, &"--out", &file];
    arguments.extend(rest.iter().map(|text| text as &dyn AsRef<std::ffi::OsStr>));
    (run(&arguments), target)
}

fn exported(folder: &Path, format: &str, rest: &[&str]) -> Vec<u8> {
    let (output, target) = export_to(folder, format, rest);
    assert_eq!(code(&output), 0, "{}", text(&output.stderr));
    std::fs::read(target.path().join("export")).unwrap()
}

/// An entry that attacks whoever opens an export.
fn hostile() -> EntryDraft {
    let mut hostile = draft(1);
    hostile.actor = "=HYPERLINK(\"http://x\")".into();
    hostile.reason = "<script>alert(1)</script>".into();
    hostile.object = "@SUM(1)".into();
    hostile
}

#[test]
fn json_and_ndjson_are_proven_without_the_ledger() {
    let (_live, ledger) = grown(700);
    let folder = export(&ledger);
    for format in ["json", "ndjson"] {
        let bytes = exported(folder.path(), format, &["--action", "action.3"]);
        let checked = check_export(bytes.as_slice(), Some(&consortium::log_key()), &mut |_| {}).unwrap();
        assert_eq!((checked.entries, checked.first, checked.last), (140, Some(3), Some(698)));
        assert_eq!((checked.size, checked.root, checked.is_complete()), (700, ledger.head().root, false));
        assert_eq!(checked.key_source, KeySource::Given);
        let all = check_export(exported(folder.path(), format, &[]).as_slice(), None, &mut |_| {}).unwrap();
        assert!(all.is_complete() && all.key_source == KeySource::FromTheLogItself);
        let none = exported(folder.path(), format, &["--site", "nowhere"]);
        assert_eq!(check_export(none.as_slice(), None, &mut |_| {}).unwrap().entries, 0);
    }
    // Any JSON reader gets the same.
    let whole: serde_json::Value =
        serde_json::from_slice(&exported(folder.path(), "json", &["--object", "object/3"])).unwrap();
    let entries = whole["entries"].as_array().unwrap();
    assert_eq!((entries.len() as u64, &whole["count"]), (100, &100.into()));
    for entry in entries {
        let (index, stored) = (entry["index"].as_u64().unwrap(), entry["leaf"].as_str().unwrap());
        assert_eq!(stored.as_bytes(), ledger.leaf_bytes(index).unwrap().unwrap());
        let hashes: Vec<Hash> = serde_json::from_value(entry["proof"].clone()).unwrap();
        let proof = InclusionProof { index, size: 700, hashes };
        proof.verify(&tree::leaf_hash(stored.as_bytes()), &ledger.head().root).unwrap();
    }
}

/// The same export in a gateway's words (openapi: `ExportHead`, `ExportedEntry`, `ExportEnd`).
fn as_a_gateway_gives_it(ndjson: &[u8], filter: &str) -> String {
    let text = std::str::from_utf8(ndjson).unwrap();
    let head: serde_json::Value = serde_json::from_str(text.lines().next().unwrap()).unwrap();
    let origin = head["checkpoint"].as_str().unwrap().lines().next().unwrap();
    let filter: serde_json::Value = serde_json::from_str(filter).unwrap();
    let head = serde_json::json!({"origin": origin, "checkpoint": head["checkpoint"], "filter": filter});
    let rest = text.split_once('\n').unwrap().1;
    format!("{head}\n{}", rest.replace("{\"count\":", "{\"end\":"))
}

#[test]
fn a_gateways_export_is_checked_too_and_asks_for_the_key() {
    let (_live, ledger) = grown(300);
    let folder = export(&ledger);
    let filter = r#"{"action":"action.3","since":"2026-01-01T00:00:00Z"}"#;
    let good = as_a_gateway_gives_it(&exported(folder.path(), "ndjson", &["--action", "action.3"]), filter);
    let check = |text: &str, key| check_export(text.as_bytes(), key, &mut |_| {});
    let key = consortium::log_key();
    let checked = check(&good, Some(&key)).unwrap();
    assert_eq!((checked.entries, checked.size, checked.key_source), (60, 300, KeySource::Given));
    let refused = check(&good, None).unwrap_err();
    assert!(!refused.is_tampering() && refused.to_string().contains("--key"), "{refused}");
    let line = good.lines().count();
    for (bad, said) in [
        (good.replace("action.3\",\"since", "action.2\",\"since"), "filter"),
        (good.replace("2026-01-01T00:00:00Z", "soon"), "RFC 3339"),
        (good.replacen("\"origin\":\"", "\"origin\":\"x", 1), "the line says that the log is x"),
        (good.replace("{\"end\":60}", "{\"end\":61}"), "counts 61 entries"),
        (good.lines().take(line - 1).collect::<Vec<_>>().join("\n"), "cut short"),
    ] {
        let refused = check(&bad, Some(&key)).unwrap_err();
        assert!(refused.to_string().contains(said), "{said}: {refused}");
    }
}

#[test]
fn a_changed_export_names_the_line() {
    let (_live, ledger) = grown(300);
    let folder = export(&ledger);
    let target = tempfile::tempdir().unwrap();
    let file = target.path().join("export");
    for format in ["json", "ndjson"] {
        let bytes = exported(folder.path(), format, &["--object", "object/3"]);
        let good = String::from_utf8(bytes).unwrap();
        let lines: Vec<&str> = good.lines().collect();
        let check = |text: String| {
            std::fs::write(&file, text).unwrap();
            run(&[&"check", &file, &"--key", &consortium::log_key().to_string()])
        };
        assert_eq!(code(&check(good.clone())), 0);
        let without = |at: usize| [&lines[..at], &lines[at + 1..]].concat().join("\n");
        let twice = [&lines[..3], &lines[2..]].concat().join("\n");
        let cases = [
            (good.replace("because of 10\\\"", "because of 11\\\""), "line 3: entry 10"),
            (good.replace("\"index\":17", "\"index\":18"), "line 4: entry 18 says that it is entry 17"),
            (good.replace("object/3", "object/4"), "line 2"),
            (without(4), "counts 43 entries, but there are 42"),
            (twice, "line 4: entry 10 does not come after entry 10"),
            (lines[..lines.len() - 1].join("\n"), "cut short"),
            (format!("{good}{{}}\n"), "something follows the end"),
            (good.replacen("\"proof\":[\"", "\"proof\":[\"00", 1), "line 2"),
            (good.replacen("\\n300\\n", "\\n301\\n", 1), "line 1"),
            (
                good.replacen("{\"index\":3", &format!("{}{{\"index\":3", " ".repeat(300_000)), 1),
                "line 2: the line has more",
            ),
        ];
        for (at, (text_of, word)) in cases.into_iter().enumerate() {
            assert_ne!(text_of, good, "{format} {at}");
            let output = check(text_of);
            let error = text(&output.stderr).to_owned() + text(&output.stdout);
            assert!(code(&output) == 2 && error.contains(word), "{format} {at}: {error}");
        }
        let stranger = consortium::witness("x").verifier_key().to_string();
        assert_eq!(code(&run(&[&"check", &file, &"--key", &stranger])), 2);
    }
    for (text_of, code_of) in [("", 1), ("{}", 1), ("not json\n", 1)] {
        std::fs::write(&file, text_of).unwrap();
        assert_eq!(code(&run(&[&"check", &file])), code_of, "{text_of}");
    }
    assert_eq!(code(&run(&[&"check", &target.path().join("nowhere")])), 1);
}

#[test]
fn tables_and_pages_are_safe_to_open() {
    let mut drafts = vec![hostile()];
    drafts.extend((2..40).map(draft));
    let folder = copy_of(drafts);
    let (output, target) = export_to(folder.path(), "csv", &[]);
    assert_eq!(code(&output), 0, "{}", text(&output.stderr));
    let note = std::fs::read(target.path().join("export.checkpoint")).unwrap();
    assert_eq!(note, std::fs::read(folder.path().join("checkpoint")).unwrap());
    let mut rows = csv::Reader::from_path(target.path().join("export")).unwrap();
    let columns = rows.headers().unwrap().clone();
    let rows: Vec<csv::StringRecord> = rows.records().map(Result::unwrap).collect();
    assert_eq!(rows.len(), 40);
    let cell = |row: usize, name: &str| {
        rows[row][columns.iter().position(|column| column == name).unwrap()].to_owned()
    };
    assert_eq!(cell(1, "actor"), "'=HYPERLINK(\"http://x\")");
    assert_eq!(cell(1, "object"), "'@SUM(1)");
    assert_eq!((cell(7, "index"), cell(7, "reason")), ("7".into(), "because of 7".into()));
    assert_eq!(cell(39, "proof").split(' ').count(), 4);

    let page = String::from_utf8(exported(folder.path(), "html", &["--until", "2027-01-01"])).unwrap();
    assert!(!page.contains("<script") && page.contains("&lt;script&gt;"), "escaped");
    assert!(page.contains("<svg") && page.contains("Content-Security-Policy"));
    assert!(!page.contains("src=") && !page.contains("href="), "nothing is loaded");
    assert_eq!(page.matches("<tr id=").count(), 40);
    assert!(page.contains("40 of 40 (until 2027-01-01T00:00:00.000Z)"));
}

/// A name, and what is done to a copy.
type Change<'a> = (&'a str, &'a dyn Fn(&Path));

#[test]
fn nothing_is_exported_from_a_changed_ledger() {
    let (_live, ledger) = grown(300);
    let changes: [Change<'_>; 3] = [
        ("entry", &|path| replace(&path.join("tile/entries/000"), "because of 10\"", "because of 11\"")),
        ("tile", &|path| {
            let tile = path.join("tile/0/000");
            let mut bytes = std::fs::read(&tile).unwrap();
            bytes[0] ^= 1;
            std::fs::write(&tile, bytes).unwrap();
        }),
        ("checkpoint", &|path| replace(&path.join("checkpoint"), "\n300\n", "\n299\n")),
    ];
    for (name, change) in changes {
        let folder = export(&ledger);
        change(folder.path());
        let (output, target) = export_to(folder.path(), "ndjson", &["--object", "object/3"]);
        assert_eq!(code(&output), 2, "{name}: {}", text(&output.stderr));
        assert_eq!(std::fs::read_dir(target.path()).unwrap().count(), 0, "{name}");
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 300, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn any_bytes_are_read_without_a_panic(bytes in proptest::collection::vec(any::<u8>(), 0..400)) {
        let accepted = check_export(bytes.as_slice(), None, &mut |_| {}).is_ok();
        prop_assert!(!accepted);
    }

    /// Whatever is changed: what is still accepted says nothing that the log does not say.
    #[test]
    fn good_bytes_changed_a_little(
        edits in proptest::collection::vec((any::<prop::sample::Index>(), any::<u8>(), 0..4_u8), 1..4),
        layout in any::<bool>(),
    ) {
        let good = EXAMPLES.with(|examples| examples[usize::from(layout)].clone());
        let mut bytes = good.clone();
        for (at, value, edit) in edits {
            let at = at.index(bytes.len());
            match edit {
                0 => bytes[at] = value,
                1 => bytes.insert(at, value),
                2 => { bytes.remove(at); }
                _ => bytes.truncate(at.max(1)),
            }
        }
        match check_export(bytes.as_slice(), Some(&consortium::log_key()), &mut |_| {}) {
            Ok(checked) => prop_assert_eq!((checked.entries, checked.size), (3, 20)),
            Err(ExportFault::Read(error)) => prop_assert!(false, "{}", error),
            Err(ExportFault::NotAnExport(_) | ExportFault::Line { .. }) => {}
        }
    }
}

thread_local! {
    static EXAMPLES: [Vec<u8>; 2] = {
        let (_live, ledger) = grown(20);
        let folder = export(&ledger);
        ["json", "ndjson"].map(|format| exported(folder.path(), format, &["--object", "object/3"]))
    };
}

#[test]
fn leaves_are_the_stored_bytes() {
    let line = String::from_utf8(EXAMPLES.with(|examples| examples[1].clone())).unwrap();
    let line: serde_json::Value = serde_json::from_str(line.lines().nth(1).unwrap()).unwrap();
    assert_eq!(Leaf::parse(line["leaf"].as_str().unwrap().as_bytes()).unwrap().seq, 3);
}
