//! The level of the log, which can be changed while the server runs: by signals, and where profiles are
//! served.

use std::sync::{Mutex, OnceLock};

use tokio::signal::unix::{SignalKind, signal};
use tracing::{Level, level_filters::LevelFilter, warn};
use tracing_subscriber::{EnvFilter, Registry, reload::Handle};

use super::{directives, parse_level};

struct Control {
    handle: Handle<EnvFilter, Registry>,
    /// The level that the command line asked for.
    first: Level,
    current: Mutex<Level>,
}

static CONTROL: OnceLock<Control> = OnceLock::new();

#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[error("there are trace, debug, info, warn and error")]
pub struct UnknownLevel;

pub(super) fn start(handle: Handle<EnvFilter, Registry>, first: Level) {
    let _ = CONTROL.set(Control {
        handle,
        first,
        current: Mutex::new(first),
    });
}

/// Returns the current level.
pub fn level() -> String {
    let level = CONTROL.get().map(|control| *lock(control));
    let level = level.map_or(LevelFilter::OFF, LevelFilter::from);
    level.to_string()
}

/// Takes the names of `--log-level`. It lasts until the server stops.
pub fn set_level(text: &str) -> Result<(), UnknownLevel> {
    change(|_, _| parse_level(text).ok_or(UnknownLevel))
}

fn change(
    choose: impl FnOnce(Level, Level) -> Result<Level, UnknownLevel>,
) -> Result<(), UnknownLevel> {
    let Some(control) = CONTROL.get() else {
        return Ok(());
    };
    let mut current = lock(control);
    let wanted = choose(*current, control.first)?;
    if *current != wanted
        && control
            .handle
            .reload(EnvFilter::new(directives(wanted)))
            .is_ok()
    {
        *current = wanted;
        drop(current);
        // At a level that everybody sees.
        warn!(level = %wanted, "the level of the log was changed");
    }
    Ok(())
}

fn lock(control: &Control) -> std::sync::MutexGuard<'_, Level> {
    control.current.lock().expect("no panic while it is held")
}

/// SIGUSR1 writes one level more, SIGUSR2 those of the command line again. Runs until it is dropped;
/// needs a tokio runtime.
pub async fn obey_signals() -> std::io::Result<()> {
    let mut more = signal(SignalKind::user_defined1())?;
    let mut reset = signal(SignalKind::user_defined2())?;
    loop {
        let changed = tokio::select! {
            _ = more.recv() => change(|current, _| Ok(one_more(current))),
            _ = reset.recv() => change(|_, first| Ok(first)),
        };
        debug_assert_eq!(changed, Ok(()));
    }
}

fn one_more(level: Level) -> Level {
    match level {
        Level::ERROR => Level::WARN,
        Level::WARN => Level::INFO,
        Level::INFO => Level::DEBUG,
        _ => Level::TRACE,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn signals_lead_to_everything() {
        let mut level = Level::ERROR;
        for expected in [
            Level::WARN,
            Level::INFO,
            Level::DEBUG,
            Level::TRACE,
            Level::TRACE,
        ] {
            level = one_more(level);
            assert_eq!(level, expected);
        }
    }
}
