// Runs a whole job as a partner system does, by the client that scripts/ts_client.py generates.
//
// Takes a folder with the model (model.pt), its manifest and its parameters as `konclave-site model inspect` writes
// them (manifest.json, parameters.f32), and the request (job.json, without `model`). Uploads and registers the model,
// asks for the job, follows it, and leaves in the folder what came of it: the parameters (final.f32) and, of the
// ledger's entry that the job began with, the stored bytes (entry.json) and the receipt (entry.tlog-proof).
import { randomUUID } from "node:crypto";
import { readFileSync, writeFileSync } from "node:fs";
import { basename, join } from "node:path";
import { setTimeout as pause } from "node:timers/promises";
import { connect, fromCommandLine, type Gateway, given, type Schemas } from "./access.ts";
import { checkInclusion, sha256 } from "./inclusion.ts";

// Bytes in one request of an upload.
const PART = 1 << 20;
// How often a broken connection is tried again before it is told.
const TRIES = 5;
const POLL_MILLISECONDS = 500;
const PATIENCE_MILLISECONDS = 600_000;

type Upload = Schemas["Upload"];

/** Uploads a file in parts, and goes on where it stopped when a connection breaks; its digest. */
async function upload(gateway: Gateway, path: string): Promise<string> {
  const bytes = readFileSync(path);
  const digest = sha256(bytes).toString("hex");
  let stand: Upload = given(
    await gateway.POST("/v1/uploads", {
      // The same key finds the same upload again, also in a later run. It is for the same bytes of the request, and
      // another program may write those otherwise: hence `ts`.
      params: { header: { "Idempotency-Key": `ts-upload-${digest}-${bytes.length}` } },
      body: { digest, bytes: bytes.length },
    }),
  );
  for (let broken = 0; !stand.complete; ) {
    try {
      stand = broken === 0 ? await append(gateway, stand, bytes) : await ask(gateway, stand);
      broken = 0;
    } catch (error) {
      // What fetch throws when the connection broke; a problem is no such thing.
      if (!(error instanceof TypeError) || ++broken > TRIES) {
        throw error;
      }
      await pause(broken * 1000);
      continue;
    }
    console.log(`upload ${basename(path)}: ${stand.offset} of ${stand.bytes} bytes`);
  }
  return digest;
}

/** Sends the next part. */
async function append(gateway: Gateway, stand: Upload, bytes: Buffer<ArrayBuffer>): Promise<Upload> {
  const part = bytes.subarray(stand.offset, stand.offset + PART);
  const complete = stand.offset + part.length === bytes.length ? "?1" : "?0";
  const answer = await gateway.PATCH("/v1/uploads/{upload}", {
    params: {
      path: { upload: stand.upload },
      header: { "Upload-Offset": stand.offset, "Upload-Complete": complete },
    },
    headers: { "Content-Type": "application/partial-upload" },
    body: new Blob([part]),
    bodySerializer: (blob) => blob,
  });
  return given(answer);
}

/** Asks how far an upload is. */
async function ask(gateway: Gateway, { upload }: Upload): Promise<Upload> {
  return given(await gateway.GET("/v1/uploads/{upload}", { params: { path: { upload } } }));
}

/** Uploads the model's two files and registers it; a model that is registered already stays as it is. */
async function register(gateway: Gateway, folder: string): Promise<Schemas["Model"]> {
  const manifest: Schemas["ModelManifest"] = JSON.parse(readFileSync(join(folder, "manifest.json"), "utf8"));
  for (const [name, digest] of [
    ["model.pt", manifest.torchscript],
    ["parameters.f32", manifest.initial_parameters],
  ] as const) {
    if ((await upload(gateway, join(folder, name))) !== digest) {
      throw new Error(`${name} is not the file that manifest.json was written for`);
    }
  }
  const model = given(await gateway.POST("/v1/models", { body: { name: "ECFP4 multi-task baseline", manifest } }));
  console.log(`model ${model.model}: ${model.manifest.coordinates} parameters, entry ${model.entry}`);
  return model;
}

/** Asks for the job. */
async function requestJob(gateway: Gateway, folder: string, model: string): Promise<Schemas["Job"]> {
  const request: Omit<Schemas["NewJob"], "model"> = JSON.parse(readFileSync(join(folder, "job.json"), "utf8"));
  const job = given(
    await gateway.POST("/v1/jobs", {
      // With the same key the request can be repeated after a broken connection, and makes one job.
      params: { header: { "Idempotency-Key": randomUUID() } },
      body: { ...request, model },
    }),
  );
  console.log(`job ${job.job}: ${job.request.rounds} rounds asked for, entry ${job.entry}`);
  return job;
}

/** Follows the job; a line for each step. */
async function waitForTheEnd(gateway: Gateway, id: string): Promise<Schemas["Job"]> {
  const began = Date.now();
  for (let told = ""; ; await pause(POLL_MILLISECONDS)) {
    const job = given(await gateway.GET("/v1/jobs/{job}", { params: { path: { job: id } } }));
    const line = `job ${id}: ${stepOf(job)}`;
    if (line !== told) {
      console.log(line);
      told = line;
    }
    if (job.phase.kind === "finished") {
      return job;
    }
    if (job.phase.kind === "aborted") {
      throw new Error(`job ${id} was aborted: ${job.phase.reason} ${job.phase.culprits.join(", ")}`);
    }
    if (Date.now() - began > PATIENCE_MILLISECONDS) {
      throw new Error(`job ${id} is not finished yet; it goes on without this program`);
    }
  }
}

