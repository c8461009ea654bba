//! Sets of policies that must not be used, each with the reason that must be given.
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::wildcard_enum_match_arm,
    reason = "a test reports by panicking, its helpers too"
)]

use std::fs;
use std::path::Path;

use konclave_policies::authorization::{Action, Authorizer, Decision, LoadError, Principal, Role};
use tempfile::TempDir;

/// A copy of the built-in policies, to be spoiled.
fn copy() -> TempDir {
    let folder = TempDir::new().unwrap();
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("authorization");
    for entry in fs::read_dir(source).unwrap() {
        let path = entry.unwrap().path();
        fs::copy(&path, folder.path().join(path.file_name().unwrap())).unwrap();
    }
    folder
}

fn refused_with(extra: &str) -> LoadError {
    let folder = copy();
    fs::write(folder.path().join("more.cedar"), extra).unwrap();
    Authorizer::load(folder.path()).unwrap_err()
}

fn refused_after(file: &str, from: &str, to: &str) -> LoadError {
    let folder = copy();
    let path = folder.path().join(file);
    let text = fs::read_to_string(&path).unwrap();
    assert!(text.contains(from), "{file} no longer holds {from}");
    fs::write(&path, text.replace(from, to)).unwrap();
    Authorizer::load(folder.path()).unwrap_err()
}

#[test]
fn the_copy_is_sound_and_a_good_addition_is_used() {
    let folder = copy();
    let before = Authorizer::load(folder.path()).unwrap();
    let more = "@id(\"more.metrics\") permit (principal in Konclave::Role::\"site\", \
                action == Konclave::Action::\"read-metrics\", resource);";
    fs::write(folder.path().join("more.cedar"), more).unwrap();
    let after = Authorizer::load(folder.path()).unwrap();
    assert_ne!(before.digest(), after.digest());
    let site = Principal { id: "s".to_owned(), roles: vec![Role::Site], organisation: "o".to_owned() };
    let ask = Action::ReadMetrics.on("metrics", None);
    assert!(!before.decide(&site, Action::ReadMetrics, &ask).allow);
    assert_eq!(after.decide(&site, Action::ReadMetrics, &ask).policy_ids, ["more.metrics"]);
}

#[test]
fn policies_that_do_not_fit_the_schema() {
    let faults = [
        // A misspelt role, action, attribute; a comparison that can never hold; an unguarded option.
        ("principal in Konclave::Role::\"dataowner\"", "true", "dataowner"),
        ("principal", "resource.owner == principal.organization", "organization"),
        ("principal", "resource has owner && resource.owner == 7", "x.y"),
        ("principal", "resource.owner == principal.organisation", "owner"),
        ("principal", "principal.organisation == \"a\" && 1 < \"b\"", "x.y"),
    ];
    for (scope, condition, named) in faults {
        let text = format!(
            "@id(\"x.y\") permit ({scope}, action == Konclave::Action::\"read-job\", resource) when {{ {condition} }};"
        );
        match refused_with(&text) {
            LoadError::Invalid { faults } => {
                assert!(
                    faults.iter().any(|fault| fault.starts_with("more.cedar: ") && fault.contains(named)),
                    "{faults:?}"
                );
            }
            other => panic!("{text}: {other}"),
        }
    }
    let unknown_action =
        "@id(\"x.y\") permit (principal, action == Konclave::Action::\"read-jobs\", resource);";
    assert!(matches!(refused_with(unknown_action), LoadError::Invalid { .. }));
    // Never true: a warning to Cedar, a refusal here.
    let impossible = "@id(\"x.y\") permit (principal, action == Konclave::Action::\"read-job\", resource) \
                      when { resource is Konclave::Model };";
    assert!(matches!(refused_with(impossible), LoadError::Invalid { .. }));
}

#[test]
fn policies_that_no_decision_could_name() {
    let nameless = "@id(\"x.y\") permit (principal in Konclave::Role::\"site\", action == Konclave::Action::\"read-job\", resource);\n\
                    permit (principal in Konclave::Role::\"site\", action == Konclave::Action::\"read-job\", resource);";
    assert!(matches!(refused_with(nameless), LoadError::MissingId { position: 2, .. }));
    for id in ["", " ", Decision::DEFAULT_DENY, Decision::EVALUATION_ERROR] {
        assert!(
            matches!(refused_with(&nameless.replace("x.y", id)), LoadError::MissingId { position: 1, .. }),
            "{id}"
        );
    }
    let again = &nameless[..nameless.find('\n').unwrap()].replace("x.y", "jobs.stop");
    match refused_with(again) {
        LoadError::DuplicateId { file, id, first } => {
            assert_eq!(
                (file.as_str(), id.as_str(), first.as_str()),
                ("more.cedar", "jobs.stop", "jobs.cedar")
            );
        }
        other => panic!("{other}"),
    }
    let template = "@id(\"x.y\") permit (principal == ?principal, action, resource);";
    assert!(matches!(refused_with(template), LoadError::Template { .. }));
}

