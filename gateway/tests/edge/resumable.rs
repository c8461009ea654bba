//! Resumable uploads over HTTP: they go on where they broke off, end with the right digest, and are their owner's.

use std::convert::Infallible;
use std::io;

use bytes::Bytes;
use futures_util::{StreamExt, stream};
use konclave_crypto::Digest;
use konclave_openapi::models::{Model, ModelManifest, NewModel, ParameterTensor};
use konclave_openapi::page::Page;
use konclave_openapi::uploads::{NewUpload, Upload};
use reqwest::{Body, Method, RequestBuilder, Response, StatusCode};
use serde::de::DeserializeOwned;

use crate::deployment::{Folders, Served, problem, public_pem, succeed};

const SEED: u8 = 3;

/// A gateway and a partner system's token for it.
struct Partner {
    served: Served,
    token: String,
}

async fn partner(folders: Folders) -> Partner {
    folders.add_client("dev", "model-developer", SEED);
    let served = folders.serve().await;
    let token = served.token("dev", SEED).await;
    Partner { served, token }
}

fn new(bytes: &[u8]) -> NewUpload {
    NewUpload { digest: Digest::of(bytes), bytes: bytes.len() as u64 }
}

async fn read<T: DeserializeOwned>(answer: Response, status: StatusCode) -> T {
    let got = answer.status();
    let body = answer.bytes().await.unwrap();
    assert_eq!(got, status, "{}", String::from_utf8_lossy(&body));
    serde_json::from_slice(&body).unwrap()
}

fn header<'a>(answer: &'a Response, name: &str) -> &'a str {
    answer.headers()[name].to_str().unwrap()
}

impl Partner {
    fn request(&self, method: Method, path: &str) -> RequestBuilder {
        self.served.client(None).request(method, self.served.url(path)).bearer_auth(&self.token)
    }

    async fn announce(&self, new: &NewUpload, key: Option<&str>) -> Response {
        let request = self.request(Method::POST, "/v1/uploads").json(new);
        let request = match key {
            Some(key) => request.header("idempotency-key", key),
            None => request,
        };
        request.send().await.unwrap()
    }

    async fn open(&self, bytes: &[u8]) -> String {
        let upload: Upload = read(self.announce(&new(bytes), None).await, StatusCode::CREATED).await;
        format!("/v1/uploads/{}", upload.upload)
    }

    async fn patch(
        &self,
        path: &str,
        offset: usize,
        complete: &str,
        body: impl Into<Body>,
    ) -> reqwest::Result<Response> {
        self.request(Method::PATCH, path)
            .header("content-type", "application/partial-upload")
            .header("upload-offset", offset)
            .header("upload-complete", complete)
            .body(body)
            .send()
            .await
    }

    async fn head(&self, path: &str) -> (String, String) {
        let answer = self.request(Method::HEAD, path).send().await.unwrap();
        assert_eq!(answer.status(), StatusCode::NO_CONTENT);
        assert_eq!(header(&answer, "cache-control"), "no-store");
        (header(&answer, "upload-offset").to_owned(), header(&answer, "upload-complete").to_owned())
    }

    async fn blob(&self, bytes: &[u8]) -> Bytes {
        let path = format!("/v1/blobs/{}", Digest::of(bytes));
        self.request(Method::GET, &path).send().await.unwrap().bytes().await.unwrap()
    }
}

