//! An operator who holds the log's key and writes rounds that were otherwise: every rule of a round is checked again, and
//! the entry that breaks it is named with its job and round.

#![allow(
    missing_docs,
    unreachable_pub,
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::cast_possible_truncation,
    clippy::wildcard_enum_match_arm,
    reason = "tests stop at the first surprise"
)]

mod consortium;
mod job;

use std::sync::LazyLock;

use consortium::{at, options, root};
use job::{JOB, Kind, Played, SITES};
use konclave_audit::{CheckTally, Defect, Folder, NotMade, Report, RoundCheck, VerifyOptions, verify};
use konclave_ledger::{Hash, Ledger};
use serde_json::{Value, json};

/// Three opened rounds: one scored, one with a tag that has to be computed, and one after an aborted one.
static PLAYED: LazyLock<Played> =
    LazyLock::new(|| Played::new(&[Kind::Whole, Kind::Untagged, Kind::Aborted, Kind::Whole], &[1]));

fn audit(played: &Played, blobs: bool) -> Report {
    let live = tempfile::tempdir().unwrap();
    let mut ledger = Ledger::open(live.path(), options(false)).unwrap();
    ledger.append(played.drafts.clone(), at(0)).unwrap();
    let (folder, kept) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    ledger.export(folder.path()).unwrap();
    played.store(kept.path());
    let blobs = blobs.then(|| kept.path().to_path_buf());
    let options = VerifyOptions { root: Some(root()), blobs, ..VerifyOptions::default() };
    verify(&Folder::open(folder.path()).unwrap(), &options, &mut |_, _| {}).unwrap()
}

fn tally(report: &Report, check: RoundCheck) -> &CheckTally {
    let found = report.rounds.iter().find(|tally| tally.check == check);
    found.unwrap_or_else(|| panic!("{check:?} was never made: {report}"))
}

fn counts(report: &Report, check: RoundCheck) -> (u64, u64, u64) {
    let tally = tally(report, check);
    (tally.passed, tally.failed, tally.not_made)
}

/// That this check fails at an entry, and that the finding names entry, job, round and what is wrong.
fn caught(report: &Report, check: RoundCheck, index: usize, round: u32, word: &str) {
    let about = if round == 0 { format!("job {JOB}: ") } else { format!("job {JOB}, round {round}: ") };
    let found = report.findings.iter().any(|finding| {
        finding.defect == Defect::Round
            && finding.first_index == index as u64
            && finding.detail.starts_with(&about)
            && finding.detail.contains(word)
            && finding.detail.ends_with(&format!("({})", check.name()))
    });
    assert!(found && !report.ok && tally(report, check).failed > 0, "{check:?}, {word}: {report}");
}

type Change = fn(&mut Value);

/// Changes one entry of a round and expects the check to fail there.
fn tampered(check: RoundCheck, action: &str, round: u32, word: &str, change: Change) {
    let mut played = PLAYED.clone();
    let index = played.entry(action, round);
    change(&mut played.drafts[index].record);
    assert_ne!(played.drafts[index].record, PLAYED.drafts[index].record, "{word}");
    caught(&audit(&played, true), check, index, round, word);
}

/// Changes a blob that an entry names, under a new name that the entry gets.
fn forged(action: &str, round: u32, field: &str, change: impl FnOnce(&mut Value)) -> (Played, usize) {
    let mut played = PLAYED.clone();
    let index = played.entry(action, round);
    let named: Hash = serde_json::from_value(played.drafts[index].record[field].clone()).unwrap();
    let mut value: Value = serde_json::from_slice(&played.blobs[&named]).unwrap();
    change(&mut value);
    let bytes = serde_json::to_vec(&value).unwrap();
    played.drafts[index].record[field] = json!(Hash::of(&bytes));
    played.blobs.insert(Hash::of(&bytes), bytes);
    (played, index)
}

fn other() -> Value {
    json!(Hash::of(b"something else"))
}

