//! Limits of the process.

use std::io;

/// Raises the limit of open files to the hard limit, which is the operator's. The usual soft limit of 1024 is
/// there for programs that use `select`; the clients of a large cluster have more connections.
pub fn raise_open_files() -> io::Result<u64> {
    let mut limit = libc::rlimit {
        rlim_cur: 0,
        rlim_max: 0,
    };
    // SAFETY: writes to `limit`, which lives through the call.
    if unsafe { libc::getrlimit(libc::RLIMIT_NOFILE, &mut limit) } != 0 {
        return Err(io::Error::last_os_error());
    }
    limit.rlim_cur = limit.rlim_max;
    // SAFETY: reads `limit`.
    if unsafe { libc::setrlimit(libc::RLIMIT_NOFILE, &limit) } != 0 {
        return Err(io::Error::last_os_error());
    }
    Ok(limit.rlim_cur)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_limit_is_raised_once_and_for_all() {
        let files = raise_open_files().unwrap();
        assert!(files > 0);
        assert_eq!(raise_open_files().unwrap(), files);
    }
}
