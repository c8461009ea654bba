//! What a site remembers between the steps of a round.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use zeroize::Zeroizing;

use crate::dealing::ShareBundle;
use crate::digest::Digest;
use crate::identity::Signature;
use crate::ids::{RoundNumber, SiteId};
use crate::messages::{AgreementSignature, Manifest, ManifestHeader, SealedShares, SignedManifestHeader};
use crate::secret::Secret;
use crate::seed::Seed;
use crate::state_codec::{StateError, StateKind, StateReader, StateWriter};

/// Uploaded, waiting for the proposal of an agreed set. Not `Clone`, erased on drop.
///
/// The self-mask seed is not in here: it was shared and forgotten.
///
/// ```compile_fail,E0382
/// # use konclave_crypto::{IdentityKey, VerifiedContext, messages::AgreementProposal, setup::Roster, site::AwaitAgreement};
/// # fn split_view(state: AwaitAgreement, roster: &Roster, context: &VerifiedContext, one: &AgreementProposal,
/// #     other: &AgreementProposal, key: &IdentityKey) {
/// let first = state.agree(roster, context, one, key);
/// let second = state.agree(roster, context, other, key); // a site signs one set
/// # }
/// ```
pub struct AwaitAgreement(pub(super) Box<Uploaded>);

pub(super) struct Uploaded {
    pub(super) round: RoundNumber,
    pub(super) manifest: Manifest,
    pub(super) pair_seeds: BTreeMap<SiteId, Seed>,
    pub(super) opening_keys: BTreeMap<SiteId, Secret<32>>,
    pub(super) own_bundle: ShareBundle,
}

impl Uploaded {
    pub(super) fn header(&self) -> &ManifestHeader {
        &self.manifest.signed.header
    }
}

impl AwaitAgreement {
    /// The manifest of this round, to be sent again unchanged after a restart.
    #[must_use]
    pub fn manifest(&self) -> &Manifest {
        &self.0.manifest
    }

    /// Digest of the round context.
    #[must_use]
    pub fn context(&self) -> Digest {
        self.0.header().context
    }

    /// The round.
    #[must_use]
    pub fn round(&self) -> RoundNumber {
        self.0.round
    }

    /// The state as bytes for durable, secret storage.
    #[must_use]
    pub fn to_secret_bytes(&self) -> Zeroizing<Vec<u8>> {
        let mut writer = StateWriter::new(StateKind::AwaitAgreement);
        writer.number(self.0.round.get().into());
        write_manifest(&mut writer, &self.0.manifest);
        write_seeds(&mut writer, &self.0.pair_seeds);
        write_keys(&mut writer, &self.0.opening_keys);
        self.0.own_bundle.write(&mut writer);
        writer.finish()
    }

    /// Reads stored bytes back.
    ///
    /// # Errors
    /// [`StateError`] if the bytes are another state's or damaged.
    pub fn from_secret_bytes(bytes: &[u8]) -> Result<Self, StateError> {
        let mut reader = StateReader::new(bytes, StateKind::AwaitAgreement)?;
        let state = Uploaded {
            round: reader.round()?,
            manifest: read_manifest(&mut reader)?,
            pair_seeds: read_seeds(&mut reader)?,
            opening_keys: read_keys(&mut reader)?,
            own_bundle: ShareBundle::read(&mut reader)?,
        };
        reader.finish()?;
        Ok(Self(Box::new(state)))
    }
}