#[test]
fn an_honest_job_passes_every_check() {
    let report = audit(&PLAYED, true);
    assert!(report.ok, "{report}");
    for (check, passed) in [
        (RoundCheck::Order, 19),
        (RoundCheck::Roster, 1),
        (RoundCheck::Model, 5),
        (RoundCheck::Context, 4),
        (RoundCheck::Quorum, 4),
        (RoundCheck::Privacy, 4),
        (RoundCheck::AgreedSet, 4),
        (RoundCheck::Agreement, 4),
        (RoundCheck::Opening, 3),
        (RoundCheck::Announcement, 3),
        (RoundCheck::NextModel, 3),
        (RoundCheck::Coalitions, 1),
        (RoundCheck::Tags, 3),
        (RoundCheck::Sum, 5),
        (RoundCheck::Result, 3),
        (RoundCheck::Verdicts, 3),
        (RoundCheck::Participation, 12),
    ] {
        assert_eq!(counts(&report, check), (passed, 0, 0), "{check:?}: {report}");
    }
    assert_eq!(report.rounds.len(), 17);
}

#[test]
fn without_blobs_it_is_said_what_could_not_be_checked() {
    let report = audit(&PLAYED, false);
    assert!(report.ok, "{report}");
    for (check, outcome) in [
        (RoundCheck::Context, (4, 0, 0)),
        (RoundCheck::AgreedSet, (4, 0, 0)),
        (RoundCheck::Opening, (3, 0, 0)),
        (RoundCheck::Announcement, (3, 0, 0)),
        (RoundCheck::Result, (3, 0, 0)),
        (RoundCheck::Agreement, (0, 0, 4)),
        (RoundCheck::NextModel, (0, 0, 3)),
        (RoundCheck::Coalitions, (0, 0, 1)),
        (RoundCheck::Tags, (0, 0, 3)),
        (RoundCheck::Sum, (0, 0, 5)),
        (RoundCheck::Verdicts, (0, 0, 3)),
    ] {
        assert_eq!(counts(&report, check), outcome, "{check:?}: {report}");
    }
    let gap = &tally(&report, RoundCheck::Agreement).gaps[1];
    let index = PLAYED.entry("round.agreed", 2);
    assert_eq!((gap.entry, gap.job.as_str(), gap.round), (index as u64, JOB, Some(2)));
    let named = PLAYED.drafts[index].record["evidence"].clone();
    assert!(matches!(&gap.reason, NotMade::NoBlob { blob, .. } if json!(blob) == named), "{gap:?}");
    let text = report.to_string();
    let said =
        "signed agreements  0 passed, 4 NOT MADE: the blob with the signatures on the agreed set is not";
    assert!(text.contains(said), "{text}");
}

#[test]
fn a_scoring_round_whose_tag_is_missing_is_pending_and_no_fault() {
    let report = audit(&Played::new(&[Kind::Untagged, Kind::Whole], &[1]), true);
    assert!(report.ok, "{report}");
    // The batch without the silent site is checked, the other one and the total are not.
    assert_eq!(counts(&report, RoundCheck::Sum), (2, 0, 2), "{report}");
    assert!(tally(&report, RoundCheck::Sum).gaps.iter().all(|gap| gap.reason == NotMade::Pending));
}

#[test]
fn a_round_starts_where_the_last_opened_one_ended() {
    tampered(RoundCheck::Model, "round.context", 1, "the model", |record| record["parameters"] = other());
    tampered(RoundCheck::Model, "round.context", 4, "the model", |record| record["parameters"] = other());
    tampered(RoundCheck::Model, "job.finished", 0, "the final model", |record| {
        record["parameters"] = other()
    });
    // The model after an opening is that of the next round, also across an aborted one.
    let mut played = PLAYED.clone();
    let opened = played.entry("round.opened", 2);
    played.drafts[opened].record["parameters_after"] = other();
    caught(&audit(&played, false), RoundCheck::Model, played.entry("round.context", 3), 3, "the model");
}

