//! The ledger: entries, checkpoints, proofs, cosignatures, exports.

use axum::extract::State;
use axum::http::HeaderMap;
use konclave_ledger::note::SignedNote;
use konclave_ledger::{Filter, Ledger, ReadError, Timestamp, tree};
use konclave_openapi::ledger::{
    CheckpointView, ConsistencyProofView, ConsistencyQuery, EntryQuery, EntryView, InclusionProofView,
    LedgerExport, NewCosignature,
};
use konclave_openapi::page::{Page, PageQuery};
use konclave_policies::authorization::Action;
use serde::Deserialize;
use utoipa::IntoParams;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::answers::Created;
use crate::auth::{Principal, authorize};
use crate::core::{App, EntryReader, IdempotencyKey};
use crate::error::ApiError;
use crate::extract::{Json, Path, Query, page_limit};
use crate::idempotency::{self, Command};
use crate::request::RequestId;

/// The operations.
pub fn router() -> OpenApiRouter<App> {
    OpenApiRouter::new()
        .routes(routes!(read_checkpoint))
        .routes(routes!(list_entries))
        .routes(routes!(read_entry))
        .routes(routes!(prove_inclusion))
        .routes(routes!(prove_consistency))
        .routes(routes!(cosign))
        .routes(routes!(export))
}

/// For which tree.
#[derive(Debug, Clone, Copy, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub struct InclusionQuery {
    /// The tree's size; the latest one without it.
    #[serde(default)]
    pub size: Option<u64>,
}

/// For what everyone witnesses: heads, hashes, proofs.
pub(super) fn may_read(app: &App, principal: &Principal) -> Result<(), ApiError> {
    authorize(app.authorizer(), principal, Action::ReadLedger, &Action::ReadLedger.on("ledger", None))
}

/// For files that hold entries or statements of all members.
pub(super) fn may_read_all(app: &App, principal: &Principal) -> Result<(), ApiError> {
    authorize(app.authorizer(), principal, Action::ExportLedger, &Action::ExportLedger.on("ledger", None))
}

/// Reads the ledger on a thread that may wait for the disk.
pub(super) async fn look<T: Send + 'static>(
    app: &App,
    look: impl FnOnce(&Ledger) -> Result<T, ReadError> + Send + 'static,
) -> Result<T, ApiError> {
    app.ledger().read(look).await.map_err(ApiError::internal)?.map_err(|error| match error {
        ReadError::OutOfRange { .. } => ApiError::invalid_request(error.to_string()),
        ReadError::Damaged(_) | ReadError::Leaf { .. } | ReadError::Storage(_) | ReadError::Poisoned => {
            ApiError::internal(error)
        }
    })
}

fn checkpoint(ledger: &Ledger) -> CheckpointView {
    let (head, note) = (ledger.head(), ledger.checkpoint_note());
    let signers = SignedNote::parse(note.as_bytes()).map(|parsed| parsed.signatures).unwrap_or_default();
    let witnesses = signers.iter().filter(|line| line.name != head.origin).map(|line| line.name.to_string());
    CheckpointView {
        origin: head.origin.to_string(),
        size: head.size,
        root: head.root,
        witnesses: witnesses.collect(),
        note,
    }
}

/// Read the latest checkpoint
#[utoipa::path(
    get, path = "/v1/ledger/checkpoint", tag = "ledger",
    responses((status = 200, description = "The checkpoint with the cosignatures gathered so far", body = CheckpointView))
)]
async fn read_checkpoint(
    State(app): State<App>,
    principal: Principal,
) -> Result<Json<CheckpointView>, ApiError> {
    may_read(&app, &principal)?;
    Ok(Json(look(&app, |ledger| Ok(checkpoint(ledger))).await?))
}

/// The most entries that are looked at for one page.
const MAX_LOOK: usize = 2000;