#[tokio::test]
async fn an_upload_goes_on_where_its_connection_broke() {
    let partner = partner(Folders::new()).await;
    let bytes: Vec<u8> = (0..3_000_000_u32).map(|index| index.to_le_bytes()[0] ^ 0x5a).collect();
    let answer = partner.announce(&new(&bytes), None).await;
    assert_eq!((header(&answer, "upload-offset"), header(&answer, "upload-complete")), ("0", "?0"));
    assert_eq!(header(&answer, "upload-limit"), "max-size=4294967296, max-age=604800");
    let path = header(&answer, "location").to_owned();
    let upload: Upload = read(answer, StatusCode::CREATED).await;
    assert_eq!((path.as_str(), upload.offset), (format!("/v1/uploads/{}", upload.upload).as_str(), 0));
    let broken = stream::iter([Ok(Bytes::copy_from_slice(&bytes[..2_000_000]))]).chain(stream::once(async {
        tokio::time::sleep(std::time::Duration::from_millis(300)).await;
        Err(io::Error::other("the line is cut"))
    }));
    partner.patch(&path, 0, "?1", Body::wrap_stream(broken)).await.unwrap_err();
    let mut offset = 0;
    while offset < 2_000_000 {
        tokio::time::sleep(std::time::Duration::from_millis(20)).await;
        offset = partner.head(&path).await.0.parse().unwrap();
    }
    assert_eq!(offset, 2_000_000);
    let answer = partner.patch(&path, offset, "?0", bytes[offset..2_500_000].to_vec()).await.unwrap();
    assert_eq!((header(&answer, "upload-offset"), header(&answer, "upload-complete")), ("2500000", "?0"));
    for _ in 0..2 {
        // The second time its answer was lost.
        let answer = partner.patch(&path, 2_500_000, "?1", bytes[2_500_000..].to_vec()).await.unwrap();
        assert_eq!(header(&answer, "upload-complete"), "?1");
        let done: Upload = read(answer, StatusCode::OK).await;
        assert!(done.complete && done.offset == 3_000_000);
    }
    assert_eq!(partner.head(&path).await, ("3000000".to_owned(), "?1".to_owned()));
    assert!(partner.blob(&bytes).await == bytes);
    let listed: Page<Upload> =
        read(partner.request(Method::GET, "/v1/uploads").send().await.unwrap(), StatusCode::OK).await;
    assert_eq!((listed.items.len(), listed.items[0].complete), (1, true));
    let shown: Upload = read(partner.request(Method::GET, &path).send().await.unwrap(), StatusCode::OK).await;
    assert_eq!(shown, listed.items[0]);
}

#[tokio::test]
async fn what_does_not_continue_or_end_an_upload_is_refused_and_changes_nothing() {
    let partner = partner(Folders::new()).await;
    let path = partner.open(b"hello world").await;
    let patch = |offset, complete, body: &'static str| partner.patch(&path, offset, complete, body);
    patch(0, "?0", "hello ").await.unwrap();
    let wrong = patch(7, "?1", "orld").await.unwrap();
    assert_eq!(header(&wrong, "upload-offset"), "6");
    problem(wrong, 409, "upload-offset").await;
    let short = patch(6, "?1", "worl").await.unwrap();
    assert_eq!(header(&short, "upload-offset"), "10");
    problem(short, 422, "upload-incomplete").await;
    problem(patch(10, "?1", "d!").await.unwrap(), 413, "too-large").await;
    problem(patch(10, "1", "d").await.unwrap(), 400, "invalid-request").await;
    let request = || partner.request(Method::PATCH, &path).header("upload-offset", 10).body("d");
    let answer = request().header("content-type", "application/partial-upload").send().await.unwrap();
    assert_eq!(problem(answer, 400, "invalid-request").await.errors[0].at, "Upload-Complete");
    let answer = request().header("upload-complete", "?1").send().await.unwrap();
    problem(answer, 415, "unsupported-media-type").await;
    assert_eq!(partner.head(&path).await, ("10".to_owned(), "?0".to_owned()));
    // Other bytes than announced: the upload begins anew.
    problem(patch(10, "?1", "D").await.unwrap(), 422, "digest-mismatch").await;
    assert_eq!(partner.head(&path).await, ("0".to_owned(), "?0".to_owned()));
    assert_eq!(patch(0, "?1", "hello world").await.unwrap().status(), StatusCode::OK);
    problem(patch(11, "?0", "").await.unwrap(), 409, "conflict").await;
    assert_eq!(partner.blob(b"hello world").await, "hello world");
}

