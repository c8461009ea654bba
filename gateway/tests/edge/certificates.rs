//! Who a client certificate makes you.

use konclave_crypto::MemberRole;
use konclave_gateway::tls::authority::{Certified, new_authority, sign_client};
use konclave_openapi::page::Page;
use konclave_openapi::sites::Site;
use rcgen::{CertificateParams, KeyPair};
use reqwest::StatusCode;
use time::OffsetDateTime;
use zeroize::Zeroizing;

use crate::deployment::{Folders, Served, problem};

pub(crate) fn signed_by(authority: &Certified, name: &str, key: &KeyPair) -> String {
    let request = CertificateParams::default().serialize_request(key).unwrap().pem().unwrap();
    let certificate = sign_client(authority, &request, name, OffsetDateTime::now_utc(), 1).unwrap();
    format!("{}{}", certificate.certificate, key.serialize_pem())
}

pub(crate) fn own_authority(served: &Served) -> Certified {
    let folder = std::path::PathBuf::from(served.folders.dir()).join("tls");
    Certified {
        certificate: std::fs::read_to_string(folder.join("ca.pem")).unwrap(),
        key: Zeroizing::new(std::fs::read_to_string(folder.join("ca.key")).unwrap()),
    }
}

#[tokio::test]
async fn a_member_is_known_by_its_certificate_and_shown_as_heard_from() {
    let folders = Folders::new();
    let alpha = folders.enrol("alpha", MemberRole::Site, 1);
    folders.enrol("beta", MemberRole::Evaluator, 2);
    let served = folders.serve().await;
    let answer = served.client_of(&alpha).get(served.url("/v1/sites?limit=1")).send().await.unwrap();
    assert_eq!(answer.status(), StatusCode::OK);
    assert_eq!(answer.version(), reqwest::Version::HTTP_2);
    let page: Page<Site> = serde_json::from_slice(&answer.bytes().await.unwrap()).unwrap();
    assert_eq!(page.items[0].site.as_str(), "alpha");
    assert!(page.items[0].last_seen.is_some());
    let cursor = page.next_cursor.unwrap();
    let next = served.client_of(&alpha).get(served.url(&format!("/v1/sites?cursor={cursor}")));
    let page: Page<Site> =
        serde_json::from_slice(&next.send().await.unwrap().bytes().await.unwrap()).unwrap();
    assert_eq!((page.items.len(), page.next_cursor), (1, None));
    assert_eq!(page.items[0].certificate.membership.role, MemberRole::Evaluator);
}

#[tokio::test]
async fn a_member_enrolled_while_the_gateway_runs_is_taken_in() {
    let served = Folders::new().serve().await;
    let alpha = served.folders.enrol("alpha", MemberRole::Site, 1);
    // The gateway's clock stands still in this test, and the certificate is from now on.
    served.clock.advance_seconds(120);
    for _ in 0..600 {
        let answer = served.client_of(&alpha).get(served.url("/v1/sites/alpha")).send().await.unwrap();
        if answer.status() == StatusCode::OK {
            return;
        }
        problem(answer, 401, "unknown-certificate").await;
        tokio::time::sleep(std::time::Duration::from_millis(100)).await;
    }
    panic!("alpha was not taken in within a minute");
}

#[tokio::test]
async fn without_certificate_and_token_nothing_is_shown() {
    let served = Folders::new().serve().await;
    let answer = served.client(None).get(served.url("/v1/sites")).send().await.unwrap();
    assert_eq!(answer.headers()["www-authenticate"], "Bearer realm=\"konclave\"");
    let problem = problem(answer, 401, "unauthenticated").await;
    assert!(problem.detail.contains("/oauth/token"), "{}", problem.detail);
}

#[tokio::test]
async fn a_certificate_of_another_authority_fails_the_handshake() {
    let served = Folders::new().serve().await;
    let other = new_authority("konclave TLS authority", OffsetDateTime::now_utc()).unwrap();
    let identity = signed_by(&other, "alpha", &KeyPair::generate().unwrap());
    let refused = served.client(Some(&identity)).get(served.url("/livez")).send().await;
    assert!(refused.is_err(), "{refused:?}");
}

#[tokio::test]
async fn a_key_that_was_not_enrolled_or_a_changed_name_is_unknown() {
    let folders = Folders::new();
    let alpha = folders.enrol("alpha", MemberRole::Site, 1);
    folders.enrol("beta", MemberRole::Site, 2);
    let served = folders.serve().await;
    let authority = own_authority(&served);
    let stranger = signed_by(&authority, "alpha", &KeyPair::generate().unwrap());
    let renamed = signed_by(&authority, "beta", &alpha.key);
    for identity in [stranger, renamed] {
        let answer = served.client(Some(&identity)).get(served.url("/v1/sites")).send().await.unwrap();
        problem(answer, 401, "unknown-certificate").await;
    }
}

#[tokio::test]
async fn a_membership_ends_with_its_last_second() {
    let folders = Folders::new();
    let alpha = folders.enrol("alpha", MemberRole::Site, 1);
    let served = folders.serve().await;
    let client = served.client_of(&alpha);
    let days = |days: u64| days * 86_400;
    served.clock.advance_seconds(days(364));
    assert_eq!(client.get(served.url("/v1/sites")).send().await.unwrap().status(), StatusCode::OK);
    served.clock.advance_seconds(days(2));
    let answer = client.get(served.url("/v1/sites")).send().await.unwrap();
    problem(answer, 401, "unknown-certificate").await;
}
