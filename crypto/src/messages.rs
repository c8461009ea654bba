//! The messages of a round. Every signed one is checked with the sender's key from the roster.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use serde::{Deserialize, Serialize};
use zeroize::{Zeroize, ZeroizeOnDrop};

use crate::digest::Digest;
use crate::identity::{IdentityKey, Signature};
use crate::ids::SiteId;
use crate::setup::Signatories;
use crate::text::{array_from_base64, base64_bytes, text_array, to_base64};
use crate::transcript::Transcript;
use crate::verification::SumAnnouncement;

/// What a site commits to before anyone knows who else uploaded.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
#[serde(deny_unknown_fields)]
pub struct ManifestHeader {
    /// Digest of the round context.
    pub context: Digest,
    /// The uploading site.
    pub site: SiteId,
    /// Commitment to the self-mask seed.
    pub self_mask_hash: Digest,
    /// Commitment to the pairwise seed with each neighbour; both ends must name the same.
    pub pair_seed_hashes: BTreeMap<SiteId, Digest>,
    /// Merkle root over the hashes of all shares dealt.
    pub share_root: Digest,
    /// Merkle root over the body's 64 KiB chunks.
    pub body_root: Digest,
    /// Length of the body in bytes.
    pub body_bytes: u64,
}

impl ManifestHeader {
    pub(crate) fn transcript(&self) -> Transcript {
        Transcript::new("manifest")
            .digest(&self.context)
            .text(self.site.as_str())
            .digest(&self.self_mask_hash)
            .list(self.pair_seed_hashes.iter(), |t, (peer, hash)| t.text(peer.as_str()).digest(hash))
            .digest(&self.share_root)
            .digest(&self.body_root)
            .number(self.body_bytes)
    }

    /// Signs the header with its site's key.
    #[must_use]
    pub fn sign(self, key: &IdentityKey) -> SignedManifestHeader {
        let signature = key.sign_transcript(&self.transcript());
        SignedManifestHeader { header: self, signature }
    }
}

/// A header with its site's signature.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
#[serde(deny_unknown_fields)]
pub struct SignedManifestHeader {
    /// What is signed.
    pub header: ManifestHeader,
    /// The site's signature.
    pub signature: Signature,
}

impl SignedManifestHeader {
    /// Whether the site named in the header, as the roster knows it, signed the header.
    #[must_use]
    pub fn verify(&self, roster: &impl Signatories) -> bool {
        signed_by(roster, &self.header.site, &self.header.transcript(), &self.signature)
    }
}

/// The shares that one site deals to another, sealed to the receiver.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
#[serde(deny_unknown_fields)]
pub struct SealedShares {
    /// The dealer.
    pub from: SiteId,
    /// The receiver.
    pub to: SiteId,
    /// AES-256-GCM ciphertext and tag.
    #[serde(with = "base64_bytes")]
    #[cfg_attr(feature = "schema", schema(value_type = String, format = Byte))]
    pub sealed: Vec<u8>,
}

/// What a site uploads beside its body.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
#[serde(deny_unknown_fields)]
pub struct Manifest {
    /// The signed commitments.
    pub signed: SignedManifestHeader,
    /// One entry per other site of the roster, ascending by receiver.
    pub sealed: Vec<SealedShares>,
}

/// The gateway's proposal of the set to be summed, with the evidence for it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
#[serde(deny_unknown_fields)]
pub struct AgreementProposal {
    /// Digest of the round context.
    pub context: Digest,
    /// The headers of all uploaders (V), ascending by site.
    pub manifests: Vec<SignedManifestHeader>,
    /// The agreed set (U): the union of complete batches in V, ascending.
    pub agreed: Vec<SiteId>,
}

impl AgreementProposal {
    /// What each site signs: the context, the agreed set and every header of the proposal.
    ///
    /// The headers are bound too, so that two sites which both sign have seen the same commitments and bodies.
    #[must_use]
    pub fn agreed_digest(&self) -> Digest {
        Transcript::new("agreed-set")
            .digest(&self.context)
            .list(self.agreed.iter(), |t, site| t.text(site.as_str()))
            .list(self.manifests.iter(), |t, signed| t.digest(&signed.header.transcript().hash()))
            .hash()
    }
}

/// What shows an agreed set to those who took no part: the proposal and the signatures of a quorum.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
#[serde(deny_unknown_fields)]
pub struct AgreementEvidence {
    /// What was signed.
    pub proposal: AgreementProposal,
    /// At least `threshold` signatures on it.
    pub signatures: Vec<AgreementSignature>,
}

/// A site's signature on one agreed set. A site gives one per round, ever.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
#[serde(deny_unknown_fields)]
pub struct AgreementSignature {
    /// Digest of the round context.
    pub context: Digest,
    /// The signing site.
    pub site: SiteId,
    /// [`AgreementProposal::agreed_digest`].
    pub agreed_digest: Digest,
    /// The site's signature.
    pub signature: Signature,
}

impl AgreementSignature {
    fn transcript(context: &Digest, site: &SiteId, agreed_digest: &Digest) -> Transcript {
        Transcript::new("agreement").digest(context).text(site.as_str()).digest(agreed_digest)
    }

