//! Knows whether the process stops, and makes warnings of what ends then none.
//!
//! A task may not know why its work fails: the leader may be lost, or the process stops and takes from under it what it
//! needs. An operator who stops a node is not to be warned of that. So tasks warn by this crate's [`warn!`]; what is wrong
//! with the stop itself is warned of, or is an error, as ever.
#![forbid(unsafe_code)]

use std::sync::atomic::{AtomicBool, Ordering};

/// For the macro.
#[doc(hidden)]
pub use tracing;

static IS_STOPPING: AtomicBool = AtomicBool::new(false);

/// Notes that the process stops: from now on nothing that ends is a reason to warn.
pub fn note() {
    IS_STOPPING.store(true, Ordering::Relaxed);
}

/// Returns whether [`note`] was called.
pub fn is_noted() -> bool {
    IS_STOPPING.load(Ordering::Relaxed)
}

/// Warns, as `tracing::warn!` does; while the process stops, informs.
#[macro_export]
macro_rules! warn {
    ($($told:tt)*) => {
        match $crate::is_noted() {
            false => $crate::tracing::warn!($($told)*),
            true => $crate::tracing::info!($($told)*),
        }
    };
}

#[cfg(test)]
mod tests {
    use std::sync::{Arc, Mutex};

    use tracing::{
        Event, Level, Metadata, Subscriber,
        span::{Attributes, Id, Record},
    };

    /// Keeps the levels of what is told.
    #[derive(Clone, Default)]
    struct Levels(Arc<Mutex<Vec<Level>>>);

    impl Subscriber for Levels {
        fn enabled(&self, _: &Metadata<'_>) -> bool {
            true
        }

        fn event(&self, event: &Event<'_>) {
            self.0.lock().unwrap().push(*event.metadata().level());
        }

        fn new_span(&self, _: &Attributes<'_>) -> Id {
            Id::from_u64(1)
        }

        fn record(&self, _: &Id, _: &Record<'_>) {}
        fn record_follows_from(&self, _: &Id, _: &Id) {}
        fn enter(&self, _: &Id) {}
        fn exit(&self, _: &Id) {}
    }

    #[test]
    fn nothing_is_warned_of_once_the_process_stops() {
        let levels = Levels::default();
        tracing::subscriber::with_default(levels.clone(), || {
            let error = "the leader is lost";
            crate::warn!(%error, "a commit failed");
            crate::note();
            crate::warn!(%error, "a commit failed");
        });
        assert_eq!(*levels.0.lock().unwrap(), [Level::WARN, Level::INFO]);
    }
}
