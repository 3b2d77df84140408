//! The daemon's process.

use k8sd::{DaemonOptions, Error};
use telemetry::logging;
use tokio::signal::unix::{SignalKind, signal};

pub async fn serve(options: DaemonOptions) -> Result<(), Error> {
    let signals = (
        signal(SignalKind::terminate()),
        signal(SignalKind::interrupt()),
    );
    let (Ok(mut terminate), Ok(mut interrupt)) = signals else {
        return Err(Error::Internal("no signal handlers".to_owned()));
    };
    tokio::spawn(logging::obey_signals());
    let stop = async move {
        tokio::select! {
            _ = terminate.recv() => {}
            _ = interrupt.recv() => {}
        }
    };
    k8sd::run(options, stop).await
}