    pub(crate) fn sign(context: Digest, site: SiteId, agreed_digest: Digest, key: &IdentityKey) -> Self {
        let signature = key.sign_transcript(&Self::transcript(&context, &site, &agreed_digest));
        Self { context, site, agreed_digest, signature }
    }

    /// Whether the site named in the message signed it.
    #[must_use]
    pub fn verify(&self, roster: &impl Signatories) -> bool {
        let transcript = Self::transcript(&self.context, &self.site, &self.agreed_digest);
        signed_by(roster, &self.site, &transcript, &self.signature)
    }
}

/// The gateway's request to one site to open what the agreed set needs.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
#[serde(deny_unknown_fields)]
pub struct UnmaskingRequest {
    /// Digest of the round context.
    pub context: Digest,
    /// The agreed set, ascending.
    pub agreed: Vec<SiteId>,
    /// At least `threshold` signatures on that set.
    pub signatures: Vec<AgreementSignature>,
    /// Sites whose self-mask shares are asked for: the agreed set.
    pub self_masks_of: Vec<SiteId>,
    /// Sites whose pairwise seeds are asked for: the roster without the agreed set.
    pub pair_seeds_of: Vec<SiteId>,
    /// The shares sealed to this site by the agreed sites, ascending by dealer.
    pub sealed: Vec<SealedShares>,
}

/// Bytes of a share or a seed: a canonical scalar of the Ristretto255 group, little-endian.
pub const SCALAR_BYTES: usize = 32;

/// A seed that a site opens to the gateway. Redacted in Debug and erased on drop.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize, Zeroize, ZeroizeOnDrop)]
#[serde(try_from = "String", into = "String")]
pub struct SeedBytes(pub [u8; SCALAR_BYTES]);

impl fmt::Debug for SeedBytes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SeedBytes(..)")
    }
}

impl TryFrom<String> for SeedBytes {
    type Error = crate::ids::IdError;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        array_from_base64(&text).map(Self)
    }
}

impl From<SeedBytes> for String {
    fn from(seed: SeedBytes) -> Self {
        to_base64(&seed.0)
    }
}

crate::schema::string_schema!(SeedBytes, "^[A-Za-z0-9+/]{43}=$", "Opened 32-byte seed in standard base64.");

/// One Shamir share with the Merkle path that ties it to its dealer's manifest.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
#[serde(deny_unknown_fields)]
pub struct Share {
    /// The share's value.
    pub value: SeedBytes,
    /// Siblings from the share's leaf up to the dealer's `share_root`.
    pub path: Vec<Digest>,
}

impl fmt::Debug for Share {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Share(..)")
    }
}

/// A share of the pairwise seed of `owner` (in the agreed set) and `peer` (outside it), dealt by `owner`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
#[serde(deny_unknown_fields)]
pub struct PairSeedShare {
    /// The agreed site whose upload holds the mask; it dealt the share.
    pub owner: SiteId,
    /// The other end, which is not in the agreed set.
    pub peer: SiteId,
    /// The share.
    pub share: Share,
}

/// What a site opens for an agreed set.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
#[serde(deny_unknown_fields)]
pub struct UnmaskingResponse {
    /// Digest of the round context.
    pub context: Digest,
    /// The answering site.
    pub site: SiteId,
    /// Its share of the self-mask seed of each agreed site.
    pub self_mask_shares: BTreeMap<SiteId, Share>,
    /// Its own pairwise seed with each neighbour outside the agreed set (empty if it is outside itself).
    pub own_pair_seeds: BTreeMap<SiteId, SeedBytes>,
    /// Its shares of the other agreed sites' pairwise seeds with sites outside, ascending by owner and peer.
    pub pair_seed_shares: Vec<PairSeedShare>,
    /// Dealers whose sealed shares did not open or did not match their manifest; their shares are left out.
    /// A complaint is a hint, not a proof: the gateway could have altered the ciphertext.
    pub complaints: BTreeSet<SiteId>,
    /// The site's signature.
    pub signature: Signature,
}

impl UnmaskingResponse {
    fn transcript(&self) -> Transcript {
        let share = |t: Transcript, share: &Share| {
            t.bytes(&share.value.0).list(share.path.iter(), Transcript::digest)
        };
        Transcript::new("unmasking")
            .digest(&self.context)
            .text(self.site.as_str())
            .list(self.self_mask_shares.iter(), |t, (site, s)| share(t.text(site.as_str()), s))
            .list(self.own_pair_seeds.iter(), |t, (peer, seed)| t.text(peer.as_str()).bytes(&seed.0))
            .list(self.pair_seed_shares.iter(), |t, s| {
                share(t.text(s.owner.as_str()).text(s.peer.as_str()), &s.share)
            })
            .list(self.complaints.iter(), |t, site| t.text(site.as_str()))
    }

    /// Replaces the signature by one of `key` over the other fields.
    #[must_use]
    pub fn sign(mut self, key: &IdentityKey) -> Self {
        self.signature = key.sign_transcript(&self.transcript());
        self
    }

