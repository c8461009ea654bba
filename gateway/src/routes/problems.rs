//! What each problem type means: the pages that `type` in a problem points to.

use axum::response::Html;
use konclave_openapi::problem::ProblemType;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use crate::core::App;
use crate::error::ApiError;
use crate::extract::Path;

/// The operations.
pub fn router() -> OpenApiRouter<App> {
    OpenApiRouter::new().routes(routes!(explain_problem))
}

/// Read what a problem type means and what to do
#[utoipa::path(
    get, path = "/problems/{slug}", tag = "documentation",
    params(("slug" = String, Path, description = "The last segment of a problem's `type`")),
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