#[test]
fn entries_of_rounds_stand_in_order() {
    let without = |action: &str, round: u32, then: &str, next: u32| {
        let mut played = PLAYED.clone();
        played.drafts.remove(played.entry(action, round));
        let index = played.entry(then, next);
        caught(&audit(&played, true), RoundCheck::Order, index, next, "cannot follow");
    };
    without("round.context", 3, "round.agreed", 3);
    without("round.agreed", 1, "round.opened", 1);
    without("round.opened", 2, "round.tagged", 2);
    without("round.tagged", 2, "round.verified", 2);
    without("round.verified", 2, "round.context", 3);
    without("round.aborted", 3, "round.context", 4);
    let mut played = PLAYED.clone();
    played.drafts.truncate(played.entry("round.verified", 4));
    played.drafts.push(PLAYED.drafts[PLAYED.entry("job.finished", 0)].clone());
    caught(&audit(&played, true), RoundCheck::Order, played.drafts.len() - 1, 0, "cannot follow");
    // A job that nobody asked for.
    let mut played = PLAYED.clone();
    played.drafts.remove(played.entry("job.requested", 0));
    let index = played.entry("roster.fixed", 0);
    caught(&audit(&played, true), RoundCheck::Order, index, 0, "no such job");
    // What sites rejected is not built on.
    tampered(RoundCheck::Result, "round.verified", 2, "the result", |record| {
        record["result"] = json!("rejected")
    });
    let mut played = PLAYED.clone();
    let index = played.entry("round.verified", 2);
    played.drafts[index].record["result"] = json!("rejected");
    played.drafts[index].record["rejected"] = json!(["site-d"]);
    played.drafts[index].record["accepted"] = json!(["site-a", "site-b"]);
    let next = played.entry("round.context", 3);
    caught(&audit(&played, false), RoundCheck::Order, next, 3, "rejected the sum");
}

#[test]
fn the_roster_lists_certified_sites() {
    tampered(RoundCheck::Roster, "roster.fixed", 0, "`site-x`", |record| {
        record["sites"][3] = json!("site-x")
    });
}

#[test]
fn a_round_costs_what_its_contexts_noise_makes_it() {
    tampered(RoundCheck::Privacy, "round.context", 2, "the privacy cost", |record| {
        record["privacy_cost"] = json!(500_000_000);
    });
}

#[test]
fn a_context_is_the_gateways_and_keeps_to_job_and_policy() {
    tampered(RoundCheck::Context, "round.context", 1, "the entry's context", |record| {
        record["context"] = other();
    });
    tampered(RoundCheck::Context, "round.context", 2, "the context's model", |record| {
        record["parameters"] = other();
    });
    tampered(RoundCheck::Context, "round.context", 2, "the context's mode", |record| {
        record["scoring"] = json!(true);
    });
    // Inside the signed document, under its new digest: the gateway's signature does not hold, or names it.
    let inside = |round: u32, word: &str, change: fn(&mut Value)| {
        let mut played = PLAYED.clone();
        let index = played.entry("round.context", round);
        let record = &mut played.drafts[index].record;
        let mut signed = record["signed"]["inline"].clone();
        change(&mut signed);
        let context: konclave_crypto::RoundContext =
            serde_json::from_value(signed["context"].clone()).unwrap();
        record["context"] = json!(Hash(*context.digest().as_bytes()));
        record["signed"] = json!(konclave_ledger::records::Document::of(signed).unwrap().0);
        caught(&audit(&played, true), RoundCheck::Context, index, round, word);
    };
    inside(2, "not signed by the gateway", |signed| signed["context"]["min_agreed"] = json!(2));
    inside(2, "the context's policy", |signed| signed["context"]["policy"] = other());
    inside(2, "the context's job", |signed| signed["context"]["job"] = json!("job-2"));
    inside(2, "the ledger's size", |signed| signed["context"]["ledger_size"] = json!(1000));
    inside(2, "within the policy's limits", |signed| {
        signed["context"]["encoding"]["weight_cap"] = json!(8193);
    });
    inside(1, "the context's mode", |signed| signed["context"]["mode"] = json!("full"));
    // The document's bytes are what its digest says.
    tampered(RoundCheck::Context, "round.context", 2, "was altered", |record| {
        record["signed"]["inline"]["context"]["min_agreed"] = json!(2);
    });
    // A policy that is not in the ledger.
    let mut played = PLAYED.clone();
    let set = played.entry("policy.set", 0);
    played.drafts[set].record["text"] = json!("min_cohort = 2");
    let index = played.entry("round.context", 1);
    caught(&audit(&played, true), RoundCheck::Context, index, 1, "rounds policy");
}

