//! Round and site policies: the defaults, every kind of mistake with its line and key, the strictest
//! of both, and what a site answers to a job.
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::wildcard_enum_match_arm,
    reason = "a test reports by panicking, its helpers too"
)]

use std::collections::BTreeSet;

use konclave_crypto::Digest;
use konclave_policies::quorum;
use konclave_policies::rounds::{DataClass, PolicyError, PolicyProblem, RoundPolicy};
use konclave_policies::site::{
    ConsentMode, EffectivePolicy, JobTerms, Refusal, Rule, SitePolicy, check_job, effective,
};

fn consortium() -> RoundPolicy {
    RoundPolicy::embedded().unwrap()
}

fn names(of: &[&str]) -> BTreeSet<String> {
    of.iter().map(|name| (*name).to_owned()).collect()
}

/// The default file with one text replaced; the text must occur once.
fn changed(from: &str, to: &str) -> Result<RoundPolicy, PolicyError> {
    assert_eq!(RoundPolicy::EMBEDDED.matches(from).count(), 1, "{from}");
    RoundPolicy::parse("p.toml", &RoundPolicy::EMBEDDED.replace(from, to))
}

/// The line of the default file that holds the text.
fn line_with(text: &str) -> usize {
    RoundPolicy::EMBEDDED.lines().position(|line| line.contains(text)).unwrap() + 1
}

#[test]
fn the_default_is_what_the_documents_say() {
    let policy = consortium();
    assert_eq!(
        (policy.min_cohort, policy.min_agreed, policy.min_batch, policy.scoring_batch_size),
        (5, 5, 3, 3)
    );
    assert_eq!((policy.batch_size, policy.complete_graph_sites), (1, 200));
    assert_eq!(changed("batch_size = 1", "batch_size = 3").unwrap().batch_size, 3);
    assert_eq!((policy.quantisation_bits, policy.guard_bits), (15, 2));
    assert_eq!(policy.approved_purposes, names(&["admet-prediction"]));
    assert_eq!(policy.reward.participation_share_ppm, 100_000);
    assert_eq!(policy.data_class_weights.of(DataClass::InHuman), 1000);
    assert_eq!(policy.digest(), Digest::of(RoundPolicy::EMBEDDED.as_bytes()));
    // One comment changed is another policy.
    assert_ne!(changed("# --- What for", "# --- why ").unwrap().digest(), policy.digest());
}

#[test]
fn mistakes_are_named_with_file_line_and_key() {
    let cases = [
        // (replace, by, line of, key, words of the message)
        ("min_agreed = 5", "min_agred = 5", "[", "", "missing"),
        (
            "guard_bits = 2",
            "guard_bits = 2\nguard_bit = 2",
            "guard_bits = 2",
            "guard_bit",
            "unknown key; allowed here: min_cohort",
        ),
        ("min_cohort = 5", "min_cohort = 2", "min_cohort", "min_cohort", "an integer from 3 to 256, found 2"),
        ("min_cohort = 5", "min_cohort = -5", "min_cohort", "min_cohort", "found -5"),
        ("min_cohort = 5", "min_cohort = \"5\"", "min_cohort", "min_cohort", "found \"5\""),
        ("min_cohort = 5", "min_cohort = 5.0", "min_cohort", "min_cohort", "found 5.0"),
        (
            "min_cohort = 5",
            "min_cohort = 99999999999999999999999999999999999999999",
            "min_cohort",
            "min_cohort",
            "found 9",
        ),
        ("min_agreed = 5", "min_agreed = 6", "min_agreed", "min_agreed", "does not go with min_cohort = 5"),
        (
            "scoring_batch_size = 3",
            "scoring_batch_size = 2",
            "scoring_batch_size",
            "scoring_batch_size",
            "min_batch = 3",
        ),
        ("batch_size = 1", "batch_size = 2", "batch_size = 1", "batch_size", "scoring_batch_size = 3"),
        ("weight_cap = 8192", "weight_cap = 32768", "weight_cap", "weight_cap", "quantisation_bits = 15"),
        ("[\"admet-prediction\"]", "[]", "approved_purposes", "approved_purposes", "found an empty list"),
        (
            "[\"admet-prediction\"]",
            "[\"a\", \"a\"]",
            "approved_purposes",
            "approved_purposes",
            "found \"a\" twice",
        ),
        ("[\"admet-prediction\"]", "\"a\"", "approved_purposes", "approved_purposes", "found \"a\""),
        ("[\"admet-prediction\"]", "[3]", "approved_purposes", "approved_purposes", "found 3"),
        ("currency = \"credit\"", "currency = \" \"", "currency = ", "reward.currency", "found \" \""),
        (
            "scaffold = 5",
            "scaffold = 5\nscaffolds = 5",
            "scaffold = 5",
            "reward.evidence.scaffolds",
            "unknown key; allowed here: record",
        ),
        (
            "participation_share_ppm = 100000 ",
            "participation_share_ppm = 1000001 ",
            "participation_share_ppm",
            "reward.participation_share_ppm",
            "from 0 to 1000000",
        ),
        ("in_human = 1000", "in_human = true", "in_human", "data_class_weights.in_human", "found true"),
        ("[data_class_weights]", "[data_class_weight]", "", "", "missing"),
    ];
    for (from, to, at, key, words) in cases {
        let error = changed(from, to).unwrap_err();
        let message = error.to_string();
        assert!(message.contains(words), "{message}");
        assert!(message.starts_with("p.toml:"), "{message}");
        if !key.is_empty() {
            assert_eq!(error.key, key, "{message}");
            let added = usize::from(to.contains('\n'));
            assert_eq!(error.line, line_with(at) + added, "{message}");
        }
    }
}

