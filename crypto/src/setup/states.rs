//! The steps of key set-up as one type per waiting state.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use rand_core::CryptoRng;
use serde::{Deserialize, Serialize};
use zeroize::Zeroizing;

use super::chains::PairChain;
use super::{KeyAdvertisement, PairwiseChains, Roster};
use crate::digest::Digest;
use crate::identity::{IdentityKey, Signature};
use crate::ids::{JobId, RoundNumber, SiteId};
use crate::kem::{self, KemSecretKey};
use crate::key_schedule::{PairFacts, pair_secrets};
use crate::membership::MembershipCertificate;
use crate::state_codec::{StateError, StateKind, StateReader, StateWriter};
use crate::text::base64_bytes;
use crate::transcript::Transcript;

/// A ciphertext that sets up the secrets of one pair of sites.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
#[serde(deny_unknown_fields)]
pub struct KemCiphertext {
    /// The job.
    pub job: JobId,
    /// The encapsulating site.
    pub from: SiteId,
    /// The decapsulating site, later in the roster.
    pub to: SiteId,
    /// Digest of the roster.
    pub roster: Digest,
    /// X25519 ephemeral key (32 bytes), then ML-KEM-768 ciphertext (1088 bytes).
    #[serde(with = "base64_bytes")]
    #[cfg_attr(feature = "schema", schema(value_type = String, format = Byte))]
    pub ciphertext: Vec<u8>,
    /// Signature of `from`.
    pub signature: Signature,
}

impl KemCiphertext {
    fn transcript(&self) -> Transcript {
        Transcript::new("kem-ciphertext")
            .text(self.job.as_str())
            .text(self.from.as_str())
            .text(self.to.as_str())
            .digest(&self.roster)
            .bytes(&self.ciphertext)
    }

    /// Checks everything that needs no secret: job, roster, order of the ends, form and the sender's signature.
    ///
    /// # Errors
    /// [`SetupError`] names the sender and the failed check.
    pub fn verify(&self, roster: &Roster) -> Result<(), SetupError> {
        let from = || self.from.clone();
        let ends = roster.index_of(&self.from).zip(roster.index_of(&self.to));
        if self.job != *roster.job() || self.roster != roster.digest() || ends.is_none_or(|(i, j)| i >= j) {
            return Err(SetupError::Misaddressed { from: from(), to: self.to.clone() });
        }
        let key = roster.identity_key(&self.from);
        if !key.is_some_and(|key| key.verifies_transcript(&self.transcript(), &self.signature)) {
            return Err(SetupError::Signature { from: from() });
        }
        kem::check_ciphertext(&self.ciphertext).map_err(|_| SetupError::Malformed { from: from() })
    }
}

/// Why set-up could not go on. The stored state of the step before still holds.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SetupError {
    /// The roster is another job's.
    #[error("the roster is for job `{roster}`, these keys are for job `{job}`")]
    Job {
        /// Job of the keys.
        job: JobId,
        /// Job of the roster.
        roster: JobId,
    },
    /// The roster does not hold this site's own keys: the gateway left the site out or replaced its keys.
    #[error(
        "the roster does not hold the keys that `{site}` advertised: the gateway replaced or dropped them"
    )]
    OwnKeys {
        /// This site.
        site: SiteId,
    },
    /// The roster changed between two steps.
    #[error("this is not the roster that keys were encapsulated for")]
    Roster,
    /// A site's KEM key cannot be used.
    #[error("the KEM key of `{site}` is malformed")]
    KemKey {
        /// The site.
        site: SiteId,
    },
    /// A ciphertext is for another job, roster or pair.
    #[error("the ciphertext from `{from}` to `{to}` does not belong here")]
    Misaddressed {
        /// Named sender.
        from: SiteId,
        /// Named receiver.
        to: SiteId,
    },
    /// A ciphertext is not signed by its sender: it was replaced on the way.
    #[error("the ciphertext from `{from}` is not signed by that site: it was replaced on the way")]
    Signature {
        /// Named sender.
        from: SiteId,
    },
    /// A ciphertext has a wrong length or a low-order point.
    #[error("the ciphertext from `{from}` is malformed")]
    Malformed {
        /// Named sender.
        from: SiteId,
    },
    /// Two ciphertexts come from one site.
    #[error("there are two ciphertexts from `{from}`")]
    Repeated {
        /// The sender.
        from: SiteId,
    },
    /// An earlier site's ciphertext is missing.
    #[error("the ciphertext from `{from}` is missing")]
    Missing {
        /// The sender.
        from: SiteId,
    },
}

