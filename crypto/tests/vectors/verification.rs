//! Tags, the check of the opened sum, and verdicts.

use konclave_crypto::messages::{OpenedUpload, SumTag, SumVerdict, TagEvidence, TaggingRequest};
use konclave_crypto::verification::{OwnUpload, SumAnnouncement, SumCheck, recompute, tag};
use konclave_crypto::{Digest, SiteId};
use serde_json::{Value, json};

use crate::Vectors;
use crate::key_setup::altered;
use crate::rounds::base64;
use crate::scene::{Round, Scene};
use crate::support::site;

pub(crate) fn files(scene: &Scene) -> Vec<Vectors> {
    vec![tags(scene), sums(scene), verdicts(scene)]
}

fn tags(scene: &Scene) -> Vectors {
    let consortium = &scene.consortium;
    let shared = json!({ "evidence": { "full": scene.full.evidence, "group": scene.group.evidence } });
    let about = "Requests for tags and the sites' tags, over the bodies of masking.json. `evidence` shows the agreed sets.";
    let mut vectors = Vectors::new("tagging", about, shared);
    for (name, round) in scene.rounds() {
        for (id, made) in &round.tags {
            let request = round.tagging.request_for(id).unwrap();
            let digest = request.announcement.digest();
            vectors.accept(json!({
                "context": name, "site": id, "request": request, "announcement_digest": digest, "tag": made,
            }));
        }
    }
    let (id, full) = (site(0), &scene.full);
    let mut refuse = |why: &str, edit: &dyn Fn(&mut Value)| {
        let request = altered(&full.tagging.request_for(&id).unwrap(), |value| edit(value));
        let parsed: TaggingRequest = serde_json::from_value(request.clone()).unwrap();
        let body = full.masked[&id].body.as_slice();
        let upload =
            OwnUpload { site: &id, key: consortium.key(&id), signed: Some(full.agreed.digest()), body };
        let found = tag(&consortium.roster, &full.context, &full.agreed, &parsed, upload);
        vectors.refuse(why, json!({ "context": "full", "site": id, "request": request }), found);
    };
    refuse("an announcement for another set", &|value| {
        value["announcement"]["agreed_digest"] = json!("00".repeat(32));
    });
    refuse("a sum over other sites", &|value| {
        drop(value["announcement"]["sums"][0]["sites"].as_array_mut().unwrap().pop());
    });
    refuse("a total that is not the sum's", &|value| value["announcement"]["total"]["weight"] = json!(1));
    refuse("another self-mask seed", &|value| {
        value["opened"]["self_seed"] = value["opened"]["pair_seeds"]["site-01"].clone();
    });
    refuse("a seed of a pair that was not opened", &|value| {
        value["opened"]["pair_seeds"]["site-02"] = value["opened"]["self_seed"].clone();
    });
    vectors
}

/// Checks a total against evidence, as the document asks: every upload's tag is computed anew.
fn check(scene: &Scene, round: &Round, evidence: &TagEvidence, total: &[i32]) -> Result<(), String> {
    let roster = &scene.consortium.roster;
    let announcement = &evidence.announcement;
    let recomputed = evidence.uploads.iter().map(|upload| {
        let body = round.masked[&upload.site].body.as_slice();
        recompute(&round.context, &round.agreed, announcement, &upload.site, &upload.opened, body)
    });
    let recomputed = recomputed.collect::<Result<Vec<_>, _>>().map_err(|_| "Tag".to_owned())?;
    let named = |error| crate::error_name(&error);
    let mut check =
        SumCheck::of_total(roster, &round.context, &round.agreed, announcement, &evidence.tags, &recomputed)
            .map_err(named)?;
    check.take(total);
    check.finish().map(drop).map_err(named)
}

