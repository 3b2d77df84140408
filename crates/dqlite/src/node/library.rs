//! Finds functions of shared libraries behind those that the executable puts in front of them.
#![cfg(not(target_feature = "crt-static"))]

use std::ffi::{CStr, c_void};

/// Returns a function of a shared library.
///
/// # Safety
///
/// `F` must be the type of the function of that name.
pub unsafe fn function<F: Copy>(name: &CStr) -> F {
    assert_eq!(size_of::<F>(), size_of::<*mut c_void>());
    // SAFETY: a NUL-terminated name; looks for it behind the executable.
    let found = unsafe { libc::dlsym(libc::RTLD_NEXT, name.as_ptr()) };
    assert!(!found.is_null(), "libdqlite brings SQLite, with {name:?}");
    // SAFETY: a function of the caller's type, of the size of a pointer.
    unsafe { std::mem::transmute_copy(&found) }
}
