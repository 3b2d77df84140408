//! Lets the dynamic linker find this program's functions before those of libc and SQLite (see
//! `dqlite::node::aio` and `dqlite::node::reuse`).

const INTERPOSED: [&str; 4] = [
    "syscall",
    "sqlite3_open_v2",
    "sqlite3_close",
    "sqlite3_vfs_unregister",
];

fn main() {
    println!("cargo::rerun-if-changed=build.rs");
    // Without a dynamic linker, scripts/build static says `--wrap`.
    let features = std::env::var("CARGO_CFG_TARGET_FEATURE").unwrap_or_default();
    if features.split(',').any(|feature| feature == "crt-static") {
        return;
    }
    for symbol in INTERPOSED {
        println!("cargo::rustc-link-arg-bins=-Wl,--export-dynamic-symbol={symbol}");
    }
}