/** Where the job stands. A phase that is new in the document does not compile until it is handled here. */
function stepOf(job: Schemas["Job"]): string {
  switch (job.phase.kind) {
    case "consent":
    case "advertise-keys":
    case "encapsulate":
      return `${job.phase.kind} until ${job.phase.deadline}`;
    case "running":
      return `running, ${job.rounds_opened} of ${job.request.rounds} rounds opened`;
    case "finished":
    case "aborted":
      return job.phase.kind;
  }
}

/** The job's rounds, page by page. */
async function tellRounds(gateway: Gateway, job: string): Promise<void> {
  let cursor: string | null | undefined;
  do {
    const query = cursor ? { cursor, limit: 100 } : { limit: 100 };
    const page = given(await gateway.GET("/v1/jobs/{job}/rounds", { params: { path: { job }, query } }));
    for (const round of page.items) {
      if (round.phase.kind === "aborted") {
        console.log(`round ${round.round}: aborted, ${round.phase.reason}`);
        continue;
      }
      const sums = round.openings.map((opening) => `${opening.sites.length} sites`).join(", ");
      const checked = round.verification?.result ?? "not open";
      console.log(`round ${round.round}: ${round.phase.kind}, sums of ${sums}, ${checked}`);
    }
    cursor = page.next_cursor;
  } while (cursor);
}

/** The job's reward statement, which follows its last evaluation. */
async function statementOf(gateway: Gateway, job: string): Promise<Schemas["RewardStatement"]> {
  const began = Date.now();
  for (;;) {
    const page = given(await gateway.GET("/v1/jobs/{job}/statements", { params: { path: { job } } }));
    const last = page.items.at(-1);
    if (last !== undefined) {
      return last.statement;
    }
    if (Date.now() - began > PATIENCE_MILLISECONDS) {
      throw new Error(`job ${job} has no reward statement: is an evaluator there?`);
    }
    await pause(POLL_MILLISECONDS);
  }
}

async function tellRewards(gateway: Gateway, job: string): Promise<void> {
  const statement = await statementOf(gateway, job);
  const tables = given(await gateway.GET("/v1/jobs/{job}/contributions", { params: { path: { job } } }));
  for (const { round, rows } of tables.items) {
    for (const row of rows) {
      console.log(`contribution in round ${round}: ${row.site} ${row.batch_share_ppm} ppm of batch ${row.batch}`);
    }
  }
  for (const line of statement.lines) {
    console.log(`reward: ${line.legal_entity} ${line.amount}`);
  }
  console.log(`statement: ${statement.paid} of ${statement.budget} paid, ${statement.returned} returned`);
}

/** Downloads a blob; it is what it is called, whoever served it. */
async function download(gateway: Gateway, digest: string, path: string): Promise<void> {
  const answer = await gateway.GET("/v1/blobs/{digest}", { params: { path: { digest } }, parseAs: "arrayBuffer" });
  const bytes = new Uint8Array(given(answer));
  if (sha256(bytes).toString("hex") !== digest) {
    throw new Error(`what came for ${digest} are other bytes`);
  }
  writeFileSync(path, bytes);
  console.log(`parameters ${digest}: ${bytes.length} bytes in ${basename(path)}`);
}

/** Reads the entry that the job began with, checks that it is in the ledger, and keeps what shows it to others. */
async function keepProof(gateway: Gateway, index: number, folder: string): Promise<void> {
  const params = { path: { index } };
  const entry = given(await gateway.GET("/v1/ledger/entries/{index}", { params }));
  const proof = given(await gateway.GET("/v1/ledger/entries/{index}/proof", { params }));
  checkInclusion(entry.leaf, entry.index, proof.size, proof.path, proof.root);
  const { action }: { action: string } = JSON.parse(entry.leaf);
  console.log(`entry ${entry.index}: ${action}, in the tree of ${proof.size} entries with root ${proof.root}`);
  const receipt = given(await gateway.GET("/v1/ledger/entries/{index}/receipt", { params }));
  if (typeof receipt === "string") {
    throw new Error("the receipt came as text: that is for those who ask for it with Accept: text/plain");
  }
  writeFileSync(join(folder, "entry.json"), receipt.leaf);
  writeFileSync(join(folder, "entry.tlog-proof"), receipt.receipt);
  console.log(`receipt: ${receipt.quorum.witnesses.length} of ${receipt.quorum.enrolled} witnesses cosigned its head`);
}

/** What is somebody else's is answered like what is not there, by a problem that names the reason. */
async function askForWhatIsNotThere(gateway: Gateway): Promise<void> {
  const { error } = await gateway.GET("/v1/jobs/{job}", { params: { path: { job: "job-of-nobody" } } });
  if (error === undefined) {
    throw new Error("a job that nobody asked for was read");
  }
  console.log(`refused: ${error.status} ${error.type}: ${error.detail}`);
}

const { registration, rest } = fromCommandLine("node job.ts FOLDER");
const folder = rest[0] ?? ".";
const gateway = await connect(registration);
const model = await register(gateway, folder);
const asked = await requestJob(gateway, folder, model.model);
const job = await waitForTheEnd(gateway, asked.job);
await tellRounds(gateway, job.job);
await tellRewards(gateway, job.job);
await download(gateway, job.global_parameters, join(folder, "final.f32"));
await keepProof(gateway, job.entry, folder);
await askForWhatIsNotThere(gateway);
