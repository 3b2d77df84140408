//! The certificates of clients that are accepted, and those that are refused.

use etcd_proto::etcdserverpb::MemberListRequest;

use super::{mutual, one_sided};
use crate::harness::*;

mod without_certificates_of_clients {
    use super::*;

    parity! { with one_sided(); everybody_is_served }
}

parity! { with mutual();
    clients_with_a_certificate_are_served,
    clients_without_a_good_certificate_are_refused,
    members_are_reached_with_https,
    etcdctl_takes_the_flags_of_tls,
}

fn pki(server: &Server) -> &std::sync::Arc<Pki> {
    server.tls().pki()
}

async fn everybody_is_served(server: Server) {
    let anybody = pki(&server).client(None);
    let stream = anybody.connect(server.client_port()).await.unwrap();
    assert_eq!(http_over(stream, "GET", "/health").await.status, 200);
    assert_eq!(server.http("GET", "/livez").await.status, 200);
}

async fn clients_with_a_certificate_are_served(server: Server) {
    let api = server.api().await;
    let (mut watcher, _) = Watcher::open(&api, watch("a")).await;
    assert_eq!(api.put("a", "1").await, 2);
    assert_eq!(event_lines(&watcher.events(1).await), ["PUT a=1 @2"]);
    assert_eq!(server.http("GET", "/readyz").await.body, "ok\n");
    // More than a TLS record, in both directions.
    let large = "x".repeat(1_000_000);
    assert_eq!(api.put("b", &large).await, 3);
    assert_eq!(api.ask(get("b")).await.kvs[0].value, large.as_bytes());
}

/// Returns whether a request over TLS is answered; a refusal may come after the client's handshake.
pub(super) async fn is_served(server: &Server, client: &TlsClient) -> bool {
    let Ok(stream) = client.connect(server.client_port()).await else {
        return false;
    };
    try_http_over(stream, "GET", "/health").await.is_ok()
}

async fn clients_without_a_good_certificate_are_refused(server: Server) {
    let pki = pki(&server);
    assert!(is_served(&server, &pki.client(Some(pki.pair("alice")))).await);
    assert!(!is_served(&server, &pki.client(None)).await, "none");
    let late = pki.client(Some(pki.pair("late")));
    assert!(!is_served(&server, &late).await, "expired");
    let stranger = pki.client(Some(Pki::new().pair("root")));
    assert!(!is_served(&server, &stranger).await, "another authority");
}

async fn members_are_reached_with_https(server: Server) {
    let api = server.api().await;
    let members = api.ask(MemberListRequest::default()).await.members;
    assert_eq!(members[0].client_ur_ls, [server.client_url()]);
    assert!(server.client_url().starts_with("https://"));
}

async fn etcdctl_takes_the_flags_of_tls(server: Server) {
    let (pki, root) = (pki(&server), pki(&server).pair("root"));
    let with_tls = |arguments: &[&str]| {
        let mut command = etcdctl(&server, arguments)?;
        command.arg("--cacert").arg(pki.authority());
        Some(command)
    };
    let Some(mut putting) = with_tls(&["put", "a", "1"]) else {
        return;
    };
    putting.arg("--cert").arg(&root.certificate);
    putting.arg("--key").arg(&root.key);
    let put = putting.output().unwrap();
    assert_eq!(put.stdout, b"OK\n", "{put:?}");
    let mut refused = with_tls(&["put", "a", "2", "--command-timeout=1s"]).unwrap();
    assert!(!refused.output().unwrap().status.success());
    assert_eq!(server.api().await.ask(get("a")).await.kvs[0].value, "1");
}
