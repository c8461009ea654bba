//! A real gateway opens exactly the sum of what the sites of the agreed set gave, in both modes and with a site missing;
//! and no part of any single update is in anything that it received or keeps.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "the lints spare test functions, but not what they call"
)]

use crate::support;
use std::collections::BTreeSet;
use std::thread::sleep;
use std::time::{Duration, Instant};

use konclave_crypto::{Digest, Mode, OpenedSum, apply_sums, encoding};
use konclave_openapi::jobs::{Job, JobPhase};
use konclave_openapi::rounds::{Round, RoundPhase};
use konclave_policies::rounds::RoundPolicy;
use konclave_tests::HarnessError;
use konclave_tests::consortium::{Consortium, EVALUATOR};
use konclave_tests::demo::quality::encoding as encoding_by_policy;
use konclave_tests::partner::{PartnerClient, send};
use konclave_tests::search::Needles;

use crate::support::inside::Inside;
use crate::support::job::{COORDINATES, SHAPES};
use crate::support::known::{CLIP_MICRO, Known, QUANTISED_MAX, WEIGHT_CAP, known};

const SITES: usize = 6;
const SCORING: u32 = 2;
const ABSENT: &str = "site-4";
const ABSENT_IN: u32 = 3;

fn follow(consortium: &mut Consortium, developer: &PartnerClient, inside: &mut Inside, job: &Job) -> Job {
    let started = Instant::now();
    let mut stopped = false;
    loop {
        consortium.expect_running().unwrap();
        let now = developer.job(&job.job).unwrap();
        match &now.phase {
            JobPhase::Finished => return now,
            JobPhase::Aborted { reason, culprits } => {
                panic!("aborted: {reason} {culprits:?}\n{}", consortium.gateway_log(30))
            }
            JobPhase::Consent { .. }
            | JobPhase::AdvertiseKeys { .. }
            | JobPhase::Encapsulate { .. }
            | JobPhase::Running => {}
        }
        // The site goes while its training is held back, and comes back once its round is over.
        let round = now.current_round.map_or(0, |round| round.get());
        if round == ABSENT_IN && !stopped {
            stopped = true;
            inside.stop(ABSENT);
        }
        if round > ABSENT_IN {
            inside.start(consortium, ABSENT);
        }
        if round >= ABSENT_IN - 1 && !stopped {
            // Passed by in this round or held back from the next one on: its gate closes as soon as it has uploaded.
            let uploaded = developer.rounds(&job.job).unwrap();
            let done = uploaded.iter().any(|round| {
                round.round.get() == ABSENT_IN - 1
                    && round.uploaded.iter().any(|site| site.as_str() == ABSENT)
            });
            if done {
                inside.gate(ABSENT).close();
            }
        }
        assert!(
            started.elapsed() < Duration::from_secs(180),
            "the job takes too long: {:?}\n{}",
            now.phase,
            consortium.gateway_log(30)
        );
        sleep(Duration::from_millis(20));
    }
}

/// What the sites of a sum gave in a round.
fn parts(round: &Round, sites: &[konclave_crypto::SiteId]) -> Vec<Known> {
    sites.iter().map(|site| known(site.as_str(), &round.parameters_before, COORDINATES)).collect()
}

/// An opened sum: of all sites, as the model's developer reads it; of a batch, as the evaluator does, and nobody else.
fn opened(consortium: &Consortium, developer: &PartnerClient, batch: bool, digest: &Digest) -> Vec<i32> {
    let path = format!("/v1/blobs/{digest}");
    let bytes = if batch {
        let refused = developer.get_bytes(&path).unwrap_err();
        assert_eq!(refused.problem().map(|problem| problem.status), Some(403), "{refused}");
        let refused = as_member(consortium, "site-1", &path).unwrap_err();
        assert_eq!(refused.problem().map(|problem| problem.status), Some(403), "{refused}");
        as_member(consortium, EVALUATOR, &path).unwrap()
    } else {
        developer.get_bytes(&path).unwrap()
    };
    bytes.chunks_exact(4).map(|word| i32::from_le_bytes(word.try_into().unwrap())).collect()
}

fn as_member(consortium: &Consortium, member: &str, path: &str) -> Result<Vec<u8>, HarnessError> {
    let connection = consortium.member(member)?.connect()?;
    let answer = send(path, connection.get(format!("{}{path}", consortium.url)))?;
    Ok(answer.bytes().unwrap().to_vec())
}

fn parameters(developer: &PartnerClient, digest: &Digest) -> Vec<f32> {
    let bytes = developer.get_bytes(&format!("/v1/blobs/{digest}")).unwrap();
    bytes.chunks_exact(4).map(|word| f32::from_le_bytes(word.try_into().unwrap())).collect()
}

