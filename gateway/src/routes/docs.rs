//! The OpenAPI document and its browser, both from the binary.

use std::sync::{Arc, LazyLock};

use axum::http::header;
use axum::response::{Html, IntoResponse, Response};
use utoipa::openapi::RefOr;
use utoipa::openapi::schema::{ObjectBuilder, Schema, Type};
use utoipa::{PartialSchema, ToSchema};
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;
use utoipa_swagger_ui::Config;

use super::blobs::OctetStream;
use crate::core::App;
use crate::error::ApiError;
use crate::extract::Path;

/// The browser's page. The library's own one stands below the path that it is asked for at.
const PAGE: &str = r#"<!doctype html>
<html lang="en">
<meta charset="utf-8">
<title>Konclave's API</title>
<link rel="icon" type="image/png" href="/docs/favicon-32x32.png" sizes="32x32">
<link rel="icon" type="image/png" href="/docs/favicon-16x16.png" sizes="16x16">
<link rel="stylesheet" href="/docs/swagger-ui.css">
<link rel="stylesheet" href="/docs/index.css">
<div id="swagger-ui"></div>
<script src="/docs/swagger-ui-bundle.js"></script>
<script src="/docs/swagger-ui-standalone-preset.js"></script>
<script src="/docs/swagger-initializer.js"></script>
</html>
"#;

/// The files of the browser, of those that the library brings along: the page asks for no others.
const FILES: &[&str] = &[
    "index.css",
    "swagger-ui.css",
    "swagger-initializer.js",
    "swagger-ui-bundle.js",
    "swagger-ui-standalone-preset.js",
    "favicon-16x16.png",
    "favicon-32x32.png",
];

/// What the browser is to show.
static CONFIG: LazyLock<Arc<Config<'static>>> =
    LazyLock::new(|| Arc::new(Config::from("/openapi.json").display_operation_id(true)));

/// The operations.
pub fn router() -> OpenApiRouter<App> {
    OpenApiRouter::new()
        .routes(routes!(read_openapi))
        .routes(routes!(read_docs))
        .routes(routes!(read_docs_file))
}

/// Read this document
#[utoipa::path(
    get, path = "/openapi.json", tag = "documentation",
    responses((status = 200, description = "The OpenAPI 3.1 document", body = serde_json::Value))
)]
async fn read_openapi() -> impl IntoResponse {
    ([(header::CONTENT_TYPE, "application/json")], konclave_openapi::OPENAPI_JSON)
}

/// Browse this document
#[utoipa::path(
    get, path = "/docs", tag = "documentation",
    responses((status = 200, description = "The page of Swagger UI", body = String, content_type = "text/html"))
)]
async fn read_docs() -> Html<&'static str> {
    Html(PAGE)
}

/// The name of one of the browser's files.
pub(crate) struct DocsFile;

impl PartialSchema for DocsFile {
    fn schema() -> RefOr<Schema> {
        ObjectBuilder::new().schema_type(Type::String).enum_values(Some(FILES.iter().copied())).into()
    }
}

impl ToSchema for DocsFile {}

/// Read a file of the document's browser
#[utoipa::path(
    get, path = "/docs/{file}", tag = "documentation",
    params(("file" = DocsFile, Path, description = "The file's name")),
    responses((status = 200, description = "The file", content(
        (String = "text/css"), (String = "text/javascript"), (OctetStream = "image/png")
    )))
)]
async fn read_docs_file(Path(file): Path<String>) -> Result<Response, ApiError> {
    let missing = || ApiError::not_found(format!("file {file} of the documentation"));
    if !FILES.contains(&file.as_str()) {
        return Err(missing());
    }
    let served = utoipa_swagger_ui::serve(&file, Arc::clone(&CONFIG));
    let served = served.map_err(|error| ApiError::internal(error.to_string()))?.ok_or_else(missing)?;
    Ok(([(header::CONTENT_TYPE, served.content_type)], served.bytes.into_owned()).into_response())
}
