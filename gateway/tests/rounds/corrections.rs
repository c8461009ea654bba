//! Corrections: they say what was wrong, what is right and why, and change nothing of the entry.

use axum::http::{Method, StatusCode};
use konclave_ledger::{Hash, Leaf};
use konclave_openapi::corrections::{Correction, NewCorrection};
use konclave_openapi::deposits::Deposit;
use konclave_openapi::ledger::{EntryPage, EntryView};
use konclave_openapi::page::Page;
use serde_json::{Value, json};

use crate::ledger::deposit;
use crate::world::{World, auditor, council, developer, member, operator, site};

const PATH: &str = "/v1/ledger/corrections";

fn new(entry: u64, field: &str, is: Value) -> NewCorrection {
    let reason = "the file named another amount".to_owned();
    NewCorrection { entry, field: field.to_owned(), is, reason }
}

/// A world with a deposit of site 1; its entry.
async fn deposited() -> (World, u64) {
    let world = World::new(5).await;
    let registered: Deposit = world.post(&member(&site(1)), "/v1/deposits", &deposit(&world, 50)).await;
    (world, registered.entry)
}

#[tokio::test]
async fn a_correction_names_what_it_corrects_and_why() {
    let (mut world, entry) = deposited().await;
    let before: EntryView = world.get(&auditor(), &format!("/v1/ledger/entries/{entry}")).await;
    let made: Correction =
        world.post(&operator(), PATH, &new(entry, "/record/lines/0/records", json!(60))).await;
    assert_eq!((made.entry, made.was.clone(), made.is.clone()), (entry, json!(50), json!(60)));
    assert_eq!((made.actor.as_str(), made.role.as_str()), ("operator", "operator"));
    assert_eq!(made.reason, "the file named another amount");
    // It went wrong itself, and is corrected in its turn.
    let again: Correction =
        world.post(&council(), PATH, &new(made.recorded_in, "/record/is", json!(61))).await;
    assert_eq!((again.entry, again.was.clone()), (made.recorded_in, json!(60)));
    // And the first value was right after all.
    let back: Correction =
        world.post(&council(), PATH, &new(entry, "/record/lines/0/records", json!(50))).await;
    assert_eq!(back.was, json!(50));

    world.restart().await;
    let after: EntryView = world.get(&auditor(), &format!("/v1/ledger/entries/{entry}")).await;
    assert_eq!((&after.leaf, &after.corrected_by), (&before.leaf, &vec![made.recorded_in, back.recorded_in]));
    let of_entry: Page<Correction> = world.get(&auditor(), &format!("{PATH}?entry={entry}")).await;
    assert_eq!(of_entry.items.iter().map(|item| item.recorded_in).collect::<Vec<_>>(), after.corrected_by);
    assert_eq!(of_entry.items[0].corrected_by, [again.recorded_in]);
    let first: Page<Correction> = world.get(&auditor(), &format!("{PATH}?limit=2")).await;
    assert_eq!(first.items, of_entry.items[..1].iter().cloned().chain([again.clone()]).collect::<Vec<_>>());
    let cursor = first.next_cursor.unwrap();
    let rest: Page<Correction> = world.get(&auditor(), &format!("{PATH}?limit=2&cursor={cursor}")).await;
    assert!(rest.items == [back] && rest.next_cursor.is_none());

    // The entry carries who, why, and the values before and after.
    let recorded: EntryView =
        world.get(&auditor(), &format!("/v1/ledger/entries/{}", made.recorded_in)).await;
    let leaf = Leaf::parse(recorded.leaf.as_bytes()).unwrap();
    assert_eq!((leaf.object, leaf.site.as_deref()), (format!("ledger/entries/{entry}"), Some("site-1")));
    assert_eq!((leaf.old, leaf.new), (Some(Hash::of(b"50")), Some(Hash::of(b"60"))));
    assert_eq!(
        leaf.record.to_value(),
        json!({"entry": entry, "field": "/record/lines/0/records", "was": 50, "is": 60})
    );
    // Auditors find it by the site.
    let of_site: EntryPage =
        world.get(&auditor(), "/v1/ledger/entries?site=site-1&action=entry.corrected").await;
    assert_eq!(of_site.items.len(), 3);
}

