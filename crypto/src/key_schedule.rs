//! The key schedule: HKDF-SHA256 (RFC 5869) from pair secrets to mask seeds and sealing keys.
//!
//! ```text
//! ss_mlkem || ss_x25519 --Extract(salt = roster)--> PRK
//!   PRK --Expand(pair, "chain")--> ck^1        ck^r --Expand("next")--> ck^(r+1)
//!   PRK --Expand(pair, "seal-up")--> ek^1 i->j   (likewise "seal-down" j->i; ek^r --Expand("next")--> ek^(r+1))
//! ck^r --Expand("pair-seed", ctx)--> s_ij      (64 bytes, reduced to a scalar)
//! ek^r --Expand("seal-round", ctx, from, to)--> round key --Expand("seal-message", commitments)--> AES key, nonce
//! seed --Extract(salt = ctx), Expand("mask-stream")--> AES-256 key of a mask
//! ```
//!
//! The sealing keys are ratcheted like the chain keys, which the protocol text does not ask for: without it, whoever
//! steals the sealing keys of t sites late in a job could open the recorded shares of every earlier round.

use hkdf::Hkdf;
use sha2::Sha256;

use crate::digest::Digest;
use crate::ids::{JobId, SiteId};
use crate::kem::SharedSecret;
use crate::secret::Secret;
use crate::transcript::Transcript;

/// The public facts of one pair's encapsulation.
pub(crate) struct PairFacts<'a> {
    pub(crate) roster: Digest,
    pub(crate) job: &'a JobId,
    /// The earlier site, which encapsulated.
    pub(crate) lower: &'a SiteId,
    /// The later site, which decapsulates.
    pub(crate) upper: &'a SiteId,
    pub(crate) upper_key: Digest,
    pub(crate) ciphertext: Digest,
}

/// First-round secrets of a pair.
pub(crate) struct PairSecrets {
    pub(crate) chain: Secret<32>,
    /// Seals what the lower site sends to the upper one.
    pub(crate) upward: Secret<32>,
    /// Seals what the upper site sends to the lower one.
    pub(crate) downward: Secret<32>,
}

pub(crate) fn pair_secrets(shared: &SharedSecret, facts: &PairFacts<'_>) -> PairSecrets {
    let extracted = Hkdf::<Sha256>::new(Some(facts.roster.as_bytes()), shared.expose());
    let derive = |label| {
        let info = Transcript::new("pair")
            .text(facts.job.as_str())
            .text(facts.lower.as_str())
            .text(facts.upper.as_str())
            .digest(&facts.upper_key)
            .digest(&facts.ciphertext)
            .text(label);
        expand(&extracted, &info)
    };
    PairSecrets { chain: derive("chain"), upward: derive("seal-up"), downward: derive("seal-down") }
}

/// The key of the next round; the caller erases the old one by overwriting it.
pub(crate) fn next(key: &Secret<32>) -> Secret<32> {
    expand(&from_key(key), &Transcript::new("next"))
}

/// 64 bytes to be reduced to the pairwise seed of a round.
pub(crate) fn pair_seed_bytes(chain: &Secret<32>, context: &Digest) -> Secret<64> {
    expand(&from_key(chain), &Transcript::new("pair-seed").digest(context))
}

/// The key under which `from` seals for `to` in one round.
pub(crate) fn round_seal_key(
    sealing: &Secret<32>,
    context: &Digest,
    from: &SiteId,
    to: &SiteId,
) -> Secret<32> {
    let info = Transcript::new("seal-round").digest(context).text(from.as_str()).text(to.as_str());
    expand(&from_key(sealing), &info)
}

/// AES-256-GCM key and nonce of one sealed message.
///
/// The Merkle root over the dealt shares enters the derivation. A dealer that deals twice in one context therefore
/// uses two keys: a pair (key, nonce) repeats only together with its whole plaintext.
pub(crate) fn message_key(round_key: &Secret<32>, share_root: &Digest) -> Secret<44> {
    expand(&from_key(round_key), &Transcript::new("seal-message").digest(share_root))
}

