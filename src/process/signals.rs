//! Signals: the first of TERM, INT, QUIT and PWR stops the server in good order, the second at once. HUP asks a server with a
//! service manager to read its settings again.

use std::{
    future::pending,
    io, process,
    task::{Context, Poll},
};

use tokio::signal::unix::{Signal, SignalKind, signal};
use tracing::{info, warn};

const STOPPING: [(libc::c_int, &str); 4] = [
    (libc::SIGTERM, "SIGTERM"),
    (libc::SIGINT, "SIGINT"),
    (libc::SIGQUIT, "SIGQUIT"),
    // A failing power supply.
    (libc::SIGPWR, "SIGPWR"),
];

/// From the moment it exists, none of the signals ends the process by itself.
pub struct StopSignals {
    signals: Vec<(Signal, libc::c_int, &'static str)>,
}

impl StopSignals {
    /// Installs the handlers. Needs a tokio runtime.
    pub fn install() -> io::Result<Self> {
        let install = |(number, name)| {
            signal(SignalKind::from_raw(number)).map(|signal| (signal, number, name))
        };
        Ok(Self {
            signals: STOPPING
                .into_iter()
                .map(install)
                .collect::<io::Result<_>>()?,
        })
    }

    /// Waits for the first signal. From then on a second one ends the process.
    pub async fn stop(mut self) {
        let (_, name) = self.next().await;
        stopping::note();
        info!("stopping, because of {name}; a second signal stops at once");
        service_manager::stopping().await;
        tokio::spawn(async move {
            let (number, name) = self.next().await;
            warn!("stopped at once, because of {name}");
            process::exit(128 + number);
        });
    }

    async fn next(&mut self) -> (libc::c_int, &'static str) {
        std::future::poll_fn(|cx| self.poll_next(cx)).await
    }

    fn poll_next(&mut self, cx: &mut Context<'_>) -> Poll<(libc::c_int, &'static str)> {
        for (signal, number, name) in &mut self.signals {
            if signal.poll_recv(cx).is_ready() {
                return Poll::Ready((*number, *name));
            }
        }
        Poll::Pending
    }
}

/// The requests to read the settings again: SIGHUP. Without a service manager there are none, and the signal ends the process, as it
/// ends others whose terminal is closed.
pub struct Hangups(Option<Signal>);

impl Hangups {
    /// Installs the handler. Needs a tokio runtime.
    pub fn install() -> io::Result<Self> {
        let is_obeyed = service_manager::is_listening();
        let installed = is_obeyed.then(|| signal(SignalKind::hangup()));
        installed.transpose().map(Self)
    }

    /// Waits for the next one. Cancel safe.
    pub async fn next(&mut self) {
        match &mut self.0 {
            Some(signal) => {
                signal.recv().await;
            }
            None => pending().await,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use tokio::time::timeout;

    use super::*;

    #[tokio::test]
    async fn the_first_signal_of_any_kind_is_a_reason_to_stop() {
        for (number, name) in STOPPING {
            let mut signals = StopSignals::install().unwrap();
            // SAFETY: the handler is installed, so the signal does no more than wake it.
            assert_eq!(unsafe { libc::raise(number) }, 0);
            let received = timeout(Duration::from_secs(10), signals.next())
                .await
                .unwrap();
            assert_eq!(received, (number, name));
        }
    }
}
