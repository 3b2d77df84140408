//! Objects that look like pods as kube-apiserver stores them: protobuf with labels, volumes, a container, conditions and
//! the field managers' JSON, 6 to 7 KB. Most of it is the same in all pods of a cluster, so that it compresses like theirs:
//! alone to a third with gzip, some together to a fifth with LZ4.

use std::fmt::Write;

use bytes::Bytes;
use rand::{Rng, SeedableRng, rngs::SmallRng};

/// Deployments whose pods these are.
const DEPLOYMENTS: u32 = 40;
const NODES: u32 = 100;

/// Field managers that have written to a pod, each with the fields that it owns.
const MANAGERS: [(&str, &str, &[&str]); 2] = [
    (
        "kube-controller-manager",
        "",
        &[
            r#"{"f:metadata":{"f:generateName":{},"f:labels":{".":{},"f:app.kubernetes.io/component":{},"f:app.kubernetes.io/instance":{},"f:app.kubernetes.io/name":{},"f:pod-template-hash":{}},"f:ownerReferences":{".":{},"k:{\"uid\":\""#,
            r#"\"}":{}}},"f:spec":{"f:containers":{"k:{\"name\":\"server\"}":{".":{},"f:env":{".":{},"k:{\"name\":\"GOMAXPROCS\"}":{".":{},"f:name":{},"f:value":{}},"k:{\"name\":\"POD_IP\"}":{".":{},"f:name":{},"f:valueFrom":{".":{},"f:fieldRef":{}}}},"f:image":{},"f:imagePullPolicy":{},"f:livenessProbe":{".":{},"f:failureThreshold":{},"f:httpGet":{".":{},"f:path":{},"f:port":{},"f:scheme":{}},"f:initialDelaySeconds":{},"f:periodSeconds":{},"f:successThreshold":{},"f:timeoutSeconds":{}},"f:name":{},"f:ports":{".":{},"k:{\"containerPort\":8080,\"protocol\":\"TCP\"}":{".":{},"f:containerPort":{},"f:name":{},"f:protocol":{}}},"f:readinessProbe":{".":{},"f:failureThreshold":{},"f:httpGet":{".":{},"f:path":{},"f:port":{},"f:scheme":{}},"f:periodSeconds":{},"f:successThreshold":{},"f:timeoutSeconds":{}},"f:resources":{".":{},"f:limits":{".":{},"f:memory":{}},"f:requests":{".":{},"f:cpu":{},"f:memory":{}}},"f:terminationMessagePath":{},"f:terminationMessagePolicy":{},"f:volumeMounts":{".":{},"k:{\"mountPath\":\"/etc/config\"}":{".":{},"f:mountPath":{},"f:name":{}}}}},"f:dnsPolicy":{},"f:enableServiceLinks":{},"f:restartPolicy":{},"f:schedulerName":{},"f:securityContext":{},"f:serviceAccount":{},"f:serviceAccountName":{},"f:terminationGracePeriodSeconds":{},"f:volumes":{".":{},"k:{\"name\":\"config\"}":{".":{},"f:configMap":{".":{},"f:defaultMode":{},"f:name":{}},"f:name":{}}}}}"#,
        ],
    ),
    (
        "kubelet",
        "status",
        &[
            r#"{"f:status":{"f:conditions":{"k:{\"type\":\"ContainersReady\"}":{".":{},"f:lastProbeTime":{},"f:lastTransitionTime":{},"f:status":{},"f:type":{}},"k:{\"type\":\"Initialized\"}":{".":{},"f:lastProbeTime":{},"f:lastTransitionTime":{},"f:status":{},"f:type":{}},"k:{\"type\":\"PodReadyToStartContainers\"}":{".":{},"f:lastProbeTime":{},"f:lastTransitionTime":{},"f:status":{},"f:type":{}},"k:{\"type\":\"Ready\"}":{".":{},"f:lastProbeTime":{},"f:lastTransitionTime":{},"f:status":{},"f:type":{}}},"f:containerStatuses":{},"f:hostIP":{},"f:hostIPs":{},"f:phase":{},"f:podIP":{},"f:podIPs":{".":{},"k:{\"ip\":\""#,
            r#"\"}":{".":{},"f:ip":{}}},"f:startTime":{}}}"#,
        ],
    ),
];

