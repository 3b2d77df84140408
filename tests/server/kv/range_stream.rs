//! RangeStream: a range in chunks, of which the last has header, count and `more`.
//!
//! etcd has it since 3.7.

use etcd_proto::etcdserverpb::{RangeRequest, RangeResponse};
use tonic::{Code, Status};

use crate::harness::*;

parity! {
    chunks_make_up_the_range,
    an_empty_range_is_one_chunk_with_a_header,
    a_limit_caps_all_chunks_together,
    a_pinned_revision_reads_as_it_was,
    a_future_revision_ends_the_stream,
    orders_and_filters_are_not_for_streams,
    a_few_keys_come_in_the_order_of_a_range_without_one,
}

/// A connection to the server, unless it is an etcd before 3.7.
async fn streaming_api(server: &Server) -> Option<Api> {
    let api = server.api().await;
    if server.kind() == Kind::Etcd
        && let Err(status) = chunks(&api, get("a")).await
        && status.code() == Code::Unimplemented
    {
        return None;
    }
    Some(api)
}

async fn chunks(api: &Api, request: RangeRequest) -> Result<Vec<RangeResponse>, Status> {
    let mut client = api.kv.clone();
    let read = async {
        let mut stream = client.range_stream(request).await?.into_inner();
        let mut chunks = Vec::new();
        while let Some(message) = stream.message().await? {
            chunks.push(message.range_response.unwrap());
        }
        Ok(chunks)
    };
    tokio::time::timeout(TIMEOUT, read)
        .await
        .expect("the stream ends in time")
}

async fn chunks_make_up_the_range(server: Server) {
    let Some(api) = streaming_api(&server).await else {
        return;
    };
    let value = "v".repeat(20_000);
    for index in 0..200 {
        api.put(&format!("k{index:03}"), &value).await;
    }
    let chunks = chunks(&api, get_prefix("k")).await.unwrap();
    assert!(chunks.len() > 1, "4 MB are more than one chunk");
    let (last, others) = chunks.split_last().unwrap();
    assert!(
        others
            .iter()
            .all(|chunk| chunk.header.is_none() && chunk.count == 0 && !chunk.more)
    );
    assert_eq!((at(&last.header), last.count, last.more), (201, 200, false));
    let streamed: Vec<_> = chunks
        .iter()
        .flat_map(|chunk| chunk.kvs.iter().cloned())
        .collect();
    assert_eq!(streamed, api.ask(get_prefix("k")).await.kvs);
}

async fn an_empty_range_is_one_chunk_with_a_header(server: Server) {
    let Some(api) = streaming_api(&server).await else {
        return;
    };
    let chunks = chunks(&api, get_prefix("k")).await.unwrap();
    assert_eq!(chunks.len(), 1);
    assert_eq!(
        (at(&chunks[0].header), chunks[0].count, chunks[0].kvs.len()),
        (1, 0, 0)
    );
}

async fn a_limit_caps_all_chunks_together(server: Server) {
    let Some(api) = streaming_api(&server).await else {
        return;
    };
    for index in 0..50 {
        api.put(&format!("k{index:03}"), "v").await;
    }
    let mut request = get_prefix("k");
    request.limit = 30;
    let chunks = chunks(&api, request).await.unwrap();
    let last = chunks.last().unwrap();
    assert_eq!((last.count, last.more), (50, true));
    assert_eq!(
        chunks.iter().map(|chunk| chunk.kvs.len()).sum::<usize>(),
        30
    );
}

async fn a_pinned_revision_reads_as_it_was(server: Server) {
    let Some(api) = streaming_api(&server).await else {
        return;
    };
    let pinned = api.put("k1", "old").await;
    api.put("k1", "new").await;
    api.put("k2", "new").await;
    let mut request = get_prefix("k");
    request.revision = pinned;
    let chunks = chunks(&api, request).await.unwrap();
    let last = chunks.last().unwrap();
    assert_eq!((at(&last.header), last.count), (4, 1));
    let streamed: Vec<_> = chunks
        .iter()
        .flat_map(|chunk| chunk.kvs.iter().cloned())
        .collect();
    assert_eq!(streamed, [kv("k1", "old", (2, 2, 1))]);
}

async fn a_future_revision_ends_the_stream(server: Server) {
    let Some(api) = streaming_api(&server).await else {
        return;
    };
    let mut request = get_prefix("k");
    request.revision = 2;
    let status = chunks(&api, request).await.unwrap_err();
    assert_eq!(status.code(), Code::OutOfRange);
    assert_eq!(
        status.message(),
        "etcdserver: mvcc: required revision is a future revision"
    );
}

async fn orders_and_filters_are_not_for_streams(server: Server) {
    let Some(api) = streaming_api(&server).await else {
        return;
    };
    let mut descending = get_prefix("k");
    descending.sort_order = 2;
    let mut filtered = get_prefix("k");
    filtered.min_mod_revision = 2;
    for request in [descending, filtered] {
        assert_eq!(
            chunks(&api, request).await.unwrap_err().code(),
            Code::Unimplemented
        );
    }
}

async fn a_few_keys_come_in_the_order_of_a_range_without_one(server: Server) {
    let Some(api) = streaming_api(&server).await else {
        return;
    };
    for index in 0..10 {
        api.put(&format!("k{index:03}"), &format!("v{}", (index * 7) % 10))
            .await;
    }
    api.put("k004", "v5").await;
    for target in 0..5 {
        let request = RangeRequest {
            sort_target: target,
            ..get_prefix("k")
        };
        let chunks = chunks(&api, request.clone()).await.unwrap();
        let streamed: Vec<_> = chunks.into_iter().flat_map(|chunk| chunk.kvs).collect();
        assert_eq!(streamed, api.ask(request).await.kvs, "target {target}");
    }
}
