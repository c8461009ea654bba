//! Recording of traffic (`serve --record-traffic FOLDER`): every request as received, one file each, so that an audit
//! can look for what must not be in it.
//!
//! Files are named `<milliseconds>-<request id>.http`: request line, headers, an empty line, the body's bytes. Bodies
//! pass through while they are written; nothing is buffered. `Authorization` is redacted, and so is a token request's
//! body, because both are credentials.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

use axum::body::{Body, BodyDataStream};
use axum::extract::{Request, State};
use axum::http::header;
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use futures_util::{StreamExt, stream};
use tokio::fs::{File, OpenOptions};
use tokio::io::AsyncWriteExt;

use crate::error::ApiError;
use crate::folder::make_folder;
use crate::request::RequestId;

/// Where requests are recorded.
#[derive(Debug, Clone)]
pub struct Recorder {
    folder: Arc<PathBuf>,
}

impl Recorder {
    /// Records into a folder, which is made (0700) if need be.
    ///
    /// # Errors
    /// Those of the file system.
    pub fn new(folder: &Path) -> io::Result<Self> {
        make_folder(folder)?;
        Ok(Self { folder: Arc::new(folder.to_owned()) })
    }
}

/// The layer. A request that cannot be recorded is refused: a recording with gaps proves nothing.
pub(crate) async fn record(
    State(recorder): State<Recorder>,
    id: RequestId,
    request: Request,
    next: Next,
) -> Response {
    match tee(&recorder, &id, request).await {
        Ok(request) => next.run(request).await,
        Err(error) => {
            tracing::error!(%error, "the request could not be recorded");
            ApiError::unavailable("the gateway records all traffic and cannot write it now", 60)
                .into_response()
        }
    }
}

async fn tee(recorder: &Recorder, id: &RequestId, request: Request) -> io::Result<Request> {
    let millis = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_millis();
    let path = recorder.folder.join(format!("{millis:013}-{id}.http"));
    let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(path).await?;
    file.write_all(&head(&request)).await?;
    if request.uri().path() == "/oauth/token" {
        file.write_all(b"[a client assertion, not recorded]").await?;
        file.flush().await?;
        return Ok(request);
    }
    let (parts, body) = request.into_parts();
    Ok(Request::from_parts(parts, Body::from_stream(copied(body.into_data_stream(), file))))
}

/// The request line and headers, in HTTP/1.1's form also for HTTP/2.
fn head(request: &Request) -> Vec<u8> {
    let mut head = format!("{} {} {:?}\r\n", request.method(), request.uri(), request.version()).into_bytes();
    for (name, value) in request.headers() {
        head.extend_from_slice(name.as_str().as_bytes());
        head.extend_from_slice(b": ");
        if name == header::AUTHORIZATION || name == header::COOKIE {
            head.extend_from_slice(b"[redacted]");
        } else {
            head.extend_from_slice(value.as_bytes());
        }
        head.extend_from_slice(b"\r\n");
    }
    head.extend_from_slice(b"\r\n");
    head
}

/// The same bytes, each chunk written before it is handed on.
fn copied(
    body: BodyDataStream,
    file: File,
) -> impl futures_util::Stream<Item = Result<Bytes, axum::Error>> + Send {
    stream::unfold(Some((body, file)), |state| async {
        let (mut body, mut file) = state?;
        match body.next().await {
            Some(Ok(chunk)) => match file.write_all(&chunk).await {
                Ok(()) => Some((Ok(chunk), Some((body, file)))),
                Err(error) => Some((Err(axum::Error::new(error)), None)),
            },
            Some(Err(error)) => Some((Err(error), None)),
            None => match file.flush().await {
                Ok(()) => None,
                Err(error) => Some((Err(axum::Error::new(error)), None)),
            },
        }
    })
}

#[cfg(test)]
mod tests {
    use axum::Router;
    use axum::middleware::from_fn_with_state;
    use axum::routing::post;
    use tower::ServiceExt;

    use super::*;

    fn recorded(folder: &Path) -> Vec<u8> {
        let mut files: Vec<_> =
            std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
        assert_eq!(files.len(), 1);
        std::fs::read(files.remove(0)).unwrap()
    }

    async fn send(folder: &Path, path: &str) -> Bytes {
        let recorder = Recorder::new(folder).unwrap();
        let router = Router::new()
            .route("/v1/echo", post(|body: Bytes| async { body }))
            .route("/oauth/token", post(|body: Bytes| async { body }))
            .layer(from_fn_with_state(recorder, record));
        let request = Request::post(path)
            .header("authorization", "Bearer secret-token")
            .header("x-other", "kept")
            .body(Body::from_stream(stream::iter([
                Ok::<_, io::Error>(Bytes::from_static(b"one ")),
                Ok(Bytes::from_static(b"\x00two")),
            ])))
            .unwrap();
        let response = router.oneshot(request).await.unwrap();
        axum::body::to_bytes(response.into_body(), 1000).await.unwrap()
    }

    #[tokio::test]
    async fn the_file_holds_the_request_as_received_without_credentials() {
        let folder = tempfile::tempdir().unwrap();
        assert_eq!(send(folder.path(), "/v1/echo?a=b").await, &b"one \x00two"[..]);
        let file = recorded(folder.path());
        assert!(file.starts_with(b"POST /v1/echo?a=b HTTP/1.1\r\n"));
        assert!(file.ends_with(b"\r\n\r\none \x00two"));
        let text = String::from_utf8_lossy(&file);
        assert!(
            text.contains("x-other: kept") && text.contains("[redacted]") && !text.contains("secret-token")
        );
    }

    #[tokio::test]
    async fn a_client_assertion_is_not_recorded() {
        let folder = tempfile::tempdir().unwrap();
        assert_eq!(send(folder.path(), "/oauth/token").await, &b"one \x00two"[..]);
        assert!(!recorded(folder.path()).windows(3).any(|window| window == b"two"));
    }
}
