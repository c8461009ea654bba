//! Signed contexts and a site's floors.

use konclave_crypto::{MaskGraph, Mode, RoundContext, SignedContext, SiteFloor};
use serde_json::{Value, json};

use crate::Vectors;
use crate::scene::Scene;
use crate::support::{FLOOR, NOW, site};

pub(crate) fn file(scene: &Scene) -> Vectors {
    let consortium = &scene.consortium;
    let shared = json!({ "root": consortium.root(), "now": NOW });
    let about = "Signed contexts over the roster of roster.json with the floors of the site that checks them. Round 1 is \
                 `full`, round 2 `group`; the other files name contexts so.";
    let mut vectors = Vectors::new("signed_context", about, shared);
    for (name, round) in scene.rounds() {
        let context = round.context.context();
        let neighbours: serde_json::Map<String, Value> =
            consortium.sites().iter().map(|id| (id.to_string(), json!(context.neighbours(id)))).collect();
        let floor = floor_of(context);
        round.signed_context.verify(&consortium.root(), &consortium.roster, NOW, &floor).unwrap();
        vectors.accept(json!({
            "name": name,
            "floor": floor,
            "signed": round.signed_context,
            "digest": round.context.digest(),
            "neighbours": neighbours,
            "body_bytes": context.encoding.body_bytes(),
        }));
    }
    let full = scene.full.context.context();
    let mut judge = |why: &str, signed: SignedContext, floor: SiteFloor| {
        let found = signed.verify(&consortium.root(), &consortium.roster, NOW, &floor);
        vectors.refuse(why, json!({ "floor": floor, "signed": signed }), found);
    };
    let mut forged = scene.full.signed_context.clone();
    forged.context.min_agreed = 3;
    judge("changed after it was signed", forged, FLOOR);
    let insider = &consortium.members[&site(0)];
    let signed = SignedContext::sign(full.clone(), insider.certificate.clone(), &insider.key);
    judge("signed by a site", signed, FLOOR);
    let mut change = |why: &str, edit: &dyn Fn(&mut RoundContext), floor: SiteFloor| {
        let mut context = full.clone();
        edit(&mut context);
        judge(why, consortium.signed(context), floor);
    };
    change("another job", &|context| context.job = "job-2".parse().unwrap(), FLOOR);
    change("another roster", &|context| context.roster = context.model, FLOOR);
    change("a site in no batch", &|context| drop(context.batches.pop()), FLOOR);
    change("two thirds are not enough", &|context| context.threshold = 3, FLOOR);
    change("one site alone", &|context| context.min_agreed = 1, FLOOR);
    change("fewer than this site's floor", &|_| {}, SiteFloor { min_agreed: 3, ..FLOOR });
    change("fewer owners than this site's floor", &|_| {}, SiteFloor { min_sites: 6, ..FLOOR });
    change("batches of the gateway's choice", &|context| context.batches.swap(0, 1), FLOOR);
    change(
        "a graph that can be cut",
        &|context| context.mask_graph = MaskGraph::Regular { degree: 2 },
        FLOOR,
    );
    change("a ring without a spare bit", &|context| context.encoding.quantisation_bits = 14, FLOOR);
    let group = scene.group.signed_context.clone();
    judge("batches opened in a job without scoring", group, SiteFloor { scoring_batch_size: None, ..FLOOR });
    let mut small = scene.group.context.context().clone();
    small.mode = Mode::Group;
    small.batches = konclave_crypto::batches::singletons(&consortium.roster);
    judge("single sites opened", consortium.signed(small), FLOOR);
    vectors
}

/// The floors under which the scene's contexts are right.
fn floor_of(context: &RoundContext) -> SiteFloor {
    SiteFloor { scoring_batch_size: (context.mode == Mode::Group).then_some(context.min_batch), ..FLOOR }
}
