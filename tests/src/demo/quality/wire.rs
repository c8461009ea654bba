//! What an upload takes on the wire under a rounds policy, by the number of sites.

use konclave_crypto::{Encoding, TensorEncoding};
use konclave_policies::rounds::RoundPolicy;
use serde::Serialize;

/// The rosters whose uploads are printed: the demonstration's, and both ends of what the policy's widths are made for.
const ROSTERS: [u16; 3] = [6, 20, 100];

/// An upload among so many sites.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Wire {
    /// Sites in the roster.
    pub sites: u16,
    /// Bits of a ring element.
    pub ring_bits: u8,
    /// Bytes of one parameter in the body.
    pub bytes_per_parameter: f64,
    /// Bytes of the whole body: the parameters and the site's weight.
    pub body_bytes: u64,
}

/// The encoding that a gateway under this policy gives a model's tensors, names and lengths, for a roster of so many sites.
#[must_use]
pub fn encoding(
    policy: &RoundPolicy,
    tensors: impl IntoIterator<Item = (String, u64)>,
    sites: u16,
) -> Encoding {
    let tensor = |(name, len)| TensorEncoding { name, len, clip_micro: policy.clip_micro };
    Encoding {
        tensors: tensors.into_iter().map(tensor).collect(),
        quantisation_bits: policy.quantisation_bits,
        ring_bits: policy.ring_bits(sites, None),
        weight_cap: policy.weight_cap,
    }
}

/// Uploads of a model of so many parameters.
pub(super) fn wire(policy: &RoundPolicy, parameters: u64) -> Vec<Wire> {
    ROSTERS.map(|sites| of_roster(policy, parameters, sites)).into()
}

fn of_roster(policy: &RoundPolicy, parameters: u64, sites: u16) -> Wire {
    let encoding = encoding(policy, [("model".to_owned(), parameters)], sites);
    Wire {
        sites,
        ring_bits: encoding.ring_bits,
        bytes_per_parameter: f64::from(encoding.ring_bits) / 8.0,
        body_bytes: encoding.body_bytes(),
    }
}

#[cfg(test)]
mod tests {
    use konclave_crypto::encoding::pack;

    use super::*;

    #[test]
    fn three_bytes_hold_a_parameter_among_20_to_100_sites_by_the_default_policy() {
        let policy = RoundPolicy::embedded().unwrap();
        for sites in 20..=100 {
            let encoding = encoding(&policy, [("model".to_owned(), 1_000)], sites);
            encoding.validate(usize::from(sites)).unwrap();
            let lanes = vec![u32::MAX; 1_001];
            let body = pack(&lanes, encoding.ring_bits).unwrap();
            assert_eq!(body.len() as u64, encoding.body_bytes());
            assert!(body.len() <= 3 * lanes.len(), "{sites} sites: {} bytes of 1,001 numbers", body.len());
            let wire = of_roster(&policy, 1_000, sites);
            assert!(wire.bytes_per_parameter <= 3.0, "{wire:?}");
        }
    }
}
