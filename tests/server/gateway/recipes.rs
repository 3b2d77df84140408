//! Lock, Election and Snapshot: calls that wait, and streams of a service other than Watch and Lease.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};

use super::client::{Exchange, mask, ok, post, send, stream};
use crate::harness::{Options, Server, until};

parity! {
    a_lock_is_taken_and_given_up,
    a_lock_is_waited_for,
    an_observer_hears_of_the_leader_and_its_values,
    a_snapshot_is_a_line_for_each_blob,
}

/// "n", and the keys below it of the leases 7 and 8.
const NAME: &str = "bg==";
const KEY_OF_7: &str = "bi83";
const KEY_OF_8: &str = "bi84";

const CHECKSUM_BYTES: usize = 32;

async fn grant(server: &Server, id: i64) {
    ok(server, "/v3/lease/grant", json!({"ID": id, "TTL": 600})).await;
}

async fn keys_in_line(server: &Server) -> Value {
    let prefix = json!({"key": "bi8=", "range_end": "bjA=", "count_only": true});
    ok(server, "/v3/kv/range", prefix).await["count"].take()
}

async fn a_lock_is_taken_and_given_up(server: Server) {
    grant(&server, 7).await;
    let lock = json!({"name": NAME, "lease": "7"});
    let taken = json!({"header": {"revision": "2"}, "key": KEY_OF_7});
    assert_eq!(ok(&server, "/v3/lock/lock", &lock).await, taken);
    assert_eq!(ok(&server, "/v3/lock/lock", &lock).await, taken);
    let given_up = ok(&server, "/v3/lock/unlock", json!({"key": KEY_OF_7})).await;
    assert_eq!(given_up, json!({"header": {"revision": "3"}}));
    assert_eq!(keys_in_line(&server).await, Value::Null);
    let (status, refusal) = post(&server, "/v3/lock/lock", json!({"name": NAME, "lease": 9})).await;
    assert_eq!(status, 500);
    assert_eq!(refusal["message"], "etcdserver: requested lease not found");
}

async fn a_lock_is_waited_for(server: Server) {
    grant(&server, 7).await;
    grant(&server, 8).await;
    ok(&server, "/v3/lock/lock", json!({"name": NAME, "lease": 7})).await;
    let body = json!({"name": NAME, "lease": 8}).to_string();
    let length = format!("Content-Length: {}\r\n", body.len());
    let waiting = send(&server, "POST", "/v3/lock/lock", &length, body.as_bytes()).await;
    until("the second is in line", async || {
        keys_in_line(&server).await == "2"
    })
    .await;
    ok(&server, "/v3/lock/unlock", json!({"key": KEY_OF_7})).await;
    let mut answer = Exchange::read_head(waiting).await;
    assert_eq!(answer.status, 200);
    let mut taken: Value = serde_json::from_slice(&answer.body().await).unwrap();
    mask(&mut taken);
    assert_eq!(taken, json!({"header": {"revision": "4"}, "key": KEY_OF_8}));
}

async fn an_observer_hears_of_the_leader_and_its_values(server: Server) {
    grant(&server, 7).await;
    let campaign = json!({"name": NAME, "lease": "7", "value": "MQ=="});
    let elected = ok(&server, "/v3/election/campaign", campaign).await;
    let leader = json!({"name": NAME, "key": KEY_OF_7, "rev": "2", "lease": "7"});
    assert_eq!(
        elected,
        json!({"header": {"revision": "2"}, "leader": leader})
    );
    let mut observed = stream(&server, "/v3/election/observe", json!({"name": NAME})).await;
    let first = json!({
        "key": KEY_OF_7, "value": "MQ==",
        "create_revision": "2", "mod_revision": "2", "version": "1", "lease": "7",
    });
    assert_eq!(
        observed.result().await,
        json!({"header": {"revision": "2"}, "kv": first})
    );
    let proclaim = json!({"leader": leader, "value": "Mg=="});
    let proclaimed = ok(&server, "/v3/election/proclaim", proclaim).await;
    assert_eq!(proclaimed, json!({"header": {"revision": "3"}}));
    let second = json!({
        "key": KEY_OF_7, "value": "Mg==",
        "create_revision": "2", "mod_revision": "3", "version": "2", "lease": "7",
    });
    let second = json!({"header": {"revision": "3"}, "kv": second});
    assert_eq!(observed.result().await, second);
    let name = json!({"name": NAME});
    assert_eq!(ok(&server, "/v3/election/leader", &name).await, second);
    ok(&server, "/v3/election/resign", json!({"leader": leader})).await;
    assert!(observed.is_silent().await);
    let (status, refusal) = post(&server, "/v3/election/leader", &name).await;
    assert_eq!(status, 500);
    assert_eq!(refusal["message"], "election: no leader");
}

async fn a_snapshot_is_a_line_for_each_blob(server: Server) {
    ok(
        &server,
        "/v3/kv/put",
        json!({"key": "YQ==", "value": "MQ=="}),
    )
    .await;
    let mut answer = stream(&server, "/v3/maintenance/snapshot", "{}").await;
    let mut blobs = Vec::new();
    while let Some(mut line) = answer.next().await {
        let result = line["result"].take();
        let blob = STANDARD.decode(result["blob"].as_str().unwrap()).unwrap();
        assert_eq!(result["version"], server.storage_version());
        blobs.push((result["remaining_bytes"].clone(), blob));
    }
    let ((none, checksum), pages) = blobs.split_last().unwrap();
    assert_eq!((none, checksum.len()), (&Value::Null, CHECKSUM_BYTES));
    let mut remaining: usize = pages.iter().map(|(_, blob)| blob.len()).sum();
    for (stated, blob) in pages {
        remaining -= blob.len();
        let expected = match remaining {
            0 => Value::Null,
            _ => json!(remaining.to_string()),
        };
        assert_eq!(stated, &expected);
    }
    let file: Vec<u8> = pages.iter().flat_map(|(_, blob)| blob.clone()).collect();
    assert_eq!(openssl::sha::sha256(&file)[..], checksum[..]);
}
