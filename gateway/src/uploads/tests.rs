//! Announcing, bounds, expiry, restarts, and who goes on when two requests write.

use std::convert::Infallible;

use bytes::Bytes;
use futures_util::{Stream, StreamExt, stream};

use super::*;
use crate::core::Clock;

const NOW: UnixSeconds = UnixSeconds(1_800_000_000);

fn blobs(folder: &Path) -> BlobStore {
    BlobStore::at(&folder.join("blobs")).unwrap()
}

fn open(folder: &Path, now: UnixSeconds) -> Uploads {
    Uploads::open(&folder.join("blobs/uploads"), blobs(folder), 10_000, now).unwrap()
}

fn announcement(bytes: &[u8], key: Option<&str>) -> Announcement {
    Announcement {
        organisation: "Acme".to_owned(),
        digest: Digest::of(bytes),
        bytes: bytes.len() as u64,
        request: key.map(|key| IdempotencyKey::new("acme", "POST /v1/uploads", key, bytes)),
    }
}

fn later(seconds: u64) -> UnixSeconds {
    UnixSeconds(NOW.get() + seconds)
}

fn parts(parts: &[&'static [u8]]) -> impl Stream<Item = Result<Bytes, Infallible>> + Send + use<> {
    stream::iter(parts.iter().map(|part| Ok(Bytes::from_static(part))).collect::<Vec<_>>())
}

fn append(offset: u64, complete: bool) -> Append {
    Append { offset, complete, length: None }
}

async fn send(
    upload: &Upload,
    offset: u64,
    complete: bool,
    bytes: &'static [u8],
) -> Result<Progress, UploadError> {
    upload.append(append(offset, complete), parts(&[bytes]), Clock::set_to(NOW)).await
}

/// Files of the uploads, without the folder of the temporary ones.
fn left(folder: &Path) -> usize {
    std::fs::read_dir(folder.join("blobs/uploads")).map_or(0, Iterator::count)
}

#[tokio::test]
async fn an_announcement_outlives_the_process_with_its_key() {
    let folder = tempfile::tempdir().unwrap();
    let first = open(folder.path(), NOW).announce(announcement(b"hello", Some("k")), NOW).unwrap();
    send(&first, 0, false, b"hel").await.unwrap();
    let uploads = open(folder.path(), NOW);
    let again = uploads.announce(announcement(b"hello", Some("k")), NOW).unwrap();
    assert_eq!((again.about(), again.progress().offset), (first.about(), 3));
    assert!(matches!(
        uploads.announce(announcement(b"other", Some("k")), NOW),
        Err(UploadError::OtherRequest)
    ));
    let other = uploads.announce(announcement(b"hello", None), NOW).unwrap();
    assert_ne!(other.about().upload, first.about().upload);
    send(&again, 3, true, b"lo").await.unwrap();
    // The key still leads to the upload, which says that it is complete.
    let done = open(folder.path(), NOW).announce(announcement(b"hello", Some("k")), NOW).unwrap();
    assert!(done.progress().complete);
    assert_eq!(std::fs::read(blobs(folder.path()).path(&Digest::of(b"hello"))).unwrap(), b"hello");
}

#[tokio::test]
async fn an_organisation_has_at_most_sixteen_open_uploads_of_bounded_size() {
    let folder = tempfile::tempdir().unwrap();
    let uploads = open(folder.path(), NOW);
    let large = Announcement { bytes: 10_001, ..announcement(b"", None) };
    assert!(matches!(
        uploads.announce(large, NOW),
        Err(UploadError::TooMuch { announced: 10_001, most: 10_000 })
    ));
    let mut opened = Vec::new();
    for number in 0..MAX_OPEN {
        let key = number.to_string();
        opened.push(uploads.announce(announcement(b"hello", Some(&key)), NOW).unwrap());
    }
    let more = || uploads.announce(announcement(b"more", None), NOW);
    assert!(matches!(more(), Err(UploadError::TooMany { open: 16, most: 16 })));
    // A repeated announcement opens nothing, and another organisation has bounds of its own.
    uploads.announce(announcement(b"hello", Some("3")), NOW).unwrap();
    uploads.announce(Announcement { organisation: "Rival".into(), ..announcement(b"x", None) }, NOW).unwrap();
    // A complete one and a removed one make room.
    send(&opened[0], 0, true, b"hello").await.unwrap();
    more().unwrap();
    assert!(more().is_err());
    uploads.remove(&opened[1]).await.unwrap();
    more().unwrap();
    // The bounds are the same after a restart.
    assert!(matches!(
        open(folder.path(), NOW).announce(announcement(b"more", None), NOW),
        Err(UploadError::TooMany { .. })
    ));
}

#[tokio::test]
async fn complete_uploads_are_forgotten_before_they_fill_the_folder() {
    let folder = tempfile::tempdir().unwrap();
    let uploads = open(folder.path(), NOW);
    for second in 0..MAX_COMPLETE as u64 + 10 {
        let upload = uploads.announce(announcement(b"hello", None), later(second)).unwrap();
        send(&upload, 0, true, b"hello").await.unwrap();
    }
    assert_eq!((uploads.of("Acme").len(), left(folder.path())), (MAX_COMPLETE, MAX_COMPLETE));
    assert_eq!(uploads.of("Acme")[0].about().created, later(10));
}

#[tokio::test]
async fn what_nobody_goes_on_with_expires() {
    let folder = tempfile::tempdir().unwrap();
    let uploads = open(folder.path(), NOW);
    let idle = uploads.announce(announcement(b"hello", Some("k")), NOW).unwrap();
    let busy = uploads.announce(announcement(b"hello", None), NOW).unwrap();
    let clock = Clock::set_to(later(100));
    busy.append(append(0, false), parts(&[b"hel"]), clock).await.unwrap();
    let ends = NOW.get() + KEPT_SECONDS;
    uploads.sweep(UnixSeconds(ends - 1)).unwrap();
    assert_eq!(uploads.of("Acme").len(), 2);
    uploads.sweep(UnixSeconds(ends)).unwrap();
    assert_eq!((uploads.of("Acme").len(), left(folder.path())), (1, 1));
    assert!(matches!(send(&idle, 0, false, b"h").await, Err(UploadError::Gone)));
    // The key is free again, and a start sweeps too.
    let anew = uploads.announce(announcement(b"hello", Some("k")), UnixSeconds(ends)).unwrap();
    assert_ne!(anew.about().upload, idle.about().upload);
    open(folder.path(), UnixSeconds(ends + 100));
    assert_eq!(left(folder.path()), 1);
}

#[tokio::test]
async fn an_append_under_way_is_not_swept() {
    let folder = tempfile::tempdir().unwrap();
    let uploads = open(folder.path(), NOW);
    let upload = uploads.announce(announcement(b"hello", None), NOW).unwrap();
    let _held = upload.take().await.unwrap();
    uploads.sweep(UnixSeconds(NOW.get() + KEPT_SECONDS)).unwrap();
    assert_eq!((uploads.of("Acme").len(), left(folder.path())), (1, 1));
}

#[tokio::test]
async fn what_a_crash_left_of_an_announcement_or_a_removal_is_cleared() {
    let folder = tempfile::tempdir().unwrap();
    let upload = open(folder.path(), NOW).announce(announcement(b"hello", None), NOW).unwrap();
    let place = folder.path().join("blobs/uploads");
    // Announced half-way: a folder without an announcement.
    std::fs::create_dir(place.join(UploadId::of_bits(1).to_string())).unwrap();
    std::fs::write(place.join("a note of the operator"), "stays").unwrap();
    let uploads = open(folder.path(), NOW);
    assert_eq!((uploads.of("Acme").len(), left(folder.path())), (1, 2));
    // A flipped bit in the announcement, or another upload's in its place.
    let about = place.join(upload.about().upload.to_string()).join(ABOUT);
    let mut text = std::fs::read(&about).unwrap();
    let last = text.len() - 3;
    text[last] ^= 1;
    std::fs::write(&about, text).unwrap();
    let uploads = open(folder.path(), NOW);
    assert_eq!((uploads.of("Acme").len(), left(folder.path())), (0, 1));
}

#[tokio::test]
async fn another_organisations_upload_is_not_found() {
    let folder = tempfile::tempdir().unwrap();
    let uploads = open(folder.path(), NOW);
    let upload = uploads.announce(announcement(b"hello", None), NOW).unwrap();
    let id = &upload.about().upload;
    assert!(uploads.find(id, "Acme").is_some());
    assert!(uploads.find(id, "Rival").is_none() && uploads.of("Rival").is_empty());
}

#[tokio::test]
async fn a_newer_append_ends_the_one_that_hangs_and_goes_on_from_its_bytes() {
    let folder = tempfile::tempdir().unwrap();
    let uploads = open(folder.path(), NOW);
    let upload = uploads.announce(announcement(b"hello world", None), NOW).unwrap();
    // A connection that is dead, but nobody told the gateway.
    let hanging = parts(&[b"hello "]).chain(stream::pending());
    let (first, clock) = (upload.clone(), Clock::set_to(NOW));
    let hangs = tokio::spawn(async move { first.append(append(0, true), hanging, clock).await });
    tokio::time::sleep(std::time::Duration::from_millis(100)).await;
    assert!(matches!(
        send(&upload, 0, true, b"hello world").await,
        Err(UploadError::Offset { wanted: 6, .. })
    ));
    assert!(matches!(hangs.await.unwrap(), Err(UploadError::TakenOver)));
    assert!(send(&upload, 6, true, b"world").await.unwrap().complete);
    // The same append once more: its answer was lost.
    assert!(send(&upload, 6, true, b"world").await.unwrap().complete);
    let longer = Append { offset: 6, complete: true, length: Some(6) };
    let refused = upload.append(longer, parts(&[b"worlds"]), Clock::set_to(NOW)).await;
    assert!(matches!(refused, Err(UploadError::Complete { .. })));
}

#[tokio::test]
async fn a_stream_that_breaks_off_keeps_what_came() {
    let folder = tempfile::tempdir().unwrap();
    let uploads = open(folder.path(), NOW);
    let upload = uploads.announce(announcement(b"hello world", None), NOW).unwrap();
    let broken = stream::iter([Ok(Bytes::from_static(b"hello")), Err(io::Error::other("reset"))]);
    let error = upload.append(append(0, true), broken, Clock::set_to(NOW)).await.unwrap_err();
    assert!(matches!(error, UploadError::Source(_)), "{error}");
    assert_eq!(upload.progress().offset, 5);
    // Too many bytes: those before the piece that was too long are kept, none of it is.
    assert!(matches!(send(&upload, 5, true, b" world!").await, Err(UploadError::TooLong { expected: 11 })));
    assert_eq!(upload.progress().offset, 5);
    assert!(matches!(
        send(&upload, 5, true, b" worl").await,
        Err(UploadError::Incomplete { offset: 10, expected: 11 })
    ));
    assert!(send(&upload, 10, true, b"d").await.unwrap().complete);
}

#[tokio::test]
async fn a_dropped_request_still_makes_durable_what_came() {
    let folder = tempfile::tempdir().unwrap();
    let uploads = open(folder.path(), NOW);
    let upload = uploads.announce(announcement(b"hello world", None), NOW).unwrap();
    let (sender, receiver) = tokio::sync::mpsc::channel::<Result<Bytes, Infallible>>(1);
    let bytes = stream::unfold(receiver, |mut receiver| async { Some((receiver.recv().await?, receiver)) });
    let mut request = Box::pin(upload.append(append(0, false), bytes, Clock::set_to(NOW)));
    tokio::select! {
        _ = &mut request => panic!("it is not over"),
        sent = async { sender.send(Ok(Bytes::from_static(b"hello"))).await.unwrap(); sender.reserve().await.is_ok() } => assert!(sent),
    }
    drop(request);
    drop(sender);
    while upload.progress().offset != 5 {
        tokio::time::sleep(std::time::Duration::from_millis(5)).await;
    }
}
