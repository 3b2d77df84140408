//! The owner of one node in its three states: created, running, ended.

use std::{
    path::{Path, PathBuf},
    sync::mpsc,
    thread,
    time::Duration,
};

use super::{
    DirLock, EngineState, NodeError, NodeOptions, aio,
    bootstrap::begin_cluster,
    check::{check_space, judge_state, read_log},
    closing,
    connect::Connector,
    engine::Engine,
    file_calls, in_place,
    mark::{LogEnd, Mark},
    options::Checked,
    poison::Watch,
    process::{check_version, prepare_process},
    progress, reuse,
    snapshot_pace::Pace,
    snapshot_room,
    state::undo_half_a_bootstrap,
    statements, turns, wide_results,
};
use crate::{log::Report, wire::NodeId};

/// Stopping takes 60 ms when idle. It waits for dials ([`super::DIAL_TIMEOUT`]) and for a snapshot
/// that is being written, which takes seconds for a large database.
pub const STOP_TIMEOUT: Duration = Duration::from_secs(30);

/// A dqlite node. Started once at most; dropping it stops it.
pub struct Node {
    dir: PathBuf,
    id: NodeId,
    report: Report,
    bind_address: String,
    phase: Phase,
}

enum Phase {
    /// The pace ends before the engine does.
    Created(Parts, Checked, Option<Pace>),
    Running(Parts, Watch, Mark),
    Ended,
}

/// Everything that has to outlive the engine, in the order in which it ends.
struct Parts {
    engine: Engine,
    _connector: Box<Connector>,
    lock: DirLock,
}

impl Node {
    /// Lock the directory and set up a node on it. Nothing listens or runs yet.
    pub fn create(options: &NodeOptions) -> Result<Self, NodeError> {
        Self::create_locked(options, DirLock::acquire(&options.dir)?)
    }

    /// The same on a directory that the caller has locked, to read or write its files first.
    pub fn create_locked(options: &NodeOptions, mut lock: DirLock) -> Result<Self, NodeError> {
        prepare_process();
        check_version()?;
        aio::link();
        reuse::link();
        statements::link();
        file_calls::link();
        in_place::link();
        turns::link();
        progress::link();
        closing::link();
        snapshot_room::link();
        wide_results::link();
        let checked = options.checked()?;
        if lock.dir() != options.dir {
            return Err(NodeError::InvalidOption {
                option: "directory",
                reason: format!("{} is not the one that is locked", options.dir.display()),
            });
        }
        if check_state(options)? == EngineState::Empty && options.bootstrap {
            check_space(&options.dir)?;
            begin_cluster(&mut lock, options.id, &options.address, &checked.dir)?;
        }
        let report = read_log(&options.dir, options.id)?;
        for remnant in &report.remnants {
            tracing::info!("{remnant}");
        }
        check_space(&options.dir)?;
        let connector = Box::new(Connector::new(options.dial.clone()));
        let engine = Engine::create(options.id, &checked.address, &checked.dir)?;
        let threshold = engine.configure(options, &checked, &connector)?;
        let pace = threshold.map(|word| Pace::new(word, options.snapshot, report.last_index));
        Ok(Self {
            dir: options.dir.clone(),
            id: options.id,
            report,
            bind_address: options.bind_address.clone(),
            phase: Phase::Created(
                Parts {
                    engine,
                    _connector: connector,
                    lock,
                },
                checked,
                pace,
            ),
        })
    }

    /// Load the data and serve it. Takes seconds on a large database. A node that failed to start
    /// has ended, and the name of its socket stays taken until the process ends.
    pub fn start(&mut self) -> Result<(), NodeError> {
        let Phase::Created(mut parts, checked, pace) =
            std::mem::replace(&mut self.phase, Phase::Ended)
        else {
            return Err(NodeError::InvalidOption {
                option: "use",
                reason: "a node is started once; create a new one".to_owned(),
            });
        };
        self.bind_address = parts.engine.bind(&checked.bind_address)?;
        parts.lock.yield_to_engine();
        let watch = Watch::begin(&self.dir);
        let mark = Mark::begin(&self.dir, self.id, &self.report, pace);
        let mark = mark.map_err(|source| NodeError::Directory {
            dir: self.dir.clone(),
            source,
        })?;
        if let Err(error) = parts.engine.start() {
            // The engine takes a file that it could not open for one that is damaged.
            return Err(watch.failure().map_or(error, NodeError::FileCall));
        }
        watch.running();
        self.phase = Phase::Running(parts, watch, mark);
        Ok(())
    }

    /// Returns the report on what the engine has loaded, or will load, from its directory.
    pub fn report(&self) -> &Report {
        &self.report
    }

    /// Returns access to the end of the log on the disk, or `None` if the node does not run.
    pub fn log_end(&self) -> Option<LogEnd> {
        match &self.phase {
            Phase::Running(_, _, mark) => Some(mark.log_end()),
            Phase::Created(..) | Phase::Ended => None,
        }
    }

    /// Returns the address at which the engine listens, `@name`. It is final once the node is started.
    pub fn bind_address(&self) -> &str {
        &self.bind_address
    }

    pub fn id(&self) -> NodeId {
        self.id
    }

    pub fn dir(&self) -> &Path {
        &self.dir
    }

    /// Ends the engine; statements that run are aborted. Stopping again does nothing. After [`NodeError::StopTimeout`]
    /// the engine may go on for a while, and keeps its directory locked.
    pub fn stop(&mut self) -> Result<(), NodeError> {
        let Phase::Running(mut parts, watch, mark) =
            std::mem::replace(&mut self.phase, Phase::Ended)
        else {
            return Ok(());
        };
        let (done, result) = mpsc::sync_channel(1);
        // The thread owns all that the engine needs, so that giving up on it is safe. Where no
        // thread can be had, the engine stops right here, as it is dropped.
        let spawned = thread::Builder::new()
            .name("dqlite-stop".to_owned())
            .spawn(move || {
                let stopped = parts.engine.stop();
                // It refers to the engine's memory.
                match &stopped {
                    Ok(()) => mark.finish(),
                    Err(_) => drop(mark),
                }
                drop((parts, watch));
                let _ = done.send(stopped);
            });
        if spawned.is_err() {
            return Ok(());
        }
        result
            .recv_timeout(STOP_TIMEOUT)
            .unwrap_or(Err(NodeError::StopTimeout {
                seconds: STOP_TIMEOUT.as_secs(),
            }))
    }
}

impl Drop for Node {
    fn drop(&mut self) {
        if let Err(error) = self.stop() {
            tracing::error!(%error, "the dqlite node did not stop cleanly");
        }
    }
}

/// Refuse a directory on which the engine would silently begin a new history. Returns what is in it.
fn check_state(options: &NodeOptions) -> Result<EngineState, NodeError> {
    let unusable = |source| NodeError::Directory {
        dir: options.dir.clone(),
        source,
    };
    if options.bootstrap {
        undo_half_a_bootstrap(&options.dir).map_err(unusable)?;
    }
    judge_state(&options.dir, options.id, options.bootstrap)
}
