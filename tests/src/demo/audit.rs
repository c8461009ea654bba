//! An auditor's look: a copy of the ledger, verified offline with the auditor's own program.

use std::fs;
use std::path::Path;
use std::thread::sleep;
use std::time::{Duration, Instant};

use konclave_openapi::sites::Enrolment;
use serde::Deserialize;

use super::checks::check;
use super::stage::Stage;
use crate::consortium::{EVALUATOR, named_from_here, output, read_json, text};
use crate::error::HarnessError;
use crate::partner::Exported;
use crate::report::summary::{Check, LedgerFacts};

/// How long witnesses may take to cosign a checkpoint.
const WITNESS_LIMIT: Duration = Duration::from_secs(30);
/// How often the gateway is asked whether they have.
const POLL: Duration = Duration::from_millis(100);

/// What `konclave-audit verify --json` says, as far as it is used here.
#[derive(Debug, Deserialize)]
struct AuditReport {
    ok: bool,
    origin: Option<String>,
    size: u64,
    root: Option<String>,
    key_source: String,
    cosignatures: Vec<Cosigned>,
    witnesses_enrolled: u64,
    findings: Vec<Finding>,
}

#[derive(Debug, Deserialize)]
struct Cosigned {
    witness: String,
}

#[derive(Debug, Deserialize)]
struct Finding {
    detail: String,
}

/// Copies the ledger once all members have cosigned it, but those that were revoked, and verifies the copy. Nothing that is judged here comes from the
/// gateway's word: the key is the one a member was enrolled with, the cosignatures are checked by `konclave-audit`.
pub(super) fn audit(
    stage: &Stage,
    out: &Path,
    shown: &Path,
    revoked: usize,
) -> Result<(LedgerFacts, Vec<Check>), HarnessError> {
    let members = stage.consortium.members().count().saturating_sub(revoked);
    let enrolled: Enrolment = read_json(&stage.consortium.member(EVALUATOR)?.folder.join("enrolment.json"))?;
    let folder = out.join("ledger");
    let exported = export_cosigned(stage, &folder, members)?;
    let key = &enrolled.ledger_key;
    let quorum = members.to_string();
    let told = ["--key", key, "--quorum", &quorum];
    let verify = |more: &[&str]| {
        let copy = text(&folder);
        let words = [&["verify", copy.as_str()], &told[..], more].concat();
        output(&stage.consortium.programs.audit, &words)
    };
    let judged = verify(&["--json"])?;
    let report: AuditReport = serde_json::from_slice(&judged.stdout).map_err(|error| {
        let seen = String::from_utf8_lossy(&judged.stderr).into_owned();
        HarnessError::unexpected("what konclave-audit prints", format!("{error}: {seen}"))
    })?;
    let printed = verify(&[])?;
    let verified = String::from_utf8_lossy(&[printed.stdout, printed.stderr].concat()).trim().to_owned();
    let findings: Vec<&str> = report.findings.iter().map(|finding| finding.detail.as_str()).collect();
    let pinned = report.key_source == "given";
    let checks = vec![
        check(
            "The exported ledger verifies offline, under the key that members pinned at their enrolment",
            judged.status.success() && report.ok && pinned && report.size == exported.size,
            if findings.is_empty() {
                format!("{} entries, every one checked", report.size)
            } else {
                findings.join("; ")
            },
        ),
        check(
            "All members but the revoked one cosigned the exported checkpoint",
            report.cosignatures.len() == members && report.witnesses_enrolled == members as u64,
            format!(
                "{} of {} enrolled witnesses' cosignatures are valid, by konclave-audit",
                report.cosignatures.len(),
                report.witnesses_enrolled
            ),
        ),
    ];
    let facts = LedgerFacts {
        origin: report.origin.unwrap_or_default(),
        size: report.size,
        root: report.root.unwrap_or_default(),
        checkpoint: exported.note,
        witnesses: report.cosignatures.into_iter().map(|cosigned| cosigned.witness).collect(),
        enrolled: report.witnesses_enrolled,
        folder: shown.join("ledger").display().to_string(),
        verify: format!(
            "{} verify {} --key '{key}' --quorum {quorum}",
            named_from_here(&stage.consortium.programs.audit),
            shown.join("ledger").display()
        ),
        verified,
    };
    Ok((facts, checks))
}

/// Exports once the gateway shows a cosignature of every member. If that never comes, the export is judged as it is.
fn export_cosigned(stage: &Stage, folder: &Path, members: usize) -> Result<Exported, HarnessError> {
    let started = Instant::now();
    loop {
        let cosigned = stage.auditor.checkpoint()?.witnesses.len();
        if cosigned >= members || started.elapsed() > WITNESS_LIMIT {
            if folder.exists() {
                fs::remove_dir_all(folder).map_err(HarnessError::file("remove", folder))?;
            }
            let exported = stage.auditor.export_ledger(folder)?;
            // The signature lines stand below an empty line: the log's own and one of each member. An entry that came
            // in between leaves an export that nobody has cosigned yet.
            let signatures = exported.note.lines().filter(|line| line.starts_with('\u{2014}')).count();
            if signatures > members || started.elapsed() > WITNESS_LIMIT {
                return Ok(exported);
            }
        }
        sleep(POLL);
    }
}
