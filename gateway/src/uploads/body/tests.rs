//! Crashes, damage and full disks: what is durable then, and that nothing wrong becomes a blob.

use super::*;
use crate::uploads::UploadId;

const NOW: UnixSeconds = UnixSeconds(1_800_000_000);

struct Scene {
    folder: tempfile::TempDir,
    bytes: Vec<u8>,
}

impl Scene {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        std::fs::create_dir(folder.path().join("upload")).unwrap();
        let bytes = (0..1000_u32).flat_map(|word| word.to_le_bytes()).collect();
        Self { folder, bytes }
    }

    fn blobs(&self) -> BlobStore {
        BlobStore::at(&self.folder.path().join("blobs")).unwrap()
    }

    /// The body as a process finds it that has just started.
    fn open(&self) -> UploadBody {
        let about = About {
            upload: UploadId::of_bits(7),
            organisation: "Acme".to_owned(),
            digest: Digest::of(&self.bytes),
            bytes: self.bytes.len() as u64,
            created: NOW,
            request: None,
        };
        UploadBody::open(Arc::new(about), self.path("."), self.blobs()).unwrap()
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join("upload").join(name)
    }

    fn append(&self, body: &mut UploadBody, from: usize, to: usize) {
        body.begin(from as u64).unwrap();
        body.append(&self.bytes[from..to]).unwrap();
        body.sync(NOW).unwrap();
    }

    /// The upload ends well from wherever it stands, and the blob is the organisation's.
    fn completes(&self) {
        let mut body = self.open();
        if !body.progress().complete {
            let from = match body.begin(u64::MAX) {
                Err(UploadError::Offset { wanted, .. }) => wanted,
                other => panic!("{other:?}"),
            };
            body.begin(from).unwrap();
            body.append(&self.bytes[usize::try_from(from).unwrap()..]).unwrap();
            body.finish(NOW).unwrap();
        }
        let (blobs, digest) = (self.blobs(), Digest::of(&self.bytes));
        assert!(std::fs::read(blobs.path(&digest)).unwrap() == self.bytes);
        assert!(blobs.owners(&digest).unwrap().contains("Acme"));
        assert!(self.open().progress().complete && !self.path(BODY).exists());
    }
}

fn wanted(body: &mut UploadBody) -> u64 {
    match body.begin(u64::MAX) {
        Err(UploadError::Offset { wanted, .. }) => wanted,
        other => panic!("{other:?}"),
    }
}

#[test]
fn an_upload_goes_on_after_a_restart_from_what_was_durable() {
    let scene = Scene::new();
    let mut body = scene.open();
    scene.append(&mut body, 0, 1500);
    // These reach the file, but nobody was told that they are durable.
    body.append(&scene.bytes[1500..2500]).unwrap();
    drop(body);
    assert_eq!(std::fs::metadata(scene.path(BODY)).unwrap().len(), 2500);
    let mut body = scene.open();
    assert_eq!(body.progress().offset, 1500);
    assert!(matches!(body.begin(2500), Err(UploadError::Offset { wanted: 1500, offered: 2500 })));
    body.begin(1500).unwrap();
    assert_eq!(std::fs::metadata(scene.path(BODY)).unwrap().len(), 1500);
    scene.completes();
}

#[test]
fn a_file_that_lost_durable_bytes_begins_anew() {
    for length in [0, 1, 1499] {
        let scene = Scene::new();
        scene.append(&mut scene.open(), 0, 1500);
        OpenOptions::new().write(true).open(scene.path(BODY)).unwrap().set_len(length).unwrap();
        assert_eq!(wanted(&mut scene.open()), 0, "cut to {length} bytes");
        scene.completes();
    }
    let scene = Scene::new();
    scene.append(&mut scene.open(), 0, 1500);
    std::fs::remove_file(scene.path(BODY)).unwrap();
    assert_eq!(wanted(&mut scene.open()), 0);
    scene.completes();
}

#[test]
fn a_flipped_bit_among_the_durable_bytes_is_found_before_the_next_is_added() {
    let scene = Scene::new();
    scene.append(&mut scene.open(), 0, 1500);
    let mut stored = std::fs::read(scene.path(BODY)).unwrap();
    stored[700] ^= 4;
    std::fs::write(scene.path(BODY), stored).unwrap();
    assert!(matches!(scene.open().begin(1500), Err(UploadError::Offset { wanted: 0, offered: 1500 })));
    scene.completes();
}

