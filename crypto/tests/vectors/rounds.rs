//! Masking, agreement and unmasking.

use konclave_crypto::messages::{AgreementProposal, ManifestHeader, SignedManifestHeader, UnmaskingRequest};
use konclave_crypto::site::{AwaitAgreement, AwaitUnmasking, mask};
use konclave_crypto::{RingVector, SiteId};
use serde_json::{Value, json};

use crate::Vectors;
use crate::key_setup::altered;
use crate::scene::{Recorder, Round, Scene};
use crate::support::site;

pub(crate) fn files(scene: &Scene) -> Vec<Vectors> {
    vec![masking(scene), agreement(scene), unmasking(scene)]
}

fn masking(scene: &Scene) -> Vectors {
    let consortium = &scene.consortium;
    let about = "Masked updates. `lanes` is the plain update with the weight last; `draws` holds 64 bytes for the self-mask \
                 seed and then 64 for each coefficient above the constant one, seed by seed in slot order, from the \
                 first power up. Bodies are base64.";
    let mut vectors = Vectors::new("masking", about, json!({}));
    for (name, round) in scene.rounds() {
        for (id, made) in &round.masked {
            vectors.accept(json!({
                "context": name,
                "site": id,
                "lanes": made.lanes,
                "draws": hex::encode(&made.draws),
                "manifest": made.manifest,
                "body": base64(&made.body),
            }));
        }
    }
    // The chains stand at round 2, where the last round left them.
    let (id, group) = (site(0), &scene.group);
    let good = &group.masked[&id].lanes;
    let last = good.len() - 1;
    let mut refuse = |why: &str, name: &str, round: &Round, lanes: Vec<u32>| {
        let case = json!({ "context": name, "chains_round": 2, "site": id, "lanes": lanes });
        let ring = RingVector::from_lanes(lanes, round.context.context().encoding.ring_bits).unwrap();
        let (chains, key, rng) = (&consortium.chains[&id], consortium.key(&id), &mut Recorder::new(1));
        vectors.refuse(why, case, mask(chains, &consortium.roster, &round.context, key, ring, rng).map(drop));
    };
    let with = |at: usize, value: u32| {
        let mut lanes = good.clone();
        lanes[at] = value;
        lanes
    };
    refuse("a round that is over", "full", &scene.full, good.clone());
    refuse("a coordinate above q-max", "group", group, with(0, 128));
    refuse("a coordinate below minus q-max", "group", group, with(7, (1 << 17) - 128));
    refuse("no weight", "group", group, with(last, 0));
    refuse("a weight above the cap", "group", group, with(last, 101));
    refuse("a coordinate short", "group", group, good[1..].to_vec());
    vectors
}

fn agreement(scene: &Scene) -> Vectors {
    let consortium = &scene.consortium;
    let about = "Proposals and the sites' signatures. In a negative case `site` is asked to sign.";
    let mut vectors = Vectors::new("agreement", about, json!({}));
    for (name, round) in scene.rounds() {
        vectors.accept(json!({
            "context": name,
            "proposal": round.proposal,
            "agreed_digest": round.proposal.agreed_digest(),
            "signatures": round.signatures,
        }));
    }
    let mut refuse = |why: &str, name: &str, round: &Round, proposal: Value| {
        let parsed: AgreementProposal = serde_json::from_value(proposal.clone()).unwrap();
        let id = site(0);
        let state = AwaitAgreement::from_secret_bytes(&round.masked[&id].state.to_secret_bytes()).unwrap();
        let found = state.agree(&consortium.roster, &round.context, &parsed, consortium.key(&id));
        let case = json!({ "context": name, "site": id, "proposal": proposal });
        vectors.refuse(why, case, found.map_err(|refused| refused.error));
    };
    let (full, group) = (&scene.full, &scene.group);
    let change = |round: &Round, edit: &dyn Fn(&mut Value)| altered(&round.proposal, |value| edit(value));
    refuse("another context", "full", full, change(full, &|value| value["context"] = json!("00".repeat(32))));
    refuse(
        "a site out of order",
        "full",
        full,
        change(full, &|value| value["manifests"].as_array_mut().unwrap().swap(1, 2)),
    );
    refuse(
        "an altered commitment",
        "full",
        full,
        change(full, &|value| value["manifests"][1]["header"]["body_root"] = json!("00".repeat(32))),
    );
    let forge = |at: usize, edit: &dyn Fn(&mut ManifestHeader)| {
        let signed: &SignedManifestHeader = &full.proposal.manifests[at];
        let mut header = signed.header.clone();
        edit(&mut header);
        let forged = header.sign(consortium.key(&signed.header.site));
        change(full, &|value| value["manifests"][at] = json!(forged))
    };
    let stranger: SiteId = "site-09".parse().unwrap();
    refuse(
        "a neighbour left out",
        "full",
        full,
        forge(1, &|header| drop(header.pair_seed_hashes.pop_first())),
    );
    refuse(
        "a neighbour made up",
        "full",
        full,
        forge(1, &|header| {
            header.pair_seed_hashes.insert(stranger.clone(), header.share_root);
        }),
    );
    refuse("a body one byte short", "full", full, forge(1, &|header| header.body_bytes -= 1));
    refuse(
        "two ends of a pair with different seeds",
        "full",
        full,
        forge(1, &|header| {
            header.pair_seed_hashes.insert(site(3), header.share_root);
        }),
    );
    refuse(
        "this site's own manifest replaced",
        "full",
        full,
        forge(0, &|header| header.share_root = header.body_root),
    );
    refuse(
        "fewer uploads than the threshold",
        "full",
        full,
        change(full, &|value| {
            value["manifests"].as_array_mut().unwrap().pop();
            value["agreed"].as_array_mut().unwrap().pop();
        }),
    );
    refuse(
        "an uploader left out of the set",
        "full",
        full,
        change(full, &|value| drop(value["agreed"].as_array_mut().unwrap().pop())),
    );
    let incomplete = &group.context.context().batches[0][0];
    refuse(
        "a site whose batch did not upload completely",
        "group",
        group,
        change(group, &|value| {
            let manifests = value["manifests"].as_array_mut().unwrap();
            manifests.retain(|signed| signed["header"]["site"] != json!(incomplete));
            value["agreed"].as_array_mut().unwrap().retain(|id| *id != json!(incomplete));
        }),
    );
    vectors
}

