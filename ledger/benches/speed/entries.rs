//! Entries like those of a job: about 1 KiB each, the same in every run.

use konclave_ledger::{ClockSource, EntryDraft, Hash, LedgerOptions, SigningKey, Timestamp};
use serde_json::json;

pub(crate) fn options(index: bool) -> LedgerOptions {
    LedgerOptions {
        origin: "konclave.example/ledger".parse().unwrap(),
        signer: Box::new(SigningKey::from_seed(&[11; 32])),
        software: "konclave-gateway/0.1.0".into(),
        index,
        reserve_bytes: 0,
        seen: None,
    }
}

pub(crate) fn at(entry: u64) -> Timestamp {
    Timestamp::from_unix_millis(1_767_225_600_000 + 37 * entry).unwrap().with_clock(ClockSource::Synchronised)
}

fn digest(what: &str, number: u64) -> Hash {
    Hash::of(format!("{what} {number}").as_bytes())
}

/// A participation, an evaluation or an opened round, in the proportions of a job with eight sites. The actions are none
/// that the auditor knows: it would want the rest of the job.
pub(crate) fn draft(number: u64) -> EntryDraft {
    let (job, round) = (format!("job/admet-{}", number / 10_000), number / 20 % 100);
    let sites: Vec<String> = (0..8).map(|site| format!("site-{site}")).collect();
    let site = sites[(number % 8) as usize].clone();
    let (action, record) = match number % 20 {
        0 => (
            "bench.opened",
            json!({
                "job": job, "round": round, "context": digest("context", number),
                "batches": sites.chunks(2).map(|sites| json!({
                    "sites": sites, "sum": digest(&sites[0], number), "weight": 4096 + number % 1000,
                })).collect::<Vec<_>>(),
                "total": { "sum": digest("total", number), "weight": 16_384 },
                "announcement": digest("announcement", number), "tag_deadline": 1_767_229_200 + number,
                "parameters_before": digest("before", number), "parameters_after": digest("after", number),
                "evaluation_deadline": 1_767_232_800 + number,
            }),
        ),
        1..=8 => (
            "bench.evaluated",
            json!({
                "evaluator": "benchmark", "job": job, "round": round, "parameters": digest("after", number),
                "coalition": sites, "benchmark": digest("benchmark", 0), "score_micro": -250_000 + (number % 9999) as i64,
                "statement": digest("statement", number),
            }),
        ),
        _ => (
            "bench.participated",
            json!({
                "job": job, "round": round, "site": site, "uploaded": true, "agreed": true, "signed": true,
                "unmasked": !number.is_multiple_of(7), "manifest": digest("manifest", number),
            }),
        ),
    };
    EntryDraft {
        actor: format!("konclave.example/{site}"),
        role: "site".into(),
        site: Some(site),
        action: action.into(),
        object: format!("{job}/round/{round}"),
        old: Some(digest("old", number)),
        new: Some(digest("new", number)),
        reason: "the round's uploads were agreed by a quorum of its sites, \u{a7} 4.2 of the rounds policy"
            .into(),
        request_id: format!("7f3c9a52-0000-4000-8000-{number:012}"),
        policy: Some(digest("policy", 0)),
        commitments: vec![digest("commitment", number)],
        statement: None,
        record,
    }
}

pub(crate) fn drafts(range: std::ops::Range<u64>) -> Vec<EntryDraft> {
    range.map(draft).collect()
}