#[tokio::test]
async fn bytes_without_a_length_are_bounded_by_the_announcement() {
    let partner = partner(Folders::new()).await;
    let path = partner.open(b"hello").await;
    let endless = stream::repeat_with(|| Ok::<_, Infallible>(Bytes::from(vec![0; 1 << 16]))).take(200);
    match partner.patch(&path, 0, "?0", Body::wrap_stream(endless)).await {
        Ok(answer) => drop(problem(answer, 413, "too-large").await),
        // The gateway answered and closed before all was sent.
        Err(error) => assert!(error.is_request() || error.is_body(), "{error}"),
    }
    assert_eq!(partner.head(&path).await.0, "0");
}

#[tokio::test]
async fn an_announcement_is_repeated_by_its_key() {
    let partner = partner(Folders::new()).await;
    let first: Upload = read(partner.announce(&new(b"hello"), Some("k")).await, StatusCode::CREATED).await;
    let path = format!("/v1/uploads/{}", first.upload);
    partner.patch(&path, 0, "?0", "hel").await.unwrap();
    let again = partner.announce(&new(b"hello"), Some("k")).await;
    assert_eq!((header(&again, "location"), header(&again, "upload-offset")), (path.as_str(), "3"));
    let again: Upload = read(again, StatusCode::CREATED).await;
    assert_eq!(again, Upload { offset: 3, ..first });
    problem(partner.announce(&new(b"other"), Some("k")).await, 422, "idempotency-mismatch").await;
    let other: Upload = read(partner.announce(&new(b"hello"), Some("l")).await, StatusCode::CREATED).await;
    assert_ne!(other.upload, again.upload);
}

#[tokio::test]
async fn another_organisations_upload_is_answered_like_none() {
    let folders = Folders::new();
    let rival_key = folders.path("rival.pub");
    std::fs::write(&rival_key, public_pem(4)).unwrap();
    let dir = folders.dir();
    let add = ["client", "add", "--dir", &dir, "--client-id", "rival", "--organisation", "Rival"];
    succeed(&[&add[..], &["--role", "model-developer", "--public-key", &rival_key]].concat());
    folders.add_client("auditor", "auditor", 5);
    let mut partner = partner(folders).await;
    let path = partner.open(b"weights").await;
    partner.patch(&path, 0, "?0", "wei").await.unwrap();
    let own = std::mem::replace(&mut partner.token, partner.served.token("rival", 4).await);
    let absent = format!("/v1/uploads/{}", "0".repeat(32));
    for method in [Method::GET, Method::PATCH, Method::DELETE] {
        let mut details = Vec::new();
        for path in [&path, &absent] {
            let request =
                partner.request(method.clone(), path).header("content-type", "application/partial-upload");
            let request = request.header("upload-offset", 3).header("upload-complete", "?1").body("ghts");
            let refused = problem(request.send().await.unwrap(), 404, "not-found").await;
            details.push(refused.detail.replace(path.rsplit('/').next().unwrap(), "ID"));
        }
        assert_eq!(details[0], details[1]);
    }
    let head = partner.request(Method::HEAD, &path).send().await.unwrap();
    assert_eq!(head.status(), StatusCode::NOT_FOUND);
    let listed: Page<Upload> =
        read(partner.request(Method::GET, "/v1/uploads").send().await.unwrap(), StatusCode::OK).await;
    assert!(listed.items.is_empty());
    // The same key and bytes of another organisation are another upload, and its bytes are needed all the same.
    partner.token = own.clone();
    partner.patch(&path, 3, "?1", "ghts").await.unwrap();
    partner.token = partner.served.token("rival", 4).await;
    let theirs = partner.open(b"weights").await;
    let short = partner.patch(&theirs, 0, "?1", "").await.unwrap();
    problem(short, 422, "upload-incomplete").await;
    // Who may not upload blobs has no uploads either.
    partner.token = partner.served.token("auditor", 5).await;
    problem(partner.announce(&new(b"x"), None).await, 403, "forbidden").await;
    for path in ["/v1/uploads", &path, &absent] {
        problem(partner.request(Method::GET, path).send().await.unwrap(), 403, "forbidden").await;
    }
    let nobody = partner.served.client(None).get(partner.served.url(&path)).send().await.unwrap();
    problem(nobody, 401, "unauthenticated").await;
}

