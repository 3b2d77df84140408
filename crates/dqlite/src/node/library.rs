//! Finds functions of shared libraries behind those that the executable puts in front of them.

#[cfg(not(target_feature = "crt-static"))]
use std::ffi::{CStr, c_void};

/// Returns a function of a shared library.
///
/// # Safety
///
/// `F` must be the type of the function of that name.
#[cfg(not(target_feature = "crt-static"))]
pub unsafe fn function<F: Copy>(name: &CStr) -> F {
    assert_eq!(size_of::<F>(), size_of::<*mut c_void>());
    // SAFETY: a NUL-terminated name; looks for it behind the executable.
    let found = unsafe { libc::dlsym(libc::RTLD_NEXT, name.as_ptr()) };
    assert!(
        !found.is_null(),
        "libdqlite brings SQLite and libuv, with {name:?}"
    );
    // SAFETY: a function of the caller's type, of the size of a pointer.
    unsafe { std::mem::transmute_copy(&found) }
}

/// Declares a module `real` with functions of SQLite or libuv, with the name by which a static program reaches each: what
/// the linker calls one that it has wrapped, or the function's own.
macro_rules! functions {
    ($(fn $name:ident = $linked:literal ($($argument:ident: $type:ty),*) -> $result:ty;)*) => {
        #[cfg(target_feature = "crt-static")]
        pub(super) mod real {
            use super::*;
            // A pointer is declared elsewhere by the type of what it points to.
            #[allow(clashing_extern_declarations)]
            unsafe extern "C" {
                $(
                    #[link_name = $linked]
                    pub fn $name($($argument: $type),*) -> $result;
                )*
            }
        }

        #[cfg(not(target_feature = "crt-static"))]
        pub(super) mod real {
            use super::*;
            $(
                /// # Safety
                ///
                /// As the original's.
                #[allow(clippy::too_many_arguments)]
                pub unsafe fn $name($($argument: $type),*) -> $result {
                    type Function = unsafe extern "C" fn($($type),*) -> $result;
                    static FOUND: std::sync::OnceLock<Function> = std::sync::OnceLock::new();
                    let function = FOUND.get_or_init(|| {
                        let name = concat!(stringify!($name), "\0").as_bytes();
                        let name = std::ffi::CStr::from_bytes_with_nul(name).expect("it ends in NUL");
                        // SAFETY: a function of this type in sqlite3.h or uv.h.
                        unsafe { crate::node::library::function(name) }
                    });
                    // SAFETY: the caller's promise.
                    unsafe { function($($argument),*) }
                }
            )*
        }
    };
}
pub(super) use functions;
