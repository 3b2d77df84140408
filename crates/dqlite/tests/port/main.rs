//! The dqlite port: key pairs, and the proxy in front of the engine.

mod pair;
mod proxy;
mod statements;
mod tls;
