//! The dqlite port of a node: what connects the engine, which knows no network, to other nodes and
//! remote clients.
//!
//! Owns the TCP listener, and the links that the engine dials. Inbound: accept, TLS handshake, look at
//! the first bytes, and pass what speaks dqlite to the engine's abstract socket; HTTP/2 goes to a
//! [`PeerHandler`] on the same port. Outbound: TCP and TLS, of which the engine sees one end of a
//! socket pair.
//!
//! Invariants: with TLS nobody without the cluster's key reaches the engine; no length and no content reaches it that
//! it mishandles (see [`Inspector`]), and a request that is refused gets an answer in its turn; connections, buffers and handshakes are bounded; a connection that
//! misbehaves is closed and hurts no other one.
//!
//! It lives in the engine's process because the engine refuses the socket to any other.

mod client;
mod dial;
mod engine;
mod inspect;
mod names;
mod port;
mod raft;
mod relay;
mod replies;
mod requests;
mod route;
mod serve;
mod traffic;

pub use dial::{connect_peer, dialer};
pub use engine::LocalEngine;
pub use inspect::{Inspector, Verdict, Violation};
pub use names::{MAX_DATABASE_NAME_BYTES, NameError, check_database_name};
pub use port::{BoundPort, PortError};
pub use requests::{Checked, check};
pub use route::{PeerHandler, PeerStream};
pub use serve::{Proxy, ProxyOptions, serve_engine};
pub use traffic::{TRAFFIC, Traffic};
