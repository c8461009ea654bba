//! Key set-up under a gateway that changes what it passes on, with every site restarting at every step.

use std::collections::BTreeSet;

use konclave_crypto::setup::{
    AwaitCiphertexts, AwaitRoster, KemCiphertext, KeyAdvertisement, PairwiseChains, Roster, advertise,
};
use konclave_crypto::site::mask;
use konclave_crypto::{JobId, Mode, RingVector, SiteId};
use rand_chacha::ChaCha20Rng;
use rand_core::SeedableRng;

use crate::keys::Keys;
use crate::observer::Violation;
use crate::random::{draw, one_of};
use crate::support::{NOW, job};

/// What the gateway changes for one site.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Meddling {
    /// Another KEM key in somebody's advertisement.
    SubstitutedKey,
    /// A key that the site did not advertise, under its own certificate and another's signature.
    ForeignAdvertisement,
    /// A roster without another site, while all others see the whole one.
    SplitRoster,
    /// A ciphertext with a bit flipped.
    FlippedCiphertext,
    /// A ciphertext of the gateway's making, with the sender's name on it.
    SubstitutedCiphertext,
    /// A true ciphertext of another job.
    ReplayedCiphertext,
    /// One ciphertext less.
    MissingCiphertext,
    /// One ciphertext twice.
    RepeatedCiphertext,
    /// A ciphertext meant for another site.
    MisdirectedCiphertext,
}

pub const MEDDLING: [Meddling; 9] = [
    Meddling::SubstitutedKey,
    Meddling::ForeignAdvertisement,
    Meddling::SplitRoster,
    Meddling::FlippedCiphertext,
    Meddling::SubstitutedCiphertext,
    Meddling::ReplayedCiphertext,
    Meddling::MissingCiphertext,
    Meddling::RepeatedCiphertext,
    Meddling::MisdirectedCiphertext,
];

/// A set-up as its messages and stored states are.
struct SetUp {
    advertisements: Vec<KeyAdvertisement>,
    await_roster: Vec<Vec<u8>>,
    await_ciphertexts: Vec<Vec<u8>>,
    ciphertexts: Vec<KemCiphertext>,
}

fn set_up(keys: &Keys, job: &JobId, rng: &mut ChaCha20Rng) -> SetUp {
    let members: Vec<_> = keys.consortium.members.values().collect();
    let mut made = SetUp {
        advertisements: Vec::new(),
        await_roster: Vec::new(),
        await_ciphertexts: Vec::new(),
        ciphertexts: Vec::new(),
    };
    for member in &members {
        let (state, message) = advertise(job, &member.key, &member.certificate, rng);
        made.await_roster.push(state.to_secret_bytes().to_vec());
        made.advertisements.push(message);
    }
    let root = keys.consortium.root();
    let roster = Roster::new(job.clone(), made.advertisements.clone(), &root, NOW).unwrap();
    for (bytes, member) in made.await_roster.iter().zip(&members) {
        let state = AwaitRoster::from_secret_bytes(bytes).unwrap();
        let (state, messages) = state.encapsulate(&roster, &member.key, rng).unwrap();
        made.await_ciphertexts.push(state.to_secret_bytes().to_vec());
        made.ciphertexts.extend(messages);
    }
    made
}

fn addressed<'a>(made: &'a SetUp, site: &SiteId) -> impl Iterator<Item = KemCiphertext> + use<'a> {
    let site = site.clone();
    made.ciphertexts.iter().filter(move |message| message.to == site).cloned()
}

