//! Key set-up: what a gateway in the middle can change, and that it is noticed.

#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::cast_possible_truncation,
    reason = "a test may panic"
)]

mod support;

use std::collections::BTreeMap;

use konclave_crypto::setup::{
    AwaitCiphertexts, AwaitRoster, KemCiphertext, KemPublicKey, KeyAdvertisement, Roster, RosterError,
    SetupError, advertise,
};
use konclave_crypto::{ConsortiumRootKey, IdentityKey, MemberRole, SiteId};
use rand_chacha::ChaCha20Rng;
use rand_core::SeedableRng;
use support::{Member, NOW, job, member, site};

struct Bench {
    rng: ChaCha20Rng,
    root: ConsortiumRootKey,
    members: BTreeMap<SiteId, Member>,
    states: BTreeMap<SiteId, AwaitRoster>,
    advertisements: Vec<KeyAdvertisement>,
}

impl Bench {
    fn new(sites: usize) -> Self {
        let mut rng = ChaCha20Rng::from_seed([42; 32]);
        let root = ConsortiumRootKey::generate(&mut rng);
        let (mut members, mut states, mut advertisements) = (BTreeMap::new(), BTreeMap::new(), Vec::new());
        for index in 0..sites {
            let member = member(&root, site(index), MemberRole::Site, index as u64, &mut rng);
            let (state, message) = advertise(&job(), &member.key, &member.certificate, &mut rng);
            states.insert(site(index), state);
            advertisements.push(message);
            members.insert(site(index), member);
        }
        Self { rng, root, members, states, advertisements }
    }

    fn roster(&self) -> Roster {
        Roster::new(job(), self.advertisements.clone(), &self.root.root(), NOW).unwrap()
    }

    fn encapsulate(&mut self, id: &SiteId, roster: &Roster) -> (AwaitCiphertexts, Vec<KemCiphertext>) {
        let state = self.states.remove(id).unwrap();
        state.encapsulate(roster, &self.members[id].key, &mut self.rng).unwrap()
    }
}

#[test]
fn a_replaced_or_damaged_ciphertext_is_noticed() {
    let mut bench = Bench::new(3);
    let roster = bench.roster();
    let (_, from_0) = bench.encapsulate(&site(0), &roster);
    let (_, from_1) = bench.encapsulate(&site(1), &roster);
    let (state, none) = bench.encapsulate(&site(2), &roster);
    assert!(none.is_empty());
    assert_eq!(from_0.iter().map(|message| &message.to).collect::<Vec<_>>(), [&site(1), &site(2)]);
    let stored = state.to_secret_bytes();
    let honest = vec![from_0[1].clone(), from_1[0].clone()];
    let finish = |messages: Vec<KemCiphertext>| {
        AwaitCiphertexts::from_secret_bytes(&stored).unwrap().finish(&roster, messages)
    };

    // A gateway in the middle encapsulates itself: it cannot sign as site 0.
    let mut replaced = honest.clone();
    replaced[0].ciphertext = from_1[0].ciphertext.clone();
    assert_eq!(finish(replaced).unwrap_err(), SetupError::Signature { from: site(0) });
    let mut flipped = honest.clone();
    flipped[0].ciphertext[40] ^= 1;
    assert_eq!(finish(flipped).unwrap_err(), SetupError::Signature { from: site(0) });

    // Messages of another pair, one too few, one twice.
    let misdirected = vec![from_0[0].clone(), from_1[0].clone()];
    assert!(matches!(finish(misdirected).unwrap_err(), SetupError::Misaddressed { .. }));
    assert_eq!(finish(vec![honest[0].clone()]).unwrap_err(), SetupError::Missing { from: site(1) });
    let twice = vec![honest[0].clone(), honest[0].clone(), honest[1].clone()];
    assert_eq!(finish(twice).unwrap_err(), SetupError::Repeated { from: site(0) });

    // A signature does not carry over to another addressee.
    let mut readdressed = honest.clone();
    readdressed[0] = KemCiphertext { to: site(2), ..from_0[0].clone() };
    assert_eq!(finish(readdressed).unwrap_err(), SetupError::Signature { from: site(0) });
    assert_eq!(finish(honest).unwrap().round().get(), 1);
}

