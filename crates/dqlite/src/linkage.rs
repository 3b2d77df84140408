//! Keeps a statically linked program from opening shared libraries.
//!
//! glibc's static half still opens shared libraries where its configuration names some: those of name services
//! (nsswitch.conf), and whatever a library asks `dlopen` for, here the modules of OpenSSL (openssl.cnf). Such a
//! library brings the machine's own libc into a program that has another one, which ends in crashes or wrong
//! answers. So in a static program
//!
//! - names of hosts, services, users and groups come from the files in /etc and from DNS, which are part of libc.a
//!   since glibc 2.34, whatever nsswitch.conf says;
//! - `dlopen` refuses, and [`check`] tells which module was wanted.
//!
//! A program is static when it is compiled with the target feature crt-static; scripts/build passes the linker's
//! `--wrap` for the functions below. In a dynamic program this module does nothing.

/// A configuration that a static program cannot follow.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "openssl.cnf wants the module {module}, and this program is linked statically and loads none: use the dynamically \
     linked program, or let OPENSSL_CONF name a file without it"
)]
pub struct UnusableModule {
    pub module: String,
}

/// Reads OpenSSL's configuration. Where it names a module, OpenSSL would drop what follows in it, such as
/// ciphers and groups, without a word: end the program.
pub fn check() -> Result<(), UnusableModule> {
    #[cfg(all(target_feature = "crt-static", target_env = "gnu"))]
    {
        openssl::init();
        if let Some(module) = glibc::refused() {
            return Err(UnusableModule { module });
        }
    }
    Ok(())
}

#[cfg(all(target_feature = "crt-static", target_env = "gnu"))]
mod glibc {
    use std::{
        ffi::{CStr, c_char, c_int, c_void},
        ptr,
        sync::{Mutex, PoisonError},
    };

    unsafe extern "C" {
        /// glibc: nss/nss_database.c. Takes the place of a line of nsswitch.conf.
        fn __nss_configure_lookup(database: *const c_char, services: *const c_char) -> c_int;
    }

    /// Databases of nsswitch.conf that functions of this program look into, and services that are part of libc.a.
    const NAME_SERVICES: [(&CStr, &CStr); 6] = [
        (c"hosts", c"files dns"),
        (c"services", c"files"),
        (c"protocols", c"files"),
        (c"passwd", c"files"),
        (c"group", c"files"),
        (c"initgroups", c"files"),
    ];

    /// Runs before `main`, so that no program and no test can forget it.
    #[used]
    #[unsafe(link_section = ".init_array")]
    static BEFORE_MAIN: extern "C" fn() = configure_name_services;

    extern "C" fn configure_name_services() {
        for (database, services) in NAME_SERVICES {
            // SAFETY: two strings that end with NUL, copied or parsed by the call; there is one thread.
            unsafe { __nss_configure_lookup(database.as_ptr(), services.as_ptr()) };
        }
    }

    /// The first module that was asked for.
    static REFUSED: Mutex<Option<String>> = Mutex::new(None);

    pub fn refused() -> Option<String> {
        let refused = REFUSED.lock().unwrap_or_else(PoisonError::into_inner);
        refused.clone()
    }

    /// # Safety
    ///
    /// As libc's: a string that ends with NUL, or null.
    #[unsafe(no_mangle)]
    unsafe extern "C" fn __wrap_dlopen(name: *const c_char, _flags: c_int) -> *mut c_void {
        if !name.is_null() {
            // SAFETY: the caller's promise.
            let name = unsafe { CStr::from_ptr(name) };
            let mut refused = REFUSED.lock().unwrap_or_else(PoisonError::into_inner);
            refused.get_or_insert_with(|| name.to_string_lossy().into_owned());
        }
        ptr::null_mut()
    }

    /// The reason, for the caller's own message.
    #[unsafe(no_mangle)]
    extern "C" fn __wrap_dlerror() -> *mut c_char {
        c"a statically linked program loads no modules"
            .as_ptr()
            .cast_mut()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_configuration_of_this_machine_is_usable() {
        assert_eq!(check(), Ok(()));
    }
}
