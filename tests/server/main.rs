//! The server as its clients see it, beside etcd where one is at hand.

#[macro_use]
mod harness;

mod apiserver;
mod auth;
mod backup;
mod clients;
mod cluster;
mod compaction;
mod conversion;
mod crash;
mod differential;
mod documented;
mod election;
mod etcdctl;
mod faults;
mod gateway;
mod hash;
mod health;
mod hostile;
mod http;
mod known_etcd_bugs;
mod kv;
mod lease;
mod lifecycle;
mod linear;
mod lock;
mod logs;
mod maintenance;
mod metrics;
mod migrate;
mod nodes;
mod page;
mod profiles;
mod promtool;
mod quota;
mod recover;
mod reflection;
mod restore;
mod snapshot;
mod status;
mod tls;
mod traces;
mod txn;
mod watch;
mod wrong_input;
