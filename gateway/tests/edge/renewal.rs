//! Renewed TLS certificates: of members at their own request, and the gateway's own, without a break.

use std::time::{Duration, Instant};

use konclave_crypto::{Digest, IdentityKey, MemberRole};
use konclave_openapi::certificates::{CertificateRenewal, RenewedCertificate};
use konclave_openapi::sites::Site;
use rcgen::{CertificateParams, KeyPair, PublicKeyData};
use reqwest::tls::TlsInfo;
use reqwest::{Client, Response, StatusCode};
use zeroize::Zeroizing;

use crate::deployment::{Folders, Served, enrolment_request, fail, problem, succeed};

const ALPHA: u8 = 1;
const WEEK: u64 = 7 * 86_400;

fn digest(key: &KeyPair) -> Digest {
    Digest::of(&key.subject_public_key_info())
}

/// A request of alpha for a certificate over `key`.
fn request(replaces: &KeyPair, key: &KeyPair) -> CertificateRenewal {
    let identity = IdentityKey::from_seed(Zeroizing::new([ALPHA; 32]));
    let mut request = CertificateRenewal {
        site: "alpha".parse().unwrap(),
        replaces: digest(replaces),
        tls_request: CertificateParams::default().serialize_request(key).unwrap().pem().unwrap(),
        signature: identity.sign(b""),
    };
    request.signature = identity.sign(&request.signed_bytes());
    request
}

async fn send(served: &Served, client: &Client, request: &CertificateRenewal) -> Response {
    client.post(served.url("/v1/sites/alpha/certificates")).json(request).send().await.unwrap()
}

async fn renewed(served: &Served, client: &Client, request: &CertificateRenewal) -> RenewedCertificate {
    let answer = send(served, client, request).await;
    assert_eq!(answer.status(), StatusCode::CREATED);
    answer.json().await.unwrap()
}

fn with(served: &Served, certificate: &RenewedCertificate, key: &KeyPair) -> Client {
    served.client(Some(&format!("{}{}", certificate.tls_certificate, key.serialize_pem())))
}

async fn status(served: &Served, client: &Client) -> StatusCode {
    client.get(served.url("/v1/sites")).send().await.unwrap().status()
}

#[tokio::test]
async fn a_member_renews_its_certificate_and_the_old_one_stays_good_for_a_week() {
    let folders = Folders::new();
    let alpha = folders.enrol("alpha", MemberRole::Site, ALPHA);
    let served = folders.serve().await;
    let old = served.client_of(&alpha);
    let keys = [KeyPair::generate().unwrap(), KeyPair::generate().unwrap()];
    let first = renewed(&served, &old, &request(&alpha.key, &keys[0])).await;
    let new = with(&served, &first, &keys[0]);
    assert_eq!(status(&served, &old).await, StatusCode::OK);
    assert_eq!(status(&served, &new).await, StatusCode::OK);
    let site: Site = new.get(served.url("/v1/sites/alpha")).send().await.unwrap().json().await.unwrap();
    assert_eq!((site.tls_spki, site.enrolled_entry), (digest(&keys[0]), first.entry));

    // The answer was lost: the same request, over either connection, makes no further entry.
    for client in [&old, &new] {
        assert_eq!(renewed(&served, client, &request(&alpha.key, &keys[0])).await.entry, first.entry);
    }

    // A second renewal: only the key before it is good for a while.
    let second = renewed(&served, &new, &request(&keys[0], &keys[1])).await;
    assert!(second.entry > first.entry);
    let newest = with(&served, &second, &keys[1]);
    assert_eq!(status(&served, &newest).await, StatusCode::OK);
    assert_eq!(status(&served, &new).await, StatusCode::OK);
    let over = old.get(served.url("/v1/sites")).send().await.unwrap();
    problem(over, 401, "unknown-certificate").await;

    served.clock.advance_seconds(WEEK - 60);
    assert_eq!(status(&served, &new).await, StatusCode::OK);
    served.clock.advance_seconds(120);
    assert_eq!(status(&served, &newest).await, StatusCode::OK);
    let over = new.get(served.url("/v1/sites")).send().await.unwrap();
    problem(over, 401, "unknown-certificate").await;
}