fn sums(scene: &Scene) -> Vectors {
    let about = "The check of an opened total: coordinates as little-endian i32 in base64, and the evidence. An upload in \
                 the evidence stands for a tag that did not come; its body is in masking.json.";
    let mut vectors = Vectors::new("sum_check", about, json!({}));
    let evidence_without = |round: &Round, silent: &[SiteId]| TagEvidence {
        announcement: round.tagging.announcement().clone(),
        tags: round.tags.values().filter(|tag| !silent.contains(&tag.site)).cloned().collect(),
        uploads: silent
            .iter()
            .map(|id| OpenedUpload {
                site: id.clone(),
                opened: round.tagging.opened()[id].clone(),
                body: Digest::of(&round.masked[id].body),
            })
            .collect(),
    };
    let bytes = |total: &[i32]| total.iter().flat_map(|value| value.to_le_bytes()).collect::<Vec<u8>>();
    for (name, silent) in [("full", vec![]), ("full", vec![site(2)]), ("group", vec![])] {
        let round = if name == "full" { &scene.full } else { &scene.group };
        let evidence = evidence_without(round, &silent);
        let total = round.opened.total();
        check(scene, round, &evidence, total).unwrap();
        vectors.accept(json!({ "context": name, "evidence": evidence, "total": base64(&bytes(total)) }));
    }
    let full = &scene.full;
    let mut refuse = |why: &str, evidence: TagEvidence, total: &[i32]| {
        let found = check(scene, full, &evidence, total);
        let case = json!({ "context": "full", "evidence": evidence, "total": base64(&bytes(total)) });
        vectors.refuse(why, case, found.map_err(Named));
    };
    let right = full.opened.total();
    let good = evidence_without(full, &[]);
    let mut wrong = right.to_vec();
    wrong[3] += 1;
    refuse("a coordinate changed after the announcement", good.clone(), &wrong);
    // A gateway that announces a wrong sum and lets all sites sign their tags for it.
    let announce = |total: &[i32], weight: u64| {
        let mut announcement: SumAnnouncement = full.tagging.announcement().clone();
        let digest = Digest::of(&bytes(total));
        (announcement.sums[0].coordinates, announcement.total.coordinates) = (digest, digest);
        (announcement.sums[0].weight, announcement.total.weight) = (weight, weight);
        let tags = full.tags.keys().map(|id| {
            let opened = full.tagging.opened()[id].clone();
            let request = TaggingRequest { announcement: announcement.clone(), opened };
            let body = full.masked[id].body.as_slice();
            let upload = OwnUpload { site: id, key: scene.consortium.key(id), signed: None, body };
            tag(&scene.consortium.roster, &full.context, &full.agreed, &request, upload).unwrap()
        });
        TagEvidence { tags: tags.collect(), announcement: announcement.clone(), uploads: Vec::new() }
    };
    let weight = full.tagging.announcement().total.weight;
    refuse("a wrong sum, announced and tagged", announce(&wrong, weight), &wrong);
    refuse("a wrong weight, announced and tagged", announce(right, weight + 1), right);
    let mut missing = good.clone();
    missing.tags.pop();
    refuse("a tag missing", missing, right);
    let mut forged = good;
    let tag: &SumTag = &forged.tags[0];
    let (context, of, announcement, value) =
        (tag.context, tag.site.clone(), tag.announcement, tag.value.clone());
    forged.tags[0] = SumTag::sign(context, of, announcement, value, scene.consortium.key(&site(4)));
    refuse("a tag signed by another site", forged, right);
    vectors
}

/// An error that is its own name.
struct Named(String);

impl std::fmt::Debug for Named {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.0)
    }
}

fn verdicts(scene: &Scene) -> Vectors {
    let consortium = &scene.consortium;
    let mut vectors = Vectors::new("verdict", "The sites' signed words on an opened sum.", json!({}));
    let digest = scene.full.tagging.announcement().digest();
    let verdict = |id: &SiteId, accepted: bool| {
        SumVerdict::sign(scene.full.context.digest(), id.clone(), digest, accepted, consortium.key(id))
    };
    for (id, accepted) in [(site(0), true), (site(2), false), (site(3), true)] {
        let verdict = verdict(&id, accepted);
        assert!(verdict.verify(&consortium.roster));
        vectors.accept(json!({ "verdict": verdict }));
    }
    let mut refuse = |why: &str, edit: &dyn Fn(&mut Value)| {
        let value = altered(&verdict(&site(0), true), |value| edit(value));
        let parsed: SumVerdict = serde_json::from_value(value.clone()).unwrap();
        let found = if parsed.verify(&consortium.roster) { Ok(()) } else { Err(Named("Signature".into())) };
        vectors.refuse(why, json!({ "verdict": value }), found);
    };
    refuse("turned round", &|value| value["accepted"] = json!(false));
    refuse("of another site", &|value| value["site"] = json!(site(2)));
    vectors
}