#[test]
fn missing_keys_and_broken_syntax_say_where() {
    let error = changed("record = 1\n", "").unwrap_err();
    assert_eq!((error.line, error.key.as_str()), (line_with("[reward.evidence]"), "reward.evidence.record"));
    assert!(matches!(*error.problem, PolicyProblem::Missing { .. }));
    let error = changed("min_batch = 3", "min_batch = ").unwrap_err();
    assert_eq!(error.line, line_with("min_batch = 3"));
    assert!(matches!(*error.problem, PolicyProblem::Syntax { .. }));
    let twice = format!("min_cohort = 7\n{}", RoundPolicy::EMBEDDED);
    assert!(matches!(
        *RoundPolicy::parse("p.toml", &twice).unwrap_err().problem,
        PolicyProblem::Syntax { .. }
    ));
    assert_eq!(RoundPolicy::parse("p.toml", "").unwrap_err().key, "min_cohort");
}

fn site(text: &str) -> SitePolicy {
    SitePolicy::parse("s.toml", text).unwrap()
}

#[test]
fn the_effective_policy_is_the_strictest_of_both() {
    let common = consortium();
    let own = effective(&common, &SitePolicy::embedded().unwrap()).unwrap();
    assert_eq!(own, EffectivePolicy { rounds: common.clone(), consent: ConsentMode::Auto, tasks: None });

    let tighter = "consent = \"auto\"\nmin_cohort = 6\nmin_batch = 4\nclip_micro = 1000\nguard_bits = 3\n\
                   quantisation_bits = 14\nweight_cap = 100\ntasks = [\"logD\"]\nallowed_purposes = [\"admet-prediction\"]";
    let own = effective(&common, &site(tighter)).unwrap();
    assert_eq!((own.rounds.min_cohort, own.rounds.min_agreed, own.rounds.min_batch), (6, 5, 4));
    assert_eq!((own.rounds.clip_micro, own.rounds.guard_bits), (1000, 3));
    assert_eq!((own.rounds.quantisation_bits, own.rounds.weight_cap), (14, 100));
    assert_eq!(own.tasks, Some(names(&["logD"])));
    assert_eq!(own.rounds.digest(), common.digest());
}

#[test]
fn a_looser_key_is_an_error_that_names_it() {
    let looser = [
        ("min_cohort = 4", "min_cohort", "5 or more"),
        ("min_agreed = 3", "min_agreed", "5 or more"),
        ("min_batch = 2", "min_batch", "3 or more"),
        ("scoring_batch_size = 2", "scoring_batch_size", "3 or more"),
        ("clip_micro = 200001", "clip_micro", "200000 or less"),
        ("quantisation_bits = 16", "quantisation_bits", "15 or less"),
        ("guard_bits = 1", "guard_bits", "2 or more"),
        ("weight_cap = 8193", "weight_cap", "8192 or less"),
        (
            "allowed_purposes = [\"admet-prediction\", \"toxicity\"]",
            "allowed_purposes",
            "some of admet-prediction",
        ),
    ];
    for (line, key, allowed) in looser {
        let error = effective(&consortium(), &site(&format!("consent = \"auto\"\n\n{line}\n"))).unwrap_err();
        assert_eq!((error.file.as_str(), error.line, error.key.as_str()), ("s.toml", 3, key));
        assert!(matches!(*error.problem, PolicyProblem::Looser { .. }));
        assert!(error.to_string().contains(allowed), "{error}");
    }
}

