//! Why an exchange did not come to an answer.

use std::error::Error as StdError;
use std::io;

/// Why an exchange ended without an answer. Contains nothing of the request, so no secret in it can reach a log.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The name of the host could not be resolved.
    #[error("the host was not found")]
    HostNotFound,
    /// No program listens at the address.
    #[error("the connection was refused")]
    ConnectionRefused,
    /// No connection within the time for it.
    #[error("connecting took too long")]
    ConnectTimeout,
    /// The connection could not be made for another reason.
    #[error("the connection could not be made")]
    ConnectFailed,
    /// The connection could not be made secure: a certificate that does not match, or a peer without TLS.
    #[error("the secure connection could not be made")]
    Tls,
    /// The peer broke the connection off.
    #[error("the connection was reset")]
    ConnectionReset,
    /// The connection ended before the answer did.
    #[error("the answer was cut off")]
    Incomplete,
    /// The answer is not HTTP, or its header is larger than allowed.
    #[error("the answer is not valid HTTP")]
    InvalidResponse,
    /// The answer did not come in the time for it.
    #[error("the answer took too long")]
    Timeout,
    /// The body of the request broke off at its source: the caller's fault, not the callee's.
    #[error("the body of the request broke off")]
    RequestBroken,
    /// The request cannot be sent as it is: the caller's fault.
    #[error("the request cannot be sent")]
    InvalidRequest,
    /// The connection failed in another way.
    #[error("the connection failed")]
    Other,
}

/// Error that ends a request body whose source broke off, so that the failure does not count against the callee.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the body of the request broke off")]
pub struct BrokenRequest;

impl Error {
    pub(crate) const ALL: [Self; 12] = [
        Self::HostNotFound,
        Self::ConnectionRefused,
        Self::ConnectTimeout,
        Self::ConnectFailed,
        Self::Tls,
        Self::ConnectionReset,
        Self::Incomplete,
        Self::InvalidResponse,
        Self::Timeout,
        Self::RequestBroken,
        Self::InvalidRequest,
        Self::Other,
    ];

    /// The kind, as retry lists, events and refusals write it.
    pub const fn kind(self) -> &'static str {
        match self {
            Self::HostNotFound => "ConnectionError.HostNotFound",
            Self::ConnectionRefused => "ConnectionError.ConnectionRefused",
            Self::ConnectTimeout => "ConnectionError.ConnectTimeout",
            Self::ConnectFailed => "ConnectionError.ConnectFailed",
            Self::Tls => "ConnectionError.Tls",
            Self::ConnectionReset => "ConnectionError.ConnectionReset",
            Self::Incomplete => "ConnectionError.Incomplete",
            Self::InvalidResponse => "ConnectionError.InvalidResponse",
            Self::Timeout => "TimeoutError",
            Self::RequestBroken => "ClientError.RequestBroken",
            Self::InvalidRequest => "ClientError.InvalidRequest",
            Self::Other => "ConnectionError",
        }
    }

    /// Whether the error is the caller's fault.
    pub const fn is_callers_fault(self) -> bool {
        matches!(self, Self::RequestBroken | Self::InvalidRequest)
    }

    /// The error of a client, from its chain of causes.
    pub(crate) fn of_client(error: &(dyn StdError + 'static), connecting: bool) -> Self {
        if connecting { Self::of_connecting(error) } else { Self::of_exchange(error) }
    }

    /// The failure of an open connection, from the chain of causes.
    pub(crate) fn of_exchange(error: &(dyn StdError + 'static)) -> Self {
        if find::<BrokenRequest>(error).is_some() {
            return Self::RequestBroken;
        }
        // What the connection says is more precise than what the protocol makes of it.
        let known = chain(error).filter_map(|error| error.downcast_ref::<io::Error>()).find_map(of_io);
        if let Some(known) = known {
            return known;
        }
        let Some(protocol) = find::<hyper::Error>(error) else { return Self::Other };
        if protocol.is_incomplete_message() {
            Self::Incomplete
        } else if protocol.is_parse() {
            Self::InvalidResponse
        } else if protocol.is_canceled() || protocol.is_closed() {
            Self::ConnectionReset
        } else if protocol.is_user() {
            Self::InvalidRequest
        } else if protocol.is_timeout() {
            Self::ConnectTimeout
        } else {
            Self::Other
        }
    }

    /// The reason why no connection was made, from the chain of causes.
    pub(crate) fn of_connecting(error: &(dyn StdError + 'static)) -> Self {
        if find::<rustls::Error>(error).is_some() {
            return Self::Tls;
        }
        let Some(io) = find::<io::Error>(error) else {
            return Self::ConnectFailed;
        };
        // An I/O error around another one is that of the handshake: the peer did not know what to make of it.
        if let Some(inner) = io.get_ref()
            && inner.is::<io::Error>()
        {
            return Self::Tls;
        }
        match io.kind() {
            io::ErrorKind::ConnectionRefused => Self::ConnectionRefused,
            io::ErrorKind::TimedOut => Self::ConnectTimeout,
            _ if said(error, "dns error") => Self::HostNotFound,
            _ => of_io(io).unwrap_or(Self::ConnectFailed),
        }
    }
}

fn of_io(error: &io::Error) -> Option<Error> {
    match error.kind() {
        io::ErrorKind::ConnectionReset | io::ErrorKind::ConnectionAborted | io::ErrorKind::BrokenPipe => {
            Some(Error::ConnectionReset)
        }
        io::ErrorKind::UnexpectedEof => Some(Error::Incomplete),
        _ => None,
    }
}

/// The first error of this type in the chain of causes.
fn find<'e, E: StdError + 'static>(error: &'e (dyn StdError + 'static)) -> Option<&'e E> {
    chain(error).find_map(|error| error.downcast_ref::<E>())
}

fn said(error: &(dyn StdError + 'static), words: &str) -> bool {
    chain(error).any(|error| error.to_string().starts_with(words))
}

fn chain<'e>(error: &'e (dyn StdError + 'static)) -> impl Iterator<Item = &'e (dyn StdError + 'static)> {
    std::iter::successors(Some(error), |error| cause(*error))
}

fn cause<'e>(error: &'e (dyn StdError + 'static)) -> Option<&'e (dyn StdError + 'static)> {
    // An I/O error that wraps another error does not name it as its source, but that other's source.
    match error.downcast_ref::<io::Error>().and_then(io::Error::get_ref) {
        Some(wrapped) => Some(wrapped),
        None => error.source(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug, thiserror::Error)]
    #[error("the call failed")]
    struct Wrapper(#[source] Box<dyn StdError + Send + Sync>);

    #[test]
    fn t_65_causes_are_found_however_deep() {
        let reset = || io::Error::from(io::ErrorKind::ConnectionReset);
        let deep = Wrapper(Box::new(io::Error::other(Wrapper(Box::new(reset())))));
        assert_eq!(Error::of_exchange(&deep), Error::ConnectionReset);
        assert_eq!(Error::of_connecting(&Wrapper(Box::new(reset()))), Error::ConnectionReset);
        let nothing = Wrapper("no route, port 500".into());
        assert_eq!(Error::of_exchange(&nothing), Error::Other, "a number in a text is no status");
    }
}