/// Query entries
///
/// Auditors, the council and the operator read every entry. Everyone else gets the entries that are common to the
/// consortium (the ledger, the gateway's certificates, rounds policies, enrolments) and those about its own
/// organisation: its deposits, clients, models and jobs, the jobs it is invited to, its consents and participation;
/// evaluators also those about rounds, which they check before they score.
/// The others are left out, so that a page can hold fewer entries than asked for, even none, and still have a
/// `next_cursor`.
#[utoipa::path(
    get, path = "/v1/ledger/entries", tag = "ledger", params(EntryQuery),
    responses((status = 200, description = "Matching entries, oldest first", body = Page<EntryView>))
)]
async fn list_entries(
    State(app): State<App>,
    principal: Principal,
    Query(query): Query<EntryQuery>,
) -> Result<Json<Page<EntryView>>, ApiError> {
    may_read(&app, &principal)?;
    let limit = page_limit(&PageQuery { cursor: None, limit: query.limit })?;
    let after = match &query.cursor {
        Some(cursor) => Some(
            cursor
                .parse()
                .map_err(|_| ApiError::invalid_field("cursor", "is not a `next_cursor` of this list"))?,
        ),
        None => None,
    };
    let filter = Filter {
        since: instant("since", query.since.as_deref())?,
        until: instant("until", query.until.as_deref())?,
        site: query.site,
        actor: query.actor,
        action: query.action,
        object: query.object,
        job: query.job,
        round: query.round,
    };
    Ok(Json(readable_page(&app, &principal, filter, after, limit).await?))
}

/// One page of the entries that match and that the principal may read.
async fn readable_page(
    app: &App,
    principal: &Principal,
    filter: Filter,
    mut after: Option<u64>,
    limit: usize,
) -> Result<Page<EntryView>, ApiError> {
    let reader = EntryReader::new(app.authorizer(), principal);
    // Whose an entry is, the state says: what it has not folded yet belongs to a later request.
    let size = app.state().size;
    let mut page = Page { items: Vec::new(), next_cursor: None };
    let mut looked = 0;
    loop {
        let (asked, start) = (filter.clone(), after);
        let found = look(app, move |ledger| {
            let indexes = ledger.query(&asked, start, limit + 1)?;
            indexes
                .into_iter()
                .filter_map(|index| entry(ledger, index).transpose())
                .collect::<Result<Vec<_>, _>>()
        })
        .await?;
        let last = found.len() <= limit;
        for entry in found.into_iter().take_while(|entry| entry.index < size) {
            if page.items.len() == limit || looked == MAX_LOOK {
                page.next_cursor = after.map(|index| index.to_string());
                return Ok(page);
            }
            after = Some(entry.index);
            looked += 1;
            if reader.reads(entry.leaf.as_bytes(), &app.state()) {
                page.items.push(entry);
            }
        }
        if last || after == start {
            return Ok(page);
        }
    }
}

/// Milliseconds since 1970 of an RFC 3339 time.
fn instant(name: &str, text: Option<&str>) -> Result<Option<u64>, ApiError> {
    let Some(text) = text else { return Ok(None) };
    let wrong = || ApiError::invalid_field(name, "is not an RFC 3339 time such as 2026-11-23T10:00:00Z");
    let format = &time::format_description::well_known::Rfc3339;
    let moment = time::OffsetDateTime::parse(text, format).map_err(|_| wrong())?;
    let millis = u64::try_from(moment.unix_timestamp_nanos() / 1_000_000).map_err(|_| wrong())?;
    Ok(Some(Timestamp::from_unix_millis(millis).map_err(|_| wrong())?.unix_millis()))
}

fn entry(ledger: &Ledger, index: u64) -> Result<Option<EntryView>, ReadError> {
    Ok(ledger.leaf_bytes(index)?.map(|bytes| EntryView {
        index,
        leaf_hash: tree::leaf_hash(&bytes),
        leaf: String::from_utf8_lossy(&bytes).into_owned(),
    }))
}

/// Read one entry
///
/// Whoever the query would give it to.
#[utoipa::path(
    get, path = "/v1/ledger/entries/{index}", tag = "ledger",
    params(("index" = u64, Path, description = "The entry's index, from 0")),
    responses((status = 200, description = "The entry", body = EntryView))
)]
async fn read_entry(
    State(app): State<App>,
    principal: Principal,
    Path(index): Path<u64>,
) -> Result<Json<EntryView>, ApiError> {
    may_read(&app, &principal)?;
    let missing = || ApiError::not_found(format!("entry {index}"));
    let size = app.state().size;
    let found = look(&app, move |ledger| entry(ledger, index)).await?;
    let found = found.filter(|entry| entry.index < size).ok_or_else(missing)?;
    if !EntryReader::new(app.authorizer(), &principal).reads(found.leaf.as_bytes(), &app.state()) {
        return Err(ApiError::Forbidden {
            principal: principal.id,
            action: Action::ReadLedger.to_string(),
            resource: format!("entry {index}"),
            policy_ids: vec!["entries-of-own-organisation-only".to_owned()],
        });
    }
    Ok(Json(found))
}

