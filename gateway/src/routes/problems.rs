//! What each problem type means: the pages that `type` in a problem points to.

use axum::response::Html;
use konclave_openapi::problem::ProblemType;
use utoipa::openapi::RefOr;
use utoipa::openapi::schema::{ObjectBuilder, Schema, Type};
use utoipa::{PartialSchema, ToSchema};
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use crate::core::App;
use crate::error::ApiError;
use crate::extract::Path;

/// The operations.
pub fn router() -> OpenApiRouter<App> {
    OpenApiRouter::new().routes(routes!(explain_problem))
}

/// The last segment of a problem's `type`.
pub(crate) struct ProblemSlug;

impl PartialSchema for ProblemSlug {
    fn schema() -> RefOr<Schema> {
        let slugs = ProblemType::ALL.iter().map(|kind| kind.slug());
        ObjectBuilder::new().schema_type(Type::String).enum_values(Some(slugs)).into()
    }
}

impl ToSchema for ProblemSlug {}

/// Read what a problem type means and what to do
#[utoipa::path(
    get, path = "/problems/{slug}", tag = "documentation",
    params(("slug" = ProblemSlug, Path, description = "The last segment of a problem's `type`")),
    responses((status = 200, description = "A page", body = String, content_type = "text/html"))
)]
async fn explain_problem(Path(slug): Path<String>) -> Result<Html<String>, ApiError> {
    let kind = ProblemType::ALL
        .iter()
        .find(|kind| kind.slug() == slug)
        .ok_or_else(|| ApiError::not_found(format!("problem type {slug}")))?;
    // The texts are ours and hold no markup; `<` in them would be the only risk.
    let text = |text: &str| text.replace('&', "&amp;").replace('<', "&lt;");
    Ok(Html(format!(
        "<!doctype html><html lang=\"en\"><meta charset=\"utf-8\"><title>{title}</title>\n\
         <h1>{title}</h1>\n<p>HTTP status {status}, type <code>/problems/{slug}</code></p>\n<p>{explanation}</p>\n</html>\n",
        title = text(kind.title()),
        status = kind.status(),
        explanation = text(kind.explanation().trim()),
    )))
}