#[test]
fn the_threshold_is_the_rosters_quorum() {
    // Four of four sites is above two thirds, but not the quorum that the policy takes; the gateway signs it all the same.
    let mut played = PLAYED.clone();
    let index = played.entry("round.context", 2);
    let record = &mut played.drafts[index].record;
    let signed: konclave_crypto::SignedContext =
        serde_json::from_value(record["signed"]["inline"].clone()).unwrap();
    let mut context = signed.context;
    context.threshold = 4;
    let seed = zeroize::Zeroizing::new(consortium::identity_seed("gateway"));
    let key = konclave_crypto::IdentityKey::from_seed(seed);
    let signed = konclave_crypto::SignedContext::sign(context, signed.gateway, &key);
    record["context"] = json!(Hash(*signed.context.digest().as_bytes()));
    let document = konclave_ledger::records::Document::of(serde_json::to_value(&signed).unwrap()).unwrap().0;
    record["signed"] = json!(document);
    caught(&audit(&played, false), RoundCheck::Quorum, index, 2, "the quorum of 4 sites 3");
}

#[test]
fn an_agreed_set_is_whole_large_and_signed_by_a_quorum() {
    let lists = RoundCheck::AgreedSet;
    tampered(lists, "round.agreed", 1, "whole batches", |record| record["agreed"] = json!(SITES[..3]));
    tampered(lists, "round.agreed", 2, "the context asks for 3", |record| {
        record["agreed"] = json!(SITES[..2])
    });
    tampered(lists, "round.agreed", 2, "the threshold is 3", |record| record["signed"] = json!(SITES[..2]));
    tampered(lists, "round.agreed", 2, "one of the roster", |record| record["agreed"][3] = json!("site-x"));
    // The evidence: another set, fewer signatures, one that is another site's, none of a site that is named.
    let signed = RoundCheck::Agreement;
    tampered(signed, "round.agreed", 2, "the agreed set", |record| record["agreed"] = json!(SITES[..3]));
    let forge = |word: &str, change: fn(&mut Value)| {
        let (played, index) = forged("round.agreed", 2, "evidence", change);
        caught(&audit(&played, true), signed, index, 2, word);
    };
    forge("only 2 sites signed", |evidence| evidence["signatures"].as_array_mut().unwrap().truncate(2));
    forge("`site-b` does not hold", |evidence| {
        evidence["signatures"][1]["signature"] = evidence["signatures"][0]["signature"].clone();
    });
    forge("no signature of it", |evidence| drop(evidence["signatures"].as_array_mut().unwrap().pop()));
    forge("was refused", |evidence| {
        evidence["proposal"]["manifests"][0]["header"]["body_root"] = other();
    });
    let mut played = PLAYED.clone();
    let index = played.entry("round.agreed", 2);
    played.drafts[index].new = Some(Hash::of(b"another set"));
    caught(&audit(&played, true), signed, index, 2, "the entry's digest");
}

#[test]
fn what_was_opened_is_the_rounds() {
    let check = RoundCheck::Opening;
    tampered(check, "round.opened", 2, "the context", |record| record["context"] = other());
    tampered(check, "round.opened", 2, "the model before", |record| record["parameters_before"] = other());
    tampered(check, "round.opened", 2, "the total's weight", |record| record["total"]["weight"] = json!(1));
    tampered(check, "round.opened", 2, "one sum, the total", |record| record["total"]["sum"] = other());
    tampered(check, "round.opened", 2, "the sites in the sums", |record| {
        record["batches"][0]["sites"] = json!(SITES[..3]);
    });
    tampered(check, "round.opened", 1, "the sum of each batch", |record| {
        record["batches"].as_array_mut().unwrap().swap(0, 1);
    });
    tampered(check, "round.opened", 1, "whether there are coalitions", |record| {
        record.as_object_mut().unwrap().remove("coalitions");
    });
    // What sites tagged is another opening.
    let changes: [Change; 3] = [
        |record| record["total"]["weight"] = json!(1),
        |record| record["batches"][0]["sum"] = other(),
        |record| record["announcement"] = other(),
    ];
    for change in changes {
        tampered(RoundCheck::Announcement, "round.opened", 2, "the announcement", change);
    }
}

