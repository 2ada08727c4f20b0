//! What something beside a policy needs to tell of itself: a name, a clock and listeners.

use stormproof_core::event::Kind;
use stormproof_core::{Event, Instant, Name};
use tokio::sync::broadcast;

use crate::clock::Clock;
use crate::telemetry::events::{Listener, Listeners};

/// Who tells, of what time, and to whom: for what is no policy and tells of itself as policies do.
///
/// ```
/// use stormproof::{Clock, event::Kind, events::Subject, journal::Told};
///
/// let subject = Subject::new("journal", &Clock::system());
/// subject.on_event(|event| assert_eq!(event.event_type(), "journal_full"));
/// subject.tell(subject.now(), || Kind::Journal(Told::Full { why: "no room".into() }));
/// ```
#[derive(Debug)]
pub struct Subject {
    pub(crate) name: Name,
    pub(crate) clock: Clock,
    pub(crate) listeners: Listeners,
}

crate::telemetry::events::tells!(Subject, listeners);

impl Subject {
    /// Nobody listens yet.
    pub fn new(name: impl Into<Name>, clock: &Clock) -> Self {
        Self { name: name.into(), clock: clock.clone(), listeners: Listeners::default() }
    }

    /// The name that its events carry.
    pub fn name(&self) -> &Name {
        &self.name
    }

    /// Its clock.
    pub fn clock(&self) -> &Clock {
        &self.clock
    }

    /// The present time.
    pub fn now(&self) -> Instant {
        self.clock.now()
    }

    /// Tells of something that happened `at`: at once and in the caller's thread, so it must hold no lock. `kind` is asked
    /// only if somebody listens.
    pub fn tell(&self, at: Instant, kind: impl FnOnce() -> Kind) {
        if self.listeners.anybody() {
            self.listeners.tell(&Event::new(at, self.name.clone(), kind()));
        }
    }

    /// Calls `listener` for every event: at once, under no lock. A listener that panics is passed over.
    pub fn on_event(&self, listener: impl Fn(&Event) + Send + Sync + 'static) -> Listener {
        self.listeners.listen(listener)
    }

    /// The events from now on, through a queue of [`QUEUE`](crate::telemetry::events::QUEUE).
    pub fn subscribe(&self) -> broadcast::Receiver<Event> {
        self.listeners.subscribe()
    }
}

/// A core with what it needs to tell of itself.
#[derive(Debug)]
pub(crate) struct Live<C> {
    pub(crate) core: C,
    pub(crate) subject: Subject,
}

/// How an `Arc<Live<_>>` of this name is made, what it is called, and who hears of it.
macro_rules! live {
    ($source:ident, $config:ty, $events:literal) => {
        $crate::telemetry::events::tells!($source, 0.subject.listeners);

        impl $source {
            /// With the default configuration on the system's clock.
            pub fn new(name: impl Into<$crate::Name>) -> Self {
                Self::from_core(::stormproof_core::$source::new(name), &$crate::Clock::system())
            }

            /// With `config` on the system's clock, or all that is wrong with it.
            pub fn with_config(name: impl Into<$crate::Name>, config: $config) -> Result<Self, $crate::Mistakes> {
                Self::with_clock(name, config, &$crate::Clock::system())
            }

            /// With `config` on `clock`, or all that is wrong with it.
            pub fn with_clock(
                name: impl Into<$crate::Name>,
                config: $config,
                clock: &$crate::Clock,
            ) -> Result<Self, $crate::Mistakes> {
                ::stormproof_core::$source::with_config(name, config).map(|core| Self::from_core(core, clock))
            }

            fn from_core(core: ::stormproof_core::$source, clock: &$crate::Clock) -> Self {
                let subject = $crate::telemetry::events::subject::Subject::new(core.name().clone(), clock);
                Self(::std::sync::Arc::new($crate::telemetry::events::subject::Live { core, subject }))
            }

            /// Its name.
            pub fn name(&self) -> &$crate::Name {
                self.0.core.name()
            }

            #[doc = concat!("Calls `listener` for every event: ", $events, ". At once, under no lock. A listener that")]
            /// panics is passed over.
            pub fn on_event(
                &self,
                listener: impl Fn(&$crate::Event) + Send + Sync + 'static,
            ) -> $crate::telemetry::events::Listener {
                self.0.subject.on_event(listener)
            }

            /// The events from now on, through a queue of [`QUEUE`](crate::telemetry::events::QUEUE).
            pub fn subscribe(&self) -> ::tokio::sync::broadcast::Receiver<$crate::Event> {
                self.0.subject.subscribe()
            }
        }
    };
}
pub(crate) use live;
