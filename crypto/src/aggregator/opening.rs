//! Phase 4: add the bodies, take the masks off, check the range.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::io::{self, Read};

use rayon::prelude::*;
use sha2::{Digest as _, Sha256};

use super::{Abort, Facts, Tagging};
use crate::body::{BodyFault, BodyReader, block_lanes, blocks};
use crate::context::RoundContext;
use crate::digest::Digest;
use crate::encoding::{Encoding, OpenedSum, centred};
use crate::ids::SiteId;
use crate::messages::OpenedSeeds;
use crate::prg::{MaskStream, Sign, pair_sign};
use crate::seed::Seed;
use crate::verification::{AgreedSet, AnnouncedSum, AnnouncedTotal, SumAnnouncement};

/// Takes opened coordinates as they come, so that nobody has to hold a whole sum in memory.
pub trait SumSink {
    /// Takes the next coordinates of one sum. `sum` is its position among the round's sums; the blocks of several sums
    /// take turns.
    ///
    /// # Errors
    /// Whatever the sink's store says; the opening ends with [`Abort::Sink`] then.
    fn take(&mut self, sum: usize, coordinates: &[i32]) -> io::Result<()>;

    /// Takes the next coordinates of the total over all sums. Called only where there are several sums.
    ///
    /// # Errors
    /// As for [`Self::take`].
    fn take_total(&mut self, coordinates: &[i32]) -> io::Result<()>;
}

/// Holds the recovered masks of an agreed set. Not `Clone`, erased on drop.
pub struct Opening {
    facts: Facts,
    agreed: AgreedSet,
    groups: Vec<Group>,
    opened: BTreeMap<SiteId, OpenedSeeds>,
}

/// Sites whose sum is opened, with the masks that do not cancel in it.
struct Group {
    sites: BTreeSet<SiteId>,
    streams: Vec<MaskStream>,
}

impl Opening {
    pub(super) fn new(
        facts: Facts,
        agreed: AgreedSet,
        self_seeds: &BTreeMap<SiteId, Seed>,
        pair_seeds: &BTreeMap<(SiteId, SiteId), Seed>,
    ) -> Self {
        let context = facts.digest;
        let groups = agreed.groups().iter().map(|sites| {
            let self_masks = self_seeds
                .iter()
                .filter(|(site, _)| sites.contains(*site))
                .map(|(_, seed)| MaskStream::new(seed.stream_key(&context), Sign::Subtract));
            let pair_masks = pair_seeds.iter().filter(|((owner, _), _)| sites.contains(owner)).map(
                |((owner, peer), seed)| {
                    MaskStream::new(seed.stream_key(&context), pair_sign(owner, peer).opposite())
                },
            );
            Group { sites: sites.clone(), streams: self_masks.chain(pair_masks).collect() }
        });
        let groups = groups.collect();
        let opened = self_seeds
            .iter()
            .map(|(site, seed)| {
                let of_site = pair_seeds.iter().filter(|((owner, _), _)| owner == site);
                let pair_seeds = of_site.map(|((_, peer), seed)| (peer.clone(), seed.open())).collect();
                (site.clone(), OpenedSeeds { self_seed: seed.open(), pair_seeds })
            })
            .collect();
        Self { facts, agreed, groups, opened }
    }

    /// The agreed sites, ascending: whose bodies [`Self::open`] needs.
    #[must_use]
    pub fn agreed(&self) -> Vec<SiteId> {
        self.agreed.headers().keys().cloned().collect()
    }

    /// Number of sums that are opened: one in mode full, one per complete batch in mode group.
    #[must_use]
    pub fn sums(&self) -> usize {
        self.groups.len()
    }

    /// Opens the sums into memory: one [`OpenedSum`] in mode full, one per complete batch in mode group.
    ///
    /// # Errors
    /// As for [`Self::open_into`].
    pub fn open<B: Read + Send>(self, bodies: BTreeMap<SiteId, B>) -> Result<Vec<OpenedSum>, Abort> {
        let mut held = Held(vec![Vec::new(); self.groups.len()]);
        let tagging = self.open_into(bodies, &mut held)?;
        let announced = tagging.announcement().sums.iter().zip(held.0);
        Ok(announced
            .map(|(sum, coordinates)| OpenedSum { sites: sum.sites.clone(), coordinates, weight: sum.weight })
            .collect())
    }

