//! Certificates, the roster, and the key set-up of every site.

use konclave_crypto::batches::{scoring_batches, singletons};
use konclave_crypto::setup::{AwaitCiphertexts, KemCiphertext, KeyAdvertisement, Roster};
use konclave_crypto::{MemberRole, MembershipCertificate, UnixSeconds};
use serde_json::{Value, json};

use crate::Vectors;
use crate::scene::Scene;
use crate::support::{NOW, job, member, site};

pub(crate) fn files(scene: &Scene) -> Vec<Vectors> {
    vec![memberships(scene), rosters(scene), set_ups(scene)]
}

/// The value with one change.
pub(crate) fn altered(value: &impl serde::Serialize, change: impl FnOnce(&mut Value)) -> Value {
    let mut value = serde_json::to_value(value).unwrap();
    change(&mut value);
    value
}

fn memberships(scene: &Scene) -> Vectors {
    let root = scene.consortium.root();
    let shared = json!({ "root": root, "now": NOW });
    let mut vectors = Vectors::new(
        "membership",
        "Certificates of members under the consortium root, checked at `now`.",
        shared,
    );
    let good = &scene.consortium.members[&site(0)].certificate;
    for certificate in [good, &scene.consortium.gateway.certificate] {
        root.verify(certificate, NOW).unwrap();
        let role = certificate.membership.role;
        vectors.accept(json!({ "certificate": certificate, "role": role, "digest": certificate.digest() }));
    }
    let mut refuse = |why: &str, certificate: Value, now: UnixSeconds, role: MemberRole| {
        let parsed: MembershipCertificate = serde_json::from_value(certificate.clone()).unwrap();
        let case = json!({ "certificate": certificate, "role": role, "now": now });
        vectors.refuse(why, case, root.verify_role(&parsed, role, now));
    };
    let same = serde_json::to_value(good).unwrap();
    refuse("one second too late", same.clone(), UnixSeconds(10_001), MemberRole::Site);
    refuse("another role", same, NOW, MemberRole::Gateway);
    let renamed = altered(good, |value| value["membership"]["legal_entity"] = json!("Another"));
    refuse("a changed field", renamed, NOW, MemberRole::Site);
    vectors
}

fn rosters(scene: &Scene) -> Vectors {
    let consortium = &scene.consortium;
    let (root, roster) = (consortium.root(), &consortium.roster);
    let shared = json!({ "root": root, "now": NOW, "job": job(), "advertisements": roster.advertisements() });
    let about = "The advertisements of a job, its roster's digest and what follows from it. A negative case replaces or \
                 adds the advertisement at `at`.";
    let mut vectors = Vectors::new("roster", about, shared);
    vectors.accept(json!({
        "sites": consortium.sites(),
        "digest": roster.digest(),
        "legal_entities": roster.legal_entities(),
        "singletons": singletons(roster),
        "scoring_batches": { "2": scoring_batches(roster, 2), "5": scoring_batches(roster, 5) },
    }));
    let entries = roster.advertisements();
    let mut refuse = |why: &str, at: usize, value: Value| {
        let entry: KeyAdvertisement = serde_json::from_value(value.clone()).unwrap();
        let mut list = entries.to_vec();
        if at < list.len() {
            list[at] = entry;
        } else {
            list.push(entry);
        }
        let case = json!({ "at": at, "advertisement": value });
        vectors.refuse(why, case, Roster::new(job(), list, &root, NOW));
    };
    let set = |field: &'static str, to: Value| move |value: &mut Value| value[field] = to;
    let twice = serde_json::to_value(&entries[0]).unwrap();
    refuse("a site listed twice", 5, twice);
    let stolen = altered(&entries[1], set("kem_key", json!(entries[2].kem_key)));
    refuse("another site's key under this site's signature", 1, stolen);
    let resigned = |index: usize, change: &dyn Fn(&mut Value)| {
        let value = altered(&entries[index], |value| change(value));
        let entry: KeyAdvertisement = serde_json::from_value(value).unwrap();
        serde_json::to_value(entry.sign(consortium.key(&site(index)))).unwrap()
    };
    refuse("another job", 3, resigned(3, &|value| value["job"] = json!("job-2")));
    let kem_key = |change: &dyn Fn(&mut [u8])| {
        let mut bytes = *entries[4].kem_key.as_bytes();
        change(&mut bytes);
        resigned(4, &|value| value["kem_key"] = json!(konclave_crypto::setup::KemPublicKey::from(bytes)))
    };
    refuse("an X25519 key of low order", 4, kem_key(&|bytes| bytes[..32].fill(0)));
    refuse("an ML-KEM coefficient that is not reduced", 4, kem_key(&|bytes| bytes[32..35].fill(0xff)));
    let mut rng = rand_core::SeedableRng::from_seed([9; 32]);
    let stranger =
        member(&consortium.root_key, "evaluator".parse().unwrap(), MemberRole::Evaluator, 9, &mut rng);
    let of_stranger = altered(&entries[0], |value| value["certificate"] = json!(stranger.certificate));
    let of_stranger: KeyAdvertisement = serde_json::from_value(of_stranger).unwrap();
    refuse("a member that is no site", 5, serde_json::to_value(of_stranger.sign(&stranger.key)).unwrap());
    vectors
}

