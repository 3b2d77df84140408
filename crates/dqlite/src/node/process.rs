//! The settings of the process that libdqlite needs.

use std::{env, ffi::c_char, sync::Once};

use dqlite_sys as ffi;

use super::{NodeError, error::copy};

/// Threads of libuv's pool, which runs every SQL step but those of [`super::in_place`], every disk write that
/// [`super::log_writes`] does not make, snapshots, and the dials to other nodes. With libuv's default of 4, four
/// slow queries from a shell or four dead peers would keep writes from the disk; 16 leave room for
/// the dials of six peers, twice, and idle threads cost only address space.
pub const POOL_THREADS: u32 = 16;

const POOL_THREADS_VARIABLE: &str = "UV_THREADPOOL_SIZE";

/// Prepare the process for the engine. Call it first in `main`, while there is one thread only:
/// later, the size of libuv's pool cannot be set any more, and the default is used.
pub fn prepare_process() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        ignore_sigpipe();
        set_pool_threads();
        keep_freed_memory();
    });
}

/// libdqlite writes to sockets without MSG_NOSIGNAL; a vanished client would end the process.
fn ignore_sigpipe() {
    // SAFETY: sets a disposition, no handler runs.
    unsafe { libc::signal(libc::SIGPIPE, libc::SIG_IGN) };
}

/// Blocks up to this size come from the heap instead of a mapping of their own. The engine allocates
/// and frees some of 100 KiB to 1 MiB for each commit; mapping and unmapping them costs more than
/// using them, and interrupts all cores.
const MMAP_THRESHOLD_BYTES: libc::c_int = 32 * 1024 * 1024;

/// Free memory at the top of a heap that is kept for the next commit.
const TRIM_THRESHOLD_BYTES: libc::c_int = 64 * 1024 * 1024;

fn keep_freed_memory() {
    #[cfg(target_env = "gnu")]
    // SAFETY: sets numbers of glibc's allocator, while there is one thread.
    unsafe {
        libc::mallopt(libc::M_MMAP_THRESHOLD, MMAP_THRESHOLD_BYTES);
        libc::mallopt(libc::M_TRIM_THRESHOLD, TRIM_THRESHOLD_BYTES);
    }
}

/// Returns to the kernel what loading a database has left free. Takes some milliseconds per 100 MiB.
pub fn trim_memory() {
    #[cfg(target_env = "gnu")]
    // SAFETY: releases only pages that hold no block.
    unsafe {
        libc::malloc_trim(0);
    }
}

fn set_pool_threads() {
    if env::var_os(POOL_THREADS_VARIABLE).is_some() {
        return;
    }
    if !is_single_threaded() {
        tracing::warn!(
            "cannot set {POOL_THREADS_VARIABLE} any more: the engine uses the default, 4 threads"
        );
        return;
    }
    // SAFETY: the only thread is this one, so nobody reads the environment meanwhile.
    unsafe { env::set_var(POOL_THREADS_VARIABLE, POOL_THREADS.to_string()) };
}

/// glibc says it itself, also where /proc is not mounted.
#[cfg(target_env = "gnu")]
fn is_single_threaded() -> bool {
    unsafe extern "C" {
        static __libc_single_threaded: c_char;
    }
    // SAFETY: glibc writes to it when the first thread is started, before that one runs.
    unsafe { __libc_single_threaded != 0 }
}

#[cfg(not(target_env = "gnu"))]
fn is_single_threaded() -> bool {
    std::fs::read_dir("/proc/self/task").is_ok_and(|tasks| tasks.count() == 1)
}

/// The versions that are loaded, which may differ from those at build time.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Versions {
    pub dqlite: String,
    /// `None` when the library is linked into libdqlite.
    pub sqlite: Option<String>,
    pub uv: Option<String>,
}

pub fn versions() -> Versions {
    Versions {
        dqlite: dqlite_version(),
        sqlite: version_of(SQLITE_VERSION),
        uv: version_of(UV_VERSION),
    }
}

fn dqlite_version() -> String {
    // SAFETY: a constant string in the library.
    let version = unsafe { copy(ffi::dqlite_version_string) };
    // What follows is a build tag, which distributions leave out.
    match version.split_once('@') {
        Some((number, "" | "unknown")) => number.to_owned(),
        _ => version,
    }
}

/// A `const char *f(void)` that returns a constant string.
type VersionFunction = unsafe extern "C" fn() -> *const c_char;

#[cfg(target_feature = "crt-static")]
mod linked {
    use std::ffi::c_char;

    unsafe extern "C" {
        pub fn sqlite3_libversion() -> *const c_char;
        pub fn uv_version_string() -> *const c_char;
    }
}

#[cfg(target_feature = "crt-static")]
const SQLITE_VERSION: VersionFunction = linked::sqlite3_libversion;
#[cfg(target_feature = "crt-static")]
const UV_VERSION: VersionFunction = linked::uv_version_string;

#[cfg(target_feature = "crt-static")]
fn version_of(function: VersionFunction) -> Option<String> {
    // SAFETY: as the type says.
    Some(unsafe { copy(function()) })
}

#[cfg(not(target_feature = "crt-static"))]
const SQLITE_VERSION: &std::ffi::CStr = c"sqlite3_libversion";
#[cfg(not(target_feature = "crt-static"))]
const UV_VERSION: &std::ffi::CStr = c"uv_version_string";

/// Asks a library that libdqlite brought along.
#[cfg(not(target_feature = "crt-static"))]
fn version_of(function: &std::ffi::CStr) -> Option<String> {
    // SAFETY: looks a name up among the loaded libraries.
    let address = unsafe { libc::dlsym(libc::RTLD_DEFAULT, function.as_ptr()) };
    if address.is_null() {
        return None;
    }
    // SAFETY: both names above are functions of this type in their libraries' public headers.
    let function: VersionFunction = unsafe { std::mem::transmute(address) };
    // SAFETY: as the type says.
    Some(unsafe { copy(function()) })
}

/// The SONAME is the same for every version from 1.11 on, so the linker does not protect us.
pub(super) fn check_version() -> Result<(), NodeError> {
    // SAFETY: takes nothing and returns a number.
    if unsafe { ffi::dqlite_version_number() } >= ffi::MINIMUM_VERSION_NUMBER {
        return Ok(());
    }
    Err(NodeError::LibraryTooOld {
        found: versions().dqlite,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_of_all_three_libraries_are_known() {
        let Versions { dqlite, sqlite, uv } = versions();
        assert!(
            dqlite.starts_with("1.") && !dqlite.ends_with('@'),
            "{dqlite}"
        );
        assert!(sqlite.unwrap().starts_with("3."));
        assert!(uv.unwrap().starts_with("1."));
        check_version().unwrap();
    }
}
