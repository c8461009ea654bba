//! What the sites sent: sizes from the recorded requests, and the search for what must not be in them.

use std::fs;
use std::path::Path;

use konclave_crypto::JobId;
use konclave_openapi::rounds::Round;
use konclave_site::client::{EgressLine, MessageClass};

use super::canary;
use super::checks::check;
use crate::consortium::Consortium;
use crate::error::HarnessError;
use crate::report::summary::{Check, Traffic};
use crate::search::Needles;

/// Searches all that the gateway received or keeps.
pub(super) fn search(
    consortium: &Consortium,
    structure: &str,
    job: &JobId,
    rounds: &[Round],
) -> Result<(Traffic, Vec<Check>), HarnessError> {
    let needles = canary::needles(structure)?;
    let sent = needles.search_folder(&consortium.traffic_folder())?;
    let kept = needles.search_folder(&consortium.gateway_folder())?;
    let found = [sent.places(), kept.places()].concat();
    let recorded = sees_what_was_sent(&consortium.traffic_folder(), job)?;
    let (parameters, masked_bytes) = rounds.first().map_or((0, 0), |round| {
        let encoding = &round.context.context.encoding;
        (
            encoding.coordinates(),
            (encoding.coordinates() + 1).saturating_mul(encoding.ring_bits.into()).div_ceil(8),
        )
    });
    #[expect(clippy::cast_precision_loss, reason = "sizes are far below 2^53")]
    let per_parameter = |bytes: u64| bytes as f64 / parameters.max(1) as f64;
    let uploads: u64 = rounds.iter().map(|round| round.uploaded.len() as u64).sum();
    let sent_by_sites = sent_in_rounds(consortium)?;
    let traffic = Traffic {
        parameters,
        masked_bytes,
        bytes_per_parameter: per_parameter(masked_bytes),
        round_bytes_per_parameter: per_parameter(sent_by_sites.checked_div(uploads).unwrap_or_default()),
        canary: structure.to_owned(),
        searched_traffic: sent.bytes,
        searched_gateway: kept.bytes,
        found: found.clone(),
    };
    let enough = sent.bytes >= masked_bytes.saturating_mul(uploads);
    let detail = format!(
        "{} recorded requests files ({} bytes) and {} files of the gateway ({} bytes), {} byte strings looked for: {}",
        sent.files,
        sent.bytes,
        kept.files,
        kept.bytes,
        needles.len(),
        if found.is_empty() { "found nowhere".to_owned() } else { found.join("; ") }
    );
    let checks = vec![
        check("The planted structure is in no byte that left its site", found.is_empty(), detail),
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