fn set_ups(scene: &Scene) -> Vectors {
    let roster = &scene.consortium.roster;
    let about = "The key set-up of every site of roster.json. `kem_secret` is X25519 scalar, ML-KEM d, ML-KEM z; \
                 `draws` holds 64 bytes for each later site: X25519 scalar, ML-KEM m. `keys` are those of round 1, \
                 `keys_round_2` those of the next round. A negative case replaces, adds or drops what `to` receives.";
    let mut vectors = Vectors::new("key_setup", about, json!({}));
    for (id, setup) in &scene.setups {
        let keys = |round: usize| {
            let keys = setup.chains.iter().map(|(peer, [chain, outgoing, incoming])| {
                let hex = |key: &[u8]| hex::encode(if round == 1 { key.to_vec() } else { next(key) });
                (
                    peer.to_string(),
                    json!({ "chain": hex(chain), "outgoing": hex(outgoing), "incoming": hex(incoming) }),
                )
            });
            Value::Object(keys.collect())
        };
        vectors.accept(json!({
            "site": id,
            "identity_seed": hex::encode(scene.consortium.key(id).seed().as_slice()),
            "kem_secret": hex::encode(&setup.kem_secret),
            "advertisement": setup.advertisement,
            "draws": hex::encode(&setup.draws),
            "sent": setup.sent,
            "keys": keys(1),
            "keys_round_2": keys(2),
        }));
    }
    let receiver = site(3);
    let received: Vec<KemCiphertext> = scene
        .setups
        .values()
        .flat_map(|setup| &setup.sent)
        .filter(|message| message.to == receiver)
        .cloned()
        .collect();
    let mut refuse = |why: &str, at: usize, value: Value| {
        let mut list = received.clone();
        match serde_json::from_value::<Option<KemCiphertext>>(value.clone()).unwrap() {
            Some(message) if at < list.len() => list[at] = message,
            Some(message) => list.push(message),
            None => drop(list.remove(at)),
        }
        let state = AwaitCiphertexts::from_secret_bytes(&scene.setups[&receiver].waiting).unwrap();
        vectors.refuse(
            why,
            json!({ "to": receiver, "at": at, "message": value }),
            state.finish(roster, list),
        );
    };
    let first = &received[0];
    refuse("one ciphertext missing", 1, Value::Null);
    refuse("a ciphertext twice", 3, serde_json::to_value(first).unwrap());
    refuse("another signature", 0, altered(first, |value| value["signature"] = json!(received[1].signature)));
    refuse("another roster", 0, altered(first, |value| value["roster"] = json!("00".repeat(32))));
    refuse("from a later site", 0, altered(first, |value| value["from"] = json!(site(4))));
    vectors
}

/// The key after `key`; the chains themselves were advanced and compared by the round's manifests.
fn next(key: &[u8]) -> Vec<u8> {
    let info = konclave_crypto::Transcript::new("next");
    let mut out = vec![0; 32];
    hkdf::Hkdf::<sha2::Sha256>::from_prk(key).unwrap().expand(info.as_bytes(), &mut out).unwrap();
    out
}
