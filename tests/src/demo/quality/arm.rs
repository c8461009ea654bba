//! The ways of averaging that are compared, and what each is for.

use konclave_crypto::Encoding;
use konclave_policies::rounds::RoundPolicy;
use konclave_site::trainer::ModelManifest;

use super::averaging::Averaging;
use super::options::QualityOptions;
use super::wire;

/// What an arm is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Role {
    /// Plain averaging: what the others are measured against.
    Reference,
    /// The same with other shuffles: how much is chance.
    Chance,
    /// The policy's encoding: what is judged.
    Judged,
    /// Another width: whether a loss would show.
    Compared,
}

/// One way of averaging.
#[derive(Debug, Clone)]
pub(super) struct Arm {
    pub(super) name: String,
    pub(super) role: Role,
    pub(super) averaging: Averaging,
}

impl Arm {
    fn encoded(name: String, role: Role, encoding: Encoding) -> Self {
        Self { name, role, averaging: Averaging::Encoded(encoding) }
    }

    /// Distinguishes trainings that may not share their shuffles: all arms but one have the same.
    pub(super) fn shuffles(&self) -> &'static str {
        match self.role {
            Role::Chance => "other",
            Role::Reference | Role::Judged | Role::Compared => "same",
        }
    }

    /// The encoding, if there is one.
    pub(super) fn encoding(&self) -> Option<&Encoding> {
        match &self.averaging {
            Averaging::Float => None,
            Averaging::Encoded(encoding) => Some(encoding),
        }
    }
}

/// All ways, the reference first.
pub(super) fn arms(options: &QualityOptions, policy: &RoundPolicy, model: &ModelManifest) -> Vec<Arm> {
    let tensors = model.parameters.iter().map(|tensor| (tensor.name.clone(), tensor.elements()));
    let encoding = wire::encoding(policy, tensors, options.sites);
    let plain = |name: &str, role| Arm { name: name.to_owned(), role, averaging: Averaging::Float };
    let mut arms = vec![
        plain("plain float", Role::Reference),
        plain("plain float, shuffled anew", Role::Chance),
        Arm::encoded(
            format!("encoded, {} bits (default)", policy.quantisation_bits),
            Role::Judged,
            encoding.clone(),
        ),
    ];
    arms.extend(options.bits.iter().map(|bits| {
        // In the same ring, which holds the weights.
        let other = Encoding { quantisation_bits: *bits, ..encoding.clone() };
        Arm::encoded(format!("encoded, {bits} bits"), Role::Compared, other)
    }));
    arms
}
