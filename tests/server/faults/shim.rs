//! The preloaded library that fails a call on a file: calls.c.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;

/// Which call fails, and with which error.
#[derive(Debug, Clone, Copy)]
pub struct Fault {
    /// From 1 on; 0: none.
    pub at: usize,
    pub errno: i32,
}

/// Builds the library once, with the C compiler that linked this test.
fn library() -> &'static Path {
    static BUILT: OnceLock<PathBuf> = OnceLock::new();
    BUILT.get_or_init(|| {
        let source = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/server/faults/calls.c");
        let name = format!("calls-{}.so", std::process::id());
        let built = Path::new(env!("CARGO_TARGET_TMPDIR")).join(name);
        let status = Command::new("cc")
            .args(["-Wall", "-O1", "-shared", "-fPIC", "-o"])
            .args([built.as_os_str(), source.as_ref(), "-ldl".as_ref()])
            .status()
            .expect("a C compiler");
        assert!(status.success(), "{status}");
        built
    })
}

/// Lets the server's calls on the files of `dir` be counted in the file `log`, and one of them fail.
pub fn preload(command: &mut Command, dir: &Path, log: &Path, fault: Fault) {
    command
        .env("LD_PRELOAD", library())
        .env("FAULT_DIR", dir)
        .env("FAULT_LOG", log)
        .env("FAULT_AT", fault.at.to_string())
        .env("FAULT_ERRNO", fault.errno.to_string());
}

/// The calls that were counted: each is its name and the name of the file.
pub fn calls(log: &Path) -> Vec<String> {
    let text = std::fs::read_to_string(log).unwrap_or_default();
    let rest = |line: &str| line.split_once(' ').map(|(_, call)| call.trim().to_owned());
    text.lines().filter_map(rest).collect()
}
