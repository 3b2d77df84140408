//! `history`: all revisions of a key that are kept, with what each changed.
//!
//! A watch from the compaction revision on tells them, deletions too, which reads at single revisions would miss.

use std::{collections::VecDeque, time::Duration};

use etcd_proto::{
    etcdserverpb::{
        WatchCreateRequest, WatchProgressRequest, WatchRequest, WatchResponse,
        watch_request::RequestUnion,
    },
    mvccpb::{KeyValue, event::EventType},
};
use tokio::{
    select,
    sync::mpsc,
    time::{Instant, MissedTickBehavior, interval_at, timeout_at},
};
use tokio_stream::wrappers::ReceiverStream;
use tonic::Streaming;

use super::{
    InspectError, connect, differences, failed, get::revisions, indented, read, shown,
    value::Decoded,
};
use crate::{args::HistoryArgs, remote::Remote};

/// The newest revisions that are shown, and the bytes that their values may have together, unless the newest has more.
const MAX_REVISIONS: usize = 1000;
const MAX_VALUE_BYTES: usize = 64 * 1024 * 1024;

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
    let followed = follow(&remote, key, 1, head, History::default());
    let told = match timeout_at(deadline, followed).await {
        Ok(told) => told?,
        Err(_) => return Err(late),
    };
    let history = match told {
        Told::History(history) => history,
        Told::Compacted(revision) => {
            let (base, _) = read(&mut remote, key, revision).await?;
            let mut history = History::default();
            if let Some(base) = base {
                history.push(EventType::Put, base);
            }
            match timeout_at(deadline, follow(&remote, key, revision, head, history)).await {
                Ok(Ok(Told::History(history))) => history,
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
    if history.kept.is_empty() {
        return Err(InspectError::NoKey {
            key: shown(key),
            at: " in the revisions that are kept".to_owned(),
        });
    }
    Ok(history.to_text().into_bytes())
}

/// The newest revisions of a key, within the limits.
#[derive(Default)]
struct History {
    kept: VecDeque<(EventType, KeyValue)>,
    kept_bytes: usize,
    /// The number of older revisions.
    dropped: u64,
    /// The value before the first one that is kept, if it was there.
    before: Option<KeyValue>,
}

impl History {
    /// Appends a revision, unless it is the last one, as an event for the value at the compaction revision is.
    fn push(&mut self, kind: EventType, kv: KeyValue) {
        let last = self.kept.back();
        if last.is_some_and(|(_, last)| last.mod_revision == kv.mod_revision) {
            return;
        }
        self.kept_bytes += kv.value.len();
        self.kept.push_back((kind, kv));
        while self.kept.len() > MAX_REVISIONS
            || (self.kept_bytes > MAX_VALUE_BYTES && self.kept.len() > 1)
        {
            self.drop_first();
        }
    }

    fn drop_first(&mut self) {
        if let Some((kind, kv)) = self.kept.pop_front() {
            self.kept_bytes -= kv.value.len();
            self.dropped += 1;
            self.before = (kind == EventType::Put).then_some(kv);
        }
    }

    fn to_text(&self) -> String {
        let mut text = String::new();
        if self.dropped > 0 {
            text += &format!("{} older revisions are not shown\n", self.dropped);
        }
        let mut before = self.before.as_ref();
        for (kind, kv) in &self.kept {
            if *kind == EventType::Delete {
                text += &format!("revision {}: deleted\n", kv.mod_revision);
                before = None;
                continue;
            }
            text += &put(before, kv);
            before = Some(kv);
        }
        text
    }
}

/// The answer to a watch.
enum Told {
    History(History),
    /// The oldest revision that can be watched.
    Compacted(i64),
}

/// Watches a key from a revision on, until all events up to `head` have come, and appends them to the history.
async fn follow(
    remote: &Remote,
    key: &[u8],
    start_revision: i64,
    head: i64,
    mut history: History,
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
    let mut progress = interval_at(Instant::now() + PROGRESS_INTERVAL, PROGRESS_INTERVAL);
    progress.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        let answer = select! {
            answer = answers.message() => answer.map_err(failed)?,
            _ = progress.tick() => {
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
        let mut is_whole = is_progress && revision >= head;
        for event in answer.events {
            let kind = event.r#type();
            let Some(kv) = event.kv else { continue };
            // A key that changes all the time has always more.
            is_whole |= kv.mod_revision >= head;
            if kv.mod_revision <= head {
                history.push(kind, kv);
            }
        }
        if is_whole {
            return Ok(Told::History(history));
        }
    }
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

    fn of(revisions: impl IntoIterator<Item = (EventType, KeyValue)>) -> History {
        let mut history = History::default();
        for (kind, kv) in revisions {
            history.push(kind, kv);
        }
        history
    }

    #[test]
    fn each_revision_has_what_it_changed() {
        let text = of([
            (EventType::Put, kv(3, "a\nb\n")),
            (EventType::Put, kv(3, "a\nb\n")),
            (EventType::Put, kv(4, "a\nc\n")),
            (EventType::Put, kv(5, "a\nc\n")),
            (EventType::Delete, kv(6, "")),
            (EventType::Put, kv(7, "new")),
        ])
        .to_text();
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
    #[test]
    fn the_first_that_is_shown_is_compared_with_the_one_before() {
        let mut history = of([
            (EventType::Put, kv(2, "base")),
            (EventType::Put, kv(3, "before")),
            (EventType::Put, kv(4, "after")),
        ]);
        history.drop_first();
        history.drop_first();
        let text = history.to_text();
        assert!(
            text.starts_with("2 older revisions are not shown\nrevision 4 "),
            "{text}"
        );
        assert!(text.contains("\n    -before\n    +after\n"), "{text}");
    }

    #[test]
    fn values_are_kept_up_to_a_number_of_bytes() {
        let large = |revision| KeyValue {
            value: vec![b'x'; MAX_VALUE_BYTES / 2].into(),
            ..kv(revision, "")
        };
        let history = of((2..6).map(|revision| (EventType::Put, large(revision))));
        assert_eq!((history.kept.len(), history.dropped), (2, 2));
        assert_eq!(history.kept_bytes, MAX_VALUE_BYTES);
    }
}
