//! The client: HTTP/1.1 over TCP or TLS, with a pool of connections to each host.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::{Request, Response};
use http_body::Body;
use hyper_rustls::HttpsConnectorBuilder;
use hyper_util::client::legacy;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::{TokioExecutor, TokioTimer};

use crate::connect::Connector;
use crate::error::Error;

/// The body of an answer, as it comes from the connection.
pub use hyper::body::Incoming;

/// How connections are made and kept.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Config {
    /// Maximum time to make a connection, TLS included. Default: 5 s.
    pub connect_timeout: Duration,
    /// Time after which an unused connection is closed. Default: 60 s.
    pub idle_timeout: Duration,
    /// Maximum number of unused connections kept for a host. Default: 128.
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
    inner: legacy::Client<Connector, B>,
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
    /// A client that trusts whom the system trusts (`SSL_CERT_FILE` and `SSL_CERT_DIR` override it); if the system has no
    /// list, Mozilla's.
    ///
    /// # Errors
    /// If TLS cannot be set up.
    pub fn new(config: &Config) -> Result<Self, Error> {
        let mut tcp = HttpConnector::new();
        tcp.enforce_http(false);
        tcp.set_nodelay(true);
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let builder = HttpsConnectorBuilder::new();
        let builder = match builder.with_provider_and_native_roots(provider.clone()) {
            Ok(builder) => builder,
            // A bare container has no list of its own.
            Err(_) => HttpsConnectorBuilder::new().with_provider_and_webpki_roots(provider).map_err(|_| Error::Tls)?,
        };
        let inner = builder.https_or_http().enable_http1().wrap_connector(tcp);
        let connector = Connector { inner, limit: config.connect_timeout };
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
        self.inner.request(request).await.map_err(|error| Error::of_client(&error, error.is_connect()))
    }
}

/// What a failure to read the rest of an answer's body means.
pub fn body_error(error: &hyper::Error) -> Error {
    Error::of_exchange(error)
}

#[cfg(test)]
mod tests {
    use http_body_util::Empty;
    use tokio::net::TcpListener;

    use super::*;

    async fn get(url: String, limit: Duration) -> Result<Response<Incoming>, Error> {
        let config = Config { connect_timeout: limit, ..Config::default() };
        Client::new(&config).unwrap().send(Request::get(url).body(Empty::<Bytes>::new()).unwrap()).await
    }

    #[tokio::test]
    async fn connections_that_are_not_made_say_why() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        // It takes the connection and says nothing to the handshake.
        let silent = get(format!("https://{address}"), Duration::from_millis(100)).await;
        assert_eq!(silent.unwrap_err(), Error::ConnectTimeout);
        drop(listener);
        let closed = get(format!("http://{address}"), Duration::from_secs(5)).await;
        assert_eq!(closed.unwrap_err(), Error::ConnectionRefused);
        let unknown = get("http://no-such-host.invalid".into(), Duration::from_secs(5)).await;
        assert_eq!(unknown.unwrap_err(), Error::HostNotFound);
    }

    #[tokio::test]
    async fn a_peer_that_does_not_speak_tls_is_told_as_such() {
        use tokio::io::{AsyncReadExt, AsyncWriteExt};

        for (words, reset) in [("HTTP/1.1 400 Bad Request\r\n\r\n", false), ("", false), ("", true)] {
            let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
            let address = listener.local_addr().unwrap();
            tokio::spawn(async move {
                let (mut stream, _) = listener.accept().await.unwrap();
                let _ = stream.read(&mut [0; 4096]).await;
                let _ = stream.write_all(words.as_bytes()).await;
                if reset {
                    stream.set_zero_linger().unwrap();
                }
            });
            let plain = get(format!("https://{address}"), Duration::from_secs(5)).await;
            assert_eq!(plain.unwrap_err(), Error::Tls, "{words:?}, {reset}");
        }
    }
}
