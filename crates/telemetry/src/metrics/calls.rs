//! Counts how often each gRPC method was called, and how the calls ended.

use std::{collections::HashMap, sync::LazyLock, time::Duration};

use prost_reflect::{DescriptorPool, MethodDescriptor};

use super::{Counter, Distribution, Histogram, Kind, Page};

/// gRPC's codes by their numbers, as go-grpc-prometheus writes them.
const CODES: [&str; 17] = [
    "OK",
    "Canceled",
    "Unknown",
    "InvalidArgument",
    "DeadlineExceeded",
    "NotFound",
    "AlreadyExists",
    "PermissionDenied",
    "ResourceExhausted",
    "FailedPrecondition",
    "Aborted",
    "OutOfRange",
    "Unimplemented",
    "Internal",
    "Unavailable",
    "DataLoss",
    "Unauthenticated",
];

/// Bounds from 250 us to 8.192 s, in microseconds: from a read of the index to what clients give up on.
const HANDLING_FIRST_US: u64 = 250;
const HANDLING_BUCKETS: usize = 16;

/// gRPC's codes for failures of the server: Unknown, DeadlineExceeded, ResourceExhausted, Internal,
/// Unavailable, DataLoss.
const FAILURES: [usize; 6] = [2, 4, 8, 13, 14, 15];

const UNARY: &str = "unary";
const KV: &str = "etcdserverpb.KV";

/// The calls of the process, which has one API.
pub static CALLS: LazyLock<Calls> = LazyLock::new(Calls::new);

pub struct Calls {
    by_path: HashMap<String, MethodCalls>,
    /// Messages, with the 5 bytes before each.
    pub received_bytes: Counter,
    pub sent_bytes: Counter,
}

/// The calls of one method.
pub struct MethodCalls {
    service: String,
    method: String,
    kind: &'static str,
    is_data: bool,
    pub started: Counter,
    handled: [Counter; CODES.len()],
    /// The durations of unary calls.
    took_us: Histogram<HANDLING_BUCKETS>,
}

/// The numbers of clients' calls so far, and how long reads and writes took.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Traffic {
    pub reads: u64,
    pub writes: u64,
    pub others: u64,
    pub failures: u64,
    pub read_us: Distribution,
    pub write_us: Distribution,
}

impl Traffic {
    pub fn calls(&self) -> u64 {
        self.reads + self.writes + self.others
    }
}

impl Calls {
    fn new() -> Self {
        let mut pool = DescriptorPool::new();
        for schema in [
            etcd_proto::FILE_DESCRIPTOR_SET,
            tonic_health::pb::FILE_DESCRIPTOR_SET,
        ] {
            pool.decode_file_descriptor_set(schema)
                .expect("made by our build");
        }
        let methods = pool.services().flat_map(|service| {
            let methods: Vec<_> = service.methods().collect();
            methods
        });
        let by_path = methods.map(|method| (path(&method), MethodCalls::new(&method)));
        Self {
            by_path: by_path.collect(),
            received_bytes: Counter::new(),
            sent_bytes: Counter::new(),
        }
    }

    /// None if there is no such method.
    pub fn method(&self, path: &str) -> Option<&MethodCalls> {
        self.by_path.get(path)
    }

    pub fn traffic(&self) -> Traffic {
        let mut traffic = Traffic::default();
        for calls in self.by_path.values() {
            let started = calls.started.get();
            match (calls.service.as_str(), calls.method.as_str()) {
                (KV, "Range" | "RangeStream") => {
                    traffic.reads += started;
                    traffic.read_us.add(&calls.took_us.distribution());
                }
                (KV, "Put" | "DeleteRange" | "Txn") => {
                    traffic.writes += started;
                    traffic.write_us.add(&calls.took_us.distribution());
                }
                _ => traffic.others += started,
            }
            traffic.failures += FAILURES
                .map(|code| calls.handled[code].get())
                .iter()
                .sum::<u64>();
        }
        traffic
    }

