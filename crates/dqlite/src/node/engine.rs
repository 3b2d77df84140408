//! The C node and every call on it.
//!
//! libdqlite allows one thread at a time on a node that does not run, which ownership gives us, and
//! only `stop` and reads of the address on one that does (dqlite: src/server.c).

use std::{
    ffi::{CStr, CString, c_int},
    io,
    path::PathBuf,
    ptr,
};

use dqlite_sys as ffi;

use super::{
    NodeError, NodeOptions, aio,
    closing::Closing,
    connect::{Connector, connect},
    error::copy,
    log_block,
    options::{Checked, SnapshotOptions},
    snapshot_pace::ThresholdWord,
};
use crate::wire::NodeId;

pub(super) struct Engine {
    /// Null when creation failed early; libdqlite takes that in `errmsg` and `destroy`.
    node: *mut ffi::dqlite_node,
    dir: PathBuf,
    is_running: bool,
    closing: Closing,
}

// SAFETY: libdqlite has no thread affinity: a node may be used on any thread, one at a time.
unsafe impl Send for Engine {}

impl Engine {
    /// The directory is locked by the caller.
    pub(super) fn create(id: NodeId, address: &CStr, dir: &CString) -> Result<Self, NodeError> {
        let mut node = ptr::null_mut();
        // SAFETY: strings are NUL-terminated and copied; `node` is written to.
        let code = unsafe {
            ffi::dqlite_node_create(id.number(), address.as_ptr(), dir.as_ptr(), &raw mut node)
        };
        let dir = PathBuf::from(dir.to_string_lossy().into_owned());
        let engine = Self {
            node,
            dir,
            is_running: false,
            closing: Closing::default(),
        };
        engine.check("create", code)?;
        // SAFETY: created, not running. The default would rename what it cannot read, and go on
        // without it.
        let code = unsafe { ffi::dqlite_node_set_auto_recovery(node, false) };
        engine.check("configure", code)?;
        Ok(engine)
    }

    /// `connector` outlives the engine. Returns where the engine keeps the threshold of snapshots, if that may change; it
    /// must not outlive the engine.
    pub(super) fn configure(
        &self,
        options: &NodeOptions,
        checked: &Checked,
        connector: &Connector,
    ) -> Result<Option<ThresholdWord>, NodeError> {
        // SAFETY: the node is created and not running. `connect` is called with `arg` until the
        // engine is destroyed, and the caller keeps the connector that long, at the same address.
        let codes = unsafe {
            [
                ffi::dqlite_node_set_connect_func(self.node, connect, connector.as_arg()),
                ffi::dqlite_node_set_failure_domain(self.node, options.failure_domain),
                ffi::dqlite_node_set_busy_timeout(self.node, checked.busy_timeout_ms),
            ]
        };
        for code in codes {
            self.check("configure", code)?;
        }
        let threshold = self.set_snapshots(options.snapshot)?;
        if let Some(ms) = checked.network_latency_ms {
            // SAFETY: created and not running.
            let code = unsafe { ffi::dqlite_node_set_network_latency_ms(self.node, ms) };
            self.check("configure", code)?;
        }
        let block_bytes = options.block_size_bytes;
        if let Some(size) = block_bytes.or_else(|| log_block::sector_bytes(&options.dir)) {
            // SAFETY: created and not running.
            let code = unsafe { ffi::dqlite_node_set_block_size(self.node, size) };
            self.check("configure", code)?;
        }
        Ok(threshold)
    }