/// Signed one agreed set, waiting for the request to open it. Not `Clone`, erased on drop.
///
/// Holds only what that set may need: the seeds shared with agreed sites are erased already.
///
/// ```compile_fail,E0382
/// # use konclave_crypto::{IdentityKey, VerifiedContext, messages::UnmaskingRequest, setup::Roster, site::AwaitUnmasking};
/// # fn twice(state: AwaitUnmasking, roster: &Roster, context: &VerifiedContext, one: &UnmaskingRequest,
/// #     other: &UnmaskingRequest, key: &IdentityKey) {
/// let first = state.unmask(roster, context, one, key);
/// let second = state.unmask(roster, context, other, key);
/// # }
/// ```
///
/// Nor can a state be opened that has not agreed:
///
/// ```compile_fail,E0599
/// # use konclave_crypto::{IdentityKey, VerifiedContext, messages::UnmaskingRequest, setup::Roster, site::AwaitAgreement};
/// # fn early(state: AwaitAgreement, roster: &Roster, context: &VerifiedContext, request: &UnmaskingRequest,
/// #     key: &IdentityKey) {
/// let response = state.unmask(roster, context, request, key);
/// # }
/// ```
pub struct AwaitUnmasking(pub(super) Box<Agreed>);

pub(super) struct Agreed {
    pub(super) round: RoundNumber,
    pub(super) agreement: AgreementSignature,
    pub(super) uploaded: BTreeSet<SiteId>,
    pub(super) agreed: Vec<SiteId>,
    /// Share root of each agreed site, as it stood in the proposal that was signed.
    pub(super) share_roots: BTreeMap<SiteId, Digest>,
    /// Own seeds with neighbours outside the set; empty if this site is outside itself.
    pub(super) open_pair_seeds: BTreeMap<SiteId, Seed>,
    /// Keys for the shares sealed by the other agreed sites.
    pub(super) opening_keys: BTreeMap<SiteId, Secret<32>>,
    /// The site's shares of its own seeds, if it is in the set.
    pub(super) own_bundle: Option<ShareBundle>,
}

impl AwaitUnmasking {
    /// The signature of this round, to be sent again unchanged after a restart.
    #[must_use]
    pub fn agreement(&self) -> &AgreementSignature {
        &self.0.agreement
    }

    /// The set that was signed, ascending.
    #[must_use]
    pub fn agreed(&self) -> &[SiteId] {
        &self.0.agreed
    }

    /// Digest of the round context.
    #[must_use]
    pub fn context(&self) -> Digest {
        self.0.agreement.context
    }

    /// The round.
    #[must_use]
    pub fn round(&self) -> RoundNumber {
        self.0.round
    }

    /// The state as bytes for durable, secret storage.
    #[must_use]
    pub fn to_secret_bytes(&self) -> Zeroizing<Vec<u8>> {
        let Agreed { round, agreement, uploaded, agreed, share_roots, .. } = &*self.0;
        let mut writer = StateWriter::new(StateKind::AwaitUnmasking);
        writer.number(round.get().into());
        writer.fixed(agreement.context.as_bytes());
        writer.text(agreement.site.as_str());
        writer.fixed(agreement.agreed_digest.as_bytes());
        writer.fixed(agreement.signature.as_bytes());
        writer.list(uploaded.iter(), |writer, site| writer.text(site.as_str()));
        writer.list(agreed.iter(), |writer, site| writer.text(site.as_str()));
        write_digests(&mut writer, share_roots);
        write_seeds(&mut writer, &self.0.open_pair_seeds);
        write_keys(&mut writer, &self.0.opening_keys);
        writer.list(self.0.own_bundle.as_slice().iter(), |writer, bundle| bundle.write(writer));
        writer.finish()
    }

    /// Reads stored bytes back.
    ///
    /// # Errors
    /// [`StateError`] if the bytes are another state's or damaged.
    pub fn from_secret_bytes(bytes: &[u8]) -> Result<Self, StateError> {
        let mut reader = StateReader::new(bytes, StateKind::AwaitUnmasking)?;
        let round = reader.round()?;
        let agreement = AgreementSignature {
            context: reader.digest()?,
            site: reader.site()?,
            agreed_digest: reader.digest()?,
            signature: reader.fixed().map(|bytes| Signature::from(*bytes))?,
        };
        let (uploaded, agreed) = (reader.list(StateReader::site)?, reader.list(StateReader::site)?);
        let share_roots = read_digests(&mut reader)?;
        let open_pair_seeds = read_seeds(&mut reader)?;
        let opening_keys = read_keys(&mut reader)?;
        let mut bundles: Vec<ShareBundle> = reader.list(ShareBundle::read)?;
        let own_bundle = bundles.pop();
        if !bundles.is_empty() {
            return Err(StateError::Damaged);
        }
        reader.finish()?;
        Ok(Self(Box::new(Agreed {
            round,
            agreement,
            uploaded,
            agreed,
            share_roots,
            open_pair_seeds,
            opening_keys,
            own_bundle,
        })))
    }
}

