//! Phase 4: add the bodies, take the masks off, check the range.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::io::{ErrorKind, Read};

use super::{Abort, Facts};
use crate::encoding::{Encoding, OpenedSum, PackingError, centred, packed_bytes, unpack_into};
use crate::ids::SiteId;
use crate::merkle::BodyHasher;
use crate::messages::ManifestHeader;
use crate::prg::{CHUNK_LANES, MaskStream, Sign, apply_streams};
use crate::seed::Seed;

/// Lanes held at once: 1 MiB of sums and at most as much of one body, whatever n and d are.
const BLOCK_LANES: usize = 64 * CHUNK_LANES;

/// Holds the recovered masks of an agreed set. Not `Clone`, erased on drop.
pub struct Opening {
    facts: Facts,
    headers: BTreeMap<SiteId, ManifestHeader>,
    agreed: Vec<SiteId>,
    groups: Vec<Group>,
}

/// Sites whose sum is opened, with the masks that do not cancel in it.
struct Group {
    sites: BTreeSet<SiteId>,
    streams: Vec<MaskStream>,
}

impl Opening {
    pub(super) fn new(
        facts: Facts,
        headers: BTreeMap<SiteId, ManifestHeader>,
        self_seeds: &BTreeMap<SiteId, Seed>,
        pair_seeds: &BTreeMap<(SiteId, SiteId), Seed>,
    ) -> Self {
        let agreed: BTreeSet<SiteId> = headers.keys().cloned().collect();
        let context = facts.digest;
        let groups = facts.context.opened_groups(&agreed).into_iter().map(|sites| {
            let self_masks = self_seeds
                .iter()
                .filter(|(site, _)| sites.contains(*site))
                .map(|(_, seed)| MaskStream::new(seed.stream_key(&context), Sign::Subtract));
            let pair_masks = pair_seeds.iter().filter(|((owner, _), _)| sites.contains(owner)).map(
                |((owner, peer), seed)| {
                    MaskStream::new(seed.stream_key(&context), Sign::of_pair(owner, peer).opposite())
                },
            );
            let streams = self_masks.chain(pair_masks).collect();
            Group { sites, streams }
        });
        Self { groups: groups.collect(), agreed: agreed.into_iter().collect(), facts, headers }
    }

    /// The agreed sites, ascending: whose bodies [`Self::open`] needs.
    #[must_use]
    pub fn agreed(&self) -> &[SiteId] {
        &self.agreed
    }

    /// Opens the sum: one [`OpenedSum`] in mode full, one per complete batch in mode group.
    ///
    /// Bodies are read once, in blocks. Apart from the sums themselves, memory grows neither with n nor with d.
    ///
    /// # Errors
    /// [`Abort`] if a body cannot be read or changed since it was accepted, or a sum is out of range.
    pub fn open<B: Read>(self, mut bodies: BTreeMap<SiteId, B>) -> Result<Vec<OpenedSum>, Abort> {
        if !bodies.keys().eq(self.headers.keys()) {
            return Err(Abort::Bodies);
        }
        let mut sums = Vec::with_capacity(self.groups.len());
        for group in &self.groups {
            let mut uploads = Vec::with_capacity(group.sites.len());
            for (site, header) in self.headers.iter().filter(|(site, _)| group.sites.contains(*site)) {
                let reader = bodies.remove(site).ok_or(Abort::Bodies)?;
                uploads.push(Upload { site, header, reader, hasher: BodyHasher::new() });
            }
            sums.push(open_group(&self.facts.context.encoding, group, uploads)?);
        }
        Ok(sums)
    }
}

/// One body on its way in.
struct Upload<'a, B> {
    site: &'a SiteId,
    header: &'a ManifestHeader,
    reader: B,
    hasher: BodyHasher,
}

