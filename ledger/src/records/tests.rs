use super::*;
use serde_json::{Value, json};

fn text(value: &Value) -> CanonicalText {
    CanonicalText::try_from(value).unwrap()
}

#[test]
fn every_record_reads_back_from_action_and_object() {
    let hash = Hash::of(b"x");
    for record in [
        Record::JobStarted { job: "job-1".to_owned() },
        Record::ConsentRefused {
            job: "job-1".to_owned(),
            site: "site-a".to_owned(),
            rule: "purpose".to_owned(),
            statement: hash,
        },
        Record::RoundOpened {
            job: "job-1".to_owned(),
            round: 3,
            context: hash,
            batches: vec![OpenedBatch { sites: vec!["site-a".to_owned()], sum: hash, weight: 7 }],
            total: OpenedTotal { sum: hash, weight: 7 },
            announcement: hash,
            tag_deadline: 1_800_000_000,
            parameters_before: hash,
            parameters_after: hash,
            coalitions: None,
            evaluation_deadline: 1_800_000_000,
        },
        Record::RoundVerified {
            job: "job-1".to_owned(),
            round: 3,
            announcement: hash,
            result: SumResult::Verified,
            accepted: vec!["site-a".to_owned()],
            rejected: Vec::new(),
            evidence: hash,
        },
        Record::EvaluationRecorded {
            evaluator: "benchmark".to_owned(),
            job: "job-1".to_owned(),
            round: 3,
            parameters: hash,
            coalition: vec!["site-a".to_owned()],
            benchmark: hash,
            score_micro: -250_000,
            statement: hash,
        },
    ] {
        let value = record.to_value().unwrap();
        assert!(value.get("action").is_none(), "{value}");
        assert_eq!(Record::parse(record.action(), &text(&value)).unwrap(), record);
    }
}

#[test]
fn refuses_unknown_actions_and_fields() {
    let unknown = Record::parse("job.deleted", &text(&json!({"job": "job-1"}))).unwrap_err();
    assert!(matches!(unknown, RecordError::UnknownAction { .. }));
    for bad in
        [json!({"job": "job-1", "by": "me"}), json!({}), json!({"job": 1}), json!([]), json!(["job-1"])]
    {
        let refused = Record::parse("job.started", &text(&bad)).unwrap_err().to_string();
        assert!(refused.starts_with("the record of `job.started` is malformed"), "{refused}");
    }
}
