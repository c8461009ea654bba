//! A site's tag: its signed share of the check.

use std::collections::BTreeMap;
use std::io::Read;

use zeroize::Zeroize;

use super::{AgreedSet, AnnouncementFault, Challenge, SumAnnouncement, TagSums};
use crate::body::{BLOCK_LANES, BodyFault, BodyReader, blocks};
use crate::context::{RoundContext, VerifiedContext};
use crate::digest::Digest;
use crate::identity::IdentityKey;
use crate::ids::SiteId;
use crate::messages::{ManifestHeader, OpenedSeeds, SumTag, TagValue, TaggingRequest};
use crate::prg::{MaskStream, Sign, pair_sign};
use crate::seed::Seed;
use crate::setup::Roster;

/// Why no tag was made. Nothing has left the site.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum TagError {
    /// The identity key is not the one in the roster.
    #[error("the identity key is not the one that the roster lists for `{site}`")]
    Identity {
        /// This site.
        site: SiteId,
    },
    /// This site signed another set than the evidence shows: two sets were shown to two sites.
    #[error("this site signed another agreed set than the one that was opened")]
    OtherSet,
    /// The site's upload is not in the sum.
    #[error("`{site}` is not in the agreed set")]
    NotAgreed {
        /// The site.
        site: SiteId,
    },
    /// The announcement does not fit the set.
    #[error("the announcement of the opened sums was refused: {0}")]
    Announcement(#[from] AnnouncementFault),
    /// A seed is not the one that the site committed to, or the list of seeds is not what the set opens.
    #[error("the opened seeds of `{site}` are not those that it committed to")]
    Seeds {
        /// The site.
        site: SiteId,
    },
    /// The stored body is damaged.
    #[error("the stored body of `{site}` {fault}")]
    Body {
        /// Whose body.
        site: SiteId,
        /// What is wrong with it.
        fault: BodyFault,
    },
}

/// A site's own upload, as it kept it.
#[derive(Debug)]
pub struct OwnUpload<'a, B> {
    /// The site.
    pub site: &'a SiteId,
    /// Its identity key.
    pub key: &'a IdentityKey,
    /// The digest of the set that this site signed, if it signed one.
    pub signed: Option<Digest>,
    /// The masked body that it sent.
    pub body: B,
}

/// Computes and signs this site's tag for an announced opening.
///
/// A site signs tags for one announcement of a round: the one that the ledger holds.
///
/// # Errors
/// [`TagError`].
pub fn tag<B: Read>(
    roster: &Roster,
    context: &VerifiedContext,
    agreed: &AgreedSet,
    request: &TaggingRequest,
    upload: OwnUpload<'_, B>,
) -> Result<SumTag, TagError> {
    let OwnUpload { site, key, signed, body } = upload;
    if roster.identity_key(site) != Some(&key.public()) {
        return Err(TagError::Identity { site: site.clone() });
    }
    if signed.is_some_and(|signed| signed != agreed.digest()) {
        return Err(TagError::OtherSet);
    }
    let value = compute(context.context(), agreed, &request.announcement, site, &request.opened, body)?;
    Ok(SumTag::sign(context.digest(), site.clone(), request.announcement.digest(), value, key))
}

/// A tag that was computed from a body and opened seeds, in place of a site that did not send its own.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RecomputedTag {
    pub(super) site: SiteId,
    pub(super) value: TagValue,
}

impl RecomputedTag {
    /// Whose tag it is.
    #[must_use]
    pub fn site(&self) -> &SiteId {
        &self.site
    }

    /// `alpha z mod 2^b`.
    #[must_use]
    pub fn value(&self) -> &TagValue {
        &self.value
    }
}

/// Computes the tag that `site` would have to send. Seeds and body are checked against its manifest.
///
/// # Errors
/// [`TagError`].
pub fn recompute<B: Read>(
    context: &VerifiedContext,
    agreed: &AgreedSet,
    announcement: &SumAnnouncement,
    site: &SiteId,
    opened: &OpenedSeeds,
    body: B,
) -> Result<RecomputedTag, TagError> {
    let value = compute(context.context(), agreed, announcement, site, opened, body)?;
    Ok(RecomputedTag { site: site.clone(), value })
}

/// `tau = alpha z mod 2^b`, where z is the body without the masks of the opened seeds.
pub(crate) fn compute<B: Read>(
    context: &RoundContext,
    agreed: &AgreedSet,
    announcement: &SumAnnouncement,
    site: &SiteId,
    opened: &OpenedSeeds,
    body: B,
) -> Result<TagValue, TagError> {
    let header = agreed.headers().get(site).ok_or_else(|| TagError::NotAgreed { site: site.clone() })?;
    announcement.check(agreed)?;
    let streams = open_streams(agreed, header, opened)?;
    let challenge = Challenge::of(&announcement.digest());
    let (bits, mut sums) = (context.encoding.ring_bits, TagSums::zero());
    let failed = |fault| TagError::Body { site: site.clone(), fault };
    let mut body = BodyReader::new(header, body);
    let (mut buffer, mut lanes) = (Vec::new(), Vec::new());
    let mut done = Ok(());
    for (first, count) in blocks(context.encoding.lanes(), BLOCK_LANES) {
        done = body.next_block(count, bits, &mut buffer);
        if done.is_err() {
            break;
        }
        lanes.resize(count, 0);
        konclave_mask_kernel::open(&[&buffer], bits, &streams, first, &mut lanes);
        challenge.accumulate(first, &lanes, &mut sums);
    }
    lanes.zeroize();
    done.and_then(|()| body.finish()).map_err(failed)?;
    Ok(sums.reduced(bits))
}

/// The masks to take off: those of the opened seeds, each checked against the site's own commitment to it.
fn open_streams(
    agreed: &AgreedSet,
    header: &ManifestHeader,
    opened: &OpenedSeeds,
) -> Result<Vec<MaskStream>, TagError> {
    let (site, context) = (&header.site, agreed.context());
    let bad = || TagError::Seeds { site: site.clone() };
    let self_seed = Seed::from_bytes(&opened.self_seed.0)
        .filter(|seed| seed.self_commitment(&context, site) == header.self_mask_hash)
        .ok_or_else(bad)?;
    let outside = agreed.open_pairs().get(site).ok_or_else(bad)?;
    if !opened.pair_seeds.keys().eq(outside) {
        return Err(bad());
    }
    let pair_seeds = opened.pair_seeds.iter().map(|(peer, bytes)| {
        Seed::from_bytes(&bytes.0)
            .filter(|seed| {
                Some(&seed.pair_commitment(&context, site, peer)) == header.pair_seed_hashes.get(peer)
            })
            .map(|seed| (peer, seed))
            .ok_or_else(bad)
    });
    let pair_seeds: BTreeMap<&SiteId, Seed> = pair_seeds.collect::<Result<_, _>>()?;
    let mut streams = vec![MaskStream::new(self_seed.stream_key(&context), Sign::Subtract)];
    streams.extend(
        pair_seeds
            .iter()
            .map(|(peer, seed)| MaskStream::new(seed.stream_key(&context), pair_sign(site, peer).opposite())),
    );
    Ok(streams)
}
