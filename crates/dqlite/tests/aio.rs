//! The engine calls the functions of the executable: `syscall`, by which it loses its AIO contexts to the helper thread, and
//! those that make it run statements and write its log on its loop.
//!
//! A program of its own, because the counts are the process's.

#![cfg(any(target_arch = "x86_64", target_arch = "aarch64"))]

#[expect(dead_code, reason = "shared with tests that use more of it")]
mod engine;

use std::{
    sync::{
        Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    time::Instant,
};

use dqlite::node::{Node, aio, in_place, log_writes, sector_bytes};
use engine::{Client, options, start};

/// Held by a test that counts what the process did.
static COUNTING: Mutex<()> = Mutex::new(());

fn counting() -> MutexGuard<'static, ()> {
    COUNTING.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The engine's segments have 8 MiB.
const SEGMENTS: u64 = 4;

#[test]
fn contexts_of_full_log_segments_are_destroyed_off_the_loop() {
    let _counting = counting();
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

#[test]
fn allowed_statements_run_on_the_loop_and_others_do_not() {
    let _counting = counting();
    const ALLOWED: &str = "INSERT INTO t (a) VALUES (1)";
    in_place::allow(ALLOWED);
    let dir = tempfile::tempdir().unwrap();
    let node = start(&options(dir.path()));
    let mut client = Client::connect(&node);
    client.open();
    client.exec("CREATE TABLE t (a INTEGER CHECK (a > 0))");
    let before = in_place::run();
    client.exec(ALLOWED);
    client.exec(ALLOWED);
    assert_eq!(in_place::run() - before, 2);
    // Another text, one that only begins like it, and more than one statement.
    client.exec("INSERT INTO t (a) VALUES (2)");
    client.exec("INSERT INTO t (a) VALUES (1), (3)");
    assert_eq!(in_place::run() - before, 2);
    client.exec("DROP TABLE t");
    client.exec("CREATE TABLE t (a INTEGER CHECK (a > 1))");
    // One that fails is answered as elsewhere, and leaves nothing behind.
    client.exec_fails(ALLOWED);
    client.exec("INSERT INTO t (a) VALUES (2)");
    assert_eq!(in_place::run() - before, 3);
}

/// Another connection has an open transaction: the statement waits its turn, and nothing else takes its place.
#[test]
fn an_allowed_statement_that_has_to_wait_runs_in_its_turn() {
    let _counting = counting();
    const ALLOWED: &str = "INSERT INTO t (a) VALUES (10)";
    in_place::allow(ALLOWED);
    let dir = tempfile::tempdir().unwrap();
    let node = start(&options(dir.path()));
    let mut first = Client::connect(&node);
    first.open();
    first.exec("CREATE TABLE t (a INTEGER)");
    let mut second = Client::connect(&node);
    second.open();
    first.exec("BEGIN IMMEDIATE");
    second.send_exec(ALLOWED);
    first.exec("INSERT INTO t (a) VALUES (20)");
    first.exec("COMMIT");
    second.expect_result();
    first.exec("INSERT INTO t (a) SELECT count(*) FROM t HAVING count(*) = 2");
    first.exec("CREATE UNIQUE INDEX i ON t (a)");
    first.exec_fails("INSERT INTO t (a) VALUES (2)");
}

/// Returns what has been written to logs so far, without zeros that were written ahead.
fn observed_bytes() -> u64 {
    static BYTES: AtomicU64 = AtomicU64::new(0);
    log_writes::observe_log_writes(|_, bytes| _ = BYTES.fetch_add(bytes, Ordering::Relaxed));
    BYTES.load(Ordering::Relaxed)
}

/// Starts a node on a disk, and makes a table; its writes are observed.
fn with_table() -> (tempfile::TempDir, Node, Client) {
    observed_bytes();
    let dir = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
    let node = start(&options(dir.path()));
    let mut client = Client::connect(&node);
    client.open();
    client.exec("CREATE TABLE t (b BLOB)");
    (dir, node, client)
}

#[test]
fn writes_to_the_log_are_observed() {
    let _counting = counting();
    let (_dir, _node, mut client) = with_table();
    let before = observed_bytes();
    // More than the loop writes itself.
    client.exec("INSERT INTO t VALUES (randomblob(512 * 1024))");
    client.exec("INSERT INTO t VALUES (randomblob(100))");
    let written = observed_bytes() - before;
    assert!(written > 512 * 1024, "{written} bytes");
}

/// Small writes that follow each other closely are little more than what they have, and take zeros along for the next
/// ones. The engine reads them all again.
#[test]
fn small_writes_in_a_row_take_sectors_and_are_read_again() {
    const INSERTS: u64 = 500;
    let _counting = counting();
    let (dir, node, mut client) = with_table();
    let before = observed_bytes();
    for _ in 0..INSERTS {
        client.exec("INSERT INTO t VALUES (randomblob(100))");
    }
    let bytes = (observed_bytes() - before) / INSERTS;
    if sector_bytes(dir.path()).is_some() {
        // A page of 4 KiB, and now and then a second one: not two blocks of 4 KiB.
        assert!((4096..6000).contains(&bytes), "{bytes} bytes for each");
    }
    drop(client);
    drop(node);
    let node = start(&options(dir.path()));
    let mut client = Client::connect(&node);
    client.open();
    client.exec(&format!(
        "CREATE TABLE seen (rows INTEGER CHECK (rows = {INSERTS}))"
    ));
    client.exec("INSERT INTO seen SELECT count(*) FROM t");
}