/// The end of a site's round: nothing of it is left to open.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RoundClosed {
    /// Digest of the round context.
    pub context: Digest,
    /// The round.
    pub round: RoundNumber,
}

fn write_manifest(writer: &mut StateWriter, manifest: &Manifest) {
    let Manifest { signed: SignedManifestHeader { header, signature }, sealed } = manifest;
    writer.fixed(header.context.as_bytes());
    writer.text(header.site.as_str());
    writer.fixed(header.self_mask_hash.as_bytes());
    write_digests(writer, &header.pair_seed_hashes);
    writer.fixed(header.share_root.as_bytes());
    writer.fixed(header.body_root.as_bytes());
    writer.number(header.body_bytes);
    writer.fixed(signature.as_bytes());
    writer.list(sealed.iter(), |writer, entry| {
        writer.text(entry.from.as_str());
        writer.text(entry.to.as_str());
        writer.bytes(&entry.sealed);
    });
}

fn read_manifest(reader: &mut StateReader<'_>) -> Result<Manifest, StateError> {
    let header = ManifestHeader {
        context: reader.digest()?,
        site: reader.site()?,
        self_mask_hash: reader.digest()?,
        pair_seed_hashes: read_digests(reader)?,
        share_root: reader.digest()?,
        body_root: reader.digest()?,
        body_bytes: reader.number()?,
    };
    let signature = reader.fixed().map(|bytes| Signature::from(*bytes))?;
    let sealed = reader.list(|reader| {
        Ok(SealedShares { from: reader.site()?, to: reader.site()?, sealed: reader.bytes()?.to_vec() })
    })?;
    Ok(Manifest { signed: SignedManifestHeader { header, signature }, sealed })
}

fn write_digests(writer: &mut StateWriter, digests: &BTreeMap<SiteId, Digest>) {
    writer.list(digests.iter(), |writer, (site, digest)| {
        writer.text(site.as_str());
        writer.fixed(digest.as_bytes());
    });
}

fn read_digests(reader: &mut StateReader<'_>) -> Result<BTreeMap<SiteId, Digest>, StateError> {
    reader.list(|reader| Ok((reader.site()?, reader.digest()?)))
}

fn write_seeds(writer: &mut StateWriter, seeds: &BTreeMap<SiteId, Seed>) {
    writer.list(seeds.iter(), |writer, (peer, seed)| {
        writer.text(peer.as_str());
        writer.fixed(seed.expose());
    });
}

fn read_seeds(reader: &mut StateReader<'_>) -> Result<BTreeMap<SiteId, Seed>, StateError> {
    reader.list(|reader| {
        let peer = reader.site()?;
        Ok((peer, Seed::from_bytes(reader.fixed()?).ok_or(StateError::Damaged)?))
    })
}

fn write_keys(writer: &mut StateWriter, keys: &BTreeMap<SiteId, Secret<32>>) {
    writer.list(keys.iter(), |writer, (peer, key)| {
        writer.text(peer.as_str());
        writer.secret(key);
    });
}

fn read_keys(reader: &mut StateReader<'_>) -> Result<BTreeMap<SiteId, Secret<32>>, StateError> {
    reader.list(|reader| Ok((reader.site()?, reader.secret()?)))
}

impl fmt::Debug for AwaitAgreement {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("AwaitAgreement")
            .field("site", &self.0.header().site)
            .field("round", &self.0.round)
            .finish_non_exhaustive()
    }
}

impl fmt::Debug for AwaitUnmasking {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("AwaitUnmasking")
            .field("site", &self.0.agreement.site)
            .field("round", &self.0.round)
            .finish_non_exhaustive()
    }
}
