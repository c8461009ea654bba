//! Connections: how many are open, from where, and with a client certificate or not.

use std::collections::BTreeMap;
use std::io;
use std::net::{IpAddr, Ipv6Addr};
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll};
use std::time::Duration;

use axum_server::accept::Accept;
use axum_server::tls_rustls::RustlsAcceptor;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio::time::Sleep;

use super::Capacity;

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
    total: usize,
    /// Those that have shown no client certificate, by address.
    anonymous: BTreeMap<IpAddr, usize>,
}

/// The place of one open connection; dropping it makes room.
#[derive(Debug)]
pub struct Ticket {
    connections: Connections,
    /// Where it comes from, as long as it has shown no client certificate.
    anonymous: Option<IpAddr>,
}

/// Why a connection is closed. Whoever connects waits, or keeps fewer connections open.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// The gateway holds as many as it can.
    #[error("all connections are in use")]
    Full,
    /// Its address holds as many as one may without a client certificate.
    #[error("too many connections without a client certificate from this address")]
    Address,
    /// The last quarter is kept for connections with a client certificate.
    #[error("the connections that are left are for members")]
    MembersOnly,
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

    /// Takes in a connection that has not shown a certificate.
    ///
    /// # Errors
    /// The refusal.
    pub fn admit(&self, address: IpAddr) -> Result<Ticket, Refusal> {
        let (capacity, address) = (self.0.capacity, network(address));
        let mut open = self.open();
        if open.total >= capacity.connections {
            return Err(Refusal::Full);
        }
        let here = open.anonymous.get(&address).copied().unwrap_or_default();
        if here >= capacity.connections_per_address {
            return Err(Refusal::Address);
        }
        open.total += 1;
        open.anonymous.insert(address, here + 1);
        Ok(Ticket { connections: self.clone(), anonymous: Some(address) })
    }

    fn open(&self) -> std::sync::MutexGuard<'_, Open> {
        self.0.open.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Open {
    fn identify(&mut self, address: IpAddr) {
        if let Some(count) = self.anonymous.get_mut(&address) {
            *count -= 1;
            if *count == 0 {
                self.anonymous.remove(&address);
            }
        }
    }
}

impl Ticket {
    /// The handshake is done, with a client certificate or without.
    ///
    /// # Errors
    /// A refusal without one, if three quarters of all connections are open.
    pub fn settle(&mut self, certificate: bool) -> Result<(), Refusal> {
        let mut open = self.connections.open();
        if certificate {
            if let Some(address) = self.anonymous.take() {
                open.identify(address);
            }
            return Ok(());
        }
        let connections = self.connections.0.capacity.connections;
        if open.total > connections - connections / 4 { Err(Refusal::MembersOnly) } else { Ok(()) }
    }
}

impl Drop for Ticket {
    fn drop(&mut self) {
        let mut open = self.connections.open();
        open.total -= 1;
        if let Some(address) = self.anonymous.take() {
            open.identify(address);
        }
    }
}

/// What one client can be reached from: an IPv4 address, or the 64 bits of an IPv6 network.
fn network(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        v4 @ IpAddr::V4(_) => v4,
        IpAddr::V6(v6) => IpAddr::V6(Ipv6Addr::from_bits(v6.to_bits() >> 64 << 64)),
    }
}

/// A TCP connection with its place. One whose other side takes nothing of what is to be sent for too long ends.
#[derive(Debug)]
pub struct Counted {
    stream: TcpStream,
    ticket: Ticket,
    /// How long it may take nothing.
    limit: Duration,
    /// Until when it must take something, while there is something to send.
    until: Option<Pin<Box<Sleep>>>,
}

impl Counted {
    /// The outcome of a write, or an error if none went on for too long.
    fn in_time<T>(&mut self, cx: &mut Context<'_>, written: Poll<io::Result<T>>) -> Poll<io::Result<T>> {
        if written.is_ready() {
            self.until = None;
            return written;
        }
        let limit = self.limit;
        let until = self.until.get_or_insert_with(|| Box::pin(tokio::time::sleep(limit)));
        match until.as_mut().poll(cx) {
            Poll::Ready(()) => {
                let stalled = io::Error::new(io::ErrorKind::TimedOut, "the client takes nothing");
                Poll::Ready(Err(stalled))
            }
            Poll::Pending => Poll::Pending,
        }
    }
}

impl AsyncRead for Counted {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_read(cx, buffer)
    }
}

impl AsyncWrite for Counted {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.stream).poll_write(cx, bytes);
        self.in_time(cx, written)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.stream).poll_write_vectored(cx, slices);
        self.in_time(cx, written)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }
}

/// Takes connections in before their TLS handshake, and settles them after it.
#[derive(Debug, Clone)]
pub struct Admission {
    /// The handshake.
    pub tls: RustlsAcceptor,
    /// The count.
    pub connections: Connections,
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
        let counted = stream
            .peer_addr()
            .and_then(|peer| Ok(self.connections.admit(peer.ip())?))
            .map(|ticket| Counted { stream, ticket, limit: self.stalled, until: None });
        let tls = self.tls.clone();
        Box::pin(async move {
            let (mut stream, service) = tls.accept(counted?, service).await?;
            let (counted, session) = stream.get_mut();
            let certificate = session.peer_certificates().is_some_and(|chain| !chain.is_empty());
            counted.ticket.settle(certificate)?;
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

    #[test]
    fn an_address_has_its_share_until_it_shows_certificates() {
        let connections = connections();
        let mut held: Vec<_> = (0..3).map(|_| connections.admit(address("192.0.2.1")).unwrap()).collect();
        assert_eq!(connections.admit(address("192.0.2.1")).unwrap_err(), Refusal::Address);
        assert_eq!(connections.admit(address("::ffff:192.0.2.1")).unwrap_err(), Refusal::Address);
        held[0].settle(true).unwrap();
        held.push(connections.admit(address("192.0.2.1")).unwrap());
        assert_eq!(connections.admit(address("192.0.2.1")).unwrap_err(), Refusal::Address);
        drop(held);
        assert!(connections.open().anonymous.is_empty() && connections.open().total == 0);
    }

    #[test]
    fn an_ipv6_network_is_one_address() {
        let connections = connections();
        let _held: Vec<_> =
            (1..=3).map(|host| connections.admit(address(&format!("2001:db8::{host}"))).unwrap()).collect();
        assert_eq!(connections.admit(address("2001:db8::9")).unwrap_err(), Refusal::Address);
        connections.admit(address("2001:db8:0:1::9")).unwrap();
    }

    #[test]
    fn the_last_quarter_is_for_certificates_and_nothing_goes_beyond_all() {
        let connections = connections();
        let admit = |host: usize| connections.admit(address(&format!("192.0.2.{host}"))).unwrap();
        let mut held: Vec<_> = (0..6).map(admit).collect();
        held[5].settle(false).unwrap();
        let mut late = admit(6);
        assert_eq!(late.settle(false).unwrap_err(), Refusal::MembersOnly);
        late.settle(true).unwrap();
        held.push(admit(7));
        assert_eq!(connections.admit(address("192.0.2.8")).unwrap_err(), Refusal::Full);
    }
}
