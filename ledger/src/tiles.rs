//! C2SP tlog-tiles: which files make up a log of a given size, and where they lie.

use std::fmt;
use std::ops::Range;
use std::str::FromStr;

use crate::hash::Hash;

/// Hashes or entries in a full tile.
pub const TILE_WIDTH: u64 = 256;

/// Highest level of hash tiles that can occur: 256^8 entries exceed 64 bits.
const MAX_LEVEL: u8 = 7;

/// What a tile holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum TileKind {
    /// The entries themselves (`tile/entries/..`).
    Entries,
    /// Hashes of complete subtrees of 256^level entries (`tile/<level>/..`).
    Hashes {
        /// From 0, the leaf hashes, to 7.
        level: u8,
    },
}

/// One tile: `tile/<L>/<N>[.p/<W>]` or `tile/entries/<N>[.p/<W>]`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct TilePath {
    kind: TileKind,
    index: u64,
    width: u16,
}

/// A path that isn't a tile's.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("not the path of a tile: expected tile/<level or entries>/<index>[.p/<width>]")]
pub struct TilePathError;

impl TilePath {
    /// Tile `index` of its kind, with the full width of 256.
    #[must_use]
    pub const fn full(kind: TileKind, index: u64) -> Self {
        Self { kind, index, width: 256 }
    }

    /// The tile as it stands in a log of `size` entries; `None` if the log doesn't reach it.
    #[must_use]
    pub fn in_log(kind: TileKind, index: u64, size: u64) -> Option<Self> {
        let complete = size >> (8 * u32::from(kind.level()));
        let width = complete.saturating_sub(index.checked_mul(TILE_WIDTH)?).min(TILE_WIDTH);
        let width = u16::try_from(width).ok().filter(|width| *width > 0)?;
        Some(Self { kind, index, width })
    }

    /// What it holds.
    #[must_use]
    pub const fn kind(&self) -> TileKind {
        self.kind
    }

    /// Its number within its kind.
    #[must_use]
    pub const fn index(&self) -> u64 {
        self.index
    }

    /// How many hashes or entries, from 1 to 256.
    #[must_use]
    pub const fn width(&self) -> u16 {
        self.width
    }

    /// Whether it has its final width.
    #[must_use]
    pub const fn is_full(&self) -> bool {
        self.width == 256
    }

    /// The entries that its hashes stand for.
    #[must_use]
    pub fn covers(&self) -> Range<u64> {
        let first = self.index.saturating_mul(TILE_WIDTH);
        let span = 1_u64 << (8 * u32::from(self.kind.level()));
        first.saturating_mul(span)..first.saturating_add(u64::from(self.width)).saturating_mul(span)
    }
}

impl TileKind {
    /// 256^level entries stand behind each item.
    const fn level(self) -> u8 {
        match self {
            Self::Entries => 0,
            Self::Hashes { level } => level,
        }
    }
}

/// Every tile of a log of `size` entries, each once: entries first, then the levels.
pub fn tiles_of(size: u64) -> impl Iterator<Item = TilePath> {
    let kinds =
        std::iter::once(TileKind::Entries).chain((0..=MAX_LEVEL).map(|level| TileKind::Hashes { level }));
    kinds.flat_map(move |kind| (0..).map_while(move |index| TilePath::in_log(kind, index, size)))
}

/// The bytes of a hash tile.
#[must_use]
pub fn encode_hashes(hashes: &[Hash]) -> Vec<u8> {
    hashes.iter().flat_map(|hash| hash.0).collect()
}

/// The hashes in a tile's bytes; `None` if they aren't whole hashes.
#[must_use]
pub fn decode_hashes(bytes: &[u8]) -> Option<Vec<Hash>> {
    match bytes.as_chunks::<32>() {
        (hashes, []) => Some(hashes.iter().copied().map(Hash).collect()),
        (_, _) => None,
    }
}

impl fmt::Display for TilePath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.kind {
            TileKind::Entries => write!(f, "tile/entries/")?,
            TileKind::Hashes { level } => write!(f, "tile/{level}/")?,
        }
        let groups = self.index.checked_ilog(1000).unwrap_or(0);
        for group in (1..=groups).rev() {
            write!(f, "x{:03}/", self.index / 1000_u64.pow(group) % 1000)?;
        }
        write!(f, "{:03}", self.index % 1000)?;
        if self.is_full() { Ok(()) } else { write!(f, ".p/{}", self.width) }
    }
}

