//! Sites under a policy that asks for noise: they add it, they count what it costs, and they stop where a budget ends.

use std::path::Path;
use std::time::Duration;

use konclave_crypto::RoundContext;
use konclave_crypto::privacy::PrivacyCost;
use konclave_ledger::statements::{ConsentDecision, ConsentStatement};
use konclave_policies::rounds::Scope;
use konclave_site::cli::{StatusArguments, status};
use konclave_site::keystore::Spending;
use tokio::task::JoinHandle;

use crate::field::{Field, expected_sum};
use crate::support::gateway::Gateway;

const NOISE: &str = "
[privacy]
clip_norm_micro = 600000
noise_multiplier_milli = 1000
colluders = 1
job_epsilon_milli = 8400
site_epsilon_milli = 12000
delta_exponent = 6
";

/// Changes a context before it is signed.
type Tamper = fn(&mut RoundContext);

/// A policy with noise, whose budget covers two rounds of a job, and not three.
fn noisy(text: String) -> String {
    format!("{}{NOISE}", text.replace("weight_cap = 8192", "weight_cap = 1"))
}

fn field(tell: impl FnOnce(&mut Gateway)) -> Field {
    let field = Field::under(noisy, 3, tell);
    let rules = field.gateway.lock().unwrap().policy.privacy.unwrap();
    assert_eq!(rules.rounds_left(PrivacyCost::NONE, Scope::Job), 2);
    field
}

fn spent(folder: &Path) -> Spending {
    Spending::peek(&folder.join("privacy-spent")).unwrap()
}

/// What a site answers to the invitation.
async fn answer(field: &Field, index: usize) -> ConsentStatement {
    let site = field.start(index);
    field.until("an answer", |gateway| gateway.consents.len() == 1).await;
    site.abort();
    let gateway = field.gateway.lock().unwrap();
    let envelope = gateway.consents.values().next().unwrap();
    serde_json::from_slice(&envelope.unverified_payload().unwrap()).unwrap()
}

