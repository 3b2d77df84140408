//! Running a shell to its end.

use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::time::{Duration, Instant};

/// The timeout for anything, also on two busy cores.
pub const TIMEOUT: Duration = Duration::from_secs(60);

/// The exit code of what the cluster or a guard refuses, as all programs have it.
pub const REFUSED: i32 = 12;

pub const OURS: &str = env!("CARGO_BIN_EXE_dqlite");

/// The original, where it could be built (`scripts/go-dqlite`).
pub fn original() -> Option<PathBuf> {
    let path = std::env::var_os("GO_DQLITE_BIN").map(PathBuf::from);
    if path.is_none() {
        eprintln!("skipped: GO_DQLITE_BIN does not name the original shell");
    }
    path
}

#[derive(Debug, PartialEq, Eq)]
pub struct Ran {
    pub code: i32,
    pub stdout: String,
    pub stderr: String,
}

impl From<Output> for Ran {
    fn from(output: Output) -> Self {
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        Ran {
            code: output.status.code().unwrap_or(-1),
            stdout: text(&output.stdout),
            stderr: text(&output.stderr),
        }
    }
}

impl Ran {
    /// The output of a run that went well.
    #[track_caller]
    pub fn good(self) -> String {
        assert_eq!(
            (self.code, self.stderr.as_str()),
            (0, ""),
            "{}",
            self.stdout
        );
        self.stdout
    }

    /// The error of a run that had to fail, which is no lecture on the flags.
    #[track_caller]
    pub fn failed(self, code: i32) -> String {
        assert_eq!(self.code, code, "{}{}", self.stdout, self.stderr);
        assert!(!self.stderr.contains("Usage"), "{}", self.stderr);
        self.stderr
    }
}

pub fn run(program: impl AsRef<Path>, arguments: &[&str]) -> Ran {
    run_in(program, arguments, Path::new("."))
}

pub fn run_in(program: impl AsRef<Path>, arguments: &[&str], dir: &Path) -> Ran {
    let mut command = Command::new(program.as_ref());
    command
        .args(arguments)
        .current_dir(dir)
        // The original shows times in the zone of the machine.
        .env("TZ", "UTC")
        .stdin(Stdio::null());
    command.output().unwrap().into()
}

pub fn run_with_input(arguments: &[&str], input: &str) -> Ran {
    let mut command = Command::new(OURS);
    command
        .args(arguments)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    let mut child = command.spawn().unwrap();
    // It may end before it has read everything.
    let _ = child.stdin.take().unwrap().write_all(input.as_bytes());
    child.wait_with_output().unwrap().into()
}

/// Waits until a condition holds.
#[track_caller]
pub fn until(what: &str, mut condition: impl FnMut() -> bool) {
    let deadline = Instant::now() + TIMEOUT;
    while !condition() {
        assert!(Instant::now() < deadline, "timed out waiting until {what}");
        std::thread::sleep(Duration::from_millis(20));
    }
}
