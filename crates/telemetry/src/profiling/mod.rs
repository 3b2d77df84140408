//! Profiles of the running server, in the format of Go's pprof: where it spends processor time, and
//! what holds its memory.
//!
//! Invariants: without `--profiling` there is no timer and no signal, and an allocation costs one load
//! more. A profile never changes what the server does: the signal's handler copies registers and a piece
//! of the stack, and everything else happens on a thread of its own.
//! docs/decisions/0020-traces.md says why not by a library.

mod cpu;
mod folded;
mod heap;
mod http;
mod modules;
mod pprof;
mod sampler;
mod symbols;

use std::{
    fs::File,
    io::{self, Write},
    path::{Path, PathBuf},
    time::Duration,
};

use tracing::{info, warn};

pub use self::{
    cpu::{Busy, CpuProfile},
    heap::{Sampled, start as start_heap},
    http::routes,
};

/// The name of the file, as in the Go server.
const FILE: &str = "cpu_profile.raw";

/// More than a process runs; the number of different stacks is bounded elsewhere.
const WHOLE_LIFE: Duration = Duration::from_secs(10 * 365 * 86_400);

#[derive(Debug, thiserror::Error)]
pub enum ProfileError {
    #[error("failed to create cpu profiling file {}: {}", .0.display(), .1)]
    Create(PathBuf, io::Error),
    #[error("failed to setup cpu profiling: {0}")]
    Start(#[from] Busy),
}

/// The profile from start to stop, for `--profiling-dir`.
pub struct WholeProfile {
    file: File,
    path: PathBuf,
    profile: CpuProfile,
}

impl WholeProfile {
    pub fn start(dir: &Path) -> Result<Self, ProfileError> {
        let path = dir.join(FILE);
        let file =
            File::create(&path).map_err(|error| ProfileError::Create(path.clone(), error))?;
        let profile = CpuProfile::start(WHOLE_LIFE)?;
        info!(file = %path.display(), "recording a CPU profile until the server stops");
        Ok(Self {
            file,
            path,
            profile,
        })
    }

    /// Writes the file.
    pub fn stop(mut self) {
        let profile = self.profile.finish();
        let written = self.file.write_all(&profile.to_pprof());
        let path = self.path.display();
        match written.and_then(|()| self.file.sync_all()) {
            Ok(()) => info!(file = %path, "wrote the CPU profile"),
            Err(error) => warn!(file = %path, %error, "the CPU profile was not written"),
        }
    }
}