#[tokio::test]
async fn open_uploads_are_bounded_and_can_be_deleted() {
    let folders = Folders::new();
    folders.configure("blob_bytes = 4294967296", "blob_bytes = 1000");
    folders.configure("open_upload_bytes = 68719476736", "open_upload_bytes = 1500");
    let partner = partner(folders).await;
    let announce = |bytes: u64| {
        let new = NewUpload { digest: Digest::of(b"x"), bytes };
        let partner = &partner;
        async move { partner.announce(&new, None).await }
    };
    problem(announce(1001).await, 413, "too-large").await;
    problem(announce(0).await, 400, "invalid-request").await;
    let first: Upload = read(announce(1000).await, StatusCode::CREATED).await;
    let refused = problem(announce(501).await, 409, "upload-quota").await;
    assert!(refused.detail.contains("1501") && refused.detail.contains("1500"), "{}", refused.detail);
    let path = format!("/v1/uploads/{}", first.upload);
    let deleted = partner.request(Method::DELETE, &path).send().await.unwrap();
    assert_eq!(deleted.status(), StatusCode::NO_CONTENT);
    problem(partner.request(Method::GET, &path).send().await.unwrap(), 404, "not-found").await;
    for _ in 0..16 {
        read::<Upload>(announce(1).await, StatusCode::CREATED).await;
    }
    problem(announce(1).await, 409, "upload-quota").await;
}

#[tokio::test]
async fn an_upload_whose_bytes_stop_arriving_ends_and_keeps_what_came() {
    let folders = Folders::new();
    folders.configure("body_idle_seconds = 30", "body_idle_seconds = 1");
    let partner = partner(folders).await;
    let path = partner.open(b"hello").await;
    let silent =
        stream::once(async { Ok::<_, Infallible>(Bytes::from_static(b"hel")) }).chain(stream::pending());
    let answer = partner.patch(&path, 0, "?1", Body::wrap_stream(silent)).await.unwrap();
    let refused = problem(answer, 400, "invalid-request").await;
    assert!(refused.detail.contains("stopped arriving"), "{}", refused.detail);
    assert_eq!(partner.head(&path).await, ("3".to_owned(), "?0".to_owned()));
}

#[tokio::test]
async fn a_model_is_registered_from_uploaded_parameters() {
    let partner = partner(Folders::new()).await;
    let parameters: Vec<u8> = (0..1000_u16).flat_map(|index| f32::from(index).to_le_bytes()).collect();
    let torchscript = b"a module".to_vec();
    let manifest = ModelManifest {
        parameters: vec![ParameterTensor { name: "w".into(), shape: vec![1000] }],
        coordinates: 1000,
        heads: 1,
        torchscript: Digest::of(&torchscript),
        initial_parameters: Digest::of(&parameters),
    };
    let register = || {
        let model = NewModel { name: "a large model".into(), manifest: manifest.clone() };
        partner.request(Method::POST, "/v1/models").json(&model).send()
    };
    let first = partner.open(&torchscript).await;
    partner.patch(&first, 0, "?1", torchscript.clone()).await.unwrap();
    let second = partner.open(&parameters).await;
    partner.patch(&second, 0, "?0", parameters.clone()).await.unwrap();
    // All bytes are there, but nobody said that they are all.
    let early = problem(register().await.unwrap(), 422, "rejected").await;
    assert_eq!(early.errors[0].at, "/manifest/initial_parameters");
    let offset = parameters.len();
    assert_eq!(partner.patch(&second, offset, "?1", "").await.unwrap().status(), StatusCode::OK);
    let model: Model = read(register().await.unwrap(), StatusCode::CREATED).await;
    assert_eq!(model.manifest, manifest);
}