/// Prove that an entry is in the tree
#[utoipa::path(
    get, path = "/v1/ledger/entries/{index}/proof", tag = "ledger",
    params(("index" = u64, Path, description = "The entry's index, from 0"), InclusionQuery),
    responses((status = 200, description = "The audit path (RFC 6962)", body = InclusionProofView))
)]
async fn prove_inclusion(
    State(app): State<App>,
    principal: Principal,
    Path(index): Path<u64>,
    Query(query): Query<InclusionQuery>,
) -> Result<Json<InclusionProofView>, ApiError> {
    may_read(&app, &principal)?;
    let found = look(&app, move |ledger| {
        let size = query.size.unwrap_or_else(|| ledger.head().size);
        let proof = ledger.inclusion_proof(index, size)?;
        let Some(bytes) = ledger.leaf_bytes(index)? else { return Ok(None) };
        Ok(Some((proof, tree::leaf_hash(&bytes))))
    });
    let (proof, leaf_hash) = found.await?.ok_or_else(|| ApiError::not_found(format!("entry {index}")))?;
    let root = proof.root_for(&leaf_hash).map_err(ApiError::internal)?;
    Ok(Json(InclusionProofView { index, size: proof.size, root, leaf_hash, path: proof.hashes }))
}

/// Prove that a head extends an older one
#[utoipa::path(
    get, path = "/v1/ledger/consistency", tag = "ledger", params(ConsistencyQuery),
    responses((status = 200, description = "The proof (RFC 6962)", body = ConsistencyProofView))
)]
async fn prove_consistency(
    State(app): State<App>,
    principal: Principal,
    Query(query): Query<ConsistencyQuery>,
) -> Result<Json<ConsistencyProofView>, ApiError> {
    may_read(&app, &principal)?;
    let proof = look(&app, move |ledger| ledger.consistency_proof(query.old, query.new)).await?;
    Ok(Json(ConsistencyProofView { old: proof.old_size, new: proof.new_size, path: proof.hashes }))
}

/// Cosign the latest checkpoint
///
/// A witness that has checked the consistency with the last head it cosigned. If the ledger has grown meanwhile, read
/// the checkpoint again and cosign that.
#[utoipa::path(
    post, path = "/v1/ledger/cosignatures", tag = "ledger", request_body = NewCosignature,
    responses((status = 200, description = "The cosignature is kept", body = CheckpointView))
)]
async fn cosign(
    State(app): State<App>,
    command: Command<NewCosignature>,
) -> Result<Json<CheckpointView>, ApiError> {
    let Command { principal, body, .. } = command;
    let member = principal.member()?;
    let resource = Action::Cosign.on("checkpoint", Some(&principal.organisation));
    authorize(app.authorizer(), &principal, Action::Cosign, &resource)?;
    app.take_cosignature(&member.site, body).await?;
    Ok(Json(look(&app, |ledger| Ok(checkpoint(ledger))).await?))
}

/// Export the ledger
///
/// Fixes a checkpoint and lists the files below `/` that `konclave-audit verify` needs. That it was exported becomes an
/// entry of its own, after the exported ones.
#[utoipa::path(
    post, path = "/v1/ledger/exports", tag = "ledger",
    responses((status = 201, description = "What to fetch", body = LedgerExport))
)]
async fn export(
    State(app): State<App>,
    principal: Principal,
    id: RequestId,
    headers: HeaderMap,
) -> Result<Created<LedgerExport>, ApiError> {
    let resource = Action::ExportLedger.on("ledger", None);
    authorize(app.authorizer(), &principal, Action::ExportLedger, &resource)?;
    let mut caller = idempotency::caller(&principal, &id);
    let key = idempotency::idempotency_key(&headers)?;
    caller.idempotency =
        key.map(|key| IdempotencyKey::new(&principal.id, "POST /v1/ledger/exports", key, b""));
    let body = app.export_ledger(&caller, &principal.id).await?;
    Ok(Created { location: "/checkpoint".to_owned(), body })
}
