//! Reviews: an auditor states under its own key what it found in the ledger up to a head.

use konclave_ledger::PublicKey;
use konclave_ledger::dsse::Envelope;
use konclave_ledger::records::{Record, ReviewResult};
use konclave_ledger::statements::{self, ReviewStatement};

use super::statements::field;
use super::{App, Caller, CommandError, Entry};
use crate::auth::clients::ClientKey;
use crate::error::ApiError;
use crate::projections::ReviewState;

impl App {
    /// Records a review; the entry's index. The same statement again changes nothing.
    ///
    /// # Errors
    /// [`ApiError`]; nothing was recorded.
    pub async fn record_review(
        &self,
        caller: &Caller,
        reviewer: &str,
        envelope: Envelope,
    ) -> Result<u64, ApiError> {
        let key = self.review_key(reviewer)?;
        let stated: ReviewStatement = statements::verify(&envelope, &key).map_err(|error| {
            let detail = format!(
                "the review is not accepted: {error}; sign it with the Ed25519 key that {reviewer} is registered with"
            );
            ApiError::rejected_at(detail, vec![field("", "signature, type or payload is wrong")])
        })?;
        let statement = envelope.digest();
        let held = self.lock(format!("reviews/{reviewer}")).await;
        let (known, last) = {
            let state = self.state();
            let own = || state.reviews.iter().filter(|review| review.reviewer == reviewer);
            (
                own().find(|review| review.statement == statement).map(|review| review.entry),
                own().next_back().cloned(),
            )
        };
        if let Some(entry) = known {
            return Ok(entry);
        }
        self.repeated(caller)?;
        check_alone(reviewer, &stated, last.as_ref())?;
        self.check_reviewed(&stated).await?;
        let reason = format!("review of {} entries, the period from entry {} on", stated.size, stated.from);
        let record = Record::ReviewRecorded {
            reviewer: reviewer.to_owned(),
            from: stated.from,
            size: stated.size,
            root: stated.root,
            result: stated.result,
            statement,
        };
        let entry = Entry::new(format!("ledger/reviews/{reviewer}"), reason, record)
            .changing(last.map(|review| review.statement), Some(statement))
            .stated_in(envelope);
        self.append_one(&held, caller, entry).await
    }

    /// The key that the ledger knows a client by: what an auditor of the auditor checks the review with.
    fn review_key(&self, reviewer: &str) -> Result<PublicKey, ApiError> {
        let pem = self.state().clients.get(reviewer).map(|client| client.public_key.clone());
        let pem = pem.ok_or_else(|| {
            ApiError::conflict(format!(
                "the ledger does not know the client {reviewer} yet; try again in a few seconds"
            ))
        })?;
        let key = ClientKey::from_pem(&pem).map_err(|error| {
            ApiError::rejected(format!("the registered key of {reviewer} cannot sign reviews: {error}"))
        })?;
        Ok(PublicKey(*key.as_bytes()))
    }

    /// Checks the statement against this ledger.
    async fn check_reviewed(&self, stated: &ReviewStatement) -> Result<(), ApiError> {
        let size = stated.size;
        let found = self.ledger().read(move |ledger| {
            let head = ledger.head();
            let root = (size <= head.size).then(|| ledger.root_at(size)).transpose();
            root.map(|root| (head, root))
        });
        let (head, root) = found.await.map_err(CommandError::from)?.map_err(ApiError::internal)?;
        if stated.origin != head.origin.as_str() {
            return Err(refused("origin", &format!("is not {}, this ledger", head.origin)));
        }
        let Some(root) = root else {
            return Err(refused("size", &format!("is beyond the ledger's {} entries", head.size)));
        };
        if root == stated.root {
            return Ok(());
        }
        tracing::error!(reviewer = %stated.reviewer, size, "an auditor reviewed another tree than this ledger's");
        let detail = "is not this ledger's root of that size: keep what was reviewed, it shows a fork";
        Err(refused("root", detail))
    }
}

/// Checks what can be checked without the ledger.
fn check_alone(reviewer: &str, stated: &ReviewStatement, last: Option<&ReviewState>) -> Result<(), ApiError> {
    if stated.reviewer != reviewer {
        return Err(refused("reviewer", &format!("is not {reviewer}, who sent it")));
    }
    if stated.size == 0 {
        return Err(refused("size", "must be at least 1"));
    }
    if stated.from > stated.size {
        return Err(refused("from", "is beyond the reviewed entries"));
    }
    if stated.entries_checked > stated.size {
        return Err(refused("entries_checked", "is more than the reviewed entries"));
    }
    if (stated.result == ReviewResult::Findings) == stated.findings.is_empty() {
        return Err(refused("findings", "must be named if and only if the result is `findings`"));
    }
    match last {
        Some(last) if stated.size < last.size => Err(refused(
            "size",
            &format!("is less than the {} of the review in entry {}", last.size, last.entry),
        )),
        Some(_) | None => Ok(()),
    }
}

fn refused(at: &str, detail: &str) -> ApiError {
    ApiError::rejected_at(format!("the review is refused: {at} {detail}"), vec![field(at, detail)])
}