#[test]
fn site_files_are_strict_too() {
    let cases = [
        ("min_cohort = 6", 1, "consent", "is missing"),
        ("consent = \"manual\"", 1, "consent", "\"auto\" or \"never\""),
        ("consent = true", 1, "consent", "found true"),
        ("consent = \"auto\"\nmin_cohorts = 6", 2, "min_cohorts", "unknown key; allowed here: consent"),
        // The consortium's alone.
        ("consent = \"auto\"\nupload_seconds = 6", 2, "upload_seconds", "unknown key"),
        ("consent = \"auto\"\n[reward]\nbudget_micro = 1", 2, "reward", "unknown key"),
        ("consent = \"auto\"\ntasks = []", 2, "tasks", "an empty list"),
        ("consent = \"auto\"\nmin_cohort = 300", 2, "min_cohort", "from 3 to 256"),
    ];
    for (text, line, key, words) in cases {
        let error = SitePolicy::parse("s.toml", text).unwrap_err();
        assert_eq!((error.line, error.key.as_str()), (line, key), "{error}");
        assert!(error.to_string().contains(words), "{error}");
    }
}

/// Terms of a job of six sites that the default policy allows.
fn terms() -> JobTerms {
    JobTerms {
        purpose: "admet-prediction".to_owned(),
        tasks: names(&["logD", "Solubility"]),
        policy: consortium().digest(),
        sites: 6,
        threshold: 5,
        min_agreed: 5,
        min_batch: 3,
        scoring_batch_size: Some(3),
        clip_micro: 200_000,
        quantisation_bits: 15,
        ring_bits: quorum::ring_bits(15, 6, 2),
        weight_cap: 8192,
    }
}

#[test]
fn a_job_is_refused_by_the_rule_it_breaks() {
    let policy =
        effective(&consortium(), &site("consent = \"auto\"\ntasks = [\"logD\", \"Solubility\"]")).unwrap();
    assert_eq!(check_job(&policy, &terms()), Ok(()));
    type Spoil = fn(&mut JobTerms);
    let break_it: [(Rule, Spoil); 14] = [
        (Rule::Policy, |job| job.policy = Digest::of(b"another")),
        (Rule::ApprovedPurposes, |job| job.purpose = "marketing".to_owned()),
        (Rule::Tasks, |job| _ = job.tasks.insert("Total_BBB".to_owned())),
        (Rule::MinCohort, |job| job.sites = 4),
        (Rule::Threshold, |job| job.threshold = 4),
        (Rule::Threshold, |job| job.threshold = 7),
        (Rule::MinAgreed, |job| job.min_agreed = 4),
        (Rule::MinAgreed, |job| job.min_agreed = 7),
        (Rule::MinBatch, |job| job.min_batch = 1),
        (Rule::ScoringBatchSize, |job| job.scoring_batch_size = Some(2)),
        (Rule::ClipMicro, |job| job.clip_micro += 1),
        (Rule::QuantisationBits, |job| job.quantisation_bits = 16),
        (Rule::GuardBits, |job| job.ring_bits -= 1),
        (Rule::WeightCap, |job| job.weight_cap += 1),
    ];
    for (rule, spoil) in break_it {
        let mut job = terms();
        spoil(&mut job);
        let Refusal { rule: named, detail } = check_job(&policy, &job).unwrap_err();
        assert_eq!(named, rule, "{detail}");
        assert_eq!(serde_json::to_value(rule).unwrap(), rule.name());
    }
    let mut without_scoring = terms();
    without_scoring.scoring_batch_size = None;
    assert_eq!(check_job(&policy, &without_scoring), Ok(()));
}

#[test]
fn a_site_without_a_policy_or_with_never_refuses_everything() {
    for own in [SitePolicy::refuse_all(), site("consent = \"never\"")] {
        let policy = effective(&consortium(), &own).unwrap();
        assert_eq!(check_job(&policy, &terms()).unwrap_err().rule, Rule::Consent);
    }
}

#[test]
fn every_size_up_to_twenty_sites_is_admitted() {
    let policy = effective(&consortium(), &SitePolicy::embedded().unwrap()).unwrap();
    for sites in 6..=20 {
        let mut job = terms();
        job.sites = sites;
        job.threshold = quorum::threshold(sites);
        job.ring_bits = quorum::ring_bits(15, sites, 2);
        assert_eq!(check_job(&policy, &job), Ok(()), "{sites} sites");
        assert!((16..=32).contains(&job.ring_bits));
    }
}
