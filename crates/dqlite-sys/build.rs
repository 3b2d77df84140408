//! Finds libdqlite through pkg-config and tells the compiler which of its optional functions exist.

use std::{env, fs, path::PathBuf};

/// Older versions lose data or let a client end the process; `scripts/libdqlite` says the same.
const MINIMUM: &str = "1.18.5";

/// Bound only when the header declares them: deprecated, experimental in effect, or without effect
/// today, so a later release may drop them.
const OPTIONAL: [&str; 8] = [
    "dqlite_node_enable_role_management",
    "dqlite_node_handover",
    "dqlite_node_recover",
    "dqlite_node_set_network_latency",
    "dqlite_node_set_pool_thread_count",
    "dqlite_node_set_snapshot_params",
    "dqlite_node_set_target_standbys",
    "dqlite_node_set_target_voters",
];

fn main() {
    println!("cargo::rerun-if-changed=build.rs");
    let library = match pkg_config::Config::new()
        .atleast_version(MINIMUM)
        .probe("dqlite")
    {
        Ok(library) => library,
        Err(error) => {
            println!(
                "cargo::error=libdqlite {MINIMUM} or newer was not found: run scripts/libdqlite, \
                 which installs it, or let PKG_CONFIG_PATH name the directory of your own dqlite.pc"
            );
            for line in error
                .to_string()
                .lines()
                .filter(|line| !line.trim().is_empty())
            {
                println!("cargo::error=  {line}");
            }
            return;
        }
    };

    let header = header(&library.include_paths);
    println!("cargo::rerun-if-changed={}", header.display());
    let text = fs::read_to_string(&header).unwrap_or_else(|e| panic!("{}: {e}", header.display()));
    for symbol in OPTIONAL {
        println!("cargo::rustc-check-cfg=cfg(has_{symbol})");
        if text.contains(&format!("{symbol}(")) {
            println!("cargo::rustc-cfg=has_{symbol}");
        }
    }

    let include = header
        .parent()
        .expect("a header is in a directory")
        .display();
    println!("cargo::rustc-env=DQLITE_INCLUDE_DIR={include}");
    println!("cargo::metadata=include={include}");
    println!("cargo::metadata=version={}", library.version);
}

/// The header that belongs to the library found, or the system's.
fn header(include_paths: &[PathBuf]) -> PathBuf {
    let system = ["/usr/local/include", "/usr/include"].map(PathBuf::from);
    include_paths
        .iter()
        .chain(&system)
        .map(|directory| directory.join("dqlite.h"))
        .find(|header| header.exists())
        .unwrap_or_else(|| {
            panic!(
                "dqlite.h is in none of {include_paths:?} and {system:?}, target {:?}",
                env::var("TARGET")
            )
        })
}
