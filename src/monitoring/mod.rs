//! The server's observations of itself over time, for the metrics and the status page.
//!
//! Invariants: nothing here is on the way of a request. Values that need I/O are read by one task at
//! a fixed interval, and those that need other nodes only while somebody looks; both are kept, so
//! that a scrape or a viewer costs no more than reading memory.

mod certificates;
mod file_stats;
mod meters;
mod point;
mod report_cache;
mod ring;
mod sampler;
mod view;

pub use self::{
    file_stats::{FilePaths, FileStats},
    meters::export_metrics,
    point::{Point, Totals},
    report_cache::{DatedReport, ReportCache},
    ring::{CAPACITY, Ring},
    sampler::{LOG_WRITES, Observed, ObservedOptions, SAMPLE_INTERVAL, watch_log_writes},
    view::{NodeView, ViewNow},
};