#[tokio::test]
async fn a_renewal_is_refused_without_the_identity_key_and_with_an_old_key() {
    let folders = Folders::new();
    let alpha = folders.enrol("alpha", MemberRole::Site, ALPHA);
    let beta = folders.enrol("beta", MemberRole::Site, 2);
    let served = folders.serve().await;
    let client = served.client_of(&alpha);
    let key = KeyPair::generate().unwrap();
    let good = request(&alpha.key, &key);

    // Whoever stole the TLS key alone cannot sign; nor does a signature fit another request.
    let forged = CertificateRenewal {
        signature: IdentityKey::from_seed(Zeroizing::new([9; 32])).sign(&good.signed_bytes()),
        ..good.clone()
    };
    let swapped = CertificateRenewal {
        tls_request: request(&alpha.key, &KeyPair::generate().unwrap()).tls_request,
        ..good.clone()
    };
    for request in [forged, swapped] {
        let refused = problem(send(&served, &client, &request).await, 422, "rejected").await;
        assert_eq!(refused.errors[0].at, "/signature");
    }
    // The key in force, and another member's.
    for taken in [&alpha.key, &beta.key] {
        let refused = send(&served, &client, &request(&alpha.key, taken)).await;
        let refused = problem(refused, 422, "rejected").await;
        assert_eq!(refused.errors[0].at, "/tls_request");
    }
    let mut garbled = CertificateRenewal { tls_request: "no request".to_owned(), ..good.clone() };
    garbled.signature = IdentityKey::from_seed(Zeroizing::new([ALPHA; 32])).sign(&garbled.signed_bytes());
    let refused = problem(send(&served, &client, &garbled).await, 422, "rejected").await;
    assert_eq!(refused.errors[0].at, "/tls_request");
    // Another key than the one in force.
    problem(send(&served, &client, &request(&beta.key, &key)).await, 409, "conflict").await;
    // In another member's place.
    let other = served.client_of(&beta);
    problem(send(&served, &other, &good).await, 403, "forbidden").await;
    assert_eq!(status(&served, &client).await, StatusCode::OK);

    // A replaced key never comes back.
    let first = renewed(&served, &client, &good).await;
    let new = with(&served, &first, &key);
    let refused = problem(send(&served, &new, &request(&key, &alpha.key)).await, 422, "rejected").await;
    assert_eq!(refused.errors[0].at, "/tls_request");
}