    /// Opens the sums into a sink, and goes on to their verification.
    ///
    /// Bodies are read once, in blocks: memory grows neither with n nor with d. What the sink took counts only if this
    /// returns `Ok`.
    ///
    /// # Errors
    /// [`Abort`] if a body cannot be read or changed since it was accepted, the sink fails, or a sum is out of range.
    pub fn open_into<B: Read + Send>(
        self,
        mut bodies: BTreeMap<SiteId, B>,
        sink: &mut impl SumSink,
    ) -> Result<Tagging, Abort> {
        if !bodies.keys().eq(self.agreed.headers().keys()) {
            return Err(Abort::Bodies);
        }
        let encoding = &self.facts.context.encoding;
        let mut sums = Vec::with_capacity(self.groups.len());
        for group in &self.groups {
            let mut uploads = Vec::with_capacity(group.sites.len());
            for (site, header) in self.agreed.headers().iter().filter(|(site, _)| group.sites.contains(*site))
            {
                uploads.push(BodyReader::new(header, bodies.remove(site).ok_or(Abort::Bodies)?));
            }
            sums.push(GroupSum {
                group,
                uploads,
                range: RangeCheck::new(&self.facts.context, &group.sites),
                hash: Sha256::new(),
            });
        }
        let several = sums.len() > 1;
        let mut total_hash = Sha256::new();
        let most = sums.iter().map(|sum| sum.uploads.len()).max().unwrap_or(0);
        let mut buffers = vec![Vec::new(); most];
        for (first, count) in blocks(encoding.lanes(), block_lanes(most, encoding.ring_bits)) {
            let mut total = vec![0_i32; if several { count } else { 0 }];
            let mut coordinates = 0;
            for (index, sum) in sums.iter_mut().enumerate() {
                let block = sum.next_block(encoding.ring_bits, first, count, &mut buffers)?;
                coordinates = block.len();
                sink.take(index, &block).map_err(|error| Abort::Sink { kind: error.kind() })?;
                // Out of range sums may wrap; they are refused at the end.
                total.iter_mut().zip(&block).for_each(|(all, one)| *all = all.wrapping_add(*one));
            }
            if several {
                let total = total.get(..coordinates).unwrap_or_default();
                hash_coordinates(&mut total_hash, total);
                sink.take_total(total).map_err(|error| Abort::Sink { kind: error.kind() })?;
            }
        }
        // Bodies first: a sum over a changed body says nothing about the sites.
        let mut finished = Vec::with_capacity(sums.len());
        for sum in sums {
            let GroupSum { group, uploads, range, hash } = sum;
            for upload in uploads {
                let site = upload.header().site.clone();
                upload.finish().map_err(|fault| body_abort(site, fault))?;
            }
            finished.push((group, range, hash));
        }
        let mut announced = Vec::with_capacity(finished.len());
        for (group, range, hash) in finished {
            let weight = range.finish()?;
            let sites = group.sites.iter().cloned().collect();
            announced.push(AnnouncedSum { sites, coordinates: Digest(hash.finalize().into()), weight });
        }
        let coordinates = match announced.as_slice() {
            [only] => only.coordinates,
            [] | [..] => Digest(total_hash.finalize().into()),
        };
        let weight = announced.iter().map(|sum| sum.weight).sum();
        let announcement = SumAnnouncement {
            context: self.facts.digest,
            agreed_digest: self.agreed.digest(),
            sums: announced,
            total: AnnouncedTotal { coordinates, weight },
        };
        let Self { facts, agreed, opened, .. } = self;
        Ok(Tagging::new(facts, agreed, announcement, opened))
    }
}

/// Keeps the sums in memory.
struct Held(Vec<Vec<i32>>);

impl SumSink for Held {
    fn take(&mut self, sum: usize, coordinates: &[i32]) -> io::Result<()> {
        if let Some(held) = self.0.get_mut(sum) {
            held.extend_from_slice(coordinates);
        }
        Ok(())
    }

