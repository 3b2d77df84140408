//! The Compact call, and what it leaves readable.

use etcd_proto::etcdserverpb::{CompactionRequest, RangeRequest};
use tonic::Code;

use crate::harness::*;

parity! {
    below_the_compacted_revision_nothing_is_readable,
    compaction_takes_no_revision,
    a_compacted_revision_cannot_be_compacted_again,
    a_future_revision_cannot_be_compacted,
    the_present_is_untouched,
    the_state_at_the_compacted_revision_is_whole,
    versions_and_creation_survive,
    a_physical_compaction_answers_when_it_is_done,
    the_compacted_revision_survives_a_restart,
    a_store_can_be_compacted_many_times_under_writes,
}

const COMPACTED: &str = "etcdserver: mvcc: required revision has been compacted";
const FUTURE: &str = "etcdserver: mvcc: required revision is a future revision";

fn out_of_range(text: &str) -> (Code, String) {
    (Code::OutOfRange, text.to_owned())
}

fn get_at(key: &'static str, revision: i64) -> RangeRequest {
    RangeRequest {
        revision,
        ..get(key)
    }
}

async fn put_three(api: &Api) {
    for value in ["1", "2", "3"] {
        api.put("a", value).await;
    }
}

async fn below_the_compacted_revision_nothing_is_readable(server: Server) {
    let api = server.api().await;
    put_three(&api).await;
    api.ask(compact(3)).await;
    assert_eq!(api.refused(get_at("a", 2)).await, out_of_range(COMPACTED));
    assert_eq!(
        api.refused(get_at("no such key", 1)).await,
        out_of_range(COMPACTED)
    );
    assert_eq!(api.ask(get_at("a", 3)).await.kvs, [kv("a", "2", (2, 3, 2))]);
    assert_eq!(api.ask(get_at("a", 4)).await.kvs, [kv("a", "3", (2, 4, 3))]);
}

async fn compaction_takes_no_revision(server: Server) {
    let api = server.api().await;
    put_three(&api).await;
    assert_eq!(at(&api.ask(compact(3)).await.header), 4);
    assert_eq!(api.revision().await, 4);
}

async fn a_compacted_revision_cannot_be_compacted_again(server: Server) {
    let api = server.api().await;
    put_three(&api).await;
    api.ask(compact(3)).await;
    for revision in [3, 2, 0, -1] {
        assert_eq!(
            api.refused(compact(revision)).await,
            out_of_range(COMPACTED),
            "{revision}"
        );
    }
    api.ask(compact(4)).await;
}

async fn a_future_revision_cannot_be_compacted(server: Server) {
    let api = server.api().await;
    put_three(&api).await;
    assert_eq!(api.refused(compact(5)).await, out_of_range(FUTURE));
    assert_eq!(
        api.ask(get_at("a", 2)).await.count,
        1,
        "nothing was compacted"
    );
}

async fn the_present_is_untouched(server: Server) {
    let api = server.api().await;
    put_three(&api).await;
    api.put("b", "1").await;
    api.put("c", "1").await;
    let current = api.delete("c").await;
    api.ask(compact(current)).await;
    let all = api.ask(get_range("\0", "\0")).await;
    assert_eq!(all.kvs, [kv("a", "3", (2, 4, 3)), kv("b", "1", (5, 5, 1))]);
    assert_eq!((all.count, at(&all.header)), (2, 7));
    assert_eq!(api.ask(get_at("c", current)).await.count, 0);
}

async fn the_state_at_the_compacted_revision_is_whole(server: Server) {
    let api = server.api().await;
    for key in ["a", "b", "c"] {
        api.put(key, "old").await;
    }
    let at_revision = api.delete("b").await;
    api.put("a", "new").await;
    api.put("b", "new").await;
    api.delete("c").await;
    api.ask(compact(at_revision)).await;
    let request = RangeRequest {
        revision: at_revision,
        ..get_range("a", "z")
    };
    let answer = api.ask(request).await;
    assert_eq!(
        answer.kvs,
        [kv("a", "old", (2, 2, 1)), kv("c", "old", (4, 4, 1))]
    );
    assert_eq!(answer.count, 2);
}

async fn versions_and_creation_survive(server: Server) {
    let api = server.api().await;
    put_three(&api).await;
    api.ask(compact(4)).await;
    assert_eq!(api.ask(get("a")).await.kvs, [kv("a", "3", (2, 4, 3))]);
    api.put("a", "4").await;
    assert_eq!(api.ask(get("a")).await.kvs, [kv("a", "4", (2, 5, 4))]);
}

async fn a_physical_compaction_answers_when_it_is_done(server: Server) {
    let api = server.api().await;
    put_three(&api).await;
    let request = CompactionRequest {
        revision: 4,
        physical: true,
    };
    assert_eq!(at(&api.ask(request).await.header), 4);
    assert_eq!(api.refused(get_at("a", 3)).await, out_of_range(COMPACTED));
}

async fn the_compacted_revision_survives_a_restart(mut server: Server) {
    let api = server.api().await;
    put_three(&api).await;
    api.ask(compact(3)).await;
    // etcd itself loses a compaction that nothing was written after.
    api.put("b", "1").await;
    api.ask(CompactionRequest {
        revision: 4,
        physical: true,
    })
    .await;
    server.kill9();
    server.restart().await;
    let api = server.api().await;
    assert_eq!(api.refused(get_at("a", 3)).await, out_of_range(COMPACTED));
    assert_eq!(api.ask(get_at("a", 4)).await.kvs, [kv("a", "3", (2, 4, 3))]);
    assert_eq!(api.refused(compact(4)).await, out_of_range(COMPACTED));
    assert_eq!(api.revision().await, 5);
}

async fn a_store_can_be_compacted_many_times_under_writes(server: Server) {
    let api = server.api().await;
    let writer = api.clone();
    let writes = tokio::spawn(async move {
        for index in 0..600 {
            let key = format!("k{}", index % 20);
            if index % 5 == 4 {
                writer.delete(&key).await;
            } else {
                writer.put(&key, &index.to_string()).await;
            }
        }
    });
    let mut compacted = 0;
    while !writes.is_finished() {
        let before = api.ask(get_prefix("k")).await;
        let revision = at(&before.header);
        if revision > compacted {
            api.ask(compact(revision)).await;
            compacted = revision;
        }
        let at_revision = RangeRequest {
            revision,
            ..get_prefix("k")
        };
        let after = api.ask(at_revision).await;
        assert_eq!(
            (after.kvs, after.count),
            (before.kvs, before.count),
            "at {revision}"
        );
    }
    writes.await.unwrap();
    assert!(compacted > 2);
}
