//! Whose share of the connections and requests something takes, and how much of it.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv6Addr, SocketAddr};

use axum::extract::{ConnectInfo, Request, State};
use axum::http::Extensions;
use axum::middleware::Next;
use axum::response::Response;
use konclave_crypto::Digest;

use crate::auth::certificate::shown;
use crate::auth::principal::in_force;
use crate::core::App;

/// Whose share something takes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Holder {
    /// Whoever connects from there and shows no certificate in force. Of IPv6 it is a network.
    Address(IpAddr),
    /// Whoever has this key, of a member's or client's certificate in force (SHA-256 of the SubjectPublicKeyInfo).
    Certificate(Digest),
}

impl Holder {
    /// What one client can be reached from: an IPv4 address, or the 64 bits of an IPv6 network.
    pub(crate) fn at(address: IpAddr) -> Self {
        Self::Address(match address.to_canonical() {
            v4 @ IpAddr::V4(_) => v4,
            IpAddr::V6(v6) => IpAddr::V6(Ipv6Addr::from_bits(v6.to_bits() >> 64 << 64)),
        })
    }

    /// The holder of a request's share.
    fn of(app: &App, extensions: &Extensions) -> Self {
        let certificate = shown(extensions).and_then(|der| in_force(app, der));
        certificate.map_or_else(
            || {
                let peer = extensions.get::<ConnectInfo<SocketAddr>>();
                Self::at(peer.map_or(IpAddr::V6(Ipv6Addr::UNSPECIFIED), |ConnectInfo(peer)| peer.ip()))
            },
            Self::Certificate,
        )
    }
}

/// The layer that says whose share a request takes, before [`super::bounded`].
pub(crate) async fn held(State(app): State<App>, mut request: Request, next: Next) -> Response {
    let holder = Holder::of(&app, request.extensions());
    request.extensions_mut().insert(holder);
    next.run(request).await
}

/// How much of something each holder has.
#[derive(Debug, Default)]
pub(super) struct Shares {
    total: usize,
    /// Without a certificate in force.
    anonymous: usize,
    by_holder: BTreeMap<Holder, usize>,
}

impl Shares {
    /// What all have.
    pub(super) fn total(&self) -> usize {
        self.total
    }

    /// What those have together that show no certificate in force.
    pub(super) fn anonymous(&self) -> usize {
        self.anonymous
    }

    /// What one has.
    pub(super) fn of(&self, holder: Holder) -> usize {
        self.by_holder.get(&holder).copied().unwrap_or_default()
    }

    /// One more.
    pub(super) fn add(&mut self, holder: Holder) {
        self.total += 1;
        self.anonymous += usize::from(matches!(holder, Holder::Address(_)));
        *self.by_holder.entry(holder).or_default() += 1;
    }

    /// One less, of those that were added.
    pub(super) fn remove(&mut self, holder: Holder) {
        self.total -= 1;
        self.anonymous -= usize::from(matches!(holder, Holder::Address(_)));
        if let Some(count) = self.by_holder.get_mut(&holder) {
            *count -= 1;
            if *count == 0 {
                self.by_holder.remove(&holder);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_ipv6_network_is_one_address_and_a_mapped_ipv4_address_is_itself() {
        let at = |text: &str| Holder::at(text.parse().unwrap());
        assert_eq!(at("2001:db8::1"), at("2001:db8::9"));
        assert_ne!(at("2001:db8::1"), at("2001:db8:0:1::1"));
        assert_eq!(at("::ffff:192.0.2.1"), at("192.0.2.1"));
        assert_ne!(at("192.0.2.1"), at("192.0.2.2"));
    }

    #[test]
    fn what_was_added_and_removed_leaves_nothing() {
        let mut shares = Shares::default();
        let holders = [Holder::at(IpAddr::from([192, 0, 2, 1])), Holder::Certificate(Digest::of(b"key"))];
        for holder in [holders[0], holders[1], holders[0]] {
            shares.add(holder);
        }
        assert_eq!((shares.total(), shares.anonymous()), (3, 2));
        assert_eq!(holders.map(|holder| shares.of(holder)), [2, 1]);
        for holder in [holders[0], holders[0], holders[1]] {
            shares.remove(holder);
        }
        assert_eq!((shares.total(), shares.anonymous(), shares.by_holder.len()), (0, 0, 0));
    }
}