fn unmasking(scene: &Scene) -> Vectors {
    let consortium = &scene.consortium;
    let about = "Requests for shares and the sites' answers, after the signatures of agreement.json. The second answer of \
                 `site-00` complains of a dealer whose sealed shares were altered on the way.";
    let mut vectors = Vectors::new("unmasking", about, json!({}));
    for (name, round) in scene.rounds() {
        for (id, request) in &round.requests {
            let response = &round.responses[id];
            vectors.accept(json!({ "context": name, "site": id, "request": request, "response": response }));
        }
    }
    let (id, full) = (site(0), &scene.full);
    let answer = |request: &UnmaskingRequest| {
        let state = AwaitUnmasking::from_secret_bytes(&full.agreed_states[&id]).unwrap();
        let found = state.unmask(&consortium.roster, &full.context, request, consortium.key(&id));
        found.map(|(_, response)| response).map_err(|refused| refused.error)
    };
    let mut damaged = full.requests[&id].clone();
    damaged.sealed[1].sealed[5] ^= 1;
    let response = answer(&damaged).unwrap();
    assert_eq!(response.complaints.len(), 1);
    vectors.accept(json!({ "context": "full", "site": id, "request": damaged, "response": response }));

    let mut refuse = |why: &str, edit: &dyn Fn(&mut Value)| {
        let request = altered(&full.requests[&id], |value| edit(value));
        let parsed: UnmaskingRequest = serde_json::from_value(request.clone()).unwrap();
        vectors.refuse(why, json!({ "context": "full", "site": id, "request": request }), answer(&parsed));
    };
    let list = |value: &mut Value, field: &str, edit: &dyn Fn(&mut Vec<Value>)| {
        edit(value[field].as_array_mut().unwrap());
    };
    refuse("another context", &|value| value["context"] = json!("00".repeat(32)));
    refuse("both kinds of one site", &|value| {
        list(value, "pair_seeds_of", &|sites| sites.push(json!(site(2))));
    });
    refuse("another set than was signed", &|value| list(value, "agreed", &|sites| drop(sites.pop())));
    refuse("the seeds of nobody outside", &|value| list(value, "pair_seeds_of", &|sites| sites.clear()));
    refuse("fewer signatures than the threshold", &|value| {
        list(value, "signatures", &|signatures| drop(signatures.pop()));
    });
    refuse("one signature twice", &|value| {
        list(value, "signatures", &|signatures| signatures[3] = signatures[0].clone());
    });
    refuse("a signature over another set", &|value| {
        value["signatures"][1]["agreed_digest"] = json!("00".repeat(32));
    });
    refuse("the shares of one dealer missing", &|value| list(value, "sealed", &|sealed| drop(sealed.pop())));
    refuse("shares that were sealed to another site", &|value| value["sealed"][0]["to"] = json!(site(4)));
    vectors
}

pub(crate) fn base64(bytes: &[u8]) -> String {
    use base64::Engine as _;
    base64::engine::general_purpose::STANDARD.encode(bytes)
}
