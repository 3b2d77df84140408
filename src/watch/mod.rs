//! Watches: who wants which events, and how they reach the client.
//!
//! Owns the registry of watchers, the fan-out of commits to the ones that follow the head, and the
//! catch-up of the others. Knows neither gRPC status nor connections: `api::watch` does.
//!
//! Invariants, per watcher: events come in revision order, each once, with no revision left out
//! from the start revision to the last one sent, and all events of a revision in one response
//! (several, if the client asked for fragments). A progress response at revision R comes after
//! every event up to R of the watchers that it speaks for, because it takes the same queue.
//!
//! A watcher is either *synced*, in the index that the hub asks for every commit, or *lagging*:
//! then only the task of its stream touches it, reads the history for it, and joins it to the index
//! under the lock that guards the hub's position. The same lock covers a fan-out, so there is no
//! moment in which a commit could miss a watcher or meet it twice.

mod catch_up;
mod follower;
mod hub;
mod inbox;
mod index;
mod metrics;
mod outbound;
mod segment;
mod source;
mod stream;
mod synced;
mod watch_id;
mod wire;

pub use catch_up::CatchUp;
pub use follower::{FollowError, Follower};
pub use hub::{HubSettings, SlowWatcher, WatchHub, Watched};
pub use inbox::Inbox;
pub use metrics::Metrics;
pub use outbound::{CloseReason, Outbound, Popped};
pub use segment::Options;
pub use source::{CommitSource, SourceError};
pub use stream::{CreateRequest, WatchStream};
pub use watch_id::WatchId;

#[cfg(test)]
pub(crate) mod testing;
#[cfg(test)]
mod tests;
