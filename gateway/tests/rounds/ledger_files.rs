//! The published files: what may be kept for ever, what must be asked for again, and in which media types.

use std::path::Path;

use axum::http::{Method, StatusCode};
use konclave_ledger::Hash;
use konclave_openapi::deposits::Deposit;
use konclave_openapi::ledger::SchemaList;

use crate::ledger::deposit;
use crate::world::{World, auditor, member, site};

struct File {
    media: String,
    lifetime: String,
    tag: String,
    bytes: Vec<u8>,
}

const FOR_EVER: &str = "private, max-age=31536000, immutable";

/// Reads a file, then asks for it again by its tag.
async fn file(world: &World, path: &str) -> File {
    let answer = world.answer(&auditor(), path, None).await;
    assert_eq!(answer.status(), StatusCode::OK, "{path}");
    let text = |name: &str| answer.headers()[name].to_str().unwrap().to_owned();
    let (media, lifetime, tag) = (text("content-type"), text("cache-control"), text("etag"));
    let bytes = axum::body::to_bytes(answer.into_body(), usize::MAX).await.unwrap().to_vec();
    assert_eq!(tag, format!("\"{}\"", Hash::of(&bytes)), "{path}");
    let again = world.answer(&auditor(), path, Some(("if-none-match", &tag))).await;
    assert_eq!(again.status(), StatusCode::NOT_MODIFIED, "{path}");
    assert_eq!(
        (again.headers()["etag"].to_str().unwrap(), again.headers()["cache-control"].to_str().unwrap()),
        (tag.as_str(), lifetime.as_str())
    );
    assert!(axum::body::to_bytes(again.into_body(), usize::MAX).await.unwrap().is_empty());
    let other = world.answer(&auditor(), path, Some(("if-none-match", "\"another\""))).await;
    assert_eq!(other.status(), StatusCode::OK, "{path}");
    File { media, lifetime, tag, bytes }
}

#[tokio::test]
async fn tiles_bundles_and_statements_never_change_and_the_checkpoint_does() {
    let world = World::new(5).await;
    let registered: Deposit = world.post(&member(&site(1)), "/v1/deposits", &deposit(&world, 50)).await;
    let statement = file(&world, &format!("/statements/{}.json", registered.deposit)).await;
    assert_eq!((statement.media.as_str(), statement.lifetime.as_str()), ("application/json", FOR_EVER));
    let (first, partial) = (file(&world, "/checkpoint").await, file(&world, "/tile/0/000.p/5").await);
    let bundle = file(&world, "/tile/entries/000.p/5").await;
    assert_eq!(
        (first.media.as_str(), first.lifetime.as_str()),
        ("text/plain; charset=utf-8", "private, no-cache")
    );
    world.refuses(&auditor(), Method::GET, "/tile/0/000", &(), 404).await;
    world.grow(256).await;
    world.grow(60).await;
    for (path, known) in [("/tile/0/000.p/5", &partial), ("/tile/entries/000.p/5", &bundle)] {
        let same = file(&world, path).await;
        assert_eq!((&same.bytes, &same.tag), (&known.bytes, &known.tag), "{path}");
    }
    for path in ["/tile/0/000", "/tile/entries/000", "/tile/0/001.p/60", "/tile/1/000.p/1", "/tile/0/000.p/5"]
    {
        let tile = file(&world, path).await;
        assert_eq!(
            (tile.media.as_str(), tile.lifetime.as_str()),
            ("application/octet-stream", FOR_EVER),
            "{path}"
        );
    }
    assert!(file(&world, "/tile/0/000").await.bytes.starts_with(&partial.bytes));
    let stale = world.answer(&auditor(), "/checkpoint", Some(("if-none-match", &first.tag))).await;
    assert_eq!(stale.status(), StatusCode::OK);
    for missing in
        ["/witnessed", "/tile/0/009", "/tile/0/000.p/256", "/tile/entries/x", "/statements/none.json"]
    {
        world.refuses(&auditor(), Method::GET, missing, &(), 404).await;
    }
    world.refuses(&member(&site(1)), Method::GET, "/tile/entries/000", &(), 403).await;
}

#[tokio::test]
async fn the_schemas_are_the_committed_ones() {
    let world = World::new(5).await;
    let list: SchemaList = world.get(&member(&site(1)), "/v1/ledger/schemas").await;
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../ledger/schemas");
    assert_eq!(list.items.len(), std::fs::read_dir(&folder).unwrap().count());
    for item in &list.items {
        let schema = file(&world, &item.path).await;
        assert_eq!(
            (schema.media.as_str(), schema.lifetime.as_str()),
            ("application/schema+json", "private, max-age=3600")
        );
        assert_eq!(Hash::of(&schema.bytes), item.sha256);
        let committed = std::fs::read(folder.join(format!("{}.json", item.action))).unwrap();
        assert!(schema.bytes == committed, "{}", item.action);
    }
    file(&world, "/v1/ledger/schemas").await;
    world.refuses(&auditor(), Method::GET, "/v1/ledger/schemas/job.deleted", &(), 404).await;
}
