//! Watch: responses above the limit of a request, 1.5 MiB, in fragments for those who ask.

use etcd_proto::etcdserverpb::WatchCreateRequest;

use crate::harness::*;

parity! {
    a_large_revision_is_split_on_request,
    a_large_revision_is_whole_without_the_request,
    a_small_revision_is_not_split,
}

const VALUE_BYTES: usize = 300 * 1024;

/// One revision whose events, with what they replace, take 2.3 MiB.
async fn write_large(api: &Api) -> i64 {
    for _ in 0..2 {
        let puts = (0..4).fold(txn(), |txn, index| {
            txn.then(put(format!("k{index}"), vec![b'x'; VALUE_BYTES]))
        });
        api.ask(puts).await;
    }
    api.revision().await
}

async fn a_large_revision_is_split_on_request(server: Server) {
    let api = server.api().await;
    let create = WatchCreateRequest {
        fragment: true,
        prev_kv: true,
        ..watch_prefix("k")
    };
    let (mut watcher, _) = Watcher::open(&api, create).await;
    let revision = write_large(&api).await;
    let first = read_revision(&mut watcher).await;
    let second = read_revision(&mut watcher).await;
    assert_eq!((first.revision, second.revision), (revision - 1, revision));
    assert_eq!(first.keys, ["k0", "k1", "k2", "k3"]);
    assert_eq!(second.keys, first.keys);
    assert!(second.parts > 1, "2.3 MiB are above the limit");
}

struct Read {
    revision: i64,
    keys: Vec<String>,
    parts: usize,
}

/// Reads all parts of one revision, of which all but the last say that there are more.
async fn read_revision(watcher: &mut Watcher) -> Read {
    let mut read = Read {
        revision: 0,
        keys: Vec::new(),
        parts: 0,
    };
    loop {
        let part = watcher.next().await;
        read.parts += 1;
        read.revision = at(&part.header);
        read.keys.extend(
            event_lines(&part.events)
                .iter()
                .map(|line| line[4..6].to_owned()),
        );
        if !part.fragment {
            return read;
        }
    }
}

async fn a_large_revision_is_whole_without_the_request(server: Server) {
    let api = server.api().await;
    let create = WatchCreateRequest {
        prev_kv: true,
        ..watch_prefix("k")
    };
    let (mut watcher, _) = Watcher::open(&api, create).await;
    write_large(&api).await;
    for _ in 0..2 {
        let response = watcher.next().await;
        assert_eq!((response.events.len(), response.fragment), (4, false));
    }
}

async fn a_small_revision_is_not_split(server: Server) {
    let api = server.api().await;
    let create = WatchCreateRequest {
        fragment: true,
        ..watch_prefix("k")
    };
    let (mut watcher, _) = Watcher::open(&api, create).await;
    let puts = (0..100).fold(txn(), |txn, index| txn.then(put(format!("k{index}"), "v")));
    api.ask(puts).await;
    let response = watcher.next().await;
    assert_eq!((response.events.len(), response.fragment), (100, false));
}
