//! Bindings to libdqlite.
