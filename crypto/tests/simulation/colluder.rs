//! A site that works against the others: an honest one whose messages are changed on their way out.

use std::collections::BTreeMap;
use std::rc::Rc;

use konclave_crypto::encoding::{pack, unpack};
use konclave_crypto::messages::{Manifest, SeedBytes, UnmaskingResponse};
use konclave_crypto::{Digest, SiteId};
use rand_chacha::ChaCha20Rng;
use rand_core::{Rng, SeedableRng};

use crate::keys::Keys;
use crate::letter::Letter;
use crate::scenario::Lie;
use crate::site::{Outcome, Site};
use crate::support::{forge_body, forge_header, with_manifest};

pub struct Colluder {
    pub site: Site,
    pub lies: Vec<Lie>,
    position: usize,
    id: SiteId,
    keys: Rc<Keys>,
    rng: ChaCha20Rng,
    /// What its forged bodies add to the sum, by context.
    pub added: BTreeMap<Digest, Vec<i64>>,
}

impl Colluder {
    pub fn new(site: Site, position: usize, keys: &Rc<Keys>, seed: u64) -> Self {
        let rng = ChaCha20Rng::seed_from_u64(seed.wrapping_add(position as u64));
        let id = keys.sites[position].clone();
        Self { site, lies: Vec::new(), position, id, keys: Rc::clone(keys), rng, added: BTreeMap::new() }
    }

    pub fn receive(&mut self, letter: &Letter) -> Outcome {
        let uploads = matches!(letter, Letter::Context(_)) && self.site.outbox().is_empty();
        let outcome = self.site.receive(letter);
        let Outcome::Sent(letters) = outcome else { return outcome };
        let letters = if uploads {
            self.forge_upload();
            self.site.outbox()
        } else {
            letters
        };
        Outcome::Sent(letters.into_iter().flat_map(|letter| self.change(letter)).collect())
    }

    pub fn outbox(&mut self) -> Vec<Letter> {
        let letters = self.site.outbox();
        letters.into_iter().flat_map(|letter| self.change(letter)).collect()
    }

    /// Lies that the later state must fit.
    fn forge_upload(&mut self) {
        let lies = self.lies.clone();
        for lie in lies {
            let (keys, rng, added) = (Rc::clone(&self.keys), &mut self.rng, &mut self.added);
            self.site.forge_upload(|state, manifest, body| {
                match lie {
                    Lie::GarbageBody | Lie::ShiftedBody => {
                        let context = manifest.signed.header.context;
                        added.insert(context, shift(body, lie == Lie::ShiftedBody, rng));
                        *manifest = forge_body(&keys.consortium, manifest, body);
                    }
                    Lie::PaddingBits => {
                        *body.last_mut().unwrap() |= 0x80;
                        *manifest = forge_body(&keys.consortium, manifest, body);
                    }
                    Lie::SelfMaskHash => {
                        let other = Digest::of(b"another seed");
                        *manifest = forge_header(&keys.consortium, manifest, |h| h.self_mask_hash = other);
                    }
                    Lie::PairSeedHashes(count) => {
                        *manifest = forge_header(&keys.consortium, manifest, |header| {
                            for hash in header.pair_seed_hashes.values_mut().take(count) {
                                *hash = Digest::of(hash.as_bytes());
                            }
                        });
                    }
                    _ => return,
                }
                *state = with_manifest(state, manifest);
            });
        }
    }

    /// Lies on the way out.
    fn change(&mut self, letter: Letter) -> Vec<Letter> {
        let mut letters = vec![letter];
        for lie in self.lies.clone() {
            letters = letters.into_iter().flat_map(|letter| self.change_by(lie, letter)).collect();
        }
        letters
    }

    fn change_by(&mut self, lie: Lie, letter: Letter) -> Vec<Letter> {
        let key = self.keys.key(self.position);
        match (lie, letter) {
            (Lie::Neighbours, Letter::Manifest { from, manifest }) => {
                let manifest = forge_header(&self.keys.consortium, &manifest, |header| {
                    header.pair_seed_hashes.pop_first();
                });
                vec![Letter::Manifest { from, manifest }]
            }
            (Lie::BadSignature, Letter::Manifest { from, mut manifest }) => {
                manifest.signed.header.share_root = Digest::of(b"another dealing");
                vec![Letter::Manifest { from, manifest }]
            }
            (Lie::SecondManifest, Letter::Manifest { from, manifest }) => {
                let second = forge_header(&self.keys.consortium, &manifest, |header| {
                    header.share_root = Digest::of(b"another dealing");
                });
                let first = Letter::Manifest { from: from.clone(), manifest };
                vec![first, Letter::Manifest { from, manifest: second }]
            }
            (Lie::SealedNoise, Letter::Manifest { from, mut manifest }) => {
                noise(&mut manifest);
                vec![Letter::Manifest { from, manifest }]
            }
            (Lie::ForeignAgreement, Letter::Agreement(signature)) => {
                let foreign = crate::adversary::sign_agreement(
                    signature.context,
                    &self.id,
                    Digest::of(b"another set"),
                    key,
                );
                vec![Letter::Agreement(foreign)]
            }
            (Lie::FlippedShare, Letter::Response(mut response)) => {
                flip_a_share(&mut response);
                vec![Letter::Response(response.sign(key))]
            }
            (Lie::FalseComplaints, Letter::Response(mut response)) => {
                response.complaints =
                    response.self_mask_shares.keys().filter(|dealer| **dealer != self.id).cloned().collect();
                let UnmaskingResponse { self_mask_shares, pair_seed_shares, complaints, .. } = &mut response;
                self_mask_shares.retain(|dealer, _| !complaints.contains(dealer));
                pair_seed_shares.retain(|entry| !complaints.contains(&entry.owner));
                vec![Letter::Response(response.sign(key))]
            }
            (Lie::SilentAfterUpload, Letter::Agreement(_) | Letter::Response(_))
            | (Lie::SilentAfterAgreement, Letter::Response(_)) => Vec::new(),
            (_, letter) => vec![letter],
        }
    }
}

/// Adds to every lane of a packed body; returns what was added.
fn shift(body: &mut Vec<u8>, little: bool, rng: &mut ChaCha20Rng) -> Vec<i64> {
    let lanes = body.len() * 8 / usize::from(BITS);
    let mask = (1_u32 << BITS) - 1;
    let mut shifted = unpack(body, lanes, BITS).unwrap();
    let added = shifted
        .iter_mut()
        .map(|lane| {
            let by = if little { rng.next_u32() % 3 } else { rng.next_u32() & mask };
            *lane = lane.wrapping_add(by) & mask;
            i64::from(by)
        })
        .collect();
    *body = pack(&shifted, BITS).unwrap();
    added
}

/// Ring width of the simulated rounds.
pub const BITS: u8 = 17;

fn noise(manifest: &mut Manifest) {
    for entry in &mut manifest.sealed {
        entry.sealed.iter_mut().for_each(|byte| *byte ^= 0x5a);
    }
}

fn flip_a_share(response: &mut UnmaskingResponse) {
    if let Some(share) = response.self_mask_shares.values_mut().last() {
        let mut bytes = share.value.0;
        bytes[0] ^= 1;
        share.value = SeedBytes(bytes);
    }
}
