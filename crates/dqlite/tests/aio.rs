//! The engine calls the `syscall` of the executable, and loses its AIO contexts to the helper
//! thread.
//!
//! A program of its own, because the count is the process's.

#![cfg(any(target_arch = "x86_64", target_arch = "aarch64"))]

#[expect(dead_code, reason = "shared with tests that use more of it")]
mod engine;

use std::time::Instant;

use dqlite::node::aio;
use engine::{Client, options, start};

/// The engine's segments have 8 MiB.
const SEGMENTS: u64 = 4;

#[test]
fn contexts_of_full_log_segments_are_destroyed_off_the_loop() {
    let dir = tempfile::tempdir().unwrap();
    let node = start(&options(dir.path()));
    let mut client = Client::connect(&node);
    client.open();
    client.exec("CREATE TABLE t (b BLOB)");
    let before = aio::handed_over();
    let mut slowest = std::time::Duration::ZERO;
    for _ in 0..SEGMENTS * 8 * 4 {
        let start = Instant::now();
        client.exec("INSERT INTO t VALUES (randomblob(256 * 1024))");
        slowest = slowest.max(start.elapsed());
    }
    println!("slowest insert of 256 KiB: {slowest:?}");
    // The first segment is shared with what came before, and the last one may be in the making.
    let handed_over = aio::handed_over() - before;
    assert!(
        handed_over >= SEGMENTS - 1,
        "{handed_over} contexts for {SEGMENTS} segments"
    );
}

#[test]
fn other_calls_and_their_errors_pass_through() {
    // SAFETY: none of these calls touches memory.
    unsafe {
        assert_eq!(
            libc::syscall(libc::SYS_getpid),
            libc::c_long::from(libc::getpid())
        );
        assert_eq!(libc::syscall(libc::SYS_close, -1), -1);
        assert_eq!(
            std::io::Error::last_os_error().raw_os_error(),
            Some(libc::EBADF)
        );
    }
    // The sixth argument comes from the stack on x86_64: an offset that is no multiple of a page is
    // refused.
    let map = |offset: libc::c_long| {
        // SAFETY: maps a new page somewhere, or fails.
        unsafe {
            libc::syscall(
                libc::SYS_mmap,
                0,
                4096,
                libc::PROT_READ,
                libc::MAP_PRIVATE | libc::MAP_ANONYMOUS,
                -1,
                offset,
            )
        }
    };
    assert!(map(0) > 0);
    assert_eq!(map(1), -1);
    assert_eq!(
        std::io::Error::last_os_error().raw_os_error(),
        Some(libc::EINVAL)
    );
}
