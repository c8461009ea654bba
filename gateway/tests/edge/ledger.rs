//! The auditors' side over real TLS: queries with proofs, receipts, a streamed export, corrections and reviews by clients
//! with tokens, files that clients may keep.

use konclave_ledger::records::ReviewResult;
use konclave_ledger::statements::{self, ReviewStatement};
use konclave_ledger::tlog_proof::TlogProof;
use konclave_ledger::{Checkpoint, InclusionProof, VerifierKey, tree};
use konclave_openapi::ledger::{EntryPage, ExportEnd, ExportHead, ExportedEntry, LedgerStatus, Receipt};
use konclave_openapi::reviews::Review;
use konclave_openapi::status::Status;
use reqwest::{RequestBuilder, Response, StatusCode};
use serde::de::DeserializeOwned;
use serde_json::{Value, json};

use crate::deployment::{Folders, Served, problem};

const AUDITOR: u8 = 31;
const OPERATOR: u8 = 32;
const DEVELOPER: u8 = 33;

struct Partners {
    served: Served,
    auditor: String,
    operator: String,
    developer: String,
}

async fn partners() -> Partners {
    let folders = Folders::new();
    folders.add_client("auditor-1", "auditor", AUDITOR);
    folders.add_client("operator-1", "operator", OPERATOR);
    folders.add_client("dev", "model-developer", DEVELOPER);
    let served = folders.serve().await;
    let auditor = served.token("auditor-1", AUDITOR).await;
    let operator = served.token("operator-1", OPERATOR).await;
    let developer = served.token("dev", DEVELOPER).await;
    Partners { served, auditor, operator, developer }
}

impl Partners {
    fn get(&self, token: &str, path: &str) -> RequestBuilder {
        self.served.client(None).get(self.served.url(path)).bearer_auth(token)
    }

    fn post(&self, token: &str, path: &str, body: &impl serde::Serialize) -> RequestBuilder {
        let request = self.served.client(None).post(self.served.url(path)).bearer_auth(token);
        request.header("content-type", "application/json").body(serde_json::to_vec(body).unwrap())
    }

    async fn key(&self) -> VerifierKey {
        let answer = self.served.client(None).get(self.served.url("/v1/status")).send().await.unwrap();
        json_of::<Status>(answer, 200).await.ledger_key.parse().unwrap()
    }
}

async fn json_of<T: DeserializeOwned>(answer: Response, status: u16) -> T {
    let got = answer.status().as_u16();
    let bytes = answer.bytes().await.unwrap();
    assert_eq!(got, status, "{}", String::from_utf8_lossy(&bytes));
    serde_json::from_slice(&bytes).unwrap()
}

#[tokio::test]
async fn an_auditor_checks_pages_receipts_and_exports_with_the_key_alone() {
    let partners = partners().await;
    let key = partners.key().await;
    let answer = partners.get(&partners.auditor, "/v1/ledger/entries?proofs=true").send().await.unwrap();
    let page: EntryPage = json_of(answer, 200).await;
    let (head, _) = Checkpoint::verify(page.checkpoint.as_ref().unwrap().as_bytes(), &key).unwrap();
    assert_eq!(page.items.len() as u64, head.size);
    let receipt = "/v1/ledger/entries/1/receipt";
    let shown: Receipt = json_of(partners.get(&partners.auditor, receipt).send().await.unwrap(), 200).await;
    shown.receipt.parse::<TlogProof>().unwrap().verify(shown.leaf.as_bytes(), &key).unwrap();
    let plain = partners.get(&partners.auditor, receipt).header("accept", "text/plain").send().await.unwrap();
    assert_eq!(plain.headers()["content-type"], "text/plain; charset=utf-8");
    assert_eq!(plain.text().await.unwrap(), shown.receipt);

    // The stream comes in parts and ends with its count.
    let mut answer = partners.get(&partners.auditor, "/v1/ledger/export.ndjson").send().await.unwrap();
    assert_eq!(
        (answer.status(), &answer.headers()["content-type"]),
        (StatusCode::OK, &"application/x-ndjson".parse().unwrap())
    );
    let mut text = Vec::new();
    while let Some(part) = answer.chunk().await.unwrap() {
        text.extend_from_slice(&part);
    }
    let text = String::from_utf8(text).unwrap();
    let mut lines = text.lines();
    let first: ExportHead = serde_json::from_str(lines.next().unwrap()).unwrap();
    let (head, _) = Checkpoint::verify(first.checkpoint.as_bytes(), &key).unwrap();
    let end: ExportEnd = serde_json::from_str(lines.next_back().unwrap()).unwrap();
    assert_eq!((end.end, lines.clone().count() as u64), (head.size, head.size));
    for line in lines {
        let entry: ExportedEntry = serde_json::from_str(line).unwrap();
        let proof = InclusionProof { index: entry.index, size: head.size, hashes: entry.proof };
        proof.verify(&tree::leaf_hash(entry.leaf.as_bytes()), &head.root).unwrap();
    }
    let answer =
        partners.get(&partners.auditor, "/v1/ledger/entries?action=ledger.exported").send().await.unwrap();
    let exports: EntryPage = json_of(answer, 200).await;
    assert!(exports.items.len() == 1 && exports.items[0].leaf.contains("\"by\":\"auditor-1\""));
    // A reader that goes away in the middle leaves the gateway as it was.
    for _ in 0..20 {
        drop(partners.get(&partners.auditor, "/v1/ledger/export.ndjson").send().await.unwrap());
    }
    let refused = partners.get(&partners.developer, "/v1/ledger/export.ndjson").send().await.unwrap();
    problem(refused, 403, "forbidden").await;
    let anonymous = partners.served.client(None).get(partners.served.url("/v1/ledger/export.ndjson"));
    problem(anonymous.send().await.unwrap(), 401, "unauthenticated").await;
}

