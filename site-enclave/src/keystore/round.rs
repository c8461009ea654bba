//! One round's state.
//!
//! ```text
//! rounds/<round>/await-agreement    secret: mask seeds, until a set is agreed to
//!                body               the masked update sent
//!                masked             the signed context it was made under and the manifest sent
//!                await-unmasking    secret: what the shares are made from, until they are given
//!                agreed             the agreement signature sent
//!                unmasked           the unmasking response sent
//!                tagged             the tag sent
//! ```
//! All of it is erased when the round is closed.

use std::fs;
use std::path::PathBuf;

use konclave_crypto::messages::{AgreementSignature, Manifest, SumTag, UnmaskingResponse};
use konclave_crypto::site::{AwaitAgreement, AwaitUnmasking};
use konclave_crypto::{Digest, RoundNumber, SignedContext};

use super::error::StateError;
use super::job::JobStore;
use super::journal::Decision;
use super::once::Slot;
use super::record::RecordKind;

const AWAIT_AGREEMENT: &str = "await-agreement";
const AWAIT_UNMASKING: &str = "await-unmasking";
const BODY: &str = "body";

/// A masked update that was sent or is to be sent.
#[derive(Debug)]
pub struct MaskedRound {
    /// The context it was made under.
    pub context: SignedContext,
    /// Its manifest.
    pub manifest: Manifest,
    /// The file of the masked vector.
    pub body: PathBuf,
}

/// An agreement that was sent or is to be sent.
#[derive(Debug)]
pub struct AgreedRound {
    /// The signature.
    pub signature: AgreementSignature,
}

fn masked(round: RoundNumber) -> Slot {
    Slot { kind: RecordKind::Masked, decision: Decision::Masked, round: round.get(), name: "masked" }
}

fn agreed(round: RoundNumber) -> Slot {
    Slot { kind: RecordKind::Agreed, decision: Decision::Agreed, round: round.get(), name: "agreed" }
}

fn unmasked(round: RoundNumber) -> Slot {
    Slot { kind: RecordKind::Unmasked, decision: Decision::Unmasked, round: round.get(), name: "unmasked" }
}

fn tagged(round: RoundNumber) -> Slot {
    Slot { kind: RecordKind::Tagged, decision: Decision::Tagged, round: round.get(), name: "tagged" }
}

impl JobStore {
    /// The masked update of a round.
    ///
    /// # Errors
    /// [`StateError`]; [`StateError::RolledBack`] if one was made but is gone: none may be made again.
    pub fn masked(&mut self, round: RoundNumber) -> Result<Option<MaskedRound>, StateError> {
        let Some([context, manifest]) = self.files.load(masked(round))? else { return Ok(None) };
        // A power cut may have come between the two in `store_masked`.
        self.pass(round)?;
        Ok(Some(MaskedRound {
            context: self.message("masked", &context)?,
            manifest: self.message("masked", &manifest)?,
            body: self.files.path(round.get(), BODY),
        }))
    }

    /// Stores a masked update with its secrets; only then it may be sent. The chains move on: what the round still needs
    /// of their keys is in `secret`.
    ///
    /// # Errors
    /// [`StateError`].
    pub fn store_masked(
        &mut self,
        round: RoundNumber,
        secret: &AwaitAgreement,
        context: &SignedContext,
        manifest: &Manifest,
        body: &[u8],
    ) -> Result<(), StateError> {
        let folder = self.files.folder_of(round.get());
        self.files.disk.create_folder(&folder)?;
        self.files.store_secret(
            RecordKind::Masked,
            round.get(),
            AWAIT_AGREEMENT,
            &secret.to_secret_bytes(),
        )?;
        self.files.disk.write(&folder.join(BODY), body)?;
        let context = self.bytes("masked", context)?;
        let manifest = self.bytes("masked", manifest)?;
        self.files.store(masked(round), [&context, &manifest])?;
        self.pass(round)
    }

