//! Set-up with keys and ciphertexts of an enrolled but malicious site: signed well, made of any bytes.

use konclave_crypto::Transcript;
use konclave_crypto::setup::{
    AwaitCiphertexts, KemCiphertext, KemPublicKey, KeyAdvertisement, Roster, advertise,
};
use rand_chacha::ChaCha20Rng;
use rand_core::SeedableRng;

use super::fixture::fixture;
use crate::support::{NOW, job, site};

const KEY_BYTES: usize = 32 + 1184;
const CIPHERTEXT_BYTES: usize = 32 + 1088;

/// A first byte that says which; then the bytes of a public key, or of a ciphertext of any length.
pub fn setup(bytes: &[u8]) {
    match bytes.split_first() {
        Some((kind, rest)) if kind % 2 == 0 => public_key(rest),
        Some((_, rest)) => ciphertext(rest),
        None => {}
    }
}

/// The last site advertises these bytes, over its true key as far as they go.
fn public_key(bytes: &[u8]) {
    let made = fixture();
    let liar = &made.consortium.members[&site(3)];
    let mut advertisements: Vec<KeyAdvertisement> = made.roster().advertisements().to_vec();
    let mut key = *advertisements[3].kem_key.as_bytes();
    for (byte, change) in key.iter_mut().zip(bytes) {
        *byte ^= change;
    }
    advertisements[3].kem_key = KemPublicKey::from(key);
    advertisements[3] = advertisements[3].clone().sign(&liar.key);
    let mut rng = ChaCha20Rng::from_seed([79; 32]);
    let honest = &made.consortium.members[&site(0)];
    let (state, own) = advertise(&job(), &honest.key, &honest.certificate, &mut rng);
    advertisements[0] = own;
    // A key that a roster lets in can be encapsulated to, or is refused by name.
    if let Ok(roster) = Roster::new(job(), advertisements, &made.consortium.root(), NOW)
        && let Ok((_, messages)) = state.encapsulate(&roster, &honest.key, &mut rng)
    {
        assert_eq!(messages.len(), 3);
        assert!(messages.iter().all(|message| message.verify(&roster).is_ok()));
    }
}

/// The first site sends the last one these bytes, over a true ciphertext as far as they go.
fn ciphertext(bytes: &[u8]) {
    let made = fixture();
    let mut rng = ChaCha20Rng::from_seed([80; 32]);
    let members: Vec<_> = made.consortium.members.values().collect();
    let (mut states, mut advertisements) = (Vec::new(), Vec::new());
    for member in members.iter().take(2) {
        let (state, message) = advertise(&job(), &member.key, &member.certificate, &mut rng);
        states.push(state);
        advertisements.push(message);
    }
    let roster = Roster::new(job(), advertisements, &made.consortium.root(), NOW).unwrap();
    let receiver = states.pop().unwrap();
    let (_, mut messages) = states.pop().unwrap().encapsulate(&roster, &members[0].key, &mut rng).unwrap();
    let (receiver, _) = receiver.encapsulate(&roster, &members[1].key, &mut rng).unwrap();
    let stored = receiver.to_secret_bytes();
    let honest = receiver.finish(&roster, messages.clone()).unwrap();

    let message = &mut messages[0];
    for (byte, change) in message.ciphertext.iter_mut().zip(bytes) {
        *byte ^= change;
    }
    message.ciphertext.extend(bytes.iter().skip(CIPHERTEXT_BYTES));
    let altered = bytes.iter().any(|byte| *byte != 0) || bytes.len() > CIPHERTEXT_BYTES;
    message.signature = members[0].key.sign(transcript(message).as_bytes());
    let receiver = AwaitCiphertexts::from_secret_bytes(&stored).unwrap();
    if let Ok(chains) = receiver.finish(&roster, messages) {
        let same = *chains.to_secret_bytes() == *honest.to_secret_bytes();
        assert_eq!(same, !altered, "another ciphertext must give another secret");
    }
}

fn transcript(message: &KemCiphertext) -> Transcript {
    Transcript::new("kem-ciphertext")
        .text(message.job.as_str())
        .text(message.from.as_str())
        .text(message.to.as_str())
        .digest(&message.roster)
        .bytes(&message.ciphertext)
}

/// The true key and ciphertext, and each with one bit changed here and there.
pub fn seeds() -> Vec<Vec<u8>> {
    let mut seeds = vec![vec![0], vec![1]];
    for place in [0, 31, 32, 700, KEY_BYTES - 1] {
        let mut seed = vec![0; place + 2];
        seed[place + 1] = 1;
        seeds.push(seed.clone());
        seed[0] = 1;
        seeds.push(seed);
    }
    seeds
}
