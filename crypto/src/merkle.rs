//! Merkle trees over share hashes and over the chunks of an upload body (RFC 6962, section 2.1).

use std::io::{self, Read};

use rayon::prelude::*;
use sha2::{Digest as _, Sha256};

use crate::digest::Digest;

/// Bytes of one leaf of a body's tree.
pub const BODY_CHUNK_BYTES: usize = 64 * 1024;

fn leaf_hash(content: &[u8]) -> Digest {
    Digest(Sha256::new().chain_update([0]).chain_update(content).finalize().into())
}

fn node_hash(left: &Digest, right: &Digest) -> Digest {
    let hasher = Sha256::new().chain_update([1]).chain_update(left.as_bytes());
    Digest(hasher.chain_update(right.as_bytes()).finalize().into())
}

/// Root over leaf contents that are hashes themselves.
pub(crate) fn root(contents: &[Digest]) -> Digest {
    let mut frontier = Frontier::default();
    contents.iter().for_each(|content| frontier.push(leaf_hash(content.as_bytes())));
    frontier.root()
}

/// The audit path of leaf `index`: siblings from the leaf up (RFC 6962, section 2.1.1).
pub(crate) fn path(contents: &[Digest], index: usize) -> Vec<Digest> {
    if contents.len() < 2 || index >= contents.len() {
        return Vec::new();
    }
    let split = left_size(contents.len());
    let (left, right) = contents.split_at(split);
    let (mut below, sibling) = if index < split {
        (path(left, index), root(right))
    } else {
        (path(right, index - split), root(left))
    };
    below.push(sibling);
    below
}

/// The root that a path leads to, taking as many siblings from `siblings` as a tree of `size` leaves needs;
/// `None` if there are too few or the index is outside the tree.
pub(crate) fn root_from_path<'a>(
    content: &Digest,
    index: usize,
    size: usize,
    siblings: &mut impl Iterator<Item = &'a Digest>,
) -> Option<Digest> {
    if index >= size {
        return None;
    }
    if size == 1 {
        return Some(leaf_hash(content.as_bytes()));
    }
    let split = left_size(size);
    if index < split {
        let left = root_from_path(content, index, split, siblings)?;
        Some(node_hash(&left, siblings.next()?))
    } else {
        let right = root_from_path(content, index - split, size - split, siblings)?;
        Some(node_hash(siblings.next()?, &right))
    }
}

/// Number of siblings on the path of leaf `index`.
pub(crate) fn path_len(index: usize, size: usize) -> usize {
    if size < 2 || index >= size {
        return 0;
    }
    let split = left_size(size);
    1 + if index < split { path_len(index, split) } else { path_len(index - split, size - split) }
}

/// Leaves in the left subtree: the largest power of two below `size`, which is at least 2.
fn left_size(size: usize) -> usize {
    size.next_power_of_two() / 2
}

/// Incremental root of a tree: one pending subtree root per set bit of the number of leaves.
#[derive(Debug, Clone, Default)]
struct Frontier {
    roots: Vec<(u32, Digest)>,
}

impl Frontier {
    fn push(&mut self, leaf: Digest) {
        let (mut height, mut root) = (0, leaf);
        while let Some((_, left)) = self.roots.pop_if(|(top, _)| *top == height) {
            root = node_hash(&left, &root);
            height += 1;
        }
        self.roots.push((height, root));
    }

    fn root(&self) -> Digest {
        let mut from_right = self.roots.iter().rev().map(|(_, root)| *root);
        match from_right.next() {
            Some(last) => from_right.fold(last, |right, left| node_hash(&left, &right)),
            None => Digest::of(&[]),
        }
    }
}

/// The Merkle root of an upload body, computed as the body arrives.
#[derive(Debug, Clone)]
pub struct BodyHasher {
    frontier: Frontier,
    chunk: Sha256,
    in_chunk: usize,
    bytes: u64,
}

impl Default for BodyHasher {
    fn default() -> Self {
        Self::new()
    }
}

impl BodyHasher {
    /// Starts an empty body.
    #[must_use]
    pub fn new() -> Self {
        Self { frontier: Frontier::default(), chunk: fresh_leaf(), in_chunk: 0, bytes: 0 }
    }

    /// Takes the next bytes of the body.
    pub fn update(&mut self, mut bytes: &[u8]) {
        self.bytes += bytes.len() as u64;
        while !bytes.is_empty() {
            let (now, rest) = bytes.split_at(bytes.len().min(BODY_CHUNK_BYTES - self.in_chunk));
            self.chunk.update(now);
            self.in_chunk += now.len();
            if self.in_chunk == BODY_CHUNK_BYTES {
                self.close_chunk();
            }
            bytes = rest;
        }
    }

    fn close_chunk(&mut self) {
        let chunk = std::mem::replace(&mut self.chunk, fresh_leaf());
        self.frontier.push(Digest(chunk.finalize().into()));
        self.in_chunk = 0;
    }

    /// Bytes taken so far.
    #[must_use]
    pub fn bytes(&self) -> u64 {
        self.bytes
    }

