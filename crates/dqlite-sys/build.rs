//! Finds libdqlite through pkg-config, links it and what it needs, and tells the compiler which of its optional
//! functions exist.

use std::{
    env, fs,
    path::{Path, PathBuf},
    process::Command,
};

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
    let is_static = has_target_feature("crt-static");
    let library = match pkg_config::Config::new()
        .atleast_version(MINIMUM)
        .statik(is_static)
        .cargo_metadata(!is_static)
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

    if is_static {
        link_statically(&library);
    }

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

fn has_target_feature(name: &str) -> bool {
    env::var("CARGO_CFG_TARGET_FEATURE").is_ok_and(|all| all.split(',').any(|found| found == name))
}

/// Parts of glibc's libc.a since 2.34, which rustc links.
const IN_LIBC: [&str; 3] = ["dl", "pthread", "rt"];

/// Links the archives of libdqlite and of what it needs. pkg-config's crate would take the shared libraries, because
/// it distrusts archives in system directories.
fn link_statically(dqlite: &pkg_config::Library) {
    let libraries = &dqlite.libs;
    println!("cargo::rerun-if-env-changed=SQLITE3_LIB_DIR");
    let own_sqlite = env::var_os("SQLITE3_LIB_DIR").map(PathBuf::from);
    for (index, name) in libraries.iter().enumerate() {
        // pkg-config may name one more than once, and the linker searches an archive as often as it has to.
        if IN_LIBC.contains(&name.as_str()) || libraries[..index].contains(name) {
            continue;
        }
        let Some(archive) = archive(name, own_sqlite.as_deref(), &dqlite.link_paths) else {
            println!(
                "cargo::error=no archive of lib{name} for a static program: run scripts/build static, which installs it"
            );
            continue;
        };
        let directory = archive
            .parent()
            .expect("a file is in a directory")
            .display();
        let file = archive.file_stem().expect("a library has a name");
        let file = file.to_str().and_then(|file| file.strip_prefix("lib"));
        println!("cargo::rustc-link-search=native={directory}");
        println!(
            "cargo::rustc-link-lib=static:-bundle={}",
            file.unwrap_or(name)
        );
    }
}

/// Finds the archive of a library: SQLite's in the directory that the variable names, others beside libdqlite's, which is
/// where those of another architecture are, or where the compiler looks.
fn archive(name: &str, own_sqlite: Option<&Path>, link_paths: &[PathBuf]) -> Option<PathBuf> {
    if let Some(directory) = own_sqlite.filter(|_| name == "sqlite3") {
        return Some(directory.join("libsqlite3.a")).filter(|file| file.exists());
    }
    let compiler = env::var("CC").unwrap_or_else(|_| "cc".to_owned());
    // Debian's libuv has the second name.
    for file in [format!("lib{name}.a"), format!("lib{name}_a.a")] {
        let mut beside = link_paths.iter().map(|directory| directory.join(&file));
        if let Some(path) = beside.find(|path| path.exists()) {
            return path.canonicalize().ok();
        }
        let printed = Command::new(&compiler)
            .arg(format!("-print-file-name={file}"))
            .output()
            .ok()?;
        let path = PathBuf::from(String::from_utf8(printed.stdout).ok()?.trim());
        // The bare name means that there is none.
        if path.is_absolute() && path.exists() {
            return path.canonicalize().ok();
        }
    }
    None
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
