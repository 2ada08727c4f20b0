//! The kind of an error, for those that are common: what retry lists, events and refusals call it.

use std::any::Any;
use std::error::Error;
use std::io;
use std::sync::Arc;

use crate::call::interrupted::Interrupted;

/// The kind of an error: by what it says for common ones, by what is inside for boxed ones, else the name of its type.
pub(crate) fn of<E: 'static>(error: &E) -> &'static str {
    known(error).unwrap_or_else(|| short_name(std::any::type_name::<E>()))
}

/// The kind of an error whose type is common, or that is a box.
fn known(error: &dyn Any) -> Option<&'static str> {
    type Shared = dyn Error + Send + Sync;
    let boxed: &(dyn Error + 'static) = if let Some(error) = error.downcast_ref::<io::Error>() {
        error
    } else if let Some(error) = error.downcast_ref::<tokio::time::error::Elapsed>() {
        error
    } else if let Some(error) = error.downcast_ref::<Interrupted>() {
        error
    } else if let Some(error) = error.downcast_ref::<Box<Shared>>() {
        &**error
    } else if let Some(error) = error.downcast_ref::<Arc<Shared>>() {
        &**error
    } else if let Some(error) = error.downcast_ref::<Box<dyn Error + Send>>() {
        &**error
    } else if let Some(error) = error.downcast_ref::<Box<dyn Error>>() {
        &**error
    } else {
        return None;
    };
    let unknown = if boxed.is::<io::Error>() { "IoError" } else { "Error" };
    Some(chain(boxed).find_map(of_one).unwrap_or(unknown))
}

/// The kind of one error of a chain.
fn of_one(error: &(dyn Error + 'static)) -> Option<&'static str> {
    if let Some(error) = error.downcast_ref::<io::Error>() {
        // One that wraps another says no more than that it does.
        return (error.kind() != io::ErrorKind::Other || error.get_ref().is_none()).then(|| of_io(error.kind()));
    }
    if let Some(interrupted) = error.downcast_ref::<Interrupted>() {
        let refused = interrupted.refused().map(|refused| refused.reason.as_str());
        return Some(refused.unwrap_or("TimeoutError"));
    }
    error.is::<tokio::time::error::Elapsed>().then_some("TimeoutError")
}

fn chain<'e>(error: &'e (dyn Error + 'static)) -> impl Iterator<Item = &'e (dyn Error + 'static)> {
    std::iter::successors(Some(error), |error| {
        let error: &'e (dyn Error + 'static) = *error;
        // An I/O error that wraps another one does not name it as its source, but that other's source.
        match error.downcast_ref::<io::Error>().and_then(io::Error::get_ref) {
            Some(wrapped) => Some(wrapped),
            None => error.source(),
        }
    })
}

/// The kind of an I/O error: that of a connection, of time, or of anything else.
fn of_io(kind: io::ErrorKind) -> &'static str {
    use io::ErrorKind as Io;
    match kind {
        Io::TimedOut => "TimeoutError",
        Io::ConnectionRefused => "ConnectionError.ConnectionRefused",
        Io::ConnectionReset => "ConnectionError.ConnectionReset",
        Io::ConnectionAborted => "ConnectionError.ConnectionAborted",
        Io::NotConnected => "ConnectionError.NotConnected",
        Io::BrokenPipe => "ConnectionError.BrokenPipe",
        Io::HostUnreachable => "ConnectionError.HostUnreachable",
        Io::NetworkUnreachable => "ConnectionError.NetworkUnreachable",
        Io::NetworkDown => "ConnectionError.NetworkDown",
        Io::UnexpectedEof => "IoError.UnexpectedEof",
        Io::NotFound => "IoError.NotFound",
        Io::PermissionDenied => "IoError.PermissionDenied",
        Io::AlreadyExists => "IoError.AlreadyExists",
        Io::AddrInUse => "IoError.AddrInUse",
        Io::AddrNotAvailable => "IoError.AddrNotAvailable",
        Io::WouldBlock => "IoError.WouldBlock",
        Io::Interrupted => "IoError.Interrupted",
        Io::InvalidInput => "IoError.InvalidInput",
        Io::InvalidData => "IoError.InvalidData",
        Io::StorageFull => "IoError.StorageFull",
        _ => "IoError",
    }
}

/// The last part of a path, without parameters.
fn short_name(path: &'static str) -> &'static str {
    let path = path.split('<').next().unwrap_or(path);
    path.rsplit("::").next().unwrap_or(path)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug, thiserror::Error)]
    #[error("the call failed")]
    struct Wrapper(#[source] Box<dyn Error + Send + Sync>);

    fn reset() -> io::Error {
        io::ErrorKind::ConnectionReset.into()
    }

    /// C11: such a name is what lists say.
    #[test]
    fn the_kind_of_an_error_is_what_it_says_or_the_name_of_its_type() {
        assert_eq!(of(&reset()), "ConnectionError.ConnectionReset");
        assert_eq!(of(&io::Error::from(io::ErrorKind::TimedOut)), "TimeoutError");
        assert_eq!(of(&io::Error::from(io::ErrorKind::NotFound)), "IoError.NotFound");
        assert_eq!((of(&io::Error::other("x")), of(&"x"), of(&Wrapper("x".into()))), ("IoError", "&str", "Wrapper"));
        assert_eq!(short_name("my::Wrapper<std::io::Error>"), "Wrapper");
    }

    #[test]
    fn the_kind_of_a_boxed_error_is_that_of_what_is_inside() {
        let sent: Box<dyn Error + Send + Sync> = Box::new(io::Error::other(Wrapper(Box::new(reset()))));
        assert_eq!(of(&sent), "ConnectionError.ConnectionReset");
        let kept: Box<dyn Error> = Box::new(reset());
        let shared: Arc<dyn Error + Send + Sync> = Arc::new(reset());
        assert_eq!((of(&kept), of(&shared)), ("ConnectionError.ConnectionReset", "ConnectionError.ConnectionReset"));
        assert_eq!(of(&Box::<dyn Error + Send + Sync>::from("text")), "Error");
    }
}