#[tokio::test]
async fn a_restart_and_the_operators_older_record_leave_the_renewed_key_in_force() {
    let folders = Folders::new();
    let alpha = folders.enrol("alpha", MemberRole::Site, ALPHA);
    let mut served = folders.serve().await;
    let key = KeyPair::generate().unwrap();
    let first = renewed(&served, &served.client_of(&alpha), &request(&alpha.key, &key)).await;
    let folders = std::mem::replace(&mut served.folders, Folders::new());
    drop(served);
    tokio::time::sleep(Duration::from_secs(3)).await;
    let served = folders.serve().await;
    let client = with(&served, &first, &key);
    let site: Site = client.get(served.url("/v1/sites/alpha")).send().await.unwrap().json().await.unwrap();
    assert_eq!((site.tls_spki, site.enrolled_entry), (digest(&key), first.entry));
    assert_eq!(status(&served, &served.client_of(&alpha)).await, StatusCode::OK);

    // A revocation ends all of a member's keys.
    let dir = served.folders.dir();
    succeed(&["site", "revoke", "--dir", &dir, "--site", "alpha", "--reason", "stolen"]);
    let started = Instant::now();
    while status(&served, &client).await != StatusCode::UNAUTHORIZED {
        assert!(started.elapsed() < Duration::from_secs(60));
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    assert_eq!(status(&served, &served.client_of(&alpha)).await, StatusCode::UNAUTHORIZED);
}

#[tokio::test]
async fn without_the_authoritys_key_a_renewal_is_put_off_and_says_why() {
    let folders = Folders::new();
    let alpha = folders.enrol("alpha", MemberRole::Site, ALPHA);
    std::fs::remove_file(format!("{}/tls/ca.key", folders.dir())).unwrap();
    let served = folders.serve().await;
    let client = served.client_of(&alpha);
    let answer = send(&served, &client, &request(&alpha.key, &KeyPair::generate().unwrap())).await;
    let put_off = problem(answer, 503, "unavailable").await;
    assert!(put_off.detail.contains("ask the operator"), "{}", put_off.detail);
    assert_eq!(status(&served, &client).await, StatusCode::OK);
}

/// The certificate that the gateway shows on a new connection.
async fn shown(served: &Served) -> Vec<u8> {
    let client = served.folders.client_builder(served.address).tls_info(true).build().unwrap();
    let answer = client.get(served.url("/livez")).send().await.unwrap();
    answer.extensions().get::<TlsInfo>().unwrap().peer_certificate().unwrap().to_vec()
}

#[tokio::test]
async fn the_gateways_certificate_is_renewed_while_it_serves_and_no_request_fails() {
    let folders = Folders::new();
    let alpha = folders.enrol("alpha", MemberRole::Site, ALPHA);
    let served = folders.serve().await;
    let before = shown(&served).await;
    let client = served.client_of(&alpha);
    assert_eq!(status(&served, &client).await, StatusCode::OK);
    let dir = served.folders.dir();
    let said = succeed(&["tls", "renew", "--dir", &dir]);
    assert!(said.contains("localhost"), "{said}");
    let started = Instant::now();
    // Open connections go on, new ones see the new certificate.
    loop {
        assert_eq!(status(&served, &client).await, StatusCode::OK);
        if shown(&served).await != before {
            break;
        }
        assert!(started.elapsed() < Duration::from_secs(30), "the new certificate is shown");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    let after = shown(&served).await;

    // Half a pair is not taken; what is in use stays.
    let (key, kept) =
        (format!("{dir}/tls/server.key"), std::fs::read(format!("{dir}/tls/server.key")).unwrap());
    std::fs::write(&key, KeyPair::generate().unwrap().serialize_pem()).unwrap();
    tokio::time::sleep(Duration::from_secs(5)).await;
    assert_eq!(shown(&served).await, after);
    std::fs::write(&key, kept).unwrap();
}

#[tokio::test]
async fn a_renewal_that_was_cut_off_between_its_files_still_serves() {
    let folders = Folders::new();
    let dir = folders.dir();
    let path = |name: &str| format!("{dir}/tls/{name}");
    let old = (std::fs::read(path("server.pem")).unwrap(), std::fs::read(path("server.key")).unwrap());
    succeed(&["tls", "renew", "--dir", &dir]);
    let new = (std::fs::read(path("server.pem")).unwrap(), std::fs::read(path("server.key")).unwrap());
    assert!(old.0 != new.0 && old.1 != new.1);
    let both = [new.1, b"\n".to_vec(), old.1].concat();
    std::fs::write(path("server.key"), both).unwrap();
    // With the old certificate still there, and with the new one.
    let mut folders = folders;
    for certificate in [old.0, new.0] {
        std::fs::write(path("server.pem"), certificate).unwrap();
        let mut served = folders.serve().await;
        shown(&served).await;
        folders = std::mem::replace(&mut served.folders, Folders::new());
        drop(served);
        tokio::time::sleep(Duration::from_secs(3)).await;
    }
    let dir = folders.dir();
    std::fs::remove_file(format!("{dir}/tls/ca.key")).unwrap();
    let said = fail(&["tls", "renew", "--dir", &dir]);
    assert!(said.contains("ca.key"), "{said}");
}

/// The operator cannot put an old TLS key in force again by an old request.
#[tokio::test]
async fn an_old_enrolment_request_does_not_bring_a_replaced_key_back() {
    let folders = Folders::new();
    let (request_file, output) = (folders.path("again.json"), folders.path("again-out.json"));
    let (first, key) = enrolment_request("alpha", MemberRole::Site, ALPHA);
    std::fs::write(&request_file, serde_json::to_vec(&first).unwrap()).unwrap();
    let dir = folders.dir();
    let enrol = ["enrol", "--dir", &dir, "--request", &request_file, "--out", &output];
    succeed(&enrol);
    let enrolment: konclave_openapi::sites::Enrolment =
        serde_json::from_slice(&std::fs::read(&output).unwrap()).unwrap();
    let served = folders.serve().await;
    let client = served.client(Some(&format!("{}{}", enrolment.tls_certificate, key.serialize_pem())));
    let next = KeyPair::generate().unwrap();
    let certificate = renewed(&served, &client, &request(&key, &next)).await;
    served.clock.advance_seconds(120);
    succeed(&enrol);
    tokio::time::sleep(Duration::from_secs(5)).await;
    let site: Site = client.get(served.url("/v1/sites/alpha")).send().await.unwrap().json().await.unwrap();
    assert_eq!((site.tls_spki, site.enrolled_entry), (digest(&next), certificate.entry));
}
