//! Writes that are known afterwards: which were answered, and which may or may not be there.

use std::collections::HashMap;

use crate::harness::*;

/// Values of the first writes fill a segment of the log, which has 8 MiB.
pub const LARGE_WRITES: usize = 45;
pub const LARGE_BYTES: usize = 200 * 1024;
/// The number of writes: with `snapshot.threshold: 384`, one snapshot is made meanwhile.
pub const SMALL_WRITES: usize = 420;
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
    tag: &'static str,
}

impl Written {
    /// No writes yet. All values will contain the tag, so that those of two stores differ.
    pub fn tagged(tag: &'static str) -> Self {
        Self {
            tag,
            ..Self::default()
        }
    }

    /// Makes one write after the other, until all are made or the server is gone.
    pub async fn write(&mut self, server: &mut Server) {
        let api = server.api().await;
        let mut refusals = 0;
        for index in 0..LARGE_WRITES + SMALL_WRITES {
            let key = format!("k{}", index % KEYS);
            let bytes = if index < LARGE_WRITES { LARGE_BYTES } else { 1 };
            let value = format!("{index}{}{}", self.tag, "v".repeat(bytes));
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

    /// Makes the writes through any of the nodes that run, and repeats each until it is answered.
    pub async fn write_through(&mut self, nodes: &[Server], writes: usize, bytes: usize) {
        for _ in 0..writes {
            let index = self.answered;
            let (key, value) = (
                format!("k{}", index % KEYS),
                format!("{index}{}{}", self.tag, "v".repeat(bytes)),
            );
            let mut asked = nodes.iter().cycle().skip(index % nodes.len());
            let mut answer = None;
            until("a write is answered", async || {
                let node = asked.next().unwrap();
                let Some(api) = Api::try_connect(&node.client_url()).await else {
                    return false;
                };
                answer = api.try_ask(put(key.clone(), value.clone())).await.ok();
                answer.is_some()
            })
            .await;
            self.revision = at(&answer.unwrap().header);
            self.acknowledged.insert(key, value);
            self.answered += 1;
        }
    }

    /// Checks that every answered write is served, and nothing that was never asked for.
    pub async fn check(&self, server: &Server) {
        assert_eq!(self.lost(server).await, None);
    }

    /// Returns what is wrong, if anything.
    pub async fn lost(&self, server: &Server) -> Option<String> {
        let api = server.api().await;
        let answer = api.ask(get_prefix("k")).await;
        let revision = at(&answer.header);
        if revision < self.revision {
            return Some(format!("revision {} is {revision} again", self.revision));
        }
        let found: HashMap<String, String> = answer.kvs.iter().map(text).collect();
        for (key, value) in &self.acknowledged {
            let found = found.get(key);
            let is_there =
                found == Some(value) || (found.is_some() && found == self.unknown.get(key));
            if !is_there {
                let [value, found] = [Some(value), found].map(start);
                return Some(format!("{key}: {value} was answered, {found} is there"));
            }
        }
        let is_strange = |(key, value): &(&String, &String)| {
            ![self.acknowledged.get(*key), self.unknown.get(*key)].contains(&Some(value))
        };
        let (key, value) = found.iter().find(is_strange)?;
        Some(format!("{key} is {}", start(Some(value))))
    }
}

fn text(kv: &etcd_proto::mvccpb::KeyValue) -> (String, String) {
    let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).unwrap();
    (text(&kv.key), text(&kv.value))
}

fn start(value: Option<&String>) -> &str {
    value.map_or("nothing", |value| &value[..value.len().min(8)])
}