/// Makes one pod.
pub fn pod(rng: &mut SmallRng) -> Bytes {
    let deployment = rng.random_range(0..DEPLOYMENTS);
    let app = format!("service-{deployment:02}");
    // The same for all pods of a deployment.
    let template = format!(
        "{:010x}",
        u64::from(deployment + 1).wrapping_mul(0x9e37_79b9_7f4a)
    );
    let name = format!("{app}-{template}-{}", letters(rng, 5));
    let (own, owner) = (uuid(rng), uuid(rng));
    let node = format!("node-{:03}", rng.random_range(0..NODES));
    let ip = format!(
        "10.1.{}.{}",
        rng.random_range(0..256),
        rng.random_range(1..255)
    );
    let started = rng.random_range(1_700_000_000..1_800_000_000u64);
    let mut pod = Message::default();
    pod.message(1, |meta| {
        meta.text(1, &name)
            .text(2, &format!("{app}-{template}-"))
            .text(3, "production");
        meta.text(5, &own).number(7, 1).message(8, |time| {
            time.number(1, started);
        });
        let labels = [
            ("app.kubernetes.io/component", "backend"),
            ("app.kubernetes.io/instance", &app),
            ("app.kubernetes.io/name", &app),
            ("pod-template-hash", &template),
        ];
        for (key, value) in labels {
            meta.message(11, |label| {
                label.text(1, key).text(2, value);
            });
        }
        meta.message(13, |reference| {
            reference
                .text(1, "ReplicaSet")
                .text(3, &format!("{app}-{template}"));
            reference
                .text(4, &owner)
                .text(5, "apps/v1")
                .number(6, 1)
                .number(7, 1);
        });
        for (manager, subresource, fields) in MANAGERS {
            let inserted = if subresource.is_empty() { &owner } else { &ip };
            meta.message(17, |entry| {
                entry.text(1, manager).text(2, "Update").text(3, "v1");
                entry.message(4, |time| {
                    time.number(1, started);
                });
                entry.text(6, "FieldsV1").message(7, |json| {
                    json.text(1, &fields.join(inserted));
                });
                entry.text(8, subresource);
            });
        }
    });
    spec(&mut pod, rng, &app, &node);
    status(&mut pod, rng, &app, &ip, started);
    let mut stored = b"k8s\0".to_vec();
    let mut envelope = Message::default();
    envelope.message(1, |kind| {
        kind.text(1, "v1").text(2, "Pod");
    });
    envelope.bytes(2, &pod.0).text(3, "").text(4, "");
    stored.extend_from_slice(&envelope.0);
    stored.into()
}

fn spec(pod: &mut Message, rng: &mut SmallRng, app: &str, node: &str) {
    let token = format!("kube-api-access-{}", letters(rng, 5));
    pod.message(2, |spec| {
        spec.message(1, |volume| {
            volume.text(1, "config").message(2, |source| {
                source.message(19, |map| {
                    map.text(1, &format!("{app}-config")).number(3, 420);
                });
            });
        });
        spec.message(1, |volume| {
            volume.text(1, &token).message(2, |source| {
                source.message(26, |projected| {
                    for part in ["token", "ca.crt", "namespace", "kube-root-ca.crt"] {
                        projected.message(1, |item| {
                            item.text(1, part)
                                .text(2, &format!("/var/run/secrets/{part}"));
                        });
                    }
                    projected.number(2, 420);
                });
            });
        });
        spec.message(2, |container| {
            container.text(1, "server");
            container.text(
                2,
                &format!("registry.example.com/platform/{app}:v1.{}.0", app.len()),
            );
            for (key, value) in [("GOMAXPROCS", "2"), ("POD_IP", ""), ("LOG_FORMAT", "json")] {
                container.message(7, |env| {
                    env.text(1, key).text(2, value);
                });
            }
            for (resource, value) in [("memory", "512Mi"), ("cpu", "250m")] {
                container.message(8, |resources| {
                    resources.text(1, resource).text(2, value);
                });
            }
            for path in [
                "/etc/config",
                "/var/run/secrets/kubernetes.io/serviceaccount",
            ] {
                container.message(9, |mount| {
                    mount.text(1, &token).number(2, 1).text(3, path);
                });
            }
            for path in ["/healthz", "/readyz"] {
                container.message(10, |probe| {
                    probe
                        .text(1, path)
                        .number(2, 10)
                        .number(3, 1)
                        .number(4, 10)
                        .number(5, 1);
                });
            }
            container
                .text(13, "/dev/termination-log")
                .text(14, "IfNotPresent")
                .text(20, "File");
        });
        spec.text(3, "Always")
            .number(4, 30)
            .text(6, "ClusterFirst")
            .text(8, app)
            .text(9, app);
        spec.text(10, node).text(19, "default-scheduler");
        for taint in [
            "node.kubernetes.io/not-ready",
            "node.kubernetes.io/unreachable",
        ] {
            spec.message(22, |toleration| {
                toleration
                    .text(1, taint)
                    .text(2, "Exists")
                    .text(4, "NoExecute")
                    .number(5, 300);
            });
        }
        spec.number(25, 0)
            .number(30, 1)
            .text(31, "PreemptLowerPriority");
    });
}

fn status(pod: &mut Message, rng: &mut SmallRng, app: &str, ip: &str, started: u64) {
    let (container, image) = (hex(rng, 64), hex(rng, 64));
    pod.message(3, |status| {
        status.text(1, "Running");
        let kinds = [
            "PodReadyToStartContainers",
            "Initialized",
            "Ready",
            "ContainersReady",
            "PodScheduled",
        ];
        for (at, kind) in kinds.into_iter().enumerate() {
            status.message(2, |condition| {
                condition.text(1, kind).text(2, "True").message(4, |time| {
                    time.number(1, started + at as u64);
                });
            });
        }
        status
            .text(5, "192.168.10.4")
            .text(6, ip)
            .message(7, |time| {
                time.number(1, started);
            });
        status.message(8, |container_status| {
            container_status.text(1, "server").number(4, 1).number(5, 0);
            container_status.text(6, &format!("registry.example.com/platform/{app}:v1.0.0"));
            container_status.text(
                7,
                &format!("registry.example.com/platform/{app}@sha256:{image}"),
            );
            container_status.text(8, &format!("containerd://{container}"));
        });
        status.text(9, "Burstable");
    });
}

