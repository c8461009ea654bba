//! What surrounds every operation: problems for what is not there, documentation, versions of HTTP.

use konclave_openapi::problem::ProblemType;
use konclave_openapi::status::{Attestation, Status};
use reqwest::{Method, StatusCode};

use crate::deployment::{Folders, problem};

#[tokio::test]
async fn what_is_not_there_is_a_problem() {
    let served = Folders::new().serve().await;
    let client = served.client(None);
    for path in ["/", "/v1/nothing", "/v2/sites", "/problems/nothing", "/docs/", "/docs/nothing.js"] {
        let answer = client.get(served.url(path)).send().await.unwrap();
        problem(answer, 404, "not-found").await;
    }
    let answer = client.request(Method::DELETE, served.url("/v1/status")).send().await.unwrap();
    assert!(answer.headers()["allow"].to_str().unwrap().contains("GET"));
    problem(answer, 405, "method-not-allowed").await;
}

#[tokio::test]
async fn parameters_at_fault_are_named() {
    let folders = Folders::new();
    folders.add_client("dev", "model-developer", 3);
    let served = folders.serve().await;
    let token = served.token("dev", 3).await;
    for (query, name) in [("limit=0", "limit"), ("limit=many", "limit"), ("cursor=No%20Site", "cursor")] {
        let url = served.url(&format!("/v1/sites?{query}"));
        let answer = served.client(None).get(url).bearer_auth(&token).send().await.unwrap();
        assert_eq!(problem(answer, 400, "invalid-request").await.errors[0].at, name);
    }
    let url = served.url("/v1/sites?limits=5");
    let answer = served.client(None).get(url).bearer_auth(&token).send().await.unwrap();
    let unknown = problem(answer, 400, "invalid-request").await;
    assert!(unknown.detail.contains("limits"), "{}", unknown.detail);
}

#[tokio::test]
async fn malformed_json_names_the_field() {
    let folders = Folders::new();
    folders.add_client("dev", "model-developer", 3);
    let served = folders.serve().await;
    let token = served.token("dev", 3).await;
    let post = |media: &'static str, body: String| {
        served
            .client(None)
            .post(served.url("/v1/models"))
            .bearer_auth(&token)
            .header("content-type", media)
            .body(body)
            .send()
    };
    let body = r#"{"name": "m", "manifest": {"parameters": [{"name": "w", "shape": [1, -2]}]}}"#;
    let answer = post("application/json", body.to_owned()).await.unwrap();
    assert_eq!(problem(answer, 400, "invalid-request").await.errors[0].at, "/manifest/parameters/0/shape/1");
    let answer = post("application/json", r#"{"nome": "m"}"#.to_owned()).await.unwrap();
    assert_eq!(problem(answer, 400, "invalid-request").await.errors[0].at, "/nome");
    let answer = post("application/json", "{".to_owned()).await.unwrap();
    problem(answer, 400, "invalid-request").await;
    let answer = post("text/plain", "{}".to_owned()).await.unwrap();
    problem(answer, 415, "unsupported-media-type").await;
    let answer = post("application/json", " ".repeat((1 << 20) + 1)).await.unwrap();
    problem(answer, 413, "too-large").await;
}

#[tokio::test]
async fn the_documentation_comes_from_the_binary() {
    let served = Folders::new().serve().await;
    let text = async |path: &str| {
        let answer = served.client(None).get(served.url(path)).send().await.unwrap();
        assert_eq!(answer.status(), StatusCode::OK, "{path}");
        answer.text().await.unwrap()
    };
    assert_eq!(text("/openapi.json").await, konclave_openapi::OPENAPI_JSON);
    // The page asks for nothing that is not there.
    let page = text("/docs").await;
    let asked: Vec<&str> = page.split('"').filter(|part| part.starts_with('/')).collect();
    assert_eq!(asked.len(), 7, "{page}");
    for path in asked {
        let answer = served.client(None).get(served.url(path)).send().await.unwrap();
        assert_eq!(answer.status(), StatusCode::OK, "{path}");
    }
    assert!(text("/docs/swagger-initializer.js").await.contains("\"/openapi.json\""));
    assert!(text("/docs/swagger-ui.css").await.contains(".swagger-ui"));
    for kind in ProblemType::ALL {
        assert!(text(&format!("/problems/{}", kind.slug())).await.contains(kind.title()));
    }
    for path in ["/livez", "/readyz"] {
        assert!(!text(path).await.is_empty());
    }
}

#[tokio::test]
async fn the_status_says_first_that_nothing_is_attested() {
    let served = Folders::new().serve().await;
    let http1 = reqwest::Client::builder()
        .tls_certs_only([reqwest::Certificate::from_pem(
            &std::fs::read(std::path::Path::new(&served.folders.dir()).join("tls/ca.pem")).unwrap(),
        )
        .unwrap()])
        .resolve("localhost", served.address)
        .http1_only()
        .build()
        .unwrap();
    let answer = http1.get(served.url("/v1/status")).send().await.unwrap();
    assert_eq!(answer.version(), reqwest::Version::HTTP_11);
    let text = answer.text().await.unwrap();
    assert!(text.starts_with("{\"attestation\":\"none\""), "{text}");
    let status: Status = serde_json::from_str(&text).unwrap();
    assert_eq!(status.attestation, Attestation::None);
    assert!(status.ledger_size >= 1 && status.ledger_key.starts_with("konclave.example/ledger+"));
}
