//! Observes the engine's calls on files.
//!
//! libdqlite works on its directory through libuv's functions for files, called in place, and through
//! `posix_fallocate` (dqlite: src/raft/uv_os.c). So this module puts functions of those names into the executable,
//! which the dynamic linker prefers, as in [`super::reuse`]; in a static program the linker's `--wrap` puts them
//! between libdqlite and libuv (scripts/build). Each calls the original and tells [`super::poison`] when that
//! has failed, [`super::mark`] of what makes the log longer or shorter, and [`super::term`] of what changes the term.
//! Writes to the log go to the kernel by `syscall`: [`super::aio`].

use std::{
    ffi::{CStr, OsStr, c_char, c_int, c_uint, c_void},
    os::unix::ffi::OsStrExt,
    path::Path,
};

use super::{
    mark,
    poison::{self, Kind},
    term,
};

/// Makes the linker take this module's functions into the executable. Call it wherever a node is made.
pub(super) fn link() {
    for function in [
        uv_fs_open as *const (),
        uv_fs_close as *const (),
        uv_fs_write as *const (),
        uv_fs_ftruncate as *const (),
        uv_fs_fsync as *const (),
        uv_fs_fdatasync as *const (),
        uv_fs_unlink as *const (),
        uv_fs_rename as *const (),
        uv_fs_mkstemp as *const (),
        uv_fs_scandir as *const (),
        uv_fs_stat as *const (),
        posix_fallocate as *const (),
    ] {
        std::hint::black_box(function);
    }
}

/// `uv_loop_t *`, `uv_fs_t *`, `const uv_buf_t *` and `uv_fs_cb`, which are passed on.
type Loop = *mut c_void;
type Request = *mut c_void;
type Buffers = *const c_void;
type Callback = *const c_void;

/// # Safety
///
/// A path that ends with NUL.
unsafe fn path_of<'a>(path: *const c_char) -> &'a Path {
    // SAFETY: the caller's promise.
    let path = unsafe { CStr::from_ptr(path) };
    Path::new(OsStr::from_bytes(path.to_bytes()))
}

/// Defines a function that stands before the one of the same name. It does what is to be done before, calls the
/// original, and hands what that returned to the other block.
macro_rules! stands_before {
    ($(
        fn $name:ident / $real:ident / $wrap:literal ($($argument:ident: $type:ty),*)
        $(before $before:block)? |$result:ident| $told:block
    )*) => {
        #[cfg(target_feature = "crt-static")]
        mod real {
            use super::*;
            // What the linker calls the functions that it has wrapped.
            unsafe extern "C" {
                $(pub fn $real($($argument: $type),*) -> c_int;)*
            }
        }

        #[cfg(not(target_feature = "crt-static"))]
        mod real {
            use super::*;
            $(
                /// # Safety
                ///
                /// As the original's.
                pub unsafe fn $real($($argument: $type),*) -> c_int {
                    type Function = unsafe extern "C" fn($($type),*) -> c_int;
                    static FOUND: std::sync::OnceLock<Function> = std::sync::OnceLock::new();
                    let function = FOUND.get_or_init(|| {
                        let name = concat!(stringify!($name), "\0");
                        // SAFETY: a NUL-terminated name; looks for it behind the executable.
                        let found = unsafe { libc::dlsym(libc::RTLD_NEXT, name.as_ptr().cast()) };
                        assert!(!found.is_null(), "libdqlite brings libuv, with {}", stringify!($name));
                        // SAFETY: a function of this type in uv.h or fcntl.h.
                        unsafe { std::mem::transmute::<*mut c_void, Function>(found) }
                    });
                    // SAFETY: the caller's promise.
                    unsafe { function($($argument),*) }
                }
            )*
        }

        $(
            /// # Safety
            ///
            /// As the original's.
            #[cfg_attr(not(target_feature = "crt-static"), unsafe(no_mangle))]
            #[cfg_attr(target_feature = "crt-static", unsafe(export_name = $wrap))]
            pub unsafe extern "C" fn $name($($argument: $type),*) -> c_int {
                $($before)?
                // SAFETY: what the caller passed is passed on.
                let $result = unsafe { real::$real($($argument),*) };
                $told
                $result
            }
        )*
    };
}

