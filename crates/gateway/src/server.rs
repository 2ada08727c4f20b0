//! The gateway as a whole: both listeners bound, then served, then drained.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use hyper::body::Incoming;
use hyper::{Request, Response};
use stormproof::{Mistakes, Registry};
use stormproof_http::{Client, client};
use tokio::net::TcpListener;
use tokio::sync::{Semaphore, mpsc, watch};
use tower_service::Service;

use crate::admin::{self, Admin};
use crate::body::Reply;
use crate::config::{Config, Settings};
use crate::connection::{Door, Phase, Room, Serve, builder};
use crate::feed::Feed;
use crate::guard::Guard;
use crate::proxy::Proxy;
use crate::upstreams::{Reload, Upstreams};

/// Connections of the admin API at a time.
const ADMIN_CONNECTIONS: usize = 256;

/// A gateway that has its addresses and does not serve yet.
#[derive(Debug)]
pub struct Server {
    settings: Settings,
    data: TcpListener,
    admin: TcpListener,
    addresses: (SocketAddr, SocketAddr),
    reload: Reload,
    proxy: Proxy,
    token: Option<String>,
}

/// Why the gateway cannot start.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum StartError {
    /// An address could not be bound.
    #[error("cannot listen on {address} ({purpose}): {reason}")]
    Listen {
        /// The address.
        address: SocketAddr,
        /// What for.
        purpose: &'static str,
        /// Why not.
        reason: String,
    },
    /// The admin API would be open to everybody.
    #[error(
        "the admin API on {0} could be used by anybody who reaches that address: set STORMPROOF_ADMIN_TOKEN, or let it \
         listen on a loopback address"
    )]
    PublicAdmin(SocketAddr),
    /// The token is set but says nothing.
    #[error("STORMPROOF_ADMIN_TOKEN is set but empty")]
    EmptyToken,
    /// The configuration is not valid.
    #[error("the configuration: {0}")]
    Config(Mistakes),
    /// The client for the upstreams could not be set up.
    #[error("the client for the upstreams: {0}")]
    Client(stormproof_http::Error),
}

/// How the gateway ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use]
pub enum Ended {
    /// Everything that was under way came to its end.
    Drained,
    /// Something was still under way after `drain_timeout`, and was broken off.
    TimedOut,
    /// It was told to end at once.
    Aborted,
}

impl Server {
    /// Takes both addresses. A `token` must be shown by whoever uses the admin API; without one the API listens on
    /// loopback addresses only.
    ///
    /// # Errors
    /// If the configuration is not valid, an address cannot be taken, or the admin API would be open to everybody.
    pub async fn bind(config: Config, token: Option<String>) -> Result<Self, StartError> {
        // A file or a shell easily puts a line's end behind it.
        let token = token.map(|token| token.trim().to_owned());
        if token.as_ref().is_some_and(String::is_empty) {
            return Err(StartError::EmptyToken);
        }
        let admin = config.gateway.admin;
        if !admin.ip().is_loopback() && token.is_none() {
            return Err(StartError::PublicAdmin(admin));
        }
        let (feed, registry, upstreams) = (Feed::default(), Registry::new(), Upstreams::default());
        feed.listen_to(&registry);
        let reload = Reload { upstreams, registry, feed, settings: config.gateway.clone() };
        reload.put_in_force(&config).map_err(StartError::Config)?;
        let settings = config.gateway;
        let client = Client::new(&client::Config::default()).map_err(StartError::Client)?;
        let proxy = Proxy::new(reload.upstreams.clone(), client, reload.feed.clone(), &settings);
        let (data, admin) = (listen(settings.listen, "calls").await?, listen(settings.admin, "admin API").await?);
        let addresses = (address(&data, settings.listen), address(&admin, settings.admin));
        Ok(Self { settings, data, admin, addresses, reload, proxy, token })
    }

    /// The address for calls.
    pub fn address(&self) -> SocketAddr {
        self.addresses.0
    }