impl<B: Read> Upload<'_, B> {
    /// Reads the next packed lanes and adds them to the sums.
    fn add_block(&mut self, buffer: &mut [u8], sums: &mut [u32], bits: u8) -> Result<(), Abort> {
        self.reader.read_exact(buffer).map_err(|error| {
            let site = self.site.clone();
            if error.kind() == ErrorKind::UnexpectedEof {
                Abort::BodyChanged { site }
            } else {
                Abort::Read { site, kind: error.kind() }
            }
        })?;
        self.hasher.update(buffer);
        unpack_into(buffer, sums, bits, |sum, lane| *sum = sum.wrapping_add(lane))
            .map_err(|_: PackingError| Abort::BodyFormat { site: self.site.clone() })
    }

    /// The body must end here and be the one that was accepted.
    fn finish(self) -> Result<(), Abort> {
        let Self { site, header, reader, hasher } = self;
        let mut rest = Vec::new();
        let read = reader.take(1).read_to_end(&mut rest);
        let left = read.map_err(|error| Abort::Read { site: site.clone(), kind: error.kind() })?;
        if left == 0 && hasher.bytes() == header.body_bytes && hasher.finish() == header.body_root {
            Ok(())
        } else {
            Err(Abort::BodyChanged { site: site.clone() })
        }
    }
}

fn open_group<B: Read>(
    encoding: &Encoding,
    group: &Group,
    mut uploads: Vec<Upload<'_, B>>,
) -> Result<OpenedSum, Abort> {
    let bits = encoding.ring_bits;
    let mut range = RangeCheck::new(encoding, &group.sites);
    let lanes = encoding.lanes();
    let block = |left: u64| usize::try_from(left).map_or(BLOCK_LANES, |left| left.min(BLOCK_LANES));
    let mut sums = vec![0; block(lanes)];
    let mut buffer = vec![0; usize::try_from(packed_bytes(sums.len() as u64, bits)).unwrap_or(0)];
    let mut first = 0;
    while first < lanes {
        let now = block(lanes - first);
        sums.truncate(now);
        sums.fill(0);
        buffer.truncate(usize::try_from(packed_bytes(now as u64, bits)).unwrap_or(0));
        for upload in &mut uploads {
            upload.add_block(&mut buffer, &mut sums, bits)?;
        }
        apply_streams(&group.streams, first, &mut sums);
        range.take(&sums);
        first += now as u64;
    }
    // Bodies first: a sum over a changed body says nothing about the sites.
    for upload in uploads {
        upload.finish()?;
    }
    range.finish()
}

/// Collects opened lanes and remembers the first that no honest set of sites could give.
struct RangeCheck<'a> {
    encoding: &'a Encoding,
    sites: &'a BTreeSet<SiteId>,
    coordinates: Vec<i32>,
    weight: Option<i32>,
    /// The largest magnitude and its first position.
    largest: (u64, u64),
}

impl<'a> RangeCheck<'a> {
    fn new(encoding: &'a Encoding, sites: &'a BTreeSet<SiteId>) -> Self {
        let coordinates = Vec::with_capacity(usize::try_from(encoding.coordinates()).unwrap_or(0));
        Self { encoding, sites, coordinates, weight: None, largest: (0, 0) }
    }

    fn take(&mut self, lanes: &[u32]) {
        for lane in lanes {
            let value = centred(*lane, self.encoding.ring_bits);
            let position = self.coordinates.len() as u64;
            if position == self.encoding.coordinates() {
                self.weight = Some(value);
                return;
            }
            if u64::from(value.unsigned_abs()) > self.largest.0 {
                self.largest = (value.unsigned_abs().into(), position);
            }
            self.coordinates.push(value);
        }
    }

    fn finish(self) -> Result<OpenedSum, Abort> {
        let Self { encoding, sites, coordinates, weight, largest: (largest, position) } = self;
        let refused = |coordinate| Err(Abort::OutOfRange { batch: sites.clone(), coordinate });
        let (count, cap) = (sites.len() as u64, u64::from(encoding.weight_cap));
        let honest = count..=count.saturating_mul(cap);
        let weight = weight.and_then(|weight| u64::try_from(weight).ok()).filter(|sum| honest.contains(sum));
        let Some(weight) = weight else { return refused(encoding.coordinates()) };
        let quantised = u64::from(encoding.quantised_max().unsigned_abs());
        // An honest coordinate is at most quantised * weight / cap, rounded to one of its two neighbours. Without the
        // weight in the bound, one site could make the sum of weights tiny and the server's step huge.
        let bound = weight.saturating_mul(quantised).saturating_add(count.saturating_mul(cap));
        if largest > count.saturating_mul(quantised) || largest.saturating_mul(cap) > bound {
            return refused(position);
        }
        Ok(OpenedSum { sites: sites.iter().cloned().collect(), coordinates, weight })
    }
}

impl fmt::Debug for Opening {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Opening").field("agreed", &self.agreed).finish_non_exhaustive()
    }
}
