//! Tile paths, hash tiles and entry bundles.

use konclave_ledger::tiles::{TileKind, TilePath, decode_hashes, encode_hashes};
use konclave_ledger::{bundle as bundles, tiles as layout};

/// A path has one spelling, stands for a tile of the log it belongs to, and is to `tlog_tiles` what it is here.
pub fn tiles(bytes: &[u8]) {
    if let Some(hashes) = decode_hashes(bytes) {
        assert_eq!(encode_hashes(&hashes), bytes);
        assert_eq!(hashes.len() * 32, bytes.len());
    }
    let Ok(text) = str::from_utf8(bytes) else { return };
    // They panic at levels of 64 and more and at widths of zero: only levels of one digit and other widths are compared.
    let comparable = |rest: &&str| {
        let width = rest.rsplit_once(".p/").map(|(_, width)| width.parse::<u32>());
        rest.get(1..2) == Some("/") && width != Some(Ok(0))
    };
    let theirs = text.strip_prefix("tile/").filter(comparable);
    let theirs = theirs.map(|rest| tlog_tiles::Tile::from_path(&format!("tile/8/{rest}")));
    let Ok(path) = text.parse::<TilePath>() else {
        // They know more levels than there can be.
        let level = |tile: &tlog_tiles::Tile| tile.level() <= 7 && !tile.is_data();
        assert!(!theirs.is_some_and(|theirs| theirs.is_ok_and(|tile| level(&tile))), "{text}");
        return;
    };
    assert_eq!(path.to_string(), text);
    let covered = path.covers();
    assert!(!covered.is_empty() || covered.start == u64::MAX);
    if covered.end < u64::MAX {
        assert_eq!(TilePath::in_log(path.kind(), path.index(), covered.end), Some(path));
        if covered.end <= 1 << 16 {
            assert!(layout::tiles_of(covered.end).any(|tile| tile == path));
        }
    }
    if let (TileKind::Hashes { level }, Some(theirs)) = (path.kind(), theirs) {
        let theirs = theirs.unwrap();
        assert_eq!((theirs.level(), theirs.level_index()), (level, path.index()));
        assert_eq!(theirs.width(), u32::from(path.width()));
    }
}

/// The entries of a bundle, put together again, are its beginning; the first that does not fit ends it.
pub fn bundle(bytes: &[u8]) {
    let mut again = Vec::new();
    let mut whole = true;
    for (position, entry) in bundles::entries(bytes).enumerate() {
        assert!(whole, "an entry after one that was cut");
        match entry {
            Ok(entry) => bundles::push(&mut again, entry),
            Err(error) => {
                assert_eq!(error.position, position);
                whole = false;
            }
        }
    }
    assert!(bytes.starts_with(&again));
    assert_eq!(whole, again == bytes);
}
