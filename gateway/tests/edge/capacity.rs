//! What the gateway does not take on: connections, bodies, requests beyond what it can hold.

use std::convert::Infallible;
use std::io::{BufRead, BufReader};
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use bytes::Bytes;
use futures_util::future::join_all;
use futures_util::stream;
use konclave_crypto::MemberRole;
use reqwest::{Body, Certificate, Client, ClientBuilder, Identity, Response, StatusCode};
use tokio::io::AsyncReadExt;
use tokio::net::{TcpSocket, TcpStream};

use crate::bound_tokens::certified;
use crate::deployment::{Folders, Served, problem, succeed};

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

/// A member's question over a connection of its client; an error if it gets none.
async fn work(served: &Served, client: &Client) -> reqwest::Result<StatusCode> {
    client.get(served.url("/v1/work")).send().await.map(|answer| answer.status())
}

/// A client at a local address.
fn client_at(served: &Served, last: u8, identity: Option<&str>) -> ClientBuilder {
    let ca = std::fs::read(served.folders.path("deployment/tls/ca.pem")).unwrap();
    let builder = Client::builder()
        .tls_certs_only([Certificate::from_pem(&ca).unwrap()])
        .resolve("localhost", served.address)
        .local_address(IpAddr::from([127, 0, 0, last]));
    match identity {
        Some(identity) => builder.identity(Identity::from_pem(identity.as_bytes()).unwrap()),
        None => builder,
    }
}

/// How many requests of a client at this address are let in that takes nothing of the answers; they stay under way
/// as long as what is returned is kept.
async fn unread(served: &Served, last: u8, identity: Option<&str>) -> (usize, Vec<Response>) {
    let client =
        client_at(served, last, identity).http2_prior_knowledge().http2_initial_stream_window_size(0);
    let client = client.build().unwrap();
    let ask = || client.get(served.url(KEYS)).send();
    let answers = join_all((0..40).map(|_| ask())).await;
    let answers: Vec<_> = answers.into_iter().map(Result::unwrap).collect();
    (answers.iter().filter(|answer| answer.status() == StatusCode::OK).count(), answers)
}

/// What is answered to everyone.
const KEYS: &str = "/.well-known/jwks.json";

async fn read_at(served: &Served, last: u8, identity: Option<&str>, path: &str) -> StatusCode {
    let client = client_at(served, last, identity).build().unwrap();
    let answer = client.get(served.url(path)).send().await.unwrap();
    let status = answer.status();
    answer.bytes().await.unwrap();
    status
}

#[tokio::test]
async fn requests_whose_answers_nobody_reads_take_neither_the_others_places_nor_their_own_for_long() {
    let folders = Folders::new();
    folders.configure("requests = 1024", "requests = 64");
    folders.configure("answer_seconds = 60", "answer_seconds = 10");
    let served = folders.serve().await;
    // 64 of 512 connections, so 8 of 64 requests.
    let (let_in, held) = unread(&served, 2, None).await;
    assert_eq!(let_in, 8);
    assert_eq!(read_at(&served, 2, None, KEYS).await, StatusCode::SERVICE_UNAVAILABLE);
    assert_eq!(read_at(&served, 3, None, KEYS).await, StatusCode::OK);
    // A supervisor is answered however many ask.
    for path in ["/livez", "/readyz"] {
        assert_eq!(read_at(&served, 2, None, path).await, StatusCode::OK);
    }
    let started = Instant::now();
    while read_at(&served, 2, None, KEYS).await != StatusCode::OK {
        assert!(started.elapsed() < Duration::from_secs(60), "what is not read gives up its place");
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    drop(held);
}

#[tokio::test]
async fn a_certificate_has_its_share_of_requests_and_a_revoked_one_is_none() {
    let folders = Folders::new();
    folders.configure("requests = 1024", "requests = 64");
    folders.configure("answer_seconds = 60", "answer_seconds = 600");
    folders.add_client("acme", "model-developer", 33);
    let alpha = folders.enrol("alpha", MemberRole::Site, 1).identity();
    let beta = folders.enrol("beta", MemberRole::Site, 2).identity();
    let acme = certified(&folders, "acme");
    let served = folders.serve().await;
    let revoke = |arguments: &[&str]| {
        let dir = served.folders.dir();
        let common = ["--dir", &dir, "--reason", "its key was stolen"];
        succeed(&[arguments, &common[..]].concat());
    };
    for identity in [&alpha, &acme] {
        let (let_in, held) = unread(&served, 2, Some(identity)).await;
        assert_eq!(let_in, 8);
        assert_eq!(read_at(&served, 2, Some(identity), KEYS).await, StatusCode::SERVICE_UNAVAILABLE);
        // Neither another certificate nor the address has fewer for it.
        assert_eq!(read_at(&served, 2, Some(&beta), KEYS).await, StatusCode::OK);
        assert_eq!(read_at(&served, 2, None, KEYS).await, StatusCode::OK);
        drop(held);
    }
    revoke(&["client", "revoke", "--client-id", "acme"]);
    revoke(&["site", "revoke", "--site", "alpha"]);
    let started = Instant::now();
    while read_at(&served, 2, Some(&alpha), "/v1/work").await != StatusCode::UNAUTHORIZED {
        assert!(started.elapsed() < Duration::from_secs(60), "a revocation is taken in");
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    // All that is left for both is their address's share.
    for (last, revoked) in [(3, &alpha), (4, &acme)] {
        let (let_in, _held) = unread(&served, last, Some(revoked)).await;
        assert_eq!(let_in, 8);
        assert_eq!(read_at(&served, last, None, KEYS).await, StatusCode::SERVICE_UNAVAILABLE);
        assert_eq!(read_at(&served, last, Some(&beta), KEYS).await, StatusCode::OK);
    }
}

#[tokio::test]
async fn half_open_connections_give_way_to_a_member() {
    let folders = Folders::new();
    folders.configure("connections = 512", "connections = 16");
    folders.configure("connections_per_address = 64", "connections_per_address = 4");
    folders.configure("header_seconds = 15", "header_seconds = 600");
    let alpha = folders.enrol("alpha", MemberRole::Site, 1);
    let served = folders.serve().await;
    let mut held = Vec::new();
    for index in 0..16_u8 {
        held.push(silent(Ipv4Addr::new(127, 0, 0, 2 + index / 4), served.address).await);
    }
    assert!(!is_closed(held.last_mut().unwrap()).await);
    assert_eq!(work(&served, &served.client_of(&alpha)).await.unwrap(), StatusCode::OK);
    // It was the oldest that made room.
    assert!(is_closed(&mut held[0]).await);
    assert!(!is_closed(&mut held[1]).await);
}

#[tokio::test]
async fn one_address_without_certificates_cannot_take_all_connections() {
    let folders = Folders::new();
    folders.configure("connections_per_address = 64", "connections_per_address = 5");
    let members: Vec<_> =
        (1..=7).map(|index| folders.enrol(&format!("site-{index}"), MemberRole::Site, index)).collect();
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
    let mut clients: Vec<_> = members.iter().map(|member| served.client_of(member)).collect();
    for client in &clients {
        assert_eq!(work(&served, client).await.unwrap(), StatusCode::OK);
    }
    // But each has its share, too.
    for _ in 1..5 {
        clients.push(served.client_of(&members[0]));
        assert_eq!(work(&served, clients.last().unwrap()).await.unwrap(), StatusCode::OK);
    }
    assert!(work(&served, &served.client_of(&members[0])).await.is_err());
    assert_eq!(work(&served, &clients[1]).await.unwrap(), StatusCode::OK);
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
