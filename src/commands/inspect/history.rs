//! `history`: all revisions of a key that are kept, with what each changed.
//!
//! A watch from the compaction revision on tells them, deletions too, which reads at single revisions would miss.

use std::{collections::VecDeque, time::Duration};

use etcd_proto::{
    etcdserverpb::{
        WatchCreateRequest, WatchProgressRequest, WatchRequest, WatchResponse,
        watch_request::RequestUnion,
    },
    mvccpb::{Event, KeyValue, event::EventType},
};
use tokio::{
    sync::mpsc,
    time::{Instant, timeout, timeout_at},
};
use tokio_stream::wrappers::ReceiverStream;
use tonic::Streaming;

use super::{
    InspectError, connect, differences, failed, get::revisions, indented, read, shown,
    value::Decoded,
};
use crate::{args::HistoryArgs, remote::Remote};

/// The newest revisions that are shown.
const MAX_REVISIONS: usize = 1000;

/// The longest wait for the whole history.
const HISTORY_TIMEOUT: Duration = Duration::from_secs(30);

/// The interval at which the server is asked how far it is: one that is behind with a watch does not answer.
const PROGRESS_INTERVAL: Duration = Duration::from_millis(200);

pub async fn history(args: &HistoryArgs) -> Result<Vec<u8>, InspectError> {
    let mut remote = connect(&args.server).await?;
    let key = args.key.as_bytes();
    let (_, head) = read(&mut remote, key, 0).await?;
    let late = InspectError::Late {
        seconds: HISTORY_TIMEOUT.as_secs(),
    };
    let deadline = Instant::now() + HISTORY_TIMEOUT;
    let told = match timeout_at(deadline, follow(&remote, key, 1, head)).await {
        Ok(told) => told?,
        Err(_) => return Err(late),
    };
    let (base, told) = match told {
        Told::Events(events) => (None, events),
        Told::Compacted(revision) => {
            let (base, _) = read(&mut remote, key, revision).await?;
            match timeout_at(deadline, follow(&remote, key, revision, head)).await {
                Ok(Ok(Told::Events(events))) => (base, events),
                Ok(Ok(Told::Compacted(revision))) => {
                    return Err(InspectError::NoRevision {
                        revision,
                        reason: "it was compacted meanwhile".to_owned(),
                    });
                }
                Ok(Err(error)) => return Err(error),
                Err(_) => return Err(late),
            }
        }
    };
    if base.is_none() && told.is_empty() {
        return Err(InspectError::NoKey {
            key: shown(key),
            at: " in the revisions that are kept".to_owned(),
        });
    }
    Ok(text(base, told).into_bytes())
}

/// The answer to a watch.
enum Told {
    Events(VecDeque<Event>),
    /// The oldest revision that can be watched.
    Compacted(i64),
}

/// Watches a key from a revision on, until all events up to `head` have come.
async fn follow(
    remote: &Remote,
    key: &[u8],
    start_revision: i64,
    head: i64,
) -> Result<Told, InspectError> {
    let request = |union| WatchRequest {
        request_union: Some(union),
    };
    let (requests, sent) = mpsc::channel(1);
    let create = request(RequestUnion::CreateRequest(WatchCreateRequest {
        key: key.to_vec().into(),
        start_revision,
        ..WatchCreateRequest::default()
    }));
    // It has room for one.
    let _ = requests.send(create).await;
    let failed = |status| failed(remote, start_revision, &status);
    let asked = remote.watch.clone().watch(ReceiverStream::new(sent)).await;
    let mut answers: Streaming<WatchResponse> = asked.map_err(failed)?.into_inner();
    let mut events = VecDeque::new();
    loop {
        let answer = match timeout(PROGRESS_INTERVAL, answers.message()).await {
            Ok(answer) => answer.map_err(failed)?,
            Err(_) => {
                let ask = request(RequestUnion::ProgressRequest(WatchProgressRequest {}));
                // One that waits is enough.
                let _ = requests.try_send(ask);
                continue;
            }
        };
        let Some(answer) = answer else {
            return Err(failed(tonic::Status::unavailable("the watch has ended")));
        };
        if answer.canceled && answer.compact_revision > 0 {
            return Ok(Told::Compacted(answer.compact_revision));
        }
        if answer.canceled {
            return Err(failed(tonic::Status::unavailable(answer.cancel_reason)));
        }
        let revision = answer.header.map_or(0, |header| header.revision);
        let is_progress = answer.events.is_empty() && !answer.created;
        events.extend(answer.events);
        while events.len() > MAX_REVISIONS {
            events.pop_front();
        }
        if is_progress && revision >= head {
            return Ok(Told::Events(events));
        }
    }
}

/// Returns the history as text. `base` is the value at the compaction revision.
fn text(base: Option<KeyValue>, events: VecDeque<Event>) -> String {
    let mut text = String::new();
    let mut before: Option<KeyValue> = None;
    if let Some(base) = base {
        text += &put(None, &base);
        before = Some(base);
    }
    for event in events {
        let is_delete = event.r#type() == EventType::Delete;
        let Some(kv) = event.kv else { continue };
        if is_delete {
            text += &format!("revision {}: deleted\n", kv.mod_revision);
            before = None;
            continue;
        }
        // The value at the compaction revision may be an event, too.
        if before
            .as_ref()
            .is_some_and(|it| it.mod_revision == kv.mod_revision)
        {
            continue;
        }
        text += &put(before.as_ref(), &kv);
        before = Some(kv);
    }
    text
}

fn put(before: Option<&KeyValue>, kv: &KeyValue) -> String {
    let change = match before {
        None => Decoded::of(&kv.value).to_text(),
        Some(before) if before.value == kv.value => "(the same value)\n".to_owned(),
        Some(before) => differences(&before.value, &kv.value),
    };
    format!("{}\n{}", revisions(kv), indented(&change))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn kv(revision: i64, value: &'static str) -> KeyValue {
        KeyValue {
            key: "key".into(),
            value: value.into(),
            create_revision: 2,
            mod_revision: revision,
            version: revision - 1,
            ..KeyValue::default()
        }
    }

    fn event(kind: EventType, kv: KeyValue) -> Event {
        Event {
            r#type: kind.into(),
            kv: Some(kv),
            prev_kv: None,
        }
    }

    #[test]
    fn each_revision_has_what_it_changed() {
        let events = [
            event(EventType::Put, kv(3, "a\nb\n")),
            event(EventType::Put, kv(4, "a\nc\n")),
            event(EventType::Put, kv(5, "a\nc\n")),
            event(EventType::Delete, kv(6, "")),
            event(EventType::Put, kv(7, "new")),
        ];
        let text = text(Some(kv(3, "a\nb\n")), events.into());
        let expected = "\
revision 3 (version 2, created at 2)
    a
    b
revision 4 (version 3, created at 2)
    @@ -1,2 +1,2 @@
     a
    -b
    +c
revision 5 (version 4, created at 2)
    (the same value)
revision 6: deleted
revision 7 (version 6, created at 2)
    new
";
        assert_eq!(text, expected);
    }
}
