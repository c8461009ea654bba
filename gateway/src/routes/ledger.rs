//! The ledger's heads: the latest checkpoint, that it extends older ones, cosignatures.

use axum::extract::State;
use konclave_ledger::note::SignedNote;
use konclave_ledger::{Ledger, ReadError};
use konclave_openapi::ledger::{CheckpointView, ConsistencyProofView, ConsistencyQuery, NewCosignature};
use konclave_openapi::witnesses::QuorumView;
use konclave_policies::authorization::Action;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use crate::auth::{Principal, authorize};
use crate::core::App;
use crate::error::ApiError;
use crate::extract::{Json, Query};
use crate::idempotency::Command;

/// The operations.
pub fn router() -> OpenApiRouter<App> {
    OpenApiRouter::new()
        .routes(routes!(read_checkpoint))
        .routes(routes!(prove_consistency))
        .routes(routes!(cosign))
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

fn checkpoint(ledger: &Ledger, quorum: QuorumView) -> CheckpointView {
    let (head, note) = (ledger.head(), ledger.checkpoint_note());
    let signers = SignedNote::parse(note.as_bytes()).map(|parsed| parsed.signatures).unwrap_or_default();
    let witnesses = signers.iter().filter(|line| line.name != head.origin).map(|line| line.name.to_string());
    CheckpointView {
        origin: head.origin.to_string(),
        size: head.size,
        root: head.root,
        witnesses: witnesses.collect(),
        note,
        quorum,
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
    let quorum = app.quorum().await?;
    Ok(Json(look(&app, |ledger| Ok(checkpoint(ledger, quorum))).await?))
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
    let quorum = app.quorum().await?;
    Ok(Json(look(&app, |ledger| Ok(checkpoint(ledger, quorum))).await?))
}