#[test]
fn the_gateway_opens_exactly_the_sum_and_nothing_else() {
    let (mut consortium, folder) = support::consortium(SITES, |plan| {
        plan.with_policy("upload_seconds", 8)
            .with_policy("agree_seconds", 20)
            .with_policy("unmask_seconds", 20)
    });
    let (developer, _auditor) = support::partners(&consortium);
    consortium.start_gateway().unwrap();
    let mut inside = Inside::default();
    inside.start_all(&consortium);
    let job = support::job::ask(&developer, 4, vec![SCORING]);
    let job = follow(&mut consortium, &developer, &mut inside, &job);
    drop(inside);

    let rounds = developer.rounds(&job.job).unwrap();
    let opened_rounds: Vec<&Round> =
        rounds.iter().filter(|round| round.phase == RoundPhase::Opened).collect();
    assert_eq!(opened_rounds.len(), 4);
    let mut modes = BTreeSet::new();
    let mut secrets = Needles::new();
    let mut control = Needles::new();
    for round in &opened_rounds {
        let context = &round.context.context;
        modes.insert(format!("{:?}", context.mode));
        assert!(context.encoding.tensors.iter().all(|tensor| tensor.clip_micro == CLIP_MICRO));
        assert_eq!(
            (context.encoding.quantised_max(), context.encoding.weight_cap),
            (QUANTISED_MAX, WEIGHT_CAP)
        );
        let tensors = SHAPES.map(|(name, sides)| (name.to_owned(), sides.iter().product()));
        assert_eq!(
            context.encoding,
            encoding_by_policy(&RoundPolicy::embedded().unwrap(), tensors, u16::try_from(SITES).unwrap()),
            "model quality is measured with another encoding than gateways use"
        );
        let mut sums = Vec::new();
        for opening in &round.openings {
            let given = parts(round, &opening.sites);
            let plain: Vec<i32> =
                (0..COORDINATES).map(|index| given.iter().map(|known| known.plain[index]).sum()).collect();
            let weight: u64 = given.iter().map(|known| u64::from(known.weight)).sum();
            let found = opened(&consortium, &developer, context.mode == Mode::Group, &opening.sum);
            assert_eq!(found, plain, "round {}: the sum of {:?}", round.round, opening.sites);
            assert_eq!(opening.weight, weight, "round {}: the sum of weights", round.round);
            let bytes: Vec<u8> = plain.iter().flat_map(|value| value.to_le_bytes()).collect();
            control.add_windows("an opened sum", &bytes, 32);
            sums.push(OpenedSum { sites: opening.sites.clone(), coordinates: plain, weight });
        }
        let before = parameters(&developer, &round.parameters_before);
        let after = apply_sums(&before, &sums, &context.encoding, job.request.server_rate_micro).unwrap();
        assert_eq!(parameters(&developer, &round.parameters_after.unwrap()), after, "round {}", round.round);
        for site in support::site_names(&consortium) {
            add_update(
                &mut secrets,
                &site,
                &known(&site, &round.parameters_before, COORDINATES),
                context.encoding.ring_bits,
            );
        }
    }
    assert_eq!(modes, BTreeSet::from([format!("{:?}", Mode::Full), format!("{:?}", Mode::Group)]));
    let absent = opened_rounds.iter().find(|round| round.round.get() == ABSENT_IN).unwrap();
    assert_eq!(absent.agreed.len(), SITES - 1, "round {ABSENT_IN} was opened without {ABSENT}");
    assert!(!absent.agreed.iter().any(|site| site.as_str() == ABSENT));

    assert!(secrets.len() > SITES * 100, "{} byte strings are looked for", secrets.len());
    let (received, kept) = (consortium.traffic_folder(), consortium.gateway_folder());
    for place in [&received, &kept] {
        let searched = secrets.search_folder(place).unwrap();
        assert!(searched.bytes > 10_000);
        assert!(searched.found.is_empty(), "{:?}", searched.places());
    }
    assert!(
        !control.search_folder(&kept).unwrap().found.is_empty(),
        "the search finds the sums, which are public"
    );
    // And it would find an update, if one were there.
    let leak = known("site-1", &opened_rounds[0].parameters_before, COORDINATES);
    let leaked: Vec<u8> = leak.delta.iter().flat_map(|value| value.to_le_bytes()).collect();
    std::fs::write(folder.path().join("leak.bin"), &leaked[13..400]).unwrap();
    assert!(
        secrets
            .search_folder(folder.path())
            .unwrap()
            .found
            .iter()
            .any(|found| found.file.ends_with("leak.bin"))
    );
}

/// Looks for a single site's update in every form it has before it is masked.
fn add_update(secrets: &mut Needles, site: &str, update: &Known, ring_bits: u8) {
    let mask = u32::MAX >> (32 - u32::from(ring_bits));
    let lanes: Vec<u32> = update.plain.iter().map(|value| value.cast_unsigned() & mask).collect();
    let bytes = |words: &mut dyn Iterator<Item = u32>| words.flat_map(u32::to_le_bytes).collect::<Vec<u8>>();
    secrets.add_windows(
        &format!("{site}: floats"),
        &bytes(&mut update.delta.iter().map(|value| value.to_bits())),
        16,
    );
    secrets.add_windows(
        &format!("{site}: integers"),
        &bytes(&mut update.plain.iter().map(|value| value.cast_unsigned())),
        32,
    );
    secrets.add_windows(&format!("{site}: lanes"), &bytes(&mut lanes.iter().copied()), 32);
    secrets.add_windows(&format!("{site}: packed"), &encoding::pack(&lanes, ring_bits).unwrap(), 16);
}
