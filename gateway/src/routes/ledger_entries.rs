//! The ledger's entries: queries, single entries, their proofs and receipts.

use axum::extract::State;
use axum::http::{HeaderMap, header};
use axum::response::{IntoResponse, Response};
use konclave_ledger::tlog_proof::TlogProof;
use konclave_ledger::{Filter, InclusionProof, Ledger, Quorum, Timestamp, tree};
use konclave_openapi::ledger::{
    EntryPage, EntryQuery, EntryView, ExportQuery, InclusionProofView, Receipt, ReceiptQuorum,
};
use konclave_openapi::page::PageQuery;
use konclave_policies::authorization::Action;
use serde::Deserialize;
use utoipa::IntoParams;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::ledger::{look, may_read};
use crate::auth::Principal;
use crate::core::{App, EntryReader, subject};
use crate::error::ApiError;
use crate::extract::{Json, Path, Query, page_limit};

/// The operations.
pub fn router() -> OpenApiRouter<App> {
    OpenApiRouter::new()
        .routes(routes!(list_entries))
        .routes(routes!(read_entry))
        .routes(routes!(prove_inclusion))
        .routes(routes!(read_receipt))
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

/// The most entries that are looked at for one page.
const MAX_LOOK: usize = 2000;

/// Query entries
///
/// Auditors, the council and the operator read every entry. Everyone else gets the entries that are common to the
/// consortium (the ledger, the gateway's certificates, rounds policies, enrolments, reviews) and those about its own
/// organisation: its deposits, clients, models and jobs, the jobs it is invited to, its consents and participation;
/// evaluators also those about rounds, which they check before they score. A correction is for whom the corrected
/// entry is for.
/// The others are left out, so that a page can hold fewer entries than asked for, even none, and still have a
/// `next_cursor`. With `proofs=true` each page comes with a checkpoint, and each entry with its proof to it.
#[utoipa::path(
    get, path = "/v1/ledger/entries", tag = "ledger", params(EntryQuery),
    responses((status = 200, description = "Matching entries, oldest first", body = EntryPage))
)]
async fn list_entries(
    State(app): State<App>,
    principal: Principal,
    Query(query): Query<EntryQuery>,
) -> Result<Json<EntryPage>, ApiError> {
    may_read(&app, &principal)?;
    let limit = page_limit(&PageQuery { cursor: None, limit: query.limit })?;
    let after = cursor(query.cursor.as_deref())?;
    let proofs = query.proofs;
    let filter = filter(query.conditions())?;
    let reader = EntryReader::new(app.authorizer(), &principal);
    let mut page = readable_page(&app, &reader, filter, after, limit).await?;
    if proofs {
        prove(&app, &mut page).await?;
    }
    Ok(Json(page))
}

/// The index that a cursor of a list of entries stands for.
pub(super) fn cursor(text: Option<&str>) -> Result<Option<u64>, ApiError> {
    let wrong = |_| ApiError::invalid_field("cursor", "is not a `next_cursor` of this list");
    text.map(|text| text.parse().map_err(wrong)).transpose()
}

