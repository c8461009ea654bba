//! Sees every answer of the gateway: it must be one that the OpenAPI document tells of. And can keep what it sees, to
//! make examples of it.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

use axum::body::{Body, Bytes, to_bytes};
use axum::extract::{MatchedPath, Request, State};
use axum::http::{StatusCode, header};
use axum::middleware::Next;
use axum::response::Response;

use crate::conformance::Contract;

/// What was sent and answered.
#[derive(Debug, Clone)]
pub struct Exchange {
    /// The `operationId`.
    pub operation: String,
    /// Parameters of path and query.
    pub parameters: BTreeMap<String, String>,
    /// Media type and body of the request, if it has one.
    pub request: Option<(String, Bytes)>,
    pub status: u16,
    /// Media type and body of the answer, if it has one.
    pub answer: Option<(String, Bytes)>,
}

/// Cloning shares what is kept.
#[derive(Debug, Clone, Default)]
pub struct Observer(Arc<Mutex<Option<Vec<Exchange>>>>);

impl Observer {
    /// Keeps what is sent and answered from now on.
    pub fn keep(&self) {
        *self.0.lock().unwrap() = Some(Vec::new());
    }

    /// What was kept.
    pub fn kept(&self) -> Vec<Exchange> {
        self.0.lock().unwrap().clone().unwrap_or_default()
    }
}

/// The layer around the whole gateway.
pub async fn observe(State(observer): State<Observer>, request: Request, next: Next) -> Response {
    let template = request.extensions().get::<MatchedPath>().map(|path| path.as_str().to_owned());
    let Some(template) = template else {
        let response = next.run(request).await;
        assert_eq!(response.status(), StatusCode::NOT_FOUND, "no route, and yet an answer");
        return response;
    };
    let method = request.method().clone();
    let contract = Contract::read();
    let documented = contract.operation(&method, &template);
    let keeps = observer.0.lock().unwrap().is_some();
    let (Some(operation), true) = (documented, keeps) else {
        let response = next.run(request).await;
        let (status, headers) = (response.status(), response.headers());
        if documented.is_none() {
            assert_eq!(status, StatusCode::METHOD_NOT_ALLOWED, "{method} {template} is not documented");
        } else if let Err(wrong) = contract.check(&method, &template, status.as_u16(), headers) {
            panic!("{wrong}");
        }
        return response;
    };
    let parameters = parameters(&template, request.uri().path(), request.uri().query().unwrap_or_default());
    let (parts, body) = request.into_parts();
    let sent = to_bytes(body, usize::MAX).await.unwrap();
    let media = |headers: &axum::http::HeaderMap| {
        let value = headers.get(header::CONTENT_TYPE)?.to_str().ok()?;
        Some(value.split(';').next()?.trim().to_owned())
    };
    let kept = media(&parts.headers).map(|media| (media, sent.clone())).filter(|(_, body)| !body.is_empty());
    let response = next.run(Request::from_parts(parts, Body::from(sent))).await;
    let (status, headers) = (response.status(), response.headers());
    if let Err(wrong) = contract.check(&method, &template, status.as_u16(), headers) {
        panic!("{wrong}");
    }
    let (parts, body) = response.into_parts();
    let answered = to_bytes(body, usize::MAX).await.unwrap();
    let exchange = Exchange {
        operation: operation["operationId"].as_str().unwrap().to_owned(),
        parameters,
        request: kept.filter(|_| operation.get("requestBody").is_some()),
        status: status.as_u16(),
        answer: media(&parts.headers).map(|media| (media, answered.clone())),
    };
    observer.0.lock().unwrap().as_mut().unwrap().push(exchange);
    Response::from_parts(parts, Body::from(answered))
}

/// The values of a template's parameters, and of the query's.
fn parameters(template: &str, path: &str, query: &str) -> BTreeMap<String, String> {
    let mut values: BTreeMap<String, String> =
        form_urlencoded::parse(query.as_bytes()).into_owned().collect();
    let mut segments = path.split('/');
    for name in template.split('/') {
        let parameter = name.strip_prefix('{').and_then(|name| name.strip_suffix('}'));
        match parameter.map(|name| name.strip_prefix('*').ok_or(name)) {
            Some(Ok(rest)) => {
                values.insert(rest.to_owned(), segments.by_ref().collect::<Vec<_>>().join("/"));
            }
            Some(Err(name)) => {
                values.insert(name.to_owned(), segments.next().unwrap().to_owned());
            }
            None => drop(segments.next()),
        }
    }
    values
}