#[test]
fn a_flipped_bit_in_the_progress_file_never_makes_a_wrong_blob() {
    let scene = Scene::new();
    scene.append(&mut scene.open(), 0, 1500);
    let progress = std::fs::read(scene.path(PROGRESS)).unwrap();
    for bit in (0..progress.len() * 8).step_by(7) {
        let mut flipped = progress.clone();
        flipped[bit / 8] ^= 1 << (bit % 8);
        std::fs::write(scene.path(PROGRESS), flipped).unwrap();
        assert_eq!(wanted(&mut scene.open()), 0, "bit {bit}");
        // The bytes are still there for the next bit.
        std::fs::write(scene.path(BODY), &scene.bytes[..1500]).unwrap();
    }
    scene.completes();
}

#[test]
fn a_full_disk_costs_only_what_was_not_durable() {
    let scene = Scene::new();
    let mut body = scene.open();
    scene.append(&mut body, 0, 1500);
    body.append(&scene.bytes[1500..2000]).unwrap();
    // Writing to this device fails as on a full disk.
    let file = File::options().write(true).open("/dev/full").unwrap();
    let full = body.writing.as_mut().unwrap();
    full.file = file;
    let error = body.append(&scene.bytes[2000..]).unwrap_err();
    assert!(
        matches!(&error, UploadError::Io(error) if error.kind() == io::ErrorKind::StorageFull),
        "{error}"
    );
    assert_eq!(crate::error::ApiError::from(error).problem().status, 503);
    // The same process goes on once there is room, without hashing anything again.
    assert_eq!(body.progress().offset, 1500);
    body.begin(1500).unwrap();
    body.append(&scene.bytes[1500..]).unwrap();
    body.finish(NOW).unwrap();
    scene.completes();
}

#[test]
fn progress_that_cannot_be_written_does_not_count() {
    let scene = Scene::new();
    let mut body = scene.open();
    scene.append(&mut body, 0, 1500);
    // The file that would replace it cannot be made.
    let blocked = scene.path("progress.json.new");
    std::fs::create_dir(&blocked).unwrap();
    body.append(&scene.bytes[1500..]).unwrap();
    body.sync(NOW).unwrap_err();
    assert_eq!(body.progress().offset, 1500);
    std::fs::remove_dir(blocked).unwrap();
    scene.append(&mut body, 1500, 2000);
    drop(body);
    scene.completes();
}

#[test]
fn other_bytes_than_announced_begin_anew() {
    let scene = Scene::new();
    let mut wrong = scene.bytes.clone();
    wrong[3999] ^= 1;
    let mut body = scene.open();
    body.begin(0).unwrap();
    body.append(&wrong).unwrap();
    assert!(matches!(body.append(b"x"), Err(UploadError::TooLong { expected: 4000 })));
    assert!(matches!(body.finish(NOW), Err(UploadError::Digest { .. })));
    assert_eq!(body.progress().offset, 0);
    assert!(!scene.blobs().exists(&Digest::of(&wrong)) && !scene.blobs().exists(&Digest::of(&scene.bytes)));
    scene.completes();
}

#[test]
fn what_is_short_of_its_announcement_is_not_complete() {
    let scene = Scene::new();
    let mut body = scene.open();
    body.begin(0).unwrap();
    body.append(&scene.bytes[..3999]).unwrap();
    assert!(matches!(body.finish(NOW), Err(UploadError::Incomplete { offset: 3999, expected: 4000 })));
    assert_eq!(wanted(&mut scene.open()), 3999);
    scene.completes();
}

#[test]
fn a_process_that_dies_while_it_makes_the_blob_makes_it_after_its_restart() {
    let scene = Scene::new();
    let digest = Digest::of(&scene.bytes);
    // After the last bytes are durable, before anything else.
    scene.append(&mut scene.open(), 0, 4000);
    let mut body = scene.open();
    assert!(!body.progress().complete);
    assert_eq!(wanted(&mut body), 4000);
    // After the bytes got their name, before they are the organisation's.
    scene.blobs().adopt(&scene.path(BODY), &digest).unwrap();
    assert!(!scene.path(BODY).exists());
    let mut body = scene.open();
    assert_eq!(wanted(&mut body), 4000);
    body.begin(4000).unwrap();
    assert!(matches!(body.append(b"x"), Err(UploadError::TooLong { .. })));
    // After they are the organisation's, before the upload says that it is complete.
    scene.blobs().add_owner(&digest, "Acme").unwrap();
    scene.completes();
    assert!(matches!(scene.open().begin(4000), Err(UploadError::Complete { .. })));
}

#[test]
fn another_organisations_blob_is_no_substitute_for_lost_bytes() {
    let scene = Scene::new();
    let digest = scene.blobs().put_bytes(&scene.bytes).unwrap();
    scene.append(&mut scene.open(), 0, 3999);
    std::fs::remove_file(scene.path(BODY)).unwrap();
    assert_eq!(wanted(&mut scene.open()), 0);
    assert!(scene.blobs().owners(&digest).unwrap().is_empty());
    scene.completes();
}
