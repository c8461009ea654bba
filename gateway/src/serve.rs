//! Serving: opens the deployment, listens, and stops in good order.

use std::io::{self, Write};
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;

use axum_server::Handle;
use axum_server::tls_rustls::RustlsConfig;
use konclave_crypto::{ConsortiumRoot, IdentityKey, IdentityPublicKey, MembershipCertificate};
use konclave_policies::authorization::{Authorizer, LoadError};
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::watch;
use zeroize::Zeroizing;

use crate::auth::clients::Clients;
use crate::auth::principal::in_force;
use crate::auth::replay::UsedAssertions;
use crate::auth::token_keys::{TokenKeys, TokenKeysError};
use crate::auth::tokens::Tokens;
use crate::capacity::{Capacity, InForce, Requests};
use crate::config::{Config, ConfigError};
use crate::core::{App, Clock, CoreOptions, OpenError};
use crate::folder::{Folder, SecretError, read_seed};
use crate::intake::IntakeError;
use crate::listener;
use crate::router::{Edge, router};
use crate::tls::{TlsError, install_provider, server_config};
use crate::traffic::Recorder;

/// Why the gateway does not start. The operator reads what to do in the message.
#[derive(Debug, thiserror::Error)]
pub enum ServeError {
    /// The configuration is wrong.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// A file of the deployment cannot be read or written.
    #[error("{path}: {source}")]
    File {
        /// The file or folder.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// A file of the deployment does not hold what it should.
    #[error("{path} is damaged: {detail}; restore it from a backup")]
    Damaged {
        /// The file.
        path: PathBuf,
        /// How.
        detail: String,
    },
    /// A secret file cannot be taken.
    #[error(transparent)]
    Secret(#[from] SecretError),
    /// The token keys cannot be loaded.
    #[error(transparent)]
    TokenKeys(#[from] TokenKeysError),
    /// The Cedar policies are wrong.
    #[error("the authorisation policies are wrong: {0}")]
    Policies(#[from] LoadError),
    /// TLS cannot be set up.
    #[error(transparent)]
    Tls(#[from] TlsError),
    /// The core does not open.
    #[error(transparent)]
    Open(#[from] OpenError),
    /// The operator's records cannot be taken in.
    #[error(transparent)]
    Intake(#[from] IntakeError),
    /// The address cannot be listened on.
    #[error("cannot listen on {address}: {source}; is another gateway running, or is `listen` wrong?")]
    Listen {
        /// The address.
        address: SocketAddr,
        /// Why.
        source: io::Error,
    },
    /// Accepting connections failed.
    #[error("the server stopped: {0}")]
    Server(#[source] io::Error),
}

/// A gateway ready to serve.
pub struct Gateway {
    app: App,
    edge: Edge,
    tls: rustls::ServerConfig,
    capacity: Capacity,
}

/// Everything but the core that a deployment's folder holds, read and checked.
pub struct Deployment {
    /// What the core is opened with.
    pub core: CoreOptions,
    /// The keys that sign access tokens.
    pub token_keys: TokenKeys,
    /// Where traffic is recorded, if it is.
    pub recorder: Option<Recorder>,
    /// The server's side of TLS.
    pub tls: rustls::ServerConfig,
}

impl Deployment {
    /// Reads all of a deployment and changes nothing in it: another gateway may be serving it.
    ///
    /// # Errors
    /// [`ServeError`] names the file at fault.
    pub fn read(config: Config, clock: Clock, recorder: Option<Recorder>) -> Result<Self, ServeError> {
        let folder = config.folder.clone();
        let tls = server_config(&folder)?;
        let token_keys = TokenKeys::load(&folder.keys())?;
        let core = CoreOptions {
            authorizer: authorizer(&folder)?,
            identity: IdentityKey::from_seed(read_seed(&folder.identity_key())?),
            certificate: gateway_certificate(&folder)?,
            root: consortium_root(&folder)?,
            ledger_seed: present_ledger_seed(&folder)?,
            rounds_policy: at(folder.rounds_policy(), |path| std::fs::read_to_string(path))?,
            clock,
            on_stop: crate::writer::exit_process(),
            config,
        };
        Ok(Self { core, token_keys, recorder, tls })
    }
}

/// The seed of the ledger's key; none if it is gone and the next one is laid out.
fn present_ledger_seed(folder: &Folder) -> Result<Option<Zeroizing<[u8; 32]>>, SecretError> {
    if !folder.ledger_key().exists() && folder.next_ledger_key().exists() {
        return Ok(None);
    }
    read_seed(&folder.ledger_key()).map(Some)
}

/// The gateway's certificate under the consortium root.
///
/// # Errors
/// [`ServeError`].
pub fn gateway_certificate(folder: &Folder) -> Result<MembershipCertificate, ServeError> {
    let path = folder.gateway_certificate();
    let text = at(path.clone(), |path| std::fs::read(path))?;
    serde_json::from_slice(&text).map_err(|error| ServeError::Damaged { path, detail: error.to_string() })
}

/// The consortium root of a deployment.
///
/// # Errors
/// [`ServeError`].
pub fn consortium_root(folder: &Folder) -> Result<ConsortiumRoot, ServeError> {
    let path = folder.root_public();
    let text = at(path.clone(), |path| std::fs::read_to_string(path))?;
    let key: IdentityPublicKey = text
        .trim()
        .parse()
        .map_err(|error: konclave_crypto::IdError| ServeError::Damaged { path, detail: error.to_string() })?;
    Ok(ConsortiumRoot(key))
}

fn authorizer(folder: &Folder) -> Result<Authorizer, ServeError> {
    let own = folder.authorization_policies();
    Ok(if own.is_dir() { Authorizer::load(&own)? } else { Authorizer::embedded()? })
}

fn at<T>(path: PathBuf, act: impl FnOnce(&std::path::Path) -> io::Result<T>) -> Result<T, ServeError> {
    act(&path).map_err(|source| ServeError::File { path, source })
}

impl Gateway {
    /// Opens a deployment: the ledger is verified and replayed, the operator's records are taken in. Whatever else a
    /// start changes in the folder is changed under the ledger's lock, which only one process holds.
    ///
    /// # Errors
    /// [`ServeError`].
    pub async fn open(deployment: Deployment) -> Result<Self, ServeError> {
        install_provider();
        let app = App::open(deployment.core).await?;
        let config = app.config();
        let used = at(config.folder.used_assertions(), |path| UsedAssertions::open(path, app.clock().now()))?;
        let clients = Clients::new(config.folder.clients());
        let tokens = Tokens::new(config.settings.public_url.clone(), deployment.token_keys, clients, used);
        let capacity = Capacity::claim(&config.settings.limits);
        let edge = Edge {
            tokens: Arc::new(tokens),
            recorder: deployment.recorder,
            requests: Requests::new(&capacity, config.settings.timeouts.answer()),
        };
        // What is not taken in does not keep the gateway down: `intake::run` tells it and tries again.
        drop(crate::intake::take_in(&app).await);
        Ok(Self { app, edge, tls: deployment.tls, capacity })
    }

    /// The core.
    #[must_use]
    pub fn app(&self) -> &App {
        &self.app
    }

    /// Serves until `handle` is shut down. `handle.listening()` tells the address.
    ///
    /// # Errors
    /// [`ServeError::Listen`] or [`ServeError::Server`].
    pub async fn serve(self, handle: Handle<SocketAddr>) -> Result<(), ServeError> {
        let settings = self.app.config().settings.clone();
        let address = settings.listen;
        let listen = |source| ServeError::Listen { address, source };
        let listener = std::net::TcpListener::bind(address).map_err(listen)?;
        let (stop, stopped) = watch::channel(false);
        let coordinator = tokio::spawn(crate::coordinator::run(self.app.clone(), stopped.clone()));
        let intake = tokio::spawn(crate::intake::run(self.app.clone(), stopped.clone()));
        let keys = self.app.config().folder.keys();
        let tokens = Arc::clone(&self.edge.tokens);
        let token_keys = tokio::spawn(crate::auth::key_watch::run(tokens, keys, stopped.clone()));
        let witnesses = tokio::spawn(crate::core::witnesses::run(self.app.clone(), stopped.clone()));
        let uploads = tokio::spawn(crate::uploads::run(self.app.clone(), stopped.clone()));
        let folder = self.app.config().folder.clone();
        let tls = RustlsConfig::from_config(Arc::new(self.tls));
        let app = self.app.clone();
        let in_force: InForce = Arc::new(move |der| in_force(&app, der));
        let server = listener::server(listener, tls.clone(), self.capacity, in_force, &settings.timeouts)
            .map_err(listen)?
            .handle(handle);
        let tls = tokio::spawn(crate::tls::watch::run(tls, folder, stopped));
        let service = router(self.app, self.edge);
        let service = service.into_make_service_with_connect_info::<SocketAddr>();
        let served = server.serve(service).await.map_err(ServeError::Server);
        stop.send_replace(true);
        for task in [coordinator, intake, token_keys, witnesses, uploads, tls] {
            if let Err(error) = task.await {
                tracing::error!(%error, "a background task failed");
            }
        }
        served
    }
}

/// The command `serve`: prints the address once ready, stops on SIGTERM or SIGINT.
///
/// # Errors
/// [`ServeError`].
pub async fn run(config: Config, recorder: Option<Recorder>) -> Result<(), ServeError> {
    tracing::warn!(
        "attestation: none. Nothing proves which code this gateway runs; members rely on the protocol and the ledger"
    );
    let timeout = config.settings.timeouts.shutdown();
    let gateway = Gateway::open(Deployment::read(config, Clock::System, recorder)?).await?;
    let handle = Handle::new();
    let listening = handle.clone();
    let announce = tokio::spawn(async move {
        if let Some(address) = listening.listening().await {
            let mut out = io::stdout().lock();
            // Whoever started the gateway may have closed the pipe; that is no reason to stop.
            let _ = writeln!(out, "listening on https://{address}").and_then(|()| out.flush());
        }
    });
    let stopping = handle.clone();
    let signals = tokio::spawn(async move {
        match told_to_stop().await {
            Ok(name) => tracing::info!(signal = name, "stopping: no new connections, open requests may end"),
            Err(error) => {
                tracing::error!(%error, "signals cannot be received; the gateway will not stop in good order");
                return;
            }
        }
        stopping.graceful_shutdown(Some(timeout));
    });
    let served = gateway.serve(handle).await;
    announce.abort();
    signals.abort();
    tracing::info!("stopped");
    served
}

async fn told_to_stop() -> io::Result<&'static str> {
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    Ok(tokio::select! {
        _ = terminate.recv() => "SIGTERM",
        _ = interrupt.recv() => "SIGINT",
    })
}
