//! The store as etcd's database file has it.

pub mod row;
