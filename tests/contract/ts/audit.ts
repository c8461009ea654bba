// An auditor's look at the ledger with a token that can only read, by the client that scripts/ts_client.py generates.
//
// Lists the entries, exports them with their proofs to a file, checks every proof against the checkpoint of the export
// and asks for the proof of one entry by itself.
import { writeFileSync } from "node:fs";
import { connect, fromCommandLine, type Gateway, given, type Schemas } from "./access.ts";
import { checkInclusion } from "./inclusion.ts";

/** Every entry, page by page. */
async function entries(gateway: Gateway): Promise<Schemas["EntryView"][]> {
  const all: Schemas["EntryView"][] = [];
  let cursor: string | null | undefined;
  do {
    const query = cursor ? { cursor, limit: 50 } : { limit: 50 };
    const page = given(await gateway.GET("/v1/ledger/entries", { params: { query } }));
    all.push(...page.items);
    cursor = page.next_cursor;
  } while (cursor);
  return all;
}

/** Writes the export to a file and checks it; how many entries it has. */
async function exportTo(gateway: Gateway, path: string): Promise<number> {
  const text = given(await gateway.GET("/v1/ledger/export.ndjson", { parseAs: "text" }));
  writeFileSync(path, text);
  const [first, ...lines] = text.trimEnd().split("\n");
  const head: { checkpoint: string } = JSON.parse(first ?? "");
  const [, size, root] = head.checkpoint.split("\n");
  const rootHash = Buffer.from(root ?? "", "base64").toString("hex");
  const { end }: { end?: number } = JSON.parse(lines.pop() ?? "{}");
  for (const line of lines) {
    const entry: { index: number; leaf: string; proof: string[] } = JSON.parse(line);
    checkInclusion(entry.leaf, entry.index, Number(size), entry.proof, rootHash);
  }
  if (end !== lines.length) {
    throw new Error(`${path} was cut short after ${lines.length} entries`);
  }
  return lines.length;
}

/** A role that reads changes nothing: the answer is a problem that names the policy. */
async function askForWhatAnAuditorMayNot(gateway: Gateway): Promise<void> {
  const nothing = "0".repeat(64);
  const manifest = { parameters: [], coordinates: 0, heads: 1, torchscript: nothing, initial_parameters: nothing };
  const { error } = await gateway.POST("/v1/models", { body: { name: "an auditor's", manifest } });
  if (error === undefined) {
    throw new Error("an auditor registered a model");
  }
  console.log(`refused: ${error.status} ${error.type}: ${error.detail}`);
}

const { registration, rest } = fromCommandLine("node audit.ts EXPORT.ndjson");
const path = rest[0] ?? "export.ndjson";
const gateway = await connect(registration);
const seen = await entries(gateway);
const counts = new Map<string, number>();
for (const entry of seen) {
  const { action }: { action: string } = JSON.parse(entry.leaf);
  counts.set(action, (counts.get(action) ?? 0) + 1);
}
for (const [action, count] of [...counts].sort()) {
  console.log(`${count} x ${action}`);
}
console.log(`export: ${await exportTo(gateway, path)} entries in ${path}, every proof leads to its checkpoint`);
const last = seen.at(-1);
if (last === undefined) {
  throw new Error("the ledger has no entries");
}
const params = { path: { index: last.index } };
const proof = given(await gateway.GET("/v1/ledger/entries/{index}/proof", { params }));
checkInclusion(last.leaf, last.index, proof.size, proof.path, proof.root);
console.log(`entry ${last.index}: in the tree of ${proof.size} entries with root ${proof.root}`);
await askForWhatAnAuditorMayNot(gateway);