#[test]
fn models_follow_from_sums() {
    tampered(RoundCheck::NextModel, "round.opened", 2, "moved by the sum", |record| {
        record["parameters_after"] = record["parameters_before"].clone();
    });
    let with_list = |word: &str, change: fn(&mut Value)| {
        let mut played = PLAYED.clone();
        let index = played.entry("round.opened", 1);
        let record = &mut played.drafts[index].record;
        let mut listed = record["coalitions"]["inline"].clone();
        change(&mut listed);
        record["coalitions"] = json!(konclave_ledger::records::Document::of(listed).unwrap().0);
        caught(&audit(&played, true), RoundCheck::Coalitions, index, 1, word);
    };
    with_list("moved by its sums", |listed| listed[2]["parameters"] = listed[1]["parameters"].clone());
    with_list("the first or the last coalition", |listed| listed[0]["parameters"] = other());
    with_list("the first or the last coalition", |listed| listed[3]["parameters"] = other());
    with_list("one of every coalition", |listed| drop(listed.as_array_mut().unwrap().remove(1)));
}

#[test]
fn tags_are_the_agreed_sites_and_add_up_to_the_sums() {
    let check = RoundCheck::Tags;
    tampered(check, "round.tagged", 2, "the announcement", |record| record["announcement"] = other());
    tampered(check, "round.tagged", 2, "each agreed site, once", |record| record["uploads"] = json!([]));
    tampered(check, "round.tagged", 2, "each agreed site, once", |record| record["tagged"] = json!(SITES));
    tampered(check, "round.tagged", 2, "a site with a false tag", |record| {
        record["false_tags"] = json!(["site-a"]);
    });
    tampered(check, "round.tagged", 1, "whose tag is computed", |record| {
        record["tagged"] = json!(SITES[..3]);
        record["uploads"] = json!([{ "site": "site-d", "body": other() }]);
    });
    tampered(check, "round.tagged", 1, "who sent tags", |record| {
        record["tagged"] = json!(SITES[..3]);
        record["missing"] = json!(["site-d"]);
    });
    let forge = |round: u32, word: &str, change: fn(&mut Value)| {
        let (played, index) = forged("round.tagged", round, "evidence", change);
        caught(&audit(&played, true), check, index, round, word);
    };
    forge(1, "the tag of `site-b`", |evidence| {
        evidence["tags"][1]["value"] = evidence["tags"][0]["value"].clone()
    });
    forge(2, "whose tags are computed", |evidence| evidence["uploads"][0]["body"] = other());
    forge(2, "what the tags are for", |evidence| evidence["announcement"]["total"]["weight"] = json!(1));
    forge(2, "a tag cannot be computed", |evidence| {
        let seed = evidence["uploads"][0]["opened"]["self_seed"].as_str().unwrap();
        let changed =
            if seed.starts_with('A') { seed.replacen('A', "B", 1) } else { format!("A{}", &seed[1..]) };
        evidence["uploads"][0]["opened"]["self_seed"] = json!(changed);
    });
}

#[test]
fn sums_are_what_the_tags_say() {
    // The gateway shifts one between two batches and writes everything that follows: the total stays, and so do the sites'
    // checks, but not the tags of a batch.
    let mut played = PLAYED.clone();
    let index = played.entry("round.opened", 1);
    for (place, by) in [(0, 1), (1, -1)] {
        let named: Hash =
            serde_json::from_value(played.drafts[index].record["batches"][place]["sum"].clone()).unwrap();
        let mut bytes = played.blobs[&named].clone();
        let first = i32::from_le_bytes(bytes[..4].try_into().unwrap()) + by;
        bytes[..4].copy_from_slice(&first.to_le_bytes());
        played.drafts[index].record["batches"][place]["sum"] = json!(Hash::of(&bytes));
        played.blobs.insert(Hash::of(&bytes), bytes);
    }
    caught(&audit(&played, true), RoundCheck::Announcement, index, 1, "the announcement");
    // A blob with another content under its old name.
    let mut played = PLAYED.clone();
    let index = played.entry("round.opened", 2);
    let named: Hash = serde_json::from_value(played.drafts[index].record["total"]["sum"].clone()).unwrap();
    played.blobs.get_mut(&named).unwrap()[0] ^= 1;
    let report = audit(&played, true);
    caught(&report, RoundCheck::Sum, played.entry("round.tagged", 2), 2, "not those that were announced");
    caught(&report, RoundCheck::NextModel, index, 2, "was altered");
}

