//! Bindings to libdqlite 1.18.5 or newer.
//!
//! Owns the declarations of the node half of `dqlite.h` under their C names, and nothing else:
//! ownership, threads and safety are the business of the `dqlite` crate.
//!
//! Written by hand, because there are two dozen functions and no toolchain should be needed to
//! build them. `tests/header.rs` compares every line of the block below with the installed header.
//! Left out on purpose: `dqlite_server_*` (experimental, no TLS, no error text) and `dqlite_vfs_*`
//! (gone).

#![no_std]
#![allow(non_camel_case_types)]

use core::{
    ffi::{c_char, c_int, c_uint, c_ulonglong, c_void},
    marker::{PhantomData, PhantomPinned},
};

/// The oldest version these bindings are right for, as `dqlite_version_number` counts.
pub const MINIMUM_VERSION_NUMBER: c_int = 11805;

pub const DQLITE_OK: c_int = 0;
pub const DQLITE_ERROR: c_int = 1;
pub const DQLITE_MISUSE: c_int = 2;
pub const DQLITE_NOMEM: c_int = 3;

pub const DQLITE_SNAPSHOT_TRAILING_STATIC: c_int = 0;
pub const DQLITE_SNAPSHOT_TRAILING_DYNAMIC: c_int = 1;

pub const SQLITE_IOERR_NOT_LEADER: c_int = 10250;
pub const SQLITE_IOERR_LEADERSHIP_LOST: c_int = 10506;

pub type dqlite_node_id = c_ulonglong;

#[repr(C)]
pub struct dqlite_node {
    _opaque: [u8; 0],
    _not_send_not_sync: PhantomData<(*mut u8, PhantomPinned)>,
}

/// An element of what `dqlite_node_recover` takes.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct dqlite_node_info {
    pub id: dqlite_node_id,
    pub address: *const c_char,
}

/// An element of what `dqlite_node_recover_ext` takes. `size` is the size of this struct, `address`
/// a pointer as an integer.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct dqlite_node_info_ext {
    pub size: u64,
    pub id: u64,
    pub address: u64,
    pub dqlite_role: u64,
}

/// Gives a connected stream socket for `address` and returns 0, or returns anything else. Called on
/// several threads at once; the descriptor belongs to dqlite from then on.
pub type dqlite_connect_func =
    unsafe extern "C" fn(arg: *mut c_void, address: *const c_char, fd: *mut c_int) -> c_int;

unsafe extern "C" {
    pub static dqlite_version_string: *const c_char;

    pub fn dqlite_version_number() -> c_int;
    pub fn dqlite_generate_node_id(address: *const c_char) -> dqlite_node_id;

    pub fn dqlite_node_create(
        id: dqlite_node_id,
        address: *const c_char,
        data_dir: *const c_char,
        n: *mut *mut dqlite_node,
    ) -> c_int;
    pub fn dqlite_node_destroy(n: *mut dqlite_node);
    pub fn dqlite_node_errmsg(n: *mut dqlite_node) -> *const c_char;

    pub fn dqlite_node_set_bind_address(n: *mut dqlite_node, address: *const c_char) -> c_int;
    pub fn dqlite_node_get_bind_address(n: *mut dqlite_node) -> *const c_char;
    pub fn dqlite_node_set_connect_func(
        n: *mut dqlite_node,
        f: dqlite_connect_func,
        arg: *mut c_void,
    ) -> c_int;
    pub fn dqlite_node_set_network_latency_ms(n: *mut dqlite_node, milliseconds: c_uint) -> c_int;
    pub fn dqlite_node_set_failure_domain(n: *mut dqlite_node, code: c_ulonglong) -> c_int;
    pub fn dqlite_node_set_snapshot_params_v2(
        n: *mut dqlite_node,
        snapshot_threshold: c_uint,
        snapshot_trailing: c_uint,
        trailing_strategy: c_int,
    ) -> c_int;
    pub fn dqlite_node_set_snapshot_compression(n: *mut dqlite_node, enabled: bool) -> c_int;
    pub fn dqlite_node_set_block_size(n: *mut dqlite_node, size: usize) -> c_int;
    pub fn dqlite_node_set_auto_recovery(n: *mut dqlite_node, enabled: bool) -> c_int;
    pub fn dqlite_node_set_busy_timeout(n: *mut dqlite_node, msecs: c_uint) -> c_int;

    pub fn dqlite_node_start(n: *mut dqlite_node) -> c_int;
    pub fn dqlite_node_stop(n: *mut dqlite_node) -> c_int;

    pub fn dqlite_node_describe_last_entry(
        n: *mut dqlite_node,
        last_entry_index: *mut u64,
        last_entry_term: *mut u64,
    ) -> c_int;
    pub fn dqlite_node_recover_ext(
        n: *mut dqlite_node,
        infos: *mut dqlite_node_info_ext,
        n_info: c_int,
    ) -> c_int;

    #[cfg(has_dqlite_node_recover)]
    pub fn dqlite_node_recover(
        n: *mut dqlite_node,
        infos: *mut dqlite_node_info,
        n_info: c_int,
    ) -> c_int;
    #[cfg(has_dqlite_node_handover)]
    pub fn dqlite_node_handover(n: *mut dqlite_node) -> c_int;
    #[cfg(has_dqlite_node_enable_role_management)]
    pub fn dqlite_node_enable_role_management(n: *mut dqlite_node) -> c_int;
    #[cfg(has_dqlite_node_set_target_voters)]
    pub fn dqlite_node_set_target_voters(n: *mut dqlite_node, voters: c_int) -> c_int;
    #[cfg(has_dqlite_node_set_target_standbys)]
    pub fn dqlite_node_set_target_standbys(n: *mut dqlite_node, standbys: c_int) -> c_int;
    #[cfg(has_dqlite_node_set_pool_thread_count)]
    pub fn dqlite_node_set_pool_thread_count(n: *mut dqlite_node, thread_count: c_uint) -> c_int;
    #[cfg(has_dqlite_node_set_network_latency)]
    pub fn dqlite_node_set_network_latency(n: *mut dqlite_node, nanoseconds: c_ulonglong) -> c_int;
    #[cfg(has_dqlite_node_set_snapshot_params)]
    pub fn dqlite_node_set_snapshot_params(
        n: *mut dqlite_node,
        snapshot_threshold: c_uint,
        snapshot_trailing: c_uint,
    ) -> c_int;
}
