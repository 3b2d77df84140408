//! Writes that are known afterwards: which were answered, and which may or may not be there.

use std::collections::HashMap;

use crate::harness::*;

/// Values of the first writes fill a segment of the log, which has 8 MiB.
const LARGE_WRITES: usize = 45;
const LARGE_BYTES: usize = 200 * 1024;
/// With `snapshot.threshold: 384`, one snapshot is made on the way.
const SMALL_WRITES: usize = 420;
const KEYS: usize = 20;
/// A server that refuses writes, because its disk is full, need not be asked more often.
const REFUSALS_MAX: usize = 5;

#[derive(Debug, Default)]
pub struct Written {
    acknowledged: HashMap<String, String>,
    /// The last write of each key, where it was not answered: it may be there.
    unknown: HashMap<String, String>,
    pub revision: i64,
    pub answered: usize,
}

impl Written {
    /// One write after the other, until all are made or the server is gone.
    pub async fn write(&mut self, server: &mut Server) {
        let api = server.api().await;
        let mut refusals = 0;
        for index in 0..LARGE_WRITES + SMALL_WRITES {
            let key = format!("k{}", index % KEYS);
            let bytes = if index < LARGE_WRITES { LARGE_BYTES } else { 1 };
            let value = format!("{index}{}", "v".repeat(bytes));
            self.unknown.insert(key.clone(), value.clone());
            match api.try_ask(put(key.clone(), value.clone())).await {
                Ok(answer) => {
                    self.unknown.remove(&key);
                    self.acknowledged.insert(key, value);
                    self.revision = at(&answer.header);
                    self.answered += 1;
                }
                Err(_) if server.process().exited().is_some() => return,
                Err(_) => refusals += 1,
            }
            if refusals == REFUSALS_MAX {
                return;
            }
        }
    }

    /// All that was answered is served, and nothing else than what was asked for.
    pub async fn check(&self, server: &Server) {
        let api = server.api().await;
        let answer = api.ask(get_prefix("k")).await;
        assert!(
            at(&answer.header) >= self.revision,
            "the revision went back"
        );
        let found: HashMap<String, String> = answer.kvs.iter().map(text).collect();
        for (key, value) in &self.acknowledged {
            let found = found.get(key);
            let is_there =
                found == Some(value) || (found.is_some() && found == self.unknown.get(key));
            assert!(
                is_there,
                "{key}: {} was answered, {} is there",
                start(Some(value)),
                start(found)
            );
        }
        for (key, value) in &found {
            let was_asked =
                [self.acknowledged.get(key), self.unknown.get(key)].contains(&Some(value));
            assert!(was_asked, "{key} is {}", start(Some(value)));
        }
    }
}

fn text(kv: &etcd_proto::mvccpb::KeyValue) -> (String, String) {
    let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).unwrap();
    (text(&kv.key), text(&kv.value))
}

fn start(value: Option<&String>) -> &str {
    value.map_or("nothing", |value| &value[..value.len().min(8)])
}