    /// Moves the chains past a round, so that its keys are gone.
    fn pass(&mut self, round: RoundNumber) -> Result<(), StateError> {
        if let (Some(mut chains), Some(next)) = (self.chains()?, round.next())
            && chains.round() < next
        {
            chains.advance_to(next).map_err(|error| self.unreadable(0, "chains", &error))?;
            self.store_chains(&chains)?;
        }
        Ok(())
    }

    /// The secrets of a masked update whose agreed set this site has not signed.
    ///
    /// # Errors
    /// [`StateError::OutOfOrder`] if there are none.
    pub fn await_agreement(&self, round: RoundNumber) -> Result<AwaitAgreement, StateError> {
        let secret = self.files.secret(RecordKind::Masked, round.get(), AWAIT_AGREEMENT)?;
        let secret = secret.ok_or_else(|| self.out_of_order(round.get(), "masked update"))?;
        AwaitAgreement::from_secret_bytes(&secret)
            .map_err(|error| self.unreadable(round.get(), AWAIT_AGREEMENT, &error))
    }

    /// The agreement of a round.
    ///
    /// # Errors
    /// [`StateError`].
    pub fn agreed(&mut self, round: RoundNumber) -> Result<Option<AgreedRound>, StateError> {
        let Some([signature]) = self.files.load(agreed(round))? else { return Ok(None) };
        self.files.erase(round.get(), &[AWAIT_AGREEMENT])?;
        Ok(Some(AgreedRound { signature: self.message("agreed", &signature)? }))
    }

    /// Stores an agreement; only then its signature may be sent. A second one with another set is refused.
    ///
    /// # Errors
    /// [`StateError`]; [`super::JournalError::AlreadyDecided`] inside it for another signature than before.
    pub fn store_agreed(
        &mut self,
        round: RoundNumber,
        secret: &AwaitUnmasking,
        signature: &AgreementSignature,
    ) -> Result<(), StateError> {
        let message = self.bytes("agreed", signature)?;
        // Asked before the secret is written: a refused second agreement must not touch the first one's files.
        if let Some(before) = self.files.journal.decided(Decision::Agreed, round.get()) {
            let now = Digest::of(&message);
            if before != now {
                self.files.journal.decide(Decision::Agreed, round.get(), now)?;
            }
        }
        self.files.store_secret(
            RecordKind::Agreed,
            round.get(),
            AWAIT_UNMASKING,
            &secret.to_secret_bytes(),
        )?;
        self.files.store(agreed(round), [&message])?;
        self.files.erase(round.get(), &[AWAIT_AGREEMENT])
    }

    /// What this site's shares are made from.
    ///
    /// # Errors
    /// [`StateError::OutOfOrder`] if there is nothing.
    pub fn await_unmasking(&self, round: RoundNumber) -> Result<AwaitUnmasking, StateError> {
        let secret = self.files.secret(RecordKind::Agreed, round.get(), AWAIT_UNMASKING)?;
        let secret = secret.ok_or_else(|| self.out_of_order(round.get(), "signed agreement"))?;
        AwaitUnmasking::from_secret_bytes(&secret)
            .map_err(|error| self.unreadable(round.get(), AWAIT_UNMASKING, &error))
    }

    /// The unmasking response of a round.
    ///
    /// # Errors
    /// [`StateError`].
    pub fn unmasked(&mut self, round: RoundNumber) -> Result<Option<UnmaskingResponse>, StateError> {
        let Some([response]) = self.files.load(unmasked(round))? else { return Ok(None) };
        self.files.erase(round.get(), &[AWAIT_UNMASKING])?;
        self.message("unmasked", &response).map(Some)
    }

    /// The round in which shares were given for an update of a model, if they were.
    #[must_use]
    pub fn answered_for(&self, model: Digest) -> Option<u32> {
        self.files
            .journal
            .rounds_of(Decision::Spent)
            .find(|(_, spent)| *spent == model)
            .map(|(round, _)| round)
    }

