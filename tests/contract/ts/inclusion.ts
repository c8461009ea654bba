// Checks that an entry is in the ledger's tree (RFC 9162, section 2.1.3.2).
import { createHash } from "node:crypto";

const LEAF = Buffer.of(0);
const NODE = Buffer.of(1);

export function sha256(...parts: Uint8Array[]): Buffer {
  const hash = createHash("sha256");
  for (const part of parts) {
    hash.update(part);
  }
  return hash.digest();
}

/** Fails unless the leaf at `index` is in the tree of `size` leaves with that root (hexadecimal). */
export function checkInclusion(leaf: string, index: number, size: number, path: string[], root: string): void {
  let [at, last] = [index, size - 1];
  let found = sha256(LEAF, Buffer.from(leaf));
  for (const beside of path.map((hash) => Buffer.from(hash, "hex"))) {
    if (last === 0) {
      throw new Error(`the proof for leaf ${index} is too long for a tree of ${size}`);
    }
    if (at % 2 === 1 || at === last) {
      found = sha256(NODE, beside, found);
      while (at % 2 === 0 && at > 0) {
        [at, last] = [at / 2, Math.floor(last / 2)];
      }
    } else {
      found = sha256(NODE, found, beside);
    }
    [at, last] = [Math.floor(at / 2), Math.floor(last / 2)];
  }
  if (index >= size || last !== 0) {
    throw new Error(`the proof for leaf ${index} is too short for a tree of ${size}`);
  }
  if (found.toString("hex") !== root) {
    throw new Error(`the proof for leaf ${index} leads to ${found.toString("hex")}, not to the root ${root}`);
  }
}
