//! What the gateway does not take on: connections, bodies, requests beyond what it can hold.

use std::convert::Infallible;
use std::io::{BufRead, BufReader};
use std::net::{Ipv4Addr, SocketAddr};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use bytes::Bytes;
use futures_util::stream;
use konclave_crypto::MemberRole;
use reqwest::{Body, Certificate, Client, StatusCode};
use tokio::io::AsyncReadExt;
use tokio::net::{TcpSocket, TcpStream};

use crate::deployment::{Folders, problem};

/// A TCP connection from a local address that sends nothing.
async fn silent(from: Ipv4Addr, to: SocketAddr) -> TcpStream {
    let socket = TcpSocket::new_v4().unwrap();
    socket.bind((from, 0).into()).unwrap();
    socket.connect(to).await.unwrap()
}

/// Whether the other side has closed it.
async fn is_closed(connection: &mut TcpStream) -> bool {
    let wait = Duration::from_millis(50);
    tokio::time::timeout(wait, connection.read(&mut [0; 1])).await.is_ok()
}

/// A body of which a byte comes now and then, without end.
fn dripping(every: Duration) -> Body {
    Body::wrap_stream(stream::unfold((), move |()| async move {
        tokio::time::sleep(every).await;
        Some((Ok::<_, Infallible>(Bytes::from_static(b"a")), ()))
    }))
}

#[tokio::test]
async fn one_address_without_certificates_cannot_take_all_connections() {
    let folders = Folders::new();
    folders.configure("connections_per_address = 64", "connections_per_address = 5");
    let alpha = folders.enrol("alpha", MemberRole::Site, 1);
    let served = folders.serve().await;
    let mut held = Vec::new();
    for _ in 0..20 {
        held.push(silent(Ipv4Addr::new(127, 0, 0, 2), served.address).await);
    }
    let mut open = 0;
    for connection in &mut held {
        open += usize::from(!is_closed(connection).await);
    }
    assert_eq!(open, 5);
    // Members are not counted by address: seven of them from one.
    for _ in 0..7 {
        let client = served.client_of(&alpha);
        let answer = client.get(served.url("/v1/work")).send().await.unwrap();
        assert_eq!(answer.status(), StatusCode::OK);
        std::mem::forget(client);
    }
    // Room comes back.
    drop(held);
    let mut again = silent(Ipv4Addr::new(127, 0, 0, 2), served.address).await;
    assert!(!is_closed(&mut again).await);
}

#[tokio::test]
async fn the_ledger_is_written_however_many_connections_are_opened() {
    let _ = rustls::crypto::ring::default_provider().install_default();
    let folders = Folders::new();
    folders.configure("header_seconds = 15", "header_seconds = 2");
    let mut gateway = Command::new("sh")
        .arg("-c")
        .arg("ulimit -n 200; exec \"$0\" serve --dir \"$1\" --listen 127.0.0.1:0")
        .args([env!("CARGO_BIN_EXE_konclave-gateway"), &folders.dir()])
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let mut announced = String::new();
    BufReader::new(gateway.stdout.take().unwrap()).read_line(&mut announced).unwrap();
    let address: SocketAddr =
        announced.trim().strip_prefix("listening on https://").unwrap().parse().unwrap();
    let mut held = Vec::new();
    for index in 0..300_u32 {
        let from = Ipv4Addr::new(127, 0, 0, 2 + u8::try_from(index / 30).unwrap());
        held.push(silent(from, address).await);
    }
    // An enrolment is an entry of the ledger.
    let alpha = folders.enrol("alpha", MemberRole::Site, 1);
    let url = format!("https://localhost:{}/v1/sites/alpha", address.port());
    let started = Instant::now();
    let taken_in = loop {
        let answer = folders.client(address, Some(&alpha.identity())).get(&url).send().await;
        if answer.is_ok_and(|answer| answer.status() == StatusCode::OK) {
            break true;
        }
        if started.elapsed() > Duration::from_secs(20) || gateway.try_wait().unwrap().is_some() {
            break false;
        }
        tokio::time::sleep(Duration::from_millis(200)).await;
    };
    let ended = gateway.try_wait().unwrap();
    gateway.kill().unwrap();
    gateway.wait().unwrap();
    assert!(taken_in && ended.is_none(), "{ended:?}");
}