/// Makes the lease object of a node, as its kubelet renews it: all but the time stays the same.
pub fn lease(node: u64, rng: &mut SmallRng) -> Bytes {
    const FIELDS: &str = r#"{"f:metadata":{"f:ownerReferences":{".":{},"k:{\"uid\":\"\"}":{}}},"f:spec":{"f:holderIdentity":{},"f:leaseDurationSeconds":{},"f:renewTime":{}}}"#;
    let mut own = SmallRng::seed_from_u64(node);
    let name = format!("node-{node:06}");
    let (lease_id, node_id) = (uuid(&mut own), uuid(&mut own));
    let mut lease = Message::default();
    lease.message(1, |meta| {
        meta.text(1, &name).text(2, "").text(3, "kube-node-lease");
        meta.text(5, &lease_id).text(6, "").message(8, |time| {
            time.number(1, 1_700_000_000).number(2, 0);
        });
        meta.message(13, |owner| {
            owner.text(1, "Node").text(3, &name).text(4, &node_id);
            owner.text(5, "v1");
        });
        meta.message(17, |manager| {
            manager.text(1, "kubelet").text(2, "Update");
            manager
                .text(3, "coordination.k8s.io/v1")
                .text(6, "FieldsV1");
            manager.message(7, |fields| {
                fields.text(1, FIELDS);
            });
        });
    });
    lease.message(2, |spec| {
        spec.text(1, &name).number(2, 40).message(3, |renewed| {
            renewed.number(1, rng.random_range(1_700_000_000..1_800_000_000));
            renewed.number(2, rng.random_range(0..1_000_000) * 1000);
        });
    });
    [b"k8s\0", &lease.0[..]].concat().into()
}

/// A message of protobuf that is being written.
#[derive(Default)]
struct Message(Vec<u8>);

impl Message {
    fn number(&mut self, field: u32, number: u64) -> &mut Self {
        self.varint(u64::from(field) << 3);
        self.varint(number);
        self
    }

    fn text(&mut self, field: u32, text: &str) -> &mut Self {
        self.bytes(field, text.as_bytes())
    }

    fn bytes(&mut self, field: u32, bytes: &[u8]) -> &mut Self {
        self.varint(u64::from(field) << 3 | 2);
        self.varint(bytes.len() as u64);
        self.0.extend_from_slice(bytes);
        self
    }

    fn message(&mut self, field: u32, write: impl FnOnce(&mut Message)) -> &mut Self {
        let mut inner = Message::default();
        write(&mut inner);
        self.bytes(field, &inner.0)
    }

    fn varint(&mut self, mut number: u64) {
        while number >= 0x80 {
            self.0.push(number as u8 | 0x80);
            number >>= 7;
        }
        self.0.push(number as u8);
    }
}

fn uuid(rng: &mut SmallRng) -> String {
    let bits: u128 = rng.random();
    let hex = format!("{bits:032x}");
    [
        &hex[..8],
        &hex[8..12],
        &hex[12..16],
        &hex[16..20],
        &hex[20..],
    ]
    .join("-")
}

fn hex(rng: &mut SmallRng, digits: usize) -> String {
    let mut text = String::with_capacity(digits + 16);
    while text.len() < digits {
        write!(text, "{:016x}", rng.random::<u64>()).expect("a String takes any text");
    }
    text.truncate(digits);
    text
}

fn letters(rng: &mut SmallRng, count: usize) -> String {
    const LETTERS: &[u8] = b"bcdfghjklmnpqrstvwxz2456789";
    (0..count)
        .map(|_| char::from(LETTERS[rng.random_range(0..LETTERS.len())]))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_lease_has_the_size_of_a_real_one_and_changes_little() {
        let mut rng = SmallRng::seed_from_u64(7);
        let (one, renewed, other) = (lease(1, &mut rng), lease(1, &mut rng), lease(2, &mut rng));
        assert!(one != renewed && one[..300] == renewed[..300] && one[..300] != other[..300]);
        assert!((380..520).contains(&one.len()), "{} bytes", one.len());
    }

    #[test]
    fn a_pod_has_the_size_of_a_real_one_and_is_another_each_time() {
        let mut rng = SmallRng::seed_from_u64(7);
        let (one, other) = (pod(&mut rng), pod(&mut rng));
        assert!(one.starts_with(b"k8s\0") && one != other);
        for pod in [one, other] {
            assert!((4_000..7_500).contains(&pod.len()), "{} bytes", pod.len());
        }
    }
}