    /// In how many rounds shares were given.
    #[must_use]
    pub fn rounds_answered(&self) -> usize {
        self.files.journal.rounds_of(Decision::Spent).count()
    }

    /// Stores an unmasking response for an update of `model` and erases what it was made from; only then it may be sent.
    /// The model is entered in the journal first: from then on none is masked for it again.
    ///
    /// # Errors
    /// [`StateError`]; [`StateError::SpentModel`] if another round's shares were given for the model.
    pub fn store_unmasked(
        &mut self,
        round: RoundNumber,
        model: Digest,
        response: &UnmaskingResponse,
    ) -> Result<(), StateError> {
        if let Some(earlier) = self.answered_for(model).filter(|earlier| *earlier != round.get()) {
            let job = self.files.job.clone();
            return Err(StateError::SpentModel { job, round: round.get(), model, earlier });
        }
        self.files.journal.decide(Decision::Spent, round.get(), model)?;
        let message = self.bytes("unmasked", response)?;
        self.files.store(unmasked(round), [&message])?;
        self.files.erase(round.get(), &[AWAIT_UNMASKING])
    }

    /// The tag of a round.
    ///
    /// # Errors
    /// [`StateError`].
    pub fn tagged(&mut self, round: RoundNumber) -> Result<Option<SumTag>, StateError> {
        let Some([tag]) = self.files.load(tagged(round))? else { return Ok(None) };
        self.message("tagged", &tag).map(Some)
    }

    /// Stores a tag; only then it may be sent. Another one, for another opening of the round, is refused.
    ///
    /// # Errors
    /// [`StateError`].
    pub fn store_tagged(&mut self, round: RoundNumber, tag: &SumTag) -> Result<(), StateError> {
        let message = self.bytes("tagged", tag)?;
        self.files.store(tagged(round), [&message])
    }

    /// Whether this site checked that a model is the one before it, moved by the sum of what was uploaded.
    #[must_use]
    pub fn has_verified(&self, round: RoundNumber, model: Digest) -> bool {
        self.files.journal.decided(Decision::Verified, round.get()) == Some(model)
    }

    /// What this site found of the opened sum of a round, if it has checked it.
    #[must_use]
    pub fn verdict(&self, round: RoundNumber) -> Option<bool> {
        let decided = |decision| self.files.journal.decided(decision, round.get()).is_some();
        if decided(Decision::Rejected) { Some(false) } else { decided(Decision::Verified).then_some(true) }
    }

    /// Notes what this site found of the opened sum of a round, for good. `model` is the one after it.
    ///
    /// # Errors
    /// [`StateError`].
    pub fn store_verdict(
        &mut self,
        round: RoundNumber,
        accepted: bool,
        model: Digest,
    ) -> Result<(), StateError> {
        let decision = if accepted { Decision::Verified } else { Decision::Rejected };
        Ok(self.files.journal.decide(decision, round.get(), model)?)
    }

    /// Whether a round is over for this site.
    #[must_use]
    pub fn is_closed(&self, round: RoundNumber) -> bool {
        self.files.journal.decided(Decision::Closed, round.get()).is_some()
    }

    /// Closes a round for good: erases its secrets and messages, and moves the chains past it, so that its keys are
    /// gone.
    ///
    /// # Errors
    /// [`StateError`]; closing again continues where it failed.
    pub fn close_round(&mut self, round: RoundNumber) -> Result<(), StateError> {
        let label = format!("{} round {round}", self.files.job);
        self.files.journal.decide(Decision::Closed, round.get(), Digest::of(label.as_bytes()))?;
        self.pass(round)?;
        let folder = self.files.folder_of(round.get());
        self.files.erase(
            round.get(),
            &[AWAIT_AGREEMENT, AWAIT_UNMASKING, "masked", "agreed", "unmasked", "tagged", BODY],
        )?;
        match fs::remove_dir(&folder) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                tracing::debug!("{} stays: {error}", folder.display());
                Ok(())
            }
            Ok(()) | Err(_) => Ok(()),
        }
    }
}