/// The conditions of a query in the ledger's terms.
pub(super) fn filter(query: ExportQuery) -> Result<Filter, ApiError> {
    Ok(Filter {
        since: instant("since", query.since.as_deref())?,
        until: instant("until", query.until.as_deref())?,
        site: query.site,
        actor: query.actor,
        action: query.action,
        object: query.object,
        job: query.job,
        round: query.round,
    })
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

/// A stored entry with what decides who may read it.
struct Found {
    index: u64,
    stored: Vec<u8>,
    subject: Option<Vec<u8>>,
}

impl Found {
    /// The entries of ascending indexes; their subjects only where somebody asks who does not read all.
    fn at(
        ledger: &Ledger,
        indexes: &[u64],
        reads_all: bool,
    ) -> Result<Vec<Self>, konclave_ledger::ReadError> {
        let stored = ledger.stored_entries(indexes)?;
        let found = indexes.iter().zip(stored).map(|(index, stored)| {
            let subject = if reads_all { None } else { Some(subject(ledger, &stored)?) };
            Ok(Self { index: *index, stored, subject })
        });
        found.collect()
    }

    fn is_for(&self, reader: &EntryReader, app: &App) -> bool {
        match &self.subject {
            Some(subject) => reader.reads(subject, &app.state()),
            None => reader.reads_all(),
        }
    }

    fn view(self, app: &App) -> EntryView {
        EntryView {
            index: self.index,
            leaf_hash: tree::leaf_hash(&self.stored),
            leaf: String::from_utf8_lossy(&self.stored).into_owned(),
            corrected_by: app.state().corrections.get(&self.index).cloned().unwrap_or_default(),
            proof: None,
        }
    }
}

/// One page of the entries that match and that the reader may read.
async fn readable_page(
    app: &App,
    reader: &EntryReader,
    filter: Filter,
    mut after: Option<u64>,
    limit: usize,
) -> Result<EntryPage, ApiError> {
    let reads_all = reader.reads_all();
    // Whose an entry is, the state says: what it has not folded yet belongs to a later request.
    let size = app.state().size;
    let mut page = EntryPage { items: Vec::new(), next_cursor: None, checkpoint: None };
    let mut looked = 0;
    loop {
        let (asked, start) = (filter.clone(), after);
        let found = look(app, move |ledger| {
            let indexes = ledger.query(&asked, start, limit + 1)?;
            Found::at(ledger, &indexes, reads_all)
        })
        .await?;
        let last = found.len() <= limit;
        for entry in found.into_iter().take_while(|entry| entry.index < size) {
            if looked == MAX_LOOK {
                page.next_cursor = after.map(|index| index.to_string());
                return Ok(page);
            }
            let readable = entry.is_for(reader, app);
            if readable && page.items.len() == limit {
                // Only another entry for this reader is told of: the others' are not counted, nor their places given away.
                page.next_cursor = page.items.last().map(|item| item.index.to_string());
                return Ok(page);
            }
            after = Some(entry.index);
            looked += 1;
            if readable {
                page.items.push(entry.view(app));
            }
        }
        if last || after == start {
            return Ok(page);
        }
    }
}

/// Adds the latest checkpoint and every entry's proof to it, all read at one moment.
async fn prove(app: &App, page: &mut EntryPage) -> Result<(), ApiError> {
    let indexes: Vec<u64> = page.items.iter().map(|entry| entry.index).collect();
    let read = look(app, move |ledger| {
        let proofs = ledger.inclusion_proofs(&indexes, ledger.head().size)?;
        Ok((ledger.checkpoint_note(), proofs))
    });
    let (checkpoint, proofs): (String, Vec<InclusionProof>) = read.await?;
    for (entry, proof) in page.items.iter_mut().zip(proofs) {
        entry.proof = Some(proof.hashes);
    }
    page.checkpoint = Some(checkpoint);
    Ok(())
}

/// The entry, if there is one and the principal may read it.
pub(super) async fn readable(app: &App, principal: &Principal, index: u64) -> Result<EntryView, ApiError> {
    let missing = || ApiError::not_found(format!("entry {index}"));
    let reader = EntryReader::new(app.authorizer(), principal);
    if index >= app.state().size {
        return Err(missing());
    }
    let reads_all = reader.reads_all();
    let found = look(app, move |ledger| Found::at(ledger, &[index], reads_all)).await?;
    let found = found.into_iter().next().ok_or_else(missing)?;
    if !found.is_for(&reader, app) {
        return Err(ApiError::Forbidden {
            principal: principal.id.clone(),
            action: Action::ReadLedger.to_string(),
            resource: format!("entry {index}"),
            policy_ids: vec!["entries-of-own-organisation-only".to_owned()],
        });
    }
    Ok(found.view(app))
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
    Ok(Json(readable(&app, &principal, index).await?))
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

/// Get a receipt for an entry
///
/// What shows the entry to somebody who has no access to the ledger and knows its key: the proof that it is in the tree
/// (C2SP tlog-proof) with a checkpoint and the cosignatures of witnesses; against the newest head that a quorum of
/// witnesses cosigned where it covers the entry, else against the latest. With `Accept: text/plain` the answer is the
/// receipt alone. For whoever may read the entry.
#[utoipa::path(
    get, path = "/v1/ledger/entries/{index}/receipt", tag = "ledger",
    params(("index" = u64, Path, description = "The entry's index, from 0")),
    responses((status = 200, description = "The receipt", content(
        (Receipt = "application/json"), (String = "text/plain")
    )))
)]
async fn read_receipt(
    State(app): State<App>,
    principal: Principal,
    Path(index): Path<u64>,
    headers: HeaderMap,
) -> Result<Response, ApiError> {
    may_read(&app, &principal)?;
    let entry = readable(&app, &principal, index).await?;
    let read = look(&app, move |ledger| Ok((ledger.receipt(index)?, ledger.quorum(), ledger.head().origin)));
    let (receipt, quorum, origin) = read.await?;
    // The next one may carry more cosignatures.
    let kept = [(header::CACHE_CONTROL, "private, no-cache"), (header::VARY, "accept")];
    if prefers_text(&headers) {
        let media = [(header::CONTENT_TYPE, "text/plain; charset=utf-8")];
        return Ok((kept, media, receipt.to_string()).into_response());
    }
    let quorum = behind(&receipt, origin.as_str(), &quorum);
    Ok((kept, Json(Receipt { index, leaf: entry.leaf, receipt: receipt.to_string(), quorum }))
        .into_response())
}

