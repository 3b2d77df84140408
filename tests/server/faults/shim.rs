//! The preloaded library that fails a call on a file: calls.c.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;

/// The call that fails, and its error.
#[derive(Debug, Clone, Copy)]
pub struct Fault {
    /// The number of the call, from 1 on; 0: none.
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

/// The calls that are to fail from some moment on: one of them does.
#[derive(Debug, Clone)]
pub struct Armed {
    /// The number of the call, from 1 on, counted from that moment.
    pub nth: usize,
    /// The call's name, or `any`.
    pub call: String,
    /// The beginning of the file's name, with its slash, or `any`; `.` is the directory itself.
    pub file: String,
    pub errno: i32,
}

/// Lets one call fail that is asked for later, by [`Armed::arm`], in a file of its own.
pub fn preload_unarmed(command: &mut Command, dir: &Path, log: &Path, armed: &Armed) {
    let fault = Fault {
        at: 0,
        errno: armed.errno,
    };
    preload(command, dir, log, fault);
    command.env("FAULT_ARM", log.with_extension("arm"));
}

impl Armed {
    /// The next of these calls.
    pub fn of(call: &str, file: &str, errno: i32) -> Self {
        Self {
            nth: 1,
            call: call.to_owned(),
            file: file.to_owned(),
            errno,
        }
    }

    /// Arms it: from now on the call can fail.
    pub fn arm(&self, log: &Path) {
        let text = format!("{} {} {}", self.nth, self.call, self.file);
        let half = log.with_extension("half");
        std::fs::write(&half, text).unwrap();
        std::fs::rename(&half, log.with_extension("arm")).unwrap();
    }
}

/// The call that has failed, and its file.
pub fn failed(log: &Path) -> Option<String> {
    let found = calls(log);
    let mut failed = found.iter().filter_map(|call| call.strip_suffix(" fails"));
    failed.next().map(str::to_owned)
}

/// The calls that were counted: each is its name and the name of the file.
pub fn calls(log: &Path) -> Vec<String> {
    let text = std::fs::read_to_string(log).unwrap_or_default();
    let rest = |line: &str| line.split_once(' ').map(|(_, call)| call.trim().to_owned());
    text.lines().filter_map(rest).collect()
}
