//! Comparing this site's head with those that other witnesses vouch for.
//!
//! A head counts as evidence because the *log* signed it; the other witness's cosignature only says that the head was really
//! shown to somebody. So a fork is an alarm also where the cosignature under it is garbage, and a note that the log did not
//! sign is nothing, whoever shows it.
//!
//! A key that was declared stolen is not the log's word any more. What it alone signed is a finding of its own, and no
//! evidence against the operator: beyond the trusted head never, and below it only if a certified witness cosigned it, for
//! a thief can sign a head of any size, and has no witness's key.

use konclave_crypto::MembershipCertificate;
use konclave_ledger::cosignature::Cosignature;
use konclave_ledger::note::{SignedNote, VerifierKey};
use konclave_ledger::proof::ConsistencyProof;
use konclave_ledger::{Checkpoint, Hash};
use konclave_openapi::witnesses::WitnessView;

use super::{Advice, LedgerView, OtherWitness, SignedHead, Source, Witness, WitnessFault};
use crate::clock;

/// How much doubt is enough for the alarm. An honest gateway never fails to show that two heads belong to one history; but
/// a broken answer or two should not stop a site.
const ENOUGH_DOUBT: u32 = 21;
/// A proof that is wrong or refused: three in a row are enough.
const WRONG: u32 = 7;
/// No answer, from a gateway that has just answered to something else: it takes many, for it may be busy.
const NO_ANSWER: u32 = 1;

/// The most sources whose notes are remembered.
const MOST_SOURCES: usize = 4096;

/// What two heads say about each other.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Comparison {
    /// The same head, or one of them is empty.
    Agree,
    /// Two roots of one size: two histories.
    Fork,
    /// Of different sizes: only a proof shows whether the larger extends the smaller.
    Unproven {
        /// The smaller head.
        old: Checkpoint,
        /// The larger head.
        new: Checkpoint,
    },
}

/// Compares two heads of one log by themselves.
#[must_use]
pub fn compare_heads(one: &Checkpoint, other: &Checkpoint) -> Comparison {
    let (old, new) = if one.size <= other.size { (one, other) } else { (other, one) };
    if old.size == new.size {
        return if old.root == new.root { Comparison::Agree } else { Comparison::Fork };
    }
    if old.size == 0 {
        let proof = ConsistencyProof { old_size: 0, new_size: new.size, hashes: Vec::new() };
        let empty = proof.verify(&old.root, &new.root).is_ok();
        return if empty { Comparison::Agree } else { Comparison::Fork };
    }
    Comparison::Unproven { old: old.clone(), new: new.clone() }
}

/// How a note compared with this site's head.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Compared {
    /// It is on this site's history.
    Agrees,
    /// That was not shown this time.
    NotShown,
    /// It is no head of this log.
    Nothing,
}

impl Witness {
    /// Asks the gateway what the other witnesses cosigned last, compares it with this site's head, and remembers it for the
    /// owner.
    ///
    /// # Errors
    /// [`WitnessFault`]; [`WitnessFault::Alarm`] if a head contradicts this site's, or the gateway could not show several
    /// times that it does not.
    pub async fn gossip<V: LedgerView>(&mut self, ledger: &V) -> Result<(), WitnessFault> {
        let view = ledger.witnesses().await?;
        let own = self.signer.verifier_key().to_string();
        self.others.begin(clock::now_rfc3339(), view.quorum);
        for witness in view.witnesses.iter().filter(|witness| witness.witness_vkey != own) {
            let source = Source::gateway(witness.site.as_str());
            let key = certified_key(&witness.certificate, witness)
                .filter(|_| self.root.verify(&witness.certificate, clock::now()).is_ok());
            match &key {
                Some(key) => drop(self.certified.insert(witness.site.to_string(), key.clone())),
                None => tracing::warn!(
                    site = %witness.site,
                    "the gateway shows a witness that the consortium root does not certify now"
                ),
            }
            self.others.expect(&witness.site, key.is_some());
            let Some(cosigned) = &witness.cosigned else { continue };
            self.compare(ledger, source, cosigned.note.as_bytes(), key.as_ref()).await?;
        }
        self.others.store(&self.disk, &self.folder.other_witnesses())
    }

