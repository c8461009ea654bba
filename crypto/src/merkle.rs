//! Merkle trees over share hashes and over the chunks of an upload body (RFC 6962, section 2.1).

use std::io::{self, Read};

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
