//! The metrics that are exported: counts of operations and of commits, under the names that
//! `/metrics` has for them.

use std::sync::atomic::Ordering;

use telemetry::tracing::meter;

use crate::store::{Metrics, Store};

type Count = fn(&Metrics) -> u64;

const COUNTERS: [(&str, &str, &str, Count); 11] = [
    (
        "etcd_mvcc_range_total",
        "{range}",
        "Total number of ranges seen by this member.",
        |of| of.ranges.get(),
    ),
    (
        "etcd_mvcc_put_total",
        "{put}",
        "Total number of puts seen by this member.",
        |of| of.puts.get(),
    ),
    (
        "etcd_mvcc_delete_total",
        "{delete}",
        "Total number of deletes seen by this member.",
        |of| of.deletes.get(),
    ),
    (
        "etcd_mvcc_txn_total",
        "{txn}",
        "Total number of txns seen by this member.",
        |of| of.txns.get(),
    ),
    (
        "etcd_debugging_lease_granted_total",
        "{lease}",
        "The total number of granted leases.",
        |of| of.leases_granted.get(),
    ),
    (
        "etcd_debugging_lease_revoked_total",
        "{lease}",
        "The total number of revoked leases.",
        |of| of.leases_revoked.get(),
    ),
    (
        "etcd_debugging_server_lease_expired_total",
        "{lease}",
        "The total number of expired leases.",
        |of| of.leases_expired.get(),
    ),
    (
        "etcd_server_proposals_failed_total",
        "{proposal}",
        "The total number of failed proposals seen.",
        |of| of.failed.get(),
    ),
    (
        "k8s_dqlite_rows_total",
        "{row}",
        "Rows that commits inserted.",
        |of| of.rows.get(),
    ),
    (
        "k8s_dqlite_purged_rows_total",
        "{row}",
        "Rows that were deleted after compactions.",
        |of| of.purged_rows.get(),
    ),
    (
        "k8s_dqlite_put_bytes_total",
        "By",
        "Keys and values that were put.",
        |of| of.put_bytes.get(),
    ),
];

/// Exports what the store counts from now on, if that is wanted.
pub fn export_metrics(store: &Store) {
    let Some(meter) = meter() else {
        return;
    };
    for (name, unit, help, count) in COUNTERS {
        let store = store.clone();
        meter
            .u64_observable_counter(name)
            .with_unit(unit)
            .with_description(help)
            .with_callback(move |observer| observer.observe(count(store.metrics()), &[]))
            .build();
    }
    let of = store.clone();
    meter
        .i64_observable_gauge("etcd_debugging_mvcc_current_revision")
        .with_description("The current revision of store.")
        .with_callback(move |observer| observer.observe(of.revision().number(), &[]))
        .build();
    let of = store.clone();
    meter
        .i64_observable_gauge("etcd_server_proposals_pending")
        .with_description("The current number of pending proposals to commit.")
        .with_callback(move |observer| {
            let pending = of.metrics().pending.load(Ordering::Relaxed);
            observer.observe(pending, &[]);
        })
        .build();
    let of = store.clone();
    meter
        .u64_observable_gauge("etcd_server_is_leader")
        .with_description("Whether or not this member is a leader. 1 if is, 0 otherwise.")
        .with_callback(move |observer| observer.observe(u64::from(of.leads()), &[]))
        .build();
}