/// Draws a KEM key for a job and advertises it.
///
/// Store the state's bytes before sending the advertisement.
#[must_use]
pub fn advertise<R: CryptoRng + ?Sized>(
    job: &JobId,
    key: &IdentityKey,
    certificate: &MembershipCertificate,
    rng: &mut R,
) -> (AwaitRoster, KeyAdvertisement) {
    let secret = KemSecretKey::generate(rng);
    let site = certificate.membership.site.clone();
    let advertisement = KeyAdvertisement::new(job.clone(), certificate.clone(), secret.public()).sign(key);
    (AwaitRoster { job: job.clone(), site, secret }, advertisement)
}

/// Advertised, waiting for the roster. Erased on drop.
///
/// ```compile_fail,E0382
/// # use konclave_crypto::{IdentityKey, setup::{AwaitRoster, Roster}};
/// # fn twice(state: AwaitRoster, a: &Roster, b: &Roster, key: &IdentityKey, rng: &mut impl rand_core::CryptoRng) {
/// let first = state.encapsulate(a, key, rng);
/// let second = state.encapsulate(b, key, rng); // the same key pair cannot serve two rosters
/// # }
/// ```
pub struct AwaitRoster {
    job: JobId,
    site: SiteId,
    secret: KemSecretKey,
}

impl AwaitRoster {
    /// Encapsulates to every later site of the roster, after checking that the roster holds this site's own keys.
    ///
    /// # Errors
    /// [`SetupError::Job`], [`SetupError::OwnKeys`] or [`SetupError::KemKey`].
    pub fn encapsulate<R: CryptoRng + ?Sized>(
        self,
        roster: &Roster,
        key: &IdentityKey,
        rng: &mut R,
    ) -> Result<(AwaitCiphertexts, Vec<KemCiphertext>), SetupError> {
        let Self { job, site, secret } = self;
        if job != *roster.job() {
            return Err(SetupError::Job { job, roster: roster.job().clone() });
        }
        let own = roster.kem_key(&site) == Some(&secret.public())
            && roster.identity_key(&site) == Some(&key.public());
        if !own {
            return Err(SetupError::OwnKeys { site });
        }
        let mut later = BTreeMap::new();
        let mut ciphertexts = Vec::new();
        for peer in roster.sites().filter(|peer| **peer > site) {
            let refused = || SetupError::KemKey { site: peer.clone() };
            let peer_key = roster.kem_key(peer).ok_or_else(refused)?;
            let (ciphertext, shared) = kem::encapsulate(peer_key, rng).map_err(|_| refused())?;
            let secrets = pair_secrets(&shared, &facts(roster, &site, peer, &ciphertext)?);
            later.insert(peer.clone(), PairChain::new(secrets, true));
            let mut message = KemCiphertext {
                job: job.clone(),
                from: site.clone(),
                to: peer.clone(),
                roster: roster.digest(),
                ciphertext,
                signature: Signature::UNSIGNED,
            };
            message.signature = key.sign_transcript(&message.transcript());
            ciphertexts.push(message);
        }
        Ok((AwaitCiphertexts { job, site, secret, roster: roster.digest(), later }, ciphertexts))
    }

    /// The state as bytes for durable, secret storage.
    #[must_use]
    pub fn to_secret_bytes(&self) -> Zeroizing<Vec<u8>> {
        let mut writer = StateWriter::new(StateKind::AwaitRoster);
        writer.text(self.job.as_str());
        writer.text(self.site.as_str());
        writer.fixed(self.secret.expose());
        writer.finish()
    }