    /// Whether the site named in the response signed it.
    #[must_use]
    pub fn verify(&self, roster: &impl Signatories) -> bool {
        signed_by(roster, &self.site, &self.transcript(), &self.signature)
    }
}

/// The seeds of one site's masks that are open after an opening, all of them its own.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
#[serde(deny_unknown_fields)]
pub struct OpenedSeeds {
    /// The seed of its self mask.
    pub self_seed: SeedBytes,
    /// The seeds of its masks with neighbours outside the agreed set.
    pub pair_seeds: BTreeMap<SiteId, SeedBytes>,
}

/// The gateway's request to one agreed site for its tag.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
#[serde(deny_unknown_fields)]
pub struct TaggingRequest {
    /// What was opened.
    pub announcement: SumAnnouncement,
    /// The site's own seeds as they were opened.
    pub opened: OpenedSeeds,
}

/// Columns of the challenge: a wrong sum passes with probability 2 to the minus this.
pub const TAG_COLUMNS: usize = 128;

/// A tag: 128 elements of the round's ring, each a little-endian u32; base64 on the wire.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct TagValue(pub(crate) [u8; TAG_COLUMNS * 4]);

text_array!(
    TagValue,
    TAG_COLUMNS * 4,
    to_base64,
    array_from_base64,
    "^[A-Za-z0-9+/]{683}=$",
    "128 little-endian 32-bit ring elements in standard base64."
);

/// A site's signed share of the check of an opened sum.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
#[serde(deny_unknown_fields)]
pub struct SumTag {
    /// Digest of the round context.
    pub context: Digest,
    /// The site.
    pub site: SiteId,
    /// [`SumAnnouncement::digest`] of what is checked.
    pub announcement: Digest,
    /// `alpha z mod 2^b`.
    pub value: TagValue,
    /// The site's signature.
    pub signature: Signature,
}

impl SumTag {
    fn transcript(&self) -> Transcript {
        Transcript::new("sum-tag")
            .digest(&self.context)
            .text(self.site.as_str())
            .digest(&self.announcement)
            .bytes(self.value.as_bytes())
    }

    /// Signs a tag.
    #[must_use]
    pub fn sign(
        context: Digest,
        site: SiteId,
        announcement: Digest,
        value: TagValue,
        key: &IdentityKey,
    ) -> Self {
        let mut tag = Self { context, site, announcement, value, signature: Signature::UNSIGNED };
        tag.signature = key.sign_transcript(&tag.transcript());
        tag
    }

    /// Whether the site named in the tag signed it.
    #[must_use]
    pub fn verify(&self, roster: &impl Signatories) -> bool {
        signed_by(roster, &self.site, &self.transcript(), &self.signature)
    }
}

/// What everybody needs to check an opened sum, apart from the sum: published once the tags are settled.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
#[serde(deny_unknown_fields)]
pub struct TagEvidence {
    /// What was opened.
    pub announcement: SumAnnouncement,
    /// The tags that sites sent, ascending by site.
    pub tags: Vec<SumTag>,
    /// The uploads whose tags are to be computed, ascending by site.
    pub uploads: Vec<OpenedUpload>,
}

/// An upload in the sum whose site sent no tag, with what it takes to compute the tag.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
#[serde(deny_unknown_fields)]
pub struct OpenedUpload {
    /// The site.
    pub site: SiteId,
    /// Its opened seeds.
    pub opened: OpenedSeeds,
    /// SHA-256 of the masked body, which is its blob's name.
    pub body: Digest,
}

/// A site's signed word on an opened sum: it accepts the result, or it found it wrong.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
#[serde(deny_unknown_fields)]
pub struct SumVerdict {
    /// Digest of the round context.
    pub context: Digest,
    /// The site.
    pub site: SiteId,
    /// [`SumAnnouncement::digest`] of what was checked.
    pub announcement: Digest,
    /// Whether the tags add up to the announced sum and the sum leads to the announced model.
    pub accepted: bool,
    /// The site's signature.
    pub signature: Signature,
}

impl SumVerdict {
    fn transcript(&self) -> Transcript {
        Transcript::new("sum-verdict")
            .digest(&self.context)
            .text(self.site.as_str())
            .digest(&self.announcement)
            .number(self.accepted.into())
    }

    /// Signs a verdict.
    #[must_use]
    pub fn sign(
        context: Digest,
        site: SiteId,
        announcement: Digest,
        accepted: bool,
        key: &IdentityKey,
    ) -> Self {
        let mut verdict = Self { context, site, announcement, accepted, signature: Signature::UNSIGNED };
        verdict.signature = key.sign_transcript(&verdict.transcript());
        verdict
    }

    /// Whether the site named in the verdict signed it.
    #[must_use]
    pub fn verify(&self, roster: &impl Signatories) -> bool {
        signed_by(roster, &self.site, &self.transcript(), &self.signature)
    }
}

fn signed_by(
    roster: &impl Signatories,
    site: &SiteId,
    transcript: &Transcript,
    signature: &Signature,
) -> bool {
    roster.identity_key(site).is_some_and(|key| key.verifies_transcript(transcript, signature))
}