#[tokio::test]
async fn operators_correct_and_auditors_review() {
    let partners = partners().await;
    let body = json!({"entry": 1, "field": "/reason", "is": "set by the council", "reason": "the file was the council's"});
    let path = "/v1/ledger/corrections";
    problem(partners.post(&partners.auditor, path, &body).send().await.unwrap(), 403, "forbidden").await;
    let request = || partners.post(&partners.operator, path, &body).header("idempotency-key", "key-1").send();
    let made = request().await.unwrap();
    let location = made.headers()["location"].to_str().unwrap().to_owned();
    let made: Value = json_of(made, 201).await;
    assert_eq!(location, format!("/v1/ledger/entries/{}", made["recorded_in"]));
    assert_eq!(
        (&made["was"], &made["is"]),
        (&json!("the rounds policy in the gateway's folder"), &json!("set by the council"))
    );
    assert_eq!(json_of::<Value>(request().await.unwrap(), 201).await, made);
    let again = partners.post(&partners.operator, path, &body).send().await.unwrap();
    problem(again, 409, "conflict").await;
    let fixed = json!({"entry": 1, "field": "/time", "is": "now", "reason": "x"});
    let refused = partners.post(&partners.operator, path, &fixed).send().await.unwrap();
    assert_eq!(problem(refused, 422, "rejected").await.errors[0].at, "/field");

    let status: LedgerStatus =
        json_of(partners.get(&partners.developer, "/v1/ledger/status").send().await.unwrap(), 200).await;
    let answer = partners.get(&partners.auditor, "/v1/ledger/checkpoint").send().await.unwrap();
    let checkpoint: Value = json_of(answer, 200).await;
    let mut stated = ReviewStatement {
        reviewer: "auditor-1".to_owned(),
        origin: status.origin.clone(),
        from: 0,
        size: status.size,
        root: checkpoint["root"].as_str().unwrap().parse().unwrap(),
        result: ReviewResult::Remarks,
        entries_checked: status.size,
        statements_checked: 0,
        witnesses: Vec::new(),
        findings: Vec::new(),
        remarks: "no witness cosigns yet".to_owned(),
        made_at: partners.served.now().get(),
    };
    let path = "/v1/ledger/reviews";
    let signed = |stated: &ReviewStatement, seed: u8| statements::sign(&[seed; 32], stated).unwrap();
    let other = partners.post(&partners.auditor, path, &signed(&stated, OPERATOR)).send().await.unwrap();
    problem(other, 422, "rejected").await;
    let operator = partners.post(&partners.operator, path, &signed(&stated, OPERATOR)).send().await.unwrap();
    problem(operator, 403, "forbidden").await;
    let answer = partners.post(&partners.auditor, path, &signed(&stated, AUDITOR)).send().await.unwrap();
    let review: Review = json_of(answer, 201).await;
    assert_eq!((review.size, review.result), (status.size, ReviewResult::Remarks));
    (stated.size, stated.entries_checked) = (stated.size - 1, stated.size - 1);
    let older = partners.post(&partners.auditor, path, &signed(&stated, AUDITOR)).send().await.unwrap();
    assert_eq!(problem(older, 422, "rejected").await.errors[0].at, "size");
    let status: LedgerStatus =
        json_of(partners.get(&partners.developer, "/v1/ledger/status").send().await.unwrap(), 200).await;
    assert_eq!(status.last_review, Some(review));
}

#[tokio::test]
async fn files_are_kept_by_their_tags() {
    let partners = partners().await;
    for (path, media, lifetime) in [
        ("/checkpoint", "text/plain; charset=utf-8", "private, no-cache"),
        ("/tile/0/000.p/2", "application/octet-stream", "private, max-age=31536000, immutable"),
        ("/tile/entries/000.p/2", "application/octet-stream", "private, max-age=31536000, immutable"),
        ("/v1/ledger/schemas/policy.set", "application/schema+json", "private, max-age=3600"),
    ] {
        let answer = partners.get(&partners.auditor, path).send().await.unwrap();
        assert_eq!(answer.status(), StatusCode::OK, "{path}");
        let headers = answer.headers().clone();
        assert_eq!(
            (headers["content-type"].to_str().unwrap(), headers["cache-control"].to_str().unwrap()),
            (media, lifetime)
        );
        let again = partners.get(&partners.auditor, path).header("if-none-match", &headers["etag"]);
        assert_eq!(again.send().await.unwrap().status(), StatusCode::NOT_MODIFIED, "{path}");
        problem(
            partners.served.client(None).get(partners.served.url(path)).send().await.unwrap(),
            401,
            "unauthenticated",
        )
        .await;
    }
    problem(partners.get(&partners.auditor, "/witnessed").send().await.unwrap(), 404, "not-found").await;
    problem(
        partners.get(&partners.developer, "/tile/entries/000.p/2").send().await.unwrap(),
        403,
        "forbidden",
    )
    .await;
}