/// The witnesses behind a receipt. The ledger takes no cosignature that it has not checked.
fn behind(receipt: &TlogProof, origin: &str, quorum: &Quorum) -> ReceiptQuorum {
    let names = receipt.checkpoint.signatures.iter().map(|line| line.name.as_str());
    let mut witnesses: Vec<String> = names.filter(|name| *name != origin).map(str::to_owned).collect();
    witnesses.sort();
    witnesses.dedup();
    ReceiptQuorum {
        required: quorum.required as u64,
        enrolled: quorum.enrolled as u64,
        met: quorum.required > 0 && witnesses.len() >= quorum.required,
        witnesses,
    }
}

/// Whether the client wants plain text rather than JSON (RFC 9110, section 12.5.1).
fn prefers_text(headers: &HeaderMap) -> bool {
    let values = headers.get_all(header::ACCEPT).iter().filter_map(|value| value.to_str().ok());
    let ranges: Vec<(String, f32)> = values.flat_map(|value| value.split(',')).map(range).collect();
    let quality = |names: [&str; 3]| {
        // The most precise range that fits counts.
        names.iter().find_map(|name| ranges.iter().find(|(range, _)| range == name)).map_or(0.0, |(_, q)| *q)
    };
    quality(["text/plain", "text/*", "*/*"]) > quality(["application/json", "application/*", "*/*"])
}

fn range(text: &str) -> (String, f32) {
    let mut parts = text.split(';').map(str::trim);
    let name = parts.next().unwrap_or_default().to_ascii_lowercase();
    let quality = parts.find_map(|part| part.strip_prefix("q=")).map_or(1.0, |q| q.parse().unwrap_or(0.0));
    (name, quality)
}

#[cfg(test)]
mod tests {
    use konclave_ledger::checkpoint::log_key;
    use konclave_ledger::witness::{WitnessSigner, WitnessState};
    use konclave_ledger::{Checkpoint, ConsistencyProof, Origin, SigningKey};

    use super::*;

    /// A receipt against a head of one entry that these sites cosigned.
    fn receipt(sites: &[&str]) -> TlogProof {
        let origin: Origin = "konclave.example/ledger".parse().unwrap();
        let signer = SigningKey::from_seed(&[1; 32]);
        let head = Checkpoint { origin: origin.clone(), size: 1, root: tree::leaf_hash(b"a") };
        let mut checkpoint = head.sign(&signer);
        let from_nothing = ConsistencyProof { old_size: 0, new_size: 1, hashes: Vec::new() };
        let log = log_key(origin.clone(), &signer);
        let state = WitnessState::new(origin)
            .advance(checkpoint.to_string().as_bytes(), &log, &from_nothing)
            .unwrap();
        for site in sites {
            let name = format!("konclave.example/{site}").parse().unwrap();
            let witness = WitnessSigner { name, key: SigningKey::from_seed(&[2; 32]) };
            let cosigned = state.cosign(&witness, Timestamp::from_unix_seconds(1).unwrap());
            checkpoint.signatures.push(cosigned.line().clone());
        }
        TlogProof { index: 0, hashes: Vec::new(), checkpoint }
    }

    #[test]
    fn a_receipt_shows_whether_its_own_head_has_a_quorum() {
        let seen = |sites: &[&str], required| {
            let quorum = Quorum { required, enrolled: 3, witnessed: 0, witnesses: Vec::new() };
            let behind = behind(&receipt(sites), "konclave.example/ledger", &quorum);
            assert_eq!((behind.required, behind.enrolled), (required as u64, 3));
            (behind.witnesses.len(), behind.met)
        };
        assert_eq!(seen(&[], 2), (0, false));
        assert_eq!(seen(&["b"], 2), (1, false));
        assert_eq!(seen(&["b", "a"], 2), (2, true));
        assert_eq!(seen(&["b", "a", "c"], 2), (3, true));
        assert_eq!(seen(&["a", "a"], 2), (1, false), "one witness twice is one");
        assert_eq!(seen(&["a"], 0), (1, false), "without a rule there is no quorum");
    }

    #[test]
    fn text_is_for_who_prefers_it() {
        let prefers = |accept: &'static str| {
            let mut headers = HeaderMap::new();
            headers.insert(header::ACCEPT, axum::http::HeaderValue::from_static(accept));
            prefers_text(&headers)
        };
        for text in ["text/plain", "TEXT/plain; q=0.5", "text/*", "text/plain, application/json;q=0.9"] {
            assert!(prefers(text), "{text}");
        }
        for json in [
            "*/*",
            "application/json",
            "text/html",
            "text/plain, */*",
            "text/plain;q=0.1, application/json",
            "text/plain;q=x",
        ] {
            assert!(!prefers(json), "{json}");
        }
        assert!(!prefers_text(&HeaderMap::new()));
    }
}