#[test]
fn a_sum_that_all_entries_agree_on_is_found_wrong_by_its_tags() {
    // Sites that work with the gateway sign tags for a sum that is none of what was uploaded.
    let mut played = PLAYED.clone();
    let opened = played.entry("round.opened", 4);
    let named: Hash = serde_json::from_value(played.drafts[opened].record["total"]["sum"].clone()).unwrap();
    let mut sum = played.blobs[&named].clone();
    sum[0] ^= 1;
    let sum_name = Hash::of(&sum);
    played.blobs.insert(sum_name, sum);
    let tagged = played.entry("round.tagged", 4);
    let evidence: Hash = serde_json::from_value(played.drafts[tagged].record["evidence"].clone()).unwrap();
    let mut evidence: konclave_crypto::messages::TagEvidence =
        serde_json::from_slice(&played.blobs[&evidence]).unwrap();
    evidence.announcement.total.coordinates = konclave_crypto::Digest(sum_name.0);
    evidence.announcement.sums[0].coordinates = konclave_crypto::Digest(sum_name.0);
    let said = evidence.announcement.digest();
    for tag in &mut evidence.tags {
        let seed = zeroize::Zeroizing::new(consortium::identity_seed(tag.site.as_str()));
        let key = konclave_crypto::IdentityKey::from_seed(seed);
        let (context, site, value) = (tag.context, tag.site.clone(), tag.value.clone());
        *tag = konclave_crypto::messages::SumTag::sign(context, site, said, value, &key);
    }
    let bytes = serde_json::to_vec(&evidence).unwrap();
    let record = &mut played.drafts[opened].record;
    record["total"]["sum"] = json!(sum_name);
    record["batches"][0]["sum"] = json!(sum_name);
    record["announcement"] = json!(Hash(said.0));
    let record = &mut played.drafts[tagged].record;
    record["announcement"] = json!(Hash(said.0));
    record["evidence"] = json!(Hash::of(&bytes));
    played.blobs.insert(Hash::of(&bytes), bytes);
    let report = audit(&played, true);
    assert_eq!(counts(&report, RoundCheck::Announcement).1, 0, "{report}");
    assert_eq!(counts(&report, RoundCheck::Tags).1, 0, "{report}");
    caught(&report, RoundCheck::Sum, tagged, 4, "the tags do not add up");
}

#[test]
fn a_result_is_what_signed_verdicts_make_it() {
    let check = RoundCheck::Result;
    tampered(check, "round.verified", 2, "the announcement", |record| record["announcement"] = other());
    tampered(check, "round.verified", 2, "the result", |record| record["accepted"] = json!(SITES[..2]));
    tampered(check, "round.verified", 2, "the result", |record| record["result"] = json!("pending"));
    tampered(check, "round.verified", 2, "one of the roster, once", |record| {
        record["rejected"] = json!(["site-a"]);
    });
    tampered(check, "round.verified", 2, "one of the roster, once", |record| {
        record["accepted"][3] = json!("site-x");
    });
    let check = RoundCheck::Verdicts;
    tampered(check, "round.verified", 2, "the verdict of site-d", |record| {
        record["accepted"] = json!(SITES[..3]);
    });
    let forge = |word: &str, change: fn(&mut Value)| {
        let (played, index) = forged("round.verified", 2, "evidence", change);
        caught(&audit(&played, true), check, index, 2, word);
    };
    forge("the verdict of site-a", |said| said[0]["signature"] = said[1]["signature"].clone());
    forge("the verdict of site-a", |said| said[0]["accepted"] = json!(false));
    forge("each site named, once", |said| drop(said.as_array_mut().unwrap().pop()));
}

#[test]
fn a_sites_part_is_what_was_agreed_on() {
    for field in ["agreed", "signed", "uploaded"] {
        let mut played = PLAYED.clone();
        let index = played.entry("participation.recorded", 2);
        played.drafts[index].record[field] = json!(false);
        caught(&audit(&played, false), RoundCheck::Participation, index, 2, "what was agreed");
    }
}
