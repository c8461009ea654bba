//! Connections: how many are open, from where, and with a client certificate or not.

use std::collections::BTreeMap;
use std::io;
use std::net::IpAddr;
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use axum_server::accept::Accept;
use axum_server::tls_rustls::RustlsAcceptor;
use konclave_crypto::Digest;
use tokio::net::TcpStream;
use tokio::sync::oneshot;

use super::shares::{Holder, Shares};
use super::{Capacity, Counted};

/// The count of open connections. Cloning shares it.
#[derive(Debug, Clone)]
pub struct Connections(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    capacity: Capacity,
    open: Mutex<Open>,
}

#[derive(Debug, Default)]
struct Open {
    shares: Shares,
    /// How many were admitted: the number of the next one.
    admitted: u64,
    /// Those in their handshake, oldest first.
    half_open: BTreeMap<u64, HalfOpen>,
}

/// A connection in its handshake: whose share it takes, and how it is told to give way.
#[derive(Debug)]
struct HalfOpen {
    holder: Holder,
    gives_way: oneshot::Sender<()>,
}

/// The place of one open connection; dropping it makes room.
#[derive(Debug)]
pub struct Ticket {
    connections: Connections,
    number: u64,
    /// Whose share it takes, once the handshake is done.
    settled: Option<Holder>,
}

/// Why a connection is closed. Whoever connects waits, or keeps fewer connections open.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// The gateway holds as many as it can.
    #[error("all connections are in use")]
    Full,
    /// Its address holds as many as one may without a certificate in force.
    #[error("too many connections without a client certificate from this address")]
    Address,
    /// Its certificate holds as many as one may.
    #[error("too many connections with this client certificate")]
    Certificate,
    /// The last quarter is kept for connections with a certificate in force.
    #[error("the connections that are left are for members")]
    MembersOnly,
    /// All connections were in use, and of those in their handshake it was the oldest.
    #[error("its handshake was not done, and another connection needed the place")]
    GaveWay,
}

impl From<Refusal> for io::Error {
    fn from(refusal: Refusal) -> Self {
        Self::new(io::ErrorKind::QuotaExceeded, refusal)
    }
}

impl Connections {
    /// None is open yet.
    #[must_use]
    pub fn new(capacity: Capacity) -> Self {
        Self(Arc::new(Shared { capacity, open: Mutex::default() }))
    }

    /// Takes in a connection that has not shown a certificate; it must end when the receiver is told so. If all are in use,
    /// the oldest one in its handshake gives way: whoever only connects keeps nobody out.
    ///
    /// # Errors
    /// The refusal.
    pub fn admit(&self, address: IpAddr) -> Result<(Ticket, oneshot::Receiver<()>), Refusal> {
        let (capacity, holder) = (self.0.capacity, Holder::at(address));
        let mut open = self.open();
        if open.shares.of(holder) >= capacity.connections_per_address {
            return Err(Refusal::Address);
        }
        if open.shares.total() >= capacity.connections {
            let (_, oldest) = open.half_open.pop_first().ok_or(Refusal::Full)?;
            open.shares.remove(oldest.holder);
            // If nobody listens any more it is ending already.
            let _ = oldest.gives_way.send(());
        }
        let (gives_way, told) = oneshot::channel();
        let number = open.admitted;
        open.admitted += 1;
        open.shares.add(holder);
        open.half_open.insert(number, HalfOpen { holder, gives_way });
        Ok((Ticket { connections: self.clone(), number, settled: None }, told))
    }

    fn open(&self) -> std::sync::MutexGuard<'_, Open> {
        self.0.open.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Ticket {
    /// The handshake is done, with the key of a certificate in force or without.
    ///
    /// # Errors
    /// A refusal: with one, if it has as many as one may; without, if three quarters of all connections are settled.
    pub fn settle(&mut self, certificate: Option<Digest>) -> Result<(), Refusal> {
        let capacity = self.connections.0.capacity;
        let mut open = self.connections.open();
        let half_open = open.half_open.remove(&self.number).ok_or(Refusal::GaveWay)?;
        open.shares.remove(half_open.holder);
        let holder = certificate.map_or(half_open.holder, Holder::Certificate);
        // Those in their handshake give way, so they are in nobody's.
        let settled = open.shares.total() - open.half_open.len();
        if certificate.is_none() && settled >= capacity.connections - capacity.connections / 4 {
            return Err(Refusal::MembersOnly);
        }
        if open.shares.of(holder) >= capacity.connections_per_address {
            return Err(Refusal::Certificate);
        }
        open.shares.add(holder);
        self.settled = Some(holder);
        Ok(())
    }
}

impl Drop for Ticket {
    fn drop(&mut self) {
        let mut open = self.connections.open();
        let half_open = open.half_open.remove(&self.number).map(|half_open| half_open.holder);
        if let Some(holder) = self.settled.or(half_open) {
            open.shares.remove(holder);
        }
    }
}

/// Tells the key of a client certificate (SHA-256 of its SubjectPublicKeyInfo), if the certificate stands for somebody.
pub type InForce = Arc<dyn Fn(&[u8]) -> Option<Digest> + Send + Sync>;

/// Takes connections in before their TLS handshake, and settles them after it.
#[derive(Clone)]
pub struct Admission {
    /// The handshake.
    pub tls: RustlsAcceptor,
    /// The count.
    pub connections: Connections,
    /// The key of a client certificate (DER), if it is in force.
    pub in_force: InForce,
    /// How long a connection may take nothing of what is to be sent.
    pub stalled: Duration,
}

type Accepted<S> = <RustlsAcceptor as Accept<Counted, S>>::Stream;
type Service<S> = <RustlsAcceptor as Accept<Counted, S>>::Service;

impl<S: Send + 'static> Accept<TcpStream, S> for Admission {
    type Stream = Accepted<S>;
    type Service = Service<S>;
    type Future = Pin<Box<dyn Future<Output = io::Result<(Accepted<S>, Service<S>)>> + Send>>;