    pub fn write(&self, page: &mut Page) {
        let mut methods: Vec<_> = self.by_path.iter().collect();
        methods.sort_unstable_by_key(|(path, _)| *path);
        let started = "grpc_server_started_total";
        let help = "Total number of RPCs started on the server.";
        page.begin(started, Kind::Counter, help);
        for (_, calls) in &methods {
            page.labelled(started, &calls.labels(), calls.started.get());
        }
        let handled = "grpc_server_handled_total";
        let help =
            "Total number of RPCs completed on the server, regardless of success or failure.";
        page.begin(handled, Kind::Counter, help);
        for (_, calls) in &methods {
            let [kind, service, method] = calls.labels();
            for (code, count) in CODES.iter().zip(&calls.handled) {
                // So that a rate has a beginning, without a line for all that never happens.
                if *code == "OK" || count.get() > 0 {
                    let labels = [("grpc_code", *code), method, service, kind];
                    page.labelled(handled, &labels, count.get());
                }
            }
        }
        let handling = "grpc_server_handling_seconds";
        let help = "Histogram of response latency (seconds) of gRPC that had been application-level handled by the server.";
        page.begin(handling, Kind::Histogram, help);
        for (_, calls) in &methods {
            // Without those that nobody calls: there are some forty.
            if calls.took_us.distribution().count() > 0 {
                page.buckets(handling, &calls.labels(), &calls.took_us, 1_000_000);
            }
        }
        page.counter(
            "etcd_network_client_grpc_received_bytes_total",
            "The total number of bytes received from grpc clients.",
            self.received_bytes.get(),
        );
        page.counter(
            "etcd_network_client_grpc_sent_bytes_total",
            "The total number of bytes sent to grpc clients.",
            self.sent_bytes.get(),
        );
    }
}

fn path(method: &MethodDescriptor) -> String {
    format!("/{}/{}", method.parent_service().full_name(), method.name())
}

impl MethodCalls {
    pub fn is_stream(&self) -> bool {
        self.kind != UNARY
    }

    fn new(method: &MethodDescriptor) -> Self {
        let is_unary = !method.is_client_streaming() && !method.is_server_streaming();
        let service = method.parent_service();
        let is_of_data = matches!(
            service.full_name(),
            "etcdserverpb.KV" | "etcdserverpb.Lease"
        );
        Self {
            // A compaction may take its time.
            is_data: is_unary && is_of_data && method.name() != "Compact",
            service: service.full_name().to_owned(),
            method: method.name().to_owned(),
            kind: match (method.is_client_streaming(), method.is_server_streaming()) {
                (false, false) => UNARY,
                (true, false) => "client_stream",
                (false, true) => "server_stream",
                (true, true) => "bidi_stream",
            },
            started: Counter::new(),
            handled: [const { Counter::new() }; CODES.len()],
            took_us: Histogram::new(HANDLING_FIRST_US),
        }
    }

    /// `code` is gRPC's number; one that is not known is Unknown.
    pub fn handled(&self, code: usize, took: Duration) {
        const UNKNOWN: usize = 2;
        if self.kind == UNARY {
            self.took_us.observe(took.as_micros() as u64);
        }
        self.handled
            .get(code)
            .unwrap_or(&self.handled[UNKNOWN])
            .increment();
    }

    /// The service and the method.
    pub fn names(&self) -> (&str, &str) {
        (&self.service, &self.method)
    }

    /// Returns whether a call is a single request about keys or leases, which is answered at once.
    pub fn is_data(&self) -> bool {
        self.is_data
    }

    fn labels(&self) -> [(&'static str, &str); 3] {
        [
            ("grpc_type", self.kind),
            ("grpc_service", &self.service),
            ("grpc_method", &self.method),
        ]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_method_is_known_by_its_path() {
        let calls = Calls::new();
        for (path, kind) in [
            ("/etcdserverpb.KV/Put", "unary"),
            ("/etcdserverpb.Watch/Watch", "bidi_stream"),
            ("/etcdserverpb.Maintenance/Snapshot", "server_stream"),
            ("/v3lockpb.Lock/Lock", "unary"),
            ("/grpc.health.v1.Health/Check", "unary"),
        ] {
            assert_eq!(calls.method(path).unwrap().kind, kind, "{path}");
        }
        assert!(calls.method("/etcdserverpb.KV/Nothing").is_none());
    }

    #[test]
    fn codes_are_counted_by_their_names() {
        let calls = Calls::new();
        let put = calls.method("/etcdserverpb.KV/Put").unwrap();
        put.started.add(3);
        for code in [0, 3, 99] {
            put.handled(code, Duration::from_millis(3));
        }
        let mut page = Page::default();
        calls.write(&mut page);
        let text = page.into_text();
        let labels = r#"grpc_method="Put",grpc_service="etcdserverpb.KV",grpc_type="unary""#;
        for code in ["OK", "InvalidArgument", "Unknown"] {
            let line = format!("grpc_server_handled_total{{grpc_code=\"{code}\",{labels}}} 1\n");
            assert!(text.contains(&line), "{text}");
        }
        assert!(!text.contains("Aborted"));
        let labels = r#"grpc_type="unary",grpc_service="etcdserverpb.KV",grpc_method="Put""#;
        let line = format!("grpc_server_handling_seconds_bucket{{{labels},le=\"0.004\"}} 3\n");
        assert!(text.contains(&line), "{text}");
        let traffic = calls.traffic();
        let counts = (traffic.reads, traffic.writes, traffic.failures);
        assert_eq!(counts, (0, 3, 1), "Unknown is a failure");
        assert_eq!(traffic.write_us.count(), 3);
    }
}