#[test]
fn a_key_replaced_by_the_gateway_is_noticed_by_its_owner() {
    let mut bench = Bench::new(3);
    // Even a gateway with a validly certified double of site 0 (a stolen root) does not go unnoticed.
    let double = IdentityKey::generate(&mut bench.rng);
    let mut membership = bench.members[&site(0)].certificate.membership.clone();
    membership.identity_key = double.public();
    let certificate = bench.root.issue(membership);
    let (_, forged) = advertise(&job(), &double, &certificate, &mut bench.rng);
    bench.advertisements[0] = forged;
    let roster = bench.roster();
    let state = bench.states.remove(&site(0)).unwrap();
    let refused = state.encapsulate(&roster, &bench.members[&site(0)].key, &mut bench.rng);
    assert_eq!(refused.unwrap_err(), SetupError::OwnKeys { site: site(0) });
}

#[test]
fn a_substituted_kem_key_breaks_the_advertisement() {
    let mut bench = Bench::new(3);
    let stolen = bench.advertisements[1].kem_key.clone();
    bench.advertisements[0].kem_key = stolen;
    let refused = Roster::new(job(), bench.advertisements.clone(), &bench.root.root(), NOW);
    assert_eq!(refused.unwrap_err(), RosterError::Signature { site: site(0) });
}

#[test]
fn a_low_order_kem_key_is_refused_though_its_site_signed_it() {
    let bench = Bench::new(3);
    let mut bytes = *bench.advertisements[0].kem_key.as_bytes();
    bytes[..32].fill(0);
    let signed = |kem_key: KemPublicKey| {
        let mut message = bench.advertisements[0].clone();
        message.kem_key = kem_key;
        message.sign(&bench.members[&site(0)].key)
    };
    let list = |first| {
        let rest = bench.advertisements.iter().skip(1).cloned();
        Roster::new(job(), std::iter::once(first).chain(rest).collect(), &bench.root.root(), NOW)
    };
    assert_eq!(list(signed(KemPublicKey::from(bytes))).unwrap_err(), RosterError::KemKey { site: site(0) });
    // An unreduced lattice coefficient.
    let mut bytes = *bench.advertisements[0].kem_key.as_bytes();
    bytes[32..40].fill(0xff);
    assert_eq!(list(signed(KemPublicKey::from(bytes))).unwrap_err(), RosterError::KemKey { site: site(0) });
    // Two sites with one key.
    let copied = signed(bench.advertisements[1].kem_key.clone());
    assert_eq!(list(copied).unwrap_err(), RosterError::Duplicate { site: site(1) });
}

#[test]
fn two_rosters_give_unrelated_keys() {
    // The same sites and keys, but one more member: a gateway cannot mix sites that saw different rosters.
    let mut bench = Bench::new(4);
    let large = bench.roster();
    let small = Roster::new(job(), bench.advertisements[..3].to_vec(), &bench.root.root(), NOW).unwrap();
    assert_ne!(large.digest(), small.digest());
    let (_, from_0) = bench.encapsulate(&site(0), &large);
    let (state, _) = bench.encapsulate(&site(1), &small);
    let refused = state.finish(&small, vec![from_0[0].clone()]).unwrap_err();
    assert!(matches!(refused, SetupError::Misaddressed { .. }));
}

#[test]
fn rosters_have_one_digest_whatever_the_order() {
    let mut bench = Bench::new(5);
    let digest = bench.roster().digest();
    bench.advertisements.rotate_left(2);
    assert_eq!(bench.roster().digest(), digest);
    assert_eq!(bench.roster().index_of(&site(3)), Some(3));
    let alone = Roster::new(job(), bench.advertisements[..1].to_vec(), &bench.root.root(), NOW);
    assert_eq!(alone.unwrap_err(), RosterError::Size { found: 1 });
}

#[test]
fn stored_states_continue_where_they_stopped() {
    let mut bench = Bench::new(2);
    let roster = bench.roster();
    let (_, messages) = bench.encapsulate(&site(0), &roster);
    let stored = bench.states.remove(&site(1)).unwrap().to_secret_bytes();
    let restored = AwaitRoster::from_secret_bytes(&stored).unwrap();
    let key = &bench.members[&site(1)].key;
    let (state, _) = restored.encapsulate(&roster, key, &mut bench.rng).unwrap();
    let state = AwaitCiphertexts::from_secret_bytes(&state.to_secret_bytes()).unwrap();
    assert!(state.finish(&roster, messages).is_ok());
}