    fn accept(&self, stream: TcpStream, service: S) -> Self::Future {
        // Before anything is awaited: a connection too many is closed at once.
        let admitted = stream.peer_addr().and_then(|peer| Ok(self.connections.admit(peer.ip())?));
        let (tls, in_force, stalled) = (self.tls.clone(), Arc::clone(&self.in_force), self.stalled);
        Box::pin(async move {
            let (ticket, told) = admitted?;
            let handshake = tls.accept(Counted::new(stream, ticket, stalled), service);
            let (mut stream, service) = tokio::select! {
                done = handshake => done?,
                Ok(()) = told => return Err(Refusal::GaveWay.into()),
            };
            let (counted, session) = stream.get_mut();
            let shown = session.peer_certificates().and_then(|chain| chain.first());
            counted.ticket.settle(shown.and_then(|der| in_force(der)))?;
            Ok((stream, service))
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn connections() -> Connections {
        Connections::new(Capacity { connections: 8, connections_per_address: 3, requests: 1 })
    }

    fn address(text: &str) -> IpAddr {
        text.parse().unwrap()
    }

    fn admit(connections: &Connections, host: usize) -> Ticket {
        connections.admit(address(&format!("192.0.2.{host}"))).unwrap().0
    }

    fn key(name: &str) -> Option<Digest> {
        Some(Digest::of(name.as_bytes()))
    }

    #[test]
    fn an_address_has_its_share_until_it_shows_certificates() {
        let connections = connections();
        let mut held: Vec<_> = (0..3).map(|_| admit(&connections, 1)).collect();
        assert_eq!(connections.admit(address("192.0.2.1")).unwrap_err(), Refusal::Address);
        held[0].settle(key("alpha")).unwrap();
        held.push(admit(&connections, 1));
        assert_eq!(connections.admit(address("192.0.2.1")).unwrap_err(), Refusal::Address);
        drop(held);
        let open = connections.open();
        assert_eq!((open.shares.total(), open.half_open.len()), (0, 0));
    }

    #[test]
    fn a_certificate_has_its_share_wherever_it_is_shown() {
        let connections = connections();
        let mut held: Vec<_> = (1..=3).map(|host| admit(&connections, host)).collect();
        for ticket in &mut held {
            ticket.settle(key("alpha")).unwrap();
        }
        assert_eq!(admit(&connections, 4).settle(key("alpha")).unwrap_err(), Refusal::Certificate);
        let mut other = admit(&connections, 4);
        other.settle(key("beta")).unwrap();
        held.pop();
        admit(&connections, 4).settle(key("alpha")).unwrap();
    }

    #[test]
    fn the_last_quarter_is_for_certificates_and_nothing_goes_beyond_all() {
        let connections = connections();
        let mut held: Vec<_> = (0..6).map(|host| admit(&connections, host)).collect();
        for ticket in &mut held {
            ticket.settle(None).unwrap();
        }
        assert_eq!(admit(&connections, 6).settle(None).unwrap_err(), Refusal::MembersOnly);
        for host in [6, 7] {
            let mut member = admit(&connections, host);
            member.settle(key("alpha")).unwrap();
            held.push(member);
        }
        assert_eq!(connections.admit(address("192.0.2.8")).unwrap_err(), Refusal::Full);
    }

    #[test]
    fn the_oldest_in_its_handshake_gives_way_when_all_are_in_use() {
        let connections = connections();
        let mut settled = admit(&connections, 0);
        settled.settle(None).unwrap();
        let mut held: Vec<_> =
            (1..8).map(|host| connections.admit(address(&format!("192.0.2.{host}"))).unwrap()).collect();
        let mut late = admit(&connections, 8);
        let told: Vec<_> = held.iter_mut().map(|(_, told)| told.try_recv().is_ok()).collect();
        assert_eq!(told, [true, false, false, false, false, false, false]);
        // One that is done at the same moment has no place any more.
        assert_eq!(held[0].0.settle(key("alpha")).unwrap_err(), Refusal::GaveWay);
        late.settle(key("beta")).unwrap();
        let mut partner = admit(&connections, 9);
        partner.settle(None).unwrap();
        assert_eq!(connections.open().shares.total(), 8);
        drop(held);
        assert_eq!(connections.open().shares.total(), 3);
    }
}
