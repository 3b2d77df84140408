//! `/metrics`, for Prometheus. Names, types and meanings are etcd's as far as its dashboards use them
//! (docs/compat.md says where the meaning had to differ); ours begin with `k8s_dqlite_`.
//!
//! To add a metric: count it where it happens, with the types of `telemetry::metrics`, and write it in the file
//! here that has the same subject, or call a function of that module from `write`.

mod cluster;
mod storage;
mod watches;
mod writes;

use std::sync::{Arc, OnceLock};

use axum::{
    Router,
    extract::State,
    http::header,
    response::{IntoResponse, Response},
    routing::any,
};
use telemetry::metrics::{CALLS, Page, ProcessUse};

use crate::{
    api::Identity, archive::ARCHIVE, backup::BACKUPS, monitoring::Observed, store::Store, top::Top,
    watch::WatchHub,
};

const MICROSECONDS: u32 = 1_000_000;

/// The sources of the metrics and the status page.
#[derive(Clone)]
pub struct Sources {
    pub store: Store,
    pub observed: Arc<Observed>,
    /// Free space below this counts as low; none if the disk is not watched.
    pub disk_low_bytes: Option<u64>,
    /// Set when clients are served.
    pub served: Arc<OnceLock<Served>>,
    /// Prefixes of keys, and the clients that use them, are shown at the endpoint of the metrics.
    pub shows_top: bool,
}

/// The parts that exist only once the store is loaded.
pub struct Served {
    pub hub: Arc<WatchHub>,
    pub top: Arc<Top>,
    pub identity: Arc<Identity>,
    /// The URLs under which clients reach this node.
    pub client_urls: Vec<String>,
}

/// The route of `/metrics` alone.
pub fn routes(sources: Sources) -> Router {
    Router::new()
        .route("/metrics", any(serve))
        .with_state(sources)
}

async fn serve(State(sources): State<Sources>) -> Response {
    let kind = "text/plain; version=0.0.4; charset=utf-8";
    let page = sources.write().await;
    ([(header::CONTENT_TYPE, kind)], page.into_text()).into_response()
}

impl Sources {
    async fn write(&self) -> Page {
        let mut page = Page::default();
        self.write_server(&mut page);
        self.write_nodes(&mut page);
        self.write_proposals(&mut page);
        self.write_commits(&mut page);
        self.write_writer(&mut page);
        self.write_operations(&mut page);
        self.write_leases(&mut page);
        self.write_database(&mut page).await;
        self.write_files(&mut page);
        self.write_index(&mut page);
        self.write_compaction(&mut page);
        if let Some(served) = self.served.get() {
            self.write_watches(&served.hub, &mut page);
        }
        BACKUPS.write(&mut page);
        ARCHIVE.write(&mut page, self.store.revision());
        CALLS.write(&mut page);
        ProcessUse::read().write(&mut page);
        page
    }
}
