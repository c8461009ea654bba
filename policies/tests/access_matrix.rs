//! Every action, for every role, on a resource of its own organisation, of another one, and of nobody:
//! the expected answers written out.
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::wildcard_enum_match_arm,
    reason = "a test reports by panicking, its helpers too"
)]

use konclave_policies::authorization::{
    Action, Authorizer, Decision, Principal, Resource, ResourceKind, Role,
};

/// The columns of the table below.
const ROLES: [Role; 7] = [
    Role::Operator,
    Role::DataOwner,
    Role::ModelDeveloper,
    Role::Council,
    Role::Evaluator,
    Role::Auditor,
    Role::Site,
];

/// Per action and role three letters: own organisation's, another's, nobody's resource; `y` may, `-`
/// may not.
const EXPECTED: &str = "
    action              operator owner dev council evaluator auditor site
    read-status         yyy      yyy   yyy yyy     yyy       yyy     yyy
    read-catalogue      yyy      yyy   yyy yyy     yyy       yyy     yyy
    read-sites          yyy      yyy   yyy yyy     yyy       yyy     yyy
    renew-certificate   ---      ---   --- ---     y--       ---     y--
    create-model        ---      ---   y-- ---     ---       ---     ---
    read-model          yyy      yyy   y-- yyy     yyy       yyy     yyy
    upload-blob         ---      ---   y-- ---     ---       ---     ---
    read-blob           ---      ---   y-- ---     yyy       ---     yyy
    create-job          ---      ---   y-- ---     ---       ---     ---
    read-job            yyy      yyy   y-- yyy     yyy       yyy     yyy
    cancel-job          yyy      ---   y-- yyy     ---       ---     ---
    consent             ---      y--   --- ---     ---       ---     y--
    take-part-in-round  ---      ---   --- ---     ---       ---     y--
    read-round          yyy      yyy   y-- yyy     yyy       yyy     yyy
    evaluate            ---      ---   --- ---     yyy       ---     ---
    read-evaluation     yyy      ---   y-- yyy     yyy       yyy     ---
    read-contribution   ---      y--   y-- yyy     ---       yyy     y--
    read-statement      ---      y--   y-- yyy     ---       yyy     y--
    create-deposit      ---      y--   --- ---     y--       ---     y--
    read-deposit        ---      y--   --- yyy     y--       yyy     y--
    read-ledger         yyy      y-y   y-y yyy     y-y       yyy     y-y
    cosign              ---      ---   --- ---     y--       ---     y--
    export-ledger       yyy      ---   --- yyy     ---       yyy     ---
    read-opening        yyy      ---   --- yyy     ---       yyy     ---
    erase-opening       yyy      ---   --- yyy     ---       ---     ---
    correct-entry       yyy      ---   --- yyy     ---       ---     ---
    record-review       ---      ---   --- ---     ---       yyy     ---
    read-metrics        yyy      ---   --- ---     ---       yyy     ---
";

const OWNERS: [Option<&str>; 3] = [Some("hanbit"), Some("daesung"), None];

fn principal(roles: &[Role]) -> Principal {
    Principal { id: "someone".to_owned(), roles: roles.to_vec(), organisation: "hanbit".to_owned() }
}

#[test]
fn every_answer_is_the_one_written_down() {
    let authorizer = Authorizer::embedded().unwrap();
    let mut seen = Vec::new();
    for row in EXPECTED.trim().lines().skip(1) {
        let mut words = row.split_whitespace();
        let action: Action = words.next().unwrap().parse().unwrap();
        let answers: Vec<_> = words.collect();
        assert_eq!(answers.len(), ROLES.len(), "{action}");
        for (role, expected) in ROLES.into_iter().zip(answers) {
            for (owner, letter) in OWNERS.into_iter().zip(expected.chars()) {
                let decision = authorizer.decide(&principal(&[role]), action, &action.on("it", owner));
                assert_eq!(decision.allow, letter == 'y', "{role} {action} owner {owner:?}: {decision:?}");
                assert!(!decision.policy_ids.is_empty());
                assert_ne!(decision.policy_ids, [Decision::EVALUATION_ERROR], "{role} {action}");
            }
        }
        seen.push(action);
    }
    assert_eq!(seen, Action::ALL, "the table has one row per action, in the order of the enum");
    assert_eq!(ROLES.as_slice(), Role::ALL, "the table has one column per role");
}

