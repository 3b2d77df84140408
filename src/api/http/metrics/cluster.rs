//! The metrics of this node and of its cluster.

use std::sync::atomic::Ordering;

use dqlite::{proxy::TRAFFIC, wire::Role};
use etcd_proto::etcdserverpb::AlarmType;
use telemetry::metrics::{HEALTH_CHECKS, Kind, Page};

use super::Sources;
use crate::api::ETCD_VERSION;

const ROLES: [Role; 3] = [Role::Voter, Role::StandBy, Role::Spare];

impl Sources {
    pub(super) fn write_server(&self, page: &mut Page) {
        let metrics = self.store.metrics();
        let is_usable = !metrics.is_engine_lost.load(Ordering::Relaxed);
        let has_leader = u8::from(is_usable && self.store.has_leader());
        let is_leader = u8::from(is_usable && self.store.leads());
        let help = "Whether or not a leader exists. 1 is existence, 0 is not.";
        page.gauge("etcd_server_has_leader", help, has_leader);
        let help = "Whether or not this member is a leader. 1 if is, 0 otherwise.";
        page.gauge("etcd_server_is_leader", help, is_leader);
        let help = "Whether or not this member is a learner. 1 if is, 0 otherwise.";
        page.gauge("etcd_server_is_learner", help, 0);
        let help = "The number of leader changes seen.";
        page.counter(
            "etcd_server_leader_changes_seen_total",
            help,
            self.store.leader_changes(),
        );
        let view = self.observed.view();
        let id = format!("{:x}", view.own_id);
        let help =
            "Server or member ID in hexadecimal format. 1 for 'server_id' label with current ID.";
        page.fact("etcd_server_id", help, ("server_id", &id));
        let help = "Which version is running. 1 for 'server_version' label with current version.";
        page.fact(
            "etcd_server_version",
            help,
            ("server_version", ETCD_VERSION),
        );
        let help =
            "Which version is running. 1 for 'cluster_version' label with current cluster version";
        page.fact("etcd_cluster_version", help, ("cluster_version", "3.6"));
        let help = "Which k8s-dqlite is running.";
        let version = ("version", env!("CARGO_PKG_VERSION"));
        page.fact("k8s_dqlite_version", help, version);
        let help = "The total number of successful health checks";
        let healthy = HEALTH_CHECKS.succeeded.get();
        page.counter("etcd_server_health_success", help, healthy);
        let help = "The total number of failed health checks";
        page.counter(
            "etcd_server_health_failures",
            help,
            HEALTH_CHECKS.failed.get(),
        );
    }

    pub(super) fn write_nodes(&self, page: &mut Page) {
        let view = self.observed.view();
        let name = "k8s_dqlite_role";
        let help = "What this node is in the cluster: 1 at its role.";
        page.states(
            name,
            help,
            "role",
            &ROLES.map(Role::name),
            view.role.map(Role::name),
        );
        let name = "k8s_dqlite_nodes";
        let help = "Nodes of the cluster by their role, as this node knows them.";
        page.begin(name, Kind::Gauge, help);
        for role in ROLES {
            let count = view.servers.iter().filter(|server| server.role == role);
            page.labelled(name, &[("role", role.name())], count.count());
        }
        let name = "etcd_network_known_peers";
        let help = "The current number of known peers.";
        page.begin(name, Kind::Gauge, help);
        let own = format!("{:x}", view.own_id);
        for server in view
            .servers
            .iter()
            .filter(|server| server.id != view.own_id)
        {
            let other = format!("{:x}", server.id);
            page.labelled(name, &[("Local", &own), ("Remote", &other)], 1);
        }
        // etcd's label for a peer that it does not know.
        for (name, help, label, bytes) in [
            (
                "etcd_network_peer_received_bytes_total",
                "The total number of bytes received from peers.",
                "From",
                &TRAFFIC.received_bytes,
            ),
            (
                "etcd_network_peer_sent_bytes_total",
                "The total number of bytes sent to peers.",
                "To",
                &TRAFFIC.sent_bytes,
            ),
        ] {
            page.begin(name, Kind::Counter, help);
            page.labelled(name, &[(label, "0")], bytes.load(Ordering::Relaxed));
        }
        if let Some(id) = view.cluster_id {
            let help = "Which history this node belongs to, as in the header of each answer.";
            let id = format!("{id:x}");
            page.fact("k8s_dqlite_cluster_id", help, ("cluster_id", &id));
        }
        let help = "Connections with nodes of other histories that were refused.";
        let name = "k8s_dqlite_foreign_connections_refused_total";
        page.counter(name, help, view.refused);
        let help = "Times that a node had revisions which this leader did not have.";
        let ahead = self.store.metrics().nodes_ahead.get();
        page.counter("k8s_dqlite_nodes_ahead_total", help, ahead);
        let help = "The term of Raft.";
        page.gauge("k8s_dqlite_raft_term", help, view.term);
        let help = "For how long the engine of this node has not answered.";
        let silent_s = self.store.engine_silent_for().as_secs_f64();
        page.gauge("k8s_dqlite_engine_silent_seconds", help, silent_s);
        let help = "Whether this node has the store and serves clients.";
        let is_loaded = u8::from(self.store.is_loaded());
        page.gauge("k8s_dqlite_loaded", help, is_loaded);
        let metrics = self.store.metrics();
        let help = "Rows that this node has converted to another schema since it started.";
        let done = metrics.take_over_done_rows.load(Ordering::Relaxed);
        page.gauge("k8s_dqlite_take_over_done_rows", help, done);
        let help = "Rows that there were when this node began or went on to convert them.";
        let rows = metrics.take_over_rows.load(Ordering::Relaxed);
        page.gauge("k8s_dqlite_take_over_rows", help, rows);
        let name = "k8s_dqlite_alarms";
        page.begin(name, Kind::Gauge, "Nodes in whose name an alarm is raised.");
        for alarm in [AlarmType::Nospace, AlarmType::Corrupt] {
            let raised = self.store.settings().alarms(alarm).len();
            page.labelled(name, &[("alarm", alarm.as_str_name())], raised);
        }
    }
}