    /// Compares one note with this site's head.
    pub(super) async fn compare<V: LedgerView>(
        &mut self,
        ledger: &V,
        source: Source,
        note: &[u8],
        key: Option<&VerifierKey>,
    ) -> Result<Compared, WitnessFault> {
        self.recall_keys(ledger).await?;
        let SignedHead { head, stolen } = match self.keys.read_head(note) {
            Ok(read) => read,
            Err(error) => {
                tracing::warn!(%source, "what is shown as a witness's note is no head of this ledger: {error}");
                return Ok(Compared::Nothing);
            }
        };
        let cosigned = cosigned_at(note, &head, key);
        let stolen = stolen.filter(|stolen| head.size > stolen.trusted_size || cosigned.is_none());
        let shown = OtherWitness::of(&source, &head, cosigned);
        if stolen.is_none() {
            self.others.saw(&source, shown.clone());
        }
        if self.agreed.get(&source) == Some(&Hash::of(note)) {
            return Ok(Compared::Agrees);
        }
        let (doubt, why) = match compare_heads(self.head(), &head) {
            Comparison::Agree => {
                self.agree(source, note, shown);
                return Ok(Compared::Agrees);
            }
            Comparison::Fork if stolen.is_some() => (WRONG, "two ledgers of one size".to_owned()),
            Comparison::Fork => {
                let what = format!(
                    "split view: the ledger's key has signed two different ledgers of {} entries, one shown to this site \
                     and one by {source}",
                    head.size
                );
                return Err(self.alarm(what, note, Advice::Contradiction));
            }
            Comparison::Unproven { old, new } => match ledger.consistency(old.size, new.size).await {
                Ok(hashes) => {
                    let proof = ConsistencyProof { old_size: old.size, new_size: new.size, hashes };
                    match proof.verify(&old.root, &new.root) {
                        Ok(()) => {
                            self.agree(source, note, shown);
                            return Ok(Compared::Agrees);
                        }
                        Err(error) => (WRONG, error.to_string()),
                    }
                }
                Err(error) if error.is_temporary() || error.is_of_this_site() => {
                    (NO_ANSWER, error.to_string())
                }
                Err(error) => (WRONG, error.to_string()),
            },
        };
        if let Some(stolen) = stolen {
            if doubt == WRONG {
                let what = format!(
                    "a head of {} entries, shown by {source}, is {stolen}; it is of another history ({why}), which \
                     proves nothing against the operator: whoever stole the key can have signed it",
                    head.size
                );
                tracing::error!("{what}");
                self.others.signed_by_a_thief(what);
            }
            return Ok(Compared::Nothing);
        }
        let doubt = self.doubts.get(&source).copied().unwrap_or_default() + doubt;
        tracing::warn!(%source, "it was not shown that another witness's head is on this ledger: {why}");
        if doubt < ENOUGH_DOUBT {
            // Names in the exchange folder are anybody's: they push out each other, and no certified witness.
            if self.doubts.len() >= MOST_SOURCES && !self.doubts.contains_key(&source) {
                self.doubts.retain(|source, _| self.certified.contains_key(source.site()));
            }
            self.doubts.insert(source, doubt);
            return Ok(Compared::NotShown);
        }
        let (own, other) = (self.head().size, head.size);
        let what = format!(
            "split view: the gateway cannot show that the ledger of {} entries extends that of {} entries, one shown to \
             this site and one by {source} ({why})",
            own.max(other),
            own.min(other)
        );
        Err(self.alarm(what, note, Advice::Contradiction))
    }

    fn agree(&mut self, source: Source, note: &[u8], shown: OtherWitness) {
        self.others.saw(&source, shown);
        self.doubts.remove(&source);
        // Names in the exchange folder are anybody's; what is forgotten here is only compared again.
        if self.agreed.len() >= MOST_SOURCES {
            self.agreed.clear();
        }
        self.agreed.insert(source, Hash::of(note));
    }
}

/// The key that the consortium root certified for this witness, if the gateway names the same.
fn certified_key(certificate: &MembershipCertificate, shown: &WitnessView) -> Option<VerifierKey> {
    let member = &certificate.membership;
    let same = member.site == shown.site && member.witness_vkey == shown.witness_vkey;
    same.then(|| member.witness_vkey.parse().ok()).flatten()
}

/// When the witness cosigned the head, if a line under the note says so under its key.
fn cosigned_at(note: &[u8], head: &Checkpoint, key: Option<&VerifierKey>) -> Option<u64> {
    let (key, note) = (key?, SignedNote::parse(note).ok()?);
    let lines = note.signatures.iter().filter(|line| key.claims(line));
    lines
        .filter_map(|line| Cosignature::verify(line, head, key).ok())
        .map(|cosigned| cosigned.unix_seconds())
        .next()
}
