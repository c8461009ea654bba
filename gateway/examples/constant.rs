//! A server that answers every request with the same line, over the gateway's TLS and under its limits on connections,
//! and does nothing else: what `make bench-api` compares the gateway with.
//!
//! `constant DIR` serves with the certificates and the settings of the deployment in DIR, on a free port of 127.0.0.1.

use std::error::Error;
use std::io::{self, Write};
use std::net::TcpListener;
use std::sync::Arc;

use axum::Router;
use axum_server::tls_rustls::RustlsConfig;
use konclave_crypto::Digest;
use konclave_gateway::capacity::{Capacity, InForce};
use konclave_gateway::config::{Config, Overrides};
use konclave_gateway::folder::Folder;
use konclave_gateway::listener;
use konclave_gateway::tls::{install_provider, server_config};

fn main() -> Result<(), Box<dyn Error>> {
    let folder = std::env::args_os().nth(1).ok_or("usage: constant DIR, where DIR is a deployment")?;
    let config = Config::load(Folder::new(folder), &Overrides::default())?;
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    runtime.block_on(serve(config))
}

async fn serve(config: Config) -> Result<(), Box<dyn Error>> {
    install_provider();
    let tls = RustlsConfig::from_config(Arc::new(server_config(&config.folder)?));
    let limits = Capacity::claim(&config.settings.limits);
    let socket = TcpListener::bind("127.0.0.1:0")?;
    let address = socket.local_addr()?;
    // Who asks does not matter here.
    let everybody: InForce = Arc::new(|der| Some(Digest::of(der)));
    let server = listener::server(socket, tls, limits, everybody, &config.settings.timeouts)?;
    let mut out = io::stdout();
    writeln!(out, "listening on https://{address}")?;
    out.flush()?;
    let router = Router::new().fallback(async || "alive\n");
    Ok(server.serve(router.into_make_service()).await?)
}