    /// Reads stored bytes back.
    ///
    /// # Errors
    /// [`StateError`] if the bytes are another state's or damaged.
    pub fn from_secret_bytes(bytes: &[u8]) -> Result<Self, StateError> {
        let mut reader = StateReader::new(bytes, StateKind::AwaitRoster)?;
        let (job, site) = (reader.job()?, reader.site()?);
        let secret = KemSecretKey::from_bytes(reader.fixed()?);
        reader.finish()?;
        Ok(Self { job, site, secret })
    }
}

/// Encapsulated to every later site, waiting for the ciphertexts of every earlier one. Erased on drop.
pub struct AwaitCiphertexts {
    job: JobId,
    site: SiteId,
    secret: KemSecretKey,
    roster: Digest,
    later: BTreeMap<SiteId, PairChain>,
}

impl AwaitCiphertexts {
    /// Decapsulates exactly one ciphertext from every earlier site and erases the decapsulation key.
    ///
    /// # Errors
    /// [`SetupError`] names the sender whose message is missing, repeated, altered or malformed.
    pub fn finish(
        self,
        roster: &Roster,
        ciphertexts: Vec<KemCiphertext>,
    ) -> Result<PairwiseChains, SetupError> {
        let Self { job, site, secret, roster: expected, later } = self;
        if roster.digest() != expected {
            return Err(SetupError::Roster);
        }
        let mut seen = BTreeSet::new();
        let mut peers = later;
        for message in ciphertexts {
            message.verify(roster)?;
            let KemCiphertext { from, to, ciphertext, .. } = message;
            if to != site {
                return Err(SetupError::Misaddressed { from, to });
            }
            if !seen.insert(from.clone()) {
                return Err(SetupError::Repeated { from });
            }
            let shared =
                secret.decapsulate(&ciphertext).map_err(|_| SetupError::Malformed { from: from.clone() })?;
            let secrets = pair_secrets(&shared, &facts(roster, &from, &site, &ciphertext)?);
            peers.insert(from, PairChain::new(secrets, false));
        }
        match roster.sites().find(|peer| **peer < site && !seen.contains(*peer)) {
            Some(missing) => Err(SetupError::Missing { from: missing.clone() }),
            None => Ok(PairwiseChains { job, site, roster: expected, round: RoundNumber::FIRST, peers }),
        }
    }

    /// The state as bytes for durable, secret storage.
    #[must_use]
    pub fn to_secret_bytes(&self) -> Zeroizing<Vec<u8>> {
        let mut writer = StateWriter::new(StateKind::AwaitCiphertexts);
        writer.text(self.job.as_str());
        writer.text(self.site.as_str());
        writer.fixed(self.secret.expose());
        writer.fixed(self.roster.as_bytes());
        writer.list(self.later.iter(), |writer, (peer, pair)| {
            writer.text(peer.as_str());
            pair.write(writer);
        });
        writer.finish()
    }

    /// Reads stored bytes back.
    ///
    /// # Errors
    /// [`StateError`] if the bytes are another state's or damaged.
    pub fn from_secret_bytes(bytes: &[u8]) -> Result<Self, StateError> {
        let mut reader = StateReader::new(bytes, StateKind::AwaitCiphertexts)?;
        let state = Self {
            job: reader.job()?,
            site: reader.site()?,
            secret: KemSecretKey::from_bytes(reader.fixed()?),
            roster: reader.digest()?,
            later: reader.list(|reader| Ok((reader.site()?, PairChain::read(reader)?)))?,
        };
        reader.finish()?;
        Ok(state)
    }
}

fn facts<'a>(
    roster: &'a Roster,
    lower: &'a SiteId,
    upper: &'a SiteId,
    ciphertext: &[u8],
) -> Result<PairFacts<'a>, SetupError> {
    let key = roster.kem_key(upper).ok_or_else(|| SetupError::KemKey { site: upper.clone() })?;
    Ok(PairFacts {
        roster: roster.digest(),
        job: roster.job(),
        lower,
        upper,
        upper_key: Digest::of(key.as_bytes()),
        ciphertext: Digest::of(ciphertext),
    })
}

impl fmt::Debug for AwaitRoster {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("AwaitRoster").field("site", &self.site).finish_non_exhaustive()
    }
}

impl fmt::Debug for AwaitCiphertexts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("AwaitCiphertexts").field("site", &self.site).finish_non_exhaustive()
    }
}