#[test]
fn nobody_may_do_anything() {
    let authorizer = Authorizer::embedded().unwrap();
    for action in Action::ALL {
        for owner in OWNERS {
            let decision = authorizer.decide(&principal(&[]), *action, &action.on("it", owner));
            assert!(!decision.allow, "{action} {owner:?}");
        }
    }
}

#[test]
fn several_roles_add_up_but_never_reach_another_organisation() {
    let authorizer = Authorizer::embedded().unwrap();
    let both = principal(&[Role::DataOwner, Role::ModelDeveloper]);
    let allowed = |action: Action, owner| authorizer.decide(&both, action, &action.on("it", owner)).allow;
    assert!(allowed(Action::CreateJob, Some("hanbit")) && allowed(Action::Consent, Some("hanbit")));
    assert!(!allowed(Action::CreateJob, Some("daesung")) && !allowed(Action::Consent, Some("daesung")));

    let everything = principal(Role::ALL);
    for action in [Action::CreateModel, Action::TakePartInRound, Action::Cosign, Action::CreateDeposit] {
        let decision = authorizer.decide(&everything, action, &action.on("it", Some("daesung")));
        assert!(!decision.allow, "{action}");
        assert_eq!(decision.policy_ids, ["isolation.act-only-for-own-organisation"]);
    }
}

#[test]
fn decisions_name_their_grounds() {
    let authorizer = Authorizer::embedded().unwrap();
    let decide = |role, action: Action, owner| {
        let decision = authorizer.decide(&principal(&[role]), action, &action.on("it", owner));
        (decision.allow, decision.policy_ids.join(" "))
    };
    let own = Some("hanbit");
    assert_eq!(decide(Role::Site, Action::TakePartInRound, own), (true, "jobs.take-part-own".to_owned()));
    assert_eq!(
        decide(Role::Site, Action::ReadContribution, Some("daesung")),
        (false, "isolation.private-records".to_owned())
    );
    assert_eq!(decide(Role::Site, Action::CreateJob, own), (false, Decision::DEFAULT_DENY.to_owned()));
    for id in authorizer.policy_ids() {
        assert!(id.contains('.') && !id.starts_with("policy"), "{id}");
    }
}

#[test]
fn an_action_on_the_wrong_kind_of_resource_is_denied() {
    let authorizer = Authorizer::embedded().unwrap();
    let everything = principal(Role::ALL);
    for action in Action::ALL {
        for kind in ResourceKind::ALL.iter().filter(|kind| **kind != action.resource_kind()) {
            let resource = Resource { kind: *kind, id: "it".to_owned(), owner: Some("hanbit".to_owned()) };
            let decision = authorizer.decide(&everything, *action, &resource);
            let expected = Decision { allow: false, policy_ids: vec![Decision::EVALUATION_ERROR.to_owned()] };
            assert_eq!(decision, expected, "{action} on {kind}");
        }
    }
}

#[test]
fn names_cannot_be_mistaken_for_policy_text() {
    let authorizer = Authorizer::embedded().unwrap();
    for odd in ["\" || true || \"", "Konclave::Role::\"operator\"", "", "한빛", "a\0b\n"] {
        let owner = Principal { id: odd.to_owned(), roles: vec![Role::Site], organisation: odd.to_owned() };
        let decide = |action: Action, of| authorizer.decide(&owner, action, &action.on(odd, Some(of))).allow;
        assert!(decide(Action::TakePartInRound, odd), "{odd:?}");
        assert!(!decide(Action::TakePartInRound, "hanbit") && !decide(Action::CancelJob, odd), "{odd:?}");
    }
}
