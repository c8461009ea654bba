//! The operator's records: what is wrong with one of them stays with that one.

use std::collections::BTreeSet;

use konclave_crypto::{IdentityKey, MemberRole};
use konclave_gateway::auth::clients::{Client, ClientKey, Clients};
use konclave_gateway::enrolment;
use konclave_gateway::intake::{IntakeError, take_in};
use konclave_ledger::Hash;
use konclave_ledger::openings::{Opening, Openings};
use konclave_openapi::jobs::JobPhase;
use konclave_openapi::openings::OpeningView;
use konclave_openapi::work::{WorkItem, WorkList};
use konclave_policies::authorization::Role;
use zeroize::Zeroizing;

use crate::world::{START, Silent, World, auditor, member, only, site};

#[tokio::test]
async fn a_record_at_fault_is_named_and_holds_up_no_other() {
    let world = World::new(5).await;
    let folder = world.app().config().folder.enrolments();
    std::fs::create_dir_all(&folder).unwrap();
    std::fs::write(folder.join("a-half-written.json"), b"{").unwrap();
    let newcomer =
        |index: usize| (site(index), IdentityKey::from_seed(Zeroizing::new([index as u8 + 100; 32])));
    let (id, key) = newcomer(7);
    enrolment::put(&folder, &world.certificate(&id, MemberRole::Site, &key, START - 1)).unwrap();
    let (id, key) = newcomer(8);
    enrolment::put(&folder, &world.certificate(&id, MemberRole::Site, &key, START * 2)).unwrap();
    for _ in 0..2 {
        let left = take_in(world.app()).await;
        assert!(matches!(&left[..], [IntakeError::Record { .. }, IntakeError::Enrolment { .. }]), "{left:?}");
        assert!(left[0].to_string().contains("a-half-written.json"), "{}", left[0]);
        assert!(left[1].to_string().contains("site-7.json"), "{}", left[1]);
        assert!(
            world.app().state().sites.contains_key(&site(8))
                && !world.app().state().sites.contains_key(&site(7))
        );
    }
    // Corrected, it is taken at the next look.
    let (id, key) = newcomer(7);
    enrolment::put(&folder, &world.certificate(&id, MemberRole::Site, &key, START * 2)).unwrap();
    std::fs::remove_file(folder.join("a-half-written.json")).unwrap();
    assert!(take_in(world.app()).await.is_empty());
    assert!(world.app().state().sites.contains_key(&site(7)));
}

/// Lays a client's record out with a contact, as `client add` does.
fn lay_out(world: &World, client: &str, contact: &str) -> Hash {
    let folder = &world.app().config().folder;
    let salt = Zeroizing::new(Hash::of(contact.as_bytes()).0);
    let contact = Openings::at(&folder.openings()).put(&Opening::new(salt, contact).unwrap()).unwrap();
    std::fs::create_dir_all(folder.clients()).unwrap();
    let client = Client {
        client_id: client.parse().unwrap(),
        organisation: "Acme".to_owned(),
        roles: vec![Role::Auditor],
        contact: Some(contact),
        certificate_bound: false,
        public_key: ClientKey::from_pem(PUBLIC_KEY).unwrap(),
    };
    Clients::new(folder.clients()).put(&client).unwrap();
    contact
}

const PUBLIC_KEY: &str = "-----BEGIN PUBLIC KEY-----\n\
    MCowBQYDK2VwAyEAGb9ECWmEzf6FQbrBZ9w7lshQhqowtrbLDFw4rXAxZuE=\n\
    -----END PUBLIC KEY-----\n";

#[tokio::test]
async fn a_contact_that_was_never_registered_is_erased() {
    let world = World::new(5).await;
    let folder = world.app().config().folder.clone();
    let openings = Openings::at(&folder.openings());
    let registered = lay_out(&world, "kept", "Min-ji Kim");
    assert!(take_in(world.app()).await.is_empty());
    // A record that is replaced before it was taken in, one that is removed, and a command that was killed before it wrote
    // its record.
    let replaced = lay_out(&world, "partner", "Ji-ho Lee");
    let removed = lay_out(&world, "mistake", "Seo-yeon Park");
    std::fs::remove_file(folder.clients().join("mistake.json")).unwrap();
    let salt = Zeroizing::new([7; 32]);
    let unnamed = openings.put(&Opening::new(salt, "Do-yun Choi").unwrap()).unwrap();
    let newest = lay_out(&world, "partner", "Ha-eun Jung");
    let later = lay_out(&world, "kept", "Min-ji Kim, new address");

    // Nothing is erased while a command is at work, or while a record cannot be read.
    let lock = openings.lock().unwrap();
    assert!(take_in(world.app()).await.is_empty());
    drop(lock);
    std::fs::write(folder.clients().join("damaged.json"), b"{").unwrap();
    assert_eq!(take_in(world.app()).await.len(), 1);
    assert_eq!(openings.commitments().unwrap().len(), 6);
    std::fs::remove_file(folder.clients().join("damaged.json")).unwrap();

    assert!(take_in(world.app()).await.is_empty());
    let left = openings.commitments().unwrap();
    assert_eq!(
        left,
        BTreeSet::from([registered, newest, later]),
        "those that entries carry, the replaced one too"
    );
    assert!([replaced, removed, unnamed].iter().all(|gone| openings.get(gone).unwrap().is_none()));
    for known in left {
        let path = format!("/v1/ledger/openings/{known}");
        let _: OpeningView = world.get(&auditor(), &path).await;
    }
}

#[tokio::test]
async fn an_enrolment_in_force_is_no_fault_once_its_time_is_over() {
    let world = World::with_ends(5, |index| if index == 1 { START + 100 } else { START * 2 }).await;
    let folder = world.app().config().folder.enrolments();
    std::fs::create_dir_all(&folder).unwrap();
    for (id, member) in &world.sites {
        let end = member.certificate.membership.not_after.get();
        enrolment::put(&folder, &world.certificate(id, MemberRole::Site, &member.key, end)).unwrap();
    }
    assert!(take_in(world.app()).await.is_empty());
    let size = world.app().state().size;
    world.clock.advance_seconds(200);
    let left = take_in(world.app()).await;
    assert!(left.is_empty(), "{left:?}");
    assert_eq!(world.app().state().size, size);
}

#[tokio::test]
async fn a_roster_that_can_no_longer_be_formed_ends_its_job_and_no_other() {
    let mut world = World::with_ends(6, |index| if index == 1 { START + 100 } else { START * 2 }).await;
    let job = world.request_job(1, vec![]).await;
    world.play(&job, &Silent { upload: only(6), ..Silent::default() }).await;
    world.clock.advance_seconds(200);
    world.restart().await;
    // On other parameters: almost the same sites may not take part in a second job on the same ones.
    let second = world.request_job_from(2e-5, 1, vec![]).await;
    let list: WorkList = world.get(&member(&site(2)), "/v1/work").await;
    assert_eq!(list.items, [WorkItem::Consent { job: second.clone() }]);
    world.coordinate(&job).await;
    let phase = world.job(&job).await.phase;
    assert!(matches!(&phase, JobPhase::Aborted { .. }), "{phase:?}");
    world.play(&second, &Silent::default()).await;
    assert_eq!(world.check_opening(&second, 1).concat().len(), 5);
}