    /// Sets the parameters of snapshots. Returns where the engine keeps the threshold, if it may change.
    fn set_snapshots(&self, options: SnapshotOptions) -> Result<Option<ThresholdWord>, NodeError> {
        // SAFETY: created and not running.
        let set = |threshold, trailing| unsafe {
            let strategy = options.strategy.as_c();
            ffi::dqlite_node_set_snapshot_params_v2(self.node, threshold, trailing, strategy)
        };
        let is_fixed = options.most_entries() == options.threshold;
        let word = match is_fixed {
            true => None,
            // SAFETY: made by libdqlite, not running; the caller's promise.
            false => unsafe {
                ThresholdWord::find(self.node.cast(), |probe| {
                    set(probe, u32::MAX) == ffi::DQLITE_OK
                })
            },
        };
        self.check("configure", set(options.threshold, options.trailing))?;
        if word.is_none() && !is_fixed {
            tracing::debug!(
                "the engine's threshold was not found: snapshots are taken at a fixed pace"
            );
        }
        Ok(word.filter(|word| word.get() == options.threshold))
    }

    /// Bind the socket, and return its name. Without this, starting aborts the process.
    pub(super) fn bind(&self, address: &CStr) -> Result<String, NodeError> {
        // SAFETY: created and not running; the string is copied.
        let code = unsafe { ffi::dqlite_node_set_bind_address(self.node, address.as_ptr()) };
        if code != ffi::DQLITE_OK {
            // There is no message; the last call that failed was the one that mattered.
            let source = io::Error::last_os_error();
            return Err(NodeError::Bind {
                address: address.to_string_lossy().into_owned(),
                source,
            });
        }
        // SAFETY: bound, so there is a string; it lives as long as the node, and is copied.
        Ok(unsafe { copy(ffi::dqlite_node_get_bind_address(self.node)) })
    }

    pub(super) fn start(&mut self) -> Result<(), NodeError> {
        // SAFETY: created, configured and bound, and started once: the owner gives the engine up
        // otherwise.
        let start = || unsafe { ffi::dqlite_node_start(self.node) };
        let code = self.closing.with_loop(start);
        self.check("start", code)?;
        self.is_running = true;
        Ok(())
    }

    /// Blocks until the engine's thread has ended.
    pub(super) fn stop(&mut self) -> Result<(), NodeError> {
        let _in_place = aio::settle();
        self.is_running = false;
        self.closing.begin();
        // SAFETY: running, and stopped once.
        let code = unsafe { ffi::dqlite_node_stop(self.node) };
        self.check("stop", code)
    }

    /// Index and term of the newest log entry on disk. Not while running.
    pub(super) fn last_entry(&self) -> Result<(u64, u64), NodeError> {
        let (mut index, mut term) = (0, 0);
        // SAFETY: created and not running; both numbers are written to.
        let code = unsafe {
            ffi::dqlite_node_describe_last_entry(self.node, &raw mut index, &raw mut term)
        };
        self.check("read the log of", code)?;
        Ok((index, term))
    }

    /// Forces a configuration on the log. Not while running. The addresses that `infos` point to are
    /// NUL-terminated and alive.
    pub(super) fn recover(&self, infos: &mut [ffi::dqlite_node_info_ext]) -> Result<(), NodeError> {
        let count = c_int::try_from(infos.len()).expect("a cluster has few nodes");
        // SAFETY: created and not running; the caller promises the addresses, which are copied.
        let code = unsafe { ffi::dqlite_node_recover_ext(self.node, infos.as_mut_ptr(), count) };
        self.check("recover", code)
    }

    fn check(&self, operation: &'static str, code: c_int) -> Result<(), NodeError> {
        if code == ffi::DQLITE_OK {
            return Ok(());
        }
        // SAFETY: takes a node or null; the string lives in the node and is copied at once.
        let message = unsafe { copy(ffi::dqlite_node_errmsg(self.node)) };
        Err(NodeError::engine(operation, code, message, &self.dir))
    }
}

impl Drop for Engine {
    fn drop(&mut self) {
        if self.is_running
            && let Err(error) = self.stop()
        {
            tracing::error!(%error, "the engine did not stop cleanly");
        }
        // SAFETY: not running any more. Takes null, too.
        unsafe { ffi::dqlite_node_destroy(self.node) }
    }
}
