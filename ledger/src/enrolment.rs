//! Keys that the log itself publishes: its own in the first entry, those of sites in `site.enrolled` entries.

use std::collections::BTreeMap;

use serde::Deserialize;

use crate::checkpoint::Checkpoint;
use crate::cosignature::{Cosignature, CosignatureError};
use crate::draft::LEDGER_CREATED;
use crate::keys::PublicKey;
use crate::leaf::Leaf;
use crate::note::{SignatureLine, SignatureType, VerifierKey};

/// The action of an entry that enrols a site or evaluator with its keys.
pub const SITE_ENROLLED: &str = "site.enrolled";

/// The action of an entry after which a site's keys are not believed any more.
pub const SITE_REVOKED: &str = "site.revoked";

/// What a `site.enrolled` entry says about keys.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Enrolment {
    /// The site's pseudonym.
    pub site: String,
    /// The key that signs its statements.
    pub identity_key: PublicKey,
    /// The key that signs its cosignatures.
    pub witness_key: VerifierKey,
}

/// A `site.enrolled` entry whose keys can't be read.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("the record of a {SITE_ENROLLED} entry has no readable site, identity_key and witness_vkey")]
pub struct EnrolmentError;

/// The keys known after reading a log in order. A later enrolment replaces a site's keys; witness keys stay for heads from
/// before it, so that older cosignatures remain checkable.
#[derive(Debug, Clone, Default)]
pub struct EnrolledKeys {
    identity: BTreeMap<String, PublicKey>,
    witnesses: Vec<WitnessKey>,
}

/// A witness key and until when it vouches for its site.
#[derive(Debug, Clone)]
struct WitnessKey {
    site: String,
    key: VerifierKey,
    /// The entry that replaced or revoked it.
    ended: Option<u64>,
}

#[derive(Deserialize)]
struct Record {
    site: String,
    identity_key: PublicKey,
    witness_vkey: String,
}

impl Enrolment {
    /// Reads an entry; `None` if it has another action.
    #[must_use]
    pub fn from_leaf(leaf: &Leaf) -> Option<Result<Self, EnrolmentError>> {
        (leaf.action == SITE_ENROLLED).then(|| Self::from_record(leaf))
    }

    fn from_record(leaf: &Leaf) -> Result<Self, EnrolmentError> {
        let record: Record = serde_json::from_str(leaf.record.as_str()).map_err(|_| EnrolmentError)?;
        let witness_key: VerifierKey = record.witness_vkey.parse().map_err(|_| EnrolmentError)?;
        if witness_key.signature_type() != SignatureType::Cosignature {
            return Err(EnrolmentError);
        }
        Ok(Self { site: record.site, identity_key: record.identity_key, witness_key })
    }
}

/// The verifier key that a log's first entry publishes; `None` if the entry is another or holds no key for its origin.
#[must_use]
pub fn published_log_key(first: &Leaf) -> Option<VerifierKey> {
    let key: VerifierKey = first.record.text("vkey")?.parse().ok()?;
    let fits = first.action == LEDGER_CREATED && *key.name() == first.origin;
    (fits && key.signature_type() == SignatureType::Log).then_some(key)
}

impl EnrolledKeys {
    /// Takes the keys of the next entry, if it enrols somebody; ends those of a site that it revokes.
    ///
    /// # Errors
    /// [`EnrolmentError`]; the keys stay as they were.
    pub fn note(&mut self, leaf: &Leaf) -> Result<(), EnrolmentError> {
        if leaf.action == SITE_REVOKED {
            if let Some(site) = leaf.record.text("site") {
                self.revoke(&site, leaf.seq);
            }
            return Ok(());
        }
        let Some(enrolment) = Enrolment::from_leaf(leaf).transpose()? else { return Ok(()) };
        let Enrolment { site, identity_key, witness_key } = enrolment;
        let present = |known: &&mut WitnessKey| known.site == site && known.ended.is_none();
        let known = self.witnesses.iter_mut().find(present);
        if known.as_ref().is_none_or(|known| known.key != witness_key) {
            if let Some(known) = known {
                known.ended = Some(leaf.seq);
            }
            self.witnesses.push(WitnessKey { site: site.clone(), key: witness_key, ended: None });
        }
        self.identity.insert(site, identity_key);
        Ok(())
    }

    fn revoke(&mut self, site: &str, entry: u64) {
        self.identity.remove(site);
        let present = |known: &&mut WitnessKey| known.site == site && known.ended.is_none();
        self.witnesses.iter_mut().filter(present).for_each(|known| known.ended = Some(entry));
    }

    /// The key that now signs the statements of `site`.
    #[must_use]
    pub fn identity(&self, site: &str) -> Option<&PublicKey> {
        self.identity.get(site)
    }

    /// Number of witnesses: sites with a witness key that was neither replaced nor revoked.
    #[must_use]
    pub fn witness_count(&self) -> usize {
        self.witnesses.iter().filter(|known| known.ended.is_none()).count()
    }

    /// Checks a signature line as the cosignature of an enrolled witness; `None` if no enrolled key has its name and id, or
    /// the key had been replaced or revoked by an entry of the checkpoint: it may be in other hands since.
    #[must_use]
    pub fn check_cosignature(
        &self,
        line: &SignatureLine,
        checkpoint: &Checkpoint,
    ) -> Option<Result<Cosignature, CosignatureError>> {
        let vouches = |known: &&WitnessKey| {
            known.key.claims(line) && known.ended.is_none_or(|entry| checkpoint.size <= entry)
        };
        let known = self.witnesses.iter().find(vouches)?;
        Some(Cosignature::verify(line, checkpoint, &known.key))
    }
}
