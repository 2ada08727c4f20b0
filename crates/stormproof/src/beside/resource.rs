//! Something that must be closed: once, whoever uses it and however that ends.

use std::fmt;
use std::future::Future;
use std::ops::Deref;
use std::panic::resume_unwind;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use stormproof_core::health::ERROR_BYTES;
use stormproof_core::text;
use tokio::sync::{OwnedRwLockReadGuard, RwLock};

use crate::beside::caught::{caught, text};
use crate::call::inside::{self, inside, is_inside};

type Closing = Pin<Box<dyn Future<Output = Result<(), Box<str>>> + Send>>;

/// Something that several use and that is closed once. Clones are the same thing.
///
/// What closes it runs when somebody calls [`close`](Self::close), after the last user has given it back. If nobody
/// does, it runs when the last clone is dropped, as a task of the runtime that this happens in; without a runtime the
/// thing is dropped as it is.
///
/// ```
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() {
/// use stormproof::Resource;
///
/// let client = Resource::new("client", |client| async move {
///     println!("closing {client}");
///     Ok::<_, std::io::Error>(())
/// });
/// assert_eq!(client.lease().await.unwrap().len(), 6);
/// client.close().await.unwrap();
/// client.close().await.unwrap(); // once is enough
/// assert!(client.lease().await.is_err());
/// # }
/// ```
pub struct Resource<T: Send + 'static>(Arc<Shared<T>>);

struct Shared<T: Send + 'static> {
    /// A close was asked for: nobody gets a lease any more.
    closing: AtomicBool,
    /// Whoever has a lease holds it for reading, whoever closes for writing.
    slot: Arc<RwLock<Slot<T>>>,
}

struct Slot<T: Send + 'static>(Option<Open<T>>);

struct Open<T> {
    value: T,
    close: Box<dyn FnOnce(T) -> Closing + Send + Sync>,
}

/// The resource is closed, or somebody has asked for that.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the resource is closed")]
#[non_exhaustive]
pub struct Closed;

/// Closing failed. The resource is gone all the same.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("closing failed: {message}")]
#[non_exhaustive]
pub struct CloseError {
    /// Text of the error or the panic, cut to 200 bytes.
    pub message: Box<str>,
}

/// The use of a resource until it is dropped.
pub struct Lease<T: Send + 'static>(OwnedRwLockReadGuard<Slot<T>, T>);

impl<T: Send + 'static> Deref for Lease<T> {
    type Target = T;

    fn deref(&self) -> &T {
        &self.0
    }
}

impl<T: Send + fmt::Debug + 'static> fmt::Debug for Lease<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Lease").field(&**self).finish()
    }
}

impl<T: Send + 'static> Clone for Resource<T> {
    fn clone(&self) -> Self {
        Self(self.0.clone())
    }
}

impl<T: Send + 'static> fmt::Debug for Resource<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Resource").finish_non_exhaustive()
    }
}

impl<T: Send + 'static> Resource<T> {
    /// Something open, with what closes it.
    pub fn new<F, Fut, E>(value: T, close: F) -> Self
    where
        F: FnOnce(T) -> Fut + Send + Sync + 'static,
        Fut: Future<Output = Result<(), E>> + Send + 'static,
        E: fmt::Display,
    {
        let close = Box::new(move |value| -> Closing {
            Box::pin(async move {
                let closing = async move { close(value).await.map_err(|error| error.to_string()) };
                let closed = caught(closing).await.map_err(|panic| text(&*panic))?;
                closed.map_err(|text| text::start(&text, ERROR_BYTES).into())
            })
        });
        let slot = Arc::new(RwLock::new(Slot(Some(Open { value, close }))));
        Self(Arc::new(Shared { closing: AtomicBool::new(false), slot }))
    }

    /// Uses the resource until what comes back is dropped.
    ///
    /// # Errors
    /// [`Closed`] from the moment somebody asks for a close, even if that still waits for others.
    #[allow(clippy::unused_async, reason = "a lease that must wait is no breaking change")]
    pub async fn lease(&self) -> Result<Lease<T>, Closed> {
        if self.0.closing.load(Ordering::Acquire) {
            return Err(Closed);
        }
        // Not to be had if somebody closes it at this moment. A lease that waited for that might wait for itself.
        let slot = self.0.slot.clone().try_read_owned().map_err(|_| Closed)?;
        let open = OwnedRwLockReadGuard::try_map(slot, |slot| slot.0.as_ref().map(|open| &open.value));
        open.map(Lease).map_err(|_| Closed)
    }

    /// Refuses new leases from now on, waits until all others are dropped, and closes. Does nothing if it is closed.
    ///
    /// The work of a [`scope`](Self::scope) and what closes the resource may call this, too. It is then closed when they
    /// end, and they do not wait for that here. Whoever holds a [`lease`](Self::lease) must drop it first: a close waits for
    /// it. If a close is dropped while it waits, the resource is closed by the next one, or with the last clone; dropped
    /// later, it drops what closes the resource half-way.
    ///
    /// # Errors
    /// If what closes it failed; told to the one who closed it.
    pub async fn close(&self) -> Result<(), CloseError> {
        self.0.closing.store(true, Ordering::Release);
        let id = inside::id(&self.0);
        if is_inside(id) {
            return Ok(());
        }
        let mut slot = self.0.slot.write().await;
        match slot.0.take() {
            // Under the lock: who closes at the same time comes back when it is closed.
            Some(Open { value, close }) => inside(id, close(value)).await.map_err(|message| CloseError { message }),
            None => Ok(()),
        }
    }

    /// Uses the resource for `work` alone and closes it, whatever becomes of the work: an error, a panic (which goes on
    /// after closing), or that nobody waits for it any more. What `work` gives is never hidden by a failure to close,
    /// which comes beside it.
    ///
    /// # Errors
    /// If it was closed before.
    pub async fn scope<F, Fut>(self, work: F) -> Result<(Fut::Output, Result<(), CloseError>), Closed>
    where
        T: Sync,
        F: FnOnce(Lease<T>) -> Fut,
        Fut: Future,
    {
        let lease = self.lease().await?;
        let scope = Scope(&self);
        let done = inside(inside::id(&self.0), caught(async move { work(lease).await })).await;
        let closed = scope.0.close().await;
        std::mem::forget(scope);
        match done {
            Ok(value) => Ok((value, closed)),
            Err(panic) => resume_unwind(panic),
        }
    }
}

/// Dropped, closes the resource beside everything else: others may still have it.
struct Scope<'a, T: Send + Sync + 'static>(&'a Resource<T>);

impl<T: Send + Sync + 'static> Drop for Scope<'_, T> {
    fn drop(&mut self) {
        let resource = self.0.clone();
        if let Ok(runtime) = tokio::runtime::Handle::try_current() {
            // Nobody is left to be told of a failure.
            drop(runtime.spawn(async move { resource.close().await }));
        }
    }
}

impl<T: Send + 'static> Drop for Slot<T> {
    fn drop(&mut self) {
        if let Some(Open { value, close }) = self.0.take()
            && let Ok(runtime) = tokio::runtime::Handle::try_current()
        {
            // Nobody is left to be told of a failure.
            drop(runtime.spawn(close(value)));
        }
    }
}
