//! The server below every route: how connections are taken in, and what one of them may hold.

use std::io;
use std::net::{SocketAddr, TcpListener};
use std::time::Duration;

use axum_server::Server;
use axum_server::tls_rustls::{RustlsAcceptor, RustlsConfig};

use crate::capacity::{Admission, Capacity, Connections, InForce};
use crate::config::Timeouts;

/// A server with the gateway's TLS, limits and times; what it answers comes later. `in_force` tells whose client certificates
/// stand for somebody.
///
/// # Errors
/// Those of the listener.
pub fn server(
    listener: TcpListener,
    tls: RustlsConfig,
    capacity: Capacity,
    in_force: InForce,
    timeouts: &Timeouts,
) -> io::Result<Server<SocketAddr, Admission>> {
    let acceptor = Admission {
        tls: RustlsAcceptor::new(tls).handshake_timeout(timeouts.header()),
        connections: Connections::new(capacity),
        in_force,
        stalled: timeouts.answer(),
    };
    let mut server = axum_server::from_tcp(listener)?
        .acceptor(acceptor)
        .first_request_timeout(timeouts.header())
        .accept_error_handler(|peer, error| tracing::info!(?peer, %error, "a connection was not accepted"));
    bound_connections(&mut server, timeouts);
    Ok(server)
}

/// What one connection may hold: headers of 16 KiB within their time, 64 streams, and windows large enough for fast
/// uploads (with the default ones HTTP/2 gives a third of the speed).
fn bound_connections(server: &mut Server<SocketAddr, Admission>, timeouts: &Timeouts) {
    const WINDOW: u32 = 8 << 20;
    const HEADER_BYTES: u32 = 16 << 10;
    let builder = server.http_builder();
    builder.http1().header_read_timeout(timeouts.header()).max_buf_size(64 << 10);
    builder
        .http2()
        .initial_connection_window_size(WINDOW)
        .initial_stream_window_size(WINDOW)
        .max_concurrent_streams(64)
        .max_header_list_size(HEADER_BYTES)
        .keep_alive_interval(Duration::from_secs(20))
        .keep_alive_timeout(timeouts.header());
}
