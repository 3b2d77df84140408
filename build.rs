//! Lets the dynamic linker find this program's `syscall` before libc's (see `dqlite::node::aio`).

fn main() {
    println!("cargo::rerun-if-changed=build.rs");
    println!("cargo::rustc-link-arg-bins=-Wl,--export-dynamic-symbol=syscall");
}
