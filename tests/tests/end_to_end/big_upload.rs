//! A large model's parameters are uploaded while client and gateway are killed with -9 in turn: the upload goes on from
//! what was durable, ends with the right digest, and the gateway's memory stays small.
//!
//! 96 MiB in every run; `make test-upload` takes 2 GiB.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "the lints spare test functions, but not what they call"
)]

use std::fs;
use std::io::{BufWriter, Read, Write};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use konclave_crypto::Digest;
use konclave_openapi::models::{Model, ModelManifest, NewModel, ParameterTensor};
use konclave_openapi::page::Page;
use konclave_openapi::uploads::Upload;
use konclave_tests::consortium::{Consortium, Plan, Process};
use konclave_tests::partner::PartnerClient;
use ring::digest::{Context, SHA256};

use crate::support;

const MIB: u64 = 1 << 20;
/// Kills of each side.
const KILLS: u64 = 3;
/// What the gateway may hold in memory at any moment.
const MOST_MEMORY: u64 = 200 * MIB;
/// How long requests may take that read the whole blob.
const LONG: Duration = Duration::from_secs(900);

fn size() -> u64 {
    let bytes = std::env::var("KONCLAVE_UPLOAD_BYTES").ok().and_then(|text| text.parse().ok());
    bytes.unwrap_or(96 * MIB) / 4 * 4
}

/// Knuth's MMIX generator: the same bytes and kills in every run.
struct Chance(u64);

impl Chance {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        self.0 >> 33
    }
}

/// Writes parameters, all of them finite: a number whose second bit is 0 is none of those that are not.
fn write_parameters(path: &Path, bytes: u64) -> Digest {
    let mut file = BufWriter::with_capacity(1 << 20, fs::File::create(path).unwrap());
    let (mut chance, mut hash) = (Chance(2026), Context::new(&SHA256));
    let mut block = vec![0; 1 << 16];
    let mut left = bytes;
    while left > 0 {
        for word in block.chunks_exact_mut(4) {
            let bits = u32::try_from(chance.next() & 0x3fff_ffff).unwrap();
            word.copy_from_slice(&bits.to_le_bytes());
        }
        let part = &block[..usize::try_from(left.min(block.len() as u64)).unwrap()];
        hash.update(part);
        file.write_all(part).unwrap();
        left -= part.len() as u64;
    }
    file.into_inner().unwrap();
    Digest(hash.finish().as_ref().try_into().unwrap())
}

/// The upload under way: the client's process, and what its earlier ones sent.
struct Client<'a> {
    partner: &'a PartnerClient,
    arguments: Vec<String>,
    token_file: PathBuf,
    log: PathBuf,
    process: Option<Process>,
    started: u64,
    sent: u64,
}

impl Client<'_> {
    fn start(&mut self) {
        self.renew_token();
        self.started += 1;
        let log = self.log.with_extension(format!("{}.log", self.started));
        let python = std::env::var("PYTHON").unwrap_or_else(|_| "python3".to_owned());
        self.process = Some(Process::start("upload.py", Path::new(&python), &self.arguments, &log).unwrap());
    }

    /// Tokens last minutes. The file is replaced in one step, because the client may be reading it.
    fn renew_token(&self) {
        if let Ok(token) = self.partner.token() {
            let next = self.token_file.with_extension("new");
            fs::write(&next, token).unwrap();
            fs::rename(&next, &self.token_file).unwrap();
        }
    }

    fn printed(&self) -> String {
        self.process.as_ref().unwrap().printed()
    }

    /// Waits until the client has sent up to `offset`, and for a moment more.
    fn wait_for(&mut self, offset: u64, moment: Duration) {
        let began = Instant::now();
        while last_offset(&self.printed()) < offset {
            self.process.as_mut().unwrap().expect_running().unwrap();
            assert!(began.elapsed() < LONG, "{offset} is not reached:\n{}", self.printed());
            std::thread::sleep(Duration::from_millis(5));
            if began.elapsed().as_secs() % 60 == 59 {
                self.renew_token();
            }
        }
        std::thread::sleep(moment);
    }

    fn kill(&mut self) {
        self.count();
        self.process.take().unwrap().kill();
    }

    /// Adds up what the process sent: from where each part began to where it got.
    fn count(&mut self) {
        let (mut from, mut to, mut sent) = (0, 0, 0);
        for line in self.printed().lines() {
            if let Some(offset) = number(line, "sending from ") {
                sent += to - from;
                (from, to) = (offset, offset);
            } else if let Some(offset) = number(line, "at ") {
                to = offset;
            }
        }
        self.sent += sent + (to - from);
    }

    fn wait_for_the_end(&mut self) {
        let began = Instant::now();
        let status = loop {
            if let Some(status) = self.process.as_mut().unwrap().ended().unwrap() {
                break status;
            }
            assert!(began.elapsed() < LONG, "{}", self.printed());
            std::thread::sleep(Duration::from_millis(50));
            if began.elapsed().as_secs() % 60 == 59 {
                self.renew_token();
            }
        };
        assert!(status.success(), "{}", self.printed());
        self.count();
    }
}