    /// The root over all chunks; the last one may be shorter.
    #[must_use]
    pub fn finish(mut self) -> Digest {
        if self.in_chunk > 0 {
            self.close_chunk();
        }
        self.frontier.root()
    }
}

fn fresh_leaf() -> Sha256 {
    Sha256::new().chain_update([0])
}

/// The Merkle root of a body over its 64 KiB chunks.
///
/// # Errors
/// Whatever the reader returns.
pub fn body_root(mut reader: impl Read) -> io::Result<Digest> {
    let mut hasher = BodyHasher::new();
    let mut buffer = vec![0; BODY_CHUNK_BYTES];
    loop {
        match reader.read(&mut buffer) {
            Ok(0) => return Ok(hasher.finish()),
            Ok(read) => hasher.update(buffer.get(..read).unwrap_or_default()),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
}

/// The same root of a body in memory, its chunks hashed on all cores.
pub(crate) fn root_of_body(body: &[u8]) -> Digest {
    let leaves: Vec<Digest> = body.par_chunks(BODY_CHUNK_BYTES).map(leaf_hash).collect();
    let mut frontier = Frontier::default();
    leaves.into_iter().for_each(|leaf| frontier.push(leaf));
    frontier.root()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::vectors;

    #[test]
    fn known_answers() {
        let file = vectors::load(include_str!("../vectors/merkle.json"));
        let number = |value: &serde_json::Value| value.as_u64().unwrap() as usize;
        // The root of a body, or where a path leads that is used up to its end.
        let found = |case: &serde_json::Value| {
            if case["length"].is_u64() {
                let pattern = vectors::list(&case["pattern"]);
                let body: Vec<u8> = pattern.into_iter().cycle().take(number(&case["length"])).collect();
                return Some(body_root(body.as_slice()).unwrap());
            }
            let path: Vec<Digest> =
                case["path"].as_array().unwrap().iter().map(|step| Digest(vectors::bytes(step))).collect();
            let (index, size) = (number(&case["index"]), number(&case["size"]));
            let mut siblings = path.iter();
            let content = Digest(vectors::bytes(&case["content"]));
            root_from_path(&content, index, size, &mut siblings).filter(|_| siblings.next().is_none())
        };
        for case in vectors::cases(&file, "positive") {
            assert_eq!(found(&case), Some(Digest(vectors::bytes(&case["root"]))));
        }
        for case in vectors::cases(&file, "negative") {
            assert_ne!(found(&case), Some(Digest(vectors::bytes(&case["root"]))), "{}", case["why"]);
        }
    }

    fn contents(count: usize) -> Vec<Digest> {
        (0..count).map(|index| Digest::of(&index.to_be_bytes())).collect()
    }

    #[test]
    fn roots_follow_rfc_6962() {
        assert_eq!(root(&[]).to_string(), "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855");
        let leaves: Vec<_> = contents(3).iter().map(|content| leaf_hash(content.as_bytes())).collect();
        assert_eq!(root(&contents(3)), node_hash(&node_hash(&leaves[0], &leaves[1]), &leaves[2]));
    }

    #[test]
    fn paths_lead_to_the_root_and_nowhere_else() {
        for size in 1..=17 {
            let contents = contents(size);
            let expected = root(&contents);
            for index in 0..size {
                let path = path(&contents, index);
                assert_eq!(path.len(), path_len(index, size));
                let lead = |content: &Digest, index, path: &[Digest]| {
                    root_from_path(content, index, size, &mut path.iter())
                };
                assert_eq!(lead(&contents[index], index, &path), Some(expected));
                assert_ne!(lead(&Digest([9; 32]), index, &path), Some(expected));
                assert_eq!(lead(&contents[index], size, &path), None);
                if size > 1 {
                    assert_ne!(lead(&contents[index], (index + 1) % size, &path), Some(expected));
                    assert_eq!(lead(&contents[index], index, &path[1..]), None);
                }
            }
        }
    }

    #[test]
    fn a_body_hashes_the_same_however_it_is_cut() {
        let body: Vec<u8> = (0..3 * BODY_CHUNK_BYTES + 17).map(|index| (index * 7 % 251) as u8).collect();
        let whole = body_root(body.as_slice()).unwrap();
        assert_eq!(root_of_body(&body), whole);
        assert_eq!(root_of_body(&[]), body_root([].as_slice()).unwrap());
        for cut in [1, 1000, BODY_CHUNK_BYTES - 1, BODY_CHUNK_BYTES, BODY_CHUNK_BYTES + 1] {
            let mut hasher = BodyHasher::new();
            body.chunks(cut.max(999)).for_each(|part| hasher.update(part));
            assert_eq!(hasher.bytes(), body.len() as u64);
            assert_eq!(hasher.finish(), whole);
        }
        assert_ne!(body_root(&body[1..]).unwrap(), whole);
        let exact = &body[..2 * BODY_CHUNK_BYTES];
        let leaves = exact.chunks(BODY_CHUNK_BYTES).map(leaf_hash).collect::<Vec<_>>();
        assert_eq!(body_root(exact).unwrap(), node_hash(&leaves[0], &leaves[1]));
    }
}
