//! The server as its clients see it, beside etcd where one is at hand.

#[macro_use]
mod harness;

mod apiserver;
mod compaction;
mod crash;
mod differential;
mod etcdctl;
mod hash;
mod hostile;
mod http;
mod known_etcd_bugs;
mod kv;
mod lease;
mod lifecycle;
mod maintenance;
mod tls;
mod txn;
mod watch;
mod wrong_input;