#[tokio::test]
async fn a_correction_is_for_whom_the_corrected_entry_is_for() {
    let (world, entry) = deposited().await;
    let made: Correction =
        world.post(&operator(), PATH, &new(entry, "/record/data_class", json!("benchmark"))).await;
    let deeper: Correction =
        world.post(&operator(), PATH, &new(made.recorded_in, "/reason", json!("it is a benchmark"))).await;
    let (owner, other) = (member(&site(1)), member(&site(2)));
    let seen: Page<Correction> = world.get(&owner, PATH).await;
    assert_eq!(
        seen.items,
        [Correction { corrected_by: vec![deeper.recorded_in], ..made.clone() }, deeper.clone()]
    );
    let seen: Page<Correction> = world.get(&other, PATH).await;
    assert!(seen.items.is_empty());
    world.refuses(&other, Method::GET, &format!("{PATH}?entry={entry}"), &(), 403).await;
    let query = "/v1/ledger/entries?action=entry.corrected";
    let seen: EntryPage = world.get(&owner, query).await;
    assert_eq!(seen.items.len(), 2);
    let seen: EntryPage = world.get(&other, query).await;
    assert!(seen.items.is_empty());
    for recorded in [made.recorded_in, deeper.recorded_in] {
        let path = format!("/v1/ledger/entries/{recorded}");
        let _: EntryView = world.get(&owner, &path).await;
        world.refuses(&other, Method::GET, &path, &(), 403).await;
    }
}

#[tokio::test]
async fn what_is_no_correction_is_refused() {
    let (world, entry) = deposited().await;
    let size = world.app().state().size;
    let good = new(entry, "/record/data_class", json!("benchmark"));
    for principal in [auditor(), developer(), member(&site(1))] {
        world.refuses(&principal, Method::POST, PATH, &good, 403).await;
    }
    let refuses = async |body: &NewCorrection, status: u16, says: &str| {
        let said = world.refuses(&operator(), Method::POST, PATH, body, status).await;
        assert!(said.contains(says), "{said}");
    };
    // An entry that is not there yet could be the correction itself.
    refuses(&new(size, "/reason", json!("x")), 404, "entry").await;
    refuses(&new(entry, "/record/data_class", json!("training")), 422, "is what the entry says").await;
    refuses(&new(entry, "/record/colour", json!("red")), 422, "is not a field").await;
    refuses(&new(entry, "/record/lines/01/records", json!(1)), 422, "is not a field").await;
    refuses(&new(entry, "record/data_class", json!("x")), 422, "no JSON pointer").await;
    refuses(&new(entry, &format!("/record/{}", "x".repeat(600)), json!("x")), 422, "no JSON pointer").await;
    for fixed in [
        "",
        "/v",
        "/origin",
        "/seq",
        "/prev",
        "/time",
        "/clock",
        "/software",
        "/actor",
        "/role",
        "/action",
        "/old",
        "/new",
        "/request_id",
        "/policy",
        "/commitments",
        "/commitments/0",
        "/statement",
        "/record",
        "/recording",
    ] {
        world.refuses(&operator(), Method::POST, PATH, &new(entry, fixed, json!("x")), 422).await;
    }
    for (reason, says) in
        [("", "say why"), (" \t ", "say why"), ("two\nlines", "one line"), (&"x".repeat(1001), "one line")]
    {
        refuses(&NewCorrection { reason: reason.to_owned(), ..good.clone() }, 422, says).await;
    }
    refuses(&new(entry, "/record/data_class", json!(0.5)), 422, "floating-point").await;
    refuses(&new(entry, "/record/data_class", json!("x".repeat(15_000))), 422, "bytes").await;
    world
        .refuses(
            &operator(),
            Method::POST,
            PATH,
            &json!({"entry": entry, "field": "/reason", "reason": "x"}),
            400,
        )
        .await;
    world
        .refuses(
            &operator(),
            Method::POST,
            PATH,
            &json!({"entry": -1, "field": "/reason", "is": 1, "reason": "x"}),
            400,
        )
        .await;

    // A correction's own facts are the gateway's, and the same twice says nothing new.
    let made: Correction = world.post(&operator(), PATH, &good).await;
    refuses(&good, 409, &format!("entry {}", made.recorded_in)).await;
    for fixed in ["/record/entry", "/record/field", "/record/was", "/site", "/object"] {
        refuses(&new(made.recorded_in, fixed, json!(1)), 422, "is fixed").await;
    }
    world.refuses(&operator(), Method::GET, &format!("{PATH}?entry=99999"), &(), 404).await;
    world.refuses(&operator(), Method::GET, &format!("{PATH}?cursor=x"), &(), 400).await;
}

#[tokio::test]
async fn a_correction_is_made_once_under_a_key() {
    let (world, entry) = deposited().await;
    let good = new(entry, "/record/data_class", json!("benchmark"));
    let (status, first) = world.post_once(&operator(), PATH, "key-1", &good).await;
    assert_eq!(status, StatusCode::CREATED);
    let size = world.app().state().size;
    let (status, again) = world.post_once(&operator(), PATH, "key-1", &good).await;
    assert_eq!((status, &again), (StatusCode::CREATED, &first));
    let other = new(entry, "/record/data_class", json!("both"));
    let (status, _) = world.post_once(&operator(), PATH, "key-1", &other).await;
    assert_eq!((status, world.app().state().size), (StatusCode::UNPROCESSABLE_ENTITY, size));
}