#[test]
fn text_that_is_not_cedar_is_refused_with_its_line() {
    match refused_with("// a comment\n\npermit (principal, action, resourc);") {
        LoadError::Syntax { file, line, .. } => assert_eq!((file.as_str(), line), ("more.cedar", 3)),
        other => panic!("{other}"),
    }
    match refused_after("konclave.cedarschema", "entity Member in [Role]", "entity Member within [Role]") {
        LoadError::Schema { file, line, .. } => {
            let schema = include_str!("../authorization/konclave.cedarschema");
            let expected = schema.lines().position(|text| text.contains("entity Member")).unwrap() + 1;
            assert_eq!((file.as_str(), line), ("konclave.cedarschema", expected));
        }
        other => panic!("{other}"),
    }
}

#[test]
fn a_schema_that_lacks_an_action_or_moves_it_is_refused() {
    // The policies still fit such a schema; the gateway's questions would not.
    let lacking = refused_after(
        "konclave.cedarschema",
        "action \"read-status\", \"read-metrics\"",
        "action \"read-status\", \"read-metric\"",
    );
    assert!(matches!(lacking, LoadError::Invalid { .. }), "{lacking}");
    let folder = copy();
    for name in ["contribution", "isolation", "jobs", "ledger", "platform"] {
        fs::remove_file(folder.path().join(format!("{name}.cedar"))).unwrap();
    }
    let one = "@id(\"x.y\") permit (principal in Konclave::Role::\"site\", action == Konclave::Action::\"read-job\", resource);";
    fs::write(folder.path().join("one.cedar"), one).unwrap();
    Authorizer::load(folder.path()).unwrap();
    let schema = folder.path().join("konclave.cedarschema");
    let text = fs::read_to_string(&schema).unwrap().replace("\"read-metrics\"", "\"read-metric\"");
    fs::write(&schema, text).unwrap();
    match Authorizer::load(folder.path()).unwrap_err() {
        LoadError::SchemaLacks { action, .. } => assert_eq!(action, Action::ReadMetrics),
        other => panic!("{other}"),
    }
}

#[test]
fn folders_that_hold_no_set_of_policies() {
    let folder = TempDir::new().unwrap();
    assert!(matches!(Authorizer::load(folder.path()), Err(LoadError::SchemaCount { .. })));
    assert!(matches!(Authorizer::load(&folder.path().join("absent")), Err(LoadError::Unreadable { .. })));
    let schema = include_str!("../authorization/konclave.cedarschema");
    fs::write(folder.path().join("a.cedarschema"), schema).unwrap();
    assert!(matches!(Authorizer::load(folder.path()), Err(LoadError::NoPolicies)));
    fs::write(folder.path().join("b.cedarschema"), schema).unwrap();
    assert!(matches!(Authorizer::load(folder.path()), Err(LoadError::SchemaCount { .. })));
}

#[test]
fn a_policy_that_fails_to_evaluate_denies_and_is_named() {
    // Strict validation lets integer overflow through; Cedar alone would skip this forbid and allow.
    let folder = copy();
    let failing = "@id(\"more.overflow\") forbid (principal, action == Konclave::Action::\"read-status\", resource) \
                   when { 9223372036854775807 + (if principal.organisation == \"o\" then 1 else 0) == 0 };";
    fs::write(folder.path().join("more.cedar"), failing).unwrap();
    let authorizer = Authorizer::load(folder.path()).unwrap();
    let ask = |organisation: &str| {
        let site =
            Principal { id: "s".to_owned(), roles: vec![Role::Site], organisation: organisation.to_owned() };
        authorizer.decide(&site, Action::ReadStatus, &Action::ReadStatus.on("it", None))
    };
    assert!(ask("p").allow);
    let denied = ask("o");
    assert!(!denied.allow);
    assert_eq!(denied.policy_ids, [Decision::EVALUATION_ERROR, "more.overflow"]);
}
