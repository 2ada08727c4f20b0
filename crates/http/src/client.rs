//! The client: HTTP/1.1 over TCP or TLS, with a pool of connections to each host.

use std::time::Duration;

use bytes::Bytes;
use http::{Request, Response};
use http_body::Body;
use hyper_rustls::{HttpsConnector, HttpsConnectorBuilder};
use hyper_util::client::legacy;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::{TokioExecutor, TokioTimer};

use crate::error::Error;

/// The body of an answer, as it comes from the connection.
pub use hyper::body::Incoming;

/// How connections are made and kept.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Config {
    /// The longest that making a connection may take. Default: 5 s.
    pub connect_timeout: Duration,
    /// A connection that was not used for so long is closed. Default: 60 s.
    pub idle_timeout: Duration,
    /// So many unused connections are kept for a host. Default: 128.
    pub max_idle: usize,
}

impl Default for Config {
    fn default() -> Self {
        Self { connect_timeout: Duration::from_secs(5), idle_timeout: Duration::from_secs(60), max_idle: 128 }
    }
}

/// Sends requests whose bodies are `B`. Cheap to clone; clones share the pool.
#[derive(Debug)]
pub struct Client<B> {
    inner: legacy::Client<HttpsConnector<HttpConnector>, B>,
}

impl<B> Clone for Client<B> {
    fn clone(&self) -> Self {
        Self { inner: self.inner.clone() }
    }
}

impl<B> Client<B>
where
    B: Body<Data = Bytes> + Send + Unpin + 'static,
    B::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
{
    /// A client that trusts the certificates of Mozilla's list.
    ///
    /// # Errors
    /// If TLS cannot be set up.
    pub fn new(config: &Config) -> Result<Self, Error> {
        let mut tcp = HttpConnector::new();
        tcp.enforce_http(false);
        tcp.set_connect_timeout(Some(config.connect_timeout));
        tcp.set_nodelay(true);
        let connector = HttpsConnectorBuilder::new()
            .with_provider_and_webpki_roots(hyper_rustls_provider())
            .map_err(|_| Error::Tls)?
            .https_or_http()
            .enable_http1()
            .wrap_connector(tcp);
        let inner = legacy::Client::builder(TokioExecutor::new())
            .pool_timer(TokioTimer::new())
            .pool_idle_timeout(config.idle_timeout)
            .pool_max_idle_per_host(config.max_idle)
            .build(connector);
        Ok(Self { inner })
    }

    /// Sends a request to the host in its URI and waits for the header of the answer. A request that was not begun,
    /// because a kept connection turned out to be closed, is sent on another one.
    ///
    /// # Errors
    /// If there is no answer. An answer with any status is not an error.
    pub async fn send(&self, request: Request<B>) -> Result<Response<Incoming>, Error> {
        self.inner
            .request(request)
            .await
            .map_err(|error| if error.is_connect() { Error::of_connecting(&error) } else { Error::of_exchange(&error) })
    }
}

/// What a failure to read the rest of an answer's body means.
pub fn body_error(error: &hyper::Error) -> Error {
    Error::of_exchange(error)
}

fn hyper_rustls_provider() -> rustls::crypto::CryptoProvider {
    rustls::crypto::ring::default_provider()
}