    fn take_total(&mut self, _: &[i32]) -> io::Result<()> {
        Ok(())
    }
}

pub(super) fn body_abort(site: SiteId, fault: BodyFault) -> Abort {
    match fault {
        BodyFault::Changed => Abort::BodyChanged { site },
        BodyFault::Read { kind } => Abort::Read { site, kind },
        BodyFault::Format => Abort::BodyFormat { site },
    }
}

pub(crate) fn hash_coordinates(hash: &mut Sha256, coordinates: &[i32]) {
    let mut bytes = [0_u8; 4096];
    for part in coordinates.chunks(bytes.len() / 4) {
        for (slot, value) in bytes.as_chunks_mut::<4>().0.iter_mut().zip(part) {
            *slot = value.to_le_bytes();
        }
        hash.update(bytes.get(..part.len() * 4).unwrap_or_default());
    }
}

/// One sum on its way.
struct GroupSum<'a, B> {
    group: &'a Group,
    uploads: Vec<BodyReader<'a, B>>,
    range: RangeCheck<'a>,
    hash: Sha256,
}

impl<B: Read + Send> GroupSum<'_, B> {
    /// The next coordinates of the sum; in the last block the weight is taken off. There is a buffer for each upload.
    fn next_block(
        &mut self,
        bits: u8,
        first: u64,
        count: usize,
        buffers: &mut [Vec<u8>],
    ) -> Result<Vec<i32>, Abort> {
        let Some(buffers) = buffers.get_mut(..self.uploads.len()) else { return Err(Abort::Bodies) };
        let read: Vec<Result<(), BodyFault>> = self
            .uploads
            .par_iter_mut()
            .zip(&mut *buffers)
            .map(|(upload, buffer)| upload.next_block(count, bits, buffer))
            .collect();
        // The first site's fault, whichever thread was the quickest.
        for (upload, read) in self.uploads.iter().zip(read) {
            read.map_err(|fault| body_abort(upload.header().site.clone(), fault))?;
        }
        let mut lanes = vec![0; count];
        konclave_mask_kernel::open(buffers, bits, &self.group.streams, first, &mut lanes);
        let block = self.range.take(first, &lanes);
        hash_coordinates(&mut self.hash, &block);
        Ok(block)
    }
}

/// Looks at opened lanes and remembers the largest, which no honest set of sites may exceed.
struct RangeCheck<'a> {
    encoding: &'a Encoding,
    sites: &'a BTreeSet<SiteId>,
    /// How far noise may move a coordinate.
    noise: u64,
    weight: Option<i32>,
    /// The largest magnitude and its first position.
    largest: (u64, u64),
}

impl<'a> RangeCheck<'a> {
    fn new(context: &'a RoundContext, sites: &'a BTreeSet<SiteId>) -> Self {
        let noise = context.noise.map_or(0, |noise| noise.largest_noise(sites.len()));
        Self { encoding: &context.encoding, sites, noise, weight: None, largest: (0, 0) }
    }

    /// The signed coordinates of a block of lanes, without the weight.
    fn take(&mut self, first: u64, lanes: &[u32]) -> Vec<i32> {
        let mut values: Vec<i32> = lanes.iter().map(|lane| centred(*lane, self.encoding.ring_bits)).collect();
        if first + lanes.len() as u64 > self.encoding.coordinates() {
            self.weight = values.pop();
        }
        let largest = values.iter().map(|value| value.unsigned_abs()).max().unwrap_or(0);
        if u64::from(largest) > self.largest.0 {
            let position = values.iter().position(|value| value.unsigned_abs() == largest).unwrap_or(0);
            self.largest = (largest.into(), first + position as u64);
        }
        values
    }

    fn finish(self) -> Result<u64, Abort> {
        let Self { encoding, sites, noise, weight, largest: (largest, position) } = self;
        let largest = largest.saturating_sub(noise);
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
        Ok(weight)
    }
}

impl fmt::Debug for Opening {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Opening").field("agreed", &self.agreed()).finish_non_exhaustive()
    }
}