stands_before! {
    fn uv_fs_open / __real_uv_fs_open / "__wrap_uv_fs_open"
        (uv: Loop, request: Request, path: *const c_char, flags: c_int, mode: c_int, done: Callback)
    |result| {
        // SAFETY: the engine's path.
        let path = unsafe { path_of(path) };
        let is_new = flags & libc::O_CREAT != 0;
        if result < 0 {
            let kind = if is_new { Kind::Create } else { Kind::Open };
            poison::failed(kind, "open", path, -result);
            return result;
        }
        term::opened(path, result);
        if flags & libc::O_ACCMODE != libc::O_RDONLY {
            mark::opened(path, result, is_new);
        }
    }

    fn uv_fs_close / __real_uv_fs_close / "__wrap_uv_fs_close"
        (uv: Loop, request: Request, file: c_int, done: Callback)
    before {
        term::closing(file);
        mark::closing(file);
    }
    |result| {
        // A file that is closed cannot be named any more.
        if result < 0 && file >= 0 {
            poison::failed_anywhere("close", -result);
        }
    }

    fn uv_fs_write / __real_uv_fs_write / "__wrap_uv_fs_write"
        (uv: Loop, request: Request, file: c_int, buffers: Buffers, count: c_uint, offset: i64, done: Callback)
    |result| {
        if result < 0 {
            poison::failed_on(Kind::Write, "write", file, -result);
        }
    }

    fn uv_fs_ftruncate / __real_uv_fs_ftruncate / "__wrap_uv_fs_ftruncate"
        (uv: Loop, request: Request, file: c_int, offset: i64, done: Callback)
    |result| {
        if result < 0 {
            poison::failed_on(Kind::Other, "ftruncate", file, -result);
        }
    }

    fn uv_fs_fsync / __real_uv_fs_fsync / "__wrap_uv_fs_fsync"
        (uv: Loop, request: Request, file: c_int, done: Callback)
    |result| {
        if result < 0 {
            poison::failed_on(Kind::Other, "fsync", file, -result);
        }
    }

    fn uv_fs_fdatasync / __real_uv_fs_fdatasync / "__wrap_uv_fs_fdatasync"
        (uv: Loop, request: Request, file: c_int, done: Callback)
    |result| {
        if result < 0 {
            poison::failed_on(Kind::Other, "fdatasync", file, -result);
        }
    }

    fn uv_fs_unlink / __real_uv_fs_unlink / "__wrap_uv_fs_unlink"
        (uv: Loop, request: Request, path: *const c_char, done: Callback)
    before {
        // SAFETY: the engine's path.
        mark::removing(unsafe { path_of(path) });
    }
    |result| {
        if result < 0 {
            // SAFETY: the engine's path.
            poison::failed(Kind::Unlink, "unlink", unsafe { path_of(path) }, -result);
        } else {
            // SAFETY: the engine's path.
            term::replaced(unsafe { path_of(path) });
        }
    }

    fn uv_fs_rename / __real_uv_fs_rename / "__wrap_uv_fs_rename"
        (uv: Loop, request: Request, path: *const c_char, new_path: *const c_char, done: Callback)
    |result| {
        if result < 0 {
            // SAFETY: the engine's path.
            poison::failed(Kind::Other, "rename", unsafe { path_of(path) }, -result);
        } else {
            // SAFETY: the engine's paths.
            let (from, to) = unsafe { (path_of(path), path_of(new_path)) };
            term::replaced(to);
            mark::renamed(from, to);
        }
    }

    fn uv_fs_mkstemp / __real_uv_fs_mkstemp / "__wrap_uv_fs_mkstemp"
        (uv: Loop, request: Request, template: *const c_char, done: Callback)
    |result| {
        if result < 0 {
            // SAFETY: the engine's path.
            poison::failed(Kind::Create, "mkstemp", unsafe { path_of(template) }, -result);
        }
    }

    fn uv_fs_scandir / __real_uv_fs_scandir / "__wrap_uv_fs_scandir"
        (uv: Loop, request: Request, path: *const c_char, flags: c_int, done: Callback)
    |result| {
        if result < 0 {
            // SAFETY: the engine's path.
            poison::failed(Kind::List, "scandir", unsafe { path_of(path) }, -result);
        }
    }

    fn uv_fs_stat / __real_uv_fs_stat / "__wrap_uv_fs_stat"
        (uv: Loop, request: Request, path: *const c_char, done: Callback)
    |result| {
        if result < 0 {
            // SAFETY: the engine's path.
            poison::failed(Kind::Stat, "stat", unsafe { path_of(path) }, -result);
        }
    }

    fn posix_fallocate / __real_posix_fallocate / "__wrap_posix_fallocate"
        (file: c_int, offset: i64, bytes: i64)
    |result| {
        // A signal interrupts it, and the engine repeats it.
        if result != 0 && result != libc::EINTR {
            poison::failed_on(Kind::Allocate, "fallocate", file, result);
        }
    }
}