/// Plays one set-up of a seed: the victim must refuse what was changed, and finish with the true messages.
pub fn play(seed: u64) -> Result<Meddling, Violation> {
    let rng = &mut ChaCha20Rng::seed_from_u64(seed);
    let keys = Keys::of(3 + draw(rng, 6), seed);
    let count = keys.sites.len();
    let made = set_up(&keys, &job(), rng);
    let root = keys.consortium.root();
    let roster = Roster::new(job(), made.advertisements.clone(), &root, NOW).unwrap();

    // The last two sites have at least one ciphertext each to lose, to take and to get from another.
    let victim = count - 1 - draw(rng, 2);
    let (id, key) = (&keys.sites[victim], keys.key(victim));
    let meddling = one_of(rng, &MEDDLING);
    let refused = match meddling {
        Meddling::SubstitutedKey | Meddling::ForeignAdvertisement | Meddling::SplitRoster => {
            let mut list = made.advertisements.clone();
            let other = draw(rng, victim);
            let (_, foreign) = {
                let member = keys.consortium.members.get(&keys.sites[other]).unwrap();
                let signer = if meddling == Meddling::SubstitutedKey { &member.key } else { key };
                advertise(&job(), signer, &member.certificate, rng)
            };
            match meddling {
                Meddling::SubstitutedKey => list[other].kem_key = foreign.kem_key,
                Meddling::ForeignAdvertisement => list[other] = foreign,
                _ => drop(list.remove(other)),
            }
            match Roster::new(job(), list, &root, NOW) {
                Err(_) => true,
                Ok(split) => {
                    // The victim alone goes on with the other roster: nobody's ciphertexts fit it, nor its any other's.
                    let state = AwaitRoster::from_secret_bytes(&made.await_roster[victim]).unwrap();
                    let (state, messages) = state.encapsulate(&split, key, rng).unwrap();
                    let strangers = messages.iter().all(|message| message.verify(&roster).is_err());
                    strangers && state.finish(&split, addressed(&made, id).collect()).is_err()
                }
            }
        }
        _ => {
            let mut messages: Vec<KemCiphertext> = addressed(&made, id).collect();
            let at = draw(rng, messages.len());
            match meddling {
                Meddling::FlippedCiphertext => {
                    let byte = draw(rng, messages[at].ciphertext.len());
                    messages[at].ciphertext[byte] ^= 1 << draw(rng, 8);
                }
                Meddling::SubstitutedCiphertext => {
                    let other = set_up(&keys, &job(), rng);
                    messages[at].ciphertext = addressed(&other, id).nth(at).unwrap().ciphertext;
                }
                Meddling::ReplayedCiphertext => {
                    let other = set_up(&keys, &"job-2".parse().unwrap(), rng);
                    messages[at] = addressed(&other, id).nth(at).unwrap();
                }
                Meddling::MissingCiphertext => drop(messages.remove(at)),
                Meddling::RepeatedCiphertext => messages.push(messages[at].clone()),
                _ => {
                    let meant = made.ciphertexts.iter().find(|message| message.to != *id).unwrap();
                    messages[at] = meant.clone();
                }
            }
            let state = AwaitCiphertexts::from_secret_bytes(&made.await_ciphertexts[victim]).unwrap();
            state.finish(&roster, messages).is_err()
        }
    };
    if !refused {
        return Err(format!("seed {seed}: {id} went on with {meddling:?}"));
    }
    agree_on_seeds(&keys, &roster, &made, rng)?;
    Ok(meddling)
}

/// With the true messages every site finishes, and both ends of every pair have the same secret.
fn agree_on_seeds(
    keys: &Keys,
    roster: &Roster,
    made: &SetUp,
    rng: &mut ChaCha20Rng,
) -> Result<(), Violation> {
    let context =
        konclave_crypto::RoundContext { roster: roster.digest(), ..keys.consortium.context(Mode::Full) };
    let floor = konclave_crypto::SiteFloor { batch_size: 1, ..crate::support::FLOOR };
    let signed = keys.consortium.signed(context);
    let verified = signed.verify(&keys.consortium.root(), roster, NOW, &floor).unwrap();
    let encoding = &verified.context().encoding;
    let mut headers = Vec::new();
    for (position, id) in keys.sites.iter().enumerate() {
        let state = AwaitCiphertexts::from_secret_bytes(&made.await_ciphertexts[position]).unwrap();
        let chains =
            state.finish(roster, addressed(made, id).collect()).map_err(|error| error.to_string())?;
        let chains = PairwiseChains::from_secret_bytes(&chains.to_secret_bytes()).unwrap();
        let update = RingVector::from_lanes(vec![1; encoding.lanes() as usize], encoding.ring_bits).unwrap();
        let (_, manifest, _) = mask(&chains, roster, &verified, keys.key(position), update, rng).unwrap();
        headers.push(manifest.signed.header);
    }
    let mut seen = BTreeSet::new();
    for one in &headers {
        for other in headers.iter().filter(|other| other.site > one.site) {
            let hash = one.pair_seed_hashes[&other.site];
            if hash != other.pair_seed_hashes[&one.site] || !seen.insert(hash) {
                return Err(format!("{} and {} have no secret of their own", one.site, other.site));
            }
        }
    }
    Ok(())
}
