//! Reads the settings again that may change while the server runs, when somebody asks for it.

use std::{path::PathBuf, sync::Arc, time::Duration};

use tokio::sync::watch;
use tracing::{error, info, warn};

use crate::{
    config::{self, Tuning},
    process::signals::Hangups,
    tls::ServerTls,
};

/// The settings that take effect without a restart.
pub(super) struct Reload {
    pub storage_dir: PathBuf,
    pub tls: Option<Arc<ServerTls>>,
    /// As it is in use.
    pub tuning: Tuning,
    pub compact_interval: watch::Sender<Option<Duration>>,
}

impl Reload {
    /// Reads the settings again after each SIGHUP. What cannot be used is logged, and the earlier settings stay. Runs until it is
    /// dropped.
    pub async fn run(mut self, mut hangups: Hangups) {
        loop {
            hangups.next().await;
            service_manager::reloading().await;
            if let Some(tls) = &self.tls {
                match tls.reload().await {
                    Ok(()) => info!("reloaded: TLS files of the etcd API"),
                    Err(error) => error!(
                        "the TLS files of the etcd API cannot be used; the earlier ones stay in use: {error}"
                    ),
                }
            }
            match config::read_tuning(&self.storage_dir) {
                Ok(tuning) => {
                    self.apply(tuning);
                    info!("reloaded: tuning.yaml");
                }
                Err(error) => error!("{error}: the earlier settings stay in use"),
            }
            service_manager::ready().await;
        }
    }

    fn apply(&mut self, tuning: Tuning) {
        let Tuning {
            snapshot,
            network_latency,
            compact_interval,
        } = tuning;
        if snapshot != self.tuning.snapshot || network_latency != self.tuning.network_latency {
            warn!("tuning.yaml: snapshot and network-latency take effect at the next start");
        }
        if compact_interval != self.tuning.compact_interval {
            info!(interval = ?compact_interval, "the interval of compactions has changed");
            self.tuning.compact_interval = compact_interval;
            self.compact_interval.send_replace(compact_interval);
        }
    }
}
