//! What the code of an operation does not show: who is let in, and with which problems it answers. A row for each.

use konclave_policies::authorization::Action;

use super::access::Access::{self, Members, Open, Roles};

/// One operation.
#[derive(Debug, Clone, Copy)]
pub(super) struct Row {
    /// Its `operationId`.
    pub(super) id: &'static str,
    /// Who is let in.
    pub(super) access: Access,
    /// The status codes of its problems, besides those that every operation has.
    problems: &'static [u16],
}

/// What any operation can answer, whoever asks: another method, a fault of ours, too much to do.
const ALWAYS: &[u16] = &[405, 500, 503];
/// What an operation that needs a credential can answer.
const WITH_CREDENTIAL: &[u16] = &[401, 403];

/// A path that names something.
const NAMED: &[u16] = &[400, 404];
/// Parameters only.
const ASKED: &[u16] = &[400];
/// A JSON command.
const COMMAND: &[u16] = &[400, 404, 409, 413, 415, 422];
/// What a site reads at its own seat in a job or round.
const SEAT: &[u16] = &[400, 404, 409, 422];

const fn row(id: &'static str, access: Access, problems: &'static [u16]) -> Row {
    Row { id, access, problems }
}

const TAKE_PART: Access = Members(&[Action::TakePartInRound]);
const READ_LEDGER: Access = Roles(&[Action::ReadLedger]);
const EXPORT_LEDGER: Access = Roles(&[Action::ExportLedger]);

/// Every operation, in the order of the table of contents ([`crate::router::operations`]).
const ROWS: &[Row] = &[
    row("issue_token", Open, &[400, 401, 413, 415, 429]),
    row("read_jwks", Open, &[]),
    row("read_authorization_server", Open, &[]),
    row("read_status", Open, &[]),
    row("list_sites", Roles(&[Action::ReadSites]), ASKED),
    row("read_site", Roles(&[Action::ReadSites]), NAMED),
    row("renew_certificate", Members(&[Action::RenewCertificate]), COMMAND),
    row("put_blob", Roles(&[Action::UploadBlob]), &[400, 413, 422]),
    row("read_blob", Roles(&[Action::ReadBlob]), &[400, 404, 416]),
    row("announce_upload", Roles(&[Action::UploadBlob]), &[400, 409, 413, 415, 422]),
    row("list_blob_uploads", Roles(&[Action::UploadBlob]), ASKED),
    row("read_blob_upload", Roles(&[Action::UploadBlob]), NAMED),
    row("head_blob_upload", Roles(&[Action::UploadBlob]), NAMED),
    row("append_to_upload", Roles(&[Action::UploadBlob]), &[400, 404, 409, 413, 415, 422]),
    row("delete_upload", Roles(&[Action::UploadBlob]), &[400, 404, 409]),
    row("list_models", Roles(&[Action::ReadModel]), ASKED),
    row("register_model", Roles(&[Action::CreateModel]), COMMAND),
    row("read_model", Roles(&[Action::ReadModel]), NAMED),
    row("list_jobs", Roles(&[Action::ReadJob]), ASKED),
    row("request_job", Roles(&[Action::CreateJob]), COMMAND),
    row("read_job", Roles(&[Action::ReadJob]), NAMED),
    row("consent", Members(&[Action::Consent]), COMMAND),
    row("advertise_keys", TAKE_PART, COMMAND),
    row("read_roster", Roles(&[Action::ReadJob]), &[400, 404, 409]),
    row("read_ciphertexts", TAKE_PART, SEAT),
    row("send_ciphertexts", TAKE_PART, COMMAND),
    row("list_rounds", Roles(&[Action::ReadRound]), NAMED),
    row("read_round", Roles(&[Action::ReadRound]), NAMED),
    row("send_manifest", TAKE_PART, COMMAND),
    row("read_agreement", TAKE_PART, SEAT),
    row("sign_agreement", TAKE_PART, COMMAND),
    row("read_unmasking", TAKE_PART, SEAT),
    row("answer_unmasking", TAKE_PART, COMMAND),
    row("read_tagging", TAKE_PART, SEAT),
    row("send_tag", TAKE_PART, COMMAND),
    row("send_verdict", TAKE_PART, COMMAND),
    row("read_upload", TAKE_PART, SEAT),
    row("upload", TAKE_PART, &[400, 404, 409, 413, 422]),
    row("read_work", Members(&[]), ASKED),
    row("list_evaluations", Roles(&[Action::ReadEvaluation]), ASKED),
    row("report_evaluation", Members(&[Action::Evaluate]), COMMAND),
    row("list_contributions", Roles(&[Action::ReadContribution]), NAMED),
    row("list_statements", Roles(&[Action::ReadStatement]), NAMED),
    row("list_deposits", Roles(&[Action::ReadDeposit]), ASKED),
    row("register_deposit", Members(&[Action::CreateDeposit]), COMMAND),
    row("read_checkpoint", READ_LEDGER, &[]),
    row("prove_consistency", READ_LEDGER, ASKED),
    row("cosign", Members(&[Action::Cosign]), COMMAND),
    row("list_entries", READ_LEDGER, ASKED),
    row("read_entry", READ_LEDGER, NAMED),
    row("prove_inclusion", READ_LEDGER, NAMED),
    row("read_receipt", READ_LEDGER, NAMED),
    row("export", EXPORT_LEDGER, &[400, 409, 422]),
    row("export_entries", EXPORT_LEDGER, &[400, 422, 429]),
    row("read_ledger_status", READ_LEDGER, &[]),
    row("list_schemas", READ_LEDGER, &[]),
    row("read_schema", READ_LEDGER, NAMED),
    row("list_corrections", READ_LEDGER, NAMED),
    row("correct_entry", Roles(&[Action::CorrectEntry]), COMMAND),
    row("list_reviews", READ_LEDGER, ASKED),
    row("record_review", Roles(&[Action::RecordReview]), COMMAND),
    row("checkpoint_file", READ_LEDGER, &[]),
    row("witnessed_file", READ_LEDGER, &[404]),
    row("tile_file", READ_LEDGER, NAMED),
    row("statement_file", EXPORT_LEDGER, NAMED),
    row("read_opening", Roles(&[Action::ReadOpening]), NAMED),
    row("erase_opening", Roles(&[Action::EraseOpening]), COMMAND),
    row("add_checkpoint", READ_LEDGER, &[400, 422]),
    row("witnesses", READ_LEDGER, &[]),
    row("keys", READ_LEDGER, &[]),
    row("read_openapi", Open, &[]),
    row("read_docs", Open, &[]),
    row("read_docs_file", Open, NAMED),
    row("explain_problem", Open, NAMED),
    row("read_liveness", Open, &[]),
    row("read_readiness", Open, &[]),
];

/// The row of an operation. A test of this crate tells of one that has none.
pub(super) fn row_of(id: &str) -> Option<&'static Row> {
    ROWS.iter().find(|row| row.id == id)
}

impl Row {
    /// The status codes of all its problems.
    pub(super) fn statuses(&self) -> impl Iterator<Item = u16> {
        let credential: &[u16] = match self.access {
            Open => &[],
            Roles(_) | Members(_) => WITH_CREDENTIAL,
        };
        ALWAYS.iter().chain(credential).chain(self.problems).copied()
    }
}

/// The ids of all rows, for tests.
#[cfg(test)]
pub(super) fn ids() -> Vec<&'static str> {
    ROWS.iter().map(|row| row.id).collect()
}
