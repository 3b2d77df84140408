//! The server as its clients see it, beside etcd where one is at hand.

#[macro_use]
mod harness;
mod kv;
mod txn;
mod watch;