    /// The address of the admin API.
    pub fn admin_address(&self) -> SocketAddr {
        self.addresses.1
    }

    /// The events of all upstreams.
    pub fn feed(&self) -> &Feed {
        &self.reload.feed
    }

    /// What puts another configuration in force while the gateway serves.
    pub fn reload(&self) -> Reload {
        self.reload.clone()
    }

    /// Serves until `drain` is ready; then accepts nothing more and lets what is under way end, for at most
    /// `drain_timeout` and until `abort` is ready.
    pub async fn serve<T>(self, drain: impl Future<Output = ()>, abort: impl Future<Output = T>) -> Ended {
        let (stop, phase) = watch::channel(Phase::Serving);
        let admin = Admin { upstreams: self.reload.upstreams, feed: self.reload.feed, phase: phase.clone() };
        let guard = Guard::new(self.addresses.1, self.settings.admin_hosts.clone(), self.token);
        // The admin API goes on while calls drain, so that it can be seen.
        let (stop_admin, admin_phase) = watch::channel(Phase::Serving);
        let router = AdminApi(admin::router(Arc::new(admin), guard));
        let (data, mut drained) = door(self.data, self.proxy, phase, self.settings.max_connections, &self.settings);
        let (admin, mut admin_drained) = door(self.admin, router, admin_phase, ADMIN_CONNECTIONS, &self.settings);
        let doors = (tokio::spawn(data.run()), tokio::spawn(admin.run()));

        drain.await;
        let _ = stop.send(Phase::Draining);
        let ended = tokio::select! {
            _ = drained.recv() => Ended::Drained,
            () = tokio::time::sleep(self.settings.drain_timeout) => Ended::TimedOut,
            _ = abort => Ended::Aborted,
        };
        let _ = stop.send(Phase::Ending);
        let _ = stop_admin.send(Phase::Ending);
        // Broken off connections give back what they hold on their way out.
        let farewell = async {
            let _ = drained.recv().await;
            let _ = admin_drained.recv().await;
            let _ = (doors.0.await, doors.1.await);
        };
        let _ = tokio::time::timeout(Duration::from_secs(1), farewell).await;
        ended
    }
}

async fn listen(address: SocketAddr, purpose: &'static str) -> Result<TcpListener, StartError> {
    TcpListener::bind(address).await.map_err(|error| {
        let reason = match error.kind() {
            io::ErrorKind::AddrInUse => "the port is in use".into(),
            io::ErrorKind::PermissionDenied => "not permitted".into(),
            io::ErrorKind::AddrNotAvailable => "this machine does not have that address".into(),
            _ => error.to_string(),
        };
        StartError::Listen { address, purpose, reason }
    })
}

/// The address in fact, with the port that was chosen for port 0.
fn address(listener: &TcpListener, asked: SocketAddr) -> SocketAddr {
    listener.local_addr().unwrap_or(asked)
}

fn door<S: Serve>(
    listener: TcpListener,
    service: S,
    phase: watch::Receiver<Phase>,
    connections: usize,
    settings: &Settings,
) -> (Door<S>, mpsc::Receiver<()>) {
    let (alive, drained) = mpsc::channel(1);
    let slots = Arc::new(Semaphore::new(connections));
    let (service, builder, client_timeout) = (Arc::new(service), builder(settings), settings.client_timeout);
    let room = Room { service, phase, alive, builder, client_timeout };
    (Door { listener, slots, room }, drained)
}

impl Serve for Proxy {
    type Body = Reply;

    async fn serve(&self, request: Request<Incoming>) -> Response<Reply> {
        self.answer(request).await
    }
}

struct AdminApi(axum::Router);

impl Serve for AdminApi {
    type Body = axum::body::Body;

    async fn serve(&self, request: Request<Incoming>) -> Response<axum::body::Body> {
        // A router is always ready.
        match self.0.clone().call(request).await {
            Ok(response) => response,
            Err(never) => match never {},
        }
    }
}
