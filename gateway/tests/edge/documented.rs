//! Nothing answers but what the OpenAPI document names: every path template with every method, and paths beside them.

use std::collections::BTreeMap;

use konclave_crypto::MemberRole;
use reqwest::{Method, StatusCode};

use crate::conformance::Contract;
use crate::deployment::{Folders, Served, problem};

const METHODS: [&str; 10] =
    ["GET", "HEAD", "PUT", "POST", "PATCH", "DELETE", "OPTIONS", "TRACE", "PROPFIND", "QUERY"];

/// Every path template with the methods documented there.
fn documented() -> BTreeMap<String, Vec<Method>> {
    let paths = Contract::read().document()["paths"].as_object().unwrap().iter();
    let methods = |template: &str| {
        let all = METHODS.iter().map(|name| name.parse().unwrap());
        all.filter(|method| Contract::read().operation(method, template).is_some()).collect()
    };
    paths.map(|(template, _)| (template.clone(), methods(template))).collect()
}

/// A path of a template.
fn filled(template: &str) -> String {
    let value = |segment: &str| match segment.strip_prefix('{').and_then(|name| name.strip_suffix('}')) {
        Some("digest" | "model" | "commitment") => "0".repeat(64),
        Some("index" | "round" | "level") => "1".to_owned(),
        Some(_) => "a".to_owned(),
        None => segment.to_owned(),
    };
    template.split('/').map(value).collect::<Vec<_>>().join("/")
}

/// Asks for it with a member's certificate or without, and checks that the answer is a documented one.
async fn ask(served: &Served, client: &reqwest::Client, template: &str, method: &Method, offered: &[Method]) {
    let url = served.url(&filled(template));
    let answer = client.request(method.clone(), &url).send().await.unwrap();
    let (status, headers) = (answer.status(), answer.headers().clone());
    if offered.contains(method) {
        assert_ne!(status, StatusCode::METHOD_NOT_ALLOWED, "{method} {template}");
        Contract::read().check(method, template, status.as_u16(), &headers).unwrap();
        return;
    }
    assert_eq!(status, StatusCode::METHOD_NOT_ALLOWED, "{method} {template}");
    let mut names: Vec<&str> = headers["allow"].to_str().unwrap().split(", ").collect();
    let mut expected: Vec<&str> = offered.iter().map(Method::as_str).collect();
    names.sort_unstable();
    expected.sort_unstable();
    assert_eq!(names, expected, "{method} {template}");
    if *method != Method::HEAD {
        problem(answer, 405, "method-not-allowed").await;
    }
}

#[tokio::test]
async fn every_template_answers_every_method_as_documented() {
    let folders = Folders::new();
    let alpha = folders.enrol("alpha", MemberRole::Site, 1);
    let served = folders.serve().await;
    // What is asked for must not lead elsewhere before it is looked at.
    let clients = [served.client(None), served.client_of(&alpha)];
    for (template, offered) in documented() {
        assert!(!offered.is_empty(), "{template} offers nothing");
        for method in METHODS {
            let method: Method = method.parse().unwrap();
            for client in &clients {
                ask(&served, client, &template, &method, &offered).await;
            }
        }
    }
}

#[tokio::test]
async fn what_lies_beside_a_template_is_not_there() {
    let served = Folders::new().serve().await;
    let client = served.client(None);
    let templates: Vec<String> = documented().into_keys().map(|template| filled(&template)).collect();
    let mut beside: Vec<String> = templates
        .iter()
        .filter(|path| !path.starts_with("/tile/"))
        .flat_map(|path| [format!("{path}/"), format!("{path}/nothing/at/all"), format!("{path}.bak")])
        .collect();
    beside.extend(
        ["/", "/v1", "/v1/", "//v1/status", "/V1/status", "/docs/", "/tile", "/tile/0", "/metrics"]
            .map(str::to_owned),
    );
    for path in beside {
        for method in [Method::GET, Method::DELETE] {
            let answer = client.request(method.clone(), served.url(&path)).send().await.unwrap();
            // `{file}.bak` is another value of a template's last parameter.
            let status = answer.status().as_u16();
            let last = templates.iter().any(|known| path == format!("{known}.bak"));
            if last && status != 404 {
                assert!(matches!(status, 400 | 401 | 405), "{method} {path}: {status}");
            } else {
                problem(answer, 404, "not-found").await;
            }
        }
    }
}

#[tokio::test]
async fn head_tells_what_get_would_without_the_body() {
    let served = Folders::new().serve().await;
    let client = served.client(None);
    for path in ["/livez", "/readyz"] {
        let answer = client.head(served.url(path)).send().await.unwrap();
        assert_eq!(answer.status(), StatusCode::OK, "{path}");
        assert!(answer.headers().contains_key("x-request-id"));
        assert!(answer.bytes().await.unwrap().is_empty());
    }
}
