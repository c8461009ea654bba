//! What the sites sent: sizes from the recorded requests, and the search for what must not be in them.

use std::fs;
use std::path::Path;

use konclave_crypto::JobId;
use konclave_site::client::{EgressLine, MessageClass};

use super::checks::check;
use super::evidence::Evidence;
use super::narrator::Narrator;
use super::stage::Stage;
use crate::consortium::Consortium;
use crate::error::HarnessError;
use crate::report::summary::{Check, Traffic};
use crate::search::Needles;

/// Searches all that the gateway received or keeps, and, to know that the search can find it, the canary's own site.
pub(super) fn search(
    stage: &Stage,
    evidence: &Evidence,
    narrator: &Narrator,
) -> Result<(Traffic, Vec<Check>), HarnessError> {
    let Stage { consortium, shares, canary, .. } = stage;
    let needles = canary.needles()?;
    let look = |what: &str, folder: &Path| {
        narrator.now(what);
        needles.search_folder_and_tell(folder, |done, of| narrator.progress(done, of, "files"))
    };
    let sent = look("searching what was sent", &consortium.traffic_folder())?;
    let kept = look("searching what the gateway keeps", &consortium.gateway_folder())?;
    let share = shares.sites.get(&canary.site).ok_or_else(|| {
        HarnessError::unexpected("the divided data", format!("there is no share of {}", canary.site))
    })?;
    let control = canary.control(&needles, consortium.member(&canary.site)?, share, &evidence.deposits)?;
    let found = [sent.places(), kept.places()].concat();
    let recorded = sees_what_was_sent(&consortium.traffic_folder(), &evidence.job.job)?;
    let (parameters, masked_bytes) = evidence.rounds.first().map_or((0, 0), |(round, _)| {
        let encoding = &round.context.context.encoding;
        (
            encoding.coordinates(),
            (encoding.coordinates() + 1).saturating_mul(encoding.ring_bits.into()).div_ceil(8),
        )
    });
    #[expect(clippy::cast_precision_loss, reason = "sizes are far below 2^53")]
    let per_parameter = |bytes: u64| bytes as f64 / parameters.max(1) as f64;
    let uploads: u64 = evidence.rounds.iter().map(|(round, _)| round.uploaded.len() as u64).sum();
    let sent_by_sites = sent_in_rounds(consortium)?;
    let traffic = Traffic {
        parameters,
        masked_bytes,
        bytes_per_parameter: per_parameter(masked_bytes),
        round_bytes_per_parameter: per_parameter(sent_by_sites.checked_div(uploads).unwrap_or_default()),
        canary: canary.structure.clone(),
        searched_traffic: sent.bytes,
        searched_gateway: kept.bytes,
        found: found.clone(),
    };
    let enough = sent.bytes >= masked_bytes.saturating_mul(uploads);
    let detail = format!(
        "{} files of recorded requests ({} bytes) and {} files of the gateway ({} bytes), {} byte strings looked for: {}",
        sent.files,
        sent.bytes,
        kept.files,
        kept.bytes,
        needles.len(),
        if found.is_empty() { "found nowhere".to_owned() } else { found.join("; ") }
    );
    let checks = vec![
        check("The planted structure is in no byte that left its site", found.is_empty(), detail),
        control,
        check(
            "The recording that was searched is complete",
            recorded && enough,
            format!("it holds the developer's request and at least the {uploads} masked updates"),
        ),
    ];
    Ok((traffic, checks))
}

/// What the sites' own egress logs count for messages of rounds: manifests, masked updates, agreements, shares.
fn sent_in_rounds(consortium: &Consortium) -> Result<u64, HarnessError> {
    let mut bytes = 0;
    for member in consortium.members() {
        let path = member.folder.join("state/egress.ndjson");
        let log = fs::read_to_string(&path).map_err(HarnessError::file("read", &path))?;
        for line in log.lines() {
            // The last line may be cut off at a site that was killed.
            let Ok(line) = serde_json::from_str::<EgressLine>(line) else { continue };
            if matches!(
                line.class,
                MessageClass::Manifest
                    | MessageClass::MaskedUpdate
                    | MessageClass::Agreement
                    | MessageClass::Unmasking
            ) {
                bytes += line.bytes;
            }
        }
    }
    Ok(bytes)
}

/// A search that finds nothing proves nothing unless it finds what is there: the job's path, which every site used.
fn sees_what_was_sent(folder: &Path, job: &JobId) -> Result<bool, HarnessError> {
    let mut control = Needles::new();
    control.add("control", format!("/v1/jobs/{job}/rounds/1/uploads/").as_bytes());
    Ok(!control.search_folder(folder)?.found.is_empty())
}
