//! A gateway that lies: what each lie is met with.

use std::time::Duration;

use konclave_crypto::privacy::NoiseTerms;
use konclave_crypto::{Digest, Mode, RoundContext, RoundNumber};
use konclave_site::driver::SiteError;
use konclave_site::keystore::{Disk, JobStore};
use tokio::task::JoinHandle;

use crate::field::Field;
use crate::support::gateway::Gateway;

/// Changes a context before it is signed.
type Tamper = fn(&mut RoundContext);

/// Runs three sites against a gateway until one says why it refuses; gives the number of manifests that were sent.
async fn refusal(reason: &str, tell: impl FnOnce(&mut Gateway)) -> usize {
    let field = Field::with(tell);
    let sites: Vec<_> = (0..3).map(|index| field.start(index)).collect();
    field.refused(reason).await;
    tokio::time::sleep(Duration::from_millis(300)).await;
    sites.iter().for_each(JoinHandle::abort);
    let gateway = field.gateway.lock().unwrap();
    gateway.manifests_seen.len()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn contexts_that_say_other_things_than_the_job_get_no_update() {
    let tampers: [(Tamper, &str); 10] = [
        (|context| context.round = RoundNumber::new(2).unwrap(), "its round number is not the job's"),
        (|context| context.training = Digest::of(b"train longer"), "its training digest is not the job's"),
        (|context| context.policy = Digest::of(b"another policy"), "its policy is not the job's"),
        (|context| context.min_agreed = 2, "min_agreed 2 must be from 3 to 3"),
        (|context| context.model = Digest::of(b"another model"), "by the ledger the job stands at"),
        (|context| context.encoding.weight_cap += 1, "refused by rule weight_cap"),
        (|context| context.encoding.tensors[0].name.push('x'), "its list of tensors is not the job's"),
        (
            |context| {
                context.encoding.weight_cap = 1;
                context.noise = Some(NoiseTerms { clip_norm: 1_000, site_variance: 1, colluders: 0 });
            },
            "its noise is not the job's",
        ),
        (|context| context.mode = Mode::Group, "a batch of 1 sites would be opened by itself"),
        (
            |context| {
                context.mode = Mode::Group;
                context.batches = vec![context.batches.concat()];
            },
            "this is not a scoring round of the job",
        ),
    ];
    for (tamper, reason) in tampers {
        assert_eq!(refusal(reason, |gateway| gateway.tamper = Some(tamper)).await, 0, "{reason}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_context_that_the_ledger_does_not_hold_gets_no_update() {
    let reason = "the ledger shows no round.context entry of round 1 with this context's digest";
    assert_eq!(refusal(reason, |gateway| gateway.records_contexts = false).await, 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn rounds_before_the_first_trained_one_must_be_in_the_ledger_too() {
    let reason = "the ledger shows no round.opened or round.aborted entry of round 1";
    let skip = |gateway: &mut Gateway| {
        gateway.first_round = 2;
        gateway.tamper = Some(|context| context.model = Digest::of(b"a model to look through"));
    };
    assert_eq!(refusal(reason, skip).await, 0);
    let reason = "the gateway does not give a ledger entry of the opening of round 1";
    assert_eq!(refusal(reason, |gateway| gateway.records_endings = false).await, 3, "round 1 alone");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_head_from_before_the_last_round_is_not_taken_again() {
    let reason =
        "the context of round 2 names a ledger of 0 entries, but the round before it ended in entry 2";
    let stale = |context: &mut RoundContext| {
        if context.round != RoundNumber::FIRST {
            context.ledger_size = 0;
            context.ledger_root = Digest(konclave_ledger::tree::empty_root().0);
        }
    };
    assert_eq!(refusal(reason, |gateway| gateway.tamper = Some(stale)).await, 3);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_model_is_not_opened_twice_also_after_a_restart() {
    let field = Field::with(|gateway| gateway.pretends_aborts = true);
    let sites: Vec<_> = (0..3).map(|index| field.start(index)).collect();
    let reason = "for which this site already gave shares in round 1";
    field.refused(reason).await;
    for (index, site) in sites.into_iter().enumerate() {
        site.abort();
        let _ = site.await;
        drop(field.restart(index).await);
    }
    tokio::time::sleep(Duration::from_millis(700)).await;
    let gateway = field.gateway.lock().unwrap();
    // The first round's sum is open, whatever the gateway says; no second one is.
    assert_eq!(gateway.opened.len(), 1);
    let first = gateway.manifests_seen[0].1.signed.header.context;
    assert!(gateway.manifests_seen.iter().all(|(_, manifest)| manifest.signed.header.context == first));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_more_rounds_are_opened_than_were_asked_for() {
    let reason = "this site gave shares in 2 rounds, all that the job asked for";
    assert_eq!(refusal(reason, |gateway| gateway.rounds_wanted = 3).await, 6);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_far_round_neither_spends_the_keys_nor_ends_a_round() {
    let field = Field::with(|gateway| gateway.first_round = u32::MAX - 1);
    let sites: Vec<_> = (0..3).map(|index| field.start(index)).collect();
    field.refused("a job of 2 rounds ends before it").await;
    sites.iter().for_each(JoinHandle::abort);
    assert!(field.gateway.lock().unwrap().manifests_seen.is_empty());
    for folder in &field.folders {
        let store = JobStore::open(Disk::default(), folder, &field.job()).unwrap();
        assert!(store.chains().unwrap().is_none_or(|chains| chains.round() == RoundNumber::FIRST));
        assert!(!store.is_closed(RoundNumber::FIRST));
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_rounds_policy_below_the_sites_own_floors_is_refused_by_rule() {
    let field = Field::with(|gateway| gateway.strict_floors = true);
    let sites: Vec<_> = (0..3).map(|index| field.start(index)).collect();
    field.until("all answers", |gateway| gateway.consents.len() == 3).await;
    sites.iter().for_each(JoinHandle::abort);
    for envelope in field.gateway.lock().unwrap().consents.values() {
        let text = String::from_utf8(envelope.unverified_payload().unwrap()).unwrap();
        assert!(
            text.contains("\"decision\":\"refuse\"") && text.contains("\"rule\":\"min_cohort\""),
            "{text}"
        );
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_rounds_policy_that_the_ledger_does_not_prove_is_none() {
    let field = Field::with(|gateway| gateway.wrong_proofs = true);
    let sites: Vec<_> = (0..3).map(|index| field.start(index)).collect();
    field.until("all answers", |gateway| gateway.consents.len() == 3).await;
    sites.iter().for_each(JoinHandle::abort);
    for envelope in field.gateway.lock().unwrap().consents.values() {
        let text = String::from_utf8(envelope.unverified_payload().unwrap()).unwrap();
        assert!(text.contains("\"decision\":\"refuse\"") && text.contains("not proven"), "{text}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn another_ledger_head_in_a_context_raises_the_alarm_and_stops_the_site() {
    let field = Field::new();
    field.gateway.lock().unwrap().tamper = Some(|context| context.ledger_root = Digest::of(b"fork"));
    let sites: Vec<_> = (0..3).map(|index| field.start(index)).collect();
    for (index, site) in sites.into_iter().enumerate() {
        let error = tokio::time::timeout(Duration::from_secs(30), site).await.unwrap().unwrap().unwrap_err();
        assert!(error.to_string().contains("ALARM"), "{error}");
        assert!(field.folders[index].join("state/ALARM").is_file());
        // The lock is held until the ended one's last blocking work is done.
        let mut error = field.start(index).await.unwrap().unwrap_err();
        while matches!(error, SiteError::Locked(_)) {
            tokio::time::sleep(Duration::from_millis(50)).await;
            error = field.start(index).await.unwrap().unwrap_err();
        }
        assert!(matches!(error, SiteError::Alarm { .. }), "{error}");
    }
    assert!(field.gateway.lock().unwrap().manifests_seen.is_empty());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_wrong_sum_and_a_wrong_model_are_rejected_by_every_site_and_not_trained_on() {
    type Tell = fn(&mut Gateway);
    let tells: [(Tell, &str); 4] = [
        (|gateway| gateway.wrong_sums = true, "the tags do not add up to the announced sum"),
        (|gateway| gateway.wrong_models = true, "this site rejects it"),
        // The step is right, but from a model that the gateway crafted, or by a weight that nobody tagged.
        (|gateway| gateway.wrong_starts = true, "starts from another model"),
        (|gateway| gateway.wrong_weights = true, "divides by another weight"),
    ];
    for (tell, reason) in tells {
        let field = Field::with(tell);
        let sites: Vec<_> = (0..3).map(|index| field.start(index)).collect();
        field.refused(reason).await;
        field.until("all verdicts", |gateway| gateway.verdicts_seen.len() == 3).await;
        field.refused("this site trains on nothing that follows from it").await;
        sites.iter().for_each(JoinHandle::abort);
        let gateway = field.gateway.lock().unwrap();
        assert!(gateway.verdicts_seen.iter().all(|(round, _, accepted)| *round == 1 && !accepted));
        assert_eq!(gateway.manifests_seen.len(), 3, "round 1 alone");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_tag_that_the_gateway_keeps_to_itself_is_computed_from_the_body() {
    let field = Field::with(|gateway| {
        gateway.loses_tags_of.insert("site-b".parse().unwrap());
    });
    let sites: Vec<_> = (0..3).map(|index| field.start(index)).collect();
    field.until("two rounds", |gateway| gateway.verdicts_seen.len() >= 6).await;
    sites.iter().for_each(JoinHandle::abort);
    assert!(field.gateway.lock().unwrap().verdicts_seen.iter().all(|(_, _, accepted)| *accepted));
}