/// AES-256 key of the mask that a seed stands for.
pub(crate) fn mask_stream_key(seed: &[u8; 32], context: &Digest) -> Secret<32> {
    let extracted = Hkdf::<Sha256>::new(Some(context.as_bytes()), seed);
    expand(&extracted, &Transcript::new("mask-stream"))
}

#[expect(clippy::expect_used, reason = "HKDF refuses a key only below 32 bytes, which the type excludes")]
fn from_key(key: &Secret<32>) -> Hkdf<Sha256> {
    Hkdf::from_prk(key.expose()).expect("a 32-byte key")
}

#[expect(clippy::expect_used, reason = "HKDF refuses lengths only above 8160 bytes; the largest here is 64")]
fn expand<const N: usize>(hkdf: &Hkdf<Sha256>, info: &Transcript) -> Secret<N> {
    let mut out = Secret::zeroed();
    hkdf.expand(info.as_bytes(), out.expose_mut()).expect("a short output");
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::seed::Seed;
    use crate::text::to_hex;
    use crate::vectors;

    /// Every value of the schedule for one set of inputs, by name.
    fn schedule(input: &serde_json::Value) -> serde_json::Value {
        let digest = |name: &str| Digest(vectors::bytes(&input[name]));
        let site = |name: &str| input[name].as_str().unwrap().parse::<SiteId>().unwrap();
        let (lower, upper) = (site("lower"), site("upper"));
        let facts = PairFacts {
            roster: digest("roster"),
            job: &input["job"].as_str().unwrap().parse().unwrap(),
            lower: &lower,
            upper: &upper,
            upper_key: digest("upper_key"),
            ciphertext: digest("ciphertext"),
        };
        let context = digest("context");
        let secrets = pair_secrets(&Secret::copy_from(&vectors::bytes(&input["shared"])), &facts);
        let seed = Seed::from_wide(&pair_seed_bytes(&secrets.chain, &context));
        let round_key = round_seal_key(&secrets.upward, &context, &lower, &upper);
        serde_json::json!({
            "chain": to_hex(secrets.chain.expose()),
            "seal_up": to_hex(secrets.upward.expose()),
            "seal_down": to_hex(secrets.downward.expose()),
            "next_chain": to_hex(next(&secrets.chain).expose()),
            "pair_seed": to_hex(seed.expose()),
            "pair_commitment": seed.pair_commitment(&context, &upper, &lower).to_string(),
            "self_commitment": seed.self_commitment(&context, &lower).to_string(),
            "mask_key": to_hex(seed.stream_key(&context).expose()),
            "round_seal_key": to_hex(round_key.expose()),
            "message_key": to_hex(message_key(&round_key, &digest("share_root")).expose()),
        })
    }

    #[test]
    fn known_answers() {
        let file = vectors::load(include_str!("../vectors/key_schedule.json"));
        for case in vectors::cases(&file, "positive") {
            assert_eq!(schedule(&case["input"]), case["output"]);
        }
        for case in vectors::cases(&file, "negative") {
            // One input changed: each named output must move, and each other one must stay.
            let found = schedule(&case["input"]);
            let moved: Vec<String> = serde_json::from_value(case["moves"].clone()).unwrap();
            assert!(!moved.is_empty());
            for (name, value) in found.as_object().unwrap() {
                let expected = moved.contains(name);
                assert_eq!(*value != case["output"][name], expected, "{}: {name}", case["why"]);
            }
        }
    }

    #[test]
    fn hkdf_is_rfc_5869() {
        // Appendix A.1.
        let salt = crate::text::from_hex::<13>("000102030405060708090a0b0c").unwrap();
        let info = crate::text::from_hex::<10>("f0f1f2f3f4f5f6f7f8f9").unwrap();
        let mut okm = [0; 42];
        Hkdf::<Sha256>::new(Some(&salt), &[0x0b; 22]).expand(&info, &mut okm).unwrap();
        assert_eq!(
            to_hex(&okm),
            "3cb25f25faacd57a90434f64d0362f2a2d2d0a90cf1a5a4c5db02d56ecc4c5bf34007208d5b887185865"
        );
    }
}
