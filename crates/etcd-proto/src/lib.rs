//! etcd v3 API.
