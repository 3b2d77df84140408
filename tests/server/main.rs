//! The server as its clients see it, beside etcd where one is at hand.

#[macro_use]
mod harness;

mod apiserver;
mod cluster;
mod compaction;
mod crash;
mod etcdctl;
mod gateway;
mod hash;
mod http;
mod kv;
mod lease;
mod lifecycle;
mod maintenance;
mod metrics;
mod quota;
mod reflection;
mod tls;
mod txn;
mod watch;
mod wrong_input;