impl FromStr for TilePath {
    type Err = TilePathError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let rest = text.strip_prefix("tile/").ok_or(TilePathError)?;
        let (kind, rest) = rest.split_once('/').ok_or(TilePathError)?;
        let kind = match kind {
            "entries" => TileKind::Entries,
            level => TileKind::Hashes { level: level.parse().map_err(|_| TilePathError)? },
        };
        let (index, width) = match rest.split_once(".p/") {
            Some((index, width)) => (index, width.parse().map_err(|_| TilePathError)?),
            None => (rest, 256),
        };
        let digits: String = index.chars().filter(|c| !matches!(c, 'x' | '/')).collect();
        let index = digits.parse().map_err(|_| TilePathError)?;
        let parsed = Self { kind, index, width };
        // One spelling per tile: leading zeros, signs, missing `x` and `.p/256` all print differently.
        let known = kind.level() <= MAX_LEVEL && (1..=256).contains(&width);
        if known && parsed.to_string() == text { Ok(parsed) } else { Err(TilePathError) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn writes_the_paths_of_the_specification() {
        let path = |kind, index| TilePath::full(kind, index).to_string();
        assert_eq!(path(TileKind::Hashes { level: 0 }, 1_234_067), "tile/0/x001/x234/067");
        assert_eq!(path(TileKind::Entries, 0), "tile/entries/000");
        assert_eq!(path(TileKind::Hashes { level: 7 }, 1000), "tile/7/x001/000");
        assert_eq!(path(TileKind::Hashes { level: 1 }, 1_000_999), "tile/1/x001/x000/999");
    }

    /// "a tree of size 70,000 will be represented by ..." (tlog-tiles, partial tiles).
    #[test]
    fn lists_the_tiles_of_the_specification_example() {
        let level = |level| tiles_of(70_000).filter(move |tile| tile.kind() == TileKind::Hashes { level });
        assert_eq!(level(0).filter(TilePath::is_full).count(), 273);
        assert_eq!(level(0).last().unwrap().to_string(), "tile/0/273.p/112");
        assert_eq!(level(1).map(|t| t.to_string()).collect::<Vec<_>>(), ["tile/1/000", "tile/1/001.p/17"]);
        assert_eq!(level(2).map(|t| t.to_string()).collect::<Vec<_>>(), ["tile/2/000.p/1"]);
        assert_eq!(level(3).count(), 0);
        let of_256: Vec<String> = tiles_of(256).map(|t| t.to_string()).collect();
        assert_eq!(of_256, ["tile/entries/000", "tile/0/000", "tile/1/000.p/1"]);
        assert_eq!(tiles_of(0).count(), 0);
    }

    #[test]
    fn every_path_reads_back_and_covers_its_entries() {
        for tile in tiles_of(70_000).chain(tiles_of(300_000_000).step_by(9973)) {
            assert_eq!(tile.to_string().parse(), Ok(tile));
        }
        assert_eq!("tile/1/001.p/17".parse::<TilePath>().unwrap().covers(), 65_536..65_536 + 17 * 256);
        assert_eq!(TilePath::full(TileKind::Hashes { level: 7 }, u64::MAX).covers().end, u64::MAX);
    }

    #[test]
    fn refuses_other_spellings() {
        for bad in [
            "",
            "tile/",
            "tile/0/",
            "tile/0/0",
            "tile/00/000",
            "tile/8/000",
            "tile/0/x000/000",
            "tile/0/001/000",
            "tile/0/000.p/0",
            "tile/0/000.p/256",
            "tile/0/000.p/05",
            "tile/0/000.p/",
            "tile/0/+00",
            "tile/entries/../000",
            "tile/entries//000",
            "/tile/0/000",
            "tile/0/x00/000",
            "tile/-1/000",
            "tile/0/x018/x446/x744/x073/x709/x551/616",
        ] {
            assert_eq!(bad.parse::<TilePath>(), Err(TilePathError), "{bad}");
        }
    }
}