fn set_policy(field: &Field, index: usize, more: &str) {
    let text = format!("consent = \"auto\"\n[privacy]\n{more}\n");
    std::fs::write(field.folders[index].join("policy.toml"), text).unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn sums_have_noise_and_each_site_counts_what_it_costs_once() {
    let field = field(|_| {});
    let mut sites: Vec<_> = (0..3).map(|index| field.start(index)).collect();
    field.until("an opened round", |gateway| !gateway.opened.is_empty()).await;
    // A restart charges nothing twice.
    let site = sites.remove(0);
    site.abort();
    let _ = site.await;
    sites.push(field.restart(0).await);
    field.until("two opened rounds", |gateway| gateway.opened.len() == 2).await;
    field.until("all verdicts", |gateway| gateway.verdicts_seen.len() == 6).await;
    sites.iter().for_each(JoinHandle::abort);
    let gateway = field.gateway.lock().unwrap();
    assert!(gateway.verdicts_seen.iter().all(|(_, _, accepted)| *accepted));
    // The clip norm is above that of the vectors: without noise the sums would be exact but for rounding.
    let far = |(coordinates, weight): &(Vec<i32>, u64)| {
        assert_eq!(*weight, 3);
        coordinates.iter().zip(expected_sum(3)).all(|(found, exact)| (found - exact).abs() > 100)
    };
    // Of a deviation of about 60,000 each of twelve values is beyond 100 but in one of a thousand draws.
    assert!(gateway.opened.iter().filter(|sum| far(sum)).count() >= 1, "{:?}", gateway.opened);
    let cost = gateway.policy.privacy.unwrap().cost_of(2);
    for folder in &field.folders {
        let found = spent(folder).total();
        assert!(found <= cost && found.nano_rho() + 2_000 > cost.nano_rho(), "{found:?} for {cost:?}");
        assert_eq!(std::fs::read_to_string(folder.join("privacy-spent")).unwrap().lines().count(), 2);
    }
    let shown = status(&StatusArguments { dir: field.folders[0].clone(), json: false }).unwrap();
    assert!(shown.contains("privacy spent in rounds with noise: rho 1.00"), "{shown}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn less_noise_than_the_policy_asks_for_gets_no_update() {
    let tampers: [(Tamper, &str); 4] = [
        (|context| context.noise = None, "its noise is not the job's"),
        (|context| context.noise.as_mut().unwrap().site_variance -= 1, "its noise is not the job's"),
        (|context| context.noise.as_mut().unwrap().clip_norm += 1, "its noise is not the job's"),
        (|context| context.encoding.ring_bits -= 1, "its ring width is not the job's"),
    ];
    for (tamper, reason) in tampers {
        let field = field(|gateway| gateway.tamper = Some(tamper));
        let sites: Vec<_> = (0..3).map(|index| field.start(index)).collect();
        field.refused(reason).await;
        tokio::time::sleep(Duration::from_millis(300)).await;
        sites.iter().for_each(JoinHandle::abort);
        assert!(field.gateway.lock().unwrap().manifests_seen.is_empty(), "{reason}");
        assert_eq!(spent(&field.folders[0]).total(), PrivacyCost::NONE, "{reason}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_round_that_costs_more_than_the_ledger_says_gets_no_update() {
    let field = field(|gateway| gateway.hides_costs = true);
    let sites: Vec<_> = (0..3).map(|index| field.start(index)).collect();
    field.refused("no round.context entry of round 1 with this context's digest and privacy cost").await;
    sites.iter().for_each(JoinHandle::abort);
    assert!(field.gateway.lock().unwrap().manifests_seen.is_empty());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_round_that_a_sites_budget_does_not_cover_gets_no_update() {
    // The gateway begins a third round, of which neither the job nor its budget knows.
    let field = field(|gateway| gateway.rounds_wanted = 3);
    let sites: Vec<_> = (0..3).map(|index| field.start(index)).collect();
    field.refused("refused by rule privacy.job_epsilon_milli: epsilon would be").await;
    sites.iter().for_each(JoinHandle::abort);
    assert_eq!(field.gateway.lock().unwrap().manifests_seen.len(), 6);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_site_consents_to_no_job_that_its_own_policy_or_its_account_does_not_cover() {
    for (own, rule) in [
        ("noise_multiplier_milli = 1001", "privacy.noise_multiplier_milli"),
        ("job_epsilon_milli = 5000", "privacy.job_epsilon_milli"),
        ("site_epsilon_milli = 5000", "privacy.site_epsilon_milli"),
        ("delta_exponent = 9", "privacy.job_epsilon_milli"),
        // Looser than the consortium's: the site has no policy then.
        ("job_epsilon_milli = 8401", "policy"),
    ] {
        let field = field(|_| {});
        set_policy(&field, 0, own);
        let answer = answer(&field, 0).await;
        assert_eq!((answer.decision, answer.rule.as_str()), (ConsentDecision::Refuse, rule), "{own}");
    }
    let field = field(|_| {});
    let context = konclave_crypto::Digest::of(b"a round of another job");
    std::fs::write(field.folders[0].join("privacy-spent"), format!("{context} job-0 1 1500000000\n"))
        .unwrap();
    let refused = answer(&field, 0).await;
    assert_eq!(refused.rule, "privacy.site_epsilon_milli", "{}", refused.detail);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_site_that_asks_for_noise_consents_to_no_exact_sums() {
    let exact = Field::new();
    set_policy(&exact, 0, "required = true");
    let refused = answer(&exact, 0).await;
    assert_eq!((refused.decision, refused.rule.as_str()), (ConsentDecision::Refuse, "privacy.required"));
    // Whoever asks for so much noise asks for noise, unless it says otherwise.
    for (own, decision) in
        [("colluders = 1", ConsentDecision::Refuse), ("required = false", ConsentDecision::Accept)]
    {
        let exact = Field::new();
        set_policy(&exact, 0, own);
        assert_eq!(answer(&exact, 0).await.decision, decision, "{own}");
    }
    let with_noise = field(|_| {});
    set_policy(&with_noise, 0, "required = true");
    assert_eq!(answer(&with_noise, 0).await.decision, ConsentDecision::Accept);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_damaged_account_stops_the_site() {
    let field = field(|_| {});
    std::fs::write(field.folders[0].join("privacy-spent"), "nothing was spent\n").unwrap();
    let error = field.start(0).await.unwrap().unwrap_err().to_string();
    assert!(error.contains("line 1 of") && error.contains("the account of the privacy budget"), "{error}");
}
