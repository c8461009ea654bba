//! The OpenAPI document and its browser, both from the binary.

use axum::Router;
use axum::http::header;
use axum::response::IntoResponse;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;
use utoipa_swagger_ui::{Config, SwaggerUi};

use crate::core::App;

/// The operations.
pub fn router() -> OpenApiRouter<App> {
    OpenApiRouter::new().routes(routes!(read_openapi))
}

/// The pages of Swagger UI at `/docs`; they are no operations.
pub fn pages() -> Router<App> {
    SwaggerUi::new("/docs").config(Config::from("/openapi.json").display_operation_id(true)).into()
}

/// Read this document
#[utoipa::path(
    get, path = "/openapi.json", tag = "documentation",
    responses((status = 200, description = "The OpenAPI 3.1 document", body = serde_json::Value))
)]
async fn read_openapi() -> impl IntoResponse {
    ([(header::CONTENT_TYPE, "application/json")], konclave_openapi::OPENAPI_JSON)
}
