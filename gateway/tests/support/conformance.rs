//! Whether an answer is one that the OpenAPI document tells of: its status, its media type, its headers.

use std::sync::LazyLock;

use axum::http::{HeaderMap, Method, header};
use serde_json::Value;

/// The document, as the gateway makes it.
pub(crate) struct Contract(Value);

/// What every HTTP answer may carry, and no contract needs to tell.
const PLUMBING: [&str; 5] = ["content-type", "content-length", "date", "transfer-encoding", "connection"];

static CONTRACT: LazyLock<Contract> = LazyLock::new(|| {
    let document = konclave_gateway::openapi::document().unwrap();
    Contract(serde_json::to_value(document).unwrap())
});

impl Contract {
    pub(crate) fn read() -> &'static Self {
        &CONTRACT
    }

    /// The whole document.
    pub(crate) fn document(&self) -> &Value {
        &self.0
    }

    /// The operation at a path template, as the document or the router writes it.
    pub(crate) fn operation(&self, method: &Method, template: &str) -> Option<&Value> {
        let item = self.0["paths"].get(template.replace("{*", "{"))?;
        item.get(method.as_str().to_lowercase())
    }

    /// What a reference leads to.
    pub(crate) fn resolved<'a>(&'a self, value: &'a Value) -> &'a Value {
        match value.get("$ref").and_then(Value::as_str) {
            Some(reference) => self.0.pointer(reference.trim_start_matches('#')).unwrap(),
            None => value,
        }
    }

    /// Says what of an answer the document does not tell.
    pub(crate) fn check(
        &self,
        method: &Method,
        template: &str,
        status: u16,
        headers: &HeaderMap,
    ) -> Result<(), String> {
        let operation = self
            .operation(method, template)
            .ok_or_else(|| format!("{method} {template} answers {status} and is not documented"))?;
        let id = operation["operationId"].as_str().unwrap_or_default();
        let response = operation["responses"].get(status.to_string()).ok_or_else(|| {
            format!(
                "{id} answers {status}, which the document does not tell: add it to its row in \
                 gateway/src/openapi/contract.rs (a problem) or to its `responses` (a success)"
            )
        })?;
        let response = self.resolved(response);
        let documented = response.get("headers").and_then(Value::as_object);
        for (name, described) in documented.into_iter().flatten() {
            let required = self.resolved(described).get("required") == Some(&Value::Bool(true));
            if required && !headers.contains_key(name.as_str()) {
                return Err(format!("{id} answers {status} without {name}, which the document promises"));
            }
        }
        for name in headers.keys().map(axum::http::HeaderName::as_str) {
            let known =
                documented.is_some_and(|known| known.keys().any(|one| one.eq_ignore_ascii_case(name)));
            if !known && !PLUMBING.contains(&name) {
                return Err(format!(
                    "{id} answers {status} with {name}, which the document does not tell: \
                     add it to gateway/src/openapi/headers.rs"
                ));
            }
        }
        self.check_media(method, id, status, response, headers)
    }

    fn check_media(
        &self,
        method: &Method,
        id: &str,
        status: u16,
        response: &Value,
        headers: &HeaderMap,
    ) -> Result<(), String> {
        let Some(media) = headers.get(header::CONTENT_TYPE).filter(|_| *method != Method::HEAD) else {
            return Ok(());
        };
        let media = media.to_str().unwrap().split(';').next().unwrap_or_default().trim().to_owned();
        if response.get("content").and_then(|content| content.get(&media)).is_some() {
            return Ok(());
        }
        Err(format!("{id} answers {status} as {media}, which the document does not tell"))
    }
}
