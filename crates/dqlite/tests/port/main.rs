//! The dqlite port: key pairs, and the proxy in front of the engine.

mod contents;
mod pair;
mod proxy;
mod random;
mod raw;
mod statements;
mod tls;
