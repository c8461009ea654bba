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
use konclave_crypto::privacy::PrivacyCost;
use konclave_policies::quorum;
use konclave_policies::rounds::{DataClass, PolicyError, PolicyProblem, RoundPolicy, Scope};
use konclave_policies::site::{
    ConsentMode, EffectivePolicy, JobTerms, Refusal, Rule, SitePolicy, check_job, check_planned,
    check_privacy, effective,
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
    let (rounds, consent) = (common.clone(), ConsentMode::Auto);
    assert_eq!(own, EffectivePolicy { rounds, consent, noise_required: false, tasks: None });

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
        ("consent = \"auto\"\n[privacy]\nrequired = 1", 3, "privacy.required", "true or false"),
        ("consent = \"auto\"\n[privacy]\nclip_norm_micro = 1", 3, "privacy.clip_norm_micro", "unknown key"),
        ("consent = \"auto\"\ntasks = []", 2, "tasks", "an empty list"),
        ("consent = \"auto\"\nmin_cohort = 300", 2, "min_cohort", "from 3 to 256"),
    ];
    for (text, line, key, words) in cases {
        let error = SitePolicy::parse("s.toml", text).unwrap_err();
        assert_eq!((error.line, error.key.as_str()), (line, key), "{error}");
        assert!(error.to_string().contains(words), "{error}");
    }
}

const PRIVACY: &str = "[privacy]\nclip_norm_micro = 1000000\nnoise_multiplier_milli = 2000\ncolluders = 1\n\
                       job_epsilon_milli = 6000\nsite_epsilon_milli = 8000\ndelta_exponent = 6\n";

/// The default policy with noise, and a change of its table.
fn noisy(from: &str, to: &str) -> Result<RoundPolicy, PolicyError> {
    assert!(PRIVACY.contains(from), "{from}");
    let exact = RoundPolicy::EMBEDDED.replace("weight_cap = 8192", "weight_cap = 1");
    RoundPolicy::parse("p.toml", &format!("{exact}{}", PRIVACY.replace(from, to)))
}

#[test]
fn the_table_of_noise_is_read_strictly() {
    assert_eq!(consortium().privacy, None);
    assert_eq!(noisy("", "").unwrap().privacy.unwrap().site_epsilon_milli, 8_000);
    let cases = [
        ("colluders = 1", "colluders = 3", "privacy.colluders", "does not go with min_batch = 3"),
        ("colluders = 1\n", "", "privacy.colluders", "is missing"),
        ("clip_norm_micro = 1000000", "clip_norm_micro = 0", "privacy.clip_norm_micro", "from 1 to"),
        ("delta_exponent = 6", "delta_exponent = 2", "privacy.delta_exponent", "from 3 to 12"),
        ("delta_exponent = 6", "delta_exponent = 6\ndelta = 6", "privacy.delta", "unknown key"),
        (
            "site_epsilon_milli = 8000",
            "site_epsilon_milli = 5999",
            "privacy.site_epsilon_milli",
            "privacy.job_epsilon_milli = 6000",
        ),
    ];
    for (from, to, key, words) in cases {
        let error = noisy(from, to).unwrap_err();
        assert_eq!(error.key, key, "{error}");
        assert!(error.to_string().contains(words), "{error}");
    }
    let weights = RoundPolicy::parse("p.toml", &format!("{}{PRIVACY}", RoundPolicy::EMBEDDED)).unwrap_err();
    assert_eq!((weights.line, weights.key.as_str()), (line_with("weight_cap = 8192"), "weight_cap"));
    assert!(weights.to_string().contains("8192 does not go with [privacy]"), "{weights}");
}

#[test]
fn a_site_asks_for_more_noise_and_smaller_budgets_and_never_for_less() {
    let common = noisy("", "").unwrap();
    let own = |lines: &str| effective(&common, &site(&format!("consent = \"auto\"\n[privacy]\n{lines}\n")));
    for (line, key) in [
        ("noise_multiplier_milli = 1999", "privacy.noise_multiplier_milli"),
        ("colluders = 0", "privacy.colluders"),
        ("job_epsilon_milli = 6001", "privacy.job_epsilon_milli"),
        ("site_epsilon_milli = 8001", "privacy.site_epsilon_milli"),
        ("delta_exponent = 5", "privacy.delta_exponent"),
    ] {
        let error = own(line).unwrap_err();
        assert_eq!((error.line, error.key.as_str()), (3, key));
        assert!(matches!(*error.problem, PolicyProblem::Looser { .. }));
    }
    let refused = |lines: &str, rounds, spent| {
        let policy = own(lines).unwrap();
        let checked = check_privacy(&policy, &common).and_then(|()| check_planned(&policy, rounds, spent));
        checked.err().map(|refusal| refusal.rule)
    };
    let rules = common.privacy.unwrap();
    let (none, most) = (PrivacyCost::NONE, rules.rounds_left(PrivacyCost::NONE, Scope::Job));
    assert_eq!(refused("required = true", most, none), None);
    assert_eq!(refused("", most + 1, none), Some(Rule::JobEpsilon));
    assert_eq!(refused("job_epsilon_milli = 1000", most, none), Some(Rule::JobEpsilon));
    assert_eq!(refused("", most, rules.cost_of(most)), Some(Rule::SiteEpsilon));
    assert_eq!(refused("noise_multiplier_milli = 2001", 1, none), Some(Rule::NoiseMultiplier));
    assert_eq!(refused("colluders = 2", 1, none), Some(Rule::Colluders));

    let strict = effective(&consortium(), &site("consent = \"auto\"\n[privacy]\nrequired = true\n")).unwrap();
    assert_eq!(check_privacy(&strict, &consortium()).unwrap_err().rule, Rule::NoiseRequired);
    // Where sums are exact there is no budget to keep to.
    assert_eq!(check_planned(&strict, 10_000, none), Ok(()));
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

#[test]
fn witnesses_are_asked_for_by_a_table_that_may_be_left_out() {
    let with = |lines: &str| {
        RoundPolicy::parse("p.toml", &format!("{}\n[witnesses]\n{lines}\n", RoundPolicy::EMBEDDED))
    };
    let asked = |lines: &str| {
        let rules = with(lines).unwrap().witnesses;
        (rules.quorum, rules.patience_seconds)
    };
    let unasked = consortium().witnesses;
    assert_eq!((unasked.quorum, unasked.patience_seconds), (0, 600));
    assert_eq!(asked(""), (0, 600));
    assert_eq!(asked("quorum = 3"), (3, 600));
    assert_eq!(asked("quorum = 256\npatience_seconds = 1"), (256, 1));
    for (lines, key, allowed) in [
        ("quorum = 257", "witnesses.quorum", "from 0 to 256"),
        ("quorum = -1", "witnesses.quorum", "from 0 to 256"),
        ("patience_seconds = 0", "witnesses.patience_seconds", "from 1 to 86400"),
        ("patience_seconds = 86401", "witnesses.patience_seconds", "from 1 to 86400"),
        ("patience = 3", "witnesses.patience", "unknown key"),
    ] {
        let error = with(lines).unwrap_err();
        assert_eq!(error.key, key, "{lines}");
        assert!(error.to_string().contains(allowed), "{lines}: {error}");
    }
}