fn number(line: &str, prefix: &str) -> Option<u64> {
    line.strip_prefix(prefix)?.parse().ok()
}

fn last_offset(printed: &str) -> u64 {
    printed.lines().rev().find_map(|line| number(line, "at ")).unwrap_or(0)
}

/// Reads the blob back without holding it.
fn digest_of_blob(partner: &PartnerClient, consortium: &Consortium, digest: &Digest) -> Digest {
    let url = format!("{}/v1/blobs/{digest}", consortium.url);
    let request = partner.http().get(url).bearer_auth(partner.token().unwrap()).timeout(LONG);
    let mut answer = request.send().unwrap().error_for_status().unwrap();
    let (mut hash, mut buffer) = (Context::new(&SHA256), vec![0; 1 << 20]);
    loop {
        match answer.read(&mut buffer).unwrap() {
            0 => return Digest(hash.finish().as_ref().try_into().unwrap()),
            read => hash.update(&buffer[..read]),
        }
    }
}

/// Registers a model whose parameters are the uploaded ones.
fn register(partner: &PartnerClient, consortium: &Consortium, parameters: Digest, coordinates: u64) -> Model {
    let manifest = ModelManifest {
        parameters: vec![ParameterTensor { name: "weights".to_owned(), shape: vec![coordinates] }],
        coordinates,
        heads: 1,
        torchscript: partner.upload(b"a module".to_vec()).unwrap(),
        initial_parameters: parameters,
    };
    let model = NewModel { name: "a large model".to_owned(), manifest };
    let request = partner.http().post(format!("{}/v1/models", consortium.url)).json(&model);
    let answer = request.bearer_auth(partner.token().unwrap()).timeout(LONG).send().unwrap();
    answer.error_for_status().unwrap().json().unwrap()
}

#[test]
fn an_upload_survives_kills_of_client_and_gateway_in_bounded_memory() {
    let folder = tempfile::tempdir().unwrap();
    let mut consortium = Consortium::found(&Plan::new(&folder.path().join("consortium"), 2)).unwrap();
    let (developer, _auditor) = support::partners(&consortium);
    let (file, token_file) = (folder.path().join("parameters"), folder.path().join("token"));
    let bytes = size();
    let digest = write_parameters(&file, bytes);
    consortium.start_gateway_unrecorded().unwrap();
    // Parts and speed so that every kill falls into the middle of the work.
    let (part, rate) = ((bytes / 32).div_ceil(MIB).min(64), (bytes / 6 / MIB).clamp(8, 64));
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("../scripts/partner/upload.py");
    let words = [script, consortium.ca_file(), token_file.clone(), file];
    let [script, ca, token, file] = words.map(|path| path.display().to_string());
    let (part_mib, rate_mib) = (part.to_string(), rate.to_string());
    let options = ["--url", &consortium.url, "--ca", &ca, "--token-file", &token];
    let pace = ["--part-mib", &part_mib, "--rate-mib", &rate_mib, &file];
    let arguments: Vec<String> =
        [&[script.as_str()][..], &options, &pace].concat().into_iter().map(str::to_owned).collect();
    let log = folder.path().join("client");
    let mut client =
        Client { partner: &developer, arguments, token_file, log, process: None, started: 0, sent: 0 };
    let (mut chance, mut memory, began) = (Chance(7), 0, Instant::now());
    client.start();
    for kill in 1..=2 * KILLS {
        let step = bytes / (2 * KILLS + 2);
        let at = kill * step + chance.next() % (step / 2);
        client.wait_for(at, Duration::from_millis(chance.next() % 50));
        if kill % 2 == 1 {
            client.kill();
            client.start();
        } else {
            memory = memory.max(support::peak_memory(&consortium));
            consortium.kill_gateway();
            std::thread::sleep(Duration::from_millis(chance.next() % 500));
            consortium.start_gateway_unrecorded().unwrap();
        }
    }
    client.wait_for_the_end();
    let took = began.elapsed();
    let uploads: Page<Upload> = developer.get("/v1/uploads").unwrap();
    assert_eq!(uploads.items.len(), 1, "the client found its upload again each time");
    assert!(uploads.items[0].complete && uploads.items[0].digest == digest);
    assert_eq!(digest_of_blob(&developer, &consortium, &digest), digest);
    let model = register(&developer, &consortium, digest, bytes / 4);
    assert_eq!(model.manifest.initial_parameters, digest);
    memory = memory.max(support::peak_memory(&consortium));
    println!(
        "{} MiB in {} s of at most {rate} MiB each; {KILLS} kills of the client, {KILLS} of the gateway; {} MiB sent; \
         gateway: {} MiB at most",
        bytes / MIB,
        took.as_secs(),
        client.sent / MIB,
        memory / MIB
    );
    assert!(client.sent <= bytes + bytes / 10 * 3, "{} of {bytes} bytes were sent", client.sent);
    assert!(memory < MOST_MEMORY, "the gateway held {memory} bytes");
}
