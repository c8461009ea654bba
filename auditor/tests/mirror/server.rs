//! A small TLS server that gives out the files of a folder as a gateway does, and lies or breaks off when told to.

use std::collections::{BTreeMap, BTreeSet};
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::path::PathBuf;
use std::sync::{Arc, Mutex};

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use konclave_ledger::PublicKey;
use rustls::pki_types::PrivatePkcs8KeyDer;
use rustls::{ServerConfig, ServerConnection, StreamOwned};

/// What the server says instead of the file.
#[derive(Clone)]
pub enum Answer {
    Bytes(Vec<u8>),
    Missing,
    Endless,
    Redirect,
    /// This status once, then the truth.
    Once(u16),
}

#[derive(Default)]
pub struct State {
    pub folder: PathBuf,
    pub answers: BTreeMap<String, Answer>,
    /// After so many files, connections break off in the middle of an answer.
    pub break_after: Option<usize>,
    /// Every file asked for.
    pub asked: Vec<String>,
    /// Reviews that were posted.
    pub posted: Vec<Vec<u8>>,
    client_key: Option<PublicKey>,
    used: BTreeSet<String>,
    tokens: usize,
}

pub struct Server {
    pub url: String,
    pub ca: String,
    pub state: Arc<Mutex<State>>,
}

impl Server {
    pub fn start(client_key: PublicKey) -> Self {
        let made = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
        let key = PrivatePkcs8KeyDer::from(made.signing_key.serialize_der());
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let config = ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_no_client_auth()
            .with_single_cert(vec![made.cert.der().clone()], key.into())
            .unwrap();
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let url = format!("https://localhost:{}", listener.local_addr().unwrap().port());
        let state = Arc::new(Mutex::new(State { client_key: Some(client_key), ..State::default() }));
        let (config, shared, audience) = (Arc::new(config), Arc::clone(&state), url.clone());
        std::thread::spawn(move || {
            for stream in listener.incoming() {
                let connection = ServerConnection::new(Arc::clone(&config)).unwrap();
                // A client that goes away is no matter.
                let _ = serve(StreamOwned::new(connection, stream.unwrap()), &shared, &audience);
            }
        });
        Self { url, ca: made.cert.pem(), state }
    }

    pub fn set(&self, change: impl FnOnce(&mut State)) {
        change(&mut self.state.lock().unwrap());
    }
}

fn serve(
    mut stream: StreamOwned<ServerConnection, TcpStream>,
    state: &Mutex<State>,
    audience: &str,
) -> std::io::Result<()> {
    let mut reader = BufReader::new(&mut stream);
    let mut lines = Vec::new();
    loop {
        let mut line = String::new();
        if reader.read_line(&mut line)? == 0 {
            return Ok(());
        }
        if line.trim_end().is_empty() {
            break;
        }
        lines.push(line.trim_end().to_owned());
    }
    let header = |name: &str| {
        let found = lines
            .iter()
            .filter_map(|line| line.split_once(": "))
            .find(|(known, _)| known.eq_ignore_ascii_case(name));
        found.map(|(_, value)| value.to_owned())
    };
    let mut body = vec![0; header("content-length").map_or(0, |length| length.parse().unwrap())];
    reader.read_exact(&mut body)?;
    let (method, path) = {
        let mut words = lines[0].split(' ');
        (words.next().unwrap().to_owned(), words.next().unwrap().trim_start_matches('/').to_owned())
    };
    let mut state = state.lock().unwrap();
    if path == "oauth/token" {
        let form = String::from_utf8(body).unwrap();
        let answer = if state.takes(&form, audience) {
            state.tokens += 1;
            let token = format!("token-{}", state.tokens);
            (
                200,
                format!(
                    "{{\"access_token\":\"{token}\",\"token_type\":\"Bearer\",\"expires_in\":600,\"scope\":\"auditor\"}}"
                ),
            )
        } else {
            (401, "{\"detail\":\"the assertion was refused\"}".to_owned())
        };
        return respond(&mut stream, answer.0, "", answer.1.as_bytes());
    }
    if header("authorization") != Some(format!("Bearer token-{}", state.tokens)) {
        return respond(&mut stream, 401, "", b"{}");
    }
    if method == "POST" {
        assert_eq!(
            (path.as_str(), header("content-type").as_deref()),
            ("v1/ledger/reviews", Some("application/json"))
        );
        assert!(header("idempotency-key").is_some());
        state.posted.push(body);
        return respond(&mut stream, 201, "", b"{}");
    }
    state.asked.push(path.clone());
    let file = std::fs::read(state.folder.join(&path)).ok();
    if state.break_after.is_some_and(|after| state.asked.len() > after) {
        let whole = file.unwrap_or_default();
        let head = format!("HTTP/1.1 200 OK\r\ncontent-length: {}\r\n\r\n", whole.len() + 1);
        stream.write_all(head.as_bytes())?;
        return stream.write_all(&whole[..whole.len() / 2]);
    }
    match state.answers.get(&path).cloned() {
        None => match file {
            Some(bytes) => respond(&mut stream, 200, "", &bytes),
            None => respond(&mut stream, 404, "", b"{\"detail\":\"no such file\"}"),
        },
        Some(Answer::Bytes(bytes)) => respond(&mut stream, 200, "", &bytes),
        Some(Answer::Missing) => respond(&mut stream, 404, "", b""),
        Some(Answer::Redirect) => respond(&mut stream, 307, "location: https://elsewhere.example/x\r\n", b""),
        Some(Answer::Once(status)) => {
            state.answers.remove(&path);
            if status == 401 {
                state.tokens += 1;
            }
            respond(&mut stream, status, "retry-after: 1\r\n", b"{\"detail\":\"busy\"}")
        }
        Some(Answer::Endless) => {
            drop(state);
            stream.write_all(b"HTTP/1.1 200 OK\r\nconnection: close\r\n\r\n")?;
            loop {
                stream.write_all(&[b'x'; 4096])?;
            }
        }
    }
}

fn respond(stream: &mut impl Write, status: u16, headers: &str, body: &[u8]) -> std::io::Result<()> {
    let length = body.len();
    write!(stream, "HTTP/1.1 {status} X\r\nconnection: close\r\ncontent-length: {length}\r\n{headers}\r\n")?;
    stream.write_all(body)?;
    stream.flush()
}

impl State {
    /// Whether a token may be given: one assertion, by the client, for this server, never seen before.
    fn takes(&mut self, form: &str, audience: &str) -> bool {
        let assertion = form.split('&').find_map(|field| field.strip_prefix("client_assertion=")).unwrap();
        assert!(form.contains("grant_type=client_credentials"), "{form}");
        assert!(form.contains("urn%3Aietf%3Aparams%3Aoauth%3Aclient-assertion-type%3Ajwt-bearer"), "{form}");
        let parts: Vec<&str> = assertion.split('.').collect();
        let decode = |part: &str| URL_SAFE_NO_PAD.decode(part).unwrap();
        let signed = format!("{}.{}", parts[0], parts[1]);
        if self.client_key.unwrap().verify(signed.as_bytes(), &decode(parts[2])).is_err() {
            return false;
        }
        let claims: serde_json::Value = serde_json::from_slice(&decode(parts[1])).unwrap();
        let (expires, issued) = (claims["exp"].as_u64().unwrap(), claims["iat"].as_u64().unwrap());
        assert_eq!((&claims["iss"], &claims["sub"]), (&"qa".into(), &"qa".into()));
        assert!((1..=300).contains(&(expires - issued)));
        claims["aud"] == audience && self.used.insert(claims["jti"].as_str().unwrap().to_owned())
    }
}
