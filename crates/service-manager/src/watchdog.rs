//! Signs of life, while there is life.

use std::{future::pending, time::Duration};

use sd_notify::NotifyState;
use tokio::time::{MissedTickBehavior, interval};
use tracing::{error, info};

use crate::notify::send;

/// Signs in the time after which the service manager ends a silent process: if one comes late, others are there.
const SIGNS: u32 = 6;

/// The service manager's watchdog: a process that gives no sign of life for a while is ended, and started again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Watchdog {
    timeout: Duration,
}

impl Watchdog {
    /// Returns the watchdog that the service manager keeps on this process. `None`: there is none.
    pub fn from_environment() -> Option<Self> {
        let timeout = sd_notify::watchdog_enabled()?;
        (!timeout.is_zero()).then_some(Self { timeout })
    }

    /// Gives signs for as long as what matters has answered within half of the timeout; `silent_for` says when that was last. A
    /// process in which it does not is ended after one and a half times the timeout. Runs until it is dropped.
    pub async fn run(self, silent_for: impl Fn() -> Duration) {
        let mut ticks = interval((self.timeout / SIGNS).max(Duration::from_millis(1)));
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut was_alive = true;
        loop {
            ticks.tick().await;
            let silent = silent_for();
            let is_alive = silent <= self.timeout / 2;
            match (was_alive, is_alive) {
                (true, false) => error!(
                    "dqlite has not answered for {:.1} s: without an answer the service manager ends this process",
                    silent.as_secs_f64()
                ),
                (false, true) => info!("dqlite answers again"),
                _ => {}
            }
            was_alive = is_alive;
            if is_alive {
                send(&[NotifyState::Watchdog]).await;
            }
        }
    }

    /// Like [`Watchdog::run`]; never ends where there is no watchdog.
    pub async fn run_if_any(silent_for: impl Fn() -> Duration) {
        match Self::from_environment() {
            Some(watchdog) => watchdog.run(silent_for).await,
            None => pending().await,
        }
    }
}