#[tokio::test]
async fn a_connection_that_takes_nothing_of_its_answer_is_closed() {
    const BYTES: usize = 48 << 20;
    let folders = Folders::new();
    folders.configure("answer_seconds = 60", "answer_seconds = 1");
    folders.add_client("dev", "model-developer", 33);
    let served = folders.serve().await;
    let token = served.token("dev", 33).await;
    let blob = vec![7; BYTES];
    let url = served.url(&format!("/v1/blobs/{}", konclave_crypto::Digest::of(&blob)));
    let ca = std::fs::read(served.folders.path("deployment/tls/ca.pem")).unwrap();
    let client = Client::builder()
        .tls_certs_only([Certificate::from_pem(&ca).unwrap()])
        .resolve("localhost", served.address)
        .http1_only()
        .build()
        .unwrap();
    let put = client.put(&url).bearer_auth(&token).header("content-type", "application/octet-stream");
    assert_eq!(put.body(blob).send().await.unwrap().status(), StatusCode::OK);
    for (pause, whole) in [(Duration::from_millis(300), true), (Duration::from_secs(5), false)] {
        let mut answer = client.get(&url).bearer_auth(&token).send().await.unwrap();
        let mut read = answer.chunk().await.unwrap().unwrap().len();
        tokio::time::sleep(pause).await;
        let broken = loop {
            match answer.chunk().await {
                Ok(Some(part)) => read += part.len(),
                Ok(None) => break false,
                Err(_) => break true,
            }
        };
        assert_eq!((read == BYTES, broken), (whole, !whole), "{read} bytes after {pause:?}");
    }
}

#[tokio::test]
async fn a_token_request_is_small_and_comes_in_its_time() {
    let folders = Folders::new();
    folders.configure("\nbody_seconds = 120", "\nbody_seconds = 1");
    let served = folders.serve().await;
    let post = |body: Body| {
        let request = served.client(None).post(served.url("/oauth/token"));
        request.header("content-type", "application/x-www-form-urlencoded").body(body).send()
    };
    let large = problem(post(Body::from("a".repeat(20_000))).await.unwrap(), 413, "too-large").await;
    assert!(large.detail.contains("16384"), "{}", large.detail);
    let slow = post(dripping(Duration::from_millis(100))).await.unwrap();
    let slow = problem(slow, 400, "invalid-request").await;
    assert!(slow.detail.contains("within 1 s"), "{}", slow.detail);
}

#[tokio::test]
async fn no_body_is_read_from_who_has_not_the_seat() {
    let folders = Folders::new();
    folders.configure("message_bytes = 16777216", "message_bytes = 65536");
    let alpha = folders.enrol("alpha", MemberRole::Site, 1);
    let benchmark = folders.enrol("benchmark", MemberRole::Evaluator, 2);
    let served = folders.serve().await;
    let messages = [
        "keys/SITE",
        "ciphertexts/SITE",
        "rounds/1/manifests/SITE",
        "rounds/1/agreement/SITE",
        "rounds/1/unmasking/SITE",
        "rounds/1/uploads/SITE",
    ];
    for (sender, own) in [(&alpha, "alpha"), (&benchmark, "benchmark")] {
        let client = served.client_of(sender);
        let put = |path: &str, body: Body| {
            let request = client.put(served.url(&format!("/v1/jobs/job-1/{path}")));
            request.header("content-type", "application/json").body(body).send()
        };
        for message in messages {
            for site in ["alpha", "beta", "benchmark"] {
                let path = message.replace("SITE", site);
                if site == own && own == "alpha" && message.contains("uploads") {
                    let missing = put(&path, Body::from("a")).await.unwrap();
                    problem(missing, 404, "not-found").await;
                } else if site == own && own == "alpha" {
                    let large = put(&path, Body::from("a".repeat(70_000))).await.unwrap();
                    problem(large, 413, "too-large").await;
                } else {
                    let started = Instant::now();
                    let refused = put(&path, dripping(Duration::from_secs(10))).await.unwrap();
                    problem(refused, 403, "forbidden").await;
                    assert!(started.elapsed() < Duration::from_secs(5), "{path}");
                }
            }
        }
    }
}
